"""Tables that are not UTF-8 are read in their encoding, and say so."""

from __future__ import annotations

import pytest

from models_store.tables import read_table
from tests.models_store.tables.test_read import labels

WORDS = {
    "cp1250": ("płeć", "mężczyzna", "kobieta", "średni", "wysoki", "zły", "dobry"),
    "cp1251": ("возраст", "мужской", "женский", "средний"),
    "cp1253": ("φύλο", "άνδρας", "γυναίκα", "καλό"),
    "cp1254": ("yaş", "kadın", "erkek", "iyi", "çok iyi", "şehir"),
    "koi8-r": ("возраст", "мужской", "женский", "средний"),
    "cp932": ("性別", "年齢", "男性", "女性", "良い", "普通", "悪い", "東京", "大阪"),
    "gb18030": ("性别", "年龄", "男", "女", "北京", "上海", "良好"),
    "cp949": ("성별", "남성", "여성", "서울"),
}
"""A header and labels, by encoding."""


@pytest.mark.parametrize(("encoding", "words"), WORDS.items(), ids=WORDS)
def test_text_that_is_not_utf_8_is_read_in_its_encoding_and_has_a_line(
    encoding: str, words: tuple[str, ...]
) -> None:
    header, *answers = words
    expected = [answers[row % len(answers)] for row in range(60)]
    rows = [f"{row / 7:.3f},{answer}\n" for row, answer in enumerate(expected)]
    table = read_table(f"x,{header}\n{''.join(rows)}".encode(encoding))
    assert table.dialect.encoding == encoding
    assert table.dialect.headers == ("x", header)
    assert labels(table, header) == expected
    (line,) = [line for line in table.report if "not UTF-8" in line]
    assert line.endswith("are not right, save it as UTF-8")


@pytest.mark.parametrize(
    ("encoding", "header", "answers"),
    [
        ("cp1251", "пол", ("муж", "жен")),
        ("cp932", "性別", ("男", "女")),
        ("cp1253", "φύλο", ("άνδρας", "γυναίκα")),
    ],
)
def test_few_words_of_another_script_suffice(encoding: str, header: str, answers: tuple[str, str]) -> None:
    rows = "".join(f"{row / 7:.3f};{answers[row % 2]}\n" for row in range(60))
    table = read_table(f"x;{header}\n{rows}".encode(encoding))
    assert table.dialect.encoding == encoding
    assert labels(table, header) == [answers[row % 2] for row in range(60)]


@pytest.mark.parametrize(
    "words",
    [
        ("température", "élevée", "très basse", "modérée"),
        ("año", "señora", "niño", "más"),
        ("São Paulo", "não", "sim", "Brasília"),
        ("Malmö", "Göteborg", "Åre", "Växjö"),
        ("°C", "µg/l", "±", "²"),
    ],
)
def test_western_text_is_read_as_windows_1252(words: tuple[str, ...]) -> None:
    for rows in (2, 12, 200):
        lines = [f"{row / 7:.3f},{words[1 + row % 3]}\n" for row in range(rows)]
        table = read_table(f"x,{words[0]}\n{''.join(lines)}".encode("cp1252"))
        assert table.dialect.encoding == "cp1252"
