"""What the browser tells a screen reader of a page, and how well what is written on it can be seen: measured, not believed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Page

# What somebody uses or asks for by its name.
_NAMED = frozenset(
    ["button", "checkbox", "columnheader", "combobox", "DisclosureTriangle", "heading", "image", "img", "link", "navigation"]
    + ["option", "progressbar", "region", "rowheader", "search", "searchbox", "textbox"]
)
# WCAG 2.2 AA: 4.5 to 1, of large writing 3 to 1. Each text on the page, as the browser draws it, over what lies behind it.
FAINT = """() => {
  const parts = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((each) => each / 255)
    .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4))
    .reduce((sum, each, at) => sum + each * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = parts(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const faint = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement, style = getComputedStyle(element);
    if (!texts.currentNode.textContent.trim() || !element.checkVisibility() || element.closest("svg, .unseen, .skip")) continue;
    seen += 1;
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const [dark, bright] = [light(parts(style.color)), light(behind(element))].sort((one, other) => one - other);
    const contrast = (bright + 0.05) / (dark + 0.05);
    const says = texts.currentNode.textContent.trim().slice(0, 60);
    if (contrast < (large ? 3 : 4.5)) faint.push(`${contrast.toFixed(2)}: ${says}`);
  }
  return { faint, seen };
}"""
# WCAG 2.2 AA, 2.5.8: what is hit with a finger is 24 pixels each way, or stands in a line of text, or nothing else is near.
SMALL = """() => {
  const all = [...document.querySelectorAll("button, summary, select, input:not([type=hidden]), nav a")]
    .filter((each) => each.checkVisibility() && !each.closest(".skip"));
  const size = (each) => (each.labels && each.type === "checkbox" ? each.parentElement : each).getBoundingClientRect();
  return all.filter((each) => size(each).height < 24 || size(each).width < 24)
    .map((each) => `${Math.round(size(each).width)}x${Math.round(size(each).height)}: ${each.outerHTML.slice(0, 80)}`);
}"""


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that is read out: what it is, its name, of a heading the rank, where it leads, and in what it stands."""

    role: str
    name: str
    level: int
    url: str
    inside: str


def told(page: Page) -> list[Told]:
    """Return what Chromium's accessibility tree has of the page, in its order."""
    session = page.context.new_cdp_session(page)
    try:
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    finally:
        session.detach()
    roles = {node["nodeId"]: str(node["role"].get("value")) for node in nodes if not node.get("ignored")}
    return [_told(node, roles.get(node.get("parentId"), "")) for node in nodes if not node.get("ignored")]


def unspoken(found: list[Told]) -> list[str]:
    """Return what has a role by which people look for it and no name."""
    return [each.role for each in found if each.role in _NAMED and not each.name.strip()]


def leaps(found: list[Told]) -> list[str]:
    """Return headings that are more than one rank below the one before them: who leaps from heading to heading misses one."""
    ranks = [(each.level, each.name) for each in found if each.role == "heading"]
    return [name for (before, _), (rank, name) in zip(ranks, ranks[1:], strict=False) if rank > before + 1]


def alike(found: list[Told]) -> list[str]:
    """Return names of buttons and links that are there twice and do not lead to the same.

    What heads a row of a table is read out with the row, which says which of two volumes of one name it is.
    """
    return sorted({name for name, places in _places(found).items() if len(places) > 1})


def _places(found: list[Told]) -> dict[str, set[str]]:
    places: dict[str, set[str]] = {}
    for number, each in enumerate(found):
        if each.role in ("link", "button") and each.inside != "rowheader":
            places.setdefault(f"{each.role} {each.name}", set()).add(each.url or str(number))
    return places


def _told(node: dict[str, Any], inside: str) -> Told:
    said = {each["name"]: each["value"].get("value") for each in node.get("properties", ())}
    name = str(node.get("name", {}).get("value") or "")
    return Told(str(node["role"].get("value")), name, int(said.get("level") or 0), str(said.get("url") or ""), inside)


def tab_stops(page: Page, most: int = 400) -> Iterator[str]:
    """Press Tab until the page is through; yield each stop that cannot be seen: outside of the window, or without a ring."""
    page.evaluate("() => { document.activeElement.blur(); window.scrollTo(0, 0); }")
    for _ in range(most):
        page.keyboard.press("Tab")
        at = page.evaluate(_STOP)
        if at["end"]:
            return
        if at["wrong"]:
            yield f"{at['wrong']}: {at['html']}"
    yield f"after {most} stops the end is not there"


_STOP = """() => {
  const at = document.activeElement;
  if (at === document.body || at.dataset.wasHere) {
    for (const each of document.querySelectorAll("[data-was-here]")) delete each.dataset.wasHere;
    return { end: true };
  }
  at.dataset.wasHere = "yes";
  const box = at.getBoundingClientRect(), style = getComputedStyle(at), wrong = [];
  if (style.outlineStyle === "none" || parseFloat(style.outlineWidth) < 2) wrong.push("no ring");
  if (box.bottom <= 0 || box.top >= innerHeight || box.right <= 0 || box.left >= innerWidth) wrong.push("out of sight");
  return { end: false, wrong: wrong.join(", "), html: at.outerHTML.slice(0, 100) };
}"""
