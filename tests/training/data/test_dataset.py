"""Training rows of many Parquet files: read in parts, shuffled by seed and epoch, alike for all processes."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import fsspec
import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from pyarrow import parquet

from models_store.kinds.fields import Column
from models_store.manifest import Modality
from tests import forking
from tests.training.data.datasets import GROUP, SIZES, TEXT, experiment_of, table_of, write
from tests.training.test_launch import TWO_PROCESSES, begin, losses, torchrun
from tests.training.test_resume import stopped_after
from training import data
from training.config import ModalityChoice, Network, TableColumn
from training.data import Prepared, dataset
from training.data.rows import Batch, Rows
from training.data.stream import RowStream
from training.errors import DataError
from training.fit import fit
from training.networks import networks_for
from training.tables.dataset import DataSetFile, Piece
from training.tables.files import Block


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "rows")


@pytest.fixture(scope="module")
def prepared(folder: Path) -> Prepared:
    return data.prepare(experiment_of(folder))


@dataclass(frozen=True)
class OneOf:
    """A process of several, whose sums over all processes are not made."""

    global_rank: int
    world_size: int
    device: str = "cpu"

    def all_reduce(self, x: Any, reduce_op: str) -> Any:
        assert reduce_op == "sum"
        return x


def batches(prepared: Prepared, epoch: int, rank: int = 0, processes: int = 1) -> list[Batch]:
    rows = prepared.in_epoch(epoch)
    assert not isinstance(rows, Rows)
    return list(rows.batches(32, ("id", "wide", "sex"), cast("Fabric", OneOf(rank, processes))))


def ids(some: Iterable[Batch]) -> list[int]:
    return [int(one) for batch in some for one in batch.rows.data["id"]]


def stream_of(prepared: Prepared) -> RowStream:
    assert prepared.stream is not None
    return prepared.stream


# --- rows -----------------------------------------------------------------------------------------------


def test_every_row_is_in_one_split_as_the_files_have_it(prepared: Prepared) -> None:
    held = [int(one) for rows in (prepared.test, prepared.validation) for one in rows.data["id"]]
    assert (len(prepared.test), len(prepared.validation), prepared.train_rows) == (40, 30, 270)
    assert sorted(held + ids(batches(prepared, 1))) == list(range(340))
    for rows in (prepared.test, prepared.train, *(batch.rows for batch in batches(prepared, 1))):
        number = rows.data["id"][:, 0]
        assert torch.equal(rows.masks["wide"], number % 7 != 0)
        wide = rows.data["wide"][rows.masks["wide"]]
        assert torch.equal(wide, torch.stack([number, -number], dim=1)[rows.masks["wide"]])


def test_a_label_is_trimmed_and_a_word_for_missing_is_no_label(prepared: Prepared) -> None:
    rows = [batch.rows for batch in batches(prepared, 1)]
    labels = {
        None if not there else "fm"[label]
        for one in rows
        for label, there in zip(one.data["sex"].tolist(), one.masks["sex"].tolist(), strict=True)
    }
    assert labels == {None, "f", "m"}


def test_a_mark_means_missing(folder: Path) -> None:
    experiment = experiment_of(folder)
    columns = (TableColumn(name="mark"),)
    marked = {"id": ModalityChoice(kind="vector", columns=columns)}
    rows = data.prepare(experiment.model_copy(update={"modalities": marked})).train
    assert 0.1 < 1 - rows.masks["id"].float().mean() < 0.3
    assert (rows.data["id"][rows.masks["id"]] > 0).all()


def test_an_order_follows_from_seed_and_epoch_and_mixes_files(prepared: Prepared) -> None:
    first, again, second = (ids(batches(prepared, epoch)) for epoch in (1, 1, 2))
    assert first == again
    assert first != second
    assert sorted(first) == sorted(second)
    assert [batch.size for batch in batches(prepared, 1)] == [32] * 8 + [14]
    pieces = [{one // GROUP for one in first[start : start + 32]} for start in range(0, 256, 32)]
    assert np.mean([len(some) for some in pieces]) > 1.5


def test_epochs_may_be_parts_that_have_every_row_once(folder: Path) -> None:
    prepared = data.prepare(experiment_of(folder, epoch_rows=130))
    assert prepared.epoch_rows == 135
    first, second, third, fourth = (ids(batches(prepared, epoch)) for epoch in (1, 2, 3, 4))
    assert (
        sorted(first + second)
        == sorted(third + fourth)
        == sorted(ids(batches(data.prepare(experiment_of(folder)), 1)))
    )
    assert first not in (third, fourth)
    assert min(map(len, (first, second, third, fourth))) > 0
    assert [len(prepared.in_epoch(epoch)) for epoch in (1, 2)] == [len(first), len(second)]
    assert data.prepare(experiment_of(folder, epoch_rows=1)).epoch_rows >= 60 + GROUP


def test_no_more_than_a_window_is_read_at_a_time(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = list[int]()
    read = RowStream.read

    def watched(self: RowStream, pieces: Sequence[Piece], start: int, stop: int, room: int) -> Rows:
        sizes.append(stop - start)
        return read(self, pieces, start, stop, room)

    monkeypatch.setattr(RowStream, "read", watched)
    batches(prepared, 1)
    assert sum(sizes) == 270
    assert max(sizes) < 60 + GROUP


# --- processes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [2, 3, 7])
def test_processes_share_the_batches_of_one(prepared: Prepared, processes: int) -> None:
    alone = batches(prepared, 2)
    parts = [batches(prepared, 2, rank, processes) for rank in range(processes)]
    for whole, *shares in zip(alone, *parts, strict=True):
        places = [share for share in shares if float(share.share.weights[0])]
        assert all(share.size == whole.size for share in shares)
        order = torch.cat([torch.as_tensor(part.share.rows) for part in places]).argsort()
        joined = torch.cat([part.rows.data["id"] for part in places])[order]
        assert torch.equal(joined, whole.rows.data["id"])


def test_a_process_opens_the_row_groups_of_its_part_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = data.prepare(experiment_of(folder, buffer=200))
    opened = list[int]()
    blocks_of = DataSetFile.blocks_of

    def watched(self: DataSetFile, piece: Piece, fields: Sequence[str]) -> Iterator[Block]:
        opened.append(piece.first)
        return blocks_of(self, piece, fields)

    monkeypatch.setattr(DataSetFile, "blocks_of", watched)
    by_rank = []
    for rank in (0, 1):
        opened.clear()
        batches(prepared, 1, rank, 2)
        by_rank.append(list(opened))
    pieces = stream_of(prepared).file.pieces
    assert set(by_rank[0]) | set(by_rank[1]) == {piece.first for piece in pieces}
    assert len(set(by_rank[0]) & set(by_rank[1])) <= 2  # one where the parts of a window meet
    assert max(map(len, by_rank)) <= len(pieces) // 2 + 2


@pytest.mark.slow
def test_losses_are_equal_for_two_processes_and_after_a_stop(folder: Path, tmp_path: Path) -> None:
    experiment = experiment_of(folder, epoch_rows=130)
    fit(experiment, data.prepare(experiment), tmp_path / "one")
    with pytest.raises(KeyboardInterrupt):
        fit(experiment, data.prepare(experiment), tmp_path / "stopped", stopped_after(1))
    fit(experiment, data.prepare(experiment), tmp_path / "stopped", resume=True)
    assert losses(tmp_path / "stopped") == losses(tmp_path / "one")
    file = tmp_path / "rows.toml"
    text = TEXT.replace("ADDRESS", str(folder))
    file.write_text(text.replace("buffer = 60", "buffer = 60\nepoch_rows = 130"))
    command = torchrun(forking.python(), TWO_PROCESSES, "tests.training.run_fit", file, tmp_path / "two")
    two = begin(command, tmp_path)
    two.communicate()
    assert two.returncode == 0
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)


# --- held-out rows and statistics -----------------------------------------------------------------------


def test_where_files_are_added_no_row_that_was_trained_on_is_held_out(tmp_path: Path) -> None:
    few, more = (write(tmp_path / str(n), dict(list(SIZES.items())[:n])) for n in (2, 3))
    before, after = (stream_of(data.prepare(experiment_of(place))) for place in (few, more))
    names = ("a.parquet", "deep/b.parquet")

    def held(stream: RowStream) -> set[tuple[str, int]]:
        firsts = {piece.first: piece.name for piece in reversed(stream.file.pieces)}
        starts = {name: min(first for first in firsts if firsts[first] == name) for name in names}
        rows = stream.file.rows_by_file
        return {
            (name, int(one) - starts[name])
            for one in stream.held
            for name in names
            if 0 <= one - starts[name] < rows[name]
        }

    assert held(after) < held(before)


@pytest.mark.parametrize("name", ["normal", "log_normal", "negative_binomial", "table"])
def test_statistics_of_blocks_set_networks_as_the_rows_do(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.poisson(torch.rand(5000, 3, generator=generator) * 20 + 1, generator=generator) + 1
    x[torch.rand(5000, 3, generator=generator) < 0.2] = torch.nan
    modality = modality_of(name)
    if modality.kind == "table":
        x[:, 2] = x[:, 2] % 3
    statistics = dataset.statistics_of(modality)
    for block in torch.split(x, 700):
        statistics.see(block)
    states = []
    for cells in (x, statistics):
        torch.manual_seed(0)
        states.append(
            [network.state_dict() for network in networks_for(modality, Network(hidden=(4,)), 2, cells)]
        )
    for by_rows, by_blocks in zip(*states, strict=True):
        assert by_rows.keys() == by_blocks.keys()
        for key, value in by_rows.items():
            torch.testing.assert_close(by_blocks[key], value, rtol=1e-6, atol=1e-6)


def modality_of(name: str) -> Modality:
    kind = {"negative_binomial": "counts", "table": "table"}.get(name, "vector")
    columns = [Column(name=one) for one in "abc"]
    if kind == "table":
        likelihoods = ("log_normal", "negative_binomial", "categorical")
        labels = (None, None, ("x", "y", "z"))
        columns = [
            Column(name=one, likelihood=likelihood, labels=some)
            for one, likelihood, some in zip("abc", likelihoods, labels, strict=True)
        ]
    likelihood = "mixed" if kind == "table" else name
    fields = {"name": "x", "kind": kind, "shape": (3,), "dtype": "float32", "likelihood": likelihood}
    return Modality.model_validate({**fields, "columns": columns})


def test_an_address_of_fsspec_holds_the_same_rows(folder: Path, prepared: Prepared) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/rows-of-a-test", recursive=True)
    elsewhere = data.prepare(experiment_of("memory://rows-of-a-test"))
    assert ids(batches(elsewhere, 1)) == ids(batches(prepared, 1))
    some = data.prepare(experiment_of("memory://rows-of-a-test/*.p*"))
    assert list(stream_of(some).file.rows_by_file) == ["a.parquet", "c.pq"]


def test_a_file_that_shrinks_during_a_run_is_reported(folder: Path, tmp_path: Path) -> None:
    place = shutil.copytree(folder, tmp_path / "rows")
    prepared = data.prepare(experiment_of(place))
    parquet.write_table(table_of(0, 20), place / "a.parquet", row_group_size=GROUP)
    with pytest.raises(DataError, match="rows"):
        batches(prepared, 1)
