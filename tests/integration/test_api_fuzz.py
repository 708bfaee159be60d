"""Every operation of the REST API with what its description lets one send, and with what it does not, against a real core."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance

from vmdkvol import logs
from vmdkvol.addresses import UnixAddress
from vmdkvol.clock import SystemClock
from vmdkvol.line import Line
from vmdkvol.names import DatastoreName
from vmdkvol.orders import Role
from vmdkvol.volume import VmId
from vmdkvol_esx.composing import compose
from vmdkvol_esx.settings import DatastoreSetting, HostSetting, ServiceSettings
from vmdkvol_esx.web.front import Door, create_app
from vmdkvol_esx.web.health import Health
from vmdkvol_esx.web.login import Login
from vmdkvol_esx.web.plain import READING
from vmdkvol_esx.web.routes import Route, served
from vmdkvol_esx.web.token_file import TokenFile, Tokens

pytestmark = pytest.mark.integration
CLOCK = SystemClock()
EXAMPLES = 12
# The description, the headers of an administrator, and what a path may name that is there.
Api = tuple[Any, Mapping[str, str], Mapping[str, str]]
# What is there, so that not every answer is "not found".
THERE = {"name": "tenant", "vm": "docker1", "vms": "docker1", "datastore": "ds1"}
# A name that no grammar of a schema tells is refused with 400, and that is right.
NOT_ASKED = [positive_data_acceptance]


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    """The description as the API gives it over a real core, with a vmgroup, a machine and a volume there."""
    with tempfile.TemporaryDirectory(prefix="vmdkvol-fuzz-") as folder:
        root = Path(folder)
        (root / "ds1").mkdir()
        service = compose(
            ServiceSettings(
                str(root / "state"),
                (DatastoreSetting(DatastoreName("ds1"), str(root / "ds1")),),
                hosts=(HostSetting("docker1", VmId(UUID(int=0xA)), str(root / "a.sock")),),
                listen=("tcp://127.0.0.1:0",),
                admin_socket=str(root / "admin.sock"),
                trash_retention_s=0.0,
            )
        ).start()
        line = Line(UnixAddress(root / "admin.sock"), CLOCK, agent="fuzz", boot_id="fuzz", reading=READING).start()
        token, _ = TokenFile(root / "tokens.json", CLOCK).add("fuzz", Role.ADMIN, 1)
        log = logs.get("web")
        login = Login(Tokens(root / "tokens.json", CLOCK, log), log)
        app = create_app(Door(line.ask, login.actor, Health(), CLOCK, log, uuid4, logs.bound), served())
        shown = {"Authorization": f"Bearer {token.reveal()}"}
        client = app.test_client()
        client.post("/v1/vmgroups", json={"name": "tenant", "default_datastore": "ds1"}, headers=shown)
        volume = {"vmgroup": "tenant", "name": "db", "options": [["size", "10mb"]]}
        made = client.post("/v1/volumes", json=volume, headers=shown)
        assert made.status_code == 201
        try:
            found = schemathesis.openapi.from_wsgi("/v1/openapi.json", app, headers=shown)
            # By its id: it is renamed, trashed and restored on the way.
            yield found, shown, {**THERE, "volume": made.get_json()["subject"]}
        finally:
            line.close()
            service.stop()


@pytest.mark.parametrize("route", served(), ids=lambda route: route.name)
def test_each_answer_is_as_the_description_says_and_none_is_a_failure_of_ours(api: Api, route: Route) -> None:
    """No 5xx, the described status, type and fields, nothing without a token, nothing for a method that is not there."""
    schema, shown, known = api
    operation = schema[route.path][route.method]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    @given(case=operation.as_strategy(), there=st.booleans())
    def asked(case: Any, there: bool) -> None:
        if there:
            case.path_parameters = {name: known.get(name, text) for name, text in (case.path_parameters or {}).items()}
        case.call_and_validate(headers=shown, excluded_checks=NOT_ASKED)

    asked()


def test_every_operation_is_tried(api: Api) -> None:
    described = {(each.ok().path, each.ok().method.upper()) for each in api[0].get_all_operations()}
    assert described == {(route.path, route.method) for route in served()}
