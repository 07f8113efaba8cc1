"""Interface of a kind of modality: which rows fit, how they are read and written, usual networks."""

from __future__ import annotations

import binascii
import io
import re
import string
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from models_store.arrays import Array
from models_store.errors import UnreadableFile, WrongValue
from models_store.kinds import arrays
from models_store.kinds.fields import ModalityFields

LFS_POINTER = b"version https://git-lfs."
DATA_URL = re.compile(r"\s*data:[^,]{0,200};base64,", re.IGNORECASE)
"""Prefix of a file in a URL (RFC 2397)."""
BASE64_AT_ONCE = 2**20
"""Characters of base64 that are decoded at a time."""
BLANKS = string.whitespace.encode()
STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")
"""From the URL-safe alphabet (RFC 4648, section 5)."""


class Work(NamedTuple):
    """Work of decoding a file."""

    pixels: int = 0
    """Pixels that decoding allocates or visits; 0 for what is no picture."""
    weight: int = 1
    """As how many each of them counts in a request."""


class Kind(ABC):
    """One kind of modality.

    A new kind is a subclass in a module of this package and an entry in ``KINDS``.
    """

    name: ClassVar[str]
    """``kind`` in a manifest."""
    files: ClassVar[str | None] = None
    """Sentence for OpenAPI: the files that a row is read from. None: rows are plain text."""
    fields: ClassVar[frozenset[str]] = frozenset()
    """Manifest fields that not every kind has: ``labels``, ``columns``, ``spectrogram``."""
    tabular: ClassVar[bool] = False
    """A row is cells of a table, one per column."""
    cells_may_be_missing: ClassVar[bool] = False
    """NaN in a floating-point row is a missing cell."""
    mixed: ClassVar[bool] = False
    """Each column has a likelihood, and some have labels: a cell of theirs is the index of a label."""
    hidden_cells: ClassVar[float] = 0.0
    """Mean share of cells that are hidden in training, where an experiment says nothing."""
    lowest: ClassVar[int | None] = None
    """Lowest value of whole numbers, where it is not the dtype's."""
    levels: ClassVar[bool] = False
    """Files are read as 256 levels: uint8, with the range 0 … 255."""
    usual_likelihood: ClassVar[str] = "normal"
    """Likelihood where an experiment names none."""
    default_network: ClassVar[Literal["mlp", "conv"]] = "mlp"
    """Network that ``init`` proposes for large rows."""
    layout: ClassVar[int | None] = None
    """Number of leading axes to convolve along; one more axis holds channels. None: there are none."""
    pictures: ClassVar[bool] = False
    """Files are pictures, whose decoding costs as many steps as they have pixels."""
    suffixes: ClassVar[tuple[str, ...]] = ()
    """Endings of the names of files that ``init`` takes for this kind."""

    @abstractmethod
    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a row may have this shape."""

    def suits_array(self, shape: tuple[int, ...], dtype: str, counted: bool) -> bool:
        """Whether an array is most likely of this kind.

        Arguments:
            shape: Of one row.
            dtype: Dtype of the array.
            counted: Its values are whole numbers from 0, many of them 0.
        """
        return False

    # --- reading -------------------------------------------------------------------------------------

    @abstractmethod
    def read(self, modality: ModalityFields, content: bytes) -> Array:
        """Rows from one file that is not ``.npy``, (n, *shape), not yet checked.

        Raises:
            UnreadableFile: The file cannot be read; the text says why.
            WrongValue: It can be read, but a value does not fit.
        """

    def work(self, content: bytes) -> Work:
        """Work of decoding a file, by its headers; no pixels if :meth:`read` refuses it by these."""
        return Work()

    def read_file(self, modality: ModalityFields, content: bytes) -> Array:
        """See :func:`models_store.kinds.read_file`."""
        if not content:
            raise UnreadableFile("the file is empty")
        if content.startswith(LFS_POINTER):
            raise UnreadableFile("the file is a pointer of Git LFS, not its content; run git lfs pull")
        if content.startswith(arrays.MAGIC):
            array = arrays.read_npy(content, text="labels" in self.fields)
            return self.rows(modality, array[None] if array.shape == modality.shape else array)
        return self.rows(modality, self.read(modality, content))

    def read_values(self, modality: ModalityFields, values: list[Any]) -> Array:
        """See :func:`models_store.kinds.read_values`."""
        numbers = arrays.from_numbers(modality, values)
        if numbers is not None:
            return self.rows(modality, numbers)
        empty = np.zeros((0, *modality.shape), modality.numpy_dtype)
        return np.concatenate([empty, *(self.read_value(modality, value) for value in values)])

    def read_value(self, modality: ModalityFields, value: Any) -> Array:
        """One row, (1, *shape), from nested lists of numbers, one number, or a file in base64."""
        if isinstance(value, str):
            rows = self.read_file(modality, from_base64(value))
            if len(rows) != 1:
                raise WrongValue(f"a base64 value must hold one row, this one holds {len(rows)}")
            return rows
        numbers = arrays.from_lists(modality, value)
        alone = numbers.ndim == 0 and modality.shape == (1,)
        return self.rows(modality, numbers[None, None] if alone else numbers[None])

    def rows(self, modality: ModalityFields, array: Array) -> Array:
        """See :func:`models_store.kinds.rows`."""
        return arrays.rows(modality, array, self.cells_may_be_missing)

    def plain(self, modality: ModalityFields, row: Array) -> Any:
        """A row as a value of JSON that :meth:`read_values` reads."""
        return row

    # --- writing -------------------------------------------------------------------------------------

    def write(self, modality: ModalityFields, samples: Array) -> tuple[str, bytes]:
        """File name ending and content of one file with several samples of one row, (N, *shape)."""
        stream = io.BytesIO()
        np.save(stream, samples, allow_pickle=False)
        return ".npy", stream.getvalue()


class MediaKind(Kind):
    """A kind whose rows are files that a person looks at or listens to."""

    media: ClassVar[str]
    """Media type of its files."""
    suffix: ClassVar[str]
    """Ending of their names."""
    grids: ClassVar[bool] = False
    """A file may hold n rows of N samples, see :meth:`write_grid`."""
    noun: ClassVar[str]
    """Verb and object of a sentence about one file: ``shows one image``."""
    levels = True
    usual_likelihood = "bernoulli"

    def writable(self, modality: ModalityFields) -> bool:
        """Whether the manifest says enough to write a file."""
        return True

    @abstractmethod
    def write_row(self, modality: ModalityFields, row: Array, rng: np.random.Generator) -> bytes:
        """A file of one row; ``rng`` draws what a row does not hold, such as a phase."""

    def write_grid(self, modality: ModalityFields, samples: Array) -> bytes | None:
        """One file with n rows of N samples, (n, N, *shape); None where a file holds only one sample."""
        return None


def from_base64(text: str) -> bytes:
    """Bytes of a file in base64: with a data URL's prefix, line breaks, the URL-safe alphabet, or no padding.

    Raises:
        UnreadableFile: The text is no base64.
    """
    if len(text) <= BASE64_AT_ONCE:
        with suppress(ValueError):  # as most are
            return binascii.a2b_base64(text, strict_mode=True)
    prefix = DATA_URL.match(text)
    try:
        return b"".join(_decoded(text, prefix.end() if prefix else 0))
    except ValueError:
        raise UnreadableFile(f"text must be base64 of a file, got {text[:20]!r}") from None


def _decoded(text: str, begin: int) -> Iterator[bytes]:
    """Decodes base64 in pieces, between which other threads run.

    Raises:
        ValueError: It is no base64.
    """
    rest, padded = b"", False
    for start in range(begin, len(text), BASE64_AT_ONCE):
        piece = text[start : start + BASE64_AT_ONCE].encode("ascii").translate(STANDARD_ALPHABET, BLANKS)
        characters = piece.rstrip(b"=")
        if padded and characters:
            raise ValueError("padding before the end")
        padded = padded or len(characters) < len(piece)
        rest += characters
        whole = len(rest) // 4 * 4
        yield binascii.a2b_base64(rest[:whole], strict_mode=True)
        rest = rest[whole:]
    yield binascii.a2b_base64(rest + b"=" * (-len(rest) % 4), strict_mode=True)
