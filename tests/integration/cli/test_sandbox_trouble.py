"""A sandbox whose service cannot start says what the service said."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmdkvol.cli.main import cli
from vmdkvol.command import run

pytestmark = pytest.mark.integration


def test_a_wrong_setting_is_told_as_the_service_tells_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "service.toml").write_text("frobnicate = 1\n")
    try:
        code = run(cli, "vmdkvol", ["sandbox", "up", "--dir", str(tmp_path), "--driver", "vmdkvol-trouble"])
        said = capsys.readouterr().err
    finally:
        run(cli, "vmdkvol", ["sandbox", "down", "--purge", "--dir", str(tmp_path)])

    assert code == 2
    assert "frobnicate" in said
    assert "see /" in said
