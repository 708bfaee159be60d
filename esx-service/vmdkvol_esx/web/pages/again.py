"""A form that was refused, drawn again: what was in it, and which of its fields the error is about. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from vmdkvol.admin_errors import (
    BodyTooLong,
    InvalidLimit,
    MemberElsewhere,
    NotAdoptable,
    ProofNeeded,
    VmgroupNotEmpty,
    VmgroupNotFound,
    VmNotFound,
    WrongMedia,
)
from vmdkvol.errors import (
    BadRequest,
    DatastoreNotFound,
    InvalidName,
    InvalidOption,
    InvalidSize,
    NameConflict,
    NoSpace,
    PolicyNotFound,
    QuotaExceeded,
    VolumeError,
)
from vmdkvol_esx.web.pages.form import FIELD, Form

# What stands in a form beside the order's own fields: whose it is, what was seen, of which id, what goes with it, which plan,
# which of the page's forms, and in words which of several objects of one name it is about.
CSRF, REVISION, SUBJECT, DIGEST, KEY, MARK, ABOUT = "csrf", "revision", "subject", "digest", "key", "form", "about"
_NOBODY_FILLS_IN = frozenset({CSRF, REVISION, SUBJECT, DIGEST, KEY, MARK, ABOUT})
# A proof is typed each time: one that is there already proves nothing.
_TYPED_ANEW = frozenset({"i_know"})
_HEAD = ""
# Where the error itself does not say it: the first of these fields that the form has. The head of the form: no single one.
_ABOUT: tuple[tuple[type[VolumeError], tuple[str, ...]], ...] = (
    (InvalidName, ("new_name", "name", "default_datastore", "datastore")),
    (NameConflict, ("new_name", "to_vmgroup", "name")),
    (InvalidSize, ("size", "defaults", "options")),
    (InvalidLimit, ("max_bytes", "total_bytes")),
    (InvalidOption, ("options", "defaults", "policy")),
    (QuotaExceeded, ("size", "vmgroup", "to_vmgroup")),
    (NoSpace, ("size",)),
    (DatastoreNotFound, ("datastore", "default_datastore", "options")),
    (PolicyNotFound, ("policy", "policies", "options", "defaults", "to_vmgroup")),
    (VmgroupNotFound, ("vmgroup", "to_vmgroup")),
    (VmNotFound, ("vms",)),
    (MemberElsewhere, ("vms",)),
    (ProofNeeded, ("i_know",)),
    (VmgroupNotEmpty, ("name",)),
    (NotAdoptable, ("disk",)),
)


@dataclass(frozen=True, slots=True)
class Again:
    """``at`` is the field that ``error`` is about; empty: the form as a whole."""

    form: Form
    error: VolumeError
    at: str

    def of(self, mark: str) -> Again | None:
        """Return this for the form of this mark, None for any other on the page."""
        return self if self.form.maybe(MARK) == mark else None

    def text(self, name: str) -> str:
        """Return what was in a field, as it was typed; of a proof nothing."""
        found = () if name in _TYPED_ANEW else self.form.fields.get(name, ())
        return found[0] if found else ""

    def several(self, name: str) -> tuple[str, ...]:
        """Return every value of a field that may be there several times."""
        return self.form.several(name)

    def ticked(self, name: str, value: str) -> bool:
        """Tell whether a box with this value was ticked."""
        return value in self.form.fields.get(name, ())


def wrong_field(error: VolumeError, form: Form) -> str | None:
    """Return the field of the form that the error is about, empty: the form as a whole; None: none that a person filled in."""
    if isinstance(error, WrongMedia | BodyTooLong):
        return None
    said = error.fields.get(FIELD)
    if isinstance(said, str):
        return None if said in _NOBODY_FILLS_IN else said
    for kind, names in _ABOUT:
        if isinstance(error, kind):
            found = next((name for name in names if name in form.fields), None)
            return _HEAD if found is None and isinstance(error, BadRequest) else found
    return _HEAD if isinstance(error, BadRequest) else None
