"""Each crash point of the service stands on exactly one line of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import vmdkvol_esx
from vmdkvol.points import Point

SOURCES = "".join(path.read_text() for path in sorted(Path(str(vmdkvol_esx.__file__)).parent.glob("*.py")))
OURS = [point for point in Point if point.value.startswith("esx.")]


@pytest.mark.parametrize("point", OURS, ids=str)
def test_a_point_is_on_one_line(point: Point) -> None:
    assert len(re.findall(rf"_at\(Point\.{point.name}\)", SOURCES)) == 1
