"""The pages with a core that answers what a test says, and a browser that keeps its cookies as one does."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from uuid import UUID

from werkzeug.test import Client, TestResponse

from tests.doubles.hand_clock import HandClock
from vmdkvol import durable
from vmdkvol.admin_messages import ListVms, Standing, VmInfo, VmPage
from vmdkvol.adoption_messages import FoundDisk, FoundDisks, ScanDisks
from vmdkvol.advice_messages import Advice, AdviseMaintenance, MaintenanceAdvice, Matter, TargetKind
from vmdkvol.findings import OK, WARN, Finding
from vmdkvol.names import DatastoreName
from vmdkvol.options import CreateOptions
from vmdkvol.orders import Actor, Outcome, Plan, Role, Step
from vmdkvol.site_messages import CordonInfo, DatastoreRow, DatastoreRows, ListDatastores
from vmdkvol.task_messages import Count, GetTask, ListTasks, SiteInfo, SiteStatus, TaskInfo, Tasks, TaskState
from vmdkvol.vmgroup_messages import DatastoreUsage, ListVmgroups, RightInfo, VmgroupInfo, VmgroupPage
from vmdkvol.volume import Content, Doing, State, VmgroupId, VmId, VolumeId
from vmdkvol.volume_orders import InspectVolume, ListAllVolumes, VolumeDetail, VolumeRow, VolumeRows
from vmdkvol.watch_messages import ReadVitals, Vitals
from vmdkvol_esx.web.beside import beside
from vmdkvol_esx.web.front import Door, create_app
from vmdkvol_esx.web.health import Health
from vmdkvol_esx.web.login import Login
from vmdkvol_esx.web.pages.entering import Gate
from vmdkvol_esx.web.pages.sessions import Sessions, Tries
from vmdkvol_esx.web.pages.site import create_pages
from vmdkvol_esx.web.routes import ROUTES
from vmdkvol_esx.web.token_file import Known, TokenFile, Tokens, hashed

BASE = "https://localhost:1020"
GB = 1 << 30
VOLUME = VolumeRow(
    VolumeId(UUID(int=5)), "db", "g", "ds1", "[ds1] dockvols/g/db.vmdk", 20 * GB, 3 * GB, "gold", "thin", "ext4", "read-write",
    "independent_persistent", State.READY, Content.FORMATTED, False, "docker1", True, False, "docker1", None, None, 1.0, "ann",
    None, 7,
)  # fmt: skip
DISK = FoundDisk("[ds1] databases/orders.vmdk", True, "", "60-0d", 40 * GB, 7 * GB, "thin")
VM = VmInfo(VmId(UUID(int=10)), "docker1", Standing.ENROLLED, True, True, 2_000_000.0)
ADVICE = MaintenanceAdvice(
    "ds1", TargetKind.DATASTORE, False, (Advice(Matter.ATTACHED, True, "db", "docker1 has it", "docker stop db"),), 2
)
TASK = TaskInfo(UUID(int=9), VOLUME.id, "db", Doing.CLONE, TaskState.RUNNING, 1.0, None, 43, 240)
OUTCOME = Outcome(Plan((Step("do", "db", "before", "after"),), "what was there"), False, str(VOLUME.id), 7)


def detail(row: VolumeRow = VOLUME, **more: Any) -> VolumeDetail:
    given = {"disk_uuid": "60-0c", "filesystem_uuid": None, "vmgroup_id": str(UUID(int=3)), **more}
    return VolumeDetail(row, CreateOptions.parse({"size": "20gb", "label": "team=shop"}), **given)


def store(name: str = "ds1", **more: Any) -> DatastoreRow:
    given = {"problem": None, "cordon": None, "warnings": (), **more}
    return DatastoreRow(DatastoreName(name), 100 * GB, 40 * GB, 150 * GB, 30 * GB, 1.5, 3, True, **given)


def answers() -> dict[type, Any]:
    right = RightInfo(DatastoreName("ds1"), True, None, 40 * GB, (), 30 * GB)
    usage = (DatastoreUsage(DatastoreName("ds1"), 30 * GB),)
    group = VmgroupInfo(VmgroupId(UUID(int=3)), "g", "", DatastoreName("ds1"), (), (), (right,), usage, 3, (), 0, 4)
    return {
        SiteStatus: SiteInfo("1.0", 12, 3600.0, (Count("ready", 3), Count("lost", 1)), 1, ("docker1",), 1, ("a disk is lost",)),
        ListDatastores: DatastoreRows((store(cordon=CordonInfo("ann", 1.0, "repair"), warnings=("nearly full",)),)),
        ListVmgroups: VmgroupPage((group,)),
        ListVms: VmPage((VM,)),
        ScanDisks: FoundDisks((DISK, replace(DISK, place="[ds1] web/web.vmdk", adoptable=False, reason="a machine's"))),
        AdviseMaintenance: ADVICE,
        ListTasks: Tasks((TASK,)),
        GetTask: TASK,
        ListAllVolumes: VolumeRows((VOLUME,)),
        InspectVolume: detail(vm=None, address="scsi0:1", trouble=("its machine is off: vmdkvol volume detach db",)),
        ReadVitals: Vitals(True, (Finding(OK, "database", "well"), Finding(WARN, "disks", "full", "make room"))),
    }


class Quiet:
    """A log that keeps the events."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def _keep(self, event: str, **fields: object) -> None:
        self.events.append(f"{event} {fields}")

    debug = info = warning = error = exception = _keep


class Heard:
    """An audit that keeps who came: the door, from where, why not or as whom, and the request's id."""

    def __init__(self) -> None:
        self.logins: list[tuple[str, str, str, UUID | None]] = []

    def refused(self, door: str, source: str, reason: str, request: UUID | None) -> None:
        self.logins.append((door, source, reason, request))

    def entered(self, door: str, by: Actor, request: UUID | None) -> None:
        self.logins.append((door, by.source, f"{by.name}, {by.role}", request))


def _unbound(**_: object) -> AbstractContextManager[None]:
    return nullcontext()


class Site:
    """The application. ``answers`` says what the core says to each message, an error is raised; ``asked`` is what came."""

    def __init__(self, root: Path) -> None:
        self.clock = HandClock(wall=1_000_000.0, monotonic=1000.0)
        self.log = Quiet()
        self.answers: dict[type, Any] = answers()
        self.outcome: Any = OUTCOME
        self.asked: list[Any] = []
        self.calls: list[UUID] = []
        self.left_s: list[float] = []
        self.connected: Actor | None = None
        self.heard = Heard()
        self._file = root / "tokens.json"
        self._tokens = TokenFile(self._file, self.clock)
        ids = (UUID(int=number << 64 | number) for number in range(1, 100_000))
        secrets = iter(f"secret-{number}" for number in range(100_000))
        login = _Connected(Tokens(self._file, self.clock, self.log), self.log, self)
        door = Door(self._ask, login.actor, Health({}), self.clock, self.log, lambda: next(ids), _unbound)
        gate = Gate(login, Sessions(self.clock, lambda: next(secrets)), Tries(self.clock), b"key")
        self.application = beside(create_app(door, ROUTES[:3]), create_pages(door, gate, lambda: next(secrets)))

    def _ask(self, request: Any, call: Any) -> Any:
        self.asked.append(request)
        self.calls.append(call.id)
        self.left_s.append(call.deadline.left_s)
        answer = self.answers.get(type(request), self.outcome)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Outcome) and not request.dry_run and answer.task is None:
            return replace(answer, done=True)
        return answer

    def token(self, name: str, role: Role) -> str:
        return self._tokens.add(name, role, 1)[0].reveal()

    def revoke(self, name: str) -> None:
        self._tokens.remove(name)

    def write(self, *known: Known) -> None:
        """Put these tokens in the place of all others."""
        data = {"tokens": [{"name": each.name, "role": each.role, "hash": each.hash, "created_at": 0.0,
                            "expires_at": each.expires_at} for each in known]}  # fmt: skip
        durable.write(self._file, json.dumps(data).encode())

    def browser(self) -> Browser:
        return Browser(self)

    def entered(self, role: Role = Role.ADMIN, name: str = "ann") -> Browser:
        """Return a browser of somebody who is logged in."""
        browser = self.browser()
        assert browser.log_in(self.token(name, role)).status_code == 303
        return browser

    def orders(self) -> list[Any]:
        return [each for each in self.asked if hasattr(each, "dry_run")]


class _Connected(Login):
    """A login whose connections prove what the test says."""

    __slots__ = ("_site",)

    def __init__(self, tokens: Tokens, log: Any, site: Site) -> None:
        super().__init__(tokens, log, site.heard)
        object.__setattr__(self, "_site", site)

    def connected(self, environ: Mapping[str, Any]) -> Actor | None:
        found: Actor | None = self._site.connected  # type: ignore[attr-defined]
        return found


class Browser:
    """Asks as a browser does: with its cookies, and with the name of the page that a form is on."""

    def __init__(self, site: Site) -> None:
        self.client = Client(site.application, TestResponse)
        self._address = "192.0.2.7"

    def from_address(self, address: str) -> Browser:
        self._address = address
        return self

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.client.get(path, base_url=BASE, headers=_named(headers), environ_base={"REMOTE_ADDR": self._address})

    def post(self, path: str, fields: Mapping[str, Any] | bytes, **headers: str) -> TestResponse:
        said = {"Origin": BASE, "Sec-Fetch-Site": "same-origin", **_named(headers)}
        kind = "application/x-www-form-urlencoded"
        return self.client.post(
            path, base_url=BASE, data=fields, headers=said, content_type=kind, environ_base={"REMOTE_ADDR": self._address}
        )

    def log_in(self, token: str, **more: str) -> TestResponse:
        return self.post("/ui/login", {"token": token, **more})

    def csrf(self, path: str = "/ui/") -> str:
        """Return what the forms of a page carry."""
        [first, *_] = forms(self.get(path))
        return first.fields["csrf"]

    def send(self, path: str, verb: str, **fields: str) -> TestResponse:
        """Fill in the form of ``verb`` on the page at ``path``, and send it."""
        [form] = [each for each in forms(self.get(path)) if each.action == f"/ui/change/{verb}/plan"]
        return self.post(form.action, {**form.fields, **fields})

    def confirm(self, planned: TestResponse) -> TestResponse:
        """Send the form of a plan's page."""
        [form] = [each for each in forms(planned) if each.action.startswith("/ui/change/")]
        return self.post(form.action, form.fields)


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


class Form:
    def __init__(self, action: str) -> None:
        self.action = action
        self.fields: dict[str, str] = {}


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        if tag == "form" and said.get("method") == "post":
            self.found.append(Form(said.get("action") or ""))
        elif tag == "input" and self.found and said.get("type") != "checkbox":
            self.found[-1].fields[said.get("name") or ""] = said.get("value") or ""


def forms(response: TestResponse) -> list[Form]:
    """Return the forms of a page that change something, with what they send if nobody fills anything in."""
    parser = _Forms()
    parser.feed(response.text)
    return parser.found


def heading(response: TestResponse) -> str:
    found = re.findall(r"<h1>(.*?)</h1>", response.text, re.DOTALL)
    assert len(found) == 1, "a page has one heading"
    return str(found[0])


def known(name: str, role: Role, token: str, expires_at: float = 2_000_000.0) -> Known:
    return Known(name, role, hashed(token), 0.0, expires_at)
