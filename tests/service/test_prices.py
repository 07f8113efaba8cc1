"""What a request is priced at, beside what its answer holds."""

from __future__ import annotations

import asyncio
from unittest.mock import AsyncMock

import pytest

from models_store.folder import open_bundle
from service.engine.budget import BYTES_OF_NUMBER
from service.engine.model import Model
from service.engine.observations import Observations
from service.engine.summaries import FIELDS, numbers_by_row
from service.models.loading import opened
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
