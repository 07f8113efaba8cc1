"""MNIST from its official files, on disk or from a mirror."""

from __future__ import annotations

import gzip
import struct
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from tests.conftest import DATA, FULL_DATA, needs_full_data
from training.data import idx, mnist
from training.errors import DataError


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def mirror(request: pytest.FixtureRequest) -> Iterator[str]:
    """A web server of the folder that the test names."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(request.param)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_the_sample_reads_as_pictures_and_labels() -> None:
    splits = mnist.load(DATA / "mnist")
    assert splits.train.in_epoch(0, 0).data["image"].shape == (1000, 28, 28)
    assert splits.train.in_epoch(0, 0).data["image"].dtype == torch.uint8
    assert splits.train.in_epoch(0, 0).data["label"][:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert len(splits.test) == 200


@needs_full_data
def test_the_full_data_has_the_official_sizes() -> None:
    splits = mnist.load(FULL_DATA / "mnist")
    assert (len(splits.train), len(splits.test)) == (60_000, 10_000)


@needs_full_data
@pytest.mark.parametrize("mirror", [FULL_DATA / "mnist"], indirect=True)
def test_what_is_not_there_is_fetched_once_and_its_md5_checked(mirror: str, tmp_path: Path) -> None:
    folder = idx.download(tmp_path / "cache", mirror, mnist.MD5)
    assert sorted(path.name for path in folder.iterdir()) == sorted(mnist.MD5)
    assert idx.download(folder, "http://127.0.0.1:9/", mnist.MD5) == folder


@pytest.mark.parametrize("mirror", [DATA / "mnist"], indirect=True)
def test_a_file_with_another_md5_is_not_kept(mirror: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not the official file: its md5 is not"):
        idx.download(tmp_path, mirror, mnist.MD5)
    assert list(tmp_path.iterdir()) == []


def test_a_mirror_that_does_not_answer_leaves_advice(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot fetch http://127.0.0.1:9/.*set ANYVIEW_DATA"):
        idx.download(tmp_path, "http://127.0.0.1:9/", mnist.MD5)


IDX = struct.pack(">HBBI", 0, 8, 1, 3) + b"\1\2\3"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip", "cannot be read"),
        (gzip.compress(IDX)[:-9], "cannot be read"),
        (gzip.compress(b""), "not an idx file"),
        (gzip.compress(b"\0\0\x0d\1" + IDX[4:]), "not an idx file of unsigned bytes"),
        (gzip.compress(IDX[:-1]), r"promises the shape \(3,\), 2 bytes follow"),
    ],
    ids=["no gzip", "cut short", "empty", "floats", "a byte less"],  # gzip writes the time
)
def test_a_damaged_file_is_refused_by_name(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"train-images-idx3-ubyte.gz.*{message}"):
        idx.read(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is missing"):
        mnist.load(tmp_path)
