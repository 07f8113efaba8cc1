"""Tables that are learned and given back: models with graphs drawn by hand, and the law of the round trip."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from models_store.folder import open_bundle
from models_store.tables.matching import MatchedTable, read_matched
from models_store.tables.sources import ABSENT
from service import impute
from service.app import create_app
from service.formats.tables import OBSERVED
from service.settings import Settings
from tests.service.kinds import publish
from training import data
from training.config import read_experiment
from training.tables.guess import experiment_for


def publish_for(folder: Path, files: Sequence[Path]) -> Path:
    """A store with a model of these files: what ``init`` guesses, with graphs that are drawn by hand."""
    text = experiment_for(files, folder / "x.toml")
    (folder / "x.toml").write_text(text, encoding="utf-8")
    prepared = data.prepare(read_experiment(str(folder / "x.toml"))[0])
    publish(folder / "store", prepared.modalities, tables=prepared.tables)
    return folder / "store"


def imputed(store: Path, file: Path, output: Path, *options: str) -> Path:
    """The file that ``anyview-serve impute`` writes."""
    command = [str(file), "--store", str(store), "--output", str(output), "--seed", "1", "--K", "4"]
    impute.main([*command, *options])
    return output


def posted(client: TestClient, content: bytes) -> bytes:
    """The answer of ``POST /generate`` to a table."""
    headers = {"content-type": "text/csv", "accept": "text/csv"}
    response = client.post("/generate?seed=1&K=4", content=content, headers=headers)
    assert response.status_code == 200, response.text
    return response.content


def check_law(store: Path, file: Path) -> None:
    """The law: a table comes back from the command and from the service as it was, its gaps filled.

    The same dialect, headers, order of columns and rows; every cell that was given is unchanged, every gap
    of a column of the model is filled, and columns that the model does not have are copied.
    """
    output = imputed(store, file, file.with_name(f"filled-{file.name}"))
    manifest = open_bundle(next((store / "kinds").iterdir())).manifest
    before, after = read_matched(manifest, file), read_matched(manifest, output)
    check_same_dialect(before, after)
    check_cells(before, after)
    if before.table.dialect.format == "csv" and before.table.dialect.compression == "none":
        with TestClient(create_app(Settings(store=store))) as client:
            assert posted(client, file.read_bytes()) == output.read_bytes()


def check_same_dialect(before: MatchedTable, after: MatchedTable) -> None:
    """How a table is written is as before, but for the columns that follow."""
    kept, new = before.table.dialect, after.table.dialect
    assert new.headers[: len(kept.headers)] == kept.headers
    described = {"columns", "units", "descriptions", *(["preamble", "groups"] if kept.groups else [])}
    assert new.model_dump(exclude=described) == kept.model_dump(exclude=described)
    assert new.groups[: len(kept.groups)] == kept.groups
    assert new.units[: len(kept.units)] == kept.units
    below = [line[: len(kept.headers)] for line in new.descriptions]
    assert tuple(below) == kept.descriptions
    for at in before.places:
        assert new.columns[at].decimal == kept.columns[at].decimal
        assert new.columns[at].missing == kept.columns[at].missing
    assert {at: place for at, place in after.places.items() if at < len(kept.headers)} == before.places


def check_cells(before: MatchedTable, after: MatchedTable) -> None:
    """Given cells are as they were, and gaps of rows with anything observed are filled."""
    before, after = before.whole(), after.whole()
    assert len(after.rows) == len(before.rows)
    observed = np.any([present for _, present in before.observed().values()], axis=0)
    marks = [row[after.headers.index(OBSERVED)] for row in after.rows] if OBSERVED in after.headers else []
    assert [mark in ("true", True) for mark in marks] == ([] if observed.all() else observed.tolist())
    for at in range(len(before.headers)):
        gaps = before.missing(at) if at in before.places else [False] * len(before.rows)
        filled = after.missing(at) if at in before.places else gaps
        for row, gap in enumerate(gaps):
            if gap and observed[row]:
                assert not filled[row], (before.headers[at], row)
            else:
                given, new = before.rows[row][at], after.rows[row][at]
                assert new == given or (new is None and given is ABSENT), (before.headers[at], row)


def csv_text(
    columns: dict[str, list[str]],
    delimiter: str = ",",
    line_end: str = "\n",
    titles: Sequence[str] = (),
    quoting: int = csv.QUOTE_MINIMAL,
) -> str:
    """The text of a table; a line of titles ends like every other line."""
    stream = io.StringIO(newline="")
    stream.writelines(title + line_end for title in titles)
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=line_end, quoting=quoting)  # type: ignore[arg-type]
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return stream.getvalue()


def cells(rng: np.random.Generator, rows: int, decimal: str = ".", digits: int = 2) -> list[str]:
    """Numbers around 100."""
    return [f"{value:.{digits}f}".replace(".", decimal) for value in rng.normal(100, 10, rows)]


def with_gaps(
    rng: np.random.Generator, column: Sequence[str], mark: str = "", share: float = 0.2
) -> list[str]:
    """A column of which some cells are a mark for a missing value."""
    return [mark if gap else cell for cell, gap in zip(column, rng.random(len(column)) < share, strict=True)]


needs_shared = pytest.mark.skipif(
    not (data.HOME / "pbc").is_dir(), reason="the tables in ../shared/data are not here"
)
