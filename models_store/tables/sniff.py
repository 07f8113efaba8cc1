"""Finds out how a text of cells is written: encoding, delimiter, quotes, lines around the header."""

from __future__ import annotations

import codecs
import csv
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from models_store.tables.dialect import Dialect, TableLayout
from models_store.tables.headers import (
    descriptions_below,
    groups_above,
    has_row_names,
    is_header,
    is_number,
    names_stand_below,
    units_below,
)

SAMPLE = 2**18
"""Characters of which the dialect is taken."""
LINES = 200
WIDEST = 4000
"""Characters of one line that the sniffer sees: its time grows with the square of the columns."""
GUESSED = 2**18
"""Bytes of a text by which its encoding is guessed."""
FEWEST_BYTES, LEAST_CONFIDENCE, CLEARLY = 16, 0.05, 2
"""Least bytes beyond ASCII, least confidence of chardet, and least ratio of it to that of Windows-1252.

Tables in Polish, Russian, Greek, Turkish, Japanese, Chinese and Korean have a confidence of .05 to .2; wrong
guesses for tables in German, French, Spanish and Swedish at most .04, for a few signs of units .06.
"""
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]+")
LONG_RUNS = 3
"""Mean length of the runs of bytes beyond ASCII from which on words are of another script than Latin."""
DELIMITERS = ",;\t| "
SELDOM = "^~:"
"""Delimiters only where no other is, and all lines agree."""
MOST_PREAMBLE = 50
_BACKSLASHES = re.compile(
    r'(?:^|[,;\t|])"(?:[^"\\]|\\.|"")*?\\"(?:[^,;\t|"\r\n]|"(?=[,;\t|\r\n]|$))', re.MULTILINE
)
"""A cell in quotes that continues behind a backslash and a quote, or ends with these and a quote."""
_ESCAPED = re.compile(r"\\.", re.DOTALL)
_UNPAIRED = re.compile(r"\\\\|\\(?!\")")
_TORN = re.compile(r'[^"\s][,;\t|]"[^"]')
"""A quote that opens behind another delimiter: this one tears the cell in quotes apart."""


def encoding_of(open_bytes: Callable[[], BinaryIO], likely: Iterable[str] = ()) -> str:
    """The encoding of a text: by its mark, else UTF-8 where all of it is, else the first that decodes it.

    Arguments:
        open_bytes: Opens the text from its start.
        likely: Encodings that are tried before one is guessed by the words.
    """
    with closing(open_bytes()) as stream:
        start = stream.read(4)
    if start.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(start) == 4 and 0 in start:
        return "utf-16-le" if start[1] == 0 else "utf-16-be"
    if _decodes(open_bytes, "utf-8"):
        return "utf-8"
    others = [name for name in likely if not name.startswith("utf")]
    guess, is_clear = _guessed_encoding(open_bytes)
    candidates = [*others, guess, "cp1252"] if is_clear else [*others, "cp1252", guess]
    return next((name for name in candidates if _decodes(open_bytes, name)), "latin-1")


def _guessed_encoding(open_bytes: Callable[[], BinaryIO]) -> tuple[str, bool]:
    """The encoding of a text by its words, and whether they clearly are not in Windows-1252.

    Clear are confident guesses, and words of another script: most of their bytes are beyond ASCII.
    """
    import chardet  # here, since few texts need it

    with closing(open_bytes()) as stream:
        lines = stream.read(GUESSED).splitlines()
    words = b"\n".join(line for line in lines if not line.isascii())
    runs = _BEYOND_ASCII.findall(words)
    ranked = chardet.detect_all(words, ignore_threshold=True, encoding_era=chardet.EncodingEra.MODERN_WEB)
    confidence = {codecs.lookup(one["encoding"]).name: one["confidence"] for one in ranked if one["encoding"]}
    if not confidence:
        return "cp1252", False
    best = max(confidence, key=confidence.__getitem__)
    needed = max(LEAST_CONFIDENCE, CLEARLY * confidence.get("cp1252", 0.0))
    size = sum(map(len, runs))
    is_clear = confidence[best] >= needed or size >= LONG_RUNS * len(runs)
    return best, is_clear and size >= FEWEST_BYTES


def _decodes(open_bytes: Callable[[], BinaryIO], encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with closing(open_bytes()) as stream:
            while block := stream.read(2**20):
                decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def sniff(sample: str, encoding: str, layout: TableLayout | None = None) -> Dialect:
    """The dialect of a text, from its first characters; columns are left to be looked at.

    Arguments:
        sample: The beginning of the text; the last line may be cut.
        encoding: Encoding of the file.
        layout: What is known; the rest is detected.
    """
    fixed = layout or TableLayout()
    backslashes, sample = with_doubled_quotes(sample)
    line_end, lines = lines_of(sample)
    named = re.fullmatch(r'"?sep=(.)"?', lines[0].strip(" "), re.IGNORECASE)
    start = 1 if named else 0
    while start < min(len(lines) - 1, MOST_PREAMBLE) and (
        lines[start].startswith("#") or not lines[start].strip()
    ):
        start += 1
    if fixed.title_lines is not None:
        start = min(fixed.title_lines, len(lines) - 1)
    delimiter = fixed.delimiter or (named[1] if named else _delimiter(lines[start:], line_end))
    quote = fixed.quote or quote_of(lines[start:], delimiter)
    if fixed.title_lines is None:
        start += _titles(lines[start:], delimiter, quote)
        start -= _is_commented_header(lines[:start], lines[start:], (delimiter, quote), line_end)
    dialect = assembled(lines, line_end, encoding, start, (delimiter, quote), fixed.header)
    return dialect.model_copy(update={"backslashes": backslashes})


def _is_commented_header(
    above: Sequence[str], lines: Sequence[str], marks: tuple[str, str], line_end: str
) -> bool:
    """Whether the comment above a table that has no header names its columns."""
    if not above or not above[-1].startswith("#") or marks[0] == " ":
        return False
    names, *_ = split_lines([above[-1][1:]], *marks, line_end) or [[]]
    rows = split_lines(lines, *marks, line_end)
    cells = [name.strip() for name in names]
    words = len(cells) > 1 and all(cells) and len({*cells}) == len(cells) and not any(map(is_number, cells))
    return words and len(rows) > 1 and len(rows[0]) == len(cells) and not is_header(rows)


def with_doubled_quotes(sample: str) -> tuple[bool, str]:
    """Whether backslashes stand before quotes within quotes of a text, and the text with doubled quotes."""
    if '\\"' not in sample or not _BACKSLASHES.search(sample):
        return False, sample
    return True, _ESCAPED.sub(lambda match: '""' if match[0][1] == '"' else match[0], sample)


def protected(line: str) -> str:
    """A line in which Python's csv takes for an escape only a backslash before a quote."""
    return _UNPAIRED.sub(lambda match: 2 * match[0], line)


def lines_of(sample: str) -> tuple[str, list[str]]:
    """The line end of a text, and its lines without a last one that is cut."""
    line_end = "\r\n" if "\r\n" in sample else "\r" if "\r" in sample and "\n" not in sample else "\n"
    lines = sample.split(line_end)
    if line_end == "\r\n":
        lines = [part for line in lines for part in _at_breaks(line)]
    return line_end, lines[:-1] if len(sample) >= SAMPLE and len(lines) > 1 else lines


def _at_breaks(line: str) -> Iterator[str]:
    """Parts of a line between line feeds outside quotes, as where files of two systems were joined."""
    part, *others = line.split("\n")
    for other in others:
        if part.count('"') % 2:
            part = f"{part}\n{other}"
        else:
            yield part
            part = other
    yield part


def assembled(
    lines: Sequence[str],
    line_end: str,
    encoding: str,
    start: int,
    marks: tuple[str, str],
    has_header: bool | None,
) -> Dialect:
    """The dialect of a text whose table begins at a line.

    Arguments:
        lines: First lines of the text.
        line_end: End of each line.
        encoding: Encoding of the file.
        start: Number of lines before the table.
        marks: Delimiter and quote.
        has_header: Whether the first line of the table names the columns; None: by its cells.
    """
    delimiter, quote = marks
    rows = split_lines(lines[start:], delimiter, quote, line_end)
    has_header = is_header(rows) if has_header is None else has_header
    above = split_lines(lines[start - 1 :], delimiter, quote, line_end) if start and has_header else []
    groups = groups_above(above)
    units = units_below(rows) if has_header else ()
    return Dialect(
        encoding=encoding,
        delimiter=delimiter,
        quote=quote,
        quote_all=_all_quoted(lines[start:], quote),
        line_end=line_end,
        preamble=tuple(lines[:start]),
        has_header=has_header,
        groups=groups,
        row_names=has_header and has_row_names(rows),
        units=units,
        descriptions=descriptions_below(rows, bool(groups)) if has_header and not units else (),
    )


def split_lines(lines: Sequence[str], delimiter: str, quote: str, line_end: str) -> list[list[str]]:
    """The cells of some lines; a last line that is cut within quotes is dropped."""
    matches = csv.reader(
        (line.replace("\r", " ").replace("\n", " ") + line_end for line in lines),
        delimiter=delimiter,
        quotechar=quote,
        skipinitialspace=delimiter == " ",
    )
    return [row for _, row in zip(range(LINES), matches, strict=False) if row]


def _delimiter(lines: Sequence[str], line_end: str) -> str:
    """DuckDB's choice where the header has it, since it says comma for want of one; else the most regular."""
    import duckdb  # here, since most requests need none and it takes a tenth of a second

    sample = [line[:WIDEST] for line in lines]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sample.csv")
        path.write_text("\n".join(sample) + "\n", encoding="utf-8", newline="")
        try:
            selected = duckdb.connect().execute("SELECT Delimiter FROM sniff_csv(?)", [str(path)]).fetchone()
        except duckdb.Error:
            selected = None
    if selected and selected[0] in DELIMITERS and selected[0] != " " and selected[0] in sample[0]:
        return str(selected[0])
    return _most_regular(sample, line_end)


def _most_regular(lines: Sequence[str], line_end: str) -> str:
    """The delimiter at which most lines have one number of cells above 1, and of these the most cells."""

    def regularity(mark: str) -> tuple[bool, float, int]:
        rows = split_lines(lines, mark, '"', line_end)
        widths = Counter(map(len, rows))
        width, count = max(widths.items(), key=lambda item: item[1], default=(1, 0))
        share = count / max(1, len(rows)) if width > 1 else 0.0
        torn = any(_TORN.search(cell) for row in rows for cell in row)
        return share > 0.5 and not torn, share, width

    def is_possible(mark: str) -> bool:
        return mark in lines[0] or _is_below_titles(split_lines(lines, mark, '"', line_end))

    best = max(filter(is_possible, DELIMITERS), key=regularity, default=",")
    if regularity(best)[1] > 0.5:
        return best
    seldom = (mark for mark in SELDOM if mark in lines[0] and regularity(mark)[:2] == (True, 1.0))
    return next(seldom, ",")


def _is_below_titles(rows: Sequence[Sequence[str]]) -> bool:
    """Whether lines of one cell are followed by lines of three or more cells, all of one width."""
    first = next((place for place, row in enumerate(rows[:MOST_PREAMBLE]) if len(row) > 1), 0)
    return len(rows[first]) >= 3 and {len(row) for row in rows[first:]} == {len(rows[first])}


def quote_of(lines: Sequence[str], delimiter: str) -> str:
    """A single quote where cells that are not empty are in such, and none in double quotes."""
    cells = [cell.strip() for line in lines[:LINES] for cell in line.split(delimiter)]
    single = sum(len(cell) > 2 and cell[0] == cell[-1] == "'" for cell in cells)
    return "'" if single and not any(cell.startswith('"') for cell in cells) else '"'


def _all_quoted(lines: Sequence[str], quote: str) -> bool:
    filled = [line for line in lines[:LINES] if line]
    return bool(filled) and all(line[0] == quote and line[-1] == quote for line in filled)


def _titles(lines: Sequence[str], delimiter: str, quote: str) -> int:
    """Lines above the first one that fills the width of the table, where the table is wider than 1.

    A line of cells of which all but the first are empty, or with fewer cells, is a title.
    """
    reader = csv.reader(
        (line.replace("\r", " ").replace("\n", " ") + "\n" for line in lines[: 10 * LINES]),
        delimiter=delimiter,
        quotechar=quote,
        skipinitialspace=delimiter == " ",
    )
    starts, rows = [], []
    start = 0
    for row in islice(reader, LINES):  # a row may have several lines
        starts.append(start)
        rows.append(row[:-1] if delimiter == " " and row and not row[-1] else row)
        start = reader.line_num
    widths = Counter(len(row) for row in rows if row)
    width = max(widths, key=lambda size: widths[size], default=1)
    if width < 3:
        return 0
    for index, row in enumerate(rows[:MOST_PREAMBLE]):
        if len(row) == width and sum(bool(cell.strip()) for cell in row) > 1:
            if index and _names_all_but_one(rows[index - 1], rows[index:]):
                return starts[index - 1]
            index += names_stand_below(rows[index:])
            return starts[index] if all(len(other) <= width for other in rows[:index]) else 0
    return 0


def _names_all_but_one(header: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether a line names all columns of some rows but one.

    That is the first where R writes the names of rows, and the last where a delimiter ends each row.
    """
    cells = [cell.strip() for cell in header]
    return (
        len(cells) == len(rows[0]) - 1
        and all(cell and not is_number(cell) for cell in cells)
        and len({*cells}) == len(cells)
        and not is_header(rows)
    )
