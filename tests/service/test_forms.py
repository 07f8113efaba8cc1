"""Forms are cut at their boundaries; what comes out is what the parser reads."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from service.errors import Unparsable
from service.formats import form
from service.formats.form import _parse, _split

BOUNDARY, MOST = b"b-1", 100
CONTENT = st.one_of(
    st.binary(max_size=30), st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--b-1", b"x"])).map(b"".join)
)


def written(contents: list[bytes], head: bytes) -> bytes:
    parts = [b"--b-1\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for content in contents]
    return b"".join(parts) + b"--b-1--\r\n"


def read(body: bytes) -> list[tuple[bytes, bytes]] | None:
    """By the parser; None where it refuses."""
    try:
        return [(disposition.strip(), content) for disposition, content in _parse(body, BOUNDARY, MOST)]
    except Unparsable:
        return None


@given(st.lists(CONTENT, min_size=1, max_size=4))
def test_a_form_as_clients_write_it_is_cut(contents: list[bytes]) -> None:
    head = b'Content-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png'
    body = written(contents, head)
    cut = _split(body, BOUNDARY, MOST)
    if not any(b"\r\n--b-1" in b"\r\n" + content for content in contents):
        assert cut is not None
        assert [content for _, content in cut] == contents
    assert cut is None or cut == read(body)


@given(
    st.lists(CONTENT, min_size=1, max_size=3),
    st.integers(0),
    st.one_of(
        st.sampled_from([b"", b"\r", b"\n", b"\r\n", b" ", b":", b"-", b"\x00"]), st.binary(max_size=2)
    ),
)
def test_a_damaged_form_is_never_cut_into_anything_else(
    contents: list[bytes], place: int, change: bytes
) -> None:
    body = written(contents, b'content-disposition: form-data; name="image"')
    place %= len(body)
    for damaged in (body[:place] + change + body[place + 1 :], body[:place] + change + body[place:]):
        cut = _split(damaged, BOUNDARY, MOST)
        assert cut is None or cut == read(damaged)


def test_a_long_form_is_cut_as_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A boundary is searched in pieces, between which other threads run."""
    contents = [b"a" * 300, b"\r\n--b" * 50, b""]
    body = written(contents, b'content-disposition: form-data; name="image"')
    for piece in range(1, 30):
        monkeypatch.setattr(form, "SEARCHED_AT_ONCE", piece)
        cut = _split(body, BOUNDARY, MOST)
        assert cut is not None
        assert [content for _, content in cut] == contents


@pytest.mark.parametrize("end", [b"", b"epilogue"], ids=["usual", "unusual"])
def test_headers_of_a_part_are_short(client: TestClient, end: bytes) -> None:
    """Headers of parts are kept parsed, so that long ones would be kept too."""
    head = b'Content-Disposition: form-data; name="label"\r\nX-Pad: ' + b"a" * form.MAX_PART_HEAD
    body = b"--b\r\n" + head + b"\r\n\r\n7\r\n--b--\r\n" + end
    response = client.post(
        "/encode", content=body, headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert response.status_code == 400
    assert "the headers of a part of a form may have 8192 bytes" in response.text


def test_a_form_whose_type_lacks_the_boundary_begins_with_it(client: TestClient) -> None:
    """As clients write it whose program, or generator for Ruby, sets the content type itself."""
    part = b'Content-Disposition: form-data; name="label"\r\n\r\n7\r\n'
    without = {"content-type": "multipart/form-data"}
    answer = client.post("/encode", content=b"--b-1\r\n" + part + b"--b-1--\r\n", headers=without)
    assert (answer.status_code, answer.json().get("cond_mod")) == (200, ["label"])
    for body in (part, b"--\r\n" + part + b"----\r\n", b"--b", b"--" + b"b" * 71 + b"\r\n" + part):
        refused = client.post("/encode", content=body, headers=without)
        assert refused.status_code == 400
        assert "must give a boundary" in refused.text


FORM = b'--b\r\nContent-Disposition: form-data; name="label"\r\n\r\n1\r\n--b--\r\n'


@pytest.mark.parametrize(
    ("boundary", "body", "status", "reason"),
    [
        ("b" * 5000, FORM, 400, "the form cannot be read"),
        (
            "b",
            FORM.removesuffix(b"--b--\r\n") * 1001 + b"--b--\r\n",
            413,
            "parts of a form are more than the",
        ),
    ],
    ids=["long boundary", "many parts"],
)
def test_absurd_forms_are_refused_before_their_parts_are_read(
    client: TestClient, boundary: str, body: bytes, status: int, reason: str
) -> None:
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    refused = client.post("/encode", content=body, headers=headers)
    assert (refused.status_code, reason in refused.text) == (status, True)


def test_a_table_of_very_many_columns_is_refused_before_they_are_matched(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.formats.table_size.MOST_CELLS", 5)
    for line, status in (("label", 200), ("label,,,,,", 413), ("label;;;;;", 413)):
        response = client.post("/encode", content=f"{line}\n1\n", headers={"content-type": "text/csv"})
        assert response.status_code == status
    assert "a line of the table has 6 cells, more than the 5" in response.text
