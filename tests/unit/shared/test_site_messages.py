"""What an administrator may ask about datastores, over the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vmdkvol.errors import BadFrame
from vmdkvol.names import DatastoreName
from vmdkvol.orders import Outcome, Plan, Step
from vmdkvol.site_messages import (
    SITE_REQUESTS,
    CordonDatastore,
    CordonInfo,
    DatastoreRow,
    DatastoreRows,
    GetDatastore,
    ListDatastores,
    UncordonDatastore,
)
from vmdkvol.wire import dump, load

DS = DatastoreName("ds (1)")
FULL = DatastoreRow(DS, 100, 5, 250, 90, 2.5, 3, True, None, CordonInfo("ann", 7.5, "full"), ("95 % full",))
GONE = DatastoreRow(DS, None, None, 250, None, None, 3, False, "not shown", None, ("not shown",))
OUTCOME = Outcome(Plan((Step("cordon-datastore", DS, None, "cordoned"),)), True, DS)
EXAMPLES: list[tuple[Any, Any]] = [
    (ListDatastores(after=DS, limit=5), DatastoreRows((FULL, GONE), DS)),
    (GetDatastore(name=DS), FULL),
    (CordonDatastore(name=DS, reason="full", dry_run=True), OUTCOME),
    (UncordonDatastore(name=DS), OUTCOME),
]


def test_the_examples_have_every_message() -> None:
    assert {type(request) for request, _ in EXAMPLES} == set(SITE_REQUESTS)


@pytest.mark.parametrize(("request_", "answer"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_a_message_and_its_answer_come_over_the_wire(request_: Any, answer: Any) -> None:
    assert load(type(request_), json.loads(json.dumps(dump(request_)))) == request_
    assert load(type(request_).answer, json.loads(json.dumps(dump(answer)))) == answer


@pytest.mark.parametrize("changed", [{"overcommit": "2.5"}, {"warnings": "full"}, {"cordon": "ann"}, {"volumes": 1.5}])
def test_a_row_of_another_type_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(BadFrame):
        load(DatastoreRow, dump(FULL) | changed)
