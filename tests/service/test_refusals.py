"""Bad input: a status, and one sentence that names the input, what is accepted and where. Never the prior."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.service.asking import SEVEN, inputs, npy, parts, pixels

IMAGE = parts(image=SEVEN)
BOTH = parts(image=SEVEN, label=b"7")
LACKING = inputs(image=[pixels(SEVEN).tolist(), None], label=[7, 7])
JSON = {"content-type": "application/json"}
NO_BOUNDARY = {"content-type": "multipart/form-data"}
NINE = npy(np.zeros((1, 9, 9)))
BRIGHT = npy(pixels(SEVEN)[None] * 2.0)
FORM = {"content-type": "multipart/form-data; boundary=x"}
HALF_FORM = b'--x\r\ncontent-disposition: form-data; name="label"\r\n\r\n7'

REFUSALS: list[tuple[str, str, dict[str, Any], int, str]] = [
    # the subset
    ("nothing sent", "/generate", {}, 422, "nothing was sent: send at least one of 'image' and 'label'"),
    ("empty JSON", "/encode", inputs(), 422, "nothing was sent"),
    ("empty form", "/encode", {"content": b"--x--\r\n", "headers": FORM}, 422, "nothing was sent"),
    ("misspelt part", "/encode", parts(imag=SEVEN), 422, "unknown modality 'imag'; this model knows 'image'"),
    ("misspelt input", "/encode", inputs(imag=[1]), 422, "unknown modality 'imag'"),
    ("not sent", "/encode?cond_mod=label", IMAGE, 422, "cond_mod names 'label', but only 'image' was sent"),
    ("unknown condition", "/encode?cond_mod=sound", IMAGE, 422, "unknown modality 'sound'"),
    ("unknown target", "/generate?gen_mod=sound", IMAGE, 422, "unknown modality 'sound'"),
    ("all and a name", "/encode?cond_mod=all,image", IMAGE, 422, "cond_mod is 'all' or names"),
    ("prior and inputs", "/encode?cond_mod=none", IMAGE, 422, "asks for the prior, but 'image' was sent"),
    ("a row of nothing", "/encode", inputs(label=[1, None]), 422, "row 1 .*has nothing observed of 'label'"),
    ("no rows", "/encode", inputs(label=[]), 422, "'label' was sent without a single row"),
    ("unlike rows", "/encode", parts(image=[SEVEN, SEVEN], label=b"7"), 422, "'image' has 2, 'label' has 1"),
    # values
    ("empty file", "/encode", parts(image=b""), 400, "part 'image': the file is empty"),
    ("empty second file", "/encode", parts(image=[SEVEN, b""]), 400, "part 'image', number 1 .*: the file"),
    ("no picture", "/encode", parts(image=b"hello there"), 400, "part 'image': no readable picture .*b'hel"),
    ("half a picture", "/encode", parts(image=SEVEN[:150]), 400, "part 'image': no readable picture"),
    ("unknown label", "/encode", parts(label=b"x"), 422, "part 'label': must be a label .*got 'x'"),
    ("unknown index", "/encode", inputs(label=[1, 10]), 422, r"inputs.label\[1\]: .*from 0 to 9, got 10"),
    ("no base64", "/encode", inputs(image=["?"]), 400, r"inputs.image\[0\]: text must be base64"),
    ("ragged", "/encode", inputs(image=[[[1], [1, 2]]]), 422, r"inputs.image\[0\]: .*same length"),
    ("wrong shape", "/encode", parts(image=NINE), 422, r"shape \(28, 28\), got .*\(1, 9, 9\)"),
    ("too bright", "/encode", parts(image=BRIGHT), 422, "do not convert to uint8"),
    ("objects", "/encode", parts(image=npy(np.array(["a"]))), 400, "must hold numbers"),
    ("rows that are none", "/encode", {"json": {"inputs": {"label": 7}}}, 422, "must be a list of rows"),
    # the body
    ("no JSON", "/encode", {"content": b"{", "headers": JSON}, 400, "not JSON"),
    ("other JSON", "/encode", {"json": {"image": []}}, 422, r"the body must be .*got the fields 'image'"),
    ("JSON list", "/encode", {"json": [1]}, 422, "the body must be .*got list"),
    ("half a form", "/encode", {"content": HALF_FORM, "headers": FORM}, 400, "ends before its closing"),
    ("no form", "/encode", {"content": b"hello", "headers": FORM}, 400, "the form cannot be read"),
    ("no boundary", "/encode", {"content": b"x", "headers": NO_BOUNDARY}, 400, "boundary"),
    ("no type", "/encode", {"content": b"x"}, 415, "must be multipart/form-data, .* or text/csv, got no"),
    ("other type", "/encode", {"data": {"label": "7"}}, 415, "got application/x-www-form-urlencoded"),
    # parameters
    ("unknown parameter", "/encode?n=3", IMAGE, 422, "unknown parameter 'n'"),
    ("no draws", "/encode?N=0", IMAGE, 422, "query N: .*greater than or equal to 1, got '0'"),
    ("a parameter of generate", "/encode?gen_mod=label", IMAGE, 422, "unknown parameter 'gen_mod'"),
    ("unknown field", "/generate?fields=median", IMAGE, 422, "unknown field 'median'; there are 'mean'"),
    ("n_data and inputs", "/encode?n_data=3", IMAGE, 422, "n_data goes with cond_mod=none alone"),
    ("no number", "/encode?seed=x", IMAGE, 422, "query seed: .*valid integer.*got 'x'"),
    ("true for 1", "/encode", inputs(image=[[[True, 0]]]), 422, r"image\[0\]: .* numbers, got true"),
    # what is scored
    ("nothing to score", "/score", {}, 422, "nothing was sent to score: send at least one of 'image' and"),
    ("nothing left", "/score?cond_mod=image", IMAGE, 422, "all that was sent, 'image': nothing is left"),
    ("on both sides", "/score?cond_mod=label&gen_mod=label,image", BOTH, 422, "'label' cannot be scored"),
    ("score not sent", "/score?gen_mod=label", IMAGE, 422, "gen_mod names 'label', but only 'image'"),
    ("given not sent", "/score?cond_mod=label", IMAGE, 422, "cond_mod names 'label', but only 'image'"),
    ("unknown score", "/score?gen_mod=sound", IMAGE, 422, "unknown modality 'sound'"),
    ("row of no score", "/score", inputs(label=[1, None]), 422, "row 1 .*nothing observed of 'label'"),
    ("row of no condition", "/score?cond_mod=image", LACKING, 422, "row 1 .*nothing observed of 'image'"),
    ("no samples", "/score?K=0", IMAGE, 422, "query K: .*greater than or equal to 1"),
    ("no batch", "/score?batch_size_K=0", IMAGE, 422, "query batch_size_K: .*greater than or equal to 1"),
    ("draws of score", "/score?N=2", IMAGE, 422, "unknown parameter 'N'"),
    # limits
    ("samples", "/score?K=501", IMAGE, 413, "501 draws are more than the 500"),
    ("bytes", "/encode", parts(image=b"x" * 300_000), 413, "longer than the 200000 bytes"),
    ("rows", "/encode", inputs(label=[1] * 51), 413, "51 rows are more than the 50"),
    ("prior's rows", "/encode?cond_mod=none&n_data=51", {}, 413, "51 rows are more than the 50"),
    ("draws", "/generate?K=501", IMAGE, 413, "501 draws are more than the 500"),
    # models
    ("unknown model", "/models/nope/encode", IMAGE, 404, "no model 'nope' is loaded; there is 'tiny'"),
    ("unknown version", "/encode?version=9", IMAGE, 404, "version 9 of 'tiny' is not loaded; there is 1"),
]  # fmt: skip


TYPES = {
    400: {"urn:anyview:unparsable"},
    404: {"urn:anyview:not-found"},
    413: {"urn:anyview:too-large"},
    415: {"urn:anyview:unknown-media-type", "urn:anyview:unknown-coding"},
    422: {"urn:anyview:wrong-input"},
}


@pytest.mark.parametrize(
    ("path", "body", "status", "detail"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_bad_input_is_refused_with_a_sentence(
    client: TestClient, path: str, body: dict[str, Any], status: int, detail: str
) -> None:
    response = client.post(path, **body)
    assert response.status_code == status, response.text
    problem = response.json()
    assert re.search(detail, problem["detail"]), problem["detail"]
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["error"] == problem["detail"]
    assert problem["status"] == status
    assert problem["type"] in TYPES[status]
    assert problem["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("image/gif", 406),
        ("application/json;q=0", 406),
        ("image/gif, */*;q=0.1", 200),
        ("application/*", 200),
        ("", 200),
    ],
)
def test_the_answer_has_a_form_that_was_asked_for_or_is_refused(
    client: TestClient, accept: str, status: int
) -> None:
    assert client.post("/encode", headers={"accept": accept}, **IMAGE).status_code == status


def test_a_picture_of_no_image_is_refused(client: TestClient) -> None:
    response = client.post("/generate?gen_mod=label", headers={"accept": "image/png"}, **IMAGE)
    assert (response.status_code, response.json()["detail"]) == (
        422,
        "image/png shows one image, but the targets are 'label'; choose with gen_mod",
    )


def test_paths_and_methods_that_do_not_exist_are_problems_too(client: TestClient) -> None:
    cases = (
        ("/nope", 404, "there is no such path"),
        ("/encode", 405, "this path takes POST"),
        ("/models/tiny/encode", 405, "this path takes POST"),
        ("/v2/models/tiny/infer", 405, "this path takes POST"),
    )
    for path, status, reason in cases:
        response = client.get(path)
        assert (response.status_code, response.json()["status"]) == (status, status)
        assert response.json()["detail"] == f"GET {path}: {reason}"
        assert response.headers["content-type"] == "application/problem+json"


def test_a_request_id_is_kept(client: TestClient) -> None:
    assert client.get("/livez", headers={"x-request-id": "mine-7"}).headers["x-request-id"] == "mine-7"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=8,
)


@settings(max_examples=100)
@given(st.sampled_from(["image", "label", "x"]), JSON_VALUES)
def test_no_json_is_ever_a_failure_of_the_service(client: TestClient, name: str, value: Any) -> None:
    import json

    content = json.dumps({"inputs": {name: value}}).encode()
    response = client.post("/encode", content=content, headers={"content-type": "application/json"})
    assert response.status_code in {200, 400, 413, 422}


@settings(max_examples=100)
@given(st.binary(max_size=200), st.sampled_from(["image", "label"]))
def test_no_file_is_ever_a_failure_of_the_service(client: TestClient, content: bytes, name: str) -> None:
    assert client.post("/encode", **parts(**{name: content})).status_code in {200, 400, 413, 422}


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_no_form_is_ever_a_failure_of_the_service(client: TestClient, content: bytes) -> None:
    assert client.post("/encode", content=b"--x\r\n" + content, headers=FORM).status_code in {
        200,
        400,
        413,
        422,
    }
