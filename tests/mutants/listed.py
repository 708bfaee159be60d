"""The list, and what the last run of the whole of it said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.mutants import adapters, administrators, adopted, agent, channel, identity, pages, policies, service, vsphere
from tests.mutants.mutant import By, Mutant
from tests.mutants.trial import Outcome

RESULTS = Path(__file__).with_name("results.json")
_FILES = (agent, service, adapters, vsphere, identity, channel, administrators, adopted, pages, policies)
MUTANTS: Mapping[str, Mutant] = {mutant.id: mutant for file in _FILES for mutant in file.MUTANTS}


@dataclass(frozen=True, slots=True)
class Results:
    """``date`` is UTC, ``commit`` the tree's, ``steps`` what the state machine had for each; outcomes and digests by id."""

    date: str
    commit: str
    steps: int
    outcomes: Mapping[str, Outcome]
    digests: Mapping[str, str]


def write(results: Results) -> None:
    """Keep the results beside the list."""
    RESULTS.write_text(json.dumps(asdict(results), indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read() -> Results:
    """Return the results of the last run of the whole list."""
    data = json.loads(RESULTS.read_text(encoding="utf-8"))
    outcomes = {
        id: Outcome(None if each["by"] is None else By(each["by"]), each["said"], each["steps"])
        for id, each in data["outcomes"].items()
    }
    return Results(data["date"], data["commit"], data["steps"], outcomes, data["digests"])


def beside(known: Results, new: Results, mutants: Mapping[str, Mutant] = MUTANTS) -> Results:
    """Return the new results, and the known ones of what is still on the list as it was then and was not tried anew."""
    outcomes = {**known.outcomes, **new.outcomes}
    digests = {**known.digests, **new.digests}
    kept = [id for id, mutant in mutants.items() if digests.get(id) == mutant.digest]
    return Results(
        new.date,
        f"{known.commit.partition(' ')[0]} to {new.commit}, in several runs",
        min(known.steps, new.steps),
        {id: outcomes[id] for id in kept},
        {id: digests[id] for id in kept},
    )


def failures(outcomes: Mapping[str, Outcome], mutants: Mapping[str, Mutant] = MUTANTS) -> list[str]:
    """Return what is wrong with the outcomes, a line for each survivor; empty if the tests can fail as they should.

    Of the defects that are the state machine's to find, 19 of 20 must be found by it; the others by a test at least.
    """
    wrong = [f"{id} survived: {mutants[id].defect}" for id, outcome in outcomes.items() if outcome.by is None]
    expected = [id for id in outcomes if mutants[id].by is By.MACHINE]
    missed = [id for id in expected if outcomes[id].by is not By.MACHINE]
    if 20 * len(missed) > len(expected):
        wrong.append(f"the state machine missed {len(missed)} of {len(expected)}: {', '.join(missed)}")
    return wrong
