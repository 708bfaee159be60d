"""Defects of the vSphere side. Those that a pure test finds: the simulator is not built in each copy of the tree."""

from __future__ import annotations

from tests.mutants.mutant import ESX, By, Mutant

UNIT = "tests/unit/esx/vsphere"

MUTANTS = (
    Mutant(
        "a-change-without-an-answer-is-sent-again",
        "a disk is attached, or deleted, twice after a timeout",
        f"{ESX}/vsphere/repeating.py",
        "(kind is Kind.READ and meaning in (Meaning.LOST, Meaning.NOT_UNDERSTOOD))",
        "meaning in (Meaning.LOST, Meaning.NOT_UNDERSTOOD)",
        ("I10",),
        (f"{UNIT}/test_repeating.py", f"{UNIT}/test_session.py"),
        By.TESTS,
    ),
    Mutant(
        "a-lost-answer-says-that-nothing-was-done",
        "a change whose answer was lost is told as one that certainly was not made",
        f"{ESX}/vsphere/faults.py",
        '"check that the server runs; it is tried again", refused=False, undone=False',
        '"check that the server runs; it is tried again", undone=False',
        ("I6",),
        (f"{UNIT}/test_faults.py",),
        By.TESTS,
    ),
    Mutant(
        "an-ended-session-has-no-devices",
        "values that the server withheld are read as not set",
        f"{ESX}/vsphere/reading.py",
        "        if not isinstance(missing.fault, vmodl.query.InvalidProperty):\n",
        "        if isinstance(missing.fault, vmodl.query.PropertyCollector):\n",
        ("I6",),
        (f"{UNIT}/test_reading.py",),
        By.TESTS,
    ),
    Mutant(
        "a-refused-password-is-tried-every-second",
        "the account is locked by the tries of its own service",
        f"{ESX}/vsphere/relogin.py",
        "held_until=now + (REFUSED_S if asked else FAILED_S)",
        "held_until=now + FAILED_S",
        ("I5",),
        (f"{UNIT}/test_relogin.py", f"{UNIT}/test_session.py"),
        By.TESTS,
    ),
    Mutant(
        "a-session-that-ended-is-renewed-by-each-caller",
        "fifty callers that find the session ended log in fifty times",
        f"{ESX}/vsphere/relogin.py",
        "    if tries.under_way:\n        return Advice.JOIN\n",
        "",
        ("I8",),
        (f"{UNIT}/test_relogin.py", f"{UNIT}/test_session.py"),
        By.TESTS,
    ),
    Mutant(
        "any-certificate-is-the-pinned-one",
        "what a pinned authority signed is let in",
        f"{ESX}/vsphere/pins.py",
        "presented is not None and hmac.compare_digest(self.der, presented)",
        "presented is not None",
        ("I7",),
        (f"{UNIT}/test_pins.py",),
        By.TESTS,
    ),
    Mutant(
        "a-password-file-that-all-can-read",
        "the password lies open, and nobody says so",
        f"{ESX}/vsphere/credentials.py",
        "    return _read(path, shared=0o077)\n",
        "    return _read(path, shared=0)\n",
        ("I7",),
        (f"{UNIT}/test_credentials.py",),
        By.TESTS,
    ),
    Mutant(
        "a-failed-task-without-a-fault-did-nothing",
        "a task's end that says too little is told as certain",
        f"{ESX}/vsphere/ends.py",
        'Trouble(Meaning.OTHER, "the task failed without a fault", Where.TASK)',
        'Trouble(Meaning.BUSY, "the task failed without a fault", Where.TASK)',
        ("I6",),
        (f"{UNIT}/test_ends.py",),
        By.TESTS,
    ),
)
