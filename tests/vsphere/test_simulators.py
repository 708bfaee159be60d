"""The simulator itself: it ends with its test, leaves nothing, and is what the other tests take it for."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.vsphere.conftest import check_honest
from tests.vsphere.simulators import ROOT, Model, Simulator, program, simulator

pytestmark = [pytest.mark.integration, pytest.mark.vcsim_pure]


@pytest.mark.parametrize("model", ["vcenter", "esxi"])
def test_at_its_end_neither_process_nor_files_are_left(tmp_path: Path, model: Model) -> None:
    with simulator(model, tmp_path / "files") as found:
        assert any(path.name.startswith("govcsim-") for path in (tmp_path / "files").iterdir())

    assert found.process.poll() is not None
    assert list(tmp_path.iterdir()) == []


def test_it_ends_when_its_test_died(tmp_path: Path) -> None:
    """A killed test process closes the pipe and can do no more than that."""
    with simulator("esxi", tmp_path / "files") as found:
        assert found.process.stdin is not None
        found.process.stdin.close()

        assert found.process.wait(30) == 0
        assert not any(path.name.startswith("govcsim-") for path in (tmp_path / "files").iterdir())


def test_it_listens_on_loopback_alone(shared: Simulator) -> None:
    listening = Path(f"/proc/{shared.process.pid}/net/tcp").read_text().splitlines()[1:]
    ours = [line.split()[1] for line in listening if line.split()[1].endswith(f":{shared.port:04X}") and " 0A " in line]

    assert ours == [f"0100007F:{shared.port:04X}"]


def test_its_password_is_on_no_command_line(shared: Simulator) -> None:
    assert shared.password.encode() not in Path(f"/proc/{shared.process.pid}/cmdline").read_bytes()


def test_it_is_built_once() -> None:
    before = program().stat().st_mtime_ns
    program.cache_clear()

    assert program().stat().st_mtime_ns == before


def test_without_a_compiler_the_build_says_what_to_install(tmp_path: Path) -> None:
    for command in ("sh", "readlink"):
        (tmp_path / command).symlink_to(f"/bin/{command}")

    done = subprocess.run(
        [str(ROOT / "packaging/dev/simulator.sh")], cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )

    assert done.returncode == 1
    assert "apt-get install golang-go" in done.stderr


@pytest.mark.parametrize("what", [{"injected": 1}, {"flags": ("-strict",)}])
def test_a_test_that_uses_our_additions_does_not_pass_for_a_pure_one(
    request: pytest.FixtureRequest, shared: Simulator, what: dict[str, Any]
) -> None:
    """This one is marked so."""
    check_honest(request.node, [shared], shared.injected)
    with pytest.raises(pytest.fail.Exception, match="mark it vcsim_injected"):
        check_honest(request.node, [replace(shared, **what)], 0)
