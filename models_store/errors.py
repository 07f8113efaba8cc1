"""Errors of stored models and of files, and values as error messages show them."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable


class ModelsStoreError(Exception):
    """Base of the errors of this package; the text is one sentence for the caller."""


class ManifestError(ModelsStoreError):
    """A manifest, or a value in it, is invalid."""


class BundleRefused(ModelsStoreError):
    """A stored model that must not be served: incomplete, altered, or of an unknown format."""


class VersionExists(ModelsStoreError):
    """The version is published already, and a published version never changes."""


class StoreAway(ModelsStoreError):
    """A store that does not answer at present, or whose driver is not installed."""


class UnknownModel(ModelsStoreError):
    """No such model, or no such version of it."""


class InputRefused(ModelsStoreError):
    """A file or value that cannot be read as a row."""


class UnreadableFile(InputRefused):
    """A file that is damaged or of another format, such as half a picture."""


class WrongValue(InputRefused):
    """A value that can be read but does not fit: another shape, a label that does not exist."""


class _Shown(reprlib.Repr):
    """Shortens a value of any depth and length, so that it fits into a sentence."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxlist, self.maxdict = 3, 4, 3
        self.maxstring = self.maxother = self.maxlong = 40

    def repr_bool(self, x: bool, _level: int) -> str:
        return str(x).lower()  # as JSON and TOML write it

    def repr_NoneType(self, _x: None, _level: int) -> str:  # noqa: N802
        return "null"

    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if x.bit_length() < 1000 else f"an integer of {x.bit_length()} bits"


def shown(value: object) -> str:
    """Text of a value in an error message: at most 80 characters."""
    text = _Shown().repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def first_line(error: Exception) -> str:
    """First line of an exception's text, at most 120 characters; its class where it has no text."""
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


LONGEST_SENTENCE = 500
"""Characters of a reason that quotes a file."""


def sentence(text: str) -> str:
    """The text on one line, without control characters, and at most ``LONGEST_SENTENCE`` characters of it."""
    line = "".join(one if one.isprintable() else " " for one in text[: LONGEST_SENTENCE + 1])
    return line if len(line) <= LONGEST_SENTENCE else f"{line[: LONGEST_SENTENCE - 1]}…"


MOST_LISTED = 40
"""Names that an error message lists."""
LONGEST_LISTED = 80
"""Characters that it shows of each."""


def listed(names: Iterable[str]) -> str:
    """List names in an error message: 'a', 'b' and 'c'; of very many, the first ones and a number."""
    every = list(names)
    quoted = [f"'{name if len(name) <= LONGEST_LISTED else name[:LONGEST_LISTED] + '…'}'" for name in every]
    if len(every) > MOST_LISTED:
        quoted = [*quoted[:MOST_LISTED], f"{len(every) - MOST_LISTED} more"]
    return " and ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]])) if quoted else "none"
