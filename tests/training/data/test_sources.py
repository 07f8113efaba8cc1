"""The built-in sources: what they hold, and that no test row is ever trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import DATA, FULL_DATA, needs_full_data
from training.config import Data, Experiment, ModalityChoice
from training.data import digits, fashion_mnist, mfeat, prepare
from training.data.pools import Pools
from training.data.rows import Rows, Splits
from training.errors import DataError


def digits_of(folder: Path) -> Splits:
    return digits.load(folder / "mnist", folder / "fsdd", folder / "pendigits")


def experiment(source: str, names: list[str], **data: object) -> Experiment:
    return Experiment(
        name="x",
        seed=3,
        data=Data.model_validate({"source": source, **data}),
        modalities=dict.fromkeys(names, ModalityChoice()),
    )


@pytest.mark.parametrize("load", [fashion_mnist.load, mfeat.load])
def test_every_row_is_as_its_modality_says(load) -> None:  # type: ignore[no-untyped-def]
    splits = load(DATA / load.__module__.rpartition(".")[2])
    for rows in (splits.train.in_epoch(0, 0), splits.test):
        for modality in splits.modalities:
            x = rows.data[modality.name].numpy()
            assert x.shape == (len(rows), *modality.shape)
            assert x.dtype == modality.numpy_dtype
            if modality.range:
                assert x.min() >= modality.range[0]
                assert x.max() <= modality.range[1]


def test_articles_of_clothing_have_names() -> None:
    assert fashion_mnist.LABEL.labels is not None
    assert fashion_mnist.LABEL.labels[9] == "Ankle boot"
    assert fashion_mnist.load(DATA / "fashion_mnist").test.data["label"][0] == 9


def test_the_six_views_of_a_row_stay_together_when_shuffled() -> None:
    with np.load(DATA / "mfeat" / "mfeat.npz") as archive:
        stored = {key: archive[key] for key in archive.files}
    splits = mfeat.load(DATA / "mfeat")
    train = splits.train.in_epoch(0, 0)
    row = int((stored["kar"] == train.data["kar"][5].numpy()).all(axis=1).argmax())
    assert np.array_equal(train.data["pix"][5].numpy().ravel(), stored["pix"][row])
    assert train.data["label"][5] == stored["labels"][row]
    assert len(train) + len(splits.test) == 150
    assert len(train.data["label"][:20].unique()) > 5


def test_the_shuffled_split_is_always_the_same() -> None:
    first, second = mfeat.load(DATA / "mfeat"), mfeat.load(DATA / "mfeat")
    assert torch.equal(first.test.data["fou"], second.test.data["fou"])


def test_the_parts_of_a_digit_have_one_label() -> None:
    train = digits_of(DATA).train
    rows = train.in_epoch(1, 1)
    with np.load(DATA / "fsdd" / "fsdd_logmel32.npz") as archive:
        labels = {sound.tobytes(): label for sound, label in zip(archive["logmel"], archive["labels"])}  # noqa: B905
    expected = [labels[sound.numpy().tobytes()] for sound in rows.data["sound"]]
    assert expected == rows.data["label"].tolist()


def test_digits_are_paired_anew_in_each_epoch_and_the_same_way_for_a_seed() -> None:
    train = digits_of(DATA).train
    first, second = train.in_epoch(1, 1), train.in_epoch(1, 2)
    assert torch.equal(first.data["image"], second.data["image"])
    assert not torch.equal(first.data["sound"], second.data["sound"])
    assert torch.equal(first.data["sound"], train.in_epoch(1, 1).data["sound"])


def rows_of(x: torch.Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in x}


@pytest.mark.parametrize(
    "folder",
    [DATA, pytest.param(FULL_DATA, marks=[needs_full_data, pytest.mark.slow])],
    ids=["sample", "full"],
)
@pytest.mark.parametrize("name", ["sound", "strokes"])
def test_no_held_out_sound_or_stroke_is_trained_on(name: str, folder: Path) -> None:
    splits = digits_of(folder)
    left, validation = splits.train.hold_out(50, 0)
    trained = set().union(*(rows_of(left.in_epoch(0, epoch).data[name]) for epoch in range(3)))
    assert not trained & rows_of(validation.data[name])
    twins = rows_of(splits.train.in_epoch(0, 0).data[name]) & rows_of(splits.test.data[name])
    assert len(twins) <= (3 if name == "strokes" else 0)  # few points on a coarse grid do coincide
    assert len(left) == len(splits.train) - 50


@needs_full_data
def test_the_full_digits_have_the_official_sizes() -> None:
    splits = digits_of(FULL_DATA)
    assert (len(splits.train), len(splits.test)) == (60_000, 10_000)


def test_without_the_pictures_the_next_largest_pool_leads() -> None:
    prepared = prepare(experiment("digits", ["sound", "strokes"], path=DATA))
    assert len(prepared.train) == 200  # strokes
    assert list(prepared.train.data) == ["sound", "strokes"]


def test_an_experiment_sees_other_pairs_in_each_epoch_of_the_same_rows() -> None:
    prepared = prepare(
        experiment("digits", ["label", "image", "sound"], path=DATA, validation=100, limit=500)
    )
    first, second = prepared.in_epoch(1), prepared.in_epoch(2)
    assert isinstance(first, Rows)
    assert isinstance(second, Rows)
    assert len(first) == len(second) == len(prepared.train) == 400
    assert torch.equal(first.data["image"], second.data["image"])
    assert not torch.equal(first.data["sound"], second.data["sound"])


def test_a_label_without_partner_leaves_the_modality_missing() -> None:
    labels = torch.arange(10).repeat(3)
    image = Rows({"image": torch.rand(30, 4), "label": labels})
    sound = Rows({"sound": torch.rand(9, 4), "label": labels[:10][labels[:10] != 7]})
    rows = Pools("label", "image", {"image": image, "sound": sound}, ("image", "sound", "label")).in_epoch(
        0, 0
    )
    assert torch.equal(~rows.masks["sound"], rows.data["label"] == 7)


@pytest.mark.parametrize(
    ("source", "path", "message"),
    [
        ("mfeat", "mnist", "mfeat.npz is missing"),
        ("digits", "mnist", "data.path: there is no folder .*mnist/mnist"),
    ],
)
def test_what_is_not_there_is_refused_by_name(source: str, path: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepare(experiment(source, ["label"], path=DATA / path))


def test_a_source_that_cannot_be_fetched_says_where_to_put_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("training.data.HOME", tmp_path)
    monkeypatch.delenv("ANYVIEW_DATA", raising=False)
    with pytest.raises(DataError, match="'mfeat' needs a folder 'mfeat'; set ANYVIEW_DATA"):
        prepare(experiment("mfeat", ["label"]))


def test_an_archive_that_is_no_archive_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "mfeat.npz").write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(DataError, match=r"mfeat\.npz cannot be read"):
        mfeat.load(tmp_path)


def test_an_array_of_another_shape_is_refused_by_name(tmp_path: Path) -> None:
    with np.load(DATA / "mfeat" / "mfeat.npz") as archive:
        arrays = {key: archive[key] for key in archive.files}
    np.savez(tmp_path / "mfeat.npz", **{**arrays, "mor": arrays["mor"][:, :5]})
    with pytest.raises(DataError, match=r"'mor' must have the shape \(150, 6\), got \(150, 5\)"):
        mfeat.load(tmp_path)
