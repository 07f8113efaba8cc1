"""A manifest is read as it was written, or refused with one sentence that says what is wrong."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_store.errors import ManifestError, shown
from models_store.likelihoods import Bernoulli
from models_store.manifest import Manifest
from tests.models_store.examples import array, category, counts, image, manifest

IMAGE, LABEL, VECTOR = (
    modality.model_dump(mode="json", exclude_none=True)
    for modality in (image(8, 6), category("a", "b", "c"), array("vector", 3))
)
COLUMN = {"name": "height", "unit": "mm", "range": [0, 10]}
TABLE = {
    "format": "csv",
    "delimiter": ";",
    "decimal": ",",
    "missing": ["NA"],
    "title_lines": 2,
    "header": True,
    "modalities": ["label"],
    "columns": [{"header": "height [mm]", "decimal": "."}, {"header": "id"}],
}
SOUND = {
    "name": "sound",
    "kind": "audio",
    "shape": [4, 5],
    "dtype": "float32",
    "likelihood": "normal",
    "parameters": ["loc", "log_scale"],
    "spectrogram": {
        "rate": 8000,
        "samples": 1024,
        "window": 256,
        "hop": 128,
        "frames": 5,
        "bands": 4,
        "f_min": 50.0,
        "f_max": 4000.0,
        "floor_db": -80.0,
    },
}


def written(*modalities: dict[str, Any], **changes: Any) -> bytes:
    """The JSON of the example manifest with other modalities or fields."""
    fields = json.loads(manifest().to_json())
    return json.dumps({**fields, **({"modalities": modalities} if modalities else {}), **changes}).encode()


def refusal(text: bytes) -> str:
    with pytest.raises(ManifestError) as refused:
        Manifest.from_json(text)
    sentence = str(refused.value)
    assert sentence.startswith("manifest.json: ")
    assert "\n" not in sentence
    return sentence


def test_a_manifest_survives_json() -> None:
    original = manifest(
        description="Ziffern — 数字",
        modalities=[IMAGE, LABEL, {**VECTOR, "columns": [{**COLUMN, "name": name} for name in "abc"]}, SOUND],
        tables=[TABLE],
        files={
            "golden.npz": {"sha256": "0" * 64, "bytes": 3},
            "report/card.md": {"sha256": "f" * 64, "bytes": 0},
        },
        trained={"experiment": "digits", "seed": 0, "versions": {"torch": "2.13.0"}},
        metrics={"elbo": -88.5},
        reference={"label|image": {"K": 1000, "rows": 500, "quantiles": [-3.5, -1.25]}},
    )
    assert Manifest.from_json(original.to_json()) == original


def test_a_table_of_a_modality_that_is_none_is_refused() -> None:
    sentence = refusal(written(tables=[{**TABLE, "modalities": ["sound"]}]))
    assert "tables.0.modalities names 'sound', which is no modality" in sentence


def test_the_json_is_for_people_too() -> None:
    text = manifest(description="Ziffern — 数字").to_json().decode()
    assert text.startswith('{\n  "format": 1,')
    assert "Ziffern — 数字" in text
    assert text.endswith("}\n")
    assert "null" not in text


@pytest.mark.parametrize("name", ["a", "x2", "left_eye", "a" * 64])
def test_names_are_lower_case_words(name: str) -> None:
    assert Manifest.from_json(written({**VECTOR, "name": name}, name=name)).names == (name,)


@pytest.mark.parametrize("name", ["", "A", "2x", "_a", "a-b", "a b", "a.b", "../a", "é", "a\n", "a" * 65])
def test_a_bad_name_is_refused(name: str) -> None:
    assert "modalities.0.name: " in refusal(written({**VECTOR, "name": name}))
    assert "manifest.json: name: " in refusal(written(name=name))


@pytest.mark.parametrize("name", ["all", "none", "prior"])
def test_a_reserved_name_is_refused(name: str) -> None:
    assert f"'{name}' is reserved" in refusal(written({**VECTOR, "name": name}))


@pytest.mark.parametrize(
    "dtype",
    ["float33", "", "object", "str", "U3", "complex64", "datetime64[s]", "f4,f4", "f4,(", "\0", ">f4"],
)
def test_a_dtype_that_is_no_plain_number_is_refused(dtype: str) -> None:
    assert "dtype" in refusal(written({**VECTOR, "dtype": dtype}))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int64", "float16", "float32", "float64"])
def test_numbers_of_any_size_are_dtypes(dtype: str) -> None:
    read = Manifest.from_json(written({**VECTOR, "dtype": dtype}))
    assert read.modality("measured").numpy_dtype == np.dtype(dtype)


def test_an_unknown_likelihood_is_refused_with_the_known_ones() -> None:
    sentence = refusal(written({**VECTOR, "likelihood": "gamma"}))
    assert "unknown likelihood 'gamma'" in sentence
    assert "negative_binomial" in sentence


@pytest.mark.parametrize("parameters", [[], ["loc"], ["log_scale", "loc"], ["logits"]])
def test_parameters_of_another_likelihood_are_refused(parameters: list[str]) -> None:
    assert "'normal' has the parameters ('loc', 'log_scale')" in refusal(
        written({**VECTOR, "parameters": parameters})
    )


@pytest.mark.parametrize("labels", [None, []])
def test_a_category_without_labels_is_refused(labels: list[str] | None) -> None:
    assert "a category needs labels" in refusal(written({**LABEL, "labels": labels}))


def test_a_label_given_twice_is_refused() -> None:
    assert "labels" in refusal(written({**LABEL, "labels": ["a", "b", "a"]}))


def test_labels_of_what_is_no_category_are_refused() -> None:
    assert "labels" in refusal(written({**VECTOR, "labels": ["a", "b"]}))


@pytest.mark.parametrize("dtype", ["float32", "uint8", "bool"])
def test_a_category_is_int64(dtype: str) -> None:
    assert "int64" in refusal(written({**LABEL, "dtype": dtype}))


@pytest.mark.parametrize(
    "modality",
    [
        {**LABEL, "likelihood": "normal", "parameters": ["loc", "log_scale"]},
        {**VECTOR, "likelihood": "categorical", "parameters": ["logits"], "labels": ["a", "b"]},
    ],
)
def test_a_category_and_the_categorical_likelihood_go_together(modality: dict[str, Any]) -> None:
    assert "'categorical', and only a category" in refusal(written(modality))


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("image", [8]),
        ("image", [8, 6, 3, 1]),
        ("image", [8, 6, 2]),
        ("audio", [4]),
        ("points", [4]),
        ("points", [4, 3]),
        ("vector", []),
        ("vector", [2, 2]),
        ("counts", [2, 2]),
    ],
)
def test_a_shape_that_the_kind_cannot_have_is_refused(kind: str, shape: list[int]) -> None:
    assert f"cannot be the shape of the kind '{kind}'" in refusal(
        written({**VECTOR, "kind": kind, "shape": shape})
    )


def test_a_category_has_no_axes() -> None:
    assert "cannot be the shape of the kind 'category'" in refusal(written({**LABEL, "shape": [1]}))


@pytest.mark.parametrize("shape", [[0], [-1], [2.5], ["x"]])
def test_an_axis_has_a_whole_positive_length(shape: list[Any]) -> None:
    assert "modalities.0.shape.0: " in refusal(written({**VECTOR, "shape": shape}))


@pytest.mark.parametrize("shape", [[], [3], [2, 3, 4, 5]])
def test_a_tensor_has_any_shape(shape: list[int]) -> None:
    read = Manifest.from_json(written({**VECTOR, "kind": "tensor", "shape": shape}))
    assert read.modality("measured").parameter_shape() == tuple(shape)


def test_columns_that_do_not_fit_the_shape_are_refused() -> None:
    assert "1 columns do not fit the shape (3,)" in refusal(written({**VECTOR, "columns": [COLUMN]}))


@pytest.mark.parametrize("value_range", [(5, 5), (255, 0)])
def test_a_range_goes_from_low_to_high(value_range: tuple[float, float]) -> None:
    assert "range" in refusal(written({**IMAGE, "range": value_range}))


def test_two_modalities_of_one_name_are_refused() -> None:
    assert "different names" in refusal(written(VECTOR, {**IMAGE, "name": VECTOR["name"]}))


def test_a_model_without_modalities_is_refused() -> None:
    assert "modalities: " in refusal(written(modalities=[]))


@pytest.mark.parametrize("other", [0, 2, "1", None])
def test_another_format_is_refused_with_the_one_that_is_read(other: Any) -> None:
    sentence = refusal(written(format=other))
    assert f"format is {shown(other)}" in sentence
    assert "reads format 1" in sentence


def test_another_rule_of_fusion_is_refused_with_the_one_that_is_served() -> None:
    assert "fusion is 'moe', this program serves 'poe' and 'poe_linear', products of experts" in refusal(
        written(fusion="moe")
    )


def test_linear_models_are_the_last_of_the_members() -> None:
    changed: dict[str, Any] = {"members": 3, "latent_dim": 10, "weights": [0.2, 0.2, 0.6]}
    read = Manifest.from_json(written(fusion="poe_linear", linear_members=2, **changed))
    assert read.linear is not None
    assert [*range(10)[read.linear.block]] == [3, 4, 5, 6, 7, 8]
    for fusion, count in (("poe_linear", 0), ("poe_linear", 4), ("poe", 1)):
        sentence = f"fusion is '{fusion}', but {count} of 3 members are linear"
        assert sentence in refusal(written(fusion=fusion, linear_members=count, **changed))
    assert read.mixture.weights == (0.2, 0.2, 0.6)


def test_weights_of_another_number_of_members_are_refused() -> None:
    assert "weights has 2 numbers, but there are 3 members" in refusal(
        written(members=3, latent_dim=10, weights=[0.5, 0.5])
    )


def test_an_unknown_format_is_the_first_thing_said() -> None:
    assert "this program reads format 1" in refusal(b'{"format": 2, "layers": []}')


@pytest.mark.parametrize(
    "text",
    [
        written(colour="red"),
        written({**VECTOR, "colour": "red"}),
        written(files={"golden.npz": {"sha256": "0" * 64, "bytes": 3, "colour": "red"}}),
    ],
)
def test_an_unknown_key_is_refused_by_name(text: bytes) -> None:
    assert "colour: " in refusal(text)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", 0),
        ("latent_dim", 0),
        ("fusion", "moe"),
        ("created", "yesterday"),
        ("files", {"golden.npz": {"sha256": "0", "bytes": 3}}),
        ("reference", {"label|image": {"K": 1000, "quantiles": [-3.5, -1.25]}}),
        ("reference", {"label|image": {"K": 1000, "rows": 500, "quantiles": [-3.5]}}),
        ("files", {"golden.npz": {"sha256": "0" * 64, "bytes": -1}}),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(key: str, value: Any) -> None:
    assert refusal(written(**{key: value})).startswith(f"manifest.json: {key}")


@given(st.binary() | st.sampled_from([b"[]", b"null", b"{}", b"\xef\xbb\xbf{}", b"[" * 100_000]))
def test_bytes_that_are_no_manifest_are_refused(text: bytes) -> None:
    assert len(refusal(text)) < 300


def test_a_category_has_one_parameter_per_label_and_the_others_one_per_cell() -> None:
    assert category("a", "b", "c").parameter_shape() == (3,)
    assert image(8, 6, 3).parameter_shape() == (8, 6, 3)
    assert counts(5).parameter_shape() == (5,)


def test_the_distribution_speaks_in_the_units_of_the_modality() -> None:
    assert image(8, 6, value_range=(-1, 1)).distribution == Bernoulli(-1, 1)


def test_modalities_are_found_by_name() -> None:
    assert manifest().modality("label") == category("a", "b", "c")
    with pytest.raises(KeyError, match="sound"):
        manifest().modality("sound")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_json_cannot_say_is_written_as_null(value: float) -> None:
    assert json.loads(manifest(metrics={"elbo": value}).to_json())["metrics"] == {"elbo": None}
