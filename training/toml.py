"""Parses TOML whose values can all be shown in a message: of bounded depth, with integers of 64 bits."""

from __future__ import annotations

import tomllib
from typing import Any

from training.errors import ExperimentError

MAX_DEPTH = 32
"""Depth of tables and arrays in an experiment file."""


def parse(text: str) -> dict[str, Any]:
    """Parses a document.

    Raises:
        ExperimentError: It is not TOML, nested too deeply, or has an integer that TOML does not allow.
    """
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise ExperimentError(f"tables and arrays must be nested at most {MAX_DEPTH} deep") from None
    except tomllib.TOMLDecodeError as error:
        raise ExperimentError(str(error)) from None
    except ValueError:
        raise ExperimentError("an integer has more digits than the 19 that TOML allows") from None
    _check(document)
    return document


def _check(document: dict[str, Any]) -> None:
    values: list[tuple[Any, int]] = [(document, 0)]
    while values:
        value, depth = values.pop()
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            bits = value.bit_length()
            raise ExperimentError(
                f"an integer must be within 64 bits, as TOML has it, got one of {bits} bits"
            )
        if isinstance(value, dict | list):
            if depth == MAX_DEPTH:
                raise ExperimentError(f"tables and arrays must be nested at most {MAX_DEPTH} deep")
            values += [(one, depth + 1) for one in (value.values() if isinstance(value, dict) else value)]
