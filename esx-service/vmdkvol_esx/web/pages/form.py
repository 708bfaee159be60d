"""What a person sent with a form, field by field, or the error that says what is wrong with it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from vmdkvol.admin_errors import WrongMedia
from vmdkvol.errors import BadRequest, quoted
from vmdkvol.sizes import parse_size

_MOST_FIELDS = 200
_KIND = "application/x-www-form-urlencoded"
# In an error: the name of the field that it is about.
FIELD = "form_field"


@dataclass(frozen=True, slots=True)
class Form:
    """The fields by name, in the order in which they came. A box that is not ticked is not among them."""

    fields: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def parse(cls, body: bytes, kind: str) -> Form:
        """Read what a browser sends; BadRequest for what none does."""
        if not body:
            return cls()
        if kind != _KIND:
            raise WrongMedia(f"the form is said to be {quoted(kind, 40)}", remedy="send it from the page")
        return cls.read(body.decode("latin-1"))

    @classmethod
    def read(cls, text: str) -> Form:
        """Read the part of an address after its ``?``."""
        try:
            pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
        except (ValueError, UnicodeError):
            raise BadRequest("the fields are no UTF-8, or too many", remedy="send the form from the page") from None
        found: dict[str, list[str]] = {}
        for name, value in pairs:
            # A browser ends the lines of a text area as it likes.
            found.setdefault(name, []).append(value.replace("\r\n", "\n"))
        return cls(found)

    def text(self, name: str) -> str:
        """Return the field, without blanks around it; BadRequest if it is empty, not there or there twice."""
        found = self.maybe(name)
        if found is None:
            raise BadRequest("this is empty", remedy="fill it in", form_field=name)
        return found

    def maybe(self, name: str) -> str | None:
        """As ``text``, but None for one that is empty or not there."""
        found = self.fields.get(name, ())
        if len(found) > 1:
            times = f"the field {quoted(name, 40)} is there {len(found)} times"
            raise BadRequest(times, remedy="send the form from the page", form_field=name)
        return (found[0].strip() or None) if found else None

    def flag(self, name: str) -> bool:
        """Tell whether the box is ticked."""
        return self.maybe(name) is not None

    def size(self, name: str) -> int:
        """Return the bytes that a field such as ``20gb`` means; InvalidSize."""
        with about(name):
            return parse_size(self.text(name))

    def several(self, name: str) -> tuple[str, ...]:
        """Return every value of a field that may be there several times."""
        return tuple(value.strip() for value in self.fields.get(name, ()) if value.strip())

    def lines(self, name: str) -> tuple[str, ...]:
        """Return the lines of a text area that are not empty."""
        return tuple(line.strip() for line in (self.maybe(name) or "").split("\n") if line.strip())

    def pairs(self, name: str) -> tuple[tuple[str, str], ...]:
        """Return the lines ``KEY=VALUE`` of a text area; BadRequest for one that is none."""
        found = []
        for line in self.lines(name):
            key, separator, value = line.partition("=")
            if not separator or not key.strip():
                raise BadRequest(f"{quoted(line)} is no option", remedy="write KEY=VALUE, one a line", form_field=name)
            found.append((key.strip(), value.strip()))
        return tuple(found)

    def number(self, name: str) -> int | None:
        """Return a whole number, None if the field is empty or not there; BadRequest."""
        found = self.maybe(name)
        if found is None:
            return None
        if not found.isascii() or not found.isdigit() or len(found) > 18:
            raise BadRequest(f"{name} is a number, not {quoted(found, 40)}", remedy="write a whole number", form_field=name)
        return int(found)


@contextmanager
def about(name: str) -> Iterator[None]:
    """Have every BadRequest that is raised in here say that it is about this field."""
    try:
        yield
    except BadRequest as error:
        error.fields.setdefault(FIELD, name)
        raise
