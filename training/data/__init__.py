"""Paired and partly missing modalities as batches of tensors; one module per source."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from lightning_fabric import Fabric
from torch import Tensor

from models_store.manifest import Modality
from models_store.tables.dialect import TrainingTable
from training.config import Data, Experiment
from training.data import dataset, digits, fashion_mnist, mfeat, mnist, polydigits, table
from training.data.gaps import with_gaps
from training.data.rows import EpochRows, Rows, Source, Splits, exchanged
from training.data.stream import RowStream
from training.errors import DataError, ExperimentError
from training.networks.statistics import CellStatistics

HOME = Path(__file__).resolve().parents[2].parent / "shared" / "data"
"""Default folder of data, beside a working copy."""


@dataclass(frozen=True)
class Prepared:
    """The splits and modalities of an experiment.

    Arguments:
        modalities: Modalities in the order of the experiment file.
        train: Training rows; of a data set a sample of them.
        validation: Rows held out of the training split; empty if the experiment has none.
        test: The test split of the source.
        anew: Returns the training rows of an epoch, for sources that pair rows anew in each epoch;
            ``train`` is then the pairing of epoch 0.
        tables: Tables that hold the modalities, as a manifest describes them.
        stream: Training rows of a data set, which are not held together.
        other: Returns the same rows with another part of them for validation, from the number of the part
            and how many parts there are.
    """

    modalities: tuple[Modality, ...]
    train: Rows
    validation: Rows
    test: Rows
    anew: Callable[[int], Rows | EpochRows] | None = None
    tables: tuple[TrainingTable, ...] = ()
    stream: RowStream | None = None
    other: Callable[[int, int], Prepared] | None = None

    def of_member(self, number: int, members: int) -> Prepared:
        """Returns the rows for one of several models, each of which holds out another part for validation.

        Arguments:
            number: Number of the model, from 0; the first has these rows as they are.
            members: Number of models.

        Raises:
            ExperimentError: Rows of a data set are not held together.
        """
        self.check_members(members)
        return self.other(number, members) if number and self.other else self

    def check_members(self, members: int) -> None:
        """Refuses several models of rows that are not held together.

        Raises:
            ExperimentError: They are to be trained, and no other rows can be held out.
        """
        if members > 1 and self.other is None:
            raise ExperimentError(
                f"model.members is {members}, but the rows of a data set are not held together, so no other "
                "rows can be held out; set model.members = 1"
            )

    def in_epoch(self, epoch: int) -> Rows | EpochRows:
        """Returns the training rows of an epoch."""
        return self.train if self.anew is None else self.anew(epoch)

    @property
    def train_rows(self) -> int:
        """Number of training rows."""
        return len(self.train if self.stream is None else self.stream)

    @property
    def epoch_rows(self) -> int:
        """Number of the training rows of an epoch; of a part of a data set about that number."""
        return self.train_rows // (1 if self.stream is None else self.stream.parts)

    @cached_property
    def digest(self) -> str:
        """Digest of the number of training rows, and of all rows that are held together."""
        digest = hashlib.sha256(str(self.train_rows).encode())
        for rows in (self.train, self.validation, self.test):
            for part in (rows.data, rows.masks):
                for name, values in part.items():
                    digest.update(name.encode())
                    digest.update(values.contiguous().numpy())  # type: ignore[arg-type]  # it is a buffer
        return digest.hexdigest()

    def cells(self, name: str) -> Tensor | CellStatistics:
        """Training rows of a modality, (n, *shape), or their statistics."""
        return self.train.data[name] if self.stream is None else self.stream.statistics[name]


def prepare(experiment: Experiment, fabric: Fabric | None = None) -> Prepared:
    """Loads the source and selects the modalities and rows of the experiment.

    Arguments:
        experiment: The experiment.
        fabric: Processes that share the first reading of a data set; without it this process reads all.

    Raises:
        ExperimentError: The source or one of its modalities is unknown, or too few rows are left.
        DataError: Files are missing or damaged.
    """
    settings = experiment.data
    if settings.source == "dataset":
        return _streamed(experiment, fabric)
    if settings.source not in SOURCES:
        raise ExperimentError(f"data.source is '{settings.source}'; known are {', '.join(SOURCES)}, dataset")
    if settings.source != "table":
        _refuse_what_tables_have(experiment)
    return _of_member(experiment, SOURCES[settings.source](experiment), 0, 1)


def _of_member(experiment: Experiment, splits: Splits, member: int, members: int) -> Prepared:
    """The rows of an experiment for one of several models, each with other validation rows."""
    settings = experiment.data
    described = {modality.name: modality for modality in splits.modalities}
    for name in experiment.modalities:
        if name not in described:
            raise ExperimentError(
                f"modalities.{name}: '{settings.source}' has no such modality, it has {', '.join(described)}"
            )
    names = tuple(experiment.modalities)
    train, test = splits.train.only(names).head(settings.limit), splits.test.only(names).head(settings.limit)
    source: Source
    if isinstance(train, Rows) and splits.validation is not None:
        source, validation = exchanged(train, splits.validation.only(names), member, members, experiment.seed)
    elif settings.validation < len(train):
        source, validation = train.hold_out(settings.validation, experiment.seed + member)
    else:
        raise ExperimentError(f"data.validation is {settings.validation}, but there are {len(train)} rows")
    modalities = tuple(choice.of(described[name]) for name, choice in experiment.modalities.items())
    categories = [modality.name for modality in modalities if modality.labels is not None]

    def anew(epoch: int) -> Rows:
        rows = source.in_epoch(experiment.seed, epoch)
        return with_gaps(rows, settings, categories, experiment.seed, epoch)

    other = partial(_of_member, experiment, splits) if experiment.model.members > 1 else None
    return Prepared(modalities, anew(0), validation, test, anew, splits.tables, other=other)


def _streamed(experiment: Experiment, fabric: Fabric | None) -> Prepared:
    """The splits of a data set, of which a sample of the training rows is in memory."""
    data = dataset.load(experiment, fabric)
    stream, choices = data.stream, experiment.modalities
    modalities = tuple(choices[view.modality.name].of(view.modality) for view in stream.views)
    anew = partial(stream.in_epoch, experiment.seed)
    return Prepared(modalities, stream.sample, data.validation, data.test, anew, data.tables, stream)


def _digits(settings: Data) -> Splits:
    return digits.load(_folder(settings, "mnist"), _needed(settings, "fsdd"), _needed(settings, "pendigits"))


SOURCES: Mapping[str, Callable[[Experiment], Splits]] = {
    "mnist": lambda experiment: mnist.load(_folder(experiment.data)),
    "fashion_mnist": lambda experiment: fashion_mnist.load(_folder(experiment.data)),
    "mfeat": lambda experiment: mfeat.load(_needed(experiment.data, "mfeat")),
    "digits": lambda experiment: _digits(experiment.data),
    "polydigits": lambda experiment: polydigits.load(
        _folder(experiment.data, "mnist"), experiment.data.limit
    ),
    "table": table.load,
}


def _refuse_what_tables_have(experiment: Experiment) -> None:
    table_keys = [
        f"data.{key}"
        for key in ("files", "dialects", "key", "test", "missing", "missing_by_column", "address")
        if getattr(experiment.data, key)
    ]
    for name, choice in experiment.modalities.items():
        keys = ("field", "shape", "spectrogram")
        table_keys += [f"modalities.{name}.{key}" for key in keys if getattr(choice, key) is not None]
    if table_keys:
        raise ExperimentError(
            f"{table_keys[0]} is for the source 'table', not for '{experiment.data.source}'"
        )


def _folder(settings: Data, part: str | None = None) -> Path | None:
    """Returns the folder of the source, or of a ``part`` of it, on this machine; None if there is none."""
    if settings.path is not None:
        folder = settings.path / (part or "")
        if not folder.is_dir():
            raise DataError(f"data.path: there is no folder {folder}")
        return folder
    for root in (os.environ.get("ANYVIEW_DATA"), HOME):
        if root and (Path(root) / (part or settings.source)).is_dir():
            return Path(root) / (part or settings.source)
    return None


def _needed(settings: Data, part: str) -> Path:
    """Returns the folder of a source that cannot be downloaded.

    Raises:
        DataError: There is no such folder.
    """
    folder = _folder(settings, part if settings.source != part else None)
    if folder is None:
        raise DataError(
            f"the source '{settings.source}' needs a folder '{part}'; set ANYVIEW_DATA to the folder above it"
        )
    return folder
