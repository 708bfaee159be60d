"""Every command that changes something: the plan first if something is lost, a dry run that stops there, what was done.

What was confirmed is what is done: the order carries the id and the revision that its plan was made from, and the service
refuses it if somebody changed the object in between, or another one has its name.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import click

from vmdkvol.cli.confirming import confirm
from vmdkvol.cli.outcome import losses, replaced, show_outcomes
from vmdkvol.cli.paths import Query, path_of
from vmdkvol.cli.revisions import REVISION, Revision
from vmdkvol.cli.several import Several
from vmdkvol.cli.waiting import going_on, look_at_task, screen, unanswered, wait
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import StillWorking, VolumeError, one_line

if TYPE_CHECKING:
    from vmdkvol.cli.client import Client

F = TypeVar("F", bound=Callable[..., Any])
Outcome = Mapping[str, Any]
Telling = Callable[[Sequence[Mapping[str, Any]]], str | None]
# As ``policy_messages.AWAIT_ATTACH``, which would load all messages.
_AWAITS = "AwaitAttach"
# A copy of 62 TiB takes days. Who does not want to wait breaks it off.
_FOR_EVER_S = 30 * 86400.0
# From then on the user sees how far it is.
_UNSEEN_S = 1
# How often the user is told that the work has not begun, and for how long that is waited for.
_TURN_S, _TURNS_S = 10, 110.0


@dataclass(frozen=True, slots=True)
class Change:
    """An order as the API takes it. ``expect`` is the revision that it is for, None: whatever there is.

    ``subject`` is the id of what has that revision, None: of whatever has the name. ``unrevised``: it has an id alone.
    ``replaces``: it puts something in the place of what was there. Then it is for the revision of its plan, so that of two
    administrators at once the second hears it, and it is said what was there before.
    ``planned``: it is carried out as its plan showed it and not otherwise, also when nobody is asked.
    """

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    query: Query = field(default_factory=dict)
    expect: int | None = None
    subject: str | None = None
    replaces: bool = False
    planned: bool = False
    unrevised: bool = False


@dataclass(frozen=True, slots=True)
class _Begun:
    """What became of the orders so far: the task of work that takes longer, and which orders were given again."""

    tasks: dict[str, str] = field(default_factory=dict)
    again: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class How:
    """How the user wants it; ``yes`` is a word that was given before it was asked for, ``wait``: until long work has ended.

    ``revision``: only if the object has it, and this id if there is one. ``long``: a command whose work may be.
    """

    output: str = "table"
    dry_run: bool = False
    yes: bool = False
    wait: bool = True
    revision: Revision | None = None
    long: bool = False


def change_options(
    *, losing: bool = False, working: bool = False, short: bool = True, revised: bool = False
) -> Callable[[F], F]:
    """Return what adds ``--dry-run`` and ``-o`` to a command, which gets them as ``how``.

    ``losing``: and ``--yes``, for what cannot be taken back; ``working``: and ``--no-wait``, for what may take long;
    ``revised``: and ``--if-revision``, for what changes an object that has one. Not ``short``: its ``-o`` is something else.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def command(
            *args: Any,
            output: str,
            dry_run: bool,
            if_revision: Revision | None = None,
            yes: bool = False,
            no_wait: bool = False,
            **kwargs: Any,
        ) -> Any:
            return function(*args, how=How(output, dry_run, yes, not no_wait, if_revision, working), **kwargs)

        decorated: Any = command
        if working:
            decorated = click.option("--no-wait", is_flag=True, help="Print the task's id if it takes long, and end.")(
                decorated
            )
        flags = ("-o", "--output") if short else ("--output",)
        formats = click.Choice(("table", "json", "yaml"))
        decorated = click.option(*flags, type=formats, default="table", help="How the plan or the outcome is printed.")(
            decorated
        )
        if revised:
            decorated = click.option(
                "--if-revision",
                type=REVISION,
                metavar="NUMBER[.ID]",
                help="Only if it has this revision, as -o json shows it, and this id: nobody changed it, or took its name.",
            )(decorated)
        decorated = click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")(decorated)
        if losing:
            decorated = click.option("--yes", is_flag=True, help="Do not ask.")(decorated)
        return decorated  # type: ignore[no-any-return]

    return decorate


def carry_out(
    client: Client,
    changes: Mapping[str, Change],
    how: How,
    done: Callable[[str], str],
    *,
    question: str | None = None,
    word: str | None = None,
    telling: Telling | None = None,
) -> int:
    """Carry out a change for each name, or show the plans; return the exit code of all of them (``Several``).

    ``done`` says in words what is so afterwards. With a ``question`` the plans are made first, and what they lose is
    confirmed; ``word`` as ``confirm`` takes it. ``telling`` says more, from the plan's steps; None: what was there before,
    where something came into its place.
    """
    changes = _for_revision(changes, how.revision)
    several = Several(changes)
    if how.dry_run:
        show_outcomes(list(several.each(lambda name: _ask(client, changes[name], dry_run=True)).values()), how.output)
        return several.exit_code()
    if question is not None and (not how.yes or any(change.planned for change in changes.values())):
        plans = several.each(lambda name: _ask(client, changes[name], dry_run=True))
        lost = [f"lost with {name}: {loss}" for name, plan in plans.items() for loss in losses([plan])]
        confirm(lost, question, yes=how.yes, word=word)
        changes = {name: _as_planned(changes[name], plan) for name, plan in plans.items()}
    elif any(change.replaces and change.expect is None for change in changes.values()):
        plans = several.each(lambda name: _ask(client, changes[name], dry_run=True))
        changes = {name: _as_planned(changes[name], plan) for name, plan in plans.items()}
    tell = telling or (replaced if any(change.replaces for change in changes.values()) else None)
    begun = _Begun()

    def given(name: str) -> Outcome:
        outcome = _given(client, name, changes[name], how, begun)
        return _told(outcome, done(name), tell, again=name in begun.again)

    with going_on(begun.tasks):
        outcomes = _in_the_end(client, several, several.each(given), how, done, begun.tasks)
    if how.output != "table":
        show_outcomes(list(outcomes.values()), how.output)
    return several.exit_code()


def _for_revision(changes: Mapping[str, Change], revision: Revision | None) -> Mapping[str, Change]:
    if revision is None:
        return changes
    if len(changes) > 1:
        raise click.UsageError("--if-revision is for one name at a time", click.get_current_context(silent=True))
    return {name: replace(change, expect=revision.number, subject=revision.subject) for name, change in changes.items()}


def _as_planned(change: Change, plan: Outcome) -> Change:
    expect = plan.get("revision") if change.expect is None else change.expect
    subject = plan.get("subject") if expect is not None or change.unrevised else None
    planned = replace(change, expect=expect, subject=subject)
    digest = plan["plan"].get("digest")
    if digest is None:
        return planned
    if change.method == "DELETE":
        return replace(planned, query={**change.query, "digest": digest})
    return replace(planned, body={**(change.body or {}), "digest": digest})


def _given(client: Client, name: str, change: Change, how: How, begun: _Begun) -> Outcome:
    """Give the order and return its outcome; what became of it stands in ``begun`` then.

    A task is told at once where nobody waits for it: the next order may be broken off.
    """
    with unanswered(name):
        outcome = _in_turn(client, name, change, how, begun.again) if how.long else _ask(client, change)
        if _is_under_way(outcome):
            begun.tasks[name] = str(outcome["task"])
    if name in begun.tasks and not how.wait and how.output == "table":
        click.echo(one_line(begun.tasks[name]))
    return outcome


def _in_turn(client: Client, name: str, change: Change, how: How, again: set[str]) -> Outcome:
    """While the work waits for its turn, give the same order again: it goes on with the one before. ``again`` has it then."""
    clock, key = SystemClock(), str(uuid4())
    deadline, wait_s = Deadline.after(clock, _TURNS_S), _UNSEEN_S if how.wait else 0
    while True:
        try:
            return _ask(client, change, wait_s=wait_s, key=key)
        except StillWorking:
            if deadline.passed:
                raise
        again.add(name)
        if how.wait:
            click.echo(f"{one_line(name)}: waits for its turn, or for its last step", err=True)
        wait_s = _TURN_S


def _ask(
    client: Client, change: Change, *, dry_run: bool = False, wait_s: int | None = None, key: str | None = None
) -> Outcome:
    outcome: Outcome = client.order(
        change.method,
        change.path,
        change.body,
        change.query,
        dry_run=dry_run,
        expect=change.expect,
        subject=change.subject,
        wait_s=wait_s,
        key=key,
    )
    return outcome


def _told(outcome: Outcome, done: str, telling: Telling | None, *, again: bool) -> Outcome:
    """Say at once what was done: with several names one hears it while the others are under way.

    ``again``: it was given before. That it is so already is its own doing then, and nothing to be told.
    """
    more = None if telling is None else telling(outcome["plan"]["steps"])
    done = done if more is None else f"{done} ({more})"
    if not _is_under_way(outcome):
        steps = outcome["plan"]["steps"]
        waits = " from its next attach on" if any(step["verb"] == _AWAITS for step in steps) else ""
        click.echo(one_line(f"{done}{waits}" if steps or again else f"{done} (it was so already)", 1000), err=True)
    return outcome


def _is_under_way(outcome: Outcome) -> bool:
    return outcome.get("task") is not None and not outcome["done"]


def _in_the_end(
    client: Client,
    several: Several,
    outcomes: dict[str, Outcome],
    how: How,
    done: Callable[[str], str],
    tasks: dict[str, str],
) -> dict[str, Outcome]:
    """Wait for what is under way and say that it is done; return the outcomes as they are then, without what was undone."""
    if not how.wait or not tasks:
        return outcomes
    clock = SystemClock()

    def ended(name: str) -> Outcome:
        outcome = outcomes[name]
        if name not in tasks:
            return outcome
        look = look_at_task(client, tasks[name], lambda: tasks.pop(name, None))
        wait(look, name, clock, shown, Deadline.after(clock, _FOR_EVER_S))
        click.echo(one_line(done(name), 1000), err=True)
        return outcome if how.output == "table" else {**outcome, "done": True, "revision": _revision(client, outcome)}

    with screen() as shown:
        return several.each(ended)


def _revision(client: Client, outcome: Outcome) -> int | None:
    """Return the revision of the volume that an order was for; None if it is gone or cannot be asked for: the work is done."""
    try:
        revision: int = client.get(path_of("volumes", outcome["subject"]))["row"]["revision"]
    except VolumeError:
        return None
    return revision
