"""What an order would do or did, as it is printed: the plan's steps, and what cannot be taken back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from vmdkvol.cli.render import Table, show, show_value
from vmdkvol.errors import one_line

_STEPS = Table(("step", "target", "before", "after"))


def show_outcomes(outcomes: Sequence[Mapping[str, Any]], output: str) -> None:
    """Print outcomes as the API tells them; in a table the steps, and under it what is lost."""
    if output in ("json", "yaml"):
        show_value(list(outcomes), output)
        return
    plans = [outcome["plan"] for outcome in outcomes]
    steps = [{**step, "step": step["verb"]} for plan in plans for step in plan["steps"]]
    if not steps:
        click.echo("nothing to do: it is so already")
        return
    show(_STEPS, steps, output)
    for loss in losses(outcomes):
        click.echo(f"lost: {one_line(loss, 1000)}")


def losses(outcomes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what cannot be taken back, a line for each order that loses something."""
    return [outcome["plan"]["loses"] for outcome in outcomes if outcome["plan"].get("loses")]


def left(steps: Sequence[Mapping[str, Any]]) -> str | None:
    """Return what is left of an object, as the last step of its plan has it."""
    told: str | None = steps[-1]["after"] if steps else None
    return told


def replaced(steps: Sequence[Mapping[str, Any]]) -> str | None:
    """Return what was there before, and what is there now."""
    told = (f"{step['verb']}: {step['before']} -> {step['after']}" for step in steps if step["before"] and step["after"])
    return "; ".join(told) or None
