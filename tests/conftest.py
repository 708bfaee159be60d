"""Loads the guard for every test; fixtures live beside the tests that use them."""

from __future__ import annotations

import gc

from hypothesis import settings

from vmdkvol import logs

pytest_plugins = ["tests.guards"]
# A deadline of an example tells how busy the machine is, not whether the code is right.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")


def pytest_sessionstart() -> None:
    """While modules are loaded and tests are found nothing is garbage: looking for it is a waste."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What is there before the first test is looked through for garbage once: it stays to the end.

    Looking again and again took a fifth of the unit tests' processor time. What tests make is looked through as ever, but that
    which has stayed for long is so ten times less often.
    """
    gc.collect()
    gc.freeze()
    young, middle, old = gc.get_threshold()
    gc.set_threshold(young, middle, 10 * old)
    gc.enable()


def pytest_runtest_teardown() -> None:
    """A program that a test ran in this process has set where log lines go: the next test reads its own standard error."""
    logs.unconfigure()
