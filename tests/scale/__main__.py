"""`make scale`: a service and an agent over 1,000, 10,000 and 100,000 volumes; prints a table and, with --json, the data.

Times are this machine's, of one run; only what grows with the number of volumes can be compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.subject import ran
from tests.daemons.site import Daemon, Site
from tests.daemons.web_process import WebProcess
from tests.scale.filling import fill, name_of
from vmdkvol.cli import processes

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "scale.md"
BEGIN, END = "<!-- made by make scale -->\n", "<!-- end -->\n"
_GETS = 100
# 100,000 volumes on a loaded machine.
_PATIENCE_S = 1800.0
_LABELS = {
    "fill_s": "time to make them for the test, s",
    "service_start_s": "service: start to listening, s",
    "agent_start_s": "agent: start to first answer, empty catalogue, s",
    "first_list_s": "agent: until the first List has all, s",
    "list_ms": "List on the plugin socket, ms",
    "get_ms": "Get, ms",
    "path_ms": "Path, ms",
    "cli_ls_s": "`vmdkvol volume ls`, s",
    "agent_restart_s": "agent: restart to first answer, s",
    "service_restart_s": "service: restart to listening, s",
    "agent_pss_mb": "agent: memory (PSS, all processes), MB",
    "service_pss_mb": "service: memory (PSS), MB",
    "agent_bytes_each": "agent: bytes a volume above an empty one",
    "service_bytes_each": "service: bytes a volume above an empty one",
    "rebuild_s": "`vmdkvol-esxd rebuild`, s",
}


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def pss_bytes(daemon: Daemon) -> int:
    """Return the daemon's proportional memory, all of its processes."""
    found = 0
    for process in processes.with_config(daemon.config):
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        found += sum(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Pss:"))
    return found


def measure(count: int) -> dict[str, float]:
    """Return the figures of one site with so many volumes; nothing of it is left."""
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-scale-"))
    site = Site(root)
    try:
        config = root / "service.toml"
        # One scan at the start, none while calls are timed.
        config.write_text(config.read_text().replace("housekeeping_s = 1.0", "housekeeping_s = 86400.0"))
        found = {"fill_s": seconds(lambda: fill(root / "state/service/vmdkvol.db", site.datastore, count))} if count else {}
        return found | figures(site, count)
    finally:
        site.close()
        shutil.rmtree(root)


def figures(site: Site, count: int) -> dict[str, float]:
    host = site.host
    site.service.start_s = host.agent.start_s = _PATIENCE_S
    found = {"service_start_s": seconds(site.service.start), "agent_start_s": seconds(host.agent.start)}
    found["first_list_s"] = seconds(lambda: wait_listed(site, count))
    found["list_ms"] = min(seconds(lambda: host.told("List")) for _ in range(5)) * 1000
    for endpoint in ("Get", "Path") if count else ():
        each = seconds(lambda endpoint=endpoint: [host.told(endpoint, Name=name_of(1)) for _ in range(_GETS)])  # type: ignore[misc]
        found[f"{endpoint.lower()}_ms"] = each / _GETS * 1000
    command = [str(Path(sys.executable).parent / "vmdkvol"), "volume", "ls", "-o", "json"]
    web = WebProcess(site.service.config)
    address = web.address
    found["cli_ls_s"] = seconds(lambda: ran(*command, "--api", address, limit_s=_PATIENCE_S, output=subprocess.DEVNULL))
    web.stop()
    host.agent.stop()
    found["agent_restart_s"] = seconds(host.agent.start)
    host.told("List")
    found["agent_pss_mb"], found["service_pss_mb"] = (pss_bytes(each) / 1e6 for each in (host.agent, site.service))
    site.service.stop()
    found["service_restart_s"] = seconds(site.service.start)
    site.service.stop()
    if count:
        found["rebuild_s"] = seconds(lambda: rebuild(site))
    return found


def wait_listed(site: Site, count: int) -> None:
    end = time.monotonic() + _PATIENCE_S
    while len(site.host.call("List").get("Volumes") or ()) != count:
        assert time.monotonic() < end, "the catalogue was not filled"
        time.sleep(0.05)


def rebuild(site: Site) -> None:
    command = [str(Path(sys.executable).parent / "vmdkvol-esxd"), "--config", str(site.service.config), "rebuild", "--yes"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=_PATIENCE_S)


def table(results: dict[int, dict[str, float]]) -> str:
    counts = [count for count in results if count]
    lines = ["| figure | " + " | ".join(f"{count:,}" for count in counts) + " |", "| --- |" + " --- |" * len(counts)]
    for key, label in _LABELS.items():
        values = [results[count].get(key) for count in counts]
        lines.append(f"| {label} | " + " | ".join("-" if value is None else f"{value:,.3g}" for value in values) + " |")
    return "\n".join(lines) + "\n"


def above_empty(results: dict[int, dict[str, float]]) -> None:
    for count, found in results.items():
        for daemon in ("agent", "service") if count else ():
            more = found[f"{daemon}_pss_mb"] - results[0][f"{daemon}_pss_mb"]
            found[f"{daemon}_bytes_each"] = more * 1e6 / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the data instead of the table")
    parser.add_argument("--write", action="store_true", help="also write the table into docs/reference/scale.md")
    parser.add_argument("counts", nargs="*", type=int, default=[1000, 10_000, 100_000])
    chosen = parser.parse_args()
    load = os.getloadavg()[0]
    results = {count: measure(count) for count in [0, *chosen.counts]}
    above_empty(results)
    facts: dict[str, Any] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}",
        "load_before": round(load, 1),
        "load_after": round(os.getloadavg()[0], 1),
    }
    print(json.dumps({**facts, "results": results}, indent=1) if chosen.json else table(results))
    if chosen.write:
        text = PAGE.read_text("utf-8")
        head, _, rest = text.partition(BEGIN)
        tail = rest.partition(END)[2]
        line = (
            f"{facts['date']}, {facts['machine']}; load average {facts['load_before']} before, {facts['load_after']} after.\n\n"
        )
        PAGE.write_text(f"{head}{BEGIN}{line}{table(results)}{END}{tail}", "utf-8")


if __name__ == "__main__":
    main()
