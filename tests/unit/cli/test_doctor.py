"""What the doctor says of things that delay an engine or hide a volume; the rest needs a machine (tests/integration)."""

from __future__ import annotations

import socket
from pathlib import Path

from vmdkvol.cli.engine_checks import left_over_specs, shadowing
from vmdkvol.findings import WARN


def test_corrections_4_a_local_volume_of_the_same_name_is_told(tmp_path: Path) -> None:
    for name in ("db", "other"):
        (tmp_path / name / "_data").mkdir(parents=True)

    (finding,) = shadowing({"db", "logs"}, "vsphere", tmp_path)

    assert (finding.status, finding.check) == (WARN, "local volume")
    assert "'db'" in finding.finding
    assert "--volume-driver vsphere" in finding.fix


def test_volumes_that_nothing_hides_are_not_mentioned(tmp_path: Path) -> None:
    (tmp_path / "other" / "_data").mkdir(parents=True)

    assert list(shadowing({"db"}, "vsphere", tmp_path)) == []
    assert list(shadowing({"db"}, "vsphere", tmp_path / "no-engine-here")) == []


def test_a_spec_of_a_plugin_that_is_gone_is_told(tmp_path: Path) -> None:
    (tmp_path / "dead.spec").write_text(f"unix://{tmp_path}/dead.sock\n")

    (finding,) = left_over_specs([tmp_path])

    assert finding.status == WARN
    assert finding.fix == f"rm {tmp_path}/dead.spec"


def test_a_spec_of_a_plugin_that_listens_is_fine(tmp_path: Path) -> None:
    (tmp_path / "live.spec").write_text(f"unix://{tmp_path}/live.sock\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as plugin:
        plugin.bind(str(tmp_path / "live.sock"))
        plugin.listen()

        (finding,) = left_over_specs([tmp_path])

    assert finding.status == "OK"
