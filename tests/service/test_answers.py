"""Answers as tables, sounds and archives of files."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from typing import Any

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient

from models_store.kinds import read_file
from models_store.kinds.base import MediaKind
from tests.conftest import DATA
from tests.service.asking import ask, inputs, npz, parts, pixels, table
from tests.service.kinds import described

CSV, WAV, ZIP = "text/csv", "audio/wav", "application/zip"
SENT = "body.height,mass,body.age,animal\n180.50,75.5,40,dog\n,62,,owl\n,,,cat\n1.7e2,60,33,\n"


def lines(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def refusal(client: TestClient, path: str, accept: str, **body: Any) -> tuple[int, str]:
    response = client.post(path, headers={"accept": accept, **body.pop("headers", {})}, **body)
    return response.status_code, response.json()["detail"]


def test_a_table_comes_back_filled_and_nothing_that_was_sent_has_changed(kinds: TestClient) -> None:
    filled = lines(ask(kinds, "/generate?seed=1", accept=CSV, **table(SENT)))
    for before, after in zip(csv.DictReader(io.StringIO(SENT)), filled, strict=True):
        assert list(after)[: len(before)] == list(before)
        for name, cell in before.items():
            assert after[name] == cell if cell else after[name] != ""


def test_gaps_hold_the_mean_or_the_likeliest_label_with_the_interval_beside_it(kinds: TestClient) -> None:
    filled = lines(ask(kinds, "/generate?seed=1", accept=CSV, **table(SENT)))
    targets = ask(kinds, "/generate?seed=1", **table(SENT))["targets"]
    for cell, name in enumerate(["body.height", "mass", "body.age"]):
        assert float(filled[2][name]) == pytest.approx(targets["body"]["mean"][2][cell], rel=1e-5)
        assert float(filled[2][f"{name}.low"]) == pytest.approx(
            targets["body"]["quantiles"][2][0][cell], rel=1e-5
        )
        assert float(filled[2][f"{name}.high"]) == pytest.approx(
            targets["body"]["quantiles"][2][4][cell], rel=1e-5
        )
    assert filled[3]["animal"] == targets["animal"]["ranked"][3][0]
    assert float(filled[3]["animal.probability"]) == pytest.approx(max(targets["animal"]["probabilities"][3]))


def test_what_was_sent_is_certain(kinds: TestClient) -> None:
    first = lines(ask(kinds, "/generate", accept=CSV, **table(SENT)))[0]
    assert (first["mass.low"], first["mass.high"], first["animal.probability"]) == ("75.5", "75.5", "1")


def test_a_cell_missing_in_a_row_that_has_others_is_filled_too(kinds: TestClient) -> None:
    second = lines(ask(kinds, "/generate", accept=CSV, **table(SENT)))[1]
    assert second["mass"] == "62"
    assert float(second["body.age.low"]) < float(second["body.age"]) < float(second["body.age.high"])


def test_a_target_that_is_named_gets_columns_of_its_own(kinds: TestClient) -> None:
    answer = lines(ask(kinds, "/generate?gen_mod=genes", accept=CSV, **table(SENT)))
    assert list(answer[0])[:6] == ["body.height", "mass", "body.age", "animal", "genes.0", "genes.1"]
    assert all(float(line["genes.1"]) >= 0 for line in answer)
    assert answer[2]["mass"] == ""  # no target, so no guess


def test_what_was_sent_in_another_form_becomes_a_table(kinds: TestClient) -> None:
    body = inputs(genes=[[3, 0], [7, 12]], animal=["dog", None])
    answer = lines(ask(kinds, "/generate?gen_mod=animal", accept=CSV, **body))
    assert [(line["genes.0"], line["genes.1"]) for line in answer] == [("3", "0"), ("7", "12")]
    assert answer[0]["animal"] == "dog"
    assert answer[1]["animal"] in {"cat", "dog", "owl"}
    everything = lines(ask(kinds, "/generate", accept=CSV, **body))
    assert "visit.dose" in everything[0]
    assert "" not in everything[1].values()


def test_a_picture_gives_a_table_of_what_a_table_can_hold(kinds: TestClient) -> None:
    body = npz(image=np.zeros((2, 6, 4), np.uint8))
    (first, _) = lines(ask(kinds, "/generate", accept=CSV, **body))
    assert first["animal"] in {"cat", "dog", "owl"}
    assert refusal(kinds, "/generate?gen_mod=image", CSV, **body) == (
        422,
        "a table holds vectors, counts, categories and rows of mixed columns, but 'image' is none of them",
    )


def test_a_filled_table_is_a_table_again(kinds: TestClient) -> None:
    content = ask(kinds, "/generate", accept=CSV, **table(SENT))
    rows = list(csv.reader(io.StringIO(content.decode())))
    again = "\n".join(",".join(row[:4]) for row in rows)
    assert ask(kinds, "/encode", **table(again))["n_data"] == 4


def test_one_sound_is_a_wav_whose_spectrogram_was_generated(kinds: TestClient) -> None:
    sound = described().modality("sound")
    body = parts(sound=(DATA / "fsdd" / "wav" / "7_jackson_0.wav").read_bytes())
    path = "/generate?gen_mod=sound&seed=3"
    content = ask(kinds, path, accept=WAV, **body)
    assert soundfile.info(io.BytesIO(content)).samplerate == 8000
    expected = np.array(ask(kinds, path, **body)["targets"]["sound"]["samples"])[0, 0]
    heard = read_file(sound, content)[0]
    # A random decoder speaks of no real sound, so the nearest one differs; but it is loud where it should be.
    assert np.corrcoef(heard.ravel(), expected.ravel())[0, 1] > 0.5
    assert content == ask(kinds, path, accept=WAV, **body)


def test_the_seed_of_an_answer_that_is_a_file_is_in_its_header(kinds: TestClient) -> None:
    body, accept = npz(genes=np.ones((1, 2))), {"accept": WAV}
    first = kinds.post("/generate?gen_mod=sound", **{**body, "headers": {**body["headers"], **accept}})
    again = ask(kinds, f"/generate?gen_mod=sound&seed={first.headers['x-seed']}", accept=WAV, **body)
    assert first.content == again


def test_a_wav_of_several_sounds_or_none_is_refused(kinds: TestClient) -> None:
    body = npz(genes=np.ones((1, 2)))
    status, detail = refusal(kinds, "/generate?gen_mod=sound&N=2", WAV, **body)
    assert status == 422
    assert "1 rows with 2 samples each were asked for; application/zip holds many" in detail
    status, detail = refusal(kinds, "/generate?gen_mod=image", WAV, **body)
    assert (status, detail) == (
        422,
        "audio/wav holds one sound, but the targets are 'image'; choose with gen_mod",
    )


def test_a_zip_has_the_files_of_every_target_and_row(kinds: TestClient) -> None:
    body = npz(genes=np.ones((2, 2)))
    content = ask(kinds, "/generate?N=2&seed=1", accept=ZIP, **body)
    targets = ask(kinds, "/generate?N=2&seed=1", **body)["targets"]
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        assert packed.testzip() is None
        files = {name: packed.read(name) for name in packed.namelist()}
    shown = [m.name for m in described().modalities if isinstance(m.traits, MediaKind)]
    assert {"image", "sound"} <= {*shown}
    pictures = {f"{name}/{row}_{draw}" for name in shown for row in (0, 1) for draw in (0, 1)}
    tables = {
        f"{name}/{row}"
        for name in ("body", "visit", "genes", "animal", "stroke", "patient")
        for row in (0, 1)
    }
    arrays = {"field/0", "field/1"}
    assert {name.rpartition(".")[0] for name in files} == {"answer", *pictures, *tables, *arrays}
    assert json.loads(files["answer.json"])["seed"] == 1
    np.testing.assert_allclose(pixels(files["image/1_0.png"]), targets["image"]["samples"][1][0], atol=0.51)
    body_lines = lines(files["body/1.csv"])
    assert float(body_lines[1]["mass"]) == pytest.approx(targets["body"]["samples"][1][1][1], rel=1e-5)
    assert float(lines(files["animal/0.csv"])[0]["owl"]) == pytest.approx(
        targets["animal"]["samples"][0][0][2]
    )
    assert len(lines(files["stroke/0.csv"])) == 2 * 3
    np.testing.assert_allclose(
        np.load(io.BytesIO(files["field/0.npy"])), targets["field"]["samples"][0], rtol=1e-6
    )


def test_draws_of_a_category_are_labels_in_a_zip(kinds: TestClient) -> None:
    content = ask(kinds, "/generate?gen_mod=animal&noise=true&N=5", accept=ZIP, **npz(genes=np.ones((1, 2))))
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        drawn = [line["animal"] for line in lines(packed.read("animal/0.csv"))]
    assert len(drawn) == 5
    assert set(drawn) <= {"cat", "dog", "owl"}


def test_the_same_question_gives_the_same_zip(kinds: TestClient) -> None:
    body = npz(genes=np.ones((1, 2)))
    assert ask(kinds, "/generate?seed=1", accept=ZIP, **body) == ask(
        kinds, "/generate?seed=1", accept=ZIP, **body
    )


def test_a_zip_of_too_many_files_is_refused(kinds: TestClient) -> None:
    status, detail = refusal(kinds, "/generate?gen_mod=image&N=500", ZIP, **npz(genes=np.ones((2, 2))))
    assert (status, detail) == (413, "a zip may hold 1000 files; ask for fewer rows, samples or targets")


def test_a_score_counts_only_the_cells_that_are_there(kinds: TestClient) -> None:
    """A normal distribution of one cell alone: adding a NaN cell changes nothing."""
    path = "/score?gen_mod=body&seed=1&K=200"
    one = ask(kinds, path, **inputs(body=[[1, None, None], [1, 2, 0]]))["log_prob"]
    assert one[0] > one[1]
    assert np.isfinite(one).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy only warns of overflow
@pytest.mark.parametrize("value", [1e5, 1e20, -3e38])
@pytest.mark.parametrize("accept", ["application/json", "application/x-npz", CSV, ZIP])
def test_values_far_from_all_that_a_model_knows_are_answered_too(
    kinds: TestClient, value: float, accept: str
) -> None:
    """With null where no number can be given."""
    body = inputs(body=[[value, -value, value]], genes=[[3, 1]])
    assert ask(kinds, "/generate?noise=true", accept=accept, **body)
    if accept in ("application/json", "application/x-npz"):
        for path in ("/encode", "/score?K=20", "/score?cond_mod=body&K=20"):
            assert ask(kinds, path, accept=accept, **body)


FIELDS = ("z", "mu", "log_var", "contributions", "information", "disagreement")


@pytest.mark.parametrize("fields", [FIELDS[:1], FIELDS[1:2], FIELDS[3:5], ("mu", "disagreement"), FIELDS])
def test_encode_answers_the_chosen_fields_with_the_same_values(
    kinds: TestClient, fields: tuple[str, ...]
) -> None:
    body = {"inputs": {"animal": ["cat", "owl"], "body": [[1, 2, 3], None]}}
    whole = kinds.post("/encode?seed=7&N=3", json=body).json()
    some = kinds.post("/encode", json=body, params={"seed": 7, "N": 3, "fields": ",".join(fields)}).json()
    assert some == {name: value for name, value in whole.items() if name in fields or name not in FIELDS}


def test_encode_refuses_an_unknown_field(kinds: TestClient) -> None:
    answer = kinds.post("/encode?fields=mean", json={"inputs": {"animal": ["cat"]}})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("unknown field 'mean'; there are 'z', 'mu'")
