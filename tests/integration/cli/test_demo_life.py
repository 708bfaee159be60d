"""A demo's site at work: machines with disks, long work, a disk without a record; it comes up and goes as any sandbox."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.test_sandbox_page import facts, folder, sandbox, up, vmdkvol
from vmdkvol.cli.demo_life import LONG, STRAY

pytestmark = pytest.mark.integration
DRIVER = "vmdkvol-life"
SHOP, REPORTS = f"{DRIVER}-shop", f"{DRIVER}-reports"
__all__ = ["folder"]


def rows(folder: Path, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(vmdkvol(folder, *words, "-o", "json").stdout)
    return found


def users(folder: Path) -> dict[str, str]:
    return {row["name"]: row["attached_to"] for row in rows(folder, "volume", "ls") if row["attached_to"]}


@pytest.fixture
def demo(folder: Path) -> Path:
    """Return the directory of a sandbox with the demo."""
    up(folder, "--driver", DRIVER, "--demo-data")
    return folder


def test_the_site_is_at_work_and_the_same_again_adds_nothing(demo: Path) -> None:
    assert users(demo) == {"catalogue-cache": SHOP, "sessions": SHOP, "exports": REPORTS}
    used = [row for row in rows(demo, "volume", "ls", "--vmgroup", "demo-reports") if row["name"] == "exports"]
    assert used[0]["state"] == "ready"
    [task] = [task for task in rows(demo, "task", "ls") if task["state"] == "running"]
    assert task["volume"] == LONG
    [orphan] = rows(demo, "orphans", "ls")
    assert (orphan["kind"], orphan["volume"]) == ("disk", STRAY)
    assert {row["name"] for row in rows(demo, "vm", "ls")} == {DRIVER, SHOP, REPORTS}

    again = up(demo, "--demo-data")
    for word in (" is made", " is used by", " lies on", " is in demo", "refused,"):
        assert word not in again


def test_it_goes_without_waiting_for_the_work_and_comes_back(demo: Path) -> None:
    began = time.monotonic()

    assert sandbox(demo, "down").returncode == 0

    # The work takes four minutes; a service that is not told so would wait half a minute for it.
    assert time.monotonic() - began < 25.0
    assert facts(demo)["loops"] == []
    assert " is used by" not in up(demo)
    # Somebody puts a machine elsewhere meanwhile, where it stays.
    assert vmdkvol(demo, "vmgroup", "vm", "rm", "demo-shop", SHOP).returncode == 0
    assert vmdkvol(demo, "vmgroup", "create", "mine", "--default-datastore", "ds1", "--vm", SHOP).returncode == 0
    assert f"machine {SHOP} uses nothing more of demo-shop" in up(demo, "--demo-data")
    assert users(demo) == {"exports": REPORTS}
