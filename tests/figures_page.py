"""The table of docs/reference/metrics.md, made of what the service tells when all that it can tell is there."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.unit.esx.test_metrics import everything


def metrics_table() -> str:
    """Return a row for each metric: name, type, labels, what it says."""
    rows = []
    for family in text_string_to_metric_families(everything()):
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        name = f"{family.name}_total" if family.type == "counter" else family.name
        rows.append((name, family.type, ", ".join(labels) or "none", family.documentation.rstrip(".")))
    table = "\n".join(f"| `{name}` | {kind} | {labels} | {words} |" for name, kind, labels, words in sorted(rows))
    return f"| metric | type | labels | |\n| --- | --- | --- | --- |\n{table}\n"
