"""Where rows lie, and a loss that is compiled."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch._inductor import config as inductor

from models_store.folder import open_bundle, publish
from service.models.loading import open_sessions
from tests.models_store.examples import array, category
from tests.training.examples import incomplete_rows
from training import threads as threads_module
from training.config import Experiment, Network
from training.data import Prepared
from training.data.rows import Rows
from training.device import Placement
from training.errors import TrainingError
from training.export import export
from training.fit import LAST, fit
from training.model import MVAE, MVAEConfig
from training.networks import networks_for
from training.objective import OBJECTIVES, Objective
from training.subsets import possible, subsets
from training.threads import ONE_THREAD, threads_for

ELSEWHERE = torch.device("meta")
"""A device that holds shapes alone, to stand in for a GPU."""


def fully_connected(hidden: int) -> MVAE:
    config = MVAEConfig(n_modalities=1, latent_dim=2, input_dims={"x": (3,)}, decoders_dist={"x": "normal"})
    x = torch.zeros(2, 3)
    pair = networks_for(array("vector", 3), Network(hidden=(hidden,)), 2, x)
    return MVAE(config, {"x": pair[0]}, {"x": pair[1]})


needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in (os.environ.get("CXX") or "g++", "clang++")),
    reason="there is no C++ compiler: install g++",
)


def test_rows_lie_where_the_model_is_if_they_take_less_than_half_of_what_is_free() -> None:
    rows = Rows(incomplete_rows(10, 0).data)
    assert rows.size_in_bytes == 10 * (12 + 5 * 4 + 8)
    moved = Placement(ELSEWHERE, free=lambda _: 801)(rows)
    assert isinstance(moved, Rows)
    assert moved.device == ELSEWHERE
    assert Placement(ELSEWHERE, free=lambda _: 800)(rows) is rows
    assert Placement(torch.device("cpu"))(rows) is rows


def test_the_same_rows_are_moved_once_and_those_of_another_epoch_again() -> None:
    place, rows = Placement(ELSEWHERE, free=lambda _: 10**6), incomplete_rows(10, 0)
    assert place(rows) is place(rows)
    assert place(incomplete_rows(10, 1)) is not place(rows)


SMALL = fully_connected(hidden=8)
WEIGHTS = sum(weight.numel() for weight in SMALL.parameters())
LIMIT = int(ONE_THREAD / WEIGHTS)


@pytest.mark.parametrize(
    ("rows", "threads", "variables", "expected"),
    [
        (LIMIT, 4, {}, 1),
        (LIMIT + 1, 4, {}, 4),
        (LIMIT, 4, {"OMP_NUM_THREADS": "4"}, 4),
        (LIMIT, 4, {"MKL_NUM_THREADS": "4"}, 4),
        (LIMIT, 3, {}, 3),
    ],
    ids=["small", "large", "set for OpenMP", "set for MKL", "set by torch"],
)
def test_small_steps_have_one_thread_unless_the_user_sets_the_number(
    rows: int, threads: int, variables: dict[str, str], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(threads_module, "THREADS", 4)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threads_for(SMALL, rows):
            assert torch.get_num_threads() == expected
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_convolutions_keep_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_module, "_threads_are_set", lambda _threads: False)
    model = fully_connected(hidden=8)
    model.register_module("convolution", torch.nn.Conv2d(1, 1, 3))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threads_for(model, 1):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_no_subset_that_is_drawn_asks_for_more_than_what_a_compiled_loss_computes(
    objective: Objective,
) -> None:
    category = torch.tensor([True, False, False, False])
    for choose in (objective.reconstructs, objective.reencodes):
        may_be = possible(4, 8, lambda family, choose=choose: choose(family, category))  # type: ignore[misc]
        for seed in range(20):
            family = subsets(4, 3, torch.Generator().manual_seed(seed))
            assert bool((choose(family, category) <= may_be).all())


def small(compiled: bool) -> Experiment:
    """A vector and a category, of the objective that computes most."""
    linear: dict[str, Any] = {"network": {"hidden": []}}
    return Experiment.model_validate(
        {
            "name": "small",
            "data": {"source": "none"},
            "modalities": {"measured": linear, "label": linear},
            "model": {"latent_dim": 2, "objective": "coherent"},
            "fit": {"epochs": 1, "batch_size": 32, "compile": compiled},
        }
    )


def rows_with_gaps() -> Prepared:
    """Two batches, in which cells and modalities are missing."""
    torch.manual_seed(0)
    x = {"measured": torch.randn(64, 2), "label": torch.arange(64) % 3}
    x["measured"][::5, 1] = torch.nan
    rows = Rows(x, {"label": torch.arange(64) % 4 > 0})
    return Prepared((array("vector", 2), category("a", "b", "c")), rows, rows.take(slice(0)), rows)


def gradients(workdir: Path) -> dict[str, Tensor]:
    """As Adam remembers them."""
    return {key: x for key, x in load_file(workdir / LAST).items() if key.endswith(".exp_avg")}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # what torch.compile itself does
@needs_compiler
def test_with_a_compiled_loss_a_model_learns_and_is_published_as_with_the_plain_one(tmp_path: Path) -> None:
    prepared = rows_with_gaps()
    with inductor.patch(compile_threads=1):  # further processes would import torch
        plain, compiled = (fit(small(how), prepared, tmp_path / str(how)) for how in (False, True))
    assert compiled.reports[0].train_loss == pytest.approx(plain.reports[0].train_loss, rel=1e-5)
    theirs, ours = gradients(tmp_path / "False"), gradients(tmp_path / "True")
    assert theirs.keys() == ours.keys()
    for name, b in theirs.items():
        torch.testing.assert_close(ours[name], b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))
    manifest, files = export(compiled.model, small(True), "", prepared, 1)
    open_sessions(open_bundle(publish(tmp_path / "store", manifest, files)))


def test_without_a_compiler_it_says_what_to_install(
    experiment: Experiment, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    on_cpu = experiment.fit.model_copy(update={"compile": True, "device": "cpu"})
    compiled = experiment.model_copy(update={"fit": on_cpu})
    with pytest.raises(TrainingError, match=r"fit\.compile needs a C\+\+ compiler on a CPU"):
        fit(compiled, prepared, tmp_path)
