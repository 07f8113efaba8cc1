"""Examples in docstrings give what they show."""

from __future__ import annotations

import doctest
from types import ModuleType

import pytest

from models_store import fusion
from models_store.evidence import pareto, weights
from models_store.likelihoods import counts, labels, measures
from training import objective, subsets


@pytest.mark.parametrize(
    "module",
    [counts, labels, measures, fusion, pareto, weights, objective, subsets],
    ids=lambda module: module.__name__,
)
def test_examples_in_docstrings_give_what_they_show(module: ModuleType) -> None:
    results = doctest.testmod(module)
    assert results.attempted
    assert not results.failed
