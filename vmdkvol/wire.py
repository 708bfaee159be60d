"""Messages as bytes: frames, limits, versions, and the strict reading of values. Sans-I/O.

``dump`` and ``load`` also serve whatever else stores values as JSON (sidecar, database, notebook), so that there is
one strict reader. cattrs by itself reads ``"3"`` as 3 (house, "Heavier" 7): every primitive has a refusing hook.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any, TypeVar
from uuid import UUID

import cattrs
from cattrs.strategies import configure_tagged_union

from vmdkvol.errors import BadFrame, VolumeError
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.volume import Address

T = TypeVar("T")


def _strict(kind: type) -> Any:
    def read(value: Any, _: Any) -> Any:
        # bool is an int in Python; a JSON true is no number.
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise TypeError(f"{value!r:.60} is not {kind.__name__}")
        return value

    return read


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True, unstruct_collection_overrides={Set: sorted, tuple: list})
    for kind in (str, int, bool, float):
        converter.register_structure_hook(kind, _strict(kind))
    converter.register_structure_hook(UUID, lambda value, _: UUID(_strict(str)(value, str)))
    converter.register_unstructure_hook(UUID, str)
    converter.register_structure_hook(VolumeRef, lambda value, _: VolumeRef.parse(_strict(str)(value, str)))
    converter.register_unstructure_hook(VolumeRef, lambda ref: ref.text)
    configure_tagged_union(Address, converter, tag_name="type")
    plain = cattrs.gen.make_dict_structure_fn(CreateOptions, converter, _cattrs_forbid_extra_keys=True)
    converter.register_structure_hook(CreateOptions, lambda value, kind: plain(value, kind).checked())
    return converter


_CONVERTER = _make_converter()


def dump(value: Any) -> Any:
    """Return a value of ours as what ``json.dumps`` takes."""
    return _CONVERTER.unstructure(value)


def load(kind: type[T], data: Any) -> T:
    """Return the value of class ``kind`` in ``data`` (from ``json.loads``).

    Raises BadFrame for missing, unknown or wrongly typed fields, and what a name, size or option inside raises.
    """
    try:
        return _CONVERTER.structure(data, kind)
    except VolumeError:
        raise
    except Exception as error:  # noqa: BLE001 - cattrs raises groups of many kinds; each means "not such a value"
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
