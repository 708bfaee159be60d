"""Writes the Grafana dashboard: ``python packaging/monitoring/dashboard.py > packaging/monitoring/dashboard.json``.

Standard library only. A test compares the file with what this makes, and looks for each metric in what the service tells.
"""

from __future__ import annotations

import json
import sys
from typing import Any

_SECONDS, _BYTES, _COUNT, _RATIO, _OPS = "s", "bytes", "short", "percentunit", "ops"
_OPERATIONS = "vmdkvol_operation_duration_seconds"
_CALLS = "vmdkvol_vsphere_request_seconds"
_WIDE, _HALF, _QUARTER = 24, 12, 6


def _target(expression: str, legend: str) -> dict[str, Any]:
    return {"expr": expression, "legendFormat": legend, "datasource": {"type": "prometheus", "uid": "${datasource}"}}


def _panel(kind: str, title: str, unit: str, width: int, *targets: tuple[str, str], **more: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "title": title,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"w": width, "h": 5 if kind == "stat" else 8},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, **more}, "overrides": []},
        "targets": [_target(*each) for each in targets],
    }


def _quantile(share: float, by: str = "op") -> str:
    rate = f'sum by (le, {by}) (rate({_OPERATIONS}_bucket{{result="ok"}}[$__rate_interval]))'
    return f"histogram_quantile({share}, {rate})"


def _limits(*steps: tuple[float | None, str]) -> dict[str, Any]:
    return {"thresholds": {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in steps]}}


_SPACE = "1 - vmdkvol_datastore_free_bytes / (vmdkvol_datastore_capacity_bytes > 0)"
_QUOTA = "vmdkvol_quota_used_bytes / (vmdkvol_quota_bytes > 0)"
_FULL = _limits((None, "green"), (0.7, "yellow"), (0.85, "red"))
_SLOTS = _limits((None, "red"), (4, "yellow"), (10, "green"))
_DAYS = _limits((None, "red"), (14 * 86400, "yellow"), (30 * 86400, "green"))
_NONE = _limits((None, "green"), (1, "orange"))


def panels() -> list[dict[str, Any]]:
    """Return the panels in the order in which they are read."""
    by_result = f"sum by (result) (rate({_OPERATIONS}_count[$__rate_interval]))"
    return [
        _panel("stat", "Agents connected", _COUNT, _QUARTER, ("count(vmdkvol_guest_info)", "agents")),
        _panel("stat", "Volumes", _COUNT, _QUARTER, ("sum(vmdkvol_volumes)", "volumes")),
        _panel("stat", "Orphans", _COUNT, _QUARTER, ("sum(vmdkvol_orphans)", "orphans"), **_NONE),
        _panel(
            "stat",
            "Oldest change of a disk",
            _SECONDS,
            _QUARTER,
            ("vmdkvol_oldest_operation_seconds", "oldest"),
            **_limits((None, "green"), (300, "red")),
        ),
        _panel("timeseries", "Requests by what came of them", _OPS, _HALF, (by_result, "{{result}}")),
        _panel(
            "timeseries",
            "How long requests take (95 of 100 take less)",
            _SECONDS,
            _HALF,
            (_quantile(0.95), "{{op}}"),
        ),
        _panel("bargauge", "Datastores", _RATIO, _HALF, (_SPACE, "{{datastore}}"), max=1, **_FULL),
        _panel("bargauge", "Quotas", _RATIO, _HALF, (_QUOTA, "{{vmgroup}} on {{datastore}}"), max=1, **_FULL),
        _panel(
            "timeseries",
            "Volumes by state",
            _COUNT,
            _HALF,
            ("sum by (state) (vmdkvol_volumes)", "{{state}}"),
        ),
        _panel("timeseries", "Requests under way", _COUNT, _HALF, ("vmdkvol_operations_in_flight > 0", "{{op}}")),
        _panel(
            "timeseries",
            "Waiting for earlier work on the same object (95 of 100 wait less)",
            _SECONDS,
            _HALF,
            (
                "histogram_quantile(0.95, sum by (le, lock) (rate(vmdkvol_lock_wait_seconds_bucket[$__rate_interval])))",
                "{{lock}}",
            ),
        ),
        _panel(
            "timeseries",
            "How long calls of vSphere take (95 of 100 take less)",
            _SECONDS,
            _HALF,
            (f"histogram_quantile(0.95, sum by (le, method) (rate({_CALLS}_bucket[$__rate_interval])))", "{{method}}"),
        ),
        _panel(
            "timeseries",
            "Calls of vSphere by what came of them",
            _OPS,
            _HALF,
            (f"sum by (result) (rate({_CALLS}_count[$__rate_interval]))", "{{result}}"),
        ),
        _panel("bargauge", "Disks that a machine can still take", _COUNT, _HALF, ("vmdkvol_vm_free_slots", "{{vm}}"), **_SLOTS),
        _panel(
            "bargauge",
            "Until a certificate ends",
            _SECONDS,
            _HALF,
            ("vmdkvol_certificate_expiry_timestamp_seconds - time()", "{{certificate}}"),
            **_DAYS,
        ),
        _panel(
            "timeseries",
            "Agents that came back",
            _COUNT,
            _HALF,
            ("increase(vmdkvol_channel_reconnects_total[$__rate_interval]) > 0", "{{vm}}"),
        ),
        _panel(
            "timeseries",
            "Since an agent asked last",
            _SECONDS,
            _HALF,
            ("time() - vmdkvol_guest_last_seen_timestamp_seconds", "{{vm}}"),
        ),
        _panel(
            "table",
            "Versions",
            _COUNT,
            _HALF,
            ("vmdkvol_build_info", "{{component}} {{version}}"),
            ("vmdkvol_guest_info", "{{vm}} {{version}}"),
        ),
        _panel(
            "timeseries",
            "Records that the audit lacks",
            _COUNT,
            _WIDE,
            ("increase(vmdkvol_audit_unwritten_total[$__rate_interval])", "records"),
            **_NONE,
        ),
    ]


def dashboard() -> dict[str, Any]:
    """Return the dashboard with its panels in rows."""
    x = y = height = 0
    placed = []
    for number, panel in enumerate(panels(), 1):
        size = panel["gridPos"]
        if x + size["w"] > _WIDE:
            x, y = 0, y + height
        height = size["h"]
        placed.append({"id": number, **panel, "gridPos": {**size, "x": x, "y": y}})
        x += size["w"]
    return {
        "title": "vmdkvol",
        "uid": "vmdkvol",
        "tags": ["vmdkvol"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}]},
        "panels": placed,
    }


if __name__ == "__main__":
    json.dump(dashboard(), sys.stdout, indent=1)
    sys.stdout.write("\n")
