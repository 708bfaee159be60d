"""Every change from a page: its plan is shown first, then it is carried out, then the next page says what came of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vmdkvol.errors import NotFound, StaleRequest, VolumeError, quoted
from vmdkvol.orders import OrderFor
from vmdkvol.policy_messages import AWAIT_ATTACH
from vmdkvol_esx.group_texts import as_id
from vmdkvol_esx.web.asked import Said, call_id
from vmdkvol_esx.web.pages.again import ABOUT, CSRF, DIGEST, KEY, REVISION, SUBJECT, Again, wrong_field
from vmdkvol_esx.web.pages.form import Form
from vmdkvol_esx.web.pages.resending import planned, resumed
from vmdkvol_esx.web.pages.visit import Away, Drawn, Visit


@dataclass(frozen=True, slots=True)
class Differing:
    """An object that somebody else changed meanwhile: what (in words), as it is now, as the form wants it.

    ``revision`` is the one of now. ``fields`` take the place of those of the form with the same names, should the form be sent
    again.
    """

    rows: Sequence[tuple[str, str | None, str | None]]
    revision: int
    fields: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """A row: the order that a form means. ``verb`` is its name in the address and in ``forms.order``.

    ``read`` returns the order, and raises what is wrong with a field. ``title`` is what is asked, with a verb and no full stop;
    ``said`` is what is true afterwards; ``back`` is the path of the page to go on at. ``page`` shows the page with the form.
    ``differing`` reads what is shown to who was not the first; None: the error alone.
    """

    verb: str
    message: type[OrderFor[Any]]
    read: Callable[[Form], OrderFor[Any]]
    title: Callable[[Form], str]
    said: Callable[[Form], str]
    back: Callable[[Form], str]
    page: Callable[[Visit], Drawn]
    differing: Callable[[Visit], Differing] | None = None


class Changes:
    """The table of all changes."""

    def __init__(self, rows: Iterable[Change]) -> None:
        self._rows = {row.verb: row for row in rows}

    def message(self, verb: str) -> type[OrderFor[Any]]:
        """Return the order of a verb that a template names; KeyError for one that there is not."""
        return self._rows[verb].message

    def plan(self, visit: Visit, verb: str) -> Drawn:
        """Show what the order would do, and ask whether it is meant. Nothing is changed."""
        row = self._row(verb)
        try:
            order, expect = row.read(visit.form), visit.form.number(REVISION)
            outcome = visit.order(order, call=visit.call.id, dry_run=True, expect=expect)
        except VolumeError as error:
            return _refused(visit, row, error)
        replaced = (CSRF, KEY, SUBJECT, DIGEST)
        kept = [(name, value) for name, values in visit.form.fields.items() if name not in replaced for value in values]
        if row.message.identified and as_id(outcome["subject"]) is not None:
            # The next object of that name has the same first revisions, if it has any.
            kept.append((SUBJECT, outcome["subject"]))
        if outcome["plan"].get("digest") is not None:
            kept.append((DIGEST, outcome["plan"]["digest"]))
        values = {"verb": verb, "title": row.title(visit.form), "plan": outcome["plan"], "kept": kept}
        back, about = row.back(visit.form), visit.form.maybe(ABOUT)
        return Drawn("plan.html", {**values, "key": str(visit.new_id()), "back": back, "place": back, "about": about})

    def carry_out(self, visit: Visit, verb: str) -> Away | Drawn:
        """Give the order, once for each plan that was shown: who clicks twice hears the same twice."""
        row, form = self._row(verb), visit.form
        try:
            order, expect = row.read(form), form.number(REVISION)
            call = call_id(Said(key=f"page {form.text(KEY)}"), visit.by, visit.call.id)
            subject = as_id(form.maybe(SUBJECT) or "")
            outcome = visit.order(order, call=call, dry_run=False, expect=expect, expect_id=subject)
        except VolumeError as error:
            return _refused(visit, row, error)
        return _after(row, form, outcome)

    def waiting(self, then: str) -> Drawn | None:
        """Show the change that waited for a login, as ``kept`` has written it down, to be planned; None if none did."""
        found = resumed(then)
        if found is None or found[0] not in self._rows:
            return None
        verb, form = found
        row = self._rows[verb]
        try:
            values = {"resent": planned(verb, form), "title": row.title(form), "about": form.maybe(ABOUT), "to": row.back(form)}
        except VolumeError:
            return None
        return Drawn("resume.html", values)

    def _row(self, verb: str) -> Change:
        row = self._rows.get(verb)
        if row is None:
            raise NotFound(f"there is no change {quoted(verb, 40)}", remedy="use the forms of the page")
        return row


def _refused(visit: Visit, row: Change, error: VolumeError) -> Drawn:
    """Show what helps to give the order in another way; raise the error if nothing does."""
    if isinstance(error, StaleRequest):
        return _conflict(visit, row, error)
    at = wrong_field(error, visit.form)
    if at is None:
        raise error
    try:
        page = row.page(visit)
    except VolumeError:
        # The object of the form is not there, or nothing can be read now: there is no page to be led back to.
        raise error from None
    again, place = Again(visit.form, error, at), _place(row, visit.form)
    return Drawn(page.template, {**page.values, "again": again, "tried": again.of, "place": place}, status=422, refused=error)


def _place(row: Change, form: Form) -> str:
    """Return where in the navigation the form belongs, empty if it does not say."""
    try:
        return row.back(form)
    except VolumeError:
        return ""


def _conflict(visit: Visit, row: Change, error: StaleRequest) -> Drawn:
    """Show what is now beside what is wanted; raise the error if the row has nothing to show, or the object is gone."""
    if row.differing is None:
        raise error
    form, found = visit.form, row.differing(visit)
    replaced = {CSRF, KEY, REVISION, SUBJECT, DIGEST, *(name for name, _ in found.fields)}
    kept = [(name, value) for name, values in form.fields.items() if name not in replaced for value in values]
    values = {"verb": row.verb, "error": error, "differing": found, "kept": [*kept, *found.fields]}
    back = row.back(form)
    return Drawn("conflict.html", {**values, "back": back, "place": back}, status=412, refused=error)


def _after(row: Change, form: Form, outcome: Mapping[str, Any]) -> Away:
    if outcome["task"] is not None and not outcome["done"]:
        return Away(f"/ui/tasks/{outcome['task']}", "It is being done. It goes on also if you leave this page.")
    if not outcome["plan"]["steps"]:
        return Away(row.back(form), "There was nothing to do: it was so already.")
    # As the command line says it.
    waits = " from its next attach on" if any(step["verb"] == AWAIT_ATTACH for step in outcome["plan"]["steps"]) else ""
    return Away(row.back(form), f"Done: {row.said(form)}{waits}.")
