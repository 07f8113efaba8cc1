"""Numbers and nesting that a request holds are bounded before anything is computed with them."""

from __future__ import annotations

import gc
import io
import json
import sys
import zipfile
from contextlib import suppress
from typing import Any
from unittest.mock import Mock, patch

import orjson
import pytest
from fastapi.testclient import TestClient

from models_store import kinds
from models_store.errors import UnreadableFile, listed
from service.engine.budget import Costly, Stopped
from service.engine.rules import Limits, Rules
from service.engine.workers import FEW
from service.errors import TooLarge, Unparsable
from service.formats import archive, form, table_size
from service.formats.document import columns, memory
from service.oip import requests, tensors
from tests.models_store.examples import manifest

HUGE = 2**62
INFER = "/v2/models/tiny/infer"


def infer(client: TestClient, **fields: Any) -> Any:
    tensor = {"name": "label", "datatype": "INT64", "shape": [1], "data": [1], **fields}
    return client.post(INFER, json={"inputs": [tensor]})


@pytest.mark.parametrize("shape", [[HUGE] * 300, [2**20] * 3, [0, HUGE], [1] * 40, [-1], [1.5], "1", None])
@pytest.mark.parametrize("sent", [{"data": [1]}, {"parameters": {"binary_data_size": 0}}])
def test_shapes_that_no_tensor_has_are_refused(client: TestClient, shape: Any, sent: dict[str, Any]) -> None:
    response = infer(client, shape=shape, **sent)
    assert response.status_code == 422
    assert "'shape' must" in response.json()["detail"]
    assert len(response.json()["detail"]) < 300


def test_the_product_of_sizes_never_exceeds_what_a_processor_multiplies() -> None:
    assert tensors.checked_shape("x", [2**20, 2**20]) == (2**20, 2**20)


@pytest.mark.parametrize("depth", [tensors.MAX_DEPTH + 1, 900])
def test_deeply_nested_texts_are_refused(client: TestClient, depth: int) -> None:
    nested: Any = "7"
    for _ in range(depth):
        nested = [nested]
    response = infer(client, datatype="BYTES", data=nested)
    assert response.status_code == 422
    assert f"nested {tensors.MAX_DEPTH} lists deep" in response.json()["detail"]


@pytest.mark.parametrize("digits", [10, 4301, 20_000])
def test_a_version_of_too_many_digits_does_not_exist(client: TestClient, digits: int) -> None:
    assert client.get(f"/v2/models/tiny/versions/{'9' * digits}").status_code == 404
    assert client.post(f"/v2/models/tiny/versions/{'9' * digits}/infer", json={}).status_code == 404


def test_a_length_of_too_many_digits_is_refused(client: TestClient) -> None:
    response = client.post(INFER, content=b"{}", headers={"inference-header-content-length": "9" * 4301})
    assert response.status_code == 400


def test_many_texts_and_long_json_are_read_in_a_thread() -> None:
    texts = {
        "name": "label",
        "datatype": "BYTES",
        "shape": [FEW],
        "parameters": {"binary_data_size": 4 * FEW},
    }
    head = json.dumps({"inputs": [texts]}).encode()
    rules: Any = None
    for body, length in ((head + bytes(4 * FEW), str(len(head))), (b" " * (requests.JSON_ON_LOOP + 1), None)):
        with pytest.raises(Costly):
            requests.parse(rules, body, length)


def test_more_texts_than_rows_are_refused_before_they_are_read() -> None:
    """Ten million empty texts take 40 MB, and took a minute."""
    sent = {"name": "category", "datatype": "BYTES", "shape": [11], "parameters": {"binary_data_size": 44}}
    head, rules = json.dumps({"inputs": [sent]}).encode(), Rules(manifest(), Limits(10, 10, 10))
    read = patch("service.oip.tensors.from_bytes", Mock(side_effect=AssertionError("they were read")))
    with read, pytest.raises(TooLarge, match="11 rows are more than the 10"):
        requests.parse(rules, head + bytes(44), str(len(head)))


def npy_of(shape: str) -> bytes:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header


@pytest.mark.parametrize(
    "shape", [f"({'9' * 4000}, {'9' * 4000})", f"({'1, ' * 60})", f"({HUGE}, {HUGE})", f"(-{'9' * 400},)"]
)
def test_a_file_that_promises_more_than_it_holds_is_refused(client: TestClient, shape: str) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("image.npy", npy_of(shape))
    headers = {"content-type": "application/x-npz"}
    response = client.post("/models/tiny/encode", content=archive.getvalue(), headers=headers)
    assert response.status_code in (400, 422), response.text
    response = client.post("/models/tiny/encode", files={"image": npy_of(shape)})
    assert response.status_code in (400, 422), response.text


def test_an_archive_of_very_many_members_is_refused_before_its_directory_is_read() -> None:
    entries = (b"PK\x01\x02" + bytes(42)) * (archive.MOST_MEMBERS + 1)
    with pytest.raises(TooLarge, match="10001 members, and may have 10000"):
        archive.columns(Rules(manifest(), Limits(10, 10, 10)), entries, 10**6, Mock())


@pytest.mark.parametrize(
    "document",
    [
        {"inputs": {str(i): 1 for i in range(400_000)}},
        {"inputs": {"label": [{"a": 1}] * 300_000}},
        {"inputs": {"image": [[]] * 600_000}},
        {"inputs": {"image": ["a"] * 800_000}},
    ],
    ids=["names", "objects", "lists", "texts"],
)
def test_names_and_lists_of_a_document_count_for_more_than_numbers(document: Any) -> None:
    """Of numbers, a request may have as many, and more: the parser takes several times as long for these."""
    with pytest.raises(TooLarge, match="a text, list or object counts as 3, a name in an object as 5"):
        memory(orjson.dumps(document))
    assert memory(orjson.dumps({"inputs": {"label": [1] * 1_000_000}})) > 0


def test_more_rows_than_allowed_are_refused_before_any_file_of_them_is_read() -> None:
    """Each of two million texts would be decoded, and its header looked for."""
    rules = Rules(manifest(), Limits(rows=10, draws=10, numbers=10))
    read = Mock(side_effect=AssertionError("a file was read"))
    body = b'{"inputs":{"image":[%s]}}' % b",".join([b'"AAAA"'] * 11)
    with patch("service.formats.pixels.check", read), pytest.raises(TooLarge, match="11 rows"):
        columns(rules, body)


def test_a_request_about_the_repository_is_short(client: TestClient) -> None:
    """It is parsed on the event loop."""
    for size, status in ((60_000, 200), (70_000, 413)):
        response = client.post("/v2/repository/index", content=b'{"ready":false,"a":"%b"}' % (b"x" * size))
        assert response.status_code == status


def test_a_table_with_a_very_long_line_is_refused_before_it_is_decoded() -> None:
    rules = Rules(manifest(), Limits(10, 10, 10))
    table_size.check(rules, (b"x" * 2**21 + b"\n") * 3)
    with pytest.raises(TooLarge, match="a line of the table has more than the 4194304 bytes"):
        table_size.check(rules, b"a\n" + b"x" * (2**22 + 1))


def test_a_long_name_that_is_unknown_is_cut_in_the_message(client: TestClient) -> None:
    response = client.post("/models/tiny/encode", json={"inputs": {"x" * 100_000: [1]}})
    assert response.status_code == 422
    assert len(response.text) < 1000


def test_of_very_many_names_a_message_lists_the_first_ones() -> None:
    text = listed(f"column {i}" for i in range(20_000))
    assert text.startswith("'column 0', 'column 1', ")
    assert text.endswith(" and 19960 more")
    assert listed(map(str, range(40))).endswith("'38' and '39'")


def test_a_picture_that_is_refused_leaves_nothing_to_the_garbage_collector() -> None:
    """Large files that are refused would fill the memory until it runs."""
    image = manifest().modality("image")

    content = b"no picture" * 100
    before = sys.getrefcount(content)
    gc.disable()
    try:
        with suppress(UnreadableFile):
            kinds.read_file(image, content)
        assert sys.getrefcount(content) == before
    finally:
        gc.enable()


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_of_an_archive_is_refused(client: TestClient, method: int) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as members:
        members.writestr("image.npy", bytes(range(256)) * 40)
    content = bytearray(archive.getvalue())
    middle = len(content) // 2
    for start in range(40, len(content) - 80, 7):
        damaged = content.copy()
        damaged[start] ^= 0xFF
        damaged[middle] ^= 0x55
        headers = {"content-type": "application/x-npz"}
        response = client.post("/models/tiny/encode", content=bytes(damaged), headers=headers)
        assert response.status_code in (400, 422), response.text
        assert json.loads(response.content)["detail"]


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_members_that_zipfile_unpacks_whole_whatever_their_size_says_are_refused(
    client: TestClient, method: int
) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as members:
        members.writestr("label.npy", b"")
    headers = {"content-type": "application/x-npz"}
    response = client.post("/models/tiny/encode", content=archive.getvalue(), headers=headers)
    assert response.status_code == 400
    assert f"packed by method {method} of zip" in response.json()["detail"]
    assert "stored and deflate" in response.json()["detail"]


def test_a_content_disposition_has_few_parameters() -> None:
    """Its parser looks through all that came before at each semicolon within quotes."""
    rules = Rules(manifest(), Limits(10, 10, 10))
    head = b'--b\r\nContent-Disposition: form-data; name="label"; a="%b\r\n\r\nf\r\n--b--\r\n'
    with pytest.raises(Unparsable, match="has 1002 semicolons, and may have 32"):
        form.columns(rules, head % (b";" * 1000), b"b", Mock())


def test_between_the_parts_of_a_form_it_is_checked_whether_the_caller_is_gone() -> None:
    rules, allowance = Rules(manifest(), Limits(10, 10, 10)), Mock()
    allowance.check.side_effect = [None, Stopped]
    part = b'--b\r\nContent-Disposition: form-data; name="label"\r\n\r\nf\r\n'
    with pytest.raises(Stopped):
        form.columns(rules, 3 * part + b"--b--\r\n", b"b", allowance)


def test_a_list_of_labels_is_short() -> None:
    """It is decoded, parsed and split as a whole."""
    rules = Rules(manifest(), Limits(10, 10, 10))
    part = b'--b\r\nContent-Disposition: form-data; name="label"\r\n\r\n%b\r\n--b--\r\n'
    label = (rules.modality("label").labels or ("",))[0].encode()
    read = form.columns(rules, part % (b" " * 1000 + label), b"b", Mock())
    assert read["label"].values.tolist() == [0]
    with pytest.raises(TooLarge, match="a list of labels may have 1048576 bytes"):
        form.columns(rules, part % (b" " * form.LONGEST_LABELS + label), b"b", Mock())


@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\n"])
def test_empty_lines_of_a_table_are_counted_before_they_are_read(line_end: bytes) -> None:
    """54 million of them took 14 s."""
    rules = Rules(manifest(), Limits(10, 10, 10))
    table_size.check(rules, b"a\n1" + line_end * table_size.EMPTY_LINES)
    with pytest.raises(TooLarge, match="lines, more than the 1010"):
        table_size.check(rules, b"a\n1" + line_end * 1011)
