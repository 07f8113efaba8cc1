"""Of a store with any number of folders, a service considers some, and logs once what it passes over."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from models_store.stores import Folder
from service.models.catalog import Catalog
from service.models.listing import MOST_MODELS, MOST_VERSIONS, Listing
from service.settings import Settings
from tests.service.changing import publish


@pytest.fixture
def place(bundle_folder: Path, tmp_path: Path) -> Folder:
    """A store with ``tiny/1``."""
    shutil.copytree(bundle_folder.parents[1], tmp_path / "store")
    return Folder(tmp_path / "store")


@pytest.mark.parametrize("loaded", [1, MOST_VERSIONS + 5])
def test_the_newest_versions_of_each_model_are_considered(loaded: int) -> None:
    most = max(MOST_VERSIONS, loaded)
    every = [*range(1, 2 * most)]
    listing = Listing((), loaded)
    assert listing.of({"few": [3, 7], "many": every}) == {"few": [3, 7], "many": every[-most:]}


def test_the_first_models_are_considered_and_required_ones() -> None:
    published = {f"m{number:06}": [1] for number in range(MOST_MODELS + 10)}
    names = list(published)
    assert list(Listing((), 1).of(published)) == names[:MOST_MODELS]
    assert list(Listing((names[-1], "missing"), 1).of(published)) == [*names[: MOST_MODELS - 1], names[-1]]


def test_what_is_passed_over_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    published = {f"m{number:06}": [1] for number in range(MOST_MODELS + 10)}
    published |= {"m000001": [*range(1, 20_000)], "m000002": [*range(1, 20_000)]}
    listing = Listing((), 1)
    for _ in range(3):
        listing.of(published)
    assert [record.message for record in caplog.records] == [
        f"passed over 10 models of the store: a service considers {MOST_MODELS}",
        "passed over old versions of 'm000001' and 'm000002': "
        f"a service considers the newest {MOST_VERSIONS} of each model",
    ]


def test_many_empty_folders_and_a_link_are_refused_once(
    place: Folder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = Path(place.address)
    for number in range(10, 10 + 3 * MOST_VERSIONS):
        (root / "tiny" / str(number)).mkdir()
    (tmp_path / "elsewhere").mkdir()
    (root / "tiny" / "1000").symlink_to(tmp_path / "elsewhere")
    with caplog.at_level(logging.WARNING):
        catalog = Catalog(Settings(store=place.address))
        for number in range(3):
            (tmp_path / "elsewhere" / str(number)).mkdir()
            catalog.poll()
        catalog.close()
    messages = [record.message for record in caplog.records]
    assert sum(message.startswith("refused tiny/") for message in messages) == MOST_VERSIONS
    assert sum("tiny/1000: is a symbolic link" in message for message in messages) == 1
    assert len(messages) == MOST_VERSIONS + 1
    assert len(catalog.refused) == len(catalog.published["tiny"]) == MOST_VERSIONS


def test_a_loaded_version_stays_when_many_newer_ones_are_published(
    place: Folder, bundle_folder: Path
) -> None:
    publish(place, bundle_folder, 2)
    catalog = Catalog(Settings(store=place.address))
    try:
        catalog.refresh()
        assert catalog.load("tiny", 1) == [2, 1]
        for number in range(10, 10 + MOST_VERSIONS):
            (Path(place.address) / "tiny" / str(number)).mkdir()
        catalog.poll()
        assert list(catalog.versions["tiny"]) == [2, 1]
        shutil.rmtree(Path(place.address) / "tiny" / "1")
        catalog.poll()
        assert list(catalog.versions["tiny"]) == [2]
    finally:
        catalog.close()
