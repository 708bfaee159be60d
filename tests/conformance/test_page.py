"""The suite's ids are stable and one each, and the page that tells how it went is about this suite."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conformance import directory_driver
from tests.conformance.case import Case
from tests.conformance.report import FAILED, NOT_RUN, OK, Outcome, digest, page, remember, written
from tests.conformance.settings import Chosen
from tests.conformance.suite import CASES, GROUPS
from tests.conformance.test_suite import CAUGHT
from tests.daemons.site import ROOT
from tests.integration.engine.builds import NEXT, OWN

PAGE = ROOT / "docs" / "reference" / "conformance.md"


def test_there_are_at_least_seventy_cases_and_each_has_an_id_of_its_own() -> None:
    assert len(CASES) >= 70
    assert [id for id, count in Counter(case.id for case in CASES).items() if count > 1] == []


def test_numbers_are_in_order_and_promises_are_sentences() -> None:
    for group in GROUPS:
        assert [case.id for case in group] == sorted(case.id for case in group)
    for case in CASES:
        assert re.fullmatch(r"[A-Z`].{10,120}\.", case.promise), case.id


def test_the_page_tells_of_each_case_of_the_suite_and_of_no_other() -> None:
    told = written(PAGE.read_text(encoding="utf-8"))

    assert {id: cells[0] for id, cells in told.items()} == {case.id: case.promise.replace("|", "\\|") for case in CASES}
    assert {id: cells[1:3] for id, cells in told.items()} == {
        case.id: ("" if case.needs else "anyone", case.where) for case in CASES
    }


def test_no_case_on_the_page_has_failed_and_each_has_passed_on_the_first_engine() -> None:
    told = written(PAGE.read_text(encoding="utf-8"))

    assert [id for id, cells in told.items() if not re.fullmatch(r"\d+\.\d", cells[3])] == []
    assert [id for id, cells in told.items() if not re.fullmatch(rf"\d+\.\d|{NOT_RUN}", cells[4])] == []


@pytest.mark.integration
@pytest.mark.parametrize("options", [[], ["--full"]], ids=["some", "full"])
def test_all_cases_of_an_engine_share_one_world_in_the_order_of_the_suite(options: list[str]) -> None:
    command = ["-m", "pytest", "-p", "no:cacheprovider", "--setup-plan", "tests/conformance/test_conformance.py", *options]

    plan = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    chosen = Chosen(full=bool(options))
    assert re.findall(r"SETUP +M world\[Build\(name='(\w+)'", plan) == [build.name for build in chosen.builds]
    assert re.findall(r"::test_case\[([\w-]+)\] \(fixtures", plan) == [
        f"{build.name}-{case.id}" for build in chosen.builds for case in chosen.cases(build)
    ]


def outcome(case: Case, result: str = OK) -> Outcome:
    return Outcome(result, 1.04, "dockerd 1", "2026-01-02", digest(case))


def test_a_page_is_read_back_as_it_was_written() -> None:
    builds = (OWN, NEXT)
    outcomes = {f"{build.name}-{case.id}": outcome(case, OK if build is OWN else FAILED) for build in builds for case in CASES}

    told = written(page(builds, outcomes))

    assert {cells[3:5] for cells in told.values()} == {("1.0", FAILED)}
    assert told.keys() == {case.id for case in CASES}


def test_what_an_earlier_run_found_is_kept_until_its_case_is_another_one(tmp_path: Path) -> None:
    memory, (one, two, *_) = tmp_path / "memory.json", CASES
    remember(memory, {f"next-{one.id}": outcome(one), f"next-{two.id}": replace(outcome(two), source="as it was")})

    known = remember(memory, {f"installed-{one.id}": outcome(one, FAILED)})

    assert {key: found.result for key, found in known.items()} == {f"next-{one.id}": OK, f"installed-{one.id}": FAILED}


def test_every_fault_of_the_wrong_plugin_has_the_case_that_catches_it() -> None:
    assert CAUGHT.keys() == directory_driver.FAULTS.keys()
    assert set(CAUGHT.values()) <= {case.id for case in CASES if not case.needs}


def test_by_default_all_but_a_few_long_cases_run_on_the_first_engine_and_a_good_slice_on_the_second() -> None:
    picked = Chosen()

    assert picked.cases(OWN) == [case for case in CASES if not case.long]
    assert len(CASES) - len(picked.cases(OWN)) < 10
    assert [case.id for case in CASES if case.quick and case.long] == []
    assert 30 <= len(picked.cases(NEXT)) < len(CASES)
    # What is asked at the socket does not depend on the engine.
    assert {case.group for case in picked.cases(NEXT)} == {group.name for group in GROUPS} - {"calls", "mounts"}


def test_a_foreign_plugin_is_told_which_cases_are_not_for_it() -> None:
    picked = Chosen("other", full=True)

    assert {*picked.cases(OWN), *picked.left_out()} == set(CASES)
    assert all(case.needs for case in picked.left_out())
    assert picked.left_out() != []
