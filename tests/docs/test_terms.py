"""Prose and names use the field's terms: ``tests/docs/terms.py`` lists the coined words and their terms."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.terms import checked_files, findings


def test_no_file_has_a_coined_word() -> None:
    assert [f"{path}:{line}: {word}" for path in checked_files([]) for line, word, _ in findings(path)] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('"""The client hung up."""', ["hung up"]),
        ("found = 1  # meanwhile", ["meanwhile", "found"]),
        ("def told(asked): ...", ["asked", "told"]),
        ("match = 1  # the client disconnected", []),
    ],
)
def test_coined_words_are_found_in_prose_and_names(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "module.py"
    path.write_text(text)
    assert sorted(word for _, word, _ in findings(path)) == sorted(words)
