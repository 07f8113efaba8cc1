"""What can be wrong with a stored model or with a file, in the words of the domain."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable


class ModelsStoreError(Exception):
    """Whatever this package refuses; its text is one sentence for the person who asked."""


class ManifestError(ModelsStoreError):
    """A manifest, or a value in it, says something that cannot be."""


class BundleRefused(ModelsStoreError):
    """A stored model that must not be served: incomplete, altered, or of an unknown format."""


class VersionExists(ModelsStoreError):
    """A version that is published never changes."""


class StoreAway(ModelsStoreError):
    """A store that does not answer at present, or lacks what it takes to ask it."""


class UnknownModel(ModelsStoreError):
    """No such model, or no such version of it."""


class InputRefused(ModelsStoreError):
    """A file or value that no row can be made of."""


class UnreadableFile(InputRefused):
    """Bytes that are not what they should be, such as half a picture."""


class WrongValue(InputRefused):
    """A value that can be read but does not fit: another shape, a label that does not exist."""


class _Shown(reprlib.Repr):
    """Cuts what was sent to a length that a sentence can hold, however deep or long it is."""

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
    """A value as an error message shows it: at most 80 characters."""
    text = _Shown().repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def listed(names: Iterable[str]) -> str:
    """Names as an error message lists them: 'a', 'b' and 'c'."""
    quoted = [f"'{name}'" for name in names]
    return " and ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]])) if quoted else "none"
