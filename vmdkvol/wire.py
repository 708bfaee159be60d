"""Messages as frames, versions, and the strict reading of values. Sans-I/O; ``frames`` has the bytes and their limits.

``dump`` and ``load`` also serve whatever else stores values as JSON (sidecar, database, notebook), so that there is
one strict reader. cattrs by itself reads ``"3"`` as 3 (house, "Heavier" 7): every primitive has a refusing hook.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import fields, is_dataclass, replace
from enum import StrEnum
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_origin
from uuid import UUID

from vmdkvol import (
    admin_errors,  # noqa: F401 - an error that comes by its code is one of those too
    frames,
)
from vmdkvol.errors import (
    BadFrame,
    BadRequest,
    Field,
    Internal,
    InvalidOption,
    ProtocolVersion,
    VolumeError,
    from_code,
    one_line,
)
from vmdkvol.frames import Frame, Written
from vmdkvol.messages import NEWEST_VERSION, OLDEST_VERSION, REQUESTS, A, CreateVolume, Hello, Request
from vmdkvol.names import VolumeRef
from vmdkvol.notices import NOTICES, Notice
from vmdkvol.options import CreateOptions
from vmdkvol.volume import DOING_SINCE, Address, VolumeInfo

if TYPE_CHECKING:
    import cattrs

T = TypeVar("T")

ANSWER, ERROR, PROGRESS = "answer", "error", "progress"
# The classes of requests that a service takes, by the names that they have in frames.
Kinds = Mapping[str, type[Request[Any]]]
_NOTICES: Mapping[str, type] = {kind.__name__: kind for kind in NOTICES}
# More than any error of ours has; what a peer adds beyond them is dropped.
_MAX_FIELDS = 16
# How many different texts of options and of UUIDs are kept with what they mean.
_REMEMBERED = 1024
# Longer texts are not kept: a guest must not fill the service's memory with them.
_SHORT = 1024
# The id of an answer, its type and the brackets around its body, with room to spare.
_ENVELOPE = 128


def _strict(kind: type) -> Any:
    def read(value: Any, wanted: Any) -> Any:
        # bool is an int in Python; a JSON true is no number.
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise TypeError(f"{value!r:.60} is not {kind.__name__}")
        # A StrEnum is a str, so cattrs asks this hook for one: left as it is, any text would be a state.
        return wanted(str(value)) if isinstance(wanted, type) and issubclass(wanted, StrEnum) else value

    return read


def _uuid(value: Any, _: Any) -> UUID:
    if type(value) is not str:
        raise TypeError(f"{value!r:.60} is not str")
    return _uuid_in(value)


@lru_cache(_REMEMBERED)
def _uuid_in(text: str) -> UUID:
    found = UUID(text)
    if str(found) != text:
        # UUID() reads braces, upper case and other scripts' digits; an identity has one spelling.
        raise ValueError(f"{text!r:.60} is not a UUID in its usual form")
    return found


def _is_collection(kind: Any) -> bool:
    return get_origin(kind) in (tuple, frozenset)


def _collection(kind: Any, converter: cattrs.Converter) -> Any:
    """Read a tuple or set from a JSON list only: by itself cattrs makes ("a", "b") of the text "ab"."""
    origin, kinds = get_origin(kind), get_args(kind)

    def read(value: Any, _: Any) -> Any:
        items = _strict(list)(value, list)
        if origin is tuple and kinds[-1] is not Ellipsis:
            if len(items) != len(kinds):
                raise TypeError(f"{len(items)} items instead of {len(kinds)}")
            return tuple(converter.structure(item, each) for item, each in zip(items, kinds, strict=True))
        return origin(converter.structure(item, kinds[0]) for item in items)

    return read


def _has_newer_fields(kind: Any) -> bool:
    return is_dataclass(kind) and any("since" in each.metadata for each in fields(kind))


def _without_newer_fields(version: int, kind: Any, converter: cattrs.Converter) -> Any:
    """Return what writes a value without the fields that came after ``version``, and without newer ones that say nothing.

    The latter so that what we store is read by the version before us as long as it has nothing of ours in it.
    """
    import cattrs

    left_out = _newer_fields(kind, version)
    rules: dict[str, Any] = {
        name: cattrs.gen.override(omit=True) if name in left_out else cattrs.gen.override(omit_if_default=True)
        for name in _newer_fields(kind, 0)
    }
    write = cattrs.gen.make_dict_unstructure_fn(kind, converter, **rules)
    if kind is VolumeInfo:
        return lambda info: write(_without_newer_work(info, version))
    if kind is CreateOptions and left_out:
        # A peer refuses options that are said to be given and that it does not know.
        return lambda options: write(replace(options, given=options.given - left_out))
    return write


def _without_newer_work(info: VolumeInfo, version: int) -> VolumeInfo:
    known = info.work is None or DOING_SINCE.get(info.work.doing, 0) <= version
    return info if known else replace(info, work=None)


def _newer_fields(kind: Any, version: int) -> frozenset[str]:
    return frozenset(each.name for each in fields(kind) if each.metadata.get("since", 0) > version)


@cache
def _converter(version: int) -> cattrs.Converter:
    """Return what writes for a peer that speaks ``version``. All of them read alike, what is newer too.

    Made at the first use: an agent's first answer does not wait for cattrs to be loaded.
    """
    import cattrs
    from cattrs.strategies import configure_tagged_union

    converter = cattrs.Converter(forbid_extra_keys=True, unstruct_collection_overrides={Set: sorted, tuple: list})
    converter.register_unstructure_hook_factory(_has_newer_fields, partial(_without_newer_fields, version))
    for kind in (str, int, bool, float):
        converter.register_structure_hook(kind, _strict(kind))
    converter.register_structure_hook(UUID, _uuid)
    converter.register_structure_hook_factory(_is_collection, _collection)
    converter.register_unstructure_hook(UUID, str)
    converter.register_structure_hook(VolumeRef, lambda value, _: VolumeRef.parse(_strict(str)(value, str)))
    converter.register_unstructure_hook(VolumeRef, lambda ref: ref.text)
    configure_tagged_union(Address, converter, tag_name="type")
    plain = cattrs.gen.make_dict_structure_fn(CreateOptions, converter, _cattrs_forbid_extra_keys=True)

    # Most volumes of a site have the same few options: they are read once, and are one object in memory.
    @lru_cache(_REMEMBERED)
    def remembered(text: str) -> CreateOptions:
        return plain(json.loads(text), CreateOptions).checked()

    def options(value: Any, _: Any) -> CreateOptions:
        text = json.dumps(value)
        return remembered(text) if len(text) <= _SHORT else plain(value, CreateOptions).checked()

    converter.register_structure_hook(CreateOptions, options)
    return converter


def dump(value: Any, version: int = NEWEST_VERSION) -> Any:
    """Return a value of ours as what ``json.dumps`` takes, for a reader of this protocol version."""
    return _converter(version).unstructure(value)


def load(kind: type[T], data: Any) -> T:
    """Return the value of class ``kind`` in ``data`` (from ``json.loads``).

    Raises BadFrame for missing, unknown or wrongly typed fields, and what a name, size or option inside raises.
    """
    try:
        return _converter(NEWEST_VERSION).structure(data, kind)
    except VolumeError:
        raise
    except Exception as error:  # noqa: BLE001 - cattrs raises groups of many kinds; each means "not such a value"
        import cattrs

        inner = _refusal(error)
        if inner is not None:
            raise inner from error
        raise BadFrame(f"not a {getattr(kind, '__name__', kind)}: {cattrs.transform_error(error)}") from error


def _refusal(error: BaseException) -> VolumeError | None:
    """Return the VolumeError that a field's own reader raised, from inside cattrs' exception groups."""
    if isinstance(error, VolumeError):
        return error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            found = _refusal(inner)
            if found is not None:
                return found
    return None


# --- messages as frames ----------------------------------------------------------------------------------------


def common_version(oldest: int, newest: int) -> int:
    """Return the newest version that both sides speak; raise ProtocolVersion naming both ranges if there is none."""
    version = min(newest, NEWEST_VERSION)
    if oldest > newest or version < max(oldest, OLDEST_VERSION):
        raise ProtocolVersion(
            f"the agent speaks protocol versions {oldest} to {newest}, the service {OLDEST_VERSION} to {NEWEST_VERSION}"
        )
    return version


def write_request(request: Request[Any], call: UUID, left_s: float, version: int = NEWEST_VERSION) -> bytes:
    """Return the request as a frame for a service that speaks ``version``.

    Raises BadRequest if it is too large for one: nothing else could be said to its user. InvalidOption if it has an option
    that the service would not get to know of.
    """
    unknown = request.options.given & _newer_fields(CreateOptions, version) if isinstance(request, CreateVolume) else ()
    if unknown:
        raise InvalidOption(
            f"the service does not know option {min(unknown)} yet", remedy="upgrade the service, or leave it out"
        )
    frame = Frame(call, int(left_s * 1000), type(request).__name__, dump(request, version))
    try:
        return frames.write(frame, frames.MAX_REQUEST)
    except BadFrame as error:
        raise BadRequest(f"this {frame.type} is too long: {error.text}", remedy="use fewer or shorter options") from error


def by_name(requests: Iterable[type[Request[Any]]]) -> Kinds:
    """Return the classes as ``read_request`` takes them."""
    return {kind.__name__: kind for kind in requests}


_KINDS = by_name(REQUESTS)


def read_request(frame: Frame, kinds: Kinds = _KINDS) -> Request[Any]:
    """Return the request, one of ``kinds``, in a frame that has a call id and the time left.

    Raises ProtocolVersion for a Hello without a common version, BadFrame for what is no request, and what a name,
    size or option in it raises.
    """
    kind = kinds.get(frame.type)
    if kind is None:
        raise BadFrame(f"{frame.type!r} is not a request")
    if frame.id is None or frame.left_ms is None:
        raise BadFrame(f"a {frame.type} has no call id or no time left")
    if kind is Hello and isinstance(frame.body, dict):
        # Before the strict reading: a newer agent's Hello may have keys that only its own versions know.
        oldest, newest = frame.body.get("oldest"), frame.body.get("newest")
        if type(oldest) is int and type(newest) is int:
            common_version(oldest, newest)
    return load(kind, frame.body)


def write_answer(call: UUID, answer: Any, version: int = NEWEST_VERSION, most: int | None = None) -> bytes:
    """Return the answer as a frame for a guest that speaks ``version``, of ``most`` bytes (see ``messages.Request``).

    One that is too large for a frame becomes an error, so that the caller hears of it.
    """
    try:
        return frames.write(Frame(call, None, ANSWER, dump(answer, version)), most or frames.MAX_FRAME)
    except BadFrame as error:
        return write_error(call, Internal(f"the answer is too long: {error.text}"))


def read_answer(request: Request[A], body: Any) -> A:
    """Return the answer to ``request`` in an answer frame's body; raise BadFrame if it is none."""
    return cast(A, load(type(request).answer, body.value() if isinstance(body, Written) else body))


def read_reply(request: Request[A], frame: Frame) -> A:
    """Return the answer in a reply to ``request``, or raise the error in it; BadFrame if it is neither."""
    if frame.type == ANSWER:
        return read_answer(request, frame.body)
    if frame.type == ERROR:
        raise read_error(frame.body)
    raise BadFrame(f"{frame.type!r} is not a reply")


def write_error(call: UUID | None, error: VolumeError) -> bytes:
    """Return the error as a frame; ``call`` is None if it belongs to the connection."""
    fields = [(one_line(str(name)), _field(value)) for name, value in error.fields.items()]
    body = {"code": error.code, "text": error.text, "remedy": error.remedy, "fields": dict(fields[:_MAX_FIELDS])}
    return frames.write(Frame(call, None, ERROR, body))


def read_error(body: Any) -> VolumeError:
    """Return the error in an error frame's body; raise BadFrame if it is none."""
    try:
        code, text, remedy, fields = (body[key] for key in ("code", "text", "remedy", "fields"))
    except (KeyError, TypeError) as error:
        raise BadFrame("an error without code, text, remedy and fields") from error
    if not (isinstance(code, str) and isinstance(text, str) and isinstance(remedy, str) and isinstance(fields, dict)):
        raise BadFrame("an error whose code, text, remedy or fields are of another type")
    kept = {name: _field(value) for name, value in list(fields.items())[:_MAX_FIELDS]}
    return from_code(code, text, kept, remedy)


def write_progress(call: UUID, percent: int) -> bytes:
    """Return how far a long call is, as a frame."""
    return frames.write(Frame(call, None, PROGRESS, {"percent": max(0, min(percent, 100))}))


def read_progress(body: Any) -> int:
    """Return the percent in a progress frame's body; raise BadFrame if it is none."""
    percent = body.get("percent") if isinstance(body, dict) and len(body) == 1 else None
    if type(percent) is not int or not 0 <= percent <= 100:
        raise BadFrame("a progress is not 0 to 100 percent")
    return percent


def write_notice(notice: Notice) -> bytes:
    """Return the notice as a frame."""
    return frames.write(Frame(None, None, type(notice).__name__, dump(notice)))


def read_notice(frame: Frame) -> Notice:
    """Return the notice in a frame; raise BadFrame if it is none."""
    kind = _NOTICES.get(frame.type)
    if kind is None:
        raise BadFrame(f"{frame.type!r} is not a notice")
    return cast(Notice, load(kind, frame.body))


# --- answers beside the channel --------------------------------------------------------------------------------


def answer_size(answer: Any) -> int:
    """Return the bytes that a frame with this answer takes, at most 128 too many. ``frames.MAX_FRAME`` is the limit.

    Sizes of parts add up to no less than the size of the whole, so a page may be filled by the sum of its volumes'.
    """
    return len(frames.encode(dump(answer))) + _ENVELOPE


def _field(value: Any) -> Field:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    return one_line(str(value))
