"""A manifest that would keep a service busy is refused by its size, or by the field that is too long."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from models_store.errors import BundleRefused, ManifestError
from models_store.folder import publish
from models_store.limits import (
    LONGEST_DESCRIPTION,
    LONGEST_TEXT,
    MAX_MANIFEST_BYTES,
    MOST_MODALITIES,
    MOST_OBJECTS,
    MOST_VALUES,
)
from models_store.manifest import INDENTED_BYTES, Manifest
from models_store.remote import ObjectStore
from tests.models_store.bundles import FILES, MODEL
from tests.models_store.examples import category, manifest, mixed_table
from tests.models_store.test_manifest import COLUMN, IMAGE, LABEL, TABLE, VECTOR, refusal, written

LONG = "a" * (LONGEST_TEXT + 1)
SINGLE = {**VECTOR, "shape": [1]}
TOO_LONG = f"at most {LONGEST_TEXT} characters, got {LONGEST_TEXT + 1}"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (written({**LABEL, "labels": ["a", LONG]}), "modalities.0.labels.1"),
        (written({**LABEL, "field": LONG}), "modalities.0.field"),
        (written({**SINGLE, "columns": [{**COLUMN, "name": LONG}]}), "modalities.0.columns.0.name"),
        (written({**SINGLE, "columns": [{**COLUMN, "unit": LONG}]}), "modalities.0.columns.0.unit"),
        (written(LABEL, tables=[{**TABLE, "missing": [LONG]}]), "tables.0.missing.0"),
        (written(LABEL, tables=[{**TABLE, "columns": [{"header": LONG}]}]), "tables.0.columns.0.header"),
        (written(files={LONG: {"sha256": "0" * 64, "bytes": 1}}), f"files.{LONG}"[:200]),
    ],
)  # fmt: skip
def test_a_text_that_is_too_long_is_refused_by_its_field(text: bytes, place: str) -> None:
    assert refusal(text).startswith(f"manifest.json: {place}")
    assert TOO_LONG in refusal(text)
    assert len(refusal(text)) < 400


@pytest.mark.parametrize("field", ["description", "licence"])
def test_a_description_has_a_length(field: str) -> None:
    Manifest.from_json(written(**{field: "a" * LONGEST_DESCRIPTION}))
    sentence = refusal(written(**{field: "a" * (LONGEST_DESCRIPTION + 1)}))
    assert f"{field}: " in sentence
    assert sentence.endswith(f"at most {LONGEST_DESCRIPTION} characters, got {LONGEST_DESCRIPTION + 1}")


def test_a_text_of_the_greatest_length_is_read() -> None:
    read = Manifest.from_json(written({**LABEL, "labels": ["a", "b" * LONGEST_TEXT]}))
    assert read.modalities[0].label_sets == ((2, LONGEST_TEXT),)
    assert read.modalities[0].characters == 1 + LONGEST_TEXT


def test_there_are_so_many_modalities() -> None:
    many = [{**IMAGE, "name": f"m{number}"} for number in range(MOST_MODALITIES + 1)]
    Manifest.from_json(written(*many[:-1]))
    message = f"modalities: .* at most {MOST_MODALITIES} items after validation, not {MOST_MODALITIES + 1}$"
    assert re.search(message, refusal(written(*many)))


@pytest.mark.parametrize(
    ("trained", "sizes"),
    [
        ({"x": "a" * MAX_MANIFEST_BYTES}, f"bytes, and may have {MAX_MANIFEST_BYTES}"),
        ({"x": [[1]] * MOST_OBJECTS}, f"objects and lists, and may have {MOST_OBJECTS}"),
        ({"x": [{}] * MOST_OBJECTS}, f"objects and lists, and may have {MOST_OBJECTS}"),
        ({"x": [1] * (MOST_VALUES + 1)}, f"values, and may have {MOST_VALUES}"),
    ],
    ids=["bytes", "lists", "objects", "values"],
)
def test_a_manifest_is_refused_by_its_size_before_it_is_parsed(
    trained: Any, sizes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = written(trained=trained)
    monkeypatch.setattr(Manifest, "model_validate_json", None)
    with pytest.raises(ManifestError, match=f"^manifest.json has [0-9]+ {sizes}$"):
        Manifest.from_json(text)


def test_tables_of_many_columns_and_labels_are_read_as_they_were_written() -> None:
    columns = [{"name": f"a column with a long name {number}", "unit": "mg/dl"} for number in range(10_000)]
    headers = [{"header": f"the header of the column {number} [mg/dl]"} for number in range(10_000)]
    wide = {**VECTOR, "shape": [10_000], "columns": columns}
    labels = [f"label {number}" for number in range(50_000)]
    original = Manifest.from_json(
        written(wide, {**LABEL, "labels": labels}, tables=[{**TABLE, "modalities": [], "columns": headers}])
    )
    assert Manifest.from_json(original.to_json()) == original


def test_a_long_manifest_is_not_indented() -> None:
    trained = {"x": list(range(INDENTED_BYTES // 10))}
    text = manifest(trained=trained).to_json()
    assert text.count(b"\n") == 1
    assert Manifest.from_json(text).trained == trained
    assert manifest().to_json().count(b"\n") > 10


def test_what_a_service_would_refuse_is_not_published(tmp_path: Path) -> None:
    metrics = {"gains": dict.fromkeys(map(str, range(MOST_VALUES)), 1.0)}
    with pytest.raises(BundleRefused, match=r"^digits/1: manifest\.json has [0-9]+ .*, and may have [0-9]+$"):
        publish(tmp_path / "store", MODEL.model_copy(update={"metrics": metrics}), FILES)
    assert not (tmp_path / "store").exists()


def test_a_huge_manifest_in_an_object_store_is_refused(tmp_path: Path) -> None:
    place = ObjectStore(f"file://{publish(tmp_path / 'store', MODEL, FILES).parents[1]}")
    with (tmp_path / "store" / "digits" / "1" / "manifest.json").open("ab") as file:
        file.truncate(100 * MAX_MANIFEST_BYTES)
    with pytest.raises(BundleRefused, match=f"digits/1: .* has {MAX_MANIFEST_BYTES + 1} bytes, and may have"):
        place.fetch("digits", 1)


def test_labels_of_all_columns_count() -> None:
    table = mixed_table()
    labelled = [column.labels for column in table.columns or () if column.labels]
    assert table.label_sets == tuple((len(labels), max(map(len, labels))) for labels in labelled)
    texts = [text for column in table.columns or () for text in (column.name, column.unit or "")]
    assert table.characters == len("".join([*texts, *(label for labels in labelled for label in labels)]))
    assert category("a", "bcd").label_sets == ((2, 3),)
