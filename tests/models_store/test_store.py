"""A version is there whole and unchanged, or it is not there; what is neither is refused by name."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from types import FrameType
from typing import Any

import onnx
import pytest

from models_store.errors import BundleRefused, UnknownModel, VersionExists
from models_store.manifest import FileEntry, Manifest
from models_store.store import names, newest, open_bundle, publish, versions
from tests.models_store.examples import image, manifest

REPOSITORY = Path(__file__).parents[2]


def graph(inner: str = "h", *weights: onnx.TensorProto) -> onnx.ModelProto:
    """h = x, y = h, with the intermediate value of that name."""
    x, y, h = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, 2])
        for name in ("x", "y", inner)
    )
    nodes = [onnx.helper.make_node("Identity", [a], [b]) for a, b in (("x", inner), (inner, "y"))]
    made = onnx.helper.make_graph(nodes, "graph", [x], [y], weights, value_info=[h])
    return onnx.helper.make_model(made)


MODEL = manifest(modalities=[image(8, 6)])
GRAPHS = ["image.encoder.onnx", "image.decoder.onnx"]
FILES = {
    **{name: graph(name).SerializeToString() for name in GRAPHS},
    "golden.npz": b"numbers",
    "report/card.md": b"# Digits",
    "report/empty.csv": b"",
}


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def listed(folder: Path, name: str, content: bytes = b"") -> Path:
    """Adds a name to the manifest's list of files, whatever is there."""
    told = Manifest.from_json((folder / "manifest.json").read_bytes())
    entry = FileEntry(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    altered = told.model_copy(update={"files": {**told.files, name: entry}})
    (folder / "manifest.json").write_bytes(altered.to_json())
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(BundleRefused) as refused:
        open_bundle(folder)
    sentence = str(refused.value)
    assert sentence.startswith(f"{folder.parent.name}/{folder.name}: ")
    assert "\n" not in sentence
    return sentence


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return publish(tmp_path / "store", MODEL, FILES)


def test_what_was_published_is_opened(tmp_path: Path) -> None:
    folder = publish(tmp_path, MODEL, FILES)
    opened = open_bundle(folder)
    assert folder == opened.folder == tmp_path / "digits" / "1"
    assert {name: opened.read(name) for name in opened.manifest.files} == FILES
    assert opened.manifest.model_copy(update={"files": {}}) == MODEL
    assert set(files_in(folder)) == {*FILES, "manifest.json"}


def test_nothing_but_the_version_is_left_behind(bundle: Path) -> None:
    assert entries(bundle.parent) == ["1"]


def test_a_service_of_another_user_may_read_it(bundle: Path) -> None:
    assert bundle.stat().st_mode & 0o777 == 0o755


def test_a_published_version_never_changes(bundle: Path) -> None:
    before = files_in(bundle)
    with pytest.raises(VersionExists, match="digits/1 is published already"):
        publish(
            bundle.parents[1],
            MODEL.model_copy(update={"description": "better"}),
            {**FILES, "golden.npz": b"other"},
        )
    assert files_in(bundle) == before
    assert entries(bundle.parent) == ["1"]


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


def test_of_concurrent_publishers_one_wins(tmp_path: Path) -> None:
    n = 8
    start = Barrier(n)

    def attempt(i: int) -> Path | None:
        start.wait()
        try:
            return publish(tmp_path, MODEL, {**FILES, "golden.npz": str(i).encode()})
        except VersionExists:
            return None

    with ThreadPoolExecutor(n) as pool:
        outcomes = list(pool.map(attempt, range(n)))
    [winner] = [i for i, folder in enumerate(outcomes) if folder is not None]
    assert open_bundle(tmp_path / "digits" / "1").read("golden.npz") == str(winner).encode()
    assert entries(tmp_path / "digits") == ["1"]


def kill_at(step: int) -> Callable[[FrameType, str, Any], None]:
    """A profiler that kills its process, as ``kill -9`` does, before a call that touches the disk."""
    touching = {"mkdir", "open", "write", "flush", "fsync", "fileno", "close", "__exit__", "chmod", "rename"}
    remaining = step

    def hook(_: FrameType, event: str, called: Any) -> None:
        nonlocal remaining
        remaining -= event == "c_call" and called.__name__ in touching
        if remaining <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def publish_and_be_killed(stores: Path) -> None:
    """Publishes into STORES/1, STORES/2, …, killed one step later each time, until one publisher survives."""
    step, status = 0, -1
    while status != 0:
        step += 1
        child = os.fork()
        if child == 0:
            sys.setprofile(kill_at(step))
            publish(stores / str(step), MODEL, FILES)
            sys.setprofile(None)
            os._exit(0)
        status = os.waitpid(child, 0)[1]


def test_a_publisher_killed_at_any_step_leaves_a_whole_version_or_none(tmp_path: Path) -> None:
    module = f"from {__name__} import *; publish_and_be_killed(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", module, tmp_path], cwd=REPOSITORY, check=True)  # noqa: S603 (ours)
    stores = sorted(tmp_path.iterdir(), key=lambda store: int(store.name))
    published = [names(store) == ["digits"] and versions(store, "digits") == [1] for store in stores]
    assert len(stores) > 4 * len(FILES)
    assert published.index(True) > 3 * len(FILES)
    assert published == sorted(published)  # killed before some step there is none, after it there is one
    for store in stores[: published.index(True)]:
        assert all(name.startswith(".") for folder in store.iterdir() for name in entries(folder))
        assert names(store) == []
        assert versions(store, "digits") == []
    for store in stores[published.index(True) :]:
        assert files_in(open_bundle(newest(store, "digits")).folder).keys() == {*FILES, "manifest.json"}


def test_what_a_killed_publisher_left_is_in_nobodys_way(tmp_path: Path) -> None:
    draft = tmp_path / "digits" / ".1-abandoned"
    draft.mkdir(parents=True)
    (draft / "manifest.json").write_bytes(b"{")
    publish(tmp_path, MODEL, FILES)
    assert open_bundle(newest(tmp_path, "digits")).read("golden.npz") == FILES["golden.npz"]


@pytest.mark.parametrize("failing", ["fsync", "rename"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="No space left"):
        publish(tmp_path, MODEL, FILES)
    assert entries(tmp_path / "digits") == []


@pytest.fixture
def flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """What publish flushes into the store at ``tmp_path``: inodes, and whether the version was visible."""
    seen: list[tuple[int, bool]] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        seen.append((os.fstat(descriptor).st_ino, versions(tmp_path, "digits") == [1]))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    return seen


def test_every_file_and_folder_is_flushed_before_the_version_is_visible(
    tmp_path: Path, flushed: list[tuple[int, bool]]
) -> None:
    folder = publish(tmp_path, MODEL, FILES)
    before = {inode for inode, visible in flushed if not visible}
    assert {path.stat().st_ino for path in [folder, *folder.rglob("*")]} <= before


def test_every_folder_above_a_version_is_flushed_before_publish_returns(
    tmp_path: Path, flushed: list[tuple[int, bool]]
) -> None:
    """Else a power cut may take back the name of a new model, and with it what was published."""
    folder = publish(tmp_path, MODEL, FILES)
    assert folder.parent.stat().st_ino in {inode for inode, visible in flushed if visible}
    assert tmp_path.stat().st_ino in {inode for inode, _ in flushed}


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\\x", "", ".", "..", "a\0b"])
def test_a_path_that_leaves_the_folder_is_not_published(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleRefused, match="leaves the bundle's folder"):
        publish(tmp_path, MODEL, {**FILES, name: b"x"})
    assert files_in(tmp_path) == {}


@pytest.mark.parametrize(
    "files",
    [
        {**FILES, "manifest.json": b"{}"},
        {**FILES, "./manifest.json": b"{}"},
        {name: content for name, content in FILES.items() if name != "golden.npz"},
    ],
)
def test_what_no_reader_would_open_is_not_published(tmp_path: Path, files: dict[str, bytes]) -> None:
    """A number that is taken by a broken bundle can never be given to a whole one."""
    with pytest.raises(BundleRefused, match=r"manifest\.json|golden\.npz"):
        publish(tmp_path, MODEL, files)
    assert names(tmp_path) == []


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
    told = Manifest.from_json((bundle / "manifest.json").read_bytes())
    kept = {file: entry for file, entry in told.files.items() if file != name}
    (bundle / "manifest.json").write_bytes(told.model_copy(update={"files": kept}).to_json())
    assert refusal(bundle).endswith(f"manifest.json does not list {name}")


def test_every_byte_of_the_manifest_matters_or_is_harmless(bundle: Path) -> None:
    """Altered anywhere, it is refused, or it still lists every file with its true checksum."""
    told = (bundle / "manifest.json").read_bytes()
    for position in range(0, len(told), 7):
        altered = told[:position] + bytes([told[position] ^ 1]) + told[position + 1 :]
        (bundle / "manifest.json").write_bytes(altered)
        try:
            opened = open_bundle(bundle)
        except BundleRefused:
            continue
        assert {name: opened.read(name) for name in FILES} == FILES


def test_an_unknown_format_is_refused_with_the_one_that_is_read(bundle: Path) -> None:
    told = (bundle / "manifest.json").read_text()
    (bundle / "manifest.json").write_text(told.replace('"format": 1', '"format": 2'))
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


def external_weight() -> onnx.TensorProto:
    """A tensor whose numbers lie in another file."""
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[2])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../passwords")
    return tensor


def with_graph(folder: Path, content: bytes) -> Path:
    (folder / "image.decoder.onnx").write_bytes(content)
    return listed(folder, "image.decoder.onnx", content)


def test_a_graph_with_data_elsewhere_is_refused_by_name(bundle: Path) -> None:
    content = graph("h", external_weight()).SerializeToString()
    assert refusal(with_graph(bundle, content)).endswith(
        "image.decoder.onnx refers to data outside of its own file"
    )


def test_a_graph_with_data_elsewhere_is_refused_however_its_fields_are_ordered(bundle: Path) -> None:
    content = graph("h", external_weight()).SerializeToString()
    entry = external_weight().external_data[0].SerializeToString()
    key, value = entry[: 2 + len("location")], entry[2 + len("location") :]
    swapped = content.replace(key + value, value + key)
    assert onnx.load_model_from_string(swapped).graph.initializer[0] == external_weight()
    assert "image.decoder.onnx" in refusal(with_graph(bundle, swapped))


def in_a_constant(model: onnx.ModelProto) -> None:
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["w"], value=external_weight()))


def in_a_branch(model: onnx.ModelProto) -> None:
    branch = graph("h", external_weight()).graph
    model.graph.node.append(onnx.helper.make_node("If", ["c"], ["b"], then_branch=branch))


def in_one_of_many_graphs(model: onnx.ModelProto) -> None:
    branches = [graph().graph, graph("h", external_weight()).graph]
    model.graph.node.append(onnx.helper.make_node("Custom", ["x"], ["b"], branches=branches))


def in_a_sparse_weight(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add(values=external_weight(), dims=[9])


def in_training(model: onnx.ModelProto) -> None:
    model.training_info.add(initialization=graph("h", external_weight()).graph)


def in_a_function(model: onnx.ModelProto) -> None:
    node = onnx.helper.make_node("Constant", [], ["w"], value=external_weight())
    model.functions.append(onnx.FunctionProto(name="f", domain="own", output=["w"], node=[node]))


@pytest.mark.parametrize(
    "hide",
    [in_a_constant, in_a_branch, in_one_of_many_graphs, in_a_sparse_weight, in_a_function, in_training],
)
def test_a_graph_with_data_elsewhere_is_refused_however_deep_it_hides(
    bundle: Path, hide: Callable[[onnx.ModelProto], None]
) -> None:
    model = graph()
    hide(model)
    assert "image.decoder.onnx" in refusal(with_graph(bundle, model.SerializeToString()))


@pytest.mark.parametrize(
    "hide",
    [
        lambda model, graph: (
            b"\x9b\x06\x9c\x06" + model + b"\x3a" + graph
        ),  # after a group, which is obsolete
        lambda model, graph: model + b"\xba\x80\x80\x80\x10" + graph,  # under a number of more than 32 bits
    ],
    ids=["group", "long number"],
)
def test_bytes_that_a_runtime_reads_more_kindly_than_we_do_are_refused(
    bundle: Path, hide: Callable[[bytes, bytes], bytes]
) -> None:
    """onnxruntime opens both, and finds the tensor whose numbers lie elsewhere."""
    model = graph("h", external_weight())
    content = model.graph.SerializeToString()
    model.ClearField("graph")
    length = bytes([len(content) & 127 | 128, len(content) >> 7])
    hidden = hide(model.SerializeToString(), length + content)
    assert "image.decoder.onnx" in refusal(with_graph(bundle, hidden))


@pytest.mark.parametrize("content", [b"\xff", b"<html>", graph().SerializeToString()[:-1]])
def test_a_file_that_is_no_graph_is_refused_by_name(bundle: Path, content: bytes) -> None:
    assert "image.decoder.onnx" in refusal(with_graph(bundle, content))


@pytest.mark.parametrize("inner", ["h", "location"])
def test_a_graph_of_its_own_is_opened_whatever_its_values_are_called(bundle: Path, inner: str) -> None:
    content = graph(inner).SerializeToString()
    assert open_bundle(with_graph(bundle, content)).read("image.decoder.onnx") == content
