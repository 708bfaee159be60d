"""A volume's options as the service tells them in JSON, in the words that people write after ``-o``. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vmdkvol.errors import VolumeError
from vmdkvol.options import OPTIONS, CreateOptions
from vmdkvol.wire import load


def in_words(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given, as after ``-o``; of a newer service as it tells them."""
    try:
        options = load(CreateOptions, dict(said))
    except VolumeError:
        return {key: said.get(key) for key in said["given"]}
    given = (option for option in OPTIONS.values() if option.field in options.given)
    return {option.key: option.show(getattr(options, option.field)) for option in given}
