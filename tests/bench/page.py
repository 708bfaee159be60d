"""The table of a run for people: on the terminal, in docs/reference/bench.md, and in a paragraph of the README."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tests.bench.figures import Verdict
from tests.bench.lines import Row
from tests.bench.told import Told, amount, goal_text, machine_text, ratio_text, told

SMOKE = "A smoke run: too short for any of its figures to mean something."
_HEAD = ("figure", "ours", "floor", "what the floor is", "ratio (quartiles)", "A/A", "goal", "result")


def cells(each: Told) -> tuple[str, ...]:
    """Return one line of the table."""
    measured, line = each.measured, each.line
    goal = goal_text(line.goal, line.unit)
    if measured is None:
        return (line.figure, "", "", line.floor, "", "", goal, each.outcome)
    same = "" if measured.same is None else f"{measured.same:.2f}"
    ours, floor = amount(measured.ours, line.unit), amount(measured.floor, line.unit)
    return (line.figure, ours, floor, line.floor, ratio_text(measured), same, goal, each.outcome)


def terminal(rows: Sequence[Row], run: Mapping[str, Any]) -> str:
    """Return the table in columns, with what else is to be known of the run."""
    found = told(rows, run)
    table = [_HEAD, *(cells(each) for each in found)]
    # The floor's description and an error's text are as long as they like: at the end of the line.
    order = (0, 1, 2, 4, 5, 6, 7)
    widths = {column: max(len(line[column].split(": ")[0]) for line in table) for column in order}
    lines = ["  ".join(line[column].ljust(widths[column]) for column in order).rstrip() for line in table]
    notes = [f"{each.line.key}: {each.measured.notes}" for each in found if each.measured is not None and each.measured.notes]
    return "\n".join([*lines, "", *notes, "", *about(run), summary(rows, run)])


def about(run: Mapping[str, Any]) -> list[str]:
    """Return what was run, and where."""
    facts = run["machine"]
    versions = ", ".join(f"{name} {facts[name]}" for name in ("python", "flask", "gunicorn", "docker", "e2fsprogs", "fio"))
    loads = [" ".join(map(str, run[when])) for when in ("load_before", "load_after")]
    lines = [f"{machine_text(run)}; {facts['memory_gb']} GB, {facts['system']}.", f"vmdkvol {facts['vmdkvol']}; {versions}."]
    lines.append(f"Load average before: {loads[0]}; after: {loads[1]}. {run['minutes']} minutes, order seed {run['seed']}.")
    if run["quick"]:
        lines.append(SMOKE)
    return lines


def summary(rows: Sequence[Row], run: Mapping[str, Any]) -> str:
    """Return in one paragraph what is met, what is not, and what this run cannot tell."""
    found = [each for each in told(rows, run) if each.line.goal is not None]
    counts = Counter(each.verdict for each in found)
    text = f"{counts[Verdict.MET]} of {len(found)} goals are met."
    for kind, words in (
        (Verdict.NOT_MET, "Not met"),
        (Verdict.VOID, "Void, because the floor differed from itself too much in this run"),
        (Verdict.ERROR, "Not measured, because the row failed"),
        (Verdict.NOT_RUN, "Not run"),
    ):
        named = [f"{each.line.figure}{_standing(each)}" for each in found if each.verdict is kind]
        text += f" {words}: {', '.join(named)}." if named else ""
    return text


def _standing(each: Told) -> str:
    if each.measured is None or each.line.goal is None:
        return ""
    value = amount(each.measured.value, each.line.unit) if each.line.goal.unit else f"{each.measured.value:.3g}"
    return f" ({value}, goal {goal_text(each.line.goal, each.line.unit)})"


def markdown(rows: Sequence[Row], run: Mapping[str, Any]) -> str:
    """Return the made part of the reference page."""
    found = told(rows, run)
    lines = [*about(run), "", "| " + " | ".join(_HEAD) + " |", "| " + " | ".join(["---"] * len(_HEAD)) + " |"]
    lines += ["| " + " | ".join(_in_cell(cell) for cell in cells(each)) + " |" for each in found]
    lines += ["", summary(rows, run), ""]
    noted = [each for each in found if each.measured is not None and (each.measured.notes or each.measured.dropped)]
    lines += [f"- {each.line.figure}: {_remark(each)}" for each in noted]
    return "\n".join(lines) + "\n"


def _remark(each: Told) -> str:
    assert each.measured is not None
    dropped = f"{each.measured.dropped} of {each.measured.rounds + each.measured.dropped} rounds dropped"
    return "; ".join(text for text in (each.measured.notes, dropped if each.measured.dropped else "") if text) + "."


def how(rows: Sequence[Row]) -> str:
    """Return how each row is measured, from the code."""
    parts = []
    for row in rows:
        figures = "; ".join(line.figure for line in row.lines)
        parts.append(f"**`{row.name}`** ({figures}): {row.how}\n")
    return "\n".join(parts)


def _in_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
