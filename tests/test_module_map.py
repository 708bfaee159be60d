"""The map of the modules: each of them, and what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.module_map import FOLDERS, lines, purpose

MODULES = sorted(
    path
    for folder in FOLDERS.values()
    for path in folder.rglob("*.py")
    if path.name != "__init__.py" and "migrations" not in path.parts
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_a_module_says_what_it_is_for(path: Path) -> None:
    assert purpose(path)


@pytest.mark.parametrize("package", FOLDERS)
def test_every_module_stands_in_the_map_once(package: str) -> None:
    folder = FOLDERS[package]
    named = [line.split()[0] for line in lines(package) if not line.startswith("---")]
    there = {".".join(path.relative_to(folder).with_suffix("").parts) for path in MODULES if folder in path.parents}

    assert len(set(named)) == len(named)
    assert there <= set(named)


def test_a_word_shows_only_what_has_it() -> None:
    found = list(lines("vmdkvol_guest", "formatting"))

    assert [line.split()[0] for line in found if not line.startswith("---")] == ["formatting"]
