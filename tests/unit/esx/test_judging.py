"""How a volume stands to its policy: each row of what can be seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.contract.store_benches import new_record
from vmdkvol.options import CreateOptions
from vmdkvol.policy_messages import Compliance, ComplianceCounts
from vmdkvol_esx.judging import counted, judge, row
from vmdkvol_esx.storage_policies import Followed, Unseen

GOLD = replace(new_record(), options=CreateOptions.parse({"size": "1gb", "policy": "gold"}))
SEEN = Followed("gold", Compliance.COMPLIANT, 5.0)


@pytest.mark.parametrize("compliance", Compliance)
def test_under_its_own_policy_it_stands_as_is_seen(compliance: Compliance) -> None:
    assert judge(GOLD, replace(SEEN, compliance=compliance, reason="why")) == (compliance, "why")


@pytest.mark.parametrize(("policy", "said"), [("silver", "policy 'silver'"), (None, "its datastore's own policy")])
def test_under_another_policy_it_is_out_of_date_however_it_stands_to_that(policy: str | None, said: str) -> None:
    assert judge(GOLD, replace(SEEN, policy=policy)) == (Compliance.OUT_OF_DATE, f"its disk is under {said}")


def test_the_policy_that_a_datastore_gives_of_itself_is_none_of_the_volumes_own() -> None:
    plain, usual = replace(GOLD, options=CreateOptions.parse({"size": "1gb"})), replace(SEEN, policy="usual", own=True)
    assert judge(plain, usual)[0] is Compliance.COMPLIANT
    assert judge(plain, replace(usual, own=False))[0] is Compliance.OUT_OF_DATE
    # Named, it has to be that one.
    assert judge(GOLD, usual)[0] is Compliance.OUT_OF_DATE


def test_where_it_cannot_be_told_it_is_unknown_for_the_reason_and_not_under_none() -> None:
    plain = replace(GOLD, options=CreateOptions.parse({"size": "1gb"}))
    for record in (GOLD, plain):
        assert judge(record, Unseen("nobody has it", 5.0)) == (Compliance.UNKNOWN, "nobody has it")
    assert row(GOLD, "dev", Unseen("nobody has it", 5.0)).checked_at is None


def test_what_cannot_be_seen_is_unknown_and_never_compliant() -> None:
    compliance, reason = judge(GOLD, None)
    assert (compliance, bool(reason)) == (Compliance.UNKNOWN, True)


def test_a_row_says_what_the_disk_is_under_and_when_that_was_seen() -> None:
    found = row(GOLD, "dev", replace(SEEN, policy="silver"))
    assert (found.id, found.vmgroup, found.follows, found.checked_at) == (GOLD.id, "dev", "silver", 5.0)
    unseen = row(GOLD, "dev", None)
    assert (unseen.follows, unseen.checked_at) == (None, None)


def test_each_way_to_stand_is_counted() -> None:
    assert counted([*Compliance, Compliance.UNKNOWN]) == ComplianceCounts(1, 1, 1, 1, 2)
