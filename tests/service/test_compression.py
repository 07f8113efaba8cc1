"""Responses are compressed for clients that accept it, and decode to what other clients get."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import orjson
import pytest
import zstandard
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from service.http.compression import WORTH_ENCODING, encoded, preferred
from tests.service.asking import ask, parts, table

DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "zstd": zstandard.decompress,
}


@given(content=st.binary(min_size=WORTH_ENCODING, max_size=10_000))
@pytest.mark.parametrize("coding", DECODERS)
def test_responses_decode_to_themselves(coding: str, content: bytes) -> None:
    compression = encoded(2 * content, f"br, {coding.upper()};q=0.5")
    assert compression is not None
    assert compression[1] == coding
    assert DECODERS[coding](compression[0]) == 2 * content


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("GZip", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate", "gzip"),
        ("gzip;q=0.5, Deflate ; Q=0.8, zstd;q=0.1", "deflate"),
        ("*", "zstd"),
        ("zstd;q=0, *", "gzip"),
        ("br", None),
        ("gzip;q=0", None),
        ("gzip;q=0.000, identity", None),
        ("identity, gzip;q=0.9", None),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("gzip;q=nan, deflate;q=high", None),
        ("", None),
        (", ;q=1,", None),
    ],
)
def test_the_coding_with_the_highest_weight_is_taken(accepted: str, coding: str | None) -> None:
    assert preferred(accepted) == coding


@pytest.mark.parametrize("coding", DECODERS)
@pytest.mark.parametrize("path", ["/", "/page/app.js", "/openapi.json", "/metrics", "/models/tiny"])
def test_pages_and_documents_are_compressed(client: TestClient, path: str, coding: str) -> None:
    plain = client.get(path, headers={"accept-encoding": "identity"})
    with client.stream("GET", path, headers={"accept-encoding": coding}) as response:
        content = b"".join(response.iter_raw())
    assert (plain.status_code, response.status_code) == (200, 200)
    assert "content-encoding" not in plain.headers
    assert response.headers["content-encoding"] == coding
    assert int(response.headers["content-length"]) == len(content) < len(plain.content)
    assert plain.headers["vary"] == response.headers["vary"] == "Accept-Encoding"
    if path != "/metrics":  # it counts these requests
        assert DECODERS[coding](content) == plain.content


@pytest.mark.parametrize("coding", DECODERS)
@pytest.mark.parametrize("media", ["application/json", "text/csv"])
def test_answers_are_compressed(kinds: TestClient, media: str, coding: str) -> None:
    path, rows = "/generate?seed=1", "height,mass\n" + ",1.5\n" * 50
    plain = ask(kinds, path, accept=media, **table(rows))
    headers = {"content-type": "text/csv", "accept": media, "accept-encoding": coding}
    with kinds.stream("POST", path, content=rows.encode(), headers=headers) as response:
        content = b"".join(response.iter_raw())
    assert response.headers["content-encoding"] == coding
    expected = plain if isinstance(plain, bytes) else orjson.dumps(plain)
    assert DECODERS[coding](content) == expected


def test_errors_are_compressed(client: TestClient) -> None:
    unknown = "&".join(f"field{number}=1" for number in range(100))
    response = client.post(f"/models/tiny/generate?{unknown}", **parts(label=b"7"))
    assert response.status_code == 422
    assert response.headers["content-encoding"] in DECODERS
    assert "unknown parameter 'field99'" in response.json()["detail"]


@pytest.mark.parametrize("media", ["application/x-npz", "application/zip", "image/png"])
def test_archives_and_pictures_are_sent_as_they_are(client: TestClient, media: str) -> None:
    path = "/models/tiny/generate?gen_mod=image" + ("&N=40" if media != "image/png" else "")
    response = client.post(path, **parts(label=b"7"), headers={"accept": media})
    assert response.status_code == 200, response.text
    assert "content-encoding" not in response.headers


def test_a_small_answer_is_sent_as_it_is(client: TestClient) -> None:
    response = client.post("/models/tiny/encode", **parts(label=b"7"))
    assert len(response.content) < WORTH_ENCODING
    assert "content-encoding" not in response.headers
    assert "vary" not in response.headers


def test_a_compressed_page_has_another_tag_that_still_matches(client: TestClient) -> None:
    plain = client.get("/page/app.js", headers={"accept-encoding": "identity"}).headers["etag"]
    tag = client.get("/page/app.js", headers={"accept-encoding": "gzip"}).headers["etag"]
    assert tag == f"W/{plain}"
    assert client.get("/page/app.js", headers={"if-none-match": tag}).status_code == 304
