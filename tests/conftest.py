"""Loads the guard for every test; fixtures live beside the tests that use them."""

from __future__ import annotations

from hypothesis import settings

pytest_plugins = ["tests.guards"]
# A deadline of an example tells how busy the machine is, not whether the code is right.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")
