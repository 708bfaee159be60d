"""The picture of a run: how each figure stands to its goal, as an SVG that reads in light and dark and without colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from tests.bench.figures import Verdict
from tests.bench.lines import NO_FLOOR, Row
from tests.bench.told import Told, goal_text, machine_text, told, value_text

_WIDTH, _LINE, _TOP, _BOTTOM = 1000, 24, 104, 64
_GOAL_X, _REACH, _MOST = 560, 170, 16.0
_LABEL_X, _VALUE_X, _RESULT_X = 370, 752, 912
_LABEL_MOST = 54
_WORDS = {
    Verdict.MET: ("met", "✓ met"),
    Verdict.NOT_MET: ("missed", "✗ not met"),
    Verdict.VOID: ("void", "~ void"),
    Verdict.ERROR: ("void", "! error"),
    Verdict.NOT_RUN: ("void", "- not run"),
}
# Blue and vermilion of Okabe and Ito, which people with any kind of colour blindness can tell; and a hatch.
_STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1f2328 }
.ground { fill: #ffffff } .title { font-size: 18px; font-weight: 600 } .small { font-size: 12px; fill: #59636e }
.end { text-anchor: end } .middle { text-anchor: middle } .strong { font-weight: 600 }
.grid { stroke: #d1d9e0; stroke-width: 1 } .goal { stroke: #1f2328; stroke-width: 1.5 } .band { fill: #f6f8fa }
.bar { stroke-width: 1 } .met { fill: #0072b2; stroke: #0072b2 } .missed { fill: url(#hatch); stroke: #b34700 }
.void { fill: none; stroke: #59636e; stroke-dasharray: 3 2 } .stripe { stroke: #d55e00; stroke-width: 3 }
.stripe-ground { fill: #ffe3d1 } .spread { stroke: #1f2328; stroke-width: 1.5; fill: none }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .ground { fill: #0d1117 } .small { fill: #9198a1 } .grid { stroke: #3d444d } .goal { stroke: #f0f6fc }
.band { fill: #151b23 } .met { fill: #56b4e9; stroke: #56b4e9 } .missed { stroke: #ff9d5c } .void { stroke: #9198a1 }
.stripe { stroke: #ff9d5c } .stripe-ground { fill: #4d2509 } .spread { stroke: #f0f6fc }
}
"""


def picture(rows: Sequence[Row], run: Mapping[str, Any]) -> str:
    """Return the SVG: one line for each goal; bars to the left are better than it, bars to the right miss it."""
    found = [each for each in told(rows, run) if each.line.goal is not None]
    height = _TOP + _LINE * len(found) + _BOTTOM
    met = sum(each.verdict is Verdict.MET for each in found)
    loads = f"{run['load_before'][0]} to {run['load_after'][0]}"
    title = f"vmdkvol and its goals: {met} of {len(found)} met"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"',
        ' role="img" aria-labelledby="title about">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="about">{escape(_described(found))}</desc>',
        f"<style>{_STYLE}</style>",
        '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect class="stripe-ground" width="6" height="6"/><line class="stripe" x1="0" y1="0" x2="0" y2="6"/></pattern></defs>',
        f'<rect class="ground" width="{_WIDTH}" height="{height}"/>',
        _text(24, 32, title, "title"),
        _text(24, 54, f"{machine_text(run)}, load {loads}{', a smoke run' if run['quick'] else ''}", "small"),
        *_axis(_TOP + _LINE * len(found)),
    ]
    for number, each in enumerate(found):
        parts += _line(each, _TOP + _LINE * number, odd=bool(number % 2))
    parts += _legend(height - 22)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _described(found: Sequence[Told]) -> str:
    return "; ".join(f"{_plain(each)}: {value_text(each)}, {each.verdict}" for each in found)


def _plain(each: Told) -> str:
    return each.line.figure.replace("`", "")


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(text)}</text>'


def _x(share: float) -> float:
    """Return where a share of the goal lies: a logarithmic scale around the goal, cut at both ends."""
    return _GOAL_X + _REACH * math.log(min(max(share, 1 / _MOST), _MOST)) / math.log(_MOST)


def _axis(bottom: int) -> list[str]:
    parts = [
        _text(_GOAL_X - 8, _TOP - 26, "better than the goal", "small end"),
        _text(_GOAL_X + 8, _TOP - 26, "worse", "small"),
    ]
    for step in (1 / 16, 1 / 4, 1, 4, 16):
        kind = "goal" if step == 1 else "grid"
        label = "goal" if step == 1 else f"{max(step, 1 / step):g}x"
        parts.append(f'<line class="{kind}" x1="{_x(step):.1f}" y1="{_TOP - 4}" x2="{_x(step):.1f}" y2="{bottom}"/>')
        parts.append(_text(_x(step), _TOP - 9, label, "small middle"))
    return parts


def _line(each: Told, top: int, *, odd: bool) -> list[str]:
    kind, word = _WORDS[each.verdict]
    middle = top + _LINE / 2
    parts = [f'<g data-key="{escape(each.line.key)}">']
    if odd:
        # Not over the scale: its lines stand behind the bars.
        parts.append(f'<rect class="band" x="0" y="{top}" width="{_LABEL_X + 8}" height="{_LINE}"/>')
        parts.append(f'<rect class="band" x="{_VALUE_X - 8}" y="{top}" width="{_WIDTH - _VALUE_X + 8}" height="{_LINE}"/>')
    parts.append(_text(_LABEL_X, middle + 4.5, _shortened(_label(each), _LABEL_MOST), "end"))
    parts += _mark(each, kind, middle)
    if each.measured is not None:
        parts.append(_text(_VALUE_X, middle + 4.5, f"{value_text(each)}, goal {_goal(each)}"))
    parts.append(_text(_RESULT_X, middle + 4.5, word, "strong"))
    return [*parts, "</g>"]


def _label(each: Told) -> str:
    """Return the figure over its floor, or alone where there is none or no room."""
    figure, floor = _plain(each), each.line.floor.replace("`", "")
    return figure if floor == NO_FLOOR or len(figure) + len(floor) > _LABEL_MOST - 3 else f"{figure} / {floor}"


def _goal(each: Told) -> str:
    return goal_text(each.line.goal, each.line.unit).replace("<=", "≤").replace(">=", "≥")


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _mark(each: Told, kind: str, middle: float) -> list[str]:
    """Return bar and quartiles; a point on the goal for a zero that shall be zero, a full bar for one that is not."""
    if each.measured is None:
        return []
    assert each.line.goal is not None
    share = each.share
    if share is None:
        if each.line.goal.limit == 0 and each.measured.value == 0:
            return [f'<circle class="bar {kind}" cx="{_GOAL_X}" cy="{middle:g}" r="5"/>']
        share = _MOST if each.line.goal.limit == 0 else 1 / _MOST
    left, right = sorted((_x(share), float(_GOAL_X)))
    if right - left < 1:
        return [f'<circle class="bar {kind}" cx="{_GOAL_X}" cy="{middle:g}" r="5"/>']
    bar = f'<rect class="bar {kind}" x="{left:.1f}" y="{middle - 6:g}" width="{right - left:.1f}" height="12" rx="2"/>'
    return [bar, *_quartiles(each, middle)]


def _quartiles(each: Told, middle: float) -> list[str]:
    measured, goal = each.measured, each.line.goal
    if measured is None or goal is None or measured.ratio is None or goal.unit:
        return []
    low, high = sorted(_x(goal.share(value)) for value in (measured.ratio.low, measured.ratio.high))
    ends = f"M{low:.1f} {middle - 4:g}v8M{high:.1f} {middle - 4:g}v8M{low:.1f} {middle:g}H{high:.1f}"
    return [f'<path class="spread" d="{ends}"/>']


def _legend(y: int) -> list[str]:
    parts = []
    x = 24
    for kind, text in (("met", "met"), ("missed", "not met"), ("void", "void: the floor differed from itself")):
        parts.append(f'<rect class="bar {kind}" x="{x}" y="{y - 11}" width="22" height="12" rx="2"/>')
        parts.append(_text(x + 28, y, text, "small"))
        x += 60 + 7 * len(text)
    return [*parts, _text(_WIDTH - 24, y, "thin line: quartiles of the rounds; point: exactly the goal", "small end")]
