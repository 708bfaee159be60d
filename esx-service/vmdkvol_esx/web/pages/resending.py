"""What a person sent with a form and was not done, or perhaps not: kept, so that nobody types it once more. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from vmdkvol.errors import BadRequest, Conflict, Exhausted, Internal, Unavailable, VolumeError
from vmdkvol_esx.web.pages.again import CSRF, DIGEST, KEY, SUBJECT
from vmdkvol_esx.web.pages.form import Form

PLAN, CHANGE = "plan", "change"
# What another try may help against: nothing stands in the way any more, there is room again, the service is there again.
_PASSES = (Unavailable, Conflict, Exhausted, Internal)
# Of the plan that was shown; a new plan makes its own.
_OF_A_PLAN = frozenset({CSRF, KEY, SUBJECT, DIGEST})
_PROOF = "i_know"
_VERB = "verb"
# A form that is longer is typed anew; it goes to the login page and back.
_MOST_KEPT = 16 << 10


@dataclass(frozen=True, slots=True)
class Resent:
    """A form that nobody fills in: ``step`` takes ``fields`` for the change ``verb``. ``says`` is what is true of it."""

    verb: str
    step: str
    fields: Sequence[tuple[str, str]]
    button: str
    says: str

    @property
    def path(self) -> str:
        return f"/ui/change/{self.verb}/plan" if self.step == PLAN else f"/ui/change/{self.verb}"


def once_more(error: VolumeError, verb: str, step: str, form: Form) -> Resent | None:
    """Return how what was sent can be sent once more; None where that would come to the same."""
    if not isinstance(error, _PASSES):
        return None
    if step == CHANGE and isinstance(error, Unavailable | Internal):
        # It may have been done. With the plan's key it is the same order, which the core carries out once.
        says = "Nothing that you typed is lost. Sent once more, it is done once, also if it was done already."
        return Resent(verb, CHANGE, tuple(_fields(form, without={CSRF})), "Send it once more", says)
    says = "Nothing that you typed is lost, and it was not done."
    return Resent(verb, PLAN, tuple(_fields(form, without=_OF_A_PLAN)), "Plan it once more", says)


def kept(verb: str, form: Form) -> str:
    """Return what was sent as one text, for whoever must log in first; empty if it is too long. No proof is in it."""
    text = urlencode([(_VERB, verb), *_fields(form, without={*_OF_A_PLAN, _PROOF})])
    return text if len(text) <= _MOST_KEPT else ""


def resumed(text: str) -> tuple[str, Form] | None:
    """Return the change and the form that ``kept`` has written down; None for a text that it has not."""
    if len(text) > _MOST_KEPT:
        return None
    try:
        found = Form.read(text)
        return found.text(_VERB), Form({name: values for name, values in found.fields.items() if name != _VERB})
    except BadRequest:
        return None


def planned(verb: str, form: Form) -> Resent:
    """Return the form that has what was sent before the login planned."""
    fields = tuple(_fields(form, without={*_OF_A_PLAN, _PROOF}))
    return Resent(verb, PLAN, fields, "Plan it", "What you sent before was not done, and is kept.")


def _fields(form: Form, *, without: set[str] | frozenset[str]) -> Iterator[tuple[str, str]]:
    return ((name, value) for name, values in form.fields.items() if name not in without for value in values)
