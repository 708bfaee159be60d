"""The sandbox's page: its door, its certificate and its token, and that nothing of them stays."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vmdkvol.cli.asking import free_port

pytestmark = pytest.mark.integration
DRIVER = "vmdkvol-page"


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's: what pytest makes is too long for a socket's path.
    with tempfile.TemporaryDirectory(prefix="vmdkvol-sb-") as made:
        try:
            yield Path(made)
        finally:
            sandbox(Path(made), "down", "--purge")


def vmdkvol(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a process: what it starts is then nobody's child here."""
    command = [sys.executable, "-m", "vmdkvol.cli.main", *words, "--dir", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def sandbox(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return vmdkvol(folder, "sandbox", *words)


def up(folder: Path, *words: str) -> str:
    """Bring it up; return all that was said."""
    done = sandbox(folder, "up", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sandbox(folder, "status", "-o", "json").stdout)
    return found


def status_of(page: dict[str, Any], token: str) -> int:
    """Ask the API at the page's address, believing its certificate alone; return HTTP's status."""
    context = ssl.create_default_context(cafile=page["certificate"])
    port = int(page["address"].rstrip("/").rpartition(":")[2])
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30.0, context=context)
    try:
        connection.request("GET", "/v1/vmgroups", headers={"Authorization": f"Bearer {token}"})
        return connection.getresponse().status
    finally:
        connection.close()


def test_its_token_lets_an_administrator_in_and_up_again_changes_nothing(folder: Path) -> None:
    port = free_port("127.0.0.1", 0)
    said = up(folder, "--driver", DRIVER, "--page-port", str(port))

    found = facts(folder)
    page, token = found["page"], Path(found["page"]["token_file"])
    secret = token.read_text().strip()
    assert f"https://127.0.0.1:{port}/" in said
    assert str(token) in said
    assert secret not in said
    assert page["certificate_sha256"] in said
    assert status_of(page, secret) == 200
    assert status_of(page, "vmdkvol_wrong") == 401
    assert {stat.S_IMODE(path.stat().st_mode) for path in token.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700

    before = {path: path.read_bytes() for path in token.parent.iterdir()}
    pids = [row["pid"] for row in found["processes"]]
    up(folder)
    assert {path: path.read_bytes() for path in token.parent.iterdir()} == before
    assert [row["pid"] for row in facts(folder)["processes"]] == pids


@pytest.mark.parametrize("mishap", ["revoked", "file-gone", "file-broken"])
def test_a_token_that_counts_no_more_is_made_anew(folder: Path, mishap: str) -> None:
    up(folder, "--driver", DRIVER, "--page-port", str(free_port("127.0.0.1", 0)))
    page = facts(folder)["page"]
    token = Path(page["token_file"])
    former = token.read_text().strip()
    if mishap == "revoked":
        words = ["-m", "vmdkvol_esx.cli", "--config", str(folder / "etc" / "web.toml"), "web-token", "revoke", "sandbox"]
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
    elif mishap == "file-gone":
        token.unlink()
    else:
        token.write_text("?")

    up(folder)

    assert status_of(page, token.read_text().strip()) == 200
    assert status_of(page, former) == 401


def test_down_closes_the_door_and_a_purge_takes_the_secrets_away(folder: Path) -> None:
    up(folder, "--driver", DRIVER, "--page-port", str(free_port("127.0.0.1", 0)))
    page = facts(folder)["page"]
    secret = Path(page["token_file"]).read_text().strip()

    assert sandbox(folder, "down").returncode == 0
    with pytest.raises(ConnectionRefusedError):
        status_of(page, secret)

    up(folder)
    assert status_of(page, secret) == 200
    assert sandbox(folder, "down", "--purge").returncode == 0
    assert list(folder.rglob("*")) == []


def test_a_port_that_another_has_is_refused_before_anything_is_made(folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = sandbox(folder, "up", "--driver", DRIVER, "--page-port", str(port))

    assert done.returncode == 5
    assert f"another process listens at port {port}" in done.stderr
    assert list(folder.iterdir()) == []


def test_the_page_moves_to_another_port_and_is_no_longer_at_the_first(folder: Path) -> None:
    first = free_port("127.0.0.1", 0)
    up(folder, "--driver", DRIVER, "--page-port", str(first))
    former = facts(folder)["page"]
    secret = Path(former["token_file"]).read_text().strip()

    up(folder, "--page-port", str(free_port("127.0.0.1", 0)))

    assert status_of(facts(folder)["page"], secret) == 200
    with pytest.raises(ConnectionRefusedError):
        status_of(former, secret)


def test_the_demo_has_a_page_and_what_is_removed_can_be_restored(folder: Path) -> None:
    up(folder, "--driver", DRIVER, "--demo-data")
    assert facts(folder)["page"]["address"].startswith("https://127.0.0.1:")
    assert [row["datastore"] for row in facts(folder)["datastores"]] == ["ds1", "ds2", "demo-archive"]

    assert vmdkvol(folder, "volume", "restore", "prices-2024", "--vmgroup", "demo-shop").returncode == 0
    assert " is made" not in up(folder, "--demo-data")


@pytest.mark.parametrize("port", ["0", "65536", "x", "-1"])
def test_what_is_no_port_is_refused_before_anything_is_made(folder: Path, port: str) -> None:
    assert sandbox(folder, "up", "--page-port", port).returncode == 2
    assert list(folder.iterdir()) == []
