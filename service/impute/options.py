"""Options of the command ``anyview-serve impute``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        "anyview-serve impute",
        description="Fills the empty cells of a table: a cell gets the mean of its predictive distribution, "
        "or the most probable label. Further columns hold the bounds of 90 % of that distribution "
        "(.low, .high), or the label's .probability. All else stays as it is.",
    )
    add = command.add_argument
    add(
        "file",
        type=Path,
        help="text table (CSV and its relatives), Parquet, Excel, JSON or JSON lines, also as .gz or .zst; "
        "columns have the headers of the training table, or names as modality.column",
    )
    add(
        "--output",
        type=Path,
        help="file for the filled table, in the format that its name states; default: standard output",
    )
    add(
        "--store", help="folder or address of published models; default: ANYVIEW_STORE, else the shipped ones"
    )
    add("--model", help="default: ANYVIEW_DEFAULT_MODEL, else the only one")
    add("--keep", type=_names, default=[], help="columns to copy that the model has, too: a,b,…")
    add("--gen-mod", type=_names, default=["all"], help="modalities to fill; default: those of the table")
    add("--K", type=_at_least(1), default=100, help="draws for every cell; default: 100")
    add(
        "--m",
        type=_at_least(1),
        help="write m tables of joint draws, for multiple imputation, instead of one of means",
    )
    add("--seed", type=_at_least(0), help="seed of the draws; the same seed gives the same tables")
    return command


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _at_least(lowest: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        number = int(text)
        if number < lowest:
            raise argparse.ArgumentTypeError(f"must be at least {lowest}, got {number}")
        return number

    return whole
