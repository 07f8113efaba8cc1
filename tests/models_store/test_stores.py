"""The same promises wherever models are kept: a folder, or an object store, which knows no renaming."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import fsspec
import pytest

from models_store.errors import BundleRefused, ModelsStoreError, StoreAway, UnknownModel, VersionExists
from models_store.remote import ObjectStore
from models_store.stores import Folder, Store, open_named, store_at
from tests.models_store.bundles import FILES, MODEL


@pytest.fixture(params=["folder", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return store_at(
        tmp_path / "store" if request.param == "folder" else f"memory://{uuid.uuid4().hex}/models"
    )


@pytest.fixture
def objects() -> Iterator[tuple[ObjectStore, Any]]:
    """An empty object store, and its driver."""
    root = f"/{uuid.uuid4().hex}"
    driver = fsspec.filesystem("memory")
    yield ObjectStore(f"memory:/{root}/models"), driver
    if driver.exists(root):
        driver.rm(root, recursive=True)


def version(number: int, name: str = "digits") -> Any:
    return MODEL.model_copy(update={"name": name, "version": number})


def test_what_was_published_is_opened(place: Store) -> None:
    address = place.publish(MODEL, FILES)
    assert address == f"{place.address}/digits/1"
    opened = place.open("digits", 1)
    assert {name: opened.read(name) for name in opened.manifest.files} == FILES
    assert opened.manifest.model_copy(update={"files": {}}) == MODEL


def test_models_are_in_alphabetical_order_and_versions_by_age(place: Store) -> None:
    assert place.published() == {}
    for name, number in [("b", 10), ("b", 9), ("a", 1)]:
        place.publish(version(number, name), FILES)
    assert place.published() == {"a": [1], "b": [9, 10]}
    assert list(place.published()) == ["a", "b"]
    assert [place.next_number(name) for name in ("a", "b", "c")] == [2, 11, 1]


def test_a_published_version_never_changes(place: Store) -> None:
    place.publish(MODEL, FILES)
    stamp = place.stamp("digits", 1)
    with pytest.raises(VersionExists, match="digits/1 is published already"):
        place.publish(MODEL, {**FILES, "golden.npz": b"other"})
    assert place.open("digits", 1).read("golden.npz") == FILES["golden.npz"]
    assert place.stamp("digits", 1) == stamp


@pytest.mark.parametrize("name", ["../x", "/x", "manifest.json"])
def test_a_path_that_no_bundle_may_have_is_not_published(place: Store, name: str) -> None:
    with pytest.raises(BundleRefused):
        place.publish(MODEL, {**FILES, name: b"x"})
    assert place.published() == {}


def test_names_and_numbers_find_a_version(place: Store) -> None:
    for number in (1, 2):
        place.publish(version(number), FILES)
    assert open_named(place, "digits").manifest.version == 2
    assert open_named(place, "digits/1").manifest.version == 1
    for requested, reported in {
        "faces": "no model 'faces' in the store; there are digits",
        "digits/3": "no version 3 of 'digits' in the store; there are 1, 2",
        "digits/x": "no version x of 'digits'",
    }.items():
        with pytest.raises(UnknownModel, match=reported):
            open_named(place, requested)


def test_an_unknown_kind_of_address_is_told() -> None:
    with pytest.raises(StoreAway, match=r"the store nowhere://x cannot be asked: .*nowhere"):
        store_at("nowhere://x")


def test_an_address_of_a_local_folder_is_that_folder(tmp_path: Path) -> None:
    store_at(f"file://{tmp_path}").publish(MODEL, FILES)
    assert Folder(tmp_path).published() == {"digits": [1]}


class Driver:
    """A driver to which something happens before one of its writing calls.

    Arguments:
        driver: What it hands everything on to.
        calls: How many calls go well before.
        happens: What happens then.
    """

    def __init__(self, driver: Any, calls: int, happens: Callable[[], None]) -> None:
        self._driver, self._left, self._happens = driver, calls, happens

    def pipe_file(self, *arguments: Any, **options: Any) -> None:
        if self._left == 0:
            self._happens()
        self._left -= 1
        self._driver.pipe_file(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)


def fails(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize("calls", range(len(FILES) + 1))
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("no route")], ids=["killed", "away"])
def test_a_publisher_that_fails_at_any_object_leaves_no_version(
    objects: tuple[ObjectStore, Any], calls: int, error: BaseException
) -> None:
    place, driver = objects
    broken = ObjectStore(place.address, Driver(driver, calls, fails(error)))
    with pytest.raises((KeyboardInterrupt, StoreAway)):
        broken.publish(MODEL, FILES)
    assert place.published() == {}
    number = place.next_number("digits")
    place.publish(version(number), FILES)  # the unfinished draft blocks no later version
    assert place.open("digits", number).manifest.version == number


@pytest.mark.parametrize("calls", range(len(FILES) + 1))
def test_of_two_who_publish_the_same_version_one_gives_up(
    objects: tuple[ObjectStore, Any], calls: int
) -> None:
    """Wherever the one is when the other comes; and what is there is whole."""
    place, driver = objects
    won = []

    def attempt(publisher: ObjectStore, content: bytes) -> None:
        with suppress(VersionExists):
            publisher.publish(MODEL, {**FILES, "golden.npz": content})
            won.append(content)

    other = Driver(driver, calls, lambda: attempt(place, b"other"))
    attempt(ObjectStore(place.address, other), b"one")
    (content,) = won
    assert place.open("digits", 1).read("golden.npz") == content


SPOILT: dict[str, tuple[Callable[[Any, str], None], str]] = {
    "one byte": (lambda d, at: d.pipe_file(f"{at}/golden.npz", b"NUMBERS"), "golden.npz is not the file"),
    "a missing file": (lambda d, at: d.rm_file(f"{at}/golden.npz"), "golden.npz is missing"),
    "no manifest": (lambda d, at: d.rm_file(f"{at}/manifest.json"), "manifest.json is missing"),
    "another manifest": (lambda d, at: d.pipe_file(f"{at}/manifest.json", b"{}"), "manifest.json: "),
}


@pytest.mark.parametrize(("spoil", "reason"), SPOILT.values(), ids=SPOILT)
def test_what_is_not_whole_in_an_object_store_is_refused_by_name(
    objects: tuple[ObjectStore, Any], spoil: Callable[[Any, str], None], reason: str
) -> None:
    place, driver = objects
    place.publish(MODEL, FILES)
    stamp = place.stamp("digits", 1)
    spoil(driver, f"/{place.address.removeprefix('memory://')}/digits/1")
    with pytest.raises(BundleRefused, match=f"digits/1: {reason}"):
        place.open("digits", 1)
    assert place.stamp("digits", 1) != stamp


def test_a_path_that_leaves_the_folder_is_refused_before_it_is_written(
    objects: tuple[ObjectStore, Any], tmp_path: Path
) -> None:
    place, driver = objects
    place.publish(MODEL, FILES)
    key = f"/{place.address.removeprefix('memory://')}/digits/1/manifest.json"
    reported = driver.cat_file(key).replace(b'"report/card.md"', f'"{tmp_path}/x"'.encode())
    driver.pipe_file(key, reported)
    with pytest.raises(BundleRefused, match="leaves the bundle's folder"):
        place.open("digits", 1)
    assert not (tmp_path / "x").exists()


def test_files_of_a_bundle_are_kept_as_long_as_it_is(objects: tuple[ObjectStore, Any]) -> None:
    place, driver = objects
    place.publish(MODEL, FILES)
    bundle = place.open("digits", 1)
    folder = bundle.folder
    driver.rm(f"/{place.address.removeprefix('memory://')}", recursive=True)
    assert bundle.read("report/card.md") == FILES["report/card.md"]
    del bundle
    assert not folder.exists()


def test_a_store_that_is_away_says_so_and_why(objects: tuple[ObjectStore, Any]) -> None:
    class Away:
        find = cat_file = staticmethod(lambda *_, **__: fails(ConnectionError("no route"))())

    place = ObjectStore(objects[0].address, Away())
    for ask in (place.published, lambda: place.open("digits", 1), lambda: place.publish(MODEL, FILES)):
        with pytest.raises(ModelsStoreError, match=r"the store memory://.* does not answer: no route"):
            ask()
