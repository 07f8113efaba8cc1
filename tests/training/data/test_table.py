"""Tables of one's own: every value in its place, every gap a gap, every mistake one sentence."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from models_store.errors import ModelsStoreError
from training.config import read_experiment
from training.data import Prepared, prepare
from training.errors import TrainingError

PEOPLE = (
    "id,height [cm],weight,sex,visits,photo\na,170,60,f,1,a.png\nb,,,m,,b.png\nc,180,,,0,gone.png\nd,,,,3,\n"
)
LABS = "id,iron,heme\nc,1.5,2\nd,,\ne,3.5,4\n"
HEAD = 'name = "x"\n[data]\nsource = "table"\nfiles = ["people.csv"]\n'
BODY = """[modalities.body]
kind = "vector"
columns = [{ name = "height", unit = "cm", field = "height [cm]" }, { name = "weight" }]
"""
SEX = '[modalities.sex]\nkind = "category"\nfield = "sex"\nlabels = ["f", "m"]\n'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table of people, one of their blood, and two photos."""
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text(PEOPLE)
    Path("labs.csv").write_text(LABS)
    for name, grey in {"a.png": 10, "b.png": 200}.items():
        stream = io.BytesIO()
        Image.new("L", (8, 6), grey).save(stream, "PNG")
        Path(name).write_bytes(stream.getvalue())
    return tmp_path


def prepared(text: str) -> Prepared:
    Path("x.toml").write_text(text)
    return prepare(read_experiment("x.toml")[0])


def test_numbers_side_by_side_are_a_vector_and_an_empty_cell_is_nan() -> None:
    splits = prepared(HEAD + BODY)
    nan = torch.nan
    expected = torch.tensor([[170, 60], [nan, nan], [180, nan], [nan, nan]])
    assert torch.equal(splits.train.data["body"].nan_to_num(-1), expected.nan_to_num(-1))
    assert splits.train.masks["body"].tolist() == [True, False, True, False]
    (modality,) = splits.modalities
    assert [(c.name, c.unit) for c in modality.columns or ()] == [("height", "cm"), ("weight", None)]
    assert (modality.dtype, modality.likelihood) == ("float32", "normal")


def test_text_is_a_category_and_an_empty_cell_a_missing_one() -> None:
    splits = prepared(HEAD + SEX)
    assert splits.train.data["sex"][:2].tolist() == [0, 1]
    assert splits.train.masks["sex"].tolist() == [True, True, False, False]


def test_counts_are_counts() -> None:
    splits = prepared(HEAD + '[modalities.visits]\nkind = "counts"\ncolumns = [{ name = "visits" }]\n')
    assert splits.modalities[0].likelihood == "negative_binomial"
    assert splits.train.data["visits"][[0, 2, 3], 0].tolist() == [1, 0, 3]
    assert splits.train.masks["visits"].tolist() == [True, False, True, True]


def test_a_picture_that_is_not_there_is_missing() -> None:
    splits = prepared(HEAD + '[modalities.photo]\nkind = "image"\nfield = "photo"\nshape = [3, 4]\n')
    assert splits.train.data["photo"].shape == (4, 3, 4)
    assert splits.train.data["photo"][:, 0, 0].tolist() == [10, 200, 0, 0]
    assert splits.train.masks["photo"].tolist() == [True, True, False, False]


def test_rows_of_several_files_meet_by_their_key() -> None:
    blood = '[modalities.blood]\nkind = "vector"\ncolumns = [{ name = "iron" }, { name = "heme" }]\n'
    head = HEAD.replace('["people.csv"]', '["people.csv", "labs.csv"]\nkey = "id"')
    splits = prepared(head + BODY + blood)
    assert len(splits.train) == 5
    assert splits.train.masks["body"].tolist() == [True, False, True, False, False]
    assert splits.train.masks["blood"].tolist() == [False, False, True, False, True]
    assert splits.train.data["blood"][[2, 4]].tolist() == [[1.5, 2], [3.5, 4]]


def test_files_without_key_meet_row_by_row() -> None:
    np.save("scan.npy", np.arange(4 * 5, dtype=np.int16).reshape(4, 5))
    head = HEAD.replace('["people.csv"]', '["people.csv", "scan.npy"]')
    splits = prepared(head + SEX + '[modalities.scan]\nkind = "vector"\nfield = "scan"\n')
    assert splits.train.data["scan"].dtype == torch.int16
    assert splits.train.data["scan"][3].tolist() == [15, 16, 17, 18, 19]


def test_arrays_are_taken_as_they_are() -> None:
    pictures = np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3)
    signal = np.ones((4, 7), np.float64)
    signal[1] = np.nan
    signal[2, 0] = np.nan
    np.savez("x.npz", picture=pictures, signal=signal)
    text = HEAD.replace("people.csv", "x.npz") + (
        '[modalities.picture]\nkind = "image"\nfield = "picture"\nrange = [0, 255]\n'
        '[modalities.signal]\nkind = "vector"\nfield = "signal"\n'
    )
    splits = prepared(text)
    assert np.array_equal(splits.train.data["picture"].numpy(), pictures)
    assert splits.train.data["signal"].dtype == torch.float64
    assert splits.train.masks["signal"].tolist() == [True, False, True, True]
    assert splits.train.data["signal"][2].isnan().tolist() == [True] + 6 * [False]


def test_every_row_is_in_one_split_and_the_seed_says_which() -> None:
    Path("many.csv").write_text("v\n" + "\n".join(map(str, range(100))) + "\n")
    text = (
        'name = "x"\nseed = 4\n[data]\nsource = "table"\nfiles = ["many.csv"]\ntest = 20\nvalidation = 10\n'
    )
    text += '[modalities.v]\nkind = "vector"\ncolumns = [{ name = "v" }]\n'
    first, again = prepared(text), prepared(text)
    splits = [rows.data["v"][:, 0].tolist() for rows in (first.train, first.validation, first.test)]
    assert [len(split) for split in splits] == [70, 10, 20]
    assert sorted(itertools.chain(*splits)) == list(range(100))
    assert again.test.data["v"][:, 0].tolist() == splits[2]
    assert prepared(text.replace("seed = 4", "seed = 5")).test.data["v"][:, 0].tolist() != splits[2]


TWO = HEAD.replace('["people.csv"]', '["people.csv", "labs.csv"]')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD.replace('["people.csv"]', "[]") + BODY, "needs at least one file"),
        (HEAD + BODY.replace('"weight"', '"wait"'), "has no field 'wait'; there are 'id', 'height"),
        (HEAD + SEX.replace('"f", "m"', '"f"'), "modality 'sex': column 'sex' has 'm', which is none of its"),
        (
            HEAD + SEX.replace('labels = ["f", "m"]\n', ""),
            "modalities.sex.labels: a category .* needs its labels",
        ),
        (
            HEAD + BODY.replace('name = "weight"', 'name = "sex"'),
            "modality 'body': column 'sex': '[fm]' is no num",
        ),
        (
            HEAD + BODY.replace("vector", "counts").replace("weight", "sex"),
            "column 'sex': '[fm]' is no number",
        ),
        (
            HEAD
            + BODY.replace('"vector"', '"vector"\nlikelihood = "log_normal"').replace("weight", "visits"),
            r"column 'visits': log_normal needs numbers above 0, got 0\.0",
        ),
        (HEAD + BODY.replace('kind = "vector"', ""), "needs the kind of every modality"),
        (HEAD + '[modalities.sex]\nkind = "category"\n', "modalities.sex.field must name"),
        (
            HEAD + '[modalities.p]\nkind = "image"\nfield = "photo"\n',
            "modalities.p: a image from files needs",
        ),
        (
            HEAD + '[modalities.p]\nkind = "image"\nfield = "sex"\nshape = [2, 2]\nrange = [1, 1]\n',
            "a range must",
        ),
        (HEAD + "test = 3\nvalidation = 1\n" + BODY, "hold out 3 and 1 rows, but there are 4"),
        (HEAD + 'key = "name"\n' + BODY, "data.key: people.csv has no column 'name', it has 'id'"),
        (TWO + BODY, "files without data.key must have the same number of rows, got .*4.*3"),
        (
            TWO + 'key = "id"\n' + BODY.replace("weight", "id"),
            "several files have the field 'id'; write 'people",
        ),
        (TWO + 'key = "id"\n' + BODY.replace("weight", "iron"), "its columns are in several files"),
        (HEAD.replace('"table"', '"mnist"') + BODY, "data.files is for the source 'table', not for 'mnist'"),
        (HEAD + BODY.replace("body", "prior"), "'prior' is reserved"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises((TrainingError, ModelsStoreError), match=message) as refusal:
        prepared(text)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("cell", "message"), [("1.5", "whole numbers from 0, got 1.5"), ("-1", "from 0, got -1")]
)
def test_counts_are_whole_and_not_negative(cell: str, message: str) -> None:
    Path("people.csv").write_text(PEOPLE.replace(",3,", f",{cell},"))
    with pytest.raises(TrainingError, match=message):
        prepared(HEAD + '[modalities.visits]\nkind = "counts"\ncolumns = [{ name = "visits" }]\n')


def test_infinity_is_refused() -> None:
    Path("people.csv").write_text(PEOPLE.replace("180", "inf"))
    with pytest.raises(TrainingError, match=r"column 'height \[cm\]': numbers must be finite .*got inf"):
        prepared(HEAD + BODY)


def test_a_key_that_occurs_twice_is_refused() -> None:
    Path("people.csv").write_text(PEOPLE + "a,1,1,f,1,\n")
    with pytest.raises(TrainingError, match=r"people\.csv: the key 'a' occurs more than once in 'id'"):
        prepared(HEAD + 'key = "id"\n' + BODY)


PHOTO = '[modalities.photo]\nkind = "image"\nfield = "photo"\nshape = [3, 4]\n'


def present_photos() -> list[int]:
    """Numbers of observed and of all photos in the splits."""
    made = prepared(HEAD + PHOTO + BODY)
    masks = [rows.masks["photo"] for rows in (made.train.in_epoch(0, 0), made.validation, made.test)]
    return [int(sum(mask.sum() for mask in masks)), sum(len(mask) for mask in masks)]


@pytest.mark.parametrize("content", [b"no picture", b""])
def test_a_picture_that_cannot_be_read_is_a_missing_entry(
    content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    observed, rows = present_photos()
    Path("a.png").write_bytes(content)
    assert present_photos() == [observed - 1, rows]
    [record] = caplog.records
    assert "modality 'photo': 1 file is missing, since unreadable: a.png: " in record.getMessage()


def test_pictures_of_which_none_can_be_read_are_refused() -> None:
    for path in Path().glob("*.png"):
        path.write_text("no picture")
    with pytest.raises(TrainingError, match=r"\.png: no readable picture"):
        prepared(HEAD + PHOTO)


def test_sounds_become_spectrograms() -> None:
    pytest.importorskip("models_store.kinds.audio")
    times = np.arange(8000) / 8000
    soundfile.write("a.png", np.sin(2 * np.pi * 440 * times), 8000, format="WAV")
    fields = "rate = 8000, samples = 8192, window = 512, hop = 256, frames = 32, bands = 32"
    fields += ", f_min = 50, f_max = 4000, floor_db = -80"
    Path("b.png").unlink()
    kind = f'kind = "audio"\nfield = "photo"\nspectrogram = {{ {fields} }}\n'
    splits = prepared(HEAD + f"[modalities.tone]\n{kind}")
    assert splits.train.masks["tone"].tolist() == [True, False, False, False]
    levels = splits.train.data["tone"][0, :, 5:25].float()
    loudest = levels.mean(dim=1).argmax()
    assert levels.max() == 255
    assert 5 <= loudest <= 9  # 440 Hz on 32 bands of the mel scale from 50 to 4000 Hz
