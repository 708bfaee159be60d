"""Loads the guard for every test; fixtures live beside the tests that use them."""

from __future__ import annotations

from hypothesis import settings

from vmdkvol import logs

pytest_plugins = ["tests.guards"]
# A deadline of an example tells how busy the machine is, not whether the code is right.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")


def pytest_runtest_teardown() -> None:
    """A program that a test ran in this process has set where log lines go: the next test reads its own standard error."""
    logs.unconfigure()
