"""The service and the torch model give the same numbers; only tests import both."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from models_store import golden
from service.app import create_app
from service.settings import Settings
from tests.service.asking import npy, parts
from training import data
from training.data.rows import Rows
from training.fit import Fitted


@pytest.fixture(scope="module")
def client(bundle_folder):  # type: ignore[no-untyped-def]  # a generator of a client, as in service/conftest.py
    with TestClient(create_app(Settings(store=bundle_folder.parents[1]))) as client:
        yield client


@pytest.mark.parametrize("names", [["image"], ["label"], ["image", "label"]])
def test_posteriors_of_every_subset_agree(
    client: TestClient, fitted: Fitted, prepared: data.Prepared, names: list[str]
) -> None:
    rows = prepared.test.head(64)
    files = {name: npy(rows.data[name].numpy()) for name in names}
    answer = client.post("/encode", **parts(**files)).json()
    mu, log_var = fitted.model.compute_mu_log_var_subset(rows, names)
    assert golden.agree(np.array(answer["mu"]), mu.detach().numpy())
    assert golden.agree(np.array(answer["log_var"]), log_var.detach().numpy())


def test_posteriors_of_incomplete_rows_agree(
    client: TestClient, fitted: Fitted, prepared: data.Prepared
) -> None:
    rows = prepared.test.head(4)
    masks = {
        "image": torch.tensor([True, False, True, True]),
        "label": torch.tensor([True, True, False, True]),
    }
    sent = {
        name: [value if keep else None for value, keep in zip(x.tolist(), masks[name], strict=True)]
        for name, x in rows.data.items()
    }
    answer = client.post("/encode", json={"inputs": sent}).json()
    output = fitted.model.encode(Rows(rows.data, masks), return_mean=True)
    assert golden.agree(np.array(answer["mu"]), output.mu.detach().numpy())


@pytest.mark.parametrize(("condition", "question"), [("none", "image,label"), ("image", "label|image")])
def test_scores_agree_within_their_errors(
    client: TestClient, fitted: Fitted, prepared: data.Prepared, condition: str, question: str
) -> None:
    rows = prepared.test.head(16)
    files = {name: npy(x.numpy()) for name, x in rows.data.items()}
    answer = client.post(f"/score?cond_mod={condition}&seed=1", **parts(**files)).json()
    given = [] if condition == "none" else [condition]
    generator = torch.Generator().manual_seed(2)
    estimate = fitted.model.compute_log_prob(rows, given=given, generator=generator)
    assert answer["question"] == [question] * 16
    both = np.array(answer["reliable"]) & estimate.reliable.numpy()
    assert both.mean() > 0.7
    assert [error is None for error in answer["std_error"]] == [
        not reliable for reliable in answer["reliable"]
    ]
    error = np.hypot(np.array(answer["std_error"], float), estimate.std_error.numpy())
    apart = np.abs(np.array(answer["log_prob"]) - estimate.log_prob.numpy())
    # With few effective draws an error is itself uncertain, and it leaves out weights that were never drawn.
    uncertain = 1 / np.minimum(answer["ess"], estimate.ess.numpy())
    assert (apart < 5 * error + uncertain)[both].all()


def test_means_generated_from_the_mean_of_z_agree(
    client: TestClient, fitted: Fitted, prepared: data.Prepared
) -> None:
    labels = prepared.test.data["label"][:8]
    answer = client.post(
        "/generate?return_mean=true&gen_mod=image&fields=samples", json={"inputs": {"label": labels.tolist()}}
    ).json()
    expected = fitted.model.predict({"label": labels}, ["label"], ["image"], return_mean=True).image
    assert golden.agree(np.array(answer["targets"]["image"]["samples"]), expected.detach().numpy())
