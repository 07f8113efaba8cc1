"""Bodies in a content coding are the bodies that were encoded, for every operation and media type."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import zstandard
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from service.errors import TooLarge, UnknownCoding, Unparsable
from service.http import encoding

LIMIT = 10_000


def raw_deflate(content: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(content) + compressor.flush()


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "GZIP": gzip.compress,
    "x-gzip": gzip.compress,
    "gzip, identity": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "zstd": zstandard.compress,
    "deflate, gzip": lambda content: gzip.compress(zlib.compress(content)),
    "gzip, zstd": lambda content: zstandard.compress(gzip.compress(content)),
    "": bytes,
    "identity": bytes,
}


def npz(**arrays: list[int]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **{name: np.array(values) for name, values in arrays.items()})
    return stream.getvalue()


FORM = b'--b\r\nContent-Disposition: form-data; name="label"\r\n\r\n7\r\n--b--\r\n'
BODIES = {
    "application/json": b'{"inputs": {"label": ["7"]}}',
    "application/x-npz": npz(label=[7]),
    "multipart/form-data; boundary=b": FORM,
    "text/csv": b"label\n7\n",
}


@given(content=st.binary(max_size=LIMIT), coding=st.sampled_from(list(ENCODERS)))
def test_decoding_is_the_inverse_of_encoding(content: bytes, coding: str) -> None:
    assert encoding.decoded(ENCODERS[coding](content), coding, LIMIT) == content


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_decoding_stops_at_the_limit(coding: str) -> None:
    with pytest.raises(TooLarge, match=f"longer than the {LIMIT} bytes"):
        encoding.decoded(ENCODERS[coding](bytes(10**7)), coding, LIMIT)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_a_stream_that_is_cut_or_of_another_coding_is_refused(coding: str) -> None:
    content = ENCODERS[coding](bytes(range(256)) * 8)
    for damaged in (content[:-3], content[: len(content) // 2], b"{}" + content, b"{}"):
        with pytest.raises(Unparsable, match=coding):
            encoding.decoded(damaged, coding, LIMIT)


def test_a_gzip_file_has_many_members_but_not_endlessly_many() -> None:
    """The time of each member does not depend on its size: 20 bytes of nothing cost as much as a block."""
    nothing = gzip.compress(b"")
    content = nothing * (encoding.MAX_MEMBERS - 1) + gzip.compress(b"7")
    assert encoding.decoded(content, "gzip", LIMIT) == b"7"
    with pytest.raises(Unparsable, match=f"may have {encoding.MAX_MEMBERS} members at most, got up to"):
        encoding.decoded(nothing + content, "gzip", LIMIT)


@pytest.mark.parametrize("coding", ["br", "compress", "gzip, br", "gzip" + ", gzip" * 9])
def test_an_unknown_coding_names_the_known_ones(client: TestClient, coding: str) -> None:
    with pytest.raises(UnknownCoding):
        encoding.decoded(b"x", coding, LIMIT)
    response = client.post("/models/tiny/encode", content=b"x", headers={"content-encoding": coding})
    assert response.status_code == 415
    assert response.headers["accept-encoding"] == "gzip, deflate, zstd"


@pytest.mark.parametrize("coding", ENCODERS)
@pytest.mark.parametrize("media", BODIES)
def test_every_media_type_may_be_encoded(client: TestClient, media: str, coding: str) -> None:
    path, headers = "/models/tiny/encode?seed=1", {"content-type": media}
    plain = client.post(path, content=BODIES[media], headers=headers)
    assert plain.status_code == 200, plain.text
    sent = ENCODERS[coding](BODIES[media])
    response = client.post(path, content=sent, headers=headers | {"content-encoding": coding})
    assert response.status_code == 200, response.text
    assert response.json() == plain.json()
