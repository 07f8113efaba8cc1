"""POST /encode and /generate: any view in, any view out."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.service.asking import SEVEN, ask, inputs, npy, parts, pixels


def test_label_from_image(client: TestClient) -> None:
    answer = ask(client, "/generate?cond_mod=image&gen_mod=label", **parts(image=SEVEN))
    assert answer["targets"]["label"]["ranked"][0][0] == "7"
    assert list(answer["targets"]) == ["label"]
    assert sum(answer["targets"]["label"]["probabilities"][0]) == pytest.approx(1)


def test_image_from_label(client: TestClient) -> None:
    answer = ask(client, "/generate?gen_mod=image&N=3", **parts(label=b"7"))
    image = answer["targets"]["image"]
    assert np.shape(image["samples"]) == (1, 3, 28, 28)
    assert np.shape(image["mean"]) == np.shape(image["std"]) == (1, 28, 28)
    assert np.shape(image["quantiles"]) == (1, 5, 28, 28)
    assert image["levels"] == [0.05, 0.25, 0.5, 0.75, 0.95]


def test_pictures_come_as_a_grid_of_rows_by_samples(client: TestClient) -> None:
    png = ask(client, "/generate?gen_mod=image&N=8", accept="image/png", **parts(label=[b"7", b"1"]))
    assert pixels(png).shape == (2 * 28, 8 * 28)


def test_the_picture_shows_the_samples(client: TestClient) -> None:
    png = ask(client, "/generate?gen_mod=image&N=2&seed=5", accept="image/png", **parts(label=b"7"))
    answer = ask(client, "/generate?gen_mod=image&N=2&seed=5", **parts(label=b"7"))
    shown = pixels(png).reshape(28, 2, 28).swapaxes(0, 1)
    np.testing.assert_allclose(shown, answer["targets"]["image"]["samples"][0], atol=0.51)


def test_encode_answers_z_mu_and_log_var(client: TestClient) -> None:
    answer = ask(client, "/encode?N=4", **parts(image=SEVEN))
    assert np.shape(answer["z"]) == (1, 4, 16)
    assert np.shape(answer["mu"]) == np.shape(answer["log_var"]) == (1, 16)
    assert answer["one_latent_space"] is True
    assert (answer["model"], answer["version"], answer["n_data"]) == ("tiny", 1, 1)


def test_image_and_label_together_are_the_product_of_the_two_single_answers(client: TestClient) -> None:
    """Precisions add up, the prior's counted once; nothing but the answers is used here."""
    image, label, both = (
        ask(client, f"/encode?cond_mod={names}", **parts(image=SEVEN, label=b"7"))
        for names in ("image", "label", "image,label")
    )
    precision = {k: np.exp(-np.array(a["log_var"])) for k, a in {"i": image, "l": label}.items()}
    total = precision["i"] + precision["l"] - 1
    weighted = precision["i"] * image["mu"] + precision["l"] * label["mu"]
    np.testing.assert_allclose(both["log_var"], -np.log(total), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(both["mu"], weighted / total, rtol=1e-4, atol=1e-4)
    assert (np.array(both["log_var"]) < np.minimum(image["log_var"], label["log_var"])).all()


def test_encode_says_where_the_posterior_comes_from(client: TestClient) -> None:
    """Shares and divergence follow from the variances and means that are answered beside them."""
    seven = pixels(SEVEN).tolist()
    both = ask(client, "/encode", **inputs(image=[seven, seven], label=[7, None]))
    shares = {name: np.array(values) for name, values in both["contributions"].items()}
    assert list(shares) == ["prior", "image", "label"]
    np.testing.assert_allclose(sum(shares.values()), 1, rtol=1e-6)
    np.testing.assert_allclose(shares["prior"], np.exp(both["log_var"]).mean(axis=1), rtol=1e-5)
    assert shares["label"][1] == 0 < shares["label"][0]
    mu, log_var = np.array(both["mu"]), np.array(both["log_var"])
    kl = (mu**2 + np.exp(log_var) - 1 - log_var).sum(axis=1) / 2
    np.testing.assert_allclose(both["information"], kl, rtol=1e-4)
    assert both["disagreement"][1] == 0 != both["disagreement"][0]


def test_a_picture_and_a_label_that_contradict_each_other_disagree(client: TestClient) -> None:
    right, *wrong = (
        ask(client, "/encode", **parts(image=SEVEN, label=label))["disagreement"][0]
        for label in (b"7", b"0", b"6")
    )
    assert right < min(wrong)


def test_the_prior_comes_from_itself(client: TestClient) -> None:
    answer = ask(client, "/encode?cond_mod=none&n_data=2")
    assert answer["contributions"] == {"prior": [1.0, 1.0], "image": [0.0, 0.0], "label": [0.0, 0.0]}
    assert answer["information"] == answer["disagreement"] == [0.0, 0.0]


def test_the_right_label_scores_highest(client: TestClient) -> None:
    labels = list(range(10))
    body = inputs(image=[pixels(SEVEN).tolist()] * 10, label=labels)
    answer = ask(client, "/score?cond_mod=image&K=200&seed=1", **body)
    assert answer["question"] == ["label|image"] * 10
    assert int(np.argmax(answer["log_prob"])) == 7
    assert answer["p_value"] == [None] * 10
    assert (answer["cond_mod"], answer["gen_mod"], answer["K"]) == (["image"], ["label"], 200)


def test_the_probability_of_a_label_is_the_same_by_score_and_by_generate(client: TestClient) -> None:
    seven = pixels(SEVEN).tolist()
    body = inputs(image=[seven] * 10, label=list(range(10)))
    scored = ask(client, "/score?cond_mod=image&K=500&seed=1", **body)
    generated = ask(client, "/generate?gen_mod=label&K=500&seed=2", **inputs(image=[seven]))
    by_score = np.exp(scored["log_prob"])
    assert by_score.sum() == pytest.approx(1, abs=0.05)
    np.testing.assert_allclose(by_score, generated["targets"]["label"]["probabilities"][0], atol=0.06)


def test_score_says_what_each_row_was_asked(client: TestClient) -> None:
    seven = pixels(SEVEN).tolist()
    body = inputs(image=[seven, seven, None], label=[7, None, 7])
    assert ask(client, "/score?K=2", **body)["question"] == ["image,label", "image", "label"]


def test_the_prior_is_answered_when_asked_for(client: TestClient) -> None:
    answer = ask(client, "/encode?cond_mod=none&n_data=3&N=200&seed=1")
    assert answer["mu"] == answer["log_var"] == [[0.0] * 16] * 3
    assert np.std(answer["z"]) == pytest.approx(1, abs=0.05)
    assert ask(client, "/generate?cond_mod=none")["n_data"] == 1


def test_a_seed_gives_the_same_answer_and_is_told_when_it_was_drawn(client: TestClient) -> None:
    first = ask(client, "/generate?N=2", **parts(label=b"3"))
    again = ask(client, f"/generate?N=2&seed={first['seed']}", **parts(label=b"3"))
    other = ask(client, f"/generate?N=2&seed={first['seed'] + 1}", **parts(label=b"3"))
    assert again == first
    assert other["targets"] != first["targets"]


def test_a_row_is_answered_alike_alone_and_among_others(client: TestClient) -> None:
    """Row 0 has the draws of row 0, however many follow."""
    alone = ask(client, "/generate?seed=3&N=2", **parts(label=b"3"))
    among = ask(client, "/generate?seed=3&N=2", **parts(label=[b"3", b"5", b"8"]))
    for name, fields in alone["targets"].items():
        for field in ("samples", "mean", "std", "probabilities"):
            if field in fields:
                np.testing.assert_allclose(
                    among["targets"][name][field][:1], fields[field], rtol=1e-4, atol=1e-4
                )


def test_draws_do_not_depend_on_how_many_there_are(client: TestClient) -> None:
    few = ask(client, "/encode?seed=3&N=2", **parts(label=b"3"))["z"]
    many = ask(client, "/encode?seed=3&N=9", **parts(label=b"3"))["z"]
    assert np.array_equal(np.array(many)[:, :2], few)


def test_return_mean_repeats_the_mean(client: TestClient) -> None:
    answer = ask(client, "/encode?return_mean=true&N=2", **parts(image=SEVEN))
    assert answer["z"][0] == [answer["mu"][0]] * 2
    generated = ask(client, "/generate?return_mean=true&gen_mod=image", **parts(image=SEVEN))["targets"][
        "image"
    ]
    np.testing.assert_allclose(generated["mean"][0], generated["samples"][0][0], rtol=1e-5)


def test_flatten_joins_rows_and_draws(client: TestClient) -> None:
    body = parts(label=[b"3", b"5"])
    flat = ask(client, "/encode?flatten=true&N=3&seed=1", **body)["z"]
    assert np.array_equal(np.reshape(ask(client, "/encode?N=3&seed=1", **body)["z"], (6, 16)), flat)
    samples = ask(client, "/generate?flatten=true&N=3&gen_mod=image", **body)["targets"]["image"]["samples"]
    assert np.shape(samples) == (6, 28, 28)


def test_samples_with_noise_are_draws_of_x(client: TestClient) -> None:
    targets = ask(client, "/generate?noise=true&N=5", **parts(label=b"3"))["targets"]
    assert set(np.unique(targets["image"]["samples"])) <= {0.0, 255.0}
    assert np.shape(targets["label"]["samples"]) == (1, 5)


def test_fields_choose_what_is_answered(client: TestClient) -> None:
    targets = ask(client, "/generate?fields=mean,probabilities", **parts(label=b"3"))["targets"]
    assert set(targets["image"]) == {"mean"}
    assert set(targets["label"]) == {"ranked", "probabilities", "labels"}


def test_npz_holds_the_same_tree_as_json(client: TestClient) -> None:
    content = ask(client, "/generate?seed=1", accept="application/x-npz", **parts(image=SEVEN))
    answer = ask(client, "/generate?seed=1", **parts(image=SEVEN))
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        np.testing.assert_allclose(
            archive["targets.image.mean"], answer["targets"]["image"]["mean"], rtol=1e-5
        )
        assert archive["targets.label.ranked"].tolist() == answer["targets"]["label"]["ranked"]
        assert archive["seed"] == 1


SEVEN_FORMS = {
    "a picture in a form": parts(image=SEVEN),
    "an array in a form": parts(image=npy(pixels(SEVEN)[None])),
    "floats in a form": parts(image=npy(pixels(SEVEN)[None].astype(np.float64))),
    "nested lists": inputs(image=[pixels(SEVEN).tolist()]),
    "base64 in JSON": inputs(image=[base64.b64encode(SEVEN).decode()]),
}


@pytest.mark.parametrize("body", SEVEN_FORMS.values(), ids=SEVEN_FORMS)
def test_the_same_picture_in_any_form_has_the_same_posterior(
    client: TestClient, body: dict[str, Any]
) -> None:
    expected = ask(client, "/encode", **parts(image=SEVEN))["mu"]
    np.testing.assert_allclose(ask(client, "/encode", **body)["mu"], expected, rtol=1e-6)


def test_text_is_a_label_and_an_integer_an_index(client: TestClient) -> None:
    mu = ask(client, "/encode", **inputs(label=[3, "7", "3"]))["mu"]
    assert mu[0] == mu[2] != mu[1]


def test_rows_may_lack_different_modalities(client: TestClient) -> None:
    """Each row has the posterior of what it has."""
    seven = pixels(SEVEN).tolist()
    mixed = ask(client, "/encode", **inputs(image=[seven, None, seven], label=[None, 7, 7]))["mu"]
    for row, private in enumerate((parts(image=SEVEN), parts(label=b"7"), parts(image=SEVEN, label=b"7"))):
        np.testing.assert_allclose(
            mixed[row], ask(client, "/encode", **private)["mu"][0], rtol=1e-4, atol=1e-5
        )


def test_every_model_is_also_asked_by_name(client: TestClient) -> None:
    body = parts(image=SEVEN)
    assert ask(client, "/models/tiny/encode?seed=1", **body) == ask(client, "/encode?seed=1", **body)
    assert ask(client, "/models/tiny/generate?seed=1&version=1", **body)["version"] == 1


def test_cond_mod_may_be_repeated_or_joined_by_commas(client: TestClient) -> None:
    body = parts(image=SEVEN, label=b"7")
    repeated = ask(client, "/encode?cond_mod=label&cond_mod=image&seed=1", **body)
    assert repeated == ask(client, "/encode?cond_mod=image,label&seed=1", **body)
    assert repeated["cond_mod"] == ["image", "label"]
