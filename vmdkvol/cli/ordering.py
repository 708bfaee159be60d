"""Every command that changes something: the plan first if something is lost, a dry run that stops there, what was done.

What was confirmed is what is done: the order carries the revision that its plan was made from, and the service refuses it if
somebody changed the object in between.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import click

from vmdkvol.cli.client import Client
from vmdkvol.cli.confirming import confirm
from vmdkvol.cli.outcome import losses, show_outcomes
from vmdkvol.cli.several import Several
from vmdkvol.errors import BadRequest, one_line

F = TypeVar("F", bound=Callable[..., Any])
Outcome = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """An order as the API takes it. ``expect`` is the revision that it is for, None: whatever there is."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    query: Mapping[str, str | int | bool | None] = field(default_factory=dict)
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class How:
    """How the user wants it; ``yes`` is a word that was given before it was asked for."""

    output: str = "table"
    dry_run: bool = False
    yes: bool = False


def change_options(function: F) -> F:
    """Add ``--dry-run`` and ``-o`` to a command, which gets them as ``how``; ``--yes`` is ``losing_options``'."""
    return _options(function, losing=False)


def losing_options(function: F) -> F:
    """As ``change_options``, with ``--yes``: for what cannot be taken back."""
    return _options(function, losing=True)


def _options(function: F, *, losing: bool) -> F:
    @functools.wraps(function)
    def command(*args: Any, output: str, dry_run: bool, yes: bool = False, **kwargs: Any) -> Any:
        return function(*args, how=How(output, dry_run, yes), **kwargs)

    formats = click.Choice(("table", "json", "yaml"))
    output = click.option("-o", "--output", type=formats, default="table", show_default=True, help="How the plan is printed.")
    dry_run = click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
    decorated: Any = output(dry_run(command))
    return click.option("--yes", is_flag=True, help="Do not ask.")(decorated) if losing else decorated  # type: ignore[no-any-return]


def carry_out(
    client: Client,
    changes: Mapping[str, Change],
    how: How,
    done: Callable[[str, Outcome], str],
    *,
    question: str | None = None,
    word: str | None = None,
) -> int:
    """Carry out a change for each name, or show the plans; return the exit code of all of them (``Several``).

    With a ``question`` the plans are made first, and what they lose is confirmed; ``word`` as ``confirm`` takes it.
    """
    several = Several(changes)
    if how.dry_run:
        show_outcomes(list(several.each(lambda name: _ask(client, changes[name], dry_run=True)).values()), how.output)
        return several.exit_code()
    if question is not None and not how.yes:
        plans = several.each(lambda name: _ask(client, changes[name], dry_run=True))
        confirm(losses(list(plans.values())), question, yes=False, word=word)
        changes = {name: _as_planned(changes[name], plan) for name, plan in plans.items()}
    outcomes = several.each(lambda name: _told(_ask(client, changes[name]), how, functools.partial(done, name)))
    if how.output != "table":
        show_outcomes(list(outcomes.values()), how.output)
    return several.exit_code()


def _as_planned(change: Change, plan: Outcome) -> Change:
    return change if change.expect is not None else replace(change, expect=plan.get("revision"))


def _ask(client: Client, change: Change, *, dry_run: bool = False) -> Outcome:
    outcome: Outcome = client.order(
        change.method, change.path, change.body, change.query, dry_run=dry_run, expect=change.expect
    )
    return outcome


def _told(outcome: Outcome, how: How, done: Callable[[Outcome], str]) -> Outcome:
    """Say at once what was done: with several names one hears it while the others are under way."""
    steps = outcome["plan"]["steps"]
    click.echo(one_line(done(outcome), 1000) if steps else f"{one_line(done(outcome), 1000)} already", err=True)
    return outcome


def one_name(name: str | None, flag: str | None, what: str) -> str:
    """Return the name, which may be an argument or, as in vDVS, ``--name``; UsageError for none or for two."""
    if (name is None) == (flag is None):
        said = "once: as an argument or with --name" if name is not None else f"as an argument: the name of the {what}"
        raise click.UsageError(f"give it {said}", click.get_current_context(silent=True))
    return name if name is not None else flag or ""


def words_of(lists: tuple[str, ...]) -> list[str]:
    """Return the names in ``a,b`` and repeated options, in their order; BadRequest if one of them is empty."""
    found = [word.strip() for text in lists for word in text.split(",")]
    if not all(found):
        raise BadRequest("a list has an empty name in it", remedy="write NAME,NAME")
    return found
