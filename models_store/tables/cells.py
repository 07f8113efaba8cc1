"""Numbers and missing values as people write them into cells."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Collection, Sequence

import numpy as np

from models_store.arrays import Array
from models_store.tables.dialect import DecimalMark

EMPTY = frozenset(
    [
        "<NA>",
        "#N/A",
        "#NA",
        "-1.#IND",
        "1.#IND",
        "1.#QNAN",
        "-1.#QNAN",
        "#DIV/0!",
        "#NULL!",
        "#VALUE!",
        "#REF!",
        "#NUM!",
        "#NAME?",
        "#NV",
        "#WERT!",
        "#BEZUG!",
        "#ZAHL!",
        "#VALEUR!",
        "#N/D",
        "#NOMBRE!",
        "#VALOR!",
        "#¡VALOR!",
        "#VALORE!",
        "\\N",
    ]
) | {"", "#N/A N/A"}
"""Cells that never are a value: blanks, and what programs and databases write for a missing one."""
PERHAPS = frozenset(
    [
        "NA",
        "N/A",
        "n/a",
        "na",
        "NaN",
        "nan",
        "-NaN",
        "-nan",
        "NULL",
        "null",
        "None",
        "none",
        "?",
        ".",
        "-",
        "--",
        "n.a.",
        "N.A.",
        "nil",
    ]
)
"""Words for a missing value that may also be labels."""

_ABSENT = frozenset(
    [
        *("missing", "unknown", "not available", "not known", "not done", "not measured", "no data"),
        *(
            "refused",
            "don't know",
            "don’t know",
            "dont know",
            "do not know",
            "not applicable",
            "nd",
            "n.d",
            "n/d",
            "fehlt",
            "unbekannt",
            "k.a",
            "k. a",
            "keine angabe",
            "manquant",
        ),
        *("inconnu", "non disponible", "desconocido", "faltante", "sin datos", "sconosciuto", "mancante"),
        *("desconhecido", "onbekend", "saknas", "okänd", "brak", "нет данных", "неизвестно", "未知", "缺失"),
    ]
)
"""Words for a missing value, in lower case, that may also be labels but are no units and no names."""

# No two parts may match the same digits: a long run of them would take the square of its length.
_PLAIN = {
    ".": re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+|[dD][+-]\d+)?", re.ASCII),
    ",": re.compile(r"[+-]?(\d+(,\d*)?|,\d+)([eE][+-]?\d+|[dD][+-]\d+)?", re.ASCII),
}
_INDIAN = r",\d\d(?:,\d\d)*,\d{3}"
"""Groups of two digits before the last three, as in 12,34,567."""
_BLANKS = r"(?:[ \u00a0\u202f]\d{3})+"
_GROUPED = {
    ".": re.compile(
        rf"[+-]?[1-9]\d{{0,2}}(?:(?:,\d{{3}})+|{_INDIAN}|(?:'\d{{3}})+|{_BLANKS})(\.\d+)?", re.ASCII
    ),
    ",": re.compile(rf"[+-]?[1-9]\d{{0,2}}(?:(?:\.\d{{3}})+|(?:'\d{{3}})+|{_BLANKS})(,\d+)?", re.ASCII),
}
_FORTRAN = str.maketrans("dD", "eE")
_GROUPS = re.compile(r"[' \u00a0\u202f]")
_THREES = {mark: re.compile(rf"[+-]?[1-9]\d{{0,2}}(\{mark}\d{{3}})+", re.ASCII) for mark in ".,"}
CENSORED = re.compile(r"[<>≤≥]=?\s*[+-]?\d+([.,]\d+)?|[+-]?inf(inity)?", re.IGNORECASE)
"""A bound or an infinity in the place of a number, such as ``<0.5``."""


def number(cell: str, decimal: str = ".") -> float | None:
    """The number that a cell holds; None where it holds none.

    A percent sign is dropped; thousands may be set off by a comma (a dot where the comma is the decimal
    mark), a blank or an apostrophe, and by commas as in India. Fortran writes an exponent as ``D+02``.
    """
    text = cell.strip().removesuffix("%").rstrip()
    text = text if text.isascii() else _ascii_digits(text)
    if _PLAIN[decimal].fullmatch(text):
        text = text.translate(_FORTRAN) if "d" in text or "D" in text else text
        value = float(text.replace(",", ".") if decimal == "," else text)
    elif _GROUPED[decimal].fullmatch(text):
        text = _GROUPS.sub("", text)
        value = float(text.replace(".", "").replace(",", ".") if decimal == "," else text.replace(",", ""))
    else:
        return None
    return value if math.isfinite(value) else None


def _ascii_digits(text: str) -> str:
    """A text with the digits of other scripts and widths as ASCII, and a hyphen for a minus sign."""
    digits = {ord(sign): f"{unicodedata.digit(sign)}" for sign in text if sign.isdecimal()}
    return text.translate(digits | {ord("−"): "-", ord("٫"): ".", ord("٬"): ","})


def decimal_vote(cell: str) -> DecimalMark | None:
    """The decimal mark that a cell can only have; None for whole numbers, groups of three and text."""
    text = cell.strip().removesuffix("%").rstrip()
    if "." not in text and "," not in text:
        return None
    marks: tuple[tuple[DecimalMark, str], ...] = ((".", ","), (",", "."))
    for mark, other in marks:
        readable = number(text, mark) is not None and mark in text
        if readable and (other in text or not _THREES[mark].fullmatch(text)):
            return mark
    return None


def thousands_mark(cell: str, decimal: str) -> str | None:
    """The mark between groups of three digits of a number; empty where it has four digits and no mark.

    None where the cell does not show it.
    """
    text = cell.strip().lstrip("+-−").removesuffix("%").rstrip().partition(decimal)[0]
    if text.isdecimal():
        return "" if len(text) > 3 else None
    match = re.fullmatch(r"\d{1,3}([.,' \u00a0\u202f])\d{3}(?:\1\d{3})*", text, re.ASCII)
    return match[1] if match and match[1] != decimal else None


def written(value: float, decimal: str = ".", percent: bool = False, thousands: str = "") -> str:
    """A number as a cell with seven digits."""
    text = f"{value:.7g}"
    if thousands and "e" not in text:
        whole, point, rest = text.partition(".")
        text = f"{int(whole):,}".replace(",", "\0") + point + rest if whole.lstrip("-") != "0" else text
    text = text.replace(".", ",") if decimal == "," else text
    return text.replace("\0", thousands) + ("%" if percent else "")


def numbers(cells: Sequence[str | None], decimal: str, missing: Collection[str]) -> Array:
    """Cells of a column of numbers as float64, NaN where missing: (n,).

    Raises:
        ValueError: A cell is neither a number nor missing; the text begins with its position.
    """
    censored = any(CENSORED.fullmatch(mark) for mark in missing)
    if decimal == "." and not any(number(mark) is not None for mark in missing):
        try:
            quick = np.array([cell or "nan" for cell in cells], dtype=float)
        except ValueError:
            pass
        else:
            if np.isfinite(quick).sum() + cells.count(None) + cells.count("") == len(cells):
                return quick
    values = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        if is_missing(cell, missing):
            continue
        value = number(cell or "", decimal)
        if value is None and not (censored and CENSORED.fullmatch((cell or "").strip())):
            raise ValueError(f"{row}: '{cell}' is no number")
        values[row] = np.nan if value is None else value
    return values


def is_absent(word: str) -> bool:
    """Whether a word says that a value is unknown, in any case and with a full stop or without."""
    return word.casefold().rstrip(".") in _ABSENT


def is_missing(cell: str | None, missing: Collection[str]) -> bool:
    """Whether a cell is empty or holds a mark for a missing value."""
    return cell is None or (text := cell.strip()) in EMPTY or text in missing
