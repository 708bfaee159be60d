"""The import contracts of pyproject.toml: the tree keeps each of them, and one bad import breaks each of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

import grimp
import pytest
from importlinter.configuration import configure
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.independence import IndependenceContract
from importlinter.contracts.layers import LayersContract

ROOT = Path(__file__).parents[1]
ROOTS = ("vmdkvol", "vmdkvol_guest", "vmdkvol_esx")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
CONTRACTS: dict[str, dict[str, Any]] = {contract["id"]: contract for contract in SETTINGS["contracts"]}
KINDS: dict[str, Any] = {"forbidden": ForbiddenContract, "independence": IndependenceContract, "layers": LayersContract}

# One import that each contract must refuse: who imports what.
BAD = {
    "sides": ("vmdkvol_guest.ports", "vmdkvol_esx.ports"),
    "shared": ("vmdkvol.line", "vmdkvol_guest.ports"),
    "layers-shared": ("vmdkvol.errors", "vmdkvol.wire"),
    "layers-agent": ("vmdkvol_guest.ports", "vmdkvol_guest.linux.devices"),
    "layers-service": ("vmdkvol_esx.settling", "vmdkvol_esx.store.engine"),
    "owner-of-http": ("vmdkvol_guest.ports", "flask"),
    "owner-of-processes": ("vmdkvol_guest.linux.devices", "subprocess"),
    "owner-of-cattrs": ("vmdkvol_esx.sidecar", "cattrs"),
    "owner-of-sql": ("vmdkvol_esx.records", "sqlalchemy"),
    "owner-of-sqlite": ("vmdkvol_esx.callers", "sqlite3"),
    "owner-of-pyudev": ("vmdkvol_esx.local.loops", "pyudev"),
    "owner-of-cryptography": ("vmdkvol_esx.enrolling", "cryptography"),
    "owner-of-figures": ("vmdkvol_esx.observing", "prometheus_client"),
    "owner-of-click": ("vmdkvol.options", "click"),
    "owner-of-yaml": ("vmdkvol_esx.settings", "yaml"),
    "owner-of-sockets": ("vmdkvol_esx.callers", "socket"),
    "owner-of-pyvmomi": ("vmdkvol_esx.vsphere.session", "pyVmomi"),
    "pure": ("vmdkvol.names", "os"),
    "use-cases": ("vmdkvol.lanes", "time"),
    "adapters": ("vmdkvol_esx.store.volumes", "vmdkvol_esx.creating"),
}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    configure()
    return grimp.build_graph(*ROOTS, include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None)


def kept(contract: str, graph: grimp.ImportGraph) -> bool:
    session: dict[str, Any] = {"root_packages": list(ROOTS), "include_external_packages": "True"}
    # As the linter's own reader does: a boolean is a text to it.
    options = {key: str(value) if value is True else value for key, value in CONTRACTS[contract].items()}
    built = KINDS[options["type"]](options["name"], session, options)
    return bool(built.check(deepcopy(graph), verbose=False).kept)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_the_tree_keeps_the_contract(contract: str, graph: grimp.ImportGraph) -> None:
    assert kept(contract, graph)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_one_bad_import_breaks_the_contract(contract: str, graph: grimp.ImportGraph) -> None:
    importer, imported = BAD[contract]
    assert importer in graph.modules
    broken = deepcopy(graph)
    if imported not in broken.modules:
        broken.add_module(imported, is_squashed=True)

    broken.add_import(importer=importer, imported=imported, line_number=1, line_contents=f"import {imported}")

    assert not kept(contract, broken)


def test_every_contract_has_its_bad_import() -> None:
    assert BAD.keys() == CONTRACTS.keys()


# Adapters and composition: what talks to one outside thing, or puts everything together. Every other module is a value,
# a decision or a use case, and stands in the contract "pure" or "use-cases".
OUTSIDE = (
    "vmdkvol.cli",
    "vmdkvol.addresses",
    "vmdkvol.channel",
    "vmdkvol.dialing",
    "vmdkvol.durable",
    "vmdkvol.stream",
    "vmdkvol.tls",
    "vmdkvol.unix_socket",
    "vmdkvol.hooks",
    "vmdkvol.link",
    "vmdkvol.line",
    "vmdkvol.settings",
    "vmdkvol.logs",
    "vmdkvol.command",
    # The clock port and the system's clock: the one value that may know time and threads.
    "vmdkvol.clock",
    "vmdkvol_guest.app",
    "vmdkvol.arbiter",
    "vmdkvol_guest.cli",
    "vmdkvol_guest.composing",
    "vmdkvol_guest.daemon",
    "vmdkvol_guest.doctor",
    "vmdkvol_guest.enrolment",
    "vmdkvol_guest.figures",
    "vmdkvol_guest.guards",
    "vmdkvol_guest.linux",
    "vmdkvol.listening",
    "vmdkvol_guest.notebook",
    "vmdkvol_guest.notebook_file",
    "vmdkvol_guest.reaching",
    "vmdkvol_guest.scraping",
    "vmdkvol_guest.settings",
    "vmdkvol_guest.watching",
    "vmdkvol_guest.worker",
    "vmdkvol_esx.nouns",
    "vmdkvol_esx.administering",
    "vmdkvol_esx.authority",
    "vmdkvol_esx.self_signed",
    "vmdkvol_esx.backends",
    "vmdkvol_esx.cli",
    "vmdkvol_esx.composing",
    "vmdkvol_esx.metrics",
    "vmdkvol_esx.figures",
    "vmdkvol_esx.monitoring",
    "vmdkvol_esx.registry",
    "vmdkvol_esx.certificates",
    "vmdkvol_esx.pem",
    "vmdkvol_esx.token_notes",
    "vmdkvol_esx.connection",
    "vmdkvol_esx.doors",
    "vmdkvol_esx.daemon",
    "vmdkvol_esx.doctor",
    "vmdkvol_esx.instance",
    "vmdkvol_esx.roles",
    "vmdkvol_esx.signals",
    "vmdkvol_esx.local",
    "vmdkvol_esx.loop",
    "vmdkvol_esx.reaching",
    "vmdkvol_esx.reception",
    "vmdkvol_esx.server",
    "vmdkvol_esx.settings",
    "vmdkvol_esx.store",
    "vmdkvol_esx.vsphere",
    "vmdkvol_esx.web",
    "vmdkvol_esx.web_setting",
    "vmdkvol_esx.setting_rules",
    "vmdkvol_esx.web_tokens",
)


def test_every_module_has_a_kind(graph: grimp.ImportGraph) -> None:
    inside = {module for contract in ("pure", "use-cases") for module in CONTRACTS[contract]["source_modules"]}
    ours = {module for module in graph.modules if module.split(".")[0] in ROOTS} - set(ROOTS)
    unknown = {
        module for module in ours - inside if not any(module == known or module.startswith(known + ".") for known in OUTSIDE)
    }

    assert unknown == set()


def test_no_module_has_two_kinds() -> None:
    pure, use_cases = (set(CONTRACTS[contract]["source_modules"]) for contract in ("pure", "use-cases"))

    assert pure & use_cases == set()
    assert (pure | use_cases) & set(OUTSIDE) == set()


@pytest.mark.integration
def test_the_linter_itself_refuses_a_file_with_a_bad_import(tmp_path: Path) -> None:
    for root, folder in zip(ROOTS, ("vmdkvol", "guest-agent/vmdkvol_guest", "esx-service/vmdkvol_esx"), strict=True):
        shutil.copytree(ROOT / folder, tmp_path / root, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "vmdkvol_guest" / "ports.py").open("a", encoding="utf-8") as file:
        file.write("\nimport vmdkvol_esx.ports\n")

    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--contract", "sides"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 1
    assert "vmdkvol_guest is not allowed to import vmdkvol_esx" in done.stdout
