"""``prior=mixture``: draws from what the model has seen."""

from __future__ import annotations

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.service.asking import SEVEN, ask, parts


def test_the_mixture_is_another_prior_and_its_draws_belong_to_the_seed(client: TestClient) -> None:
    path = "/generate?cond_mod=none&gen_mod=label&fields=samples&N=50&n_data=2&seed=3"
    first, again = (ask(client, f"{path}&prior=mixture")["targets"]["label"]["samples"] for _ in range(2))
    assert first == again
    assert first != ask(client, path)["targets"]["label"]["samples"]
    fewer = ask(client, path.replace("N=50", "N=5") + "&prior=mixture")["targets"]["label"]["samples"]
    np.testing.assert_allclose(np.array(first)[:, :5], fewer, atol=1e-6)
    assert np.array(first).shape == (2, 50, 10)
    assert first[0] != first[1]


def test_every_label_is_among_the_draws_and_as_often_as_in_the_data(client: TestClient) -> None:
    answer = ask(
        client, "/generate?cond_mod=none&gen_mod=label&fields=probabilities&K=500&prior=mixture&seed=1"
    )
    probabilities = np.array(answer["targets"]["label"]["probabilities"][0])
    assert probabilities.min() > 0.03
    assert probabilities.max() < 0.25


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("prior=mixture", "prior=mixture goes with cond_mod=none alone, but 'image' is given"),
        ("cond_mod=none&prior=mixture&return_mean=true", "leave out return_mean"),
        ("cond_mod=none&prior=uniform", "Input should be 'standard' or 'mixture'"),
    ],
)
def test_where_the_mixture_makes_no_sense_it_is_refused(client: TestClient, path: str, message: str) -> None:
    body = {} if "none" in path else parts(image=SEVEN)
    response = client.post(f"/generate?{path}", **body)
    assert response.status_code == 422
    assert message in response.json()["detail"]


def test_a_bundle_without_a_mixture_says_so(kinds: TestClient) -> None:
    response = kinds.post("/generate?cond_mod=none&prior=mixture")
    assert response.status_code == 422
    assert response.json()["detail"] == "this version of 'kinds' has no mixture; ask with prior=standard"
