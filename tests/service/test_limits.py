"""Rows and draws that are allowed each by itself, and too much together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.service.asking import inputs
from tests.service.kinds import DIMENSION, publish

ROWS = 4
ANIMALS = inputs(animal=["cat"] * ROWS)
SAMPLES = "generate?gen_mod=image&fields=samples&K=1"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """It may answer the numbers of five pictures for each of four rows."""
    store: Path = tmp_path_factory.mktemp("kinds")
    publish(store)
    with TestClient(create_app(Settings(store=str(store), max_numbers=480))) as client:
        yield client


@pytest.mark.parametrize(
    ("question", "most", "by_row", "less"),
    [
        ("encode?N={}", 480 // ROWS // DIMENSION, DIMENSION, "N"),
        (SAMPLES + "&N={}", 480 // ROWS // 24, 24, "N, gen_mod or fields"),
        ("generate?gen_mod=animal&fields=probabilities&K={}", 480 // ROWS // DIMENSION, DIMENSION, "N or K"),
        ("score?K={}", 480 // ROWS, 1, "K"),
    ],
)
def test_as_many_numbers_as_allowed_are_answered_and_one_draw_more_is_not(
    service: TestClient, question: str, most: int, by_row: int, less: str
) -> None:
    assert service.post(question.format(most), **ANIMALS).status_code == 200
    refused = service.post(question.format(most + 1), **ANIMALS)
    assert refused.status_code == 422
    expected = (
        f"4 rows × {by_row * (most + 1)} numbers of .* are {ROWS * by_row * (most + 1)}, more than the 480 "
    )
    assert re.match(expected, refused.json()["detail"])
    assert refused.json()["detail"].endswith(f"; send fewer rows, or ask for less: {less}")


def test_every_number_of_an_answer_is_counted(service: TestClient) -> None:
    """Mean, deviation, five quantiles and two samples of 24 pixels, four rows: 864."""
    refused = service.post("generate?gen_mod=image&N=2&K=2", **ANIMALS)
    assert (refused.status_code, refused.json()["detail"].partition(",")[0]) == (
        422,
        "4 rows × 216 numbers of 'image' are 864",
    )


def test_the_open_inference_protocol_is_bounded_too(service: TestClient) -> None:
    tensor = {"name": "animal", "shape": [ROWS], "datatype": "BYTES", "data": ["cat"] * ROWS}
    body = {"inputs": [tensor], "parameters": {"N": 41}, "outputs": [{"name": "z"}]}
    refused = service.post("/v2/models/kinds/infer", json=body)
    assert (refused.status_code, "4 rows × 123 numbers of z are 492" in refused.json()["error"]) == (
        422,
        True,
    )


def test_the_prior_is_bounded_too(service: TestClient) -> None:
    assert service.post("encode?cond_mod=none&n_data=161").status_code == 422
    assert service.post("encode?cond_mod=none&n_data=160").status_code == 200
