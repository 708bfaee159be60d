"""Values of ours as JSON Schema (2020-12), as ``wire`` writes and reads them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Mapping as AnyMapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from vmdkvol.names import VolumeRef
from vmdkvol.volume import Address

Schema = dict[str, Any]

_PLAIN: Mapping[Any, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    # What a frame of the core's protocol holds.
    int: {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    float: {"type": "number"},
    UUID: {"type": "string", "format": "uuid"},
    VolumeRef: {"type": "string"},
}
_TAGGED = frozenset(get_args(Address))


class Schemas:
    """Makes schemas; those of our records are kept under their names, and referred to."""

    def __init__(self, prefix: str = "#/components/schemas/") -> None:
        self._prefix = prefix
        self.known: dict[str, Schema] = {}

    def of(self, hint: Any) -> Schema:
        """Return the schema of a type."""
        hint = getattr(hint, "__supertype__", hint)
        origin, inner = get_origin(hint), get_args(hint)
        if origin in (Union, UnionType):
            return self._either(inner)
        if origin is tuple:
            return self._tuple(inner)
        if origin is frozenset:
            return {"type": "array", "items": self.of(inner[0]), "uniqueItems": True}
        if origin in (dict, AnyMapping):
            return {"type": "object", "additionalProperties": self.of(inner[1])}
        if hint in _PLAIN:
            return dict(_PLAIN[hint])
        if isinstance(hint, type) and issubclass(hint, Enum):
            return {"type": "string", "enum": [str(each.value) for each in hint]}
        if is_dataclass(hint) and isinstance(hint, type):
            return self._record(hint)
        raise TypeError(f"no schema for {hint!r}")

    def properties(self, kind: Any, names: Mapping[str, Any]) -> Schema:
        """Return the schema of an object with these fields of a record."""
        given = {each.name: each for each in fields(kind) if each.name in names}
        return {
            "type": "object",
            "properties": {name: self._with_default(each, names[name]) for name, each in given.items()},
            "required": sorted(name for name, each in given.items() if not _has_default(each)),
            "additionalProperties": False,
        }

    def _either(self, inner: tuple[Any, ...]) -> Schema:
        kinds = [each for each in inner if each is not type(None)]
        found = [self.of(each) for each in kinds]
        if len(kinds) < len(inner):
            if len(found) == 1 and isinstance(found[0].get("type"), str) and "enum" not in found[0]:
                return {**found[0], "type": [found[0]["type"], "null"]}
            found.append({"type": "null"})
        return {"anyOf": found}

    def _tuple(self, inner: tuple[Any, ...]) -> Schema:
        if inner[-1] is Ellipsis:
            return {"type": "array", "items": self.of(inner[0])}
        count = len(inner)
        return {"type": "array", "prefixItems": [self.of(each) for each in inner], "minItems": count, "maxItems": count}

    def _record(self, kind: type) -> Schema:
        name = kind.__name__
        if name not in self.known:
            # First, for a record that has one of its own kind in it.
            self.known[name] = {}
            hints = get_type_hints(kind)
            schema = self.properties(kind, {each.name: hints[each.name] for each in fields(kind)})
            # All of them are always told, but what is newer than the protocol's first version while it says nothing.
            schema["required"] = sorted(each.name for each in fields(kind) if "since" not in each.metadata)
            if kind in _TAGGED:
                schema["properties"]["type"] = {"const": name}
                schema["required"] = sorted([*schema["required"], "type"])
            self.known[name] = {"title": name, "description": described(kind), **schema}
        return {"$ref": f"{self._prefix}{name}"}

    def _with_default(self, field: Field[Any], hint: Any) -> Schema:
        schema = self.of(hint)
        default = field.default
        if "$ref" not in schema and (default is None or isinstance(default, str | int | float | bool)):
            return {**schema, "default": default.value if isinstance(default, Enum) else default}
        return schema


def described(kind: type) -> str:
    """Return what the code says of it, as one paragraph per paragraph."""
    paragraphs = (kind.__doc__ or "").replace("``", "`").split("\n\n")
    return "\n\n".join(" ".join(each.split()) for each in paragraphs).strip()


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING
