"""Rows of docs/coming-from-multivae.md about categories; and every row of the page is run by a test."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from tests.training.reference import needs_reference, reference
from tests.training.test_coming_from_multivae import RUN, row
from tests.training.test_reference import DIMS, DISTS, FIELDS, SUBSETS, masks, rows
from training.model import MVAE, MVAEConfig

pytestmark = needs_reference

PAGE = (Path(__file__).parents[2] / "docs" / "coming-from-multivae.md").read_text()


@pytest.fixture(scope="module")
def library() -> SimpleNamespace:
    return reference()


@row("rows of `categorical`")
def test_categories_are_indices_or_one_hot(library: SimpleNamespace) -> None:
    fields: dict[str, Any] = {
        "n_modalities": 1,
        "latent_dim": 2,
        "input_dims": {"label": (4,)},
        "decoders_dist": {"label": "categorical"},
    }
    index = torch.tensor([0, 3, 1])
    one_hot = nn.functional.one_hot(index, 4).float()
    assert library.MVAE(library.MVAEConfig(**fields)).encode(
        library.Complete({"label": one_hot})
    ).z.shape == (3, 2)
    ours = MVAE(MVAEConfig(**fields)).eval()
    expected = ours.encode({"label": index}).mu
    torch.testing.assert_close(ours.encode({"label": one_hot}).mu, expected)
    noise = torch.zeros(len(ours.draw_subsets()), 3, 2)
    losses = [ours({"label": x}, epoch=99, noise=noise).loss for x in (index, one_hot)]
    torch.testing.assert_close(*losses)
    with pytest.raises(ValueError, match=r"'label' must be indices .* or one-hot"):
        ours.encode({"label": one_hot + 0.5})


@row("networks of `categorical` that are written for MultiVae", "`decode(z)`, `predict(…)` of `categorical`")
def test_networks_of_categories_take_one_hot_rows(library: SimpleNamespace) -> None:
    fields = FIELDS | {
        "input_dims": {**DIMS, "vector": (4,)},
        "decoders_dist": {**DISTS, "vector": "categorical"},
    }
    theirs = library.MVAE(library.MVAEConfig(**fields)).eval()
    ours = MVAE(MVAEConfig(**fields), theirs.encoders, theirs.decoders).eval()
    one_hot = nn.functional.one_hot(torch.tensor([0, 3, 1, 1, 2, 0]), 4).float()
    complete = {**rows(6), "vector": one_hot}
    for inputs in (library.Complete(complete), library.Incomplete(complete, masks(6))):
        for names in SUBSETS:
            expected = theirs.compute_mu_log_var_subset(inputs, names)
            actual = ours.compute_mu_log_var_subset(inputs, names)
            torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    torch.manual_seed(4)
    expected = theirs(library.Complete(complete), epoch=9).loss
    torch.manual_seed(4)
    noise = torch.stack([torch.randn(6, 4) for _ in range(4)])
    torch.testing.assert_close(ours(complete, epoch=9, noise=noise).loss, expected, rtol=1e-5, atol=1e-4)
    logits = theirs.predict(library.Complete(complete), "image", "vector", return_mean=True).vector
    predicted = ours.predict(complete, "image", "vector", return_mean=True).vector[:, 0]
    torch.testing.assert_close(predicted, logits.softmax(dim=-1))
    raw = ours.predict(complete, "image", "vector", return_mean=True, logits=True).vector[:, 0]
    torch.testing.assert_close(raw, logits)


def test_every_row_of_the_page_is_run() -> None:
    assert set(re.findall(r"^\| (?!Call|---)(.+?) \|", PAGE, re.MULTILINE)) == RUN
