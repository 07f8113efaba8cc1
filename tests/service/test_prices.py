"""What a request is priced at, beside what its answer holds."""

from __future__ import annotations

import asyncio
from pathlib import Path
from unittest.mock import AsyncMock

import numpy as np
import pytest

from models_store.folder import open_bundle
from service.engine.budget import BYTES_OF_CHARACTER, BYTES_OF_NUMBER
from service.engine.model import Model
from service.engine.observations import Observations
from service.engine.summaries import FIELDS, characters, numbers_by_row
from service.models.loading import opened
from service.oip.answers import CHARACTERS_OF_CLASS, memory
from service.oip.outputs import Output
from service.oip.requests import RequestedOutput
from tests.models_store.examples import category, manifest
from tests.service.kinds import publish

ROWS, DRAWS = 3, 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return opened(open_bundle(publish(tmp_path_factory.mktemp("store"))))


@pytest.mark.parametrize("fields", [FIELDS, *((one,) for one in FIELDS)], ids=",".join)
def test_an_answer_has_as_many_numbers_as_it_was_priced_at(model: Model, fields: tuple[str, ...]) -> None:
    """The labels of a table's columns count: few numbers are written on the event loop."""
    rows = Observations({}, ROWS)
    generated = asyncio.run(
        model.generate(rows, ["none"], ["all"], fields=fields, draws=DRAWS, summary_draws=5, seed=1)
    )
    expected = sum(numbers_by_row(one, fields, DRAWS) for one in model.manifest.modalities)
    assert generated.numbers == ROWS * expected > 0


@pytest.mark.parametrize("explained", [True, False])
def test_a_posterior_takes_the_memory_of_its_numbers(
    model: Model, monkeypatch: pytest.MonkeyPatch, explained: bool
) -> None:
    take = AsyncMock()
    monkeypatch.setattr(model.budget, "take", take)
    rows = Observations({}, 1000)
    encoded = asyncio.run(model.encode(rows, ["none"], draws=DRAWS, seed=1, explained=explained))
    explanation = encoded.explanation or ()
    numbers = sum(part.size for part in (encoded.z, encoded.mu, encoded.log_var, *explanation))
    assert encoded.numbers == numbers
    take.assert_awaited_once_with(BYTES_OF_NUMBER * numbers)


LABELS = ("cat", "d" * 1000, "owl")


@pytest.mark.parametrize(
    ("fields", "longest"),
    [((), 0), (("mean",), 0), (("probabilities",), len(LABELS)), (("samples",), DRAWS), (FIELDS, 3 + DRAWS)],
)
def test_labels_count_by_row_with_the_length_of_the_longest(fields: tuple[str, ...], longest: int) -> None:
    once = len("".join(LABELS))
    assert characters(category(*LABELS), fields, ROWS, DRAWS) == ROWS * longest * 1000 + once


def test_a_generated_answer_takes_the_memory_of_its_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, rows, prices = AsyncMock(), 1000, []
    for labels in (("cat", "dog", "owl"), LABELS):
        model = opened(open_bundle(publish(tmp_path / labels[1][:3], [category(*labels)])))
        monkeypatch.setattr(model.budget, "take", take)
        empty = Observations({}, rows)
        ask = model.generate(empty, ["none"], ["label"], fields=["probabilities"], summary_draws=1, seed=1)
        ranked = asyncio.run(ask).targets["label"]["ranked"]
        prices.append(take.await_args_list[-1].args[0])
        assert prices[-1] > 2 * ranked.nbytes
    assert prices[1] - prices[0] == BYTES_OF_CHARACTER * 997 * (3 * rows + 1)


def test_a_classification_takes_the_memory_of_its_labels() -> None:
    described = manifest(modalities=[category(*LABELS)])
    output = Output("label.probabilities", (-1, 3), "label", "probabilities")
    probabilities = np.full((ROWS, 3), 1 / 3, np.float32)

    def price(classes: int) -> int:
        requested = RequestedOutput(output.name, binary=False, classes=classes)
        return memory(described, [(requested, output, probabilities)])

    one = ROWS * (1000 + CHARACTERS_OF_CLASS) * BYTES_OF_CHARACTER
    assert [price(classes) for classes in (0, 1, 3, 10**9)] == [0, one, 3 * one, 3 * one]
