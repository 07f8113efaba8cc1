"""Whole requests as bytes: paths, queries, headers and the framing of HTTP/1.1."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote

from tests.fuzz.bodies import FORMS, NAMES, NUMBERS, TEXTS, Body, Rows, encoded, mutated_bytes

PATHS = ("/encode", "/generate", "/score")
OTHER_PATHS = (
    *("/livez", "/readyz", "/metrics", "/models", "/openapi.json", "/docs", "/", "/v2", "/v2/health/ready"),
    *(
        "/v2/repository/index",
        "/v2/models/stats",
        "/nothing",
        "/%ff",
        "/models/%00",
        "/v2/models/a/versions/1",
    ),
)
MODEL_PATHS = (
    "",
    "/card",
    "/latent",
    "/examples",
    "/examples/0/image",
    "/report/card.md",
    "/load",
    "/unload",
)
QUERY = {
    "cond_mod": (*NAMES, "all,all", "label,image"),
    "gen_mod": (*NAMES, "label"),
    "N": (1, 2, 0, -1, 100, 10**6, "x", 2**63, "1" * 5000),
    "K": (1, 10, 0, 10**6, "x"),
    "n_data": (1, 3, 0, 10**5, 10**30),
    "seed": (0, 2**53, -1, 7),
    "version": (1, 0, 9, 10**9, "1" * 5000),
    "fields": ("mean", "samples", "mean,std", "odd", ",".join(["mean"] * 999)),
    "prior": ("standard", "mixture", "x"),
    **dict.fromkeys(("return_mean", "flatten", "noise"), ("true", "false", "1", "x", "")),
    "batch_size_K": (1, 10, 0),
    "odd": TEXTS,
}
ACCEPT = (
    *(
        "application/json",
        "application/x-npz",
        "image/png",
        "audio/wav",
        "application/zip",
        "text/csv",
        "*/*",
    ),
    *("image/*;q=0.5", "x" * 3000, "a/b;q=nan", "", "\xff"),
)
METHODS = ("GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "BREW")
ODD_HEADERS = (
    *(
        "X-Request-ID: a b",
        "X-Request-ID: ok",
        "Expect: 100-continue",
        "Upgrade: h2c",
        "Accept-Encoding: gzip",
    ),
    *("Connection: Upgrade, HTTP2-Settings", "Authorization: Bearer x", "Cookie: a=b", "Range: bytes=0-1"),
    *("Origin: null", "X-Pad: " + "a" * 70_000, "Content-Type: text/plain", ": none", "No colon", "A: b\x00"),
    *("Accept-Encoding: zstd;q=0, gzip", "Forwarded: for=x", "Host: elsewhere.example", "Content-Length: 7"),
)


class Case(NamedTuple):
    """A request, or what looks like one.

    Arguments:
        form: Name of its form in the counts.
        content: Bytes to send.
        whole: Whether it is a complete HTTP request, which must get a response.
    """

    form: str
    content: bytes
    whole: bool


def _query(rng: random.Random) -> str:
    pairs = []
    for _ in range(rng.choice((0, 1, 2, 4))):
        name = rng.choice(list(QUERY))
        value = rng.choice((*QUERY[name], *QUERY[name], rng.choice(NUMBERS)))
        pairs.append(f"{name}={quote(str(value), errors='replace')}")
    if rng.random() < 0.05:
        pairs.append(rng.choice(("&&&", "=", "%", "a" * 20_000, "cond_mod=all&" * 500)))
    return "?" + "&".join(pairs) if pairs else ""


def _head(method: str, target: str, headers: Sequence[str]) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *headers]
    return "\r\n".join(lines).encode("utf-8", "surrogatepass") + b"\r\n\r\n"


def _inference(rng: random.Random, form: str, rows: Rows, model: str) -> Case:
    body: Body = FORMS[form](rng, rows)
    if rng.random() < 0.1:
        body = encoded(rng, body)
    path = f"/v2/models/{model}/infer" if form == "oip" else f"/models/{model}{rng.choice(PATHS)}"
    query = "" if form == "oip" and rng.random() < 0.9 else _query(rng)
    headers = {"Content-Type": body.media, "Content-Length": str(len(body.content)), "Connection": "close"}
    if rng.random() < 0.3:
        headers["Accept"] = rng.choice(ACCEPT)
    lines = [f"{name}: {value}" for name, value in {**headers, **body.headers}.items()]
    return Case(form, _head("POST", path + query, lines) + body.content, whole=True)


def _prior(rng: random.Random, model: str) -> Case:
    """A request without a body, whose query asks for everything."""
    values = {"cond_mod": "none", "n_data": rng.choice((1, 20, 10**4)), "N": rng.choice((1, 30, 10**4))}
    query = "&".join(f"{name}={value}" for name, value in values.items())
    accept = rng.choice(ACCEPT[:7])
    headers = ["Content-Length: 0", "Connection: close", f"Accept: {accept}"]
    path = rng.choice(("/encode", "/generate"))
    return Case(
        "prior", _head("POST", f"/models/{model}{path}?{query}&K={rng.choice((1, 100))}", headers), True
    )


def _path(rng: random.Random, model: str) -> Case:
    target = rng.choice((*OTHER_PATHS, *(f"/models/{model}{one}" for one in MODEL_PATHS)))
    method = rng.choice(("GET", "GET", "GET", "POST", *METHODS[1:7]))
    lines = ["Content-Length: 0", "Connection: close"]
    return Case("path", _head(method, target + _query(rng), lines), method != "HEAD")


def _header(rng: random.Random, model: str) -> Case:
    body = b'{"inputs":{"label":[7]}}'
    lines = ["Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close"]
    lines += rng.choices(ODD_HEADERS, k=rng.choice((1, 2, 200)))
    return Case("header", _head("POST", f"/models/{model}/generate", lines) + body, whole=False)


def _protocol(rng: random.Random, model: str) -> Case:
    """Chunks, several requests at once, other methods and versions, and bytes that are no request."""
    body = b'{"inputs":{"label":[7]}}'
    start = _head(
        "POST", f"/models/{model}/encode", ["Content-Type: application/json", "Transfer-Encoding: chunked"]
    )
    size = rng.choice((b"18", b"18;x=" + b"y" * 999, b"0018", b"-1", b"f" * 20, b"zz", b"17", b"19"))
    end = rng.choice((b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"0\r\n" + b"T: x\r\n" * 9000 + b"\r\n", b""))
    chunked = start + size + b"\r\n" + body + b"\r\n" + end
    plain = _head("GET", "/livez", [])
    other = _head(rng.choice(METHODS), rng.choice(("*", "http://x/livez", "/", "x:1")), ["Connection: close"])
    content = rng.choice(
        (chunked, chunked * 3, plain * 20, other, plain.replace(b"/1.1", b"/1.0"), rng.randbytes(300))
    )
    if rng.random() < 0.5:
        content = mutated_bytes(rng, content)
    return Case("protocol", content, whole=False)


def case(seed: int, models: dict[str, Rows]) -> Case:
    """Returns the request of a seed.

    Arguments:
        seed: Seed of all choices.
        models: Valid rows by model.
    """
    rng = random.Random(seed)  # noqa: S311 - repeatable
    model = rng.choice(sorted(models))
    rows = models[model]
    form = rng.choice(
        (
            "json",
            "json",
            "form",
            "form",
            "npz",
            "csv",
            "oip",
            "oip",
            "bytes",
            "path",
            "header",
            "protocol",
            "prior",
        )
    )
    others = {"path": _path, "header": _header, "protocol": _protocol, "prior": _prior}
    return others[form](rng, model) if form in others else _inference(rng, form, rows, model)
