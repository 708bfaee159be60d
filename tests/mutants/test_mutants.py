"""The list of deliberate defects cannot rot, a survivor is a failure, and a few of them are tried for real.

All of them: ``make mutants``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from jinja2 import Environment

from tests.mutants.__main__ import main
from tests.mutants.listed import MUTANTS, Results, beside, failures, read
from tests.mutants.mutant import ESX, ROOT, By, Mutant, copy_of_the_tree, put_in
from tests.mutants.trial import Outcome, TrialFailed, ran_in, tried

# Each is found within a few runs, so that all of it takes seconds.
SLICE = (
    "no-claim-before-the-detach",
    "formatted-is-not-recorded",
    "an-attach-that-does-not-ask-who-has-the-disk",
    "nothing-is-written-down-before-a-change",
)
# What the state machine itself once found in the product.
FOUND_ONCE = (
    "a-list-that-an-answer-leaves-out-is-empty",
    "a-refused-call-is-carried-out-when-it-comes-again",
    "the-trash-believes-a-clock-that-was-ahead",
    "a-host-that-is-off-keeps-its-disks",
)
QUICK = "tests/unit/esx/test_paths.py"
HARMLESS = Mutant(
    "a-comment",
    "nothing is wrong",
    f"{ESX}/settling.py",
    '"""What to do with an open piece of work',
    '"""What to do with an open piece of work ',
    ("I1",),
    (QUICK,),
)


def by_id(mutants: Mapping[str, Mutant]) -> list[object]:
    return [pytest.param(mutant, id=id) for id, mutant in mutants.items()]


def keep_nothing(_: Results) -> None:
    raise AssertionError("only a run of the whole list is kept")


@pytest.mark.parametrize("mutant", by_id(MUTANTS))
def test_a_defect_still_goes_into_the_code_at_one_place_and_compiles(mutant: Mutant) -> None:
    text = mutant.mutated()

    # What is no program is a page's template.
    _ = compile(text, mutant.file, "exec") if mutant.file.endswith(".py") else Environment().parse(text)
    assert text != (ROOT / mutant.file).read_text(encoding="utf-8")


@pytest.mark.parametrize("mutant", by_id(MUTANTS))
def test_the_tests_of_a_defect_exist(mutant: Mutant) -> None:
    for test in mutant.tests:
        path, _, function = test.partition("::")
        source = (ROOT / path).read_text(encoding="utf-8")
        assert not function or f"def {function}(" in source


def test_every_defect_is_a_fault_of_the_product_and_at_least_twenty_are_the_state_machines() -> None:
    assert {mutant.file.split("/")[0] for mutant in MUTANTS.values()} == {"vmdkvol", "guest-agent", "esx-service"}
    assert all(re.fullmatch(r"I\d+", rule) for mutant in MUTANTS.values() for rule in mutant.breaks)
    assert sum(mutant.by is By.MACHINE for mutant in MUTANTS.values()) >= 20
    assert len({mutant.digest for mutant in MUTANTS.values()}) == len(MUTANTS)


def test_what_was_tried_last_is_the_list_as_it_is_and_nothing_survived() -> None:
    results = read()

    assert results.digests == {mutant.id: mutant.digest for mutant in MUTANTS.values()}, "run: make mutants"
    assert failures(results.outcomes) == []


def test_one_survivor_is_a_failure_and_so_is_a_state_machine_that_misses_one_in_ten() -> None:
    mutants = {f"m{number}": HARMLESS for number in range(20)}
    found = {id: Outcome(By.MACHINE, "I1", 60) for id in mutants}
    by_a_test = Outcome(By.TESTS, QUICK)

    assert failures(found, mutants) == []
    assert failures({**found, "m3": by_a_test}, mutants) == []
    assert len(failures({**found, "m3": by_a_test, "m4": by_a_test}, mutants)) == 1
    assert failures({**found, "m3": Outcome(None)}, mutants) == ["m3 survived: nothing is wrong"]


def test_results_of_some_stand_beside_those_of_the_others_that_are_still_the_same() -> None:
    old, changed, new = (replace(HARMLESS, id=id, new=id) for id in ("old", "changed", "new"))
    known = Results(
        "d1", "a1 to b1, in several runs", 8000, dict.fromkeys(["old", "changed", "gone"], Outcome(By.TESTS, "t")), {}
    )
    known = replace(known, digests={"old": old.digest, "changed": "another", "gone": "g"})
    tried_now = Results("d2", "c1+", 3000, {"new": Outcome(By.MACHINE, "I1", 60)}, {"new": new.digest})

    both = beside(known, tried_now, {each.id: each for each in (old, changed, new)})

    assert both == Results(
        "d2",
        "a1 to c1+, in several runs",
        3000,
        {"old": Outcome(By.TESTS, "t"), "new": Outcome(By.MACHINE, "I1", 60)},
        {"old": old.digest, "new": new.digest},
    )


def test_a_name_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["no-such-defect"])

    assert "there is no defect no-such-defect" in capsys.readouterr().err


@pytest.mark.integration
def test_a_harmless_mutant_survives_and_the_command_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["a-comment", "--steps", "60"], {"a-comment": HARMLESS}, tried, keep_nothing) == 1
    assert "a-comment survived" in capsys.readouterr().out


@pytest.mark.integration
def test_a_copy_that_does_not_even_start_is_no_defect_that_was_found(tmp_path: Path) -> None:
    broken = Mutant(
        "b", "d", f"{ESX}/settling.py", "from __future__ import annotations\n", "import nowhere\n", ("I1",), (QUICK,)
    )

    with pytest.raises(TrialFailed, match="nowhere"):
        tried(broken, tmp_path / "tree", 60)


@pytest.mark.integration
def test_what_runs_is_the_copy_and_nothing_of_this_tree(tmp_path: Path) -> None:
    root = copy_of_the_tree(tmp_path / "tree")
    program = "import tests.mutants.trial as t, vmdkvol, vmdkvol_esx.paths as e, vmdkvol_guest.plan as g\n"
    program += "print(*(module.__file__ for module in (t, vmdkvol, e, g)))"

    files = ran_in(root, ["-c", program]).stdout.split()

    assert len(files) == 4
    assert all(file.startswith(f"{root}/") for file in files)


@pytest.mark.integration
@pytest.mark.timeout(400)
@pytest.mark.parametrize("id", SLICE)
def test_the_state_machine_finds_it(tmp_path: Path, id: str) -> None:
    outcome = tried(MUTANTS[id], tmp_path / "tree", 3000)

    assert outcome.by is By.MACHINE
    assert outcome.said in MUTANTS[id].breaks


@pytest.mark.integration
@pytest.mark.timeout(400)
@pytest.mark.parametrize("id", FOUND_ONCE)
def test_the_story_that_found_it_once_finds_it_again(tmp_path: Path, id: str) -> None:
    mutant = MUTANTS[id]
    root = copy_of_the_tree(tmp_path / "tree")
    put_in(mutant, root)

    said = ran_in(root, ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", mutant.tests[0]]).stdout

    assert any(f"{rule} at " in said for rule in mutant.breaks), said
