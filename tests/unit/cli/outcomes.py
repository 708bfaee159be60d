"""Outcomes as the API tells them."""

from __future__ import annotations

from typing import Any

PLANNED: dict[str, Any] = {
    "plan": {
        "steps": [{"verb": "grow-volume", "target": "db@ds1\n", "before": "1gb", "after": "2gb"}],
        "loses": "what was on it",
    },
    "done": False,
    "subject": "6d3f0a7e-3c67-4d8b-9e1a-0c2b4a5d6e7f",
    "revision": 3,
    "task": None,
}
