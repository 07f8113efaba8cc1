"""``anyview-train init``: what it writes is read, understood and run as it is."""

from __future__ import annotations

import csv
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from PIL import Image
from pyarrow import parquet

from models_store.tables.names import unit_of
from training.config import read_experiment
from training.data import prepare
from training.errors import TrainingError
from training.tables.guess import experiment_for
from training.tables.opening import open_file
from training.tables.survey import look

N = 40
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def guessed(*files: str) -> dict[str, Any]:
    """The modalities, from the written text; it also has to load."""
    text = experiment_for([Path(file) for file in files], Path("x.toml"))
    Path("x.toml").write_text(text)
    prepared = prepare(read_experiment("x.toml")[0])
    document = tomllib.loads(text)
    assert [m.name for m in prepared.modalities] == list(document["modalities"])
    modalities: dict[str, Any] = document["modalities"]
    return modalities


def write_csv(name: str, **columns: Any) -> None:
    parts = [columns[key] for key in columns]
    rows = [",".join("" if cell is None else str(cell) for cell in row) for row in zip(*parts, strict=True)]
    Path(name).write_text("\n".join([",".join(columns), *rows]) + "\n")


def gaps(values: Any, every: int) -> list[Any]:
    return [None if index % every == 0 else value for index, value in enumerate(values)]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("height [cm]", ("height", "cm")),
        ("height (cm)", ("height", "cm")),
        ("height_cm", ("height", "cm")),
        ("serum_iron_umol_l", ("serum_iron", "µmol/l")),
        ("BMI_kg_m2", ("BMI", "kg/m²")),
        ("height", ("height", None)),
        ("group_a", ("group_a", None)),
        ("cm", ("cm", None)),
        ("satisfaction (1-10)", ("satisfaction (1-10)", None)),
        ("pain [0 – 100]", ("pain [0 – 100]", None)),
        ("score (0 to 4)", ("score (0 to 4)", None)),
        ("conc(B)", ("conc(B)", None)),
        ("water (C)", ("water", "C")),
        ("count (10^9/l)", ("count", "10^9/l")),
    ],
)
def test_a_unit_is_read_from_the_header(header: str, expected: tuple[str, str | None]) -> None:
    assert unit_of(header) == expected


def test_numbers_missing_in_the_same_rows_are_one_vector() -> None:
    x = RNG.normal(size=(4, N)).round(3)
    write_csv(
        "x.csv", **{"a [cm]": gaps(x[0], 3), "b_kg": gaps(x[1], 3), "c": gaps(x[2], 4), "d": gaps(x[3], 4)}
    )
    modalities = guessed("x.csv")
    assert list(modalities) == ["a", "c"]
    assert modalities["a"]["kind"] == "vector"
    assert modalities["a"]["columns"] == [
        {"name": "a", "unit": "cm", "field": "a [cm]"},
        {"name": "b", "unit": "kg", "field": "b_kg"},
    ]


def test_numbers_that_begin_with_the_same_word_are_one_vector() -> None:
    x = RNG.normal(size=(4, N)).round(3)
    write_csv("x.csv", blood_iron=x[0], blood_zinc=x[1], urine_iron=x[2], urine_zinc=gaps(x[3], 5))
    assert {name: len(one["columns"]) for name, one in guessed("x.csv").items()} == {"blood": 2, "urine": 2}


def test_text_and_few_whole_numbers_are_categories_and_counts_are_counts() -> None:
    whole = [index % 3 for index in range(N)]
    counts = RNG.poisson(4, N) * (RNG.random(N) < 0.6) + 11 * (np.arange(N) % 7 == 0) + np.arange(N) % 5
    write_csv(
        "x.csv",
        sex=gaps(["f", "m"] * 20, 7),
        stage=[10 * s for s in whole],
        n_visits=counts,
        age=range(30, 70),
    )
    modalities = guessed("x.csv")
    assert modalities["sex"] == {
        "kind": "category",
        "field": "sex",
        "labels": ["f", "m"],
        "network": {"hidden": [64]},
    }
    assert modalities["stage"]["labels"] == ["0", "10", "20"]
    assert modalities["x_counts"]["kind"] == "counts"
    assert modalities["x_counts"]["likelihood"] == "negative_binomial"


@pytest.mark.parametrize(("columns", "share"), [(1, None), (2, 0.25)])
def test_cells_of_a_view_of_several_columns_are_hidden_in_training(columns: int, share: float | None) -> None:
    write_csv(
        "x.csv", **{f"x_{column}": RNG.normal(size=N) for column in range(columns)}, kind=["a", "b"] * 20
    )
    hidden = {one["kind"]: one.get("hidden_cells") for one in guessed("x.csv").values()}
    assert hidden == {"vector": share, "category": None}


def test_no_cells_are_hidden_of_arrays_that_cannot_lack_them() -> None:
    np.savez("x.npz", a=RNG.integers(0, 10**6, (N, 20)), b=RNG.random((N, 20)) < 0.5)
    assert all("hidden_cells" not in one for one in guessed("x.npz").values())


def test_what_tells_nothing_is_left_out_with_the_reason() -> None:
    write_csv(
        "x.csv",
        row=range(N),
        title=[f"n{index}" for index in range(N)],
        site=["here"] * N,
        empty=[None] * N,
        x=RNG.normal(size=N).round(3),
    )
    Path("x.csv").write_text(
        Path("x.csv").read_text() + "".join(f"{i},n{i},here,,1.5\n" for i in range(N, 150))
    )
    text = experiment_for([Path("x.csv")], Path("x.toml"))
    for line in (
        "#   row: numbers the rows",
        "#   title: all its 150 values differ: it identifies the rows",
        "#   site: always 'here'",
        "#   empty: always empty",
    ):
        assert line in text


def test_a_column_that_turns_out_to_be_text_is_no_category_of_half_its_values() -> None:
    values = [*RNG.normal(size=20).round(3), *(["low"] * 20)]
    write_csv("x.csv", mixed=values, x=RNG.normal(size=N).round(3))
    mixed, x = look(open_file(Path("x.csv")))
    assert (mixed.numeric, mixed.present, mixed.rows) == (False, N, N)
    assert mixed.values is not None
    assert (mixed.values["low"], len(mixed.values)) == (20, 21)
    assert (x.numeric, x.values) == (True, None)


def test_several_files_are_joined_by_the_column_that_they_share() -> None:
    write_csv("people.csv", case=[f"k{i}" for i in range(N)], age=RNG.normal(size=N).round(3))
    blood = pa.table({"case": [f"k{i}" for i in range(5, N + 5)], "iron_g_l": RNG.normal(size=N)})
    parquet.write_table(blood, "blood.parquet")
    modalities = guessed("people.csv", "blood.parquet")
    assert modalities["blood"]["columns"] == [{"name": "iron", "unit": "g/l", "field": "iron_g_l"}]
    experiment, _ = read_experiment("x.toml")
    assert experiment.data.key == "case"
    prepared = prepare(experiment)
    assert len(prepared.train) + len(prepared.validation) + len(prepared.test) == N + 5


def test_arrays_become_what_their_shape_and_type_say() -> None:
    np.savez(
        "x.npz",
        picture=RNG.integers(0, 256, (N, 8, 9), np.uint8),
        path=RNG.normal(size=(N, 5, 2)),
        genes=RNG.poisson(0.7, (N, 30)),
        signal=RNG.normal(size=(N, 6)).astype(np.float32),
        label=RNG.integers(0, 3, N),
    )
    kinds = {name: one["kind"] for name, one in guessed("x.npz").items()}
    assert kinds == {
        "picture": "image", "path": "points", "genes": "counts", "signal": "vector", "label": "category"
    }  # fmt: skip


def test_a_folder_of_pictures_with_a_table() -> None:
    Path("shop").mkdir()
    for index in range(N - 5):
        pixels = RNG.integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(f"shop/{index}.png")
    write_csv("shop/items.csv", photo=[f"{i}.png" for i in range(N)], price_eur=RNG.normal(size=N).round(2))
    modalities = guessed("shop")
    assert modalities["photo"]["shape"] == [20, 30, 3]
    prepared = prepare(read_experiment("x.toml")[0])
    masks = [rows.masks["photo"] for rows in (prepared.train, prepared.validation, prepared.test)]
    assert sum(int(mask.sum()) for mask in masks) == N - 5


@pytest.mark.parametrize(
    ("shape", "channels"),
    [((31, 40), None), ((32, 32), [32, 64]), ((60, 64, 3), [32, 64, 64]), ((224, 224), [32, 64, 64, 64, 64])],
)
def test_pictures_that_are_not_small_are_learned_by_convolutions(
    shape: tuple[int, ...], channels: list[int] | None
) -> None:
    """Beside the choice stands the other one, to be taken by moving a `#`."""
    np.savez("x.npz", picture=RNG.integers(0, 256, (N, *shape), np.uint8))
    network = guessed("x.npz")["picture"]["network"]
    text = Path("x.toml").read_text()
    swapped = re.sub(r"^(network.*)\n# (network.*)$", r"# \1\n\2", text, flags=re.MULTILINE)
    other = tomllib.loads(swapped)["modalities"]["picture"]["network"]
    assert network.get("channels") == channels
    assert {network.get("type"), other.get("type")} == {"conv", None}


def test_sounds_get_a_spectrogram_of_their_rate_and_length() -> None:
    for index in range(N):
        soundfile.write(f"{index}.wav", RNG.normal(size=9000), 16000)
    write_csv("x.csv", sound=[f"{i}.wav" for i in range(N)])
    text = experiment_for([Path("x.csv")], Path("x.toml"))
    sound = tomllib.loads(text)["modalities"]["sound"]
    assert sound["kind"] == "audio"
    assert sound["spectrogram"]["rate"] == 16000
    assert sound["spectrogram"]["samples"] >= 9000


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["gone.csv"], r"gone\.csv cannot be read"),
        (["few.csv"], r"few\.csv has 3 rows; at least 10 are needed"),
        (["names.csv"], r"nothing in names\.csv can be learned \(a: always empty\)"),
        (["few.csv", "names.csv"], r"different numbers of rows \(few\.csv 3 and names\.csv 40\) and no key"),
        (["photos.csv"], r"none of the files that 'a' names is in"),
    ],
)
def test_what_cannot_be_guessed_is_refused_in_one_sentence(files: list[str], message: str) -> None:
    write_csv("few.csv", b=[1.5, 2.5, 3.5])
    write_csv("names.csv", a=["NA"] * N)
    write_csv("photos.csv", a=[f"{i}.jpg" for i in range(N)])
    with pytest.raises(TrainingError, match=message) as refusal:
        experiment_for([Path(file) for file in files], Path("x.toml"))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "header",
    [
        'd\n[modalities.evil]\nkind = "vector"\nnetwork = { type = "custom", encoder = "evil:go" } #',
        "weight\n(kg)",
        'quotes " and \\ and \'\'\' and """',
        "control \x01 \x7f \x85 \u2028 \r here",
        "# no comment = 1",
    ],
)
def test_a_header_stays_text_in_the_experiment(header: str) -> None:
    columns: dict[str, Any] = {"a": RNG.normal(size=N).round(3), "b": RNG.normal(size=N).round(3)}
    same = {f"{header} same": ["one"] * N}
    columns |= {header: RNG.normal(size=N).round(3), **same}
    with Path("x.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([list(columns), *zip(*columns.values(), strict=True)])
    modalities = guessed("x.csv")
    assert list(modalities) == ["x"]
    fields = [column.get("field", column["name"]) for column in modalities["x"]["columns"]]
    assert fields == ["a", "b", header]
    assert "network" not in modalities["x"] or "type" not in modalities["x"]["network"]
    assert len(prepare(read_experiment("x.toml")[0]).train)


@pytest.mark.parametrize(
    ("highest", "expected"), [(1, 1.0), (3, 3.0), (16, 16.0), (200, 255.0), (255, 255.0)]
)
def test_the_range_of_bytes_is_that_of_their_values(tmp_path: Path, highest: int, expected: float) -> None:
    mask = np.random.default_rng(0).integers(0, highest + 1, (40, 12, 12)).astype(np.uint8)
    mask[0] = highest
    np.savez(tmp_path / "masks.npz", mask=mask, y=np.arange(40) % 4)
    text = experiment_for([tmp_path / "masks.npz"], tmp_path / "e.toml")
    assert f"range = [0.0, {expected}]" in text


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.str_])
def test_labels_of_shape_n_1_are_a_category(tmp_path: Path, dtype: Any) -> None:
    x = np.random.default_rng(0).normal(size=(120, 5)).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=x, y=(np.arange(120) % 10)[:, None].astype(dtype))
    text = experiment_for([tmp_path / "a.npz"], tmp_path / "e.toml")
    modality = tomllib.loads(text)["modalities"]["y"]
    assert (modality["kind"], modality["labels"]) == ("category", [str(label) for label in range(10)])
