"""Loads the guard for every test; fixtures live beside the tests that use them."""

from __future__ import annotations

pytest_plugins = ["tests.guards"]
