"""Options of the command ``anyview-serve impute``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class FillOptions:
    """Options that decide the numbers of a filled table, beside the model and the seed.

    Arguments:
        keep: Headers of columns to copy that the model has, too.
        gen_mod: Modalities to fill, or ``all``.
        summary_draws: Draws for every cell.
        m: Number of tables of joint draws; None: one table of means.
    """

    keep: tuple[str, ...] = ()
    gen_mod: tuple[str, ...] = ("all",)
    summary_draws: int = 100
    m: int | None = None

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> FillOptions:
        return cls(tuple(arguments.keep), tuple(arguments.gen_mod), arguments.K, arguments.m)


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
        help="text table (CSV and its relatives), Parquet, Excel, JSON or JSON lines, also as .gz or .zst; "
        "columns have the headers of the training table, or names as modality.column. Or a data set of "
        "Parquet files: a folder, a pattern such as 'rows/*.parquet', or an address such as s3://bucket/rows",
    )
    add(
        "--output",
        help="file for the filled table, in the format that its name states; default: standard output. Of a "
        "data set: folder or address for its filled files",
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
    add(
        "--workers",
        type=_at_least(1),
        help="files of a data set that are filled at a time; default: 1, with Ray its CPUs",
    )
    add(
        "--engine",
        choices=["local", "ray"],
        default="local",
        help="where the files of a data set are filled: processes of this machine, or actors of Ray, at "
        "RAY_ADDRESS or on this machine; default: local",
    )
    return command


def draw_numbers(m: int | None) -> list[str]:
    """Numbers of m draws as the names of files have them, equally long; none without draws."""
    return [f"{number:0{len(str(m))}}" for number in range(1, (m or 0) + 1)]


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _at_least(lowest: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        number = int(text)
        if number < lowest:
            raise argparse.ArgumentTypeError(f"must be at least {lowest}, got {number}")
        return number

    return whole
