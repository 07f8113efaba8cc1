"""Paired and partly missing modalities as batches of tensors; one module per source."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from models_store.manifest import Modality
from training.config import Data, Experiment
from training.data import mnist
from training.data.rows import Rows, Splits
from training.errors import DataError, ExperimentError

SOURCES: Mapping[str, Callable[[Path | None], Splits]] = {"mnist": mnist.load}


@dataclass(frozen=True)
class Prepared:
    """The splits as an experiment wants them, and its modalities.

    Arguments:
        modalities: In the order of the experiment file.
        train: What is fitted.
        validation: Held out of the training split; empty if the experiment asks for none.
        test: The source's own test split.
    """

    modalities: tuple[Modality, ...]
    train: Rows
    validation: Rows
    test: Rows


def prepare(experiment: Experiment) -> Prepared:
    """Loads the source and takes from it what the experiment names.

    Raises:
        ExperimentError: The source or one of its modalities is unknown, or too few rows are left.
        DataError: Files are missing or damaged.
    """
    wanted = experiment.data
    if wanted.source not in SOURCES:
        raise ExperimentError(f"data.source is '{wanted.source}'; known are {', '.join(SOURCES)}")
    splits = SOURCES[wanted.source](_folder(wanted))
    known = {modality.name: modality for modality in splits.modalities}
    for name in experiment.modalities:
        if name not in known:
            raise ExperimentError(
                f"modalities.{name}: '{wanted.source}' has no such modality, it has {', '.join(known)}"
            )
    names = tuple(experiment.modalities)
    train, test = splits.train.only(names).head(wanted.limit), splits.test.only(names).head(wanted.limit)
    if wanted.validation >= len(train):
        raise ExperimentError(f"data.validation is {wanted.validation}, but there are {len(train)} rows")
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(experiment.seed))
    held_out = order[: wanted.validation]
    return Prepared(
        modalities=tuple(choice.of(known[name]) for name, choice in experiment.modalities.items()),
        train=train.take(order[wanted.validation :].sort().values),
        validation=train.take(held_out),
        test=test,
    )


def _folder(data: Data) -> Path | None:
    """Where the source lies on this machine, if anywhere."""
    if data.path is not None:
        if not data.path.is_dir():
            raise DataError(f"data.path: there is no folder {data.path}")
        return data.path
    home = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    for root in (os.environ.get("ANYVIEW_DATA"), home):
        if root and (Path(root) / data.source).is_dir():
            return Path(root) / data.source
    return None
