"""The table of the REST API, and the description that is made from it."""

from __future__ import annotations

import json
import re
from dataclasses import fields

import pytest
from openapi_spec_validator import validate

from vmdkvol.admin_requests import NOUNS, OWN
from vmdkvol.orders import OrderFor, Query
from vmdkvol_esx.web.asked import hints_of
from vmdkvol_esx.web.openapi import document
from vmdkvol_esx.web.routes import GET, ROUTES, Route, served


def test_whatever_the_core_takes_the_api_has() -> None:
    assert {route.message for route in ROUTES} >= set(NOUNS)
    assert {route.message for route in served()} == set(NOUNS)


def test_what_the_api_itself_tells_the_core_nobody_can_tell_by_the_api() -> None:
    assert not {route.message for route in ROUTES} & set(OWN)


def test_no_two_rows_are_the_same() -> None:
    assert len({(route.method, re.sub(r"\{[a-z_]+\}", "{}", route.path)) for route in ROUTES}) == len(ROUTES)
    assert len({route.name for route in ROUTES}) == len(ROUTES)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_a_row_fits_its_message(route: Route) -> None:
    names = {each.name for each in fields(route.message)}  # type: ignore[arg-type]
    assert set(re.findall(r"\{([a-z_]+)\}", route.path)) <= hints_of(route.message).keys()
    assert issubclass(route.message, Query | OrderFor)
    assert route.reads == (route.method == GET)
    assert route.cursor is None or {route.cursor, "limit"} <= names


@pytest.mark.parametrize("route", [route for route in ROUTES if route.makes], ids=lambda route: route.name)
def test_what_was_made_can_be_read_where_the_answer_says(route: Route) -> None:
    place = route.at or route.path
    assert [each for each in ROUTES if each.method == GET and re.fullmatch(rf"{place}/\{{[a-z_]+\}}", each.path)]


def test_the_description_is_a_right_one_also_of_what_is_not_served_yet() -> None:
    validate(document(ROUTES))


def test_the_description_says_what_every_order_has() -> None:
    found = document(ROUTES)["paths"]["/v1/vms/{vm}/enroll"]["post"]
    assert {each["name"] for each in found["parameters"]} == {"vm", "dry_run", "Idempotency-Key", "If-Match"}
    schema = found["requestBody"]["content"]["application/json"]["schema"]
    assert (schema["additionalProperties"], list(schema["properties"])) == (False, ["give"])


def test_nothing_of_the_door_is_in_the_description() -> None:
    text = json.dumps(document(ROUTES)["paths"])
    assert '"by"' not in text
    assert '"expect"' not in text
