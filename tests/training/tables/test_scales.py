"""Labels that have an order are written in it."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from tests.training.tables.tables import guessed_text, modalities, write
from training.tables.scales import in_order


@pytest.mark.parametrize(
    "scale",
    [
        ["Poor", "Fair", "Good", "Vgood", "Excellent"],
        ["poor", "fair", "good"],
        ["Low", "Medium", "High"],
        ["very low", "low", "moderate", "high", "very high"],
        ["Never", "Rarely", "Sometimes", "Often", "Always"],
        ["never", "rarely", "often"],
        ["None", "Several", "Most"],
        ["none", "mild", "moderate", "severe"],
        ["Not at all", "Several days", "More than half the days", "Nearly every day"],
        ["Strongly disagree", "Disagree", "Neutral", "Agree", "Strongly agree"],
        ["strongly_disagree", "disagree", "agree", "strongly_agree"],
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
        ["Montag", "Dienstag", "Mittwoch", "Freitag"],
        ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"],
        ["XS", "S", "M", "L", "XL"],
        ["small", "medium", "large"],
        ["nie", "selten", "oft"],
        ["<18", "18-24", "25-34", "65+"],
        ["under 5", "5 to 9", "10 to 14", "over 14"],
        ["stage 1", "stage 2", "stage 10"],
        ["5 mg", "10 mg", "20 mg"],
        ["$5", "$10", "$1,000"],
        ["T1", "T2", "T3"],
        ["I", "II", "III", "IV", "V", "IX"],
        ["1", "2", "10"],
        ["-1", "0.5", "2.5"],
    ],
)
def test_labels_with_an_order_are_sorted_by_it(scale: list[str]) -> None:
    shuffled = scale[:]
    random.Random(0).shuffle(shuffled)  # noqa: S311 - no secret
    assert in_order(shuffled) == (scale, True)


@pytest.mark.parametrize(
    "labels",
    [
        ["Beer", "None", "Wine"],
        ["f", "m"],
        ["London", "Paris", "Rome"],
        ["Akt1", "Brca2", "Tp53"],
        ["A1", "B2", "C3"],
        ["low", "high", "purple"],
        ["fair", "average"],
    ],
)
def test_labels_without_an_order_are_sorted_by_the_alphabet(labels: list[str]) -> None:
    assert in_order(labels) == (sorted(labels), False)


def test_the_order_is_written_and_named_in_the_file(tmp_path: Path) -> None:
    words = ["Excellent", "Poor", "Good", "Fair"]
    columns = {"health": [words[row % 4] for row in range(40)], "x": np.arange(40) ** 0.5}
    path = write(tmp_path / "t.csv", columns)
    assert modalities(path)["health"]["labels"] == ["Poor", "Fair", "Good", "Excellent"]
    assert "4 different values in the order Poor, Fair, Good, Excellent" in guessed_text(path)
