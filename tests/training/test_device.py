"""Where rows lie, and a loss that is compiled."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from tests.training.examples import incomplete_rows
from training.config import Experiment
from training.data import Prepared
from training.data.rows import Rows
from training.device import Placement, compile_loss
from training.errors import TrainingError
from training.fit import fit
from training.model import MVAE, MVAEConfig
from training.networks import FillMissing, MLPDecoder, MLPEncoder, OneHot, Standardise
from training.objective import OBJECTIVES, Objective, possible, subsets

ELSEWHERE = torch.device("meta")
"""A device that holds shapes alone, to stand in for a GPU."""

needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in (os.environ.get("CXX") or "g++", "clang++")),
    reason="there is no C++ compiler: install g++",
)


def test_rows_lie_where_the_model_is_if_they_take_less_than_half_of_what_is_free() -> None:
    rows = Rows(incomplete_rows(10, 0).data)
    assert rows.size_in_bytes == 10 * (12 + 5 * 4 + 8)
    assert Placement(ELSEWHERE, free=lambda _: 801)(rows).device == ELSEWHERE
    assert Placement(ELSEWHERE, free=lambda _: 800)(rows) is rows
    assert Placement(torch.device("cpu"))(rows) is rows


def test_the_same_rows_are_moved_once_and_those_of_another_epoch_again() -> None:
    place, rows = Placement(ELSEWHERE, free=lambda _: 10**6), incomplete_rows(10, 0)
    assert place(rows) is place(rows)
    assert place(incomplete_rows(10, 1)) is not place(rows)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_no_subset_that_is_drawn_asks_for_more_than_what_a_compiled_loss_computes(
    objective: Objective,
) -> None:
    category = torch.tensor([True, False, False, False])
    for choose in (objective.reconstructs, objective.generates):
        may_be = possible(4, 8, lambda family, choose=choose: choose(family, category))  # type: ignore[misc]
        for seed in range(20):
            family = subsets(4, 3, torch.Generator().manual_seed(seed))
            assert bool((choose(family, category) <= may_be).all())


def tiny_model() -> MVAE:
    """A vector with missing cells and a category."""
    torch.manual_seed(0)
    config = MVAEConfig(
        2,
        latent_dim=2,
        input_dims={"vector": (2,), "label": (3,)},
        decoders_dist={"label": "categorical"},
        objective="coherent",
    )
    encoders = {
        "vector": MLPEncoder(FillMissing(Standardise()), 4, [5], 2),
        "label": MLPEncoder(OneHot(3), 3, [5], 2),
    }
    return MVAE(config, encoders, {"vector": MLPDecoder(2, [5], (2,)), "label": MLPDecoder(2, [5], (3,))})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # what torch.compile itself does
@needs_compiler
def test_a_compiled_loss_and_its_gradients_are_those_of_the_plain_one() -> None:
    model = tiny_model()
    x = {
        "vector": torch.tensor([[0.5, torch.nan], [1.0, -1.0], [0.0, 2.0]]),
        "label": torch.tensor([0, 2, 1]),
    }
    rows = Rows(x, {"label": torch.tensor([True, False, True])})
    family, weights = model.draw_subsets(), list(model.parameters())
    noise = torch.randn(len(family), 3, 2, generator=torch.Generator().manual_seed(3))
    plain = model(rows, epoch=5, family=family, noise=noise).loss
    compile_loss(model, torch.device("cpu"))
    compiled = model(rows, epoch=5, family=family, noise=noise).loss
    torch.testing.assert_close(compiled, plain, rtol=1e-5, atol=1e-5)
    for a, b in zip(torch.autograd.grad(compiled, weights), torch.autograd.grad(plain, weights), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))


def test_without_a_compiler_it_says_what_to_install(
    experiment: Experiment, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    compiled = experiment.model_copy(update={"fit": experiment.fit.model_copy(update={"compile": True})})
    with pytest.raises(TrainingError, match=r"fit\.compile needs a C\+\+ compiler on a CPU"):
        fit(compiled, prepared, tmp_path)
