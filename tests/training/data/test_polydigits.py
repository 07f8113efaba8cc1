"""Five pictures of one digit on five textures: drawn alike in every run, and sharing the digit alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.conftest import DATA
from training.config import Data, Experiment, ModalityChoice
from training.data import mnist, polydigits, prepare
from training.data.polydigits import SIDE, TEXTURES, texture
from training.data.pools import Pools
from training.data.rows import Splits

LIMIT = 40


@pytest.fixture(scope="module")
def splits() -> Splits:
    return polydigits.load(DATA / "mnist", LIMIT)


def test_every_run_draws_the_same_rows(splits: Splits) -> None:
    again = polydigits.load(DATA / "mnist", LIMIT)
    for rows, same in ((splits.test, again.test), (splits.train.in_epoch(1, 2), again.train.in_epoch(1, 2))):
        assert len(rows) == LIMIT
        assert list(rows.data) == [*TEXTURES, "label"]
        assert all(torch.equal(x, same.data[name]) for name, x in rows.data.items())


def test_rows_fit_their_modalities(splits: Splits) -> None:
    for modality in splits.modalities[:-1]:
        x = splits.test.data[modality.name]
        assert modality.shape == tuple(x.shape[1:]) == (SIDE, SIDE, 3)
        assert x.dtype == torch.uint8


@pytest.mark.parametrize("name", TEXTURES)
def test_no_channel_of_a_texture_is_near_the_middle(name: str) -> None:
    assert np.abs(texture(name) - 0.5).min() >= 0.15
    assert texture(name).min() >= 0
    assert texture(name).max() <= 1


@pytest.mark.parametrize("name", TEXTURES)
def test_paper_has_the_colours_of_the_texture_and_ink_the_inverted_ones(name: str) -> None:
    ink = np.zeros((3, SIDE, SIDE), np.uint8)
    ink[:, :, 14:] = 255
    pictures = polydigits._drawn(ink, name, [0, 0]).astype(float)
    paper, inverted = pictures[:, :, :14], 255 - pictures[:, :, 14:]
    low, high = 255 * texture(name).min(axis=(0, 1)), 255 * texture(name).max(axis=(0, 1))
    for part in (paper, inverted):
        assert (part >= low - 1).all()
        assert (part <= high + 1).all()
    assert not np.array_equal(pictures[0], pictures[1])  # parts of the texture differ


def test_views_are_paired_anew_in_each_epoch_by_their_label_alone(splits: Splits) -> None:
    one, other = splits.train.in_epoch(0, 1), splits.train.in_epoch(0, 2)
    for name in ("first", "label"):
        assert torch.equal(one.data[name], other.data[name])
    for name in list(TEXTURES)[1:]:
        assert not torch.equal(one.data[name], other.data[name])


def test_labels_are_those_of_the_digits_that_are_drawn(splits: Splits) -> None:
    digits = mnist.load(DATA / "mnist").train.in_epoch(0, 0).head(LIMIT)
    assert isinstance(splits.train, Pools)
    for view, (name, pool) in enumerate(splits.train.pools.items()):
        again = polydigits._drawn(digits.data["image"].numpy()[:5], name, [0, view])
        np.testing.assert_array_equal(pool.data[name][:5].numpy(), again)
        assert torch.equal(pool.data["label"], digits.data["label"])


def test_an_experiment_takes_some_views() -> None:
    views = ["second", "fifth", "label"]
    experiment = Experiment(
        name="poly",
        data=Data(source="polydigits", path=DATA, limit=LIMIT, validation=10),
        modalities={name: ModalityChoice() for name in views},
    )
    prepared = prepare(experiment)
    assert [modality.name for modality in prepared.modalities] == views
    assert (len(prepared.train), len(prepared.validation), len(prepared.test)) == (LIMIT - 10, 10, LIMIT)
