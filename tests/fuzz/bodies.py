"""Request bodies of every media type, valid ones and mutations of their structure and bytes."""

from __future__ import annotations

import base64
import gzip
import io
import json
import random
import struct
import wave
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import zstandard
from PIL import Image

Rows = Mapping[str, Sequence[Any]]
"""Valid rows by modality, as in a JSON body."""


class Body(NamedTuple):
    """A body, its content type, and headers that belong to it."""

    content: bytes
    media: str
    headers: Mapping[str, str] = {}


NUMBERS = (0, -1, 1, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**400, 1e308, -0.0, 0.5, 1e-320)
TEXTS = ("", "7", "x" * 5000, "\0", "\ud800", "é中", "../..", "NaN", "=1+1", "${x}", "%s%n", "1" * 5000)
NAMES = ("label", "image", "sound", "strokes", "mask.image", "all", "none", "prior", "image.mean", "a", "")
DTYPES = (
    "|u1",
    "<f4",
    "<f8",
    "<i8",
    ">f4",
    "|b1",
    "<f2",
    "<U5",
    "|S3",
    "|O",
    "<c8",
    "<M8[s]",
    "V4",
    "(2,)f4",
)
OIP_TYPES = ("BOOL", "UINT8", "INT64", "FP16", "FP32", "FP64", "BYTES", "BF16", "bytes", 7, None)
ENCODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": lambda content: zstandard.compress(content),
}
MEDIA = {
    "json": "application/json",
    "form": "multipart/form-data; boundary=B",
    "npz": "application/x-npz",
    "csv": "text/csv",
}


def hostile_value(rng: random.Random) -> Any:
    """Returns any JSON value."""
    choice = rng.randrange(7)
    if choice == 0:
        return rng.choice(NUMBERS)
    if choice == 1:
        return rng.choice(TEXTS)
    if choice == 2:
        return rng.choice((None, True, False))
    if choice == 3:
        value: Any = rng.choice(NUMBERS)
        for _ in range(rng.choice((1, 2, 5, 100, 900))):
            value = [value]
        return value
    if choice == 4:
        return {rng.choice(TEXTS): rng.choice(NUMBERS) for _ in range(rng.randrange(4))}
    if choice == 5:
        return [rng.choice(NUMBERS) for _ in range(rng.choice((0, 1, 28, 1000)))]
    return base64.b64encode(rng.choice(FILES)(rng)).decode()


def mutated_tree(rng: random.Random, tree: Any) -> Any:
    """Replaces, removes, repeats or renames one node of a JSON tree."""
    if isinstance(tree, dict) and tree and rng.random() < 0.85:
        copy, key = dict(tree), rng.choice(list(tree))
        action = rng.randrange(6)
        if action == 0:
            del copy[key]
        elif action == 1:
            copy[rng.choice((*NAMES, *TEXTS))] = copy.pop(key)
        else:
            copy[key] = mutated_tree(rng, tree[key])
        return copy
    if isinstance(tree, list) and tree and rng.random() < 0.85:
        copy_list, index = list(tree), rng.randrange(len(tree))
        action = rng.randrange(6)
        if action == 0:
            del copy_list[index]
        elif action == 1:
            copy_list += [copy_list[index]] * rng.choice((1, 2, 500))
        else:
            copy_list[index] = mutated_tree(rng, tree[index])
        return copy_list
    return hostile_value(rng)


def mutated_bytes(rng: random.Random, content: bytes) -> bytes:
    """Flips, cuts, repeats, inserts or removes some bytes."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(changed) + 1)
        action = rng.randrange(5)
        if action == 0 and at < len(changed):
            changed[at] = rng.randrange(256)
        elif action == 1:
            del changed[at:]
        elif action == 2:
            del changed[at : at + rng.choice((1, 4, 100))]
        elif action == 3:
            changed[at:at] = rng.randbytes(rng.choice((1, 4, 100)))
        else:
            changed[at:at] = changed[max(at - rng.choice((1, 8, 64)), 0) : at] * rng.choice((1, 3, 50))
    return bytes(changed)


def dumped(tree: Any) -> bytes:
    """Writes a tree, surrogates and numbers of any size included."""
    return json.dumps(tree).encode("utf-8", "surrogatepass")


# --- files ----------------------------------------------------------------------------------------


def _picture(rng: random.Random) -> bytes:
    stream = io.BytesIO()
    size = rng.choice(((28, 28), (1, 1), (3000, 1), (200, 300)))
    mode, kind = rng.choice(
        (
            ("L", "PNG"),
            ("RGB", "JPEG"),
            ("RGBA", "PNG"),
            ("P", "GIF"),
            ("1", "BMP"),
            ("I;16", "PNG"),
            ("RGB", "WEBP"),
        )
    )
    Image.new(mode, size).save(stream, kind)
    return stream.getvalue()


def _sound(rng: random.Random) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(rng.choice((1, 2)))
        file.setsampwidth(rng.choice((1, 2, 4)))
        file.setframerate(rng.choice((1, 8000, 44100, 2**28)))
        file.writeframes(rng.randbytes(8 * rng.choice((0, 1, 1000))))
    return stream.getvalue()


def _npy(rng: random.Random) -> bytes:
    shape = rng.choice(
        ("(1, 28, 28)", "(1,)", "()", "(0, 28, 28)", "(9" + "9" * 20 + ",)", "(-1,)", "(1, 16, 8)")
    )
    if rng.random() < 0.2:
        shape = "(" + "1," * rng.choice((33, 65, 3000)) + ")"
    text = f"{{'descr': {rng.choice(DTYPES)!r}, 'fortran_order': {rng.random() < 0.2}, 'shape': {shape}, }}\n"
    data = rng.randbytes(rng.choice((0, 1, 784, 3136)))
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text.encode() + data


def _text(rng: random.Random) -> bytes:
    return rng.choice(TEXTS).encode("utf-8", "surrogatepass")


FILES: tuple[Callable[[random.Random], bytes], ...] = (_picture, _sound, _npy, _text)


def any_file(rng: random.Random) -> bytes:
    content = rng.choice(FILES)(rng)
    return mutated_bytes(rng, content) if rng.random() < 0.4 else content


# --- bodies ---------------------------------------------------------------------------------------


def as_json(rng: random.Random, rows: Rows) -> Body:
    names = rng.sample(list(rows), rng.randint(1, len(rows)))
    tree: Any = {"inputs": {name: list(rows[name]) for name in names}}
    for _ in range(rng.randrange(3)):
        tree = mutated_tree(rng, tree)
    content = dumped(tree)
    return Body(mutated_bytes(rng, content) if rng.random() < 0.2 else content, MEDIA["json"])


def as_form(rng: random.Random, rows: Rows) -> Body:
    parts = []
    for _ in range(rng.choice((0, 1, 1, 2, 3, 40))):
        name = rng.choice((*rows, *rows, *NAMES)).encode("utf-8", "surrogatepass")
        if rng.random() < 0.4 and name.decode() in rows:
            content = dumped(rows[name.decode()][0])
        else:
            content = any_file(rng)
        extra = b'; filename="%b"' % rng.choice((b"f", b"", b"../x", b"\xff")) if rng.random() < 0.5 else b""
        header = b"X-Odd: %b\r\n" % rng.randbytes(9).hex().encode() * rng.choice((0, 0, 1, 300))
        parts.append(
            b'--B\r\n%bContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
            % (header, name, extra, content)
        )
    content = b"".join(parts) + b"--B--\r\n"
    return Body(mutated_bytes(rng, content) if rng.random() < 0.3 else content, MEDIA["form"])


def as_npz(rng: random.Random, rows: Rows) -> Body:
    stream = io.BytesIO()
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name in dict.fromkeys(rng.choice((*rows, *rows, *NAMES)) for _ in range(rng.randint(0, 4))):
            if name in rows and rng.random() < 0.6:
                array = io.BytesIO()
                np.save(array, np.asarray(rows[name]), allow_pickle=True)
                content = array.getvalue()
            else:
                content = any_file(rng)
            archive.writestr(f"{name}.npy", content)
    content = stream.getvalue()
    return Body(mutated_bytes(rng, content) if rng.random() < 0.4 else content, MEDIA["npz"])


def as_csv(rng: random.Random, rows: Rows) -> Body:
    columns = [rng.choice((*rows, *NAMES, "label.x", "image.0")) for _ in range(rng.randint(1, 4))]
    cells = [
        [str(rng.choice((*NUMBERS, *TEXTS, "7", "3", ""))) for _ in columns] for _ in range(rng.randint(0, 5))
    ]
    content = "\n".join(rng.choice(",;\t").join(line) for line in [columns, *cells])
    encoded = content.encode(rng.choice(("utf-8", "utf-16")), "surrogatepass")
    return Body(mutated_bytes(rng, encoded) if rng.random() < 0.3 else encoded, MEDIA["csv"])


def as_oip(rng: random.Random, rows: Rows) -> Body:
    """A body of ``/v2/models/M/infer``, in JSON or with binary data."""
    inputs: list[Any] = []
    binary = b""
    for name in rng.sample(list(rows), rng.randint(1, len(rows))):
        array = np.asarray(rows[name], dtype=None if name == "label" else np.float32)
        kind = "BYTES" if array.dtype.kind in "UO" else "INT64" if array.dtype.kind == "i" else "FP32"
        tensor: dict[str, Any] = {"name": name, "datatype": kind, "shape": list(array.shape)}
        if kind == "FP32" and rng.random() < 0.5:
            tensor["parameters"] = {"binary_data_size": array.nbytes}
            binary += array.tobytes()
        else:
            tensor["data"] = array.ravel().tolist()
        if rng.random() < 0.3:
            tensor["shape"] = [rng.choice(NUMBERS) for _ in range(rng.choice((1, 3, 300)))]
        if rng.random() < 0.2:
            tensor["datatype"] = rng.choice(OIP_TYPES)
        inputs.append(tensor)
    tree: Any = {"inputs": inputs, "parameters": {rng.choice(("N", "K", "seed", "x")): rng.choice(NUMBERS)}}
    for _ in range(rng.randrange(3)):
        tree = mutated_tree(rng, tree)
    head = dumped(tree)
    length = rng.choice((len(head), len(head), len(head), 0, -1, 10**30, "x", "1" * 5000))
    content = mutated_bytes(rng, head + binary) if rng.random() < 0.2 else head + binary
    headers = {"Inference-Header-Content-Length": str(length)} if binary or rng.random() < 0.1 else {}
    return Body(content, MEDIA["json"], headers)


def random_bytes(rng: random.Random, _rows: Rows) -> Body:
    return Body(
        rng.randbytes(rng.choice((0, 1, 100, 30_000))),
        rng.choice((*MEDIA.values(), "", "text/html", "\xff/x")),
    )


FORMS: Mapping[str, Callable[[random.Random, Rows], Body]] = {
    "json": as_json,
    "form": as_form,
    "npz": as_npz,
    "csv": as_csv,
    "oip": as_oip,
    "bytes": random_bytes,
}


def encoded(rng: random.Random, body: Body) -> Body:
    """Compresses a body, truly or by name alone."""
    coding = rng.choice(("gzip", "deflate", "zstd", "gzip, gzip", "br", "x" * 300))
    content = body.content
    for one in coding.split(", "):
        if one in ENCODERS and rng.random() < 0.9:
            content = ENCODERS[one](content)
    if rng.random() < 0.3:
        content = mutated_bytes(rng, content)
    return Body(content, body.media, {**body.headers, "Content-Encoding": coding})
