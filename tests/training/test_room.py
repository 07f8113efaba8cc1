"""What training cannot publish is refused before it trains, or left out of the metrics."""

from __future__ import annotations

from typing import Any

import pytest

from models_store.limits import LONGEST_TEXT, MAX_MANIFEST_BYTES, MOST_OBJECTS, MOST_VALUES, check_document
from models_store.manifest import Manifest
from tests.models_store.examples import category, manifest
from training import data
from training.config import Experiment
from training.errors import ExportError
from training.evaluation.findings import SHARE_WITH_METRICS, Findings
from training.export import SHARE_BEFORE_METRICS, check_room


def test_too_many_epochs_are_refused_before_training(experiment: Experiment, prepared: data.Prepared) -> None:
    fit = experiment.fit.model_copy(update={"epochs": MOST_VALUES // 4})
    check_room(experiment.model_copy(update={"fit": fit}), prepared)
    fit = experiment.fit.model_copy(update={"epochs": 10**15})
    most = int(SHARE_BEFORE_METRICS * MAX_MANIFEST_BYTES)
    with pytest.raises(ExportError, match=f"bytes, and may have {most}; .* set fewer epochs"):
        check_room(experiment.model_copy(update={"fit": fit}), prepared)


def test_labels_that_no_manifest_holds_are_refused_before_training(
    experiment: Experiment, prepared: data.Prepared
) -> None:
    long = category("a", "b").model_copy(update={"labels": ("a", "b" * (LONGEST_TEXT + 1))})
    described = data.Prepared(**{**vars(prepared), "modalities": (long,)})
    with pytest.raises(ExportError, match=r"labels\.1: .* at most 1000 characters, got 1001"):
        check_room(experiment, described)


def test_the_metrics_that_a_manifest_has_no_room_for_are_left_out() -> None:
    """Of 200 categories, each predicted from each, the tables of reliability are 440,000 lists."""
    names = [f"question_{number}" for number in range(200)]
    pairs = [f"{target}|{given}" for target in names for given in names if target != given]
    bins = [[0.1234, 0.1234, 100]] * 10
    metrics: dict[str, Any] = {
        "accuracy": dict.fromkeys(pairs, 0.1234),
        "calibration": {pair: {"log_loss": 0.1234, "ece": 0.1234, "bins": bins} for pair in pairs},
        "intervals": {},
        "log_prob": {},
        "value": {},
        "gains": {name: {"measure": "nats", "gain": 0.1, "rows": 100} for name in names},
    }
    few = {**metrics, "calibration": dict.fromkeys(pairs[:10], metrics["calibration"][pairs[0]])}
    assert stated(few).metrics == few
    shortened = stated(metrics).metrics
    assert shortened["accuracy"] == metrics["accuracy"]
    assert {how["log_loss"] for how in shortened["calibration"].values()} == {0.1234}
    assert [how["bins"] for how in shortened["calibration"].values()] == [[]] * len(pairs)
    objects = {"x": [[1]] * MOST_OBJECTS}
    least = stated({**metrics, "value": objects, "intervals": objects}).metrics
    assert (least["accuracy"], least["calibration"], least["value"]) == ({}, {}, {})
    assert least["gains"] == metrics["gains"]


def stated(metrics: Any) -> Manifest:
    changed = Findings(metrics, {}).stated_in(manifest())
    check_document(changed.to_json(), SHARE_WITH_METRICS)
    return Manifest.from_json(changed.to_json())
