"""The contract suite of Hypervisor on a real vCenter or ESXi host: `make test-esx SETTINGS=/etc/vmdkvol/service.toml`.

The settings are a service's: the suite uses its first two datastores, which must be without volumes, and its first two hosts,
whose VMs must be switched on and named as in the settings. It writes only below vmdkvol/00000000-0000-0000-0000-000000000001
and takes away what it made. Afterwards it prints what was shown, what was not, and what is to be tried by hand.
With --dry the endpoint is a simulator: that shows this program, and nothing of vSphere. What follows goes to pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

from tests.contract import given
from tests.contract.checklist import CHECKLIST, Line
from tests.contract.proven import LEFT_OUT, SUITE, Where, promises
from tests.vsphere.outside import View, outside
from tests.vsphere.simulators import ROOT, simulator
from tests.vsphere.written import write_settings

# Of the simulator in a dry run: whatever breaks on such a name shows there.
ODD_DATASTORES = ("disks [50%] für b", "a&b<2> [x +#?")
ODD_MACHINES = ("host [a] 100%", "höst & <b>")
PASSED, FAILED, NOT_RUN = "shown", "FAILED", "not run"


def outcomes(report: Path) -> Mapping[str, str]:
    """Return how each test of the suite ended, by the report that pytest wrote; one case that failed fails its test."""
    found: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("name", "").partition("[")[0]
        bad = any(child.tag in ("failure", "error", "skipped") for child in case)
        found[name] = FAILED if bad or found.get(name) == FAILED else PASSED
    return found


def verdict(line: Line, ended: Mapping[str, str]) -> str:
    """Return whether the run has shown this line of the checklist."""
    each = {ended.get(test, NOT_RUN) for test in line.tests}
    if not each:
        return f"by hand: {line.by_hand}"
    return FAILED if FAILED in each else NOT_RUN if NOT_RUN in each else each.pop()


def told(ended: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of the report; ``ended`` has a word for each test that was run."""
    yield "== the promises of the contract"
    for chapter, name in promises():
        left = LEFT_OUT.get(name, {}).get(Where.REAL)
        yield f"{'left out' if left else ended.get(name, NOT_RUN):8}  {chapter}: {name.removeprefix('test_').replace('_', ' ')}"
        if left:
            yield f"          {left}"
    yield "== the checklist of what only a real endpoint can show"
    for line in CHECKLIST:
        yield f"{line.id:10}  {line.says}"
        yield f"            {verdict(line, ended)}"


@contextmanager
def dry(folder: Path) -> Iterator[Path]:
    """Yield settings for a simulator that takes the place of the endpoint."""
    with simulator("vcenter", folder / "sim", "-strict", "-uuids") as found:
        with outside(found) as world:
            for name, odd in zip(("LocalDS_0", "LocalDS_1"), ODD_DATASTORES, strict=True):
                found.datastore(name, "rename", to=odd)
            hosts = []
            for number, (vm, odd) in enumerate(zip(world.machines(), ODD_MACHINES, strict=False)):
                found.machine(vm._moId, "rename", to=odd)
                hosts.append({"name": odd, "id": str(vm.config.instanceUuid), "socket": str(folder / f"{number}.sock")})
        yield write_settings(View.of(found), folder, folder, ODD_DATASTORES, hosts)


def run(settings: Path, pytest_arguments: Sequence[str], folder: Path, *, real: bool) -> int:
    """Run the suite on the endpoint of these settings and print what came of it; return pytest's exit code."""
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", f"--junitxml={report}"]
    environment = {**os.environ, given.VARIABLE: str(settings)}
    done = subprocess.run([*command, str(SUITE), *pytest_arguments], cwd=ROOT, env=environment, check=False)
    ended = outcomes(report) if report.exists() else {}
    word = PASSED if real else "ran dry"
    print("\n".join(told({name: word if how == PASSED else how for name, how in ended.items()})))
    if not ended:
        print("test-esx: no test was run", file=sys.stderr)
    return done.returncode if ended else done.returncode or 1


def main(argv: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="vmdkvol-esx-") as name:
        folder = Path(name)
        if argv[:1] == ["--dry"]:
            print("== a dry run: the endpoint is a simulator, and nothing below is shown of vSphere")
            with dry(folder) as settings:
                return run(settings, argv[1:], folder, real=False)
        if not argv or argv[0].startswith("-"):
            print("usage: make test-esx SETTINGS=/etc/vmdkvol/service.toml, or SETTINGS=--dry", file=sys.stderr)
            return 2
        return run(Path(argv[0]), argv[1:], folder, real=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
