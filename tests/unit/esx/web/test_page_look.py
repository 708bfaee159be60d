"""The style sheet: what is written can be read, light and dark; nothing comes from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.groups import ROOT

PAGES = ROOT / "esx-service" / "vmdkvol_esx" / "web" / "pages"
SHEET = (PAGES / "static" / "page.css").read_text(encoding="utf-8")
TEMPLATES = sorted((PAGES / "templates").glob("*.html"))
# WCAG 2.2, AA: 4.5 to 1 for text, 3 to 1 for the edges of what is used.
TEXT, EDGE = 4.5, 3.0
PAIRS = [
    ("text", "back", TEXT),
    ("text", "raised", TEXT),
    ("quiet", "back", TEXT),
    ("quiet", "raised", TEXT),
    ("link", "back", TEXT),
    ("link", "raised", TEXT),
    ("link", "empty", TEXT),
    ("on-accent", "accent", TEXT),
    ("back", "bad", TEXT),
    ("good", "good-back", TEXT),
    ("warn", "warn-back", TEXT),
    ("bad", "bad-back", TEXT),
    ("quiet", "back", EDGE),
    ("accent", "back", EDGE),
    ("accent", "raised", EDGE),
    ("part", "empty", EDGE),
    ("bad", "empty", EDGE),
    ("others", "empty", EDGE),
]


def colours(scheme: str) -> dict[str, str]:
    """Return the sheet's colours by name; those that the dark does not name are the light ones."""
    light, dark = (dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", part)) for part in SHEET.split("@media", 2)[:2])
    return light if scheme == "light" else {**light, **dark}


def luminance(colour: str) -> float:
    """See WCAG's definition of relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_black_on_white_has_the_contrast_of_the_definition() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("front", "back", "least"), PAIRS)
def test_what_is_written_can_be_read(scheme: str, front: str, back: str, least: float) -> None:
    found = colours(scheme)

    assert contrast(found[front], found[back]) >= least


def test_the_dark_names_other_colours_than_the_light() -> None:
    light, dark = colours("light"), colours("dark")

    assert {name for name in light if light[name] == dark[name]} == set()


def test_every_colour_of_the_sheet_is_one_of_the_named() -> None:
    """Else one of them is the same in the light and in the dark, and in no pair above."""
    rules = SHEET.split("* { box-sizing", 1)[1]

    assert re.findall(r"#[0-9a-fA-F]{3,8}\b|\brgba?\(|\bhsla?\(", rules) == []


def test_nothing_comes_from_elsewhere() -> None:
    for path in (*TEMPLATES, *(PAGES / "static").iterdir()):
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"(?:src|href|action)=[\"']?(?:https?:)?//|@import|url\(|<base", text) == [], path.name


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_has_no_style_and_no_script_of_its_own_and_escapes_everything(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert re.findall(r"style=|<style|<script(?! src=)|\son[a-z]+=|javascript:", text) == []
    assert re.findall(r"\|\s*safe\b|autoescape", text) == []
