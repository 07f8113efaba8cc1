"""The client in clients/python sends every form of row, and reads what the service answers."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from anyview_client import AsyncClient, Client, Encoded, Retries, ServiceError
from anyview_client.retries import seconds_of
from PIL import Image

from tests.clients.programs import KEY, KEYED, ODD_LABELS, PICTURE
from tests.clients.recording import RecordedRequest
from tests.service.asking import SEVEN

PIXELS = np.load(io.BytesIO(PICTURE))
FRAME = pd.DataFrame({"height": [1.5, np.nan, 1.7], "mass": [60.0, 70.0, np.nan], "age": [30.0, 40.0, 50.0]})


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Client]:
    with Client(address, key=KEY, model="kinds") as client:
        yield client


def mu(address: str, **inputs: Any) -> np.ndarray:
    """Posterior means of rows in JSON, requested without the client."""
    url = f"{address}/models/kinds/encode"
    answer = httpx.post(url, json={"inputs": inputs}, headers=KEYED, timeout=60)
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["mu"])


def picture() -> Image.Image:
    return Image.fromarray(PIXELS[0])


SENT: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "an array": ({"image": PIXELS}, {"image": PIXELS.tolist()}, "application/x-npz"),
    "labels": ({"place": list(ODD_LABELS)}, {"place": ODD_LABELS}, "multipart/form-data"),
    "an array of labels": ({"place": np.array(ODD_LABELS)}, {"place": ODD_LABELS}, "multipart/form-data"),
    "a label": ({"animal": "owl"}, {"animal": ["owl"]}, "multipart/form-data"),
    "an index": ({"animal": 2}, {"animal": [2]}, "application/x-npz"),
    "missing labels": (
        {"animal": ["owl", None], "genes": np.ones((2, 2), int)},
        {"animal": ["owl", None], "genes": [[1, 1], [1, 1]]},
        "application/json",
    ),
    "missing rows": (
        {"field": [None, np.eye(2)], "animal": [0, 1]},
        {"field": [None, np.eye(2).tolist()], "animal": ["cat", "dog"]},
        "application/x-npz",
    ),
    "nested lists": (
        {"stroke": [[[0, 0], [1, 1], [2, 2.5]]]},
        {"stroke": [[[0, 0], [1, 1], [2, 2.5]]]},
        "npz",
    ),
    "a column": (
        {"animal": pd.Series(["owl", None, "cat"]), "body": FRAME},
        {
            "animal": ["owl", None, "cat"],
            "body": FRAME.astype(object).where(FRAME.notna(), None).to_dict("records"),
        },
        "application/json",
    ),
    "a data frame": (
        {"body": FRAME},
        {"body": FRAME.astype(object).where(FRAME.notna(), None).to_dict("records")},
        "multipart/form-data",
    ),
    "a picture": ({"image": picture()}, {"image": PIXELS.tolist()}, "multipart/form-data"),
    "pictures beside arrays": (
        {"image": [picture(), picture()], "field": np.zeros((2, 2, 2)), "animal": ["cat", "owl"]},
        {"image": 2 * PIXELS.tolist(), "field": np.zeros((2, 2, 2)).tolist(), "animal": ["cat", "owl"]},
        "multipart/form-data",
    ),
    "missing pictures": (
        {"image": [picture(), None], "field": np.full((2, 2, 2), 0.5)},
        {"image": [*PIXELS.tolist(), None], "field": np.full((2, 2, 2), 0.5).tolist()},
        "application/json",
    ),
    "bytes": ({"image": PICTURE}, {"image": PIXELS.tolist()}, "multipart/form-data"),
}


@pytest.mark.parametrize(("sent", "rows", "media"), SENT.values(), ids=SENT)
def test_every_form_of_row_arrives(
    client: Client,
    address: str,
    recorded: list[RecordedRequest],
    sent: dict[str, Any],
    rows: dict[str, Any],
    media: str,
) -> None:
    expected = mu(address, **rows)
    recorded.clear()
    encoded = client.encode(sent)
    np.testing.assert_allclose(encoded.mu, expected, rtol=1e-5, atol=1e-6)
    assert media in recorded[-1].request_type
    assert recorded[-1].response_type == "application/x-npz"


def test_a_file_is_sent_from_its_path(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "seven.png"
    file.write_bytes(SEVEN)
    np.testing.assert_array_equal(client.encode({"image": file}).mu, client.encode({"image": [SEVEN]}).mu)


def test_a_picture_keeps_how_it_is_turned(client: Client) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    stream = io.BytesIO()
    Image.fromarray(np.kron(PIXELS[0], np.ones((9, 9), np.uint8))).save(stream, "JPEG", exif=exif)
    turned = Image.open(io.BytesIO(stream.getvalue()))
    sent = client.encode({"image": turned}).mu
    np.testing.assert_allclose(sent, client.encode({"image": stream.getvalue()}).mu, rtol=1e-5)


def test_an_answer_holds_typed_arrays(client: Client) -> None:
    encoded = client.encode({"image": PIXELS, "animal": ["owl"]}, N=4, seed=7)
    assert (encoded.model, encoded.version, encoded.n_data, encoded.seed) == ("kinds", 1, 1, 7)
    assert encoded.cond_mod == ["image", "animal"]
    assert encoded.z.shape == (1, 4, encoded.mu.shape[1])
    shares = encoded.contributions
    assert {"prior", "image", "animal"} <= shares.keys()
    np.testing.assert_allclose(sum(shares.values()), 1, rtol=1e-5)
    np.testing.assert_array_equal(client.encode({"image": PIXELS, "animal": "owl"}, N=4, seed=7).z, encoded.z)


def test_a_field_that_was_not_requested_is_named(client: Client) -> None:
    encoded = client.encode({"animal": "owl"}, fields="mu")
    with pytest.raises(AttributeError, match=r"no 'z' in this answer; it has model, .*mu"):
        _ = encoded.z


def test_generated_modalities_are_read_by_name(client: Client) -> None:
    generated = client.generate(
        {"animal": ["owl", "cat"]}, gen_mod=["image", "body", "place"], N=3, K=20, seed=1
    )
    assert list(generated.targets) == ["image", "body", "place"]
    assert generated["image"].mean.shape == (2, 6, 4)
    assert generated["image"].samples.shape == (2, 3, 6, 4)
    assert generated["image"].quantiles.shape == (2, len(generated["image"].levels), 6, 4)
    assert generated["body"].columns == ["height", "mass", "age"]
    assert generated["place"].labels == list(ODD_LABELS)
    np.testing.assert_allclose(generated["place"].probabilities.sum(1), 1, rtol=1e-5)
    assert set(generated["place"].ranked[0]) == set(ODD_LABELS)
    with pytest.raises(KeyError, match="'clip' was not generated; there are image, body, place"):
        _ = generated["clip"]


def test_the_prior_needs_no_rows(client: Client) -> None:
    generated = client.generate(cond_mod="none", n_data=5, gen_mod="image", K=2)
    assert generated["image"].mean.shape == (5, 6, 4)
    with pytest.raises(ServiceError, match="422"):
        client.generate(gen_mod="image")


def test_scores_are_read(client: Client) -> None:
    scored = client.score(
        {"animal": ["owl", "cat"], "image": np.concatenate([PIXELS, PIXELS])}, K=200, seed=3
    )
    assert scored.log_prob.shape == scored.reliable.shape == (2,)
    assert scored.question == ["image,animal"] * 2


def test_the_gaps_of_a_data_frame_are_filled(client: Client) -> None:
    frame = pd.DataFrame(
        {"height": [1.5, np.nan], "mass": [60.0, 70.0], "animal": ["owl", None]}, index=[4, 9]
    )
    filled = client.fill(frame, seed=1)
    assert list(filled.index) == [4, 9]
    assert filled["height"].notna().all()
    assert filled["animal"][9] in ("cat", "dog", "owl")
    assert filled["height"][4] == 1.5
    assert filled["height.low"][9] <= filled["height"][9] <= filled["height.high"][9]


def test_models_are_listed_and_described(client: Client) -> None:
    assert [(model.name, model.version) for model in client.models()] == [("kinds", 1)]
    assert client.manifest()["name"] == "kinds"


def test_an_error_is_raised_with_its_parts(client: Client, address: str) -> None:
    with pytest.raises(ServiceError, match="cond_mod names 'sound'") as raised:
        client.encode({"animal": "owl"}, cond_mod="sound")
    assert (raised.value.status, raised.value.title) == (422, "Unprocessable Entity")
    assert raised.value.request_id
    assert raised.value.type == "urn:anyview:wrong-input"
    with Client(address) as stranger, pytest.raises(ServiceError) as refused:
        stranger.models()
    assert refused.value.status == 401


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"image": object()},
            "inputs\\['image'\\]: expected an array, a list, a data frame or a file, got object",
        ),
        ({"animal": ["owl", 3]}, "inputs\\['animal'\\]: expected labels or files, got int among them"),
        ({"image": [PICTURE, 3]}, "inputs\\['image'\\]: expected labels or files, got int"),
        (
            {"body": np.ma.masked_invalid([[1.0, np.nan, 2.0]])},
            "inputs\\['body'\\]: a masked array; send NaN",
        ),
    ],
)
def test_what_is_no_row_is_refused_before_it_is_sent(
    client: Client, inputs: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        client.encode(inputs)


def test_rows_of_several_shapes_are_refused_before_they_are_sent(client: Client) -> None:
    with pytest.raises(ValueError, match="inputs\\['field'\\]"):
        client.encode({"field": [np.zeros((2, 2)), np.zeros((3, 2))]})


def test_the_asynchronous_client_answers_the_same(client: Client, address: str) -> None:
    async def encode() -> list[Encoded]:
        async with AsyncClient(address, key=KEY, model="kinds") as one:
            labels = (one.encode({"animal": label}, seed=1) for label in ("owl", "cat", "dog"))
            encoded = await asyncio.gather(*labels)
            with pytest.raises(ServiceError, match="cond_mod names 'sound'"):
                await one.encode({"animal": "owl"}, cond_mod="sound")
            return encoded

    together = client.encode({"animal": ["owl", "cat", "dog"]}).mu
    for row, encoded in zip(together, asyncio.run(encode()), strict=True):
        np.testing.assert_allclose(encoded.mu[0], row, rtol=1e-5)


class Busy:
    """Refuses requests with the given responses, then answers one with no models.

    Arguments:
        refusals: Status and ``Retry-After`` of each; None: no connection is made.
    """

    def __init__(self, *refusals: tuple[int, str | None] | None) -> None:
        self.left, self.sent = list(refusals), 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.sent += 1
        if not self.left:
            return httpx.Response(200, json={"models": []})
        refusal = self.left.pop(0)
        if refusal is None:
            raise httpx.ConnectError("refused", request=request)
        status, after = refusal
        return httpx.Response(status, text="busy", headers={} if after is None else {"retry-after": after})

    def client(self, **options: Any) -> Client:
        return Client(
            "http://test", transport=httpx.MockTransport(self), retries=Retries(first=0.0, **options)
        )


@pytest.mark.parametrize("refusals", [[(429, "0")], [(503, None), (429, "0")], [None, None], [(503, "soon")]])
def test_a_busy_service_is_asked_again(refusals: list[tuple[int, str | None] | None]) -> None:
    busy = Busy(*refusals)
    with busy.client() as client:
        assert client.models() == []
    assert busy.sent == len(refusals) + 1


def test_the_asynchronous_client_asks_again_too() -> None:
    busy = Busy((429, "0"), None, (503, None))

    async def models() -> list[Any]:
        transport = httpx.MockTransport(busy)
        async with AsyncClient("http://test", transport=transport, retries=Retries(first=0.0)) as client:
            return await client.models()

    assert asyncio.run(models()) == []
    assert busy.sent == 4


@pytest.mark.parametrize(
    ("refusals", "sent", "status"),
    [
        ([(429, "0")] * 9, 3, 429),
        ([(503, "31")], 1, 503),
        ([(500, "0")], 1, 500),
        ([(422, None)], 1, 422),
    ],
)
def test_repetitions_are_bounded(
    refusals: list[tuple[int, str | None] | None], sent: int, status: int
) -> None:
    busy = Busy(*refusals)
    with busy.client(attempts=3, longest=30) as client, pytest.raises(ServiceError, match="busy") as raised:
        client.models()
    assert (busy.sent, raised.value.status) == (sent, status)


@pytest.mark.parametrize("error", [httpx.RemoteProtocolError, httpx.ReadError])
def test_a_request_whose_connection_ended_is_sent_again(error: type[httpx.TransportError]) -> None:
    outcomes = iter([error("Server disconnected without sending a response."), None])

    def respond(_request: httpx.Request) -> httpx.Response:
        if outcome := next(outcomes):
            raise outcome
        return httpx.Response(200, json={"models": []})

    transport = httpx.MockTransport(respond)
    with Client("http://test", transport=transport, retries=Retries(first=0.0)) as client:
        assert client.models() == []


def test_a_service_that_is_not_there_is_given_up() -> None:
    busy = Busy(*[None] * 9)
    with busy.client(attempts=2) as client, pytest.raises(httpx.ConnectError):
        client.models()
    assert busy.sent == 2


def test_waits_follow_the_service_or_double() -> None:
    retries = Retries(attempts=9, longest=5.0, first=1.0)
    assert retries.wait(1, httpx.Response(429, headers={"retry-after": "3"})) == 3.0
    for attempt, most in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0)):
        wait = retries.wait(attempt, None)
        assert wait is not None
        assert most / 2 <= wait <= most
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 50 < (seconds_of(date) or 0) <= 60
    assert seconds_of("Thu, 01 Jan 1970 00:00:00 GMT") == 0.0
    assert seconds_of("soon") is None
