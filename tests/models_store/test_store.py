"""What the store holds; what is not as it was published is refused by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from models_store.errors import BundleRefused, UnknownModel
from models_store.folder import names, newest, open_bundle, publish, versions
from models_store.manifest import Manifest
from tests.models_store.bundles import FILES, GRAPHS, MODEL, listed, refusal


def test_versions_are_numbers_and_models_are_in_alphabetical_order(tmp_path: Path) -> None:
    for name, version in [("b", 10), ("b", 9), ("a", 1)]:
        publish(tmp_path, MODEL.model_copy(update={"name": name, "version": version}), FILES)
    assert names(tmp_path) == ["a", "b"]
    assert versions(tmp_path, "b") == [9, 10]
    assert newest(tmp_path, "b") == tmp_path / "b" / "10"


def test_an_empty_store_has_no_models(tmp_path: Path) -> None:
    assert names(tmp_path) == []
    assert names(tmp_path / "missing") == []
    assert versions(tmp_path, "digits") == []
    with pytest.raises(UnknownModel, match="no model 'digits' in the store; there are none"):
        newest(tmp_path, "digits")


def test_an_unknown_model_is_refused_with_the_known_ones(bundle: Path) -> None:
    with pytest.raises(UnknownModel, match="no model 'faces' in the store; there are digits"):
        newest(bundle.parents[1], "faces")


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
@pytest.mark.parametrize("name", ["02", "0", "2.5", "-2", ".2-draft", "2 ", "٢", "latest"])
def test_what_publish_would_not_have_named_is_no_version(
    bundle: Path, name: str, make: Callable[[Path], None]
) -> None:
    make(bundle.parent / name)
    assert versions(bundle.parents[1], "digits") == [1]


def test_a_file_is_no_version(bundle: Path) -> None:
    (bundle.parent / "2").touch()
    assert newest(bundle.parents[1], "digits") == bundle


@pytest.mark.parametrize("name", FILES)
def test_one_byte_changed_is_refused_by_name(bundle: Path, name: str) -> None:
    content = FILES[name]
    (bundle / name).write_bytes(bytes([content[0] ^ 1]) + content[1:] if content else b"x")
    assert refusal(bundle).endswith(f"{name} is not the file that was published (sha256 differs)")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: (path.unlink(), path.mkdir())])
def test_a_missing_file_is_refused_by_name(bundle: Path, name: str, spoil: Callable[[Path], None]) -> None:
    spoil(bundle / name)
    assert refusal(bundle).endswith(f"{name} is missing or unreadable")


def test_a_missing_manifest_is_refused_by_name(bundle: Path) -> None:
    (bundle / "manifest.json").unlink()
    assert refusal(bundle).endswith("manifest.json is missing or unreadable")


@pytest.mark.parametrize("name", [*GRAPHS, "golden.npz"])
def test_a_file_that_the_manifest_must_list_is_refused_by_name(bundle: Path, name: str) -> None:
    reported = Manifest.from_json((bundle / "manifest.json").read_bytes())
    kept = {file: entry for file, entry in reported.files.items() if file != name}
    (bundle / "manifest.json").write_bytes(reported.model_copy(update={"files": kept}).to_json())
    assert refusal(bundle).endswith(f"manifest.json does not list {name}")


def test_every_byte_of_the_manifest_matters_or_is_harmless(bundle: Path) -> None:
    """Altered anywhere, it is refused, or it still lists every file with its true checksum."""
    reported = (bundle / "manifest.json").read_bytes()
    for position in range(0, len(reported), 7):
        altered = reported[:position] + bytes([reported[position] ^ 1]) + reported[position + 1 :]
        (bundle / "manifest.json").write_bytes(altered)
        try:
            opened = open_bundle(bundle)
        except BundleRefused:
            continue
        assert {name: opened.read(name) for name in FILES} == FILES


def test_an_unknown_format_is_refused_with_the_one_that_is_read(bundle: Path) -> None:
    reported = (bundle / "manifest.json").read_text()
    (bundle / "manifest.json").write_text(reported.replace('"format": 1', '"format": 2'))
    assert refusal(bundle).endswith("manifest.json: format is 2, this program reads format 1")


@pytest.mark.parametrize("place", ["digits/2", "faces/1"])
def test_a_manifest_in_the_wrong_folder_is_refused(bundle: Path, place: str) -> None:
    elsewhere = bundle.parents[1] / place
    shutil.copytree(bundle, elsewhere)
    assert refusal(elsewhere).endswith("manifest.json says digits/1")


def test_a_bundle_is_found_by_a_relative_path_too(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle)
    assert open_bundle(Path()).manifest.name == "digits"


@pytest.mark.parametrize("name", ["../x", "/x", "report/../../x", "..\\x", "", ".", "..", "a\0b"])
def test_a_path_that_leaves_the_folder_is_refused(bundle: Path, name: str) -> None:
    assert refusal(listed(bundle, name)).endswith(f"the path '{name}' leaves the bundle's folder")


@pytest.mark.parametrize("name", ["golden.npz", "image.encoder.onnx", "report/card.md"])
def test_a_link_that_leaves_the_folder_is_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    (bundle / name).rename(tmp_path / "outside")
    (bundle / name).symlink_to(tmp_path / "outside")
    assert refusal(bundle).endswith(f"the path '{name}' leaves the bundle's folder")


def test_a_folder_that_is_a_link_leaves_the_folder_too(bundle: Path, tmp_path: Path) -> None:
    (bundle / "report").rename(tmp_path / "outside")
    (bundle / "report").symlink_to(tmp_path / "outside")
    assert "leaves the bundle's folder" in refusal(bundle)


def test_a_manifest_that_is_a_link_is_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / "manifest.json").rename(tmp_path / "outside")
    (bundle / "manifest.json").symlink_to(tmp_path / "outside")
    assert refusal(bundle).endswith("the path 'manifest.json' leaves the bundle's folder")


def test_a_link_to_itself_is_refused(bundle: Path) -> None:
    (bundle / "golden.npz").unlink()
    (bundle / "golden.npz").symlink_to("golden.npz")
    assert "golden.npz" in refusal(bundle)


def test_a_whole_bundle_may_be_reached_by_a_link(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "mounted").symlink_to(bundle.parents[1])
    assert open_bundle(tmp_path / "mounted" / "digits" / "1").read("golden.npz") == FILES["golden.npz"]


def test_a_file_altered_after_opening_is_refused_when_read(bundle: Path) -> None:
    opened = open_bundle(bundle)
    (bundle / "golden.npz").write_bytes(b"NUMBERS")
    with pytest.raises(BundleRefused, match=r"golden\.npz is not the file that was published"):
        opened.read("golden.npz")


def test_a_file_that_the_manifest_does_not_list_is_never_read(bundle: Path) -> None:
    (bundle / "more.npz").write_bytes(b"x")
    with pytest.raises(BundleRefused, match=r"more\.npz"):
        open_bundle(bundle).read("more.npz")
