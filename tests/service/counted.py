"""The samples of /metrics, as numbers."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families as families


def samples(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """By name the value of each set of labels, in the order of their names."""
    by_name: dict[str, dict[tuple[str, ...], float]] = {}
    for family in families(text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            by_name.setdefault(sample.name, {})[labels] = sample.value
    return by_name
