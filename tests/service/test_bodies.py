"""The same rows in any form have the same posterior; what is no such form is refused."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import DATA
from tests.models_store.examples import NumpyArray
from tests.service.asking import ask, inputs, npy, npz, parts, table

NAN = np.nan
BODY = np.array([[180, 75.5, 40], [NAN, 62, NAN]], np.float32)
GENES = np.array([[3, 0], [7, 12]], np.float32)
STROKE = np.arange(12, dtype=np.float32).reshape(2, 3, 2)

FORMS: dict[str, dict[str, Any]] = {
    "npz": npz(body=BODY, genes=GENES.astype(np.int16), animal=np.array([1, 2])),
    "compressed npz": npz(np.savez_compressed, body=BODY, genes=GENES, animal=np.array([1, 2])),
    "JSON lists": inputs(
        body=[[180, 75.5, 40], [None, 62, None]], genes=[[3, 0], [7, 12]], animal=["dog", 2]
    ),
    "JSON objects": inputs(
        body=[{"mass": 75.5, "height": 180, "age": 40}, {"mass": 62}],
        genes=[{"0": 3, "1": 0}, [7, 12]],
        animal=[1, "owl"],
    ),
    "a table": table(
        "body.height,mass,body.age,genes.0,genes.1,animal\n180,75.5,40,3,0,dog\n,62,,7,12,owl\n"
    ),
    "a form of JSON": parts(
        body=b"[[180, 75.5, 40], [null, 62, null]]", genes=[b"[3, 0]", b"[7, 12]"], animal=[b"dog", b"owl"]
    ),
    "a form of tables": parts(
        body=b"mass,height,age\n75.5,180,40\n62,,", genes=b"3,0\n7,12", animal=[b"dog", b"owl"]
    ),
    "a form of arrays": parts(body=npy(BODY), genes=npy(GENES), animal=npy(np.array([1, 2]))),
}


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
def test_the_same_rows_in_any_form_have_the_same_posterior(kinds: TestClient, body: dict[str, Any]) -> None:
    expected = ask(kinds, "/encode", **FORMS["npz"])
    answer = ask(kinds, "/encode", **body)
    np.testing.assert_allclose(answer["mu"], expected["mu"], rtol=1e-5, atol=1e-6)
    assert answer["cond_mod"] == ["body", "genes", "animal"]


@pytest.mark.parametrize("media", ["", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize("form", ["JSON lists", "a table", "npz"])
def test_a_path_of_one_media_type_decides_where_a_client_does_not(
    kinds: TestClient, media: str, form: str
) -> None:
    """fetch sends text as text/plain and curl data as a form of a page, unless a program sets the type."""
    suffix = {"JSON lists": "json", "a table": "csv"}.get(form, form)
    request = kinds.build_request("POST", f"/encode/{suffix}?seed=1", **FORMS[form])
    expected = kinds.send(request).json()
    request.headers["content-type"] = media
    if not media:
        del request.headers["content-type"]
    answer = kinds.send(request)
    assert answer.status_code == 200, answer.text
    assert {**answer.json(), "request_id": ""} == {**expected, "request_id": ""}
    request = kinds.build_request("POST", "/encode", content=request.content, headers=request.headers)
    assert kinds.send(request).status_code == 415


def test_octet_stream_is_npz(kinds: TestClient) -> None:
    body = npz(stroke=STROKE)
    named = {**body, "headers": {"content-type": "application/octet-stream"}}
    assert ask(kinds, "/encode", **named)["mu"] == ask(kinds, "/encode", **body)["mu"]


def test_a_recording_and_its_spectrogram_have_the_same_posterior(kinds: TestClient) -> None:
    wav = (DATA / "fsdd" / "wav" / "7_jackson_0.wav").read_bytes()
    with np.load(DATA / "fsdd" / "logmel.npz") as archive:
        levels = archive["7_jackson_0"]
    assert (
        ask(kinds, "/encode", **parts(sound=wav))["mu"]
        == ask(kinds, "/encode", **npz(sound=levels[None]))["mu"]
    )


def test_lines_of_indented_json_are_no_rows(kinds: TestClient) -> None:
    text = "[" + "\n" * 100 + "1, 2, 3]"
    assert ask(kinds, "/encode", **parts(body=text.encode()))["n_data"] == 1


def test_points_come_as_json_table_or_array(kinds: TestClient) -> None:
    lines = "\n".join(f"{x},{y}" for x, y in STROKE[0].tolist())
    expected = ask(kinds, "/encode", **npz(stroke=STROKE[:1]))["mu"]
    for body in (parts(stroke=lines.encode()), parts(stroke=json.dumps(STROKE[0].tolist()).encode())):
        assert ask(kinds, "/encode", **body)["mu"] == expected


def test_a_mask_says_which_rows_have_a_modality_whatever_stands_in_the_others(kinds: TestClient) -> None:
    spoilt = STROKE.copy()
    spoilt[1] = NAN
    masked = npz(
        **{
            "stroke": spoilt,
            "mask.stroke": np.array([True, False]),
            "genes": GENES,
            "mask.genes": np.array([False, True]),
        }
    )
    expected = inputs(stroke=[STROKE[0].tolist(), None], genes=[None, GENES[1].tolist()])
    np.testing.assert_allclose(
        ask(kinds, "/encode", **masked)["mu"], ask(kinds, "/encode", **expected)["mu"], rtol=1e-6
    )


def test_empty_cells_are_missing_and_rows_of_them_lack_the_modality(kinds: TestClient) -> None:
    sent = table("height,genes.0,genes.1,animal\n180,,,\n,3,0,\n,,,owl\n")
    answer = ask(kinds, "/encode", **sent)
    shares = answer["contributions"]
    assert [[shares[name][row] > 0 for name in ("body", "genes", "animal")] for row in range(3)] == np.eye(
        3, dtype=bool
    ).tolist()


def raw(content: bytes, media: str = "application/x-npz") -> dict[str, Any]:
    return {"content": content, "headers": {"content-type": media}}


def zip_of(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(f"{name}.npy", content)
    return stream.getvalue()


def twice() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        packed.writestr("body.npy", npy(BODY))
        with pytest.warns(UserWarning, match="Duplicate"):
            packed.writestr("body.npy", npy(BODY))
    return stream.getvalue()


def lying() -> bytes:
    """An archive whose directory says that a member is small, when it is not."""
    content = bytearray(zip_of(body=npy(np.zeros((10_000, 3), np.float32))))
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 100)
    return bytes(content)


def header(shape: str) -> bytes:
    """A ``.npy`` that promises a shape and holds nothing."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


BOMB = zip_of(body=npy(np.zeros((10_000_000,), np.float32)))
ENCRYPTED = bytearray(zip_of(body=npy(BODY)))
ENCRYPTED[6] |= 1
ENCRYPTED[ENCRYPTED.rindex(b"PK\x01\x02") + 8] |= 1
ONE, TWO = npy(BODY[:1]), npy(BODY)
MASK = np.array([True, False])

REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "no archive": (raw(b"hello"), 400, r"the archive \(npz\) cannot be read: .*not a zip"),
    "half an archive": (raw(npz(body=BODY)["content"][:200]), 400, "the archive .* cannot be read"),
    "a damaged member": (raw(npz(body=BODY)["content"].replace(b"NUMPY", b"NUMPI")), 400, "cannot be read"),
    "an encrypted one": (raw(bytes(ENCRYPTED)), 400, "the archive .npz. is encrypted"),
    "a bomb": (raw(BOMB), 413, "the archive has 40000128 bytes unpacked, and may have 200000"),
    "a directory that lies": (raw(lying()), 400, "cannot be read|promises"),
    "a header that lies": (raw(zip_of(body=header("(100000000, 3)"))), 400, "'body': .npy header promises"),
    "pickles": (npz(body=np.array([[{}]])), 400, "array 'body': a .npy must hold numbers"),
    "no array": (raw(zip_of(body=b"hello")), 400, "an archive holds .npy files, got .*b'hello'"),
    "the same twice": (raw(twice()), 422, "array 'body' is in the archive twice"),
    "an unknown array": (npz(size=BODY), 422, "unknown modality 'size'; this model knows 'image'"),
    "an empty archive": (raw(zip_of()), 422, "nothing was sent"),
    "another shape": (npz(body=BODY[:, :2]), 422, r"array 'body': rows must have the shape \(3,\)"),
    "no rows at all": (npz(body=np.float32(3)), 422, r"array 'body': rows must have the shape \(3,\)"),
    "a mask alone": (npz(**{"mask.body": MASK}), 422, "array 'mask.body' is the mask of nothing"),
    "a mask of numbers": (npz(**{"body": BODY, "mask.body": np.ones(2)}), 422, "boolean .*got float64"),
    "a short mask": (npz(**{"body": BODY, "mask.body": MASK[:1]}), 422, r"one value per row, \(2,\), got"),
    "a row of nothing": (npz(**{"body": BODY, "mask.body": MASK}), 422, "row 1 .*nothing observed of 'body'"),
    "unlike rows": (npz(body=BODY, genes=GENES[:1]), 422, "'body' has 2, 'genes' has 1"),
    # tables
    "an unknown column": (table("weight\n3\n"), 422, "unknown column 'weight' of the table; there are"),
    "an unclear column": (table("age\n3\n"), 422, "could be 'body.age' and 'visit.age'"),
    "a column twice": (table("mass,mass\n3,4\n"), 422, "the header has .mass. more than once; give every"),
    "a column in two ways": (table("mass,body.mass\n3,4\n"), 422, "'mass' and 'body.mass' of the table"),
    "a word": (table("mass\n3\nheavy\n"), 422, r"row 1 \(counted from 0\), column 'mass': .*'heavy'"),
    "an unknown label": (table("animal\ncat\ncow\n"), 422, r"row 1 .* 'animal': must be a label .*'cow'"),
    "a label in another case": (table("animal\nCat\n"), 422, r"got 'Cat'; write 'cat'; leave the cell empty"),
    "an empty row": (table("mass,animal\n3,cat\n,\n"), 422, "row 1 .*has nothing observed"),
    "a short line": (table("mass,animal\n3\n"), 400, r"row 0 \(counted from 0\) has 1 cells, .* has 2"),
    "a header alone": (table("mass,animal\n"), 422, "was sent without a single row"),
    "rows": (table("mass\n" + "1\n" * 51), 413, "51 rows are more than the 50 that one request may have"),
    "rows of JSON": (inputs(image=[None] * 20_000), 413, "20000 rows are more than the 50"),
    "rows of a part": (parts(body=b"mass\n" + b"1\n" * 51), 413, "51 rows are more than the 50"),
    "parts": (parts(animal=[b"cat"] * 51), 413, "51 rows are more than the 50"),
    "rows of an array": (npz(body=np.zeros((51, 3))), 413, "51 rows are more than the 50"),
    "cells": (table("mass\n" + "," * 1000), 413, "more than the 750 cells that one request may have"),
    "an empty line": (table("\n"), 422, "the table is empty"),
    "another coding": (raw(b"mass\n3\xff\n", "text/csv"), 422, "row 0 .*column .mass.: .3ÿ. is no number"),
    "an image": (table("image\n3\n"), 422, "unknown column 'image' of the table"),
    # files
    "a silent sound": (parts(sound=b"RIFF"), 400, "part 'sound': no readable sound"),
    "an unknown column of a part": (parts(body=b'{"weight": 3}'), 422, "part 'body': unknown column 'weigh"),
    "an unknown column in JSON": (inputs(body=[{"weight": 3}]), 422, r"body\[0\]: unknown column 'weight'"),
    "a tensor as text": (parts(field=b"1,2"), 400, "part 'field': a tensor must come as .npy"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "status", "detail"), REFUSED.values(), ids=REFUSED)
def test_bad_bodies_are_refused_with_a_sentence(
    kinds: TestClient, body: dict[str, Any], status: int, detail: str
) -> None:
    response = kinds.post("/encode", **body)
    assert response.status_code == status, response.text
    assert re.search(detail, response.json()["detail"]), response.json()["detail"]


def changed(content: bytes, changes: dict[int, int]) -> bytes:
    other = bytearray(content)
    for place, byte in changes.items():
        other[place % len(other)] = byte
    return bytes(other)


ARCHIVE: bytes = npz(body=BODY, genes=GENES)["content"]
archives = st.builds(
    changed, st.just(ARCHIVE), st.dictionaries(st.integers(0, len(ARCHIVE)), st.integers(0, 255), max_size=4)
)


@settings(max_examples=150)
@given(content=archives | st.binary(max_size=100).map(lambda tail: b"PK\x03\x04" + tail))
def test_no_archive_is_ever_a_failure_of_the_service(kinds: TestClient, content: bytes) -> None:
    assert kinds.post("/encode", **raw(content)).status_code in {200, 400, 413, 422}


@settings(max_examples=150)
@given(
    names=st.lists(st.sampled_from(["mass", "body.age", "age", "animal", "x", ""]), max_size=3),
    cells=st.text(alphabet='catdog,\n0.5-e"\r\0', max_size=30),
)
def test_no_table_is_ever_a_failure_of_the_service(kinds: TestClient, names: list[str], cells: str) -> None:
    content = f"{','.join(names)}\n{cells}".encode()
    assert kinds.post("/encode", **raw(content, "text/csv")).status_code in {200, 400, 413, 422}


def test_nan_in_a_place_where_no_cell_can_be_missing_is_refused(kinds: TestClient) -> None:
    spoilt: NumpyArray = STROKE.copy()
    spoilt[0, 0, 0] = NAN
    assert kinds.post("/encode", **npz(stroke=spoilt)).status_code == 422
