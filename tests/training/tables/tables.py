"""Tables of columns, written and guessed from."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.tables.guess import experiment_for


def write(path: Path, columns: Mapping[str, Any]) -> Path:
    """A CSV with these columns; None is an empty cell."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow(["" if cell is None else cell for cell in row])
    return path


def guessed_text(*paths: Path) -> str:
    """The experiment file on some files."""
    return experiment_for(list(paths), paths[0].with_suffix(".toml"))


def modalities(*paths: Path) -> dict[str, Any]:
    """The modalities of the experiment file on some files."""
    read: dict[str, Any] = tomllib.loads(guessed_text(*paths))["modalities"]
    return read


def names_of_columns(modality: Mapping[str, Any]) -> list[str]:
    """Names of the columns of a vector or of counts."""
    return [column["name"] for column in modality["columns"]]
