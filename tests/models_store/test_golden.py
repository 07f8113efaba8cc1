"""Golden values hold wherever the same graphs run, and nowhere else."""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_store import golden
from models_store.errors import BundleRefused
from models_store.likelihoods import Parameters
from models_store.linear import EncoderOutput
from models_store.manifest import Manifest
from tests.models_store.examples import NumpyArray, manifest

ROWS = 16
MANIFEST = manifest()


@dataclass(frozen=True)
class LinearGraphs:
    """Encoders and decoders that are one matrix each."""

    manifest: Manifest
    drift: dict[str, float] = field(default_factory=dict)
    """By graph, such as ``image.encoder``: what its answers are off by."""

    def encode(self, modality: str, x: NumpyArray) -> EncoderOutput:
        flat = x.reshape(len(x), -1).astype(np.float32) / 100
        weights = self._weights(f"{modality}.encoder", flat.shape[1], 2 * self.manifest.latent_dim)
        mu, log_var = np.split(flat @ weights + self.drift.get(f"{modality}.encoder", 0), 2, axis=1)
        return EncoderOutput(mu, log_var)

    def decode(self, modality: str, z: NumpyArray) -> Parameters:
        target = self.manifest.modality(modality)
        shape = target.parameter_shape()
        answers = {}
        for parameter in target.parameters:
            weights = self._weights(f"{modality}.{parameter}", z.shape[1], math.prod(shape))
            answers[parameter] = (z @ weights + self.drift.get(f"{modality}.decoder", 0)).reshape(-1, *shape)
        return answers

    def _weights(self, graph: str, rows: int, columns: int) -> NumpyArray:
        rng = np.random.default_rng(list(graph.encode()))
        return rng.normal(0, 0.5, (rows, columns)).astype(np.float32)


def _values() -> dict[str, NumpyArray]:
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (ROWS, 8, 6)).astype(np.uint8),
        "label": rng.integers(0, 3, ROWS),
        "measured": rng.normal(0, 50, (ROWS, 3)).astype(np.float32),
        "genes": rng.poisson(40, (ROWS, 5)).astype(np.float32),
    }


def _made() -> dict[str, NumpyArray]:
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((ROWS, MANIFEST.latent_dim)).astype(np.float32)
    present = golden.presence(ROWS, len(MANIFEST.modalities), rng)
    return golden.make(MANIFEST, _values(), present, noise, LinearGraphs(MANIFEST))


GOLDEN = _made()
every_key = pytest.mark.parametrize("key", GOLDEN)


def refusal(altered: golden.Golden, graphs: golden.Graphs = LinearGraphs(MANIFEST)) -> str:
    with pytest.raises(BundleRefused) as refused:
        golden.check(MANIFEST, altered, graphs)
    return str(refused.value)


def test_the_graphs_that_made_the_values_reproduce_them() -> None:
    golden.check(MANIFEST, GOLDEN, LinearGraphs(MANIFEST))


def test_golden_values_are_those_that_the_format_names() -> None:
    per_modality = {f"{name}.{value}" for name in MANIFEST.names for value in ("x", "mu", "log_var")}
    decoded = {f"{m.name}.{parameter}" for m in MANIFEST.modalities for parameter in m.parameters}
    assert set(GOLDEN) == per_modality | decoded | {"present", "mu", "log_var", "z"}
    assert {len(value) for value in GOLDEN.values()} == {ROWS}


def test_a_row_with_nothing_observed_is_the_prior() -> None:
    nothing = ~GOLDEN["present"].any(axis=1)
    assert nothing.any()
    assert (GOLDEN["mu"][nothing] == 0).all()
    assert (GOLDEN["log_var"][nothing] == 0).all()


def test_a_row_with_everything_observed_adds_all_precisions_to_the_prior() -> None:
    precisions = np.sum([np.exp(-GOLDEN[f"{name}.log_var"]) for name in MANIFEST.names], axis=0)
    complete = GOLDEN["present"].all(axis=1)
    assert complete.any()
    np.testing.assert_allclose(np.exp(-GOLDEN["log_var"])[complete], (1 + precisions)[complete], rtol=1e-5)


@every_key
def test_an_altered_value_is_refused_by_name(key: str) -> None:
    value = GOLDEN[key]
    altered = ~value if value.dtype == bool else value + np.ones((), value.dtype)
    sentence = refusal({**GOLDEN, key: altered})
    # Of an altered input, what it gives no longer agrees.
    consequences = {"present": "mu", "z": r"image\.logits", "label.x": r"label\.(mu|log_var)"}
    name = consequences.get(key, re.escape(key).replace(r"\.x", r"\.(mu|log_var)"))
    assert re.search(f"does not reproduce '{name}' of golden.npz", sentence)


@every_key
def test_a_missing_value_is_refused_by_name(key: str) -> None:
    assert refusal({k: v for k, v in GOLDEN.items() if k != key}) == f"golden.npz: '{key}' is missing"


@every_key
def test_a_value_with_a_row_too_few_is_refused(key: str) -> None:
    assert "golden.npz" in refusal({**GOLDEN, key: GOLDEN[key][:-1]})


@pytest.mark.parametrize("key", [key for key in GOLDEN if not key.endswith((".x", "present"))])
def test_a_golden_value_that_is_no_number_is_refused(key: str) -> None:
    assert "golden.npz" in refusal({**GOLDEN, key: np.full_like(GOLDEN[key], math.nan)})


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("present", GOLDEN["present"][:0], "'present' has no rows"),
        ("present", np.array(True), "'present' has no rows"),
        ("extra", np.float32(1), r"'extra' of shape \(\) needs 16 rows"),
        (golden.HELD, np.ones((ROWS, 9), bool), "'held' must be boolean with a column per modality"),
        (golden.HELD, GOLDEN["present"].astype(float), "'held' must be boolean"),
    ],
    ids=["none", "scalar", "extra", "columns", "floats"],
)
def test_values_of_another_shape_are_refused(key: str, value: NumpyArray, reason: str) -> None:
    with pytest.raises(BundleRefused, match=reason):
        golden.check(MANIFEST, {**GOLDEN, key: value}, LinearGraphs(MANIFEST))


@pytest.mark.parametrize("kind", ["U5", "datetime64[s]", "complex64"])
def test_a_golden_file_holds_nothing_but_numbers(kind: str) -> None:
    content = golden.to_bytes({**GOLDEN, "z": np.zeros(ROWS).astype(kind)})
    with pytest.raises(BundleRefused, match="'z' must hold numbers"):
        golden.from_bytes(content)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
@pytest.mark.parametrize("name", MANIFEST.names)
@pytest.mark.parametrize("drift", [0.1, math.nan])
def test_a_graph_that_drifts_is_refused_by_its_file(name: str, part: str, drift: float) -> None:
    sentence = refusal(GOLDEN, LinearGraphs(MANIFEST, {f"{name}.{part}": drift}))
    assert sentence.startswith(f"{name}.{part}.onnx does not reproduce '{name}.")


def test_an_example_shows_nothing_that_its_row_never_had() -> None:
    held = np.ones_like(GOLDEN["present"])
    held[1, 0] = False
    (first, *others) = MANIFEST.names
    examples = golden.examples(MANIFEST, {**GOLDEN, golden.HELD: held}, 3)
    assert [x is None for x in examples[first]] == [False, True, False]
    for name in others:
        assert np.array_equal(np.stack([x for x in examples[name] if x is not None]), GOLDEN[f"{name}.x"][:3])


def test_rounding_is_no_drift() -> None:
    graphs = LinearGraphs(MANIFEST, {f"{name}.encoder": 1e-5 for name in MANIFEST.names})
    golden.check(MANIFEST, GOLDEN, graphs)


@given(b=st.floats(-1e6, 1e6), share=st.floats(-3, 3).filter(lambda share: abs(abs(share) - 1) > 0.01))
def test_numbers_agree_within_the_tolerance(b: float, share: float) -> None:
    a = b + share * golden.TOLERANCE * (1 + abs(b))
    assert golden.agree(np.array([b, a]), np.array([b, b])) == (abs(share) < 1)


def test_other_shapes_never_agree() -> None:
    assert not golden.agree(np.zeros((1, 3)), np.zeros(3))


def test_presence_has_all_none_and_each_alone_before_random_subsets() -> None:
    present = golden.presence(64, 3, np.random.default_rng(0))
    assert present.shape == (64, 3)
    assert present.dtype == bool
    assert present[:5].astype(int).tolist() == [[1, 1, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert len(np.unique(present, axis=0)) == 8


@pytest.mark.parametrize("rows", [0, 1, 3, 5, 6, 64])
def test_presence_has_the_rows_that_were_asked_for(rows: int) -> None:
    assert golden.presence(rows, 3, np.random.default_rng(0)).shape == (rows, 3)


def test_golden_values_survive_their_file() -> None:
    read = golden.from_bytes(golden.to_bytes(GOLDEN))
    assert list(read) == list(GOLDEN)
    for key, value in GOLDEN.items():
        assert read[key].dtype == value.dtype
        assert np.array_equal(read[key], value)
    golden.check(MANIFEST, read, LinearGraphs(MANIFEST))


def test_a_golden_file_never_holds_a_pickle() -> None:
    with pytest.raises(ValueError, match="allow_pickle=False"):
        golden.to_bytes({"z": np.array([{"a": 1}], object)})


def test_a_pickle_in_a_golden_file_is_never_loaded() -> None:
    stream = io.BytesIO()
    np.savez(stream, z=np.array([{"a": 1}], object))
    with pytest.raises(BundleRefused, match="allow_pickle=False"):
        golden.from_bytes(stream.getvalue())
