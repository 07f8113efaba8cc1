"""Trains an experiment with changed settings, to be evaluated without being published."""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from models_store.manifest import Manifest
from training import data
from training.config import Evaluation, Experiment, check_code, read_experiment
from training.errors import ExperimentError
from training.evaluation.evaluated import EvaluatedModel
from training.export import TorchGraphs, described
from training.members import train

MEASURED = Evaluation(rows=500, importance_samples=1000, generated_per_label=200)
"""Evaluation settings of the runs of a study."""


def changed(name: str, settings: Sequence[str], **changes: Any) -> Experiment:
    """Returns a built-in experiment, or one of a file, with changed settings.

    Arguments:
        name: Name or path of the experiment.
        settings: Changes such as ``model.beta=0.5``: a dotted key and a TOML value.
        changes: Changes as keyword arguments, with ``__`` for dots; None changes nothing.

    Raises:
        ExperimentError: There is no such experiment or key, or the value does not fit.
    """
    base, _ = read_experiment(name)
    tree: dict[str, Any] = base.model_dump(exclude_unset=True)
    for key, value in changes.items():
        if value is not None:
            _put(tree, key.split("__"), value)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ExperimentError(f"a setting is KEY=VALUE, such as model.beta=0.5, got '{setting}'")
        _put(tree, key.strip().split("."), _value(text))
    try:
        experiment = Experiment.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        raise ExperimentError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    check_code(experiment, allowed=False)
    return experiment


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:  # a word without quotes
        return text.strip()


def _put(tree: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    *path, last = keys
    for key in path:
        tree = tree.setdefault(key, {})
    tree[last] = value


def trained(experiment: Experiment, prepared: data.Prepared) -> EvaluatedModel:
    """Trains a model, to be evaluated on each modality given each other one.

    Arguments:
        experiment: The experiment.
        prepared: Its data.
    """
    with tempfile.TemporaryDirectory() as workdir:
        model = train(experiment, prepared, Path(workdir)).model
    manifest: Manifest = described(model, experiment, prepared, 1)
    return EvaluatedModel(
        manifest, TorchGraphs(model), prepared.train, prepared.test, MEASURED, experiment.seed, alone=True
    )
