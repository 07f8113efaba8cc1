"""``anyview-serve impute`` of a data set: many Parquet files in, as many out, from any number of workers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models_store.errors import ModelsStoreError
from models_store.stores import open_named, store_at
from service import impute
from service.errors import Refusal
from service.impute.addresses import locate
from service.impute.dataset import STATE
from service.impute.files import seed_of
from service.models.loading import opened
from tests.service.data_sets import ROWS, files, fill, shard, three_files
from tests.service.kinds import publish


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    publish(root)
    return root


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return three_files(tmp_path / "rows")


def refusal(store: Path, source: object, output: object, *options: str) -> str:
    with pytest.raises((Refusal, ModelsStoreError)) as refused:
        fill(store, source, output, *options)
    return str(refused.value)


def cells(path: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(path, partitioning=None).to_pylist())


def test_each_file_has_a_filled_copy_of_its_name(store: Path, rows: Path, tmp_path: Path) -> None:
    fill(store, rows, tmp_path / "filled", "--seed", "5")
    assert [*files(tmp_path / "filled")] == [STATE, "a.parquet", "b.parquet", "day=2/c.parquet"]
    before, after = cells(rows / "b.parquet"), cells(tmp_path / "filled" / "b.parquet")
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        assert {name: new[name] for name in old if old[name] is not None} == {
            name: value for name, value in old.items() if value is not None
        }
        if new["row.observed"] == "true":
            assert None not in new.values()


def test_a_file_is_filled_as_it_is_alone_with_the_seed_of_its_name(
    store: Path, rows: Path, tmp_path: Path
) -> None:
    fill(store, rows, tmp_path / "filled", "--seed", "5")
    alone = tmp_path / "alone.parquet"
    seed = seed_of(5, "b.parquet")
    impute.fill(opened(open_named(store_at(store), "kinds")), rows / "b.parquet", alone, seed=seed, draws=4)
    filled = cells(tmp_path / "filled" / "b.parquet")
    for row in filled:
        row.pop("row.observed")
    expected = cells(alone)
    for row in expected:
        row.pop("row.observed", None)
    assert [*map(repr, filled)] == [*map(repr, expected)]


def test_files_of_equal_rows_get_different_draws(store: Path, tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet"):
        shard(tmp_path / "rows" / name)
    fill(store, tmp_path / "rows", tmp_path / "filled", "--seed", "5")
    one, other = (cells(tmp_path / "filled" / name) for name in ("a.parquet", "b.parquet"))
    assert one != other


@pytest.mark.slow
def test_two_processes_write_the_same_bytes_as_one(store: Path, rows: Path, tmp_path: Path) -> None:
    fill(store, rows, tmp_path / "one", "--seed", "5")
    fill(store, rows, tmp_path / "two", "--seed", "5", "--workers", "2")
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_without_ray_its_engine_is_refused_with_the_remedy(
    store: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    text = refusal(store, rows, tmp_path / "filled", "--engine", "ray")
    assert "--engine ray needs Ray: pip install 'anyview[ray]'" in text


def test_a_later_run_fills_what_is_missing(
    store: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "filled"
    fill(store, rows, output, "--seed", "5")
    complete = files(output)
    kept = (output / "a.parquet").stat().st_ino
    (output / "b.parquet").unlink()
    (output / ".b.parquet.part").write_bytes(b"half")
    (output / ".anyview-x").mkdir()
    (output / ".anyview-x" / "rows.csv").touch()
    capsys.readouterr()
    fill(store, rows, output)  # the seed is that of the first run
    assert "2 of 3 files were filled by an earlier run" in capsys.readouterr().err
    assert files(output) == complete
    assert (output / "a.parquet").stat().st_ino == kept


def test_further_files_do_not_change_those_that_were_filled(store: Path, rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "filled"
    fill(store, rows, output, "--seed", "5")
    before = files(output)
    shard(rows / "a0.parquet", seed=7)
    fill(store, rows, output)
    after = files(output)
    assert {name: after[name] for name in before if name != STATE} == {
        name: before[name] for name in before if name != STATE
    }
    fill(store, rows, tmp_path / "again", "--seed", "5")
    assert files(tmp_path / "again") == after


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--seed", "6"], "was begun with seed = 5, and now it is 6; choose another folder"),
        (["--keep", "mass"], 'was begun with keep = [], and now it is ["mass"]'),
        (["--m", "2"], "was begun with m = null, and now it is 2"),
    ],
)
def test_an_output_of_other_options_is_refused(
    store: Path, rows: Path, tmp_path: Path, options: list[str], sentence: str
) -> None:
    fill(store, rows, tmp_path / "filled", "--seed", "5")
    before = files(tmp_path / "filled")
    assert sentence in refusal(store, rows, tmp_path / "filled", *options)
    assert files(tmp_path / "filled") == before


def test_a_file_that_changed_since_it_was_filled_is_refused(store: Path, rows: Path, tmp_path: Path) -> None:
    fill(store, rows, tmp_path / "filled")
    size = (rows / "b.parquet").stat().st_size
    shard(rows / "b.parquet", rows=90)
    text = refusal(store, rows, tmp_path / "filled")
    assert f"b.parquet has {(rows / 'b.parquet').stat().st_size} bytes, and had {size} when" in text


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        ({"mass": pa.array(["1"] * ROWS)}, "'mass' (StringType()) in the place of 'mass' (DOUBLE)"),
        ({"further": pa.array([1.0] * ROWS)}, "'further' (DOUBLE) in the place of no further column"),
    ],
)
def test_files_of_different_schema_are_refused_before_any_is_filled(
    store: Path, rows: Path, tmp_path: Path, column: dict[str, Any], sentence: str
) -> None:
    shard(rows / "z.parquet", **column)
    text = refusal(store, rows, tmp_path / "filled")
    assert f"{rows / 'z.parquet'} has other columns than a.parquet: {sentence}" in text
    assert not (tmp_path / "filled").exists()


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        ({"mass": [0.0] * 30 + [float("inf")] + [0.0] * 9}, "row 30 (counted from 0), column 'mass': 'inf'"),
        ({"animal": ["cat"] * 30 + ["elk"] + ["cat"] * 9}, "row 30 (counted from 0), column 'animal'"),
    ],
)
def test_an_error_names_file_and_row_and_leaves_complete_files_alone(
    store: Path, rows: Path, tmp_path: Path, column: dict[str, Any], sentence: str
) -> None:
    shard(rows / "b.parquet", **{name: pa.array(values) for name, values in column.items()})
    text = refusal(store, rows, tmp_path / "filled")
    assert text.startswith(f"{rows / 'b.parquet'}: {sentence}")
    assert [*files(tmp_path / "filled")] == [STATE, "a.parquet"]


def test_files_without_rows_or_observations_have_the_columns_of_the_others(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = tmp_path / "rows", tmp_path / "filled"
    shard(folder / "a.parquet", height=pa.array([1.5] * ROWS))
    shard(folder / "empty.parquet", rows=0)
    nothing = {name: pa.array([None] * 3, pa.float64()) for name in ("height", "mass")}
    shard(folder / "nothing.parquet", rows=3, animal=pa.array([None] * 3, pa.string()), **nothing)
    fill(store, folder, output)
    schemas = [pq.read_schema(output / f"{name}.parquet") for name in ("a", "empty", "nothing")]
    assert schemas[0] == schemas[1] == schemas[2]
    assert len(cells(output / "empty.parquet")) == 0
    assert {row["row.observed"] for row in cells(output / "nothing.parquet")} == {"false"}
    assert "3 of 43 rows have nothing observed" in capsys.readouterr().err


def test_draws_are_a_data_set_each(store: Path, rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "filled"
    fill(store, rows, output, "--seed", "5", "--m", "2")
    names = ["a.parquet", "b.parquet", "day=2/c.parquet"]
    assert [*files(output)] == [*(f"1/{name}" for name in names), *(f"2/{name}" for name in names), STATE]
    one, two = (cells(output / number / "a.parquet") for number in "12")
    before = cells(rows / "a.parquet")
    assert one != two
    for old, new in zip(before, one, strict=True):
        assert all(new[name] == old[name] for name in old if old[name] is not None)
    (output / "2" / "a.parquet").unlink()
    again = files(output)
    fill(store, rows, output, "--m", "2")
    assert {**files(output), **again} == files(output)


def names_of(pattern: Callable[[Path], object], rows: Path, store: Path, output: Path) -> Sequence[str]:
    fill(store, pattern(rows), output)
    return [name for name in files(output) if name != STATE]


def test_a_pattern_chooses_files(store: Path, rows: Path, tmp_path: Path) -> None:
    assert names_of(lambda root: root / "[ab].parquet", rows, store, tmp_path / "1") == [
        "a.parquet",
        "b.parquet",
    ]
    assert names_of(lambda root: root / "day=*" / "*", rows, store, tmp_path / "2") == ["day=2/c.parquet"]
    assert names_of(lambda root: f"file://{root}/**", rows, store, tmp_path / "3") == [
        "a.parquet",
        "b.parquet",
        "day=2/c.parquet",
    ]


def test_addresses_of_a_file_system_of_fsspec_are_read_and_written(
    store: Path, rows: Path, tmp_path: Path
) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(rows), "/bucket/rows", recursive=True)
    try:
        fill(store, "memory://bucket/rows", "memory://bucket/filled", "--seed", "5")
        fill(store, rows, tmp_path / "filled", "--seed", "5")
        place = locate("memory://bucket/filled")
        remote = {
            path.removeprefix(f"{place.path}/"): sha256(memory.cat_file(path)).hexdigest()
            for path in memory.find(place.path)
        }
        assert remote == files(tmp_path / "filled")
        memory.rm_file(f"{place.path}/b.parquet")
        fill(store, "memory://bucket/rows", "memory://bucket/filled")
        assert memory.exists(f"{place.path}/b.parquet")
    finally:
        memory.rm("/bucket", recursive=True)


def test_the_output_is_one_data_set_for_other_programs(store: Path, rows: Path, tmp_path: Path) -> None:
    fill(store, rows, tmp_path / "filled")
    pattern = str(tmp_path / "filled" / "**" / "*.parquet")
    ((count,),) = duckdb.execute("SELECT count(*) FROM read_parquet(?)", [pattern]).fetchall()
    assert count == pq.ParquetDataset(tmp_path / "filled", partitioning=None).read().num_rows == 3 * ROWS
    state = json.loads((tmp_path / "filled" / STATE).read_text())
    assert (state["model"], state["version"], [*state["files"]]) == (
        "kinds",
        1,
        ["a.parquet", "b.parquet", "day=2/c.parquet"],
    )


def test_what_is_no_data_set_or_no_place_for_one_is_refused(store: Path, rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "filled"
    (tmp_path / "nothing").mkdir()
    assert "has no Parquet files" in refusal(store, tmp_path / "nothing", output)
    assert "has no Parquet files" in refusal(store, rows / "*.csv", output)
    assert "cannot be opened" in refusal(store, "nowhere://rows", output)
    assert "lies in the data set" in refusal(store, rows, rows / "filled")
    assert "has files of others; choose an empty folder" in refusal(store, tmp_path / "rows", store)
    assert "is a file; name a folder" in refusal(store, rows, shard(tmp_path / "x.parquet"))
    (rows / "d.parquet").write_bytes(b"PAR1 damaged")
    assert f"{rows / 'd.parquet'} cannot be read as Parquet" in refusal(store, rows, output)
    assert not output.exists()


def test_the_command_fills_a_data_set(
    store: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(rows), "--store", str(store), "--seed", "5", "--K", "4"]
    impute.main([*command, "--output", str(tmp_path / "filled")])
    assert "copied as they are, since the model does not have them: 'key'" in capsys.readouterr().err
    fill(store, rows, tmp_path / "expected", "--seed", "5")
    assert files(tmp_path / "filled") == files(tmp_path / "expected")
    shard(rows / "z.parquet", mass=pa.array(["1"] * ROWS))
    with pytest.raises(
        SystemExit, match=r"^anyview-serve impute: .*z.parquet has other columns than a.parquet"
    ):
        impute.main([*command, "--output", str(tmp_path / "filled")])
    with pytest.raises(SystemExit):
        impute.main(command)
    assert "is a data set: name a folder for its filled files with --output" in capsys.readouterr().err
