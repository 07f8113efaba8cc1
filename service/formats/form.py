"""Reads multipart forms: one part per modality; several parts of one name are several rows.

A part that a browser writes for an input that was left empty, without content and without a file name, is
no row.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from models_store import kinds
from models_store.arrays import Array
from models_store.errors import InputRefused
from models_store.kinds import arrays, category, table
from models_store.kinds.base import DATA_URL, from_base64
from models_store.manifest import Modality
from models_store.tables.matching import read_matched
from service.engine.budget import Allowance, Costly
from service.engine.observations import Column
from service.engine.rules import Rules
from service.errors import TooLarge, Unparsable, located
from service.formats import pixels, table_size

Part = tuple[bytes, bytes]
"""Content disposition and content."""


class PartName(NamedTuple):
    """What a part says of its content.

    Arguments:
        name: Name of a modality.
        position: Position in a list; 0 where it has none.
        has_file: Whether it names a file.
    """

    name: str
    position: int
    has_file: bool


HEADERS = re.compile(rb"(\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*)+")
"""One or more header lines."""
ELEMENT = re.compile(r"(.+)\[([0-9]{0,9})\]")
FIRST_LINE = re.compile(rb"--([0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-])\r\n")
"""Boundary of RFC 2046, on a line of its own."""
LONGEST_LABELS = 2**20
"""Bytes of a list of labels."""
SEARCHED_AT_ONCE = 2**20
"""Bytes in which a boundary is searched at a time."""
MOST_PARAMETERS = 32
"""Semicolons in a content disposition: the time to parse one grows with their number times its length."""
MAX_PART_HEAD = 8 * 1024
"""Bytes of the headers of one part; those of many parts are kept parsed."""


def columns(
    rules: Rules, body: bytes, boundary: bytes | None, allowance: Allowance | None = None
) -> dict[str, Column]:
    """Reads the columns of a form.

    Arguments:
        rules: Rules of the model.
        body: Body of the request.
        boundary: Boundary of the content type.
        allowance: Memory for this work in a thread; None on the event loop.

    Raises:
        Costly: Its files take too long for the event loop.
        Unparsable: The body is not a form, or a file in it cannot be read.
        WrongInput: A modality is unknown, or a value does not fit.
        TooLarge: There are too many rows.
    """
    columns = {}
    most = rules.limits.rows * len(rules.names)
    parts = rules.by_modality(_read_parts(body, boundary, most, allowance))
    pixels.check(rules, parts, allowance)
    for name, files in parts.items():
        modality = rules.modality(name)
        if modality.labels:
            files = _labels(rules, modality.labels, files)
        rules.check_rows(len(files))
        rows = []
        for index, content in enumerate(files):
            if allowance is not None:
                allowance.check()
            where = f"part '{name}', number {index} (counted from 0)" if len(files) > 1 else f"part '{name}'"
            if content.startswith(arrays.MAGIC):
                rows.append(located(where, kinds.read_file, modality, content))
                continue
            if _is_text(rules, modality, content):
                _check_text(rules, modality, content)
            rows.append(located(where, _rows, rules, allowance, modality, content))
        values = rows[0] if len(rows) == 1 else np.concatenate(rows)
        columns[name] = Column(values)
    return columns


def _check_text(rules: Rules, modality: Modality, content: bytes) -> None:
    """Refuses a text of more lines or cells than one request may have."""
    table_size.check_lines(rules, content)
    if "columns" in modality.traits.fields:
        rules.check_rows(content.rstrip().count(b"\n"))  # the header is not a row
    table_size.check_cells(content, rules.limits.rows * (math.prod(modality.shape) + 1))


def _rows(rules: Rules, allowance: Allowance | None, modality: Modality, content: bytes) -> Array:
    """Rows of a part; a table that is no plain CSV is read as a request of ``text/csv`` is."""
    try:
        return kinds.read_file(modality, content)
    except InputRefused:
        tabular = "columns" in modality.traits.fields and modality.may_lack_cells
        if not tabular or not _is_text(rules, modality, content):
            raise
        if allowance is None:
            raise Costly from None
        rows = _rows_of_table(rules, modality, content)
        if rows is None:
            raise
        return rows


def _rows_of_table(rules: Rules, modality: Modality, content: bytes) -> Array | None:
    """Rows of a table that holds columns of one modality alone; None for any other text."""
    table_size.check(rules, content)
    with suppress(InputRefused):
        rows = read_matched(rules.manifest, content, where="the table").whole().observed()
        if rows.keys() == {modality.name}:
            values, present = rows[modality.name]
            values[~present] = np.nan
            return values
    return None


def _labels(rules: Rules, labels: tuple[str, ...], files: list[bytes]) -> list[bytes]:
    """Returns a label for each row; a part may be a list of several.

    Raises:
        TooLarge: A list is too long, or has too many labels; its commas are counted before it is read.
    """
    for content in files:
        if not content.startswith(arrays.MAGIC):
            if len(content) > LONGEST_LABELS:
                raise TooLarge(f"a list of labels may have {LONGEST_LABELS} bytes, got {len(content)}")
            rules.check_rows(content.count(b","))
    return [label for content in files for label in category.split(content, labels)]


def _is_text(rules: Rules, modality: Modality, content: bytes) -> bool:
    """Whether a part that is no array is read as a text of cells."""
    return modality.name not in rules.media and not table.is_json(content)


def _read_parts(
    body: bytes, boundary: bytes | None, most: int, allowance: Allowance | None
) -> dict[str, list[bytes]]:
    """Returns the parts of a form by name, in the order of their positions or else in which they came.

    Arguments:
        body: Body of the request.
        boundary: Boundary of the content type.
        most: Largest number of parts.
        allowance: As for :func:`columns`.

    Raises:
        Unparsable: The body is not a form, ends too early, or has a part without a name.
        TooLarge: It has too many parts.
    """
    boundary = boundary or _first_boundary(body)
    parts = _split(body, boundary, most)
    if parts is None:
        parts = _parse(body, boundary, most)
    contents: dict[str, list[bytes]] = {}
    named = []
    for disposition, content in parts:
        if allowance is not None:
            allowance.check()
        named.append((_name(disposition), content))
    if len(named) > 1:
        named.sort(key=lambda part: part[0].position)
    for one, content in named:
        if content[:5].lower() == b"data:":
            content = _without_prefix(content)
        if content or one.has_file:
            contents.setdefault(one.name, []).append(content)
    return contents


def _without_prefix(content: bytes) -> bytes:
    """A file that was sent as the text of a data URL; any other content as it is."""
    if not DATA_URL.match(start := content[:250].decode("latin-1")):
        return content
    return located(f"a part that begins with {start[:20]!r}", from_base64, content.decode("latin-1"))


def _first_boundary(body: bytes) -> bytes:
    """Returns the boundary that a body begins with, for clients that set a content type without it.

    Raises:
        Unparsable: The body does not begin with a boundary.
    """
    match = FIRST_LINE.match(body)
    if match is None:
        raise Unparsable("the content type multipart/form-data must give a boundary")
    return match[1]


def _split(body: bytes, boundary: bytes, most: int) -> list[Part] | None:
    """Splits a form at its boundaries; returns None for unusual forms, which the parser reads.

    The parser makes a call for every piece of every header, which takes longer than the rest of a small
    request. Splitting is correct where the whole form is in memory and is written as common clients do.
    Each step takes one part, or a piece of it; between two steps other threads run.
    """
    delimiter = b"\r\n--" + boundary
    if not body.startswith(delimiter[2:]):
        return None
    find = body.find if len(body) <= SEARCHED_AT_ONCE else partial(_find_in_pieces, body)
    parts: list[Part] = []
    start = len(delimiter) - 2
    while (stop := find(delimiter, start)) >= 0:
        _check_count(parts, most)
        end = body.find(b"\r\n\r\n", start, min(stop, start + MAX_PART_HEAD + 4))
        if end < 0 and stop - start > MAX_PART_HEAD:
            raise Unparsable(f"the headers of a part of a form may have {MAX_PART_HEAD} bytes, got more")
        disposition = _disposition(body[start:end]) if end >= 0 else None
        if disposition is None:
            return None
        parts.append((disposition, body[end + 4 : stop]))
        start = stop + len(delimiter)
    return parts if parts and body[start : start + 5] in (b"--", b"--\r\n") else None


def _find_in_pieces(body: bytes, delimiter: bytes, start: int) -> int:
    """Returns the position of a delimiter, -1 if there is none; other threads run between two pieces."""
    for begin in range(start, len(body), SEARCHED_AT_ONCE):
        stop = body.find(delimiter, begin, begin + SEARCHED_AT_ONCE + len(delimiter) - 1)
        if stop >= 0:
            return stop
    return -1


def _check_count(parts: list[Part], most: int) -> None:
    if len(parts) >= most:
        raise TooLarge(f"the parts of a form are more than the {most} that one request may have")


@lru_cache(maxsize=256)
def _disposition(head: bytes) -> bytes | None:
    """Returns the content disposition of a part; None if its headers are written in an unusual way."""
    if not HEADERS.fullmatch(head) or b"base64" in head.lower():
        return None
    headers = [line.partition(b":") for line in head[2:].split(b"\r\n")]
    values = [value.strip() for field, _, value in headers if field.lower() == b"content-disposition"]
    return values[0] if len(values) == 1 else None


@lru_cache(maxsize=256)
def _name(disposition: bytes) -> PartName:
    if (count := disposition.count(b";")) > MOST_PARAMETERS:
        raise Unparsable(
            f"the Content-Disposition of a part has {count} semicolons, and may have {MOST_PARAMETERS}; "
            "it needs a name, and a filename for a file"
        )
    _, options = parse_options_header(disposition)
    if b"name" not in options:
        raise Unparsable("a part of the form has no name; it must be that of a modality")
    name, position = name_and_position(options[b"name"].decode(errors="replace"))
    return PartName(name, position, bool(options.get(b"filename")))


def name_and_position(name: str) -> tuple[str, int]:
    """Returns the name and the position of an element of a list; the position is 0 where it has none.

    axios and PHP write ``NAME[]``, generated clients for PHP and axios with ``indexes`` ``NAME[0]``.
    """
    match = ELEMENT.fullmatch(name)
    return (match[1], int(match[2] or 0)) if match else (name, 0)


def _parse(body: bytes, boundary: bytes, most: int) -> list[Part]:
    form = _Form(most)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Unparsable(f"the form cannot be read: {error}") from None
    if not form.ended:
        raise Unparsable("the form ends before its closing boundary")
    return form.parts


class _Form:
    """Collects the parts that the parser reports."""

    def __init__(self, most: int) -> None:
        self.parts: list[Part] = []
        self._most = most
        self.ended = False
        self._header = self._value = self._disposition = b""
        self._is_base64 = False
        self._content: list[bytes] = []

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header,
            "on_part_data": self._on_data,
            "on_part_end": self._on_part,
            "on_end": self._on_end,
        }

    def _begin(self) -> None:
        self._disposition, self._content, self._is_base64 = b"", [], False

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        if self._header.lower() == b"content-transfer-encoding":
            self._is_base64 = self._value.strip().lower() == b"base64"
        self._header = self._value = b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._content.append(data[start:end])

    def _on_part(self) -> None:
        _check_count(self.parts, self._most)
        content = b"".join(self._content)
        if self._is_base64:
            where = f"the part {self._disposition.decode(errors='replace')}"
            content = located(where, from_base64, content.decode("latin-1"))
        self.parts.append((self._disposition, content))

    def _on_end(self) -> None:
        self.ended = True
