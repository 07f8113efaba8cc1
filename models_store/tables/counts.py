"""Counts of one column of a table, taken cell by cell: numbers, words, units, lists, codes."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from models_store.tables.affixes import split_affixes, units_of
from models_store.tables.cells import CENSORED, EMPTY, PERHAPS, decimal_vote, number
from models_store.tables.sources import Cell

MOST_WORDS = 5
"""Different words that a column of numbers may hold, besides marks for missing values."""
FEW_NUMBERS = 10
"""With fewer different numbers, words beside them are labels, such as 0, 1, 2, 3+."""
REMEMBERED = 200
_OF_NUMBERS = ("figures", "points", "commas", "votes", "values")
_NO_NUMBERS = EMPTY | PERHAPS | {None}
_OF_PLAIN_NUMBERS = b"0123456789.+-"
_THREE = re.compile(r"\.\d{3}$", re.ASCII | re.MULTILINE)
_GROUPED = re.compile(r"^[+-]?[1-9]\d{0,2}\.\d{3}$", re.ASCII | re.MULTILINE)
"""Numbers with a point whose digits may also be groups of three."""
_ONE_GROUP = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}", re.ASCII)


@dataclass
class ColumnSurvey:
    """Counts of one column.

    Arguments:
        rows: Cells seen.
        empty: Of these, empty or with a mark that never is a value.
        marked: Of these, with a mark that the user names.
        figures: Numbers under either decimal mark.
        points: Numbers with a decimal point for mark.
        commas: Numbers with a decimal comma for mark.
        votes: Cells by the decimal mark that they can only have.
        words: Cells that are no number under either mark, by text; up to some hundred.
        values: Texts of numbers, by text; up to some hundred.
        affixes: Cells that are numbers with a unit or a currency, by prefix and suffix.
        bare: Counts of the numbers in these.
        unit: Prefix and suffix of each number, where these are counts without them.
        widths: Lengths of lists.
        booleans: Values that a format with types stores as truth values.
    """

    rows: int = 0
    empty: int = 0
    blank: int = 0
    marked: int = 0
    figures: int = 0
    points: int = 0
    commas: int = 0
    percent: int = 0
    votes: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)
    values: Counter[str] = field(default_factory=Counter)
    odd: Counter[str] = field(default_factory=Counter)
    affixes: Counter[tuple[str, str]] = field(default_factory=Counter)
    bare: ColumnSurvey | None = None
    unit: tuple[str, str] = ("", "")
    widths: set[int] = field(default_factory=set)
    booleans: int = 0

    def see(self, cells: Sequence[Cell], marks: Collection[str]) -> None:
        """Counts some consecutive cells."""
        self.rows += len(cells)
        if not marks and self._see_numbers_with_gaps(cells):
            return
        counted: Counter[str] = Counter()
        for cell in cells:
            if isinstance(cell, list):
                self.widths.add(len(cell))
            else:
                counted["" if cell is None else cell.strip()] += 1
        for text, times in counted.items():
            self._see_text(text, times, marks)

    def _see_numbers_with_gaps(self, cells: Sequence[Cell]) -> bool:
        """Counts cells that are finite numbers with points or mean no value, quickly; False for others."""
        if not set(map(type, cells)) <= {str, type(None)}:
            return False
        values = [cell for cell in cells if cell not in _NO_NUMBERS]
        if not values or not self._see_plain_numbers(values):  # type: ignore[arg-type]
            return False
        blank = cells.count("") + cells.count(None)
        if blank:
            self._see_text("", blank, ())
        if len(values) + blank < len(cells):
            for text, times in Counter(cell for cell in cells if cell and cell in _NO_NUMBERS).items():
                self._see_text(str(text), times, ())
        return True

    def _see_plain_numbers(self, cells: Sequence[str]) -> bool:
        """Counts cells that all are finite numbers with points, quickly; False where they are not.

        Without numpy, which is slow for the few rows of a wide table that are in memory.
        """
        lines = "\n".join(cells)
        breaks = b"\n" * (len(cells) - 1)
        if not lines.isascii() or lines.encode().translate(None, _OF_PLAIN_NUMBERS) != breaks:
            return False
        try:
            values = list(map(float, cells))
        except ValueError:
            return False
        if not math.isfinite(max(values) - min(values)):
            return False
        grouped = len(_GROUPED.findall(lines)) if _THREE.search(lines) else 0
        pointed = lines.count(".") - grouped
        self.figures, self.points = self.figures + len(cells), self.points + len(cells)
        self.commas += len(cells) - pointed
        self.votes["."] += pointed
        if len(self.values) < REMEMBERED:
            self.values.update(cells)
        return True

    def _see_text(self, text: str, times: int, marks: Collection[str]) -> None:
        if text in marks:
            self.marked += times
        elif text in EMPTY:
            self.empty += times
            self.blank += times * (not text)
            if text:
                self.odd[text] += times
        else:
            self._see_value(text, times)

    def _see_value(self, text: str, times: int) -> None:
        point, comma = number(text, "."), number(text, ",")
        self.points += times * (point is not None)
        self.commas += times * (comma is not None)
        if point is None and comma is None:
            self._see_word(text, times)
            return
        self.figures += times
        self.percent += times * text.endswith("%")
        if vote := decimal_vote(text):
            self.votes[vote] += times
        if text in self.values or len(self.values) < REMEMBERED:
            self.values[text] += times

    def _see_word(self, text: str, times: int) -> None:
        """Counts a word, and the number in it where it has a unit; other words are remembered longer."""
        parts = split_affixes(text)
        is_kept = text in self.words or len(self.words) < REMEMBERED * (1 if parts else 2)
        self.words[text if is_kept else "…"] += times
        if parts:
            self.affixes[parts.prefix, parts.suffix] += times
            self.bare = self.bare or ColumnSurvey()
            self.bare._see_value(parts.number, times)

    def of_one_unit(self) -> ColumnSurvey:
        """Counts of the numbers without their unit, where each has the same one; else these counts.

        Few different numbers with a unit, such as doses, are labels, and so are numbers of several units.
        """
        bare = self.bare
        if bare is None or self.figures or len(units_of(self.affixes)) > 1 or len(bare.values) <= FEW_NUMBERS:
            return self
        words = Counter({word: n for word, n in self.words.items() if split_affixes(word) is None})
        hidden = sum(self.words.values()) - bare.figures - sum(words.values()) + words.pop("…", 0)
        ((unit, _),) = self.affixes.most_common(1)
        counts = {name: getattr(bare, name) for name in _OF_NUMBERS}
        numbers = replace(self, **counts, words=words, unit=unit)
        return self if hidden or not (numbers.is_numeric(".") or numbers.is_numeric(",")) else numbers

    @property
    def has_several_units(self) -> bool:
        """Whether most cells are numbers with a unit, which is not the same in all."""
        with_unit = sum(self.affixes.values())
        many = self.bare is not None and len(self.bare.values) > FEW_NUMBERS
        return many and 2 * with_unit > self.rows - self.empty - self.marked

    @property
    def stored(self) -> str | None:
        """``boolean`` where all values are truth values."""
        return "boolean" if self.booleans and self.booleans == self.rows - self.empty - self.marked else None

    def decimal(self, usual: str) -> str:
        """The mark of this column, else of the file."""
        if self.votes["."] != self.votes[","]:
            return "," if self.votes[","] > self.votes["."] else "."
        return usual

    @property
    def groups_alone(self) -> list[str]:
        """Numbers with one mark before three digits, where this may be a decimal mark or one of thousands.

        Nothing where a number shows which it is, or where few have such a mark.
        """
        marked = [text for text in self.values if _ONE_GROUP.fullmatch(text)]
        return marked if not self.votes.total() and len(marked) >= FEW_NUMBERS else []

    @property
    def has_codes(self) -> bool:
        """Whether the numbers are codes: whole ones of one length, of which some begin with a zero."""
        texts = self.values
        return (
            all(map(str.isdecimal, texts))
            and len(set(map(len, texts))) == 1
            and any(len(text) > 1 and text[0] == "0" for text in texts)
        )

    def is_numeric(self, decimal: str) -> bool:
        """Whether the cells that are not missing are numbers, but for few words."""
        numbers = self.commas if decimal == "," else self.points
        if not numbers or self.has_codes or numbers < 2 * (self.figures - numbers):
            return False
        plain = {word: n for word, n in self.words.items() if word not in PERHAPS}
        if not plain:
            return numbers >= sum(self.words.values()) or len(self.values) > FEW_NUMBERS
        words = {word for word in plain if not CENSORED.fullmatch(word)}
        few = not words or (len(words) <= MOST_WORDS and len(self.values) > FEW_NUMBERS)
        others = sum(plain[word] for word in words)
        bounds = sum(plain.values()) - others
        measured = numbers >= 2 * bounds or (2 * numbers >= bounds and len(self.values) > FEW_NUMBERS)
        return few and numbers >= 2 * others and measured
