"""The quickstart: each of its commands, as it is typed, one after the other."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from tests.integration.engine.bench import bench, engine_for
from tests.reference import DOCS

pytestmark = [pytest.mark.integration, pytest.mark.engine]
# How the reader came to this environment, which the test has, and what is tried at length elsewhere.
NOT_TYPED = {"make demo", ". .venv/bin/activate", "vmdkvol sandbox up --demo-data"}


def blocks() -> list[str]:
    text = (DOCS / "quickstart.md").read_text(encoding="utf-8")
    found = re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return ["\n".join(line for line in block.splitlines() if line not in NOT_TYPED) for block in found]


@pytest.mark.timeout(400)
def test_every_command_of_the_quickstart_works_as_it_is_typed() -> None:
    with bench("vsphere") as made:
        docker = engine_for(made)
        made.vmdkvol("sandbox", "down", "--purge")
        env = {"DOCKER_HOST": docker.engine.host, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        for block in blocks():
            # The engines of these tests have no network.
            typed = block.replace("docker run ", "docker run --network none ")
            made.machine.run("bash", "-euc", typed, env=env, timeout_s=300)
