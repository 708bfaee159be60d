"""The parts of docs/reference that the code knows best. ``python -m tests.reference`` writes them into the pages.

A page has them between ``<!-- made from the code: NAME -->`` and ``<!-- end -->``; ``test_docs`` compares.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints
from uuid import UUID

from tests import commands
from tests.bench import written
from tests.contract import befalls, proven
from tests.contract.checklist import CHECKLIST
from tests.figures_page import metrics_table
from tests.mutants import listed
from tests.mutants.mutant import By
from tests.mutants.trial import Outcome
from vmdkvol.errors import BY_CODE, VolumeError
from vmdkvol.names import DatastoreName
from vmdkvol.options import OPTIONS, PACKAGES, CreateOptions
from vmdkvol.orders import Role
from vmdkvol.sizes import format_size
from vmdkvol.tuning import MINIMUM_SIZE, MKFS, MOUNT
from vmdkvol.volume import (
    DEFAULT_VMGROUP,
    FIRST_LOOP,
    Content,
    DiskUuid,
    Holder,
    LoopAddress,
    State,
    VmId,
    VolumeId,
    VolumeInfo,
)
from vmdkvol_esx import sidecar
from vmdkvol_esx.local import vmdk
from vmdkvol_esx.paths import new_path
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.settings import DatastoreSetting, HostSetting, ServiceSettings, VsphereSetting
from vmdkvol_esx.vsphere.role import NEEDS, TOO_MUCH, Need, Place, roles
from vmdkvol_esx.web.openapi import document
from vmdkvol_esx.web.routes import Route, served
from vmdkvol_esx.web_setting import WebSetting
from vmdkvol_guest.ports import Holdings
from vmdkvol_guest.settings import AgentSettings
from vmdkvol_guest.status import status

DOCS = Path(__file__).parents[1] / "docs"
OPENAPI = DOCS / "reference" / "openapi.json"
BLOCK = re.compile(r"(<!-- made from the code: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

_ID = UUID("6d3f0a7e-3c67-4d8b-9e1a-0c2b4a5d6e7f")
_DISK = DiskUuid(UUID("60c2912f-4a5b-4c6d-8e7f-001122334455"))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(_cell(cell) for cell in line) + " |\n" for line in lines)


def options() -> str:
    """Return the table of ``-o`` options."""
    rows = [(f"`{each.key}`", each.values, each.default, each.help) for each in OPTIONS.values()]
    return _table(("option", "values", "default", "meaning"), rows)


def file_systems() -> str:
    """Return what each file system needs."""
    rows = [(fstype, f"`{format_size(MINIMUM_SIZE[fstype])}`", f"`{package}`") for fstype, package in PACKAGES.items()]
    return _table(("fstype", "smallest size", "Debian package on the Docker host"), rows)


def mkfs_options() -> str:
    """Return the allow-list of mkfs."""
    rows = [(fstype, f"`{allowed.shown}`") for fstype, rules in MKFS.items() for _, allowed in rules]
    return _table(("fstype", "allowed"), rows)


def mount_options() -> str:
    """Return the allow-list of mount."""
    rows = [(fstype, ", ".join(f"`{allowed.shown}`" for allowed in rules)) for fstype, rules in MOUNT.items()]
    return _table(("fstype", "allowed"), rows)


def errors() -> str:
    """Return a section for each code that is ever raised, in the order of the taxonomy."""
    return "\n".join(_error(kind) for kind in BY_CODE.values() if kind.explanation)


def _error(kind: type[VolumeError]) -> str:
    meaning = (kind.__doc__ or "").split("\n\n")[0].replace("\n    ", " ").strip()
    return (
        f"### {kind.code}\n\n{meaning}\n\n"
        f"- **Cause**: {kind.explanation}\n- **What to do**: {kind.remedy}.\n- **Exit code**: {kind.exit_code}\n"
    )


def exit_codes() -> str:
    """Return the exit codes of the commands by the groups of the taxonomy."""
    groups = [kind for kind in BY_CODE.values() if kind.__subclasses__()]
    rows = [
        (str(kind.exit_code), f"{(kind.__doc__ or '').splitlines()[0]}", ", ".join(_linked(each) for each in _raised(kind)))
        for kind in groups
    ]
    return _table(("exit code", "what it says", "codes"), rows)


def _raised(group: type[VolumeError]) -> list[type[VolumeError]]:
    return [kind for kind in BY_CODE.values() if issubclass(kind, group) and kind.explanation]


def _linked(kind: type[VolumeError]) -> str:
    return f"[{kind.code}](#{kind.code})"


def _settings(kind: type[Any]) -> str:
    hints = get_type_hints(kind)
    rows = [(f"`{each.name}`", _type(hints[each.name]), _default(each), each.metadata["help"]) for each in fields(kind)]
    return _table(("setting", "type", "default", "meaning"), rows)


def _type(hint: Any) -> str:
    text = str(getattr(hint, "__name__", hint))
    known = {
        "str": "text",
        "int": "number",
        "float": "number",
        "bool": "true or false",
        "DatastoreName": "text",
        "VmId": "UUID",
    }
    if text in known:
        return known[text]
    if get_origin(hint) is tuple:
        return "list of tables" if is_dataclass(get_args(hint)[0]) else f"list of {_type(get_args(hint)[0])}s"
    return "table" if any(is_dataclass(each) for each in get_args(hint)) else "text"


def _default(each: Field[Any]) -> str:
    if each.default is MISSING:
        return "none: must be given" if each.default_factory is MISSING else "none"
    if each.default in (None, ()):
        return "none"
    return f"`{each.default:g}`" if isinstance(each.default, float) else f"`{each.default}`"


def agent_settings() -> str:
    return _settings(AgentSettings)


def service_settings() -> str:
    return _settings(ServiceSettings)


def datastore_settings() -> str:
    return _settings(DatastoreSetting)


def host_settings() -> str:
    return _settings(HostSetting)


def vsphere_settings() -> str:
    return _settings(VsphereSetting)


def web_settings() -> str:
    """Return a table of the settings of the REST API."""
    return _settings(WebSetting)


def role() -> str:
    """Return the privileges of the account, place by place."""
    text = ""
    for place in Place:
        rows = [(f"`{need.privilege}`", need.why, f"{need.call}", _only(need)) for need in NEEDS if need.place is place]
        text += f"On {place.value}:\n\n{_table(('privilege', 'what for', 'calls', 'only'), rows)}\n"
    return text


def _only(need: Need) -> str:
    notes = ["vCenter"] if need.vcenter else []
    notes += ["vSAN, vVols"] if need.objects else []
    notes += [f"for {need.without}"] if need.without else []
    return "; ".join(notes)


def role_names() -> str:
    """Return the roles that `create-role` makes."""
    rows = [
        (f"`{each.name}`", each.place.value, ", ".join(f"`{privilege}`" for privilege in each.privileges[3:]) or "these three")
        for each in roles(vcenter=True)
    ]
    return _table(("role", "given on", "beside System.Anonymous, System.View, System.Read"), rows)


def role_never() -> str:
    """Return privileges that doctor warns of."""
    return "".join(f"- `{privilege}`\n" for privilege in TOO_MUCH)


def example_record() -> VolumeRecord:
    return VolumeRecord(
        id=VolumeId(_ID),
        vmgroup=DEFAULT_VMGROUP,
        name="db",
        datastore=DatastoreName("ds1"),
        path=new_path(DEFAULT_VMGROUP, "db", VolumeId(_ID)),
        disk_uuid=_DISK,
        size_bytes=1 << 30,
        state=State.READY,
        content=Content.FORMATTED,
        filesystem_uuid=UUID("0d7a3a5e-93b2-4f4f-8b0b-6a0f5d3c2b1a"),
        options=CreateOptions.parse({"size": "1gb"}),
        generation=3,
        created_at=1764081706.0,
        created_by="vsphere",
    )


def paths() -> str:
    """Return the files of one volume, as they lie in its datastore."""
    path = example_record().path
    return f"```\n{path}\n{path.removesuffix('.vmdk')}-flat.vmdk\n{path}.json\n```\n".replace(".vmdk.json", ".vmdkvol.json")


def descriptor() -> str:
    """Return a descriptor as it is written."""
    record = example_record()
    extent = vmdk.extent_name(record.path.rsplit("/", 1)[1])
    note = {"volume": str(record.id), "vmgroup": str(record.vmgroup), "name": record.name}
    made = vmdk.Descriptor(record.size_bytes, extent, record.disk_uuid, thin=True, note=note)
    return f"```\n{vmdk.write(made).decode('ascii')}```\n"


def status_map() -> str:
    """Return what `docker volume inspect` shows as Status of a mounted volume."""
    record = example_record()
    record = replace(record, options=replace(record.options, policy="gold", iops_limit=500, shares="high"))
    info = VolumeInfo(
        id=record.id,
        name=record.name,
        datastore=record.datastore,
        vmgroup=record.vmgroup,
        size_bytes=record.size_bytes,
        allocated_bytes=716800,
        state=record.state,
        content=record.content,
        options=record.options,
        created_at=record.created_at,
        created_by=record.created_by,
        attached_to=Holder(VmId(_ID), "vsphere", LoopAddress(FIRST_LOOP)),
    )
    held = Holdings(record.id, frozenset({"4a5b6c7d8e9f"}))
    return f"```json\n{json.dumps(status(info, held, mounted=True, stale=False), indent=1)}\n```\n"


def sidecar_file() -> str:
    """Return a sidecar as it is written."""
    return f"```json\n{sidecar.encode(example_record()).decode('ascii')}```\n"


def mutants() -> str:
    """Return what the last run of the whole list of deliberate defects said."""
    results = listed.read()
    found = {by: sum(outcome.by is by for outcome in results.outcomes.values()) for by in (By.MACHINE, By.TESTS, None)}
    tried = (
        f"Tried on {results.date} at commit {results.commit}, with {results.steps} steps of the state machine for each: "
        f"{found[By.MACHINE]} found by the state machine, {found[By.TESTS]} by a test, {found[None]} survived.\n\n"
    )
    rows = []
    for mutant in listed.MUTANTS.values():
        outcome = results.outcomes.get(mutant.id, Outcome(None, "not tried"))
        seen = f"`{outcome.said}`" if outcome.by is By.TESTS else outcome.said
        by = "nobody" if outcome.by is None else str(outcome.by)
        steps = "" if outcome.steps is None else str(outcome.steps)
        rows.append((f"`{mutant.id}`", mutant.defect, ", ".join(mutant.breaks), by, seen, steps))
    return tried + _table(("defect", "what is wrong", "breaks", "found by", "as", "after steps"), rows)


def proven_table() -> str:
    """Return where each promise of the hypervisor's is shown."""
    return _table(proven.head(), proven.rows())


def proven_reasons() -> str:
    """Return why a promise is not shown somewhere."""
    return "".join(f"{number}. {reason[0].upper()}{reason[1:]}.\n" for number, reason in enumerate(proven.reasons(), 1))


def befalls_table() -> str:
    """Return what befalls a site, and the test that shows it."""
    return _table(("what", "test", ""), befalls.rows())


def checklist() -> str:
    """Return what only a real endpoint can show."""
    rows = [
        (line.id, line.says, ", ".join(f"`{test}`" for test in line.tests) or f"by hand: {line.by_hand}") for line in CHECKLIST
    ]
    return _table(("", "what", "how"), rows)


def admin_roles() -> str:
    """Return what each role of administrators may ask and order, request by request."""
    roles = list(Role)
    needed = [(_needs(route), route.path, route.method) for route in served()]
    rows = [
        (f"`{method} {path}`", *("yes" if role.covers(needs) else "" for role in roles))
        for needs, path, method in sorted(needed, key=lambda row: (roles.index(row[0]), *row[1:]))
    ]
    return _table(("request", *map(str, Role)), rows)


def _needs(route: Route) -> Role:
    needs: Role = route.message.needs  # type: ignore[attr-defined]
    return needs


PARTS: Mapping[str, Callable[[], str]] = {
    "options": options,
    "file-systems": file_systems,
    "mkfs-options": mkfs_options,
    "mount-options": mount_options,
    "errors": errors,
    "exit-codes": exit_codes,
    "agent-settings": agent_settings,
    "service-settings": service_settings,
    "datastore-settings": datastore_settings,
    "host-settings": host_settings,
    "vsphere-settings": vsphere_settings,
    "web-settings": web_settings,
    "role": role,
    "roles": admin_roles,
    "role-names": role_names,
    "role-never": role_never,
    "paths": paths,
    "descriptor": descriptor,
    "mutants": mutants,
    "sidecar": sidecar_file,
    "status": status_map,
    "proven": proven_table,
    "proven-reasons": proven_reasons,
    "befalls": befalls_table,
    "checklist": checklist,
    "cli": commands.page,
    "keys": commands.keys,
    "metrics": metrics_table,
    "bench": written.table,
    "bench-methods": written.methods,
    "bench-summary": written.paragraph,
}


def filled(text: str) -> str:
    """Return a page with each part as the code has it now."""
    return BLOCK.sub(lambda match: f"{match[1]}{PARTS[match[2]]()}{match[3]}", text)


def fill_pages() -> list[Path]:
    """Write each page whose made parts are not as the code has them; return those."""
    written = []
    for page in sorted([*DOCS.parent.glob("*.md"), *DOCS.rglob("*.md")]):
        text = page.read_text(encoding="utf-8")
        if filled(text) != text:
            page.write_text(filled(text), encoding="utf-8")
            written.append(page)
    return written


def openapi_text() -> str:
    """Return the description of the REST API as it is committed."""
    return json.dumps(document(served()), indent=1, ensure_ascii=False) + "\n"


def fill_openapi() -> list[Path]:
    """Write the API's description if it is not as the code has it; return it then."""
    if OPENAPI.exists() and OPENAPI.read_text(encoding="utf-8") == openapi_text():
        return []
    OPENAPI.write_text(openapi_text(), encoding="utf-8")
    return [OPENAPI]


def main() -> int:
    for page in [*fill_pages(), *fill_openapi()]:
        print(f"written: {page.relative_to(DOCS.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
