"""Reading any files in a store ends, and reports in one sentence what is wrong."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from models_store import folder
from models_store.errors import LONGEST_SENTENCE, BundleRefused, sentence
from models_store.folder import names, open_bundle, publish
from models_store.kinds.fields import Spectrogram
from models_store.manifest import Modality, Reference
from models_store.stores import Folder
from tests.models_store.bundles import FILES, MODEL, refusal

RECIPE = {
    "rate": 8000, "samples": 8192, "window": 512, "hop": 256, "frames": 32, "bands": 32, "f_min": 50.0,
    "f_max": 4000.0, "floor_db": -80.0,
}  # fmt: skip


@pytest.mark.parametrize("name", ["manifest.json", next(iter(FILES))])
def test_a_pipe_in_place_of_a_file_is_refused_without_waiting_for_its_writer(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    assert refusal(bundle).endswith(f"{name} is no regular file")


def test_a_manifest_beyond_all_measure_is_not_read(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (bundle / "manifest.json").stat().st_size
    monkeypatch.setattr(folder._read, "__defaults__", (size - 1,))
    assert f"has {size} bytes" in refusal(bundle)


@pytest.mark.parametrize("odd", [b"\xff\xfe", b"Digits", b"a b", b"..x", b"9", b"x" * 65, "é".encode()])
def test_folders_that_no_model_is_named_like_are_passed_over(bundle: Path, odd: bytes) -> None:
    root = bundle.parents[1]
    (root / os.fsdecode(odd) / "1").mkdir(parents=True)
    assert names(root) == ["digits"]


@pytest.mark.parametrize("umask", [0o077, 0o000, 0o777 & ~0o700])
def test_what_is_published_is_readable_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        target = publish(tmp_path / "store", MODEL, FILES)
    finally:
        os.umask(before)
    for path in [tmp_path / "store", target.parent, target, *target.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path
    open_bundle(target)


def test_drafts_of_killed_processes_are_removed_after_a_day_and_no_others(bundle: Path) -> None:
    now = time.time()
    ages = {
        ".2-abcdefgh": 2 * folder.STALE_SECONDS,
        ".3-abcdefgh": 60.0,
        ".hidden-file": 2 * folder.STALE_SECONDS,
    }
    for name, age in ages.items():
        (bundle.parent / name).mkdir()
        (bundle.parent / name / "x").touch()
        os.utime(bundle.parent / name, (now - age, now - age))
    publish(bundle.parents[1], MODEL.model_copy(update={"version": 2}), FILES)
    assert sorted(path.name for path in bundle.parent.glob(".*")) == [".3-abcdefgh", ".hidden-file"]


@pytest.mark.parametrize(
    "change",
    [
        {"rate": 0}, {"rate": -8000}, {"hop": 0}, {"window": 0}, {"window": 10**11}, {"bands": 10**9},
        {"bands": 0}, {"frames": 10**9}, {"samples": 10**12}, {"floor_db": 0.0}, {"floor_db": float("nan")},
        {"f_min": 4000.0}, {"f_max": 4001.0}, {"f_min": -1.0}, {"f_max": float("inf")},
        {"frames": 2**16, "hop": 2**17},
    ],
)  # fmt: skip
def test_spectrograms_that_cannot_be_computed_are_refused_by_field(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as error:
        Spectrogram.model_validate({**RECIPE, **change})
    assert re.search("|".join(change) + "|f_min", str(error.value))


def test_a_spectrogram_has_the_shape_of_its_modality() -> None:
    fields: dict[str, Any] = {
        "name": "sound", "kind": "audio", "shape": (32, 7), "dtype": "uint8", "likelihood": "bernoulli",
        "range": (0, 255), "spectrogram": RECIPE,
    }  # fmt: skip
    with pytest.raises(ValidationError, match="32 bands and 32 frames does not fit the shape"):
        Modality.model_validate(fields)
    assert Modality.model_validate({**fields, "shape": (32, 32)}).spectrogram is not None


def test_a_link_to_a_pipe_is_refused(bundle: Path) -> None:
    name = next(iter(FILES))
    (bundle / name).unlink()
    os.mkfifo(bundle / "pipe")
    (bundle / name).symlink_to(bundle / "pipe")
    with pytest.raises(BundleRefused, match="no regular file"):
        open_bundle(bundle)


def test_the_stamp_of_a_folder_without_end_is_taken_from_its_first_levels(bundle: Path) -> None:
    place = Folder(bundle.parents[1])
    path = bundle
    for _ in range(40):  # two of these are longer than a path may be
        path /= "d" * 200
        if len(str(path)) > 3800:
            break
        path.mkdir()
    before = place.stamp("digits", 1)
    assert place.stamp("digits", 1) == before
    (bundle / "report" / "new").touch()
    assert place.stamp("digits", 1) != before


def test_a_version_that_is_a_link_is_refused(bundle: Path) -> None:
    bundle.rename(bundle.parents[2] / "elsewhere")
    bundle.symlink_to(bundle.parents[2] / "elsewhere")
    place = Folder(bundle.parents[1])
    assert place.published() == {"digits": [1]}
    assert "is a symbolic link" in refusal(bundle)


def test_the_stamp_of_a_link_does_not_change_with_what_it_leads_to(bundle: Path) -> None:
    outside = bundle.parents[2] / "outside"
    (outside / "deeper").mkdir(parents=True)
    (bundle.parent / "2").symlink_to(outside)
    (bundle / "link").symlink_to(outside)
    place = Folder(bundle.parents[1])
    before = [place.stamp("digits", number) for number in (1, 2)]
    (outside / "new").touch()
    (outside / "deeper" / "new").touch()
    os.utime(outside, (1, 1))
    assert [place.stamp("digits", number) for number in (1, 2)] == before
    assert "outside" not in before[0]
    (bundle.parent / "2").unlink()
    (bundle.parent / "2").symlink_to(outside / "deeper")
    assert place.stamp("digits", 2) != before[1]


def test_links_without_an_end_hide_no_model(bundle: Path) -> None:
    (bundle.parent / "2").symlink_to("2")
    (bundle.parents[1] / "looped").symlink_to("looped")
    assert Folder(bundle.parents[1]).published() == {"digits": [1]}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_model_whose_folder_cannot_be_read_hides_no_other(
    bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = Folder(bundle.parents[1])
    locked = bundle.parents[1] / "locked"
    (locked / "1").mkdir(parents=True)
    locked.chmod(0)
    try:
        assert [place.published() for _ in range(2)] == [{"digits": [1]}] * 2
    finally:
        locked.chmod(0o700)
    assert [record.message.endswith("locked: Permission denied") for record in caplog.records] == [True]


def test_a_reason_is_one_short_line_without_control_characters() -> None:
    assert sentence("a\nb\x1b[31m\u202ec é") == "a b [31m c é"
    assert len(sentence("é" * 10_000)) == LONGEST_SENTENCE
    assert sentence("é" * LONGEST_SENTENCE) == "é" * LONGEST_SENTENCE


@pytest.mark.parametrize("field", ["quantiles", "disagreement"])
@pytest.mark.parametrize("odd", [float("nan"), float("-inf")])
def test_quantiles_of_reference_scores_are_finite(field: str, odd: float) -> None:
    fields = {"K": 100, "rows": 10, "quantiles": (-1.0, 0.0), "disagreement": (0.0, 1.0)}
    Reference.model_validate(fields)
    with pytest.raises(ValidationError, match=rf"{field}\.0"):
        Reference.model_validate({**fields, field: (odd, 1.0)})
