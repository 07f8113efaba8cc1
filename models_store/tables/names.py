"""Names and units of columns, from their headers."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

UNIT_IN_BRACKETS = re.compile(r"^(.*?)\s*[\[(]\s*([^\])]+?)\s*[\])]\s*$")
_NO_UNIT = re.compile(
    r"[+-]?\d[\d.,]*\s*(-|–|—|/|\.\.+|…|to|bis)\s*[+-]?\d[\d.,]*|(?![ACFJKLMNSTVWdghlmsty])[A-Za-z]"
)
"""Text in brackets that is not a unit: the range of a scale, such as 1-10, and most single letters."""
LONGEST_WITH_UNIT = 500
"""Longest header in which a unit is looked for."""
UNITS = {
    "mmol_l": "mmol/l",
    "umol_l": "µmol/l",
    "mg_dl": "mg/dl",
    "g_dl": "g/dl",
    "g_l": "g/l",
    "kg_m2": "kg/m²",
    "m_s": "m/s",
    "km_h": "km/h",
    "mmhg": "mmHg",
    "um": "µm",
    "pct": "%",
    "percent": "%",
    "degc": "°C",
    "celsius": "°C",
    "hz": "Hz",
    "khz": "kHz",
    "pa": "Pa",
    "kpa": "kPa",
    "hpa": "hPa",
    "mv": "mV",
    "kw": "kW",
    "kwh": "kWh",
    "kj": "kJ",
    "usd": "USD",
    "eur": "EUR",
    **{unit: unit for unit in ("mm", "cm", "m", "km", "nm", "m2", "m3", "g", "kg", "mg", "l", "ml", "mmol")},
    **{unit: unit for unit in ("s", "ms", "min", "days", "years", "mol", "bpm", "deg", "rad", "bar", "ppm")},
}
"""Suffixes of a header that are units; single letters that also count things are left out."""
_LONGEST_FIRST = sorted(UNITS, key=len, reverse=True)


def unit_of(header: str) -> tuple[str, str | None]:
    """Name and unit from a header such as ``height [cm]`` or ``height_cm``."""
    # Its time grows with the square of the brackets.
    bracketed = UNIT_IN_BRACKETS.match(header) if len(header) <= LONGEST_WITH_UNIT else None
    if bracketed and bracketed[1] and not _NO_UNIT.fullmatch(bracketed[2]):
        return bracketed[1], bracketed[2]
    lower = header.lower()
    for suffix in _LONGEST_FIRST:
        if len(header) > len(suffix) + 1 and lower.endswith(f"_{suffix}"):
            return header[: -len(suffix) - 1], UNITS[suffix]
    return header, None


def unique_names(headers: Sequence[str]) -> list[tuple[str, str | None]]:
    """Name and unit of every column; a header is its own name where two columns would share one."""
    pairs = [unit_of(unicodedata.normalize("NFC", header).strip()) for header in headers]
    uses = Counter(name.casefold() for name, _ in pairs)
    uses.update(header.casefold() for header, (name, _) in zip(headers, pairs, strict=True) if header != name)
    return [
        (name if uses[name.casefold()] == 1 else header, unit)
        for header, (name, unit) in zip(headers, pairs, strict=True)
    ]
