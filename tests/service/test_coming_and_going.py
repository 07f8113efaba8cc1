"""Models come and go while the service answers."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from models_store.stores import Folder
from service.app import create_app
from service.models.catalog import Catalog
from service.settings import Settings
from tests.service.changing import publish
from tests.service.counted import samples
from tests.service.running import process_of, running, until

BODY = {"inputs": {"label": [1, 2, 3]}}


@pytest.fixture
def place(bundle_folder: Path, tmp_path: Path) -> Folder:
    """A store with ``tiny/1``."""
    shutil.copytree(bundle_folder.parents[1], tmp_path / "store")
    return Folder(tmp_path / "store")


def serving(place: Folder, **options: Any) -> TestClient:
    given = {"store": place.address, "poll_seconds": 0.05, **options}
    return TestClient(create_app(Settings.model_validate(given)))


def answered(client: TestClient, path: str = "/encode") -> Any:
    return client.post(path, json=BODY).json()["version"]


def loaded(client: TestClient) -> dict[str, list[int]]:
    return {model["name"]: model["versions"] for model in client.get("/models").json()["models"]}


def refused(client: TestClient) -> list[tuple[str, int]]:
    return [(one["model"], one["version"]) for one in client.get("/models").json()["refused"]]


def test_the_start_does_not_wait_for_a_version_that_a_newer_one_replaced(
    place: Folder, bundle_folder: Path
) -> None:
    settings = Settings.model_validate({"store": place.address, "poll_seconds": 0})
    catalog = Catalog(settings)
    catalog.poll()  # the trial of version 1 begins
    publish(place, bundle_folder, 2)
    start = threading.Thread(target=catalog.refresh, daemon=True)
    start.start()
    start.join(60)
    assert not start.is_alive()
    assert list(catalog.versions["tiny"]) == [2]
    catalog.close()


def test_a_version_answers_after_the_first_poll_and_its_trial(place: Folder, bundle_folder: Path) -> None:
    """It waits for no second poll: without an interval, the service polls when a trial ends alone."""
    with serving(place, poll_seconds=0) as client:
        publish(place, bundle_folder, 4711)  # a number that has not passed a trial in another test
        catalog: Catalog = client.app_state["catalog"]
        catalog.poll()
        until(lambda: answered(client) == 4711)


CALLERS = 50


async def ask_during(
    change: Callable[[], None], address: str
) -> tuple[list[httpx2.Response], list[httpx2.Response]]:
    """Fifty callers send requests without pause while something changes.

    The change begins when each caller could have had a response.

    Returns:
        All responses in their order; and of each caller the last, whose request was sent after the change.
    """
    responses: list[httpx2.Response] = []
    begun, changed = asyncio.Event(), asyncio.Event()

    async def caller(client: httpx2.AsyncClient) -> httpx2.Response:
        while True:
            last = changed.is_set()
            responses.append(response := await client.post("/encode?seed=1", json=BODY))
            if len(responses) >= CALLERS:
                begun.set()
            if last:
                return response

    async with (
        httpx2.AsyncClient(base_url=address, timeout=60) as client,
        asyncio.TaskGroup() as group,
    ):
        callers = [group.create_task(caller(client)) for _ in range(CALLERS)]
        await begun.wait()
        await asyncio.to_thread(change)
        changed.set()
    return responses, [one.result() for one in callers]


def listed(address: str) -> Any:
    return httpx2.get(f"{address}/models", timeout=60).json()


@contextmanager
def service_on(place: Folder) -> Iterator[str]:
    settings = Settings(store=place.address, poll_seconds=0.05, default_model="tiny")
    with running(create_app(settings)) as (host, port):
        yield f"http://{host}:{port}"


def test_a_new_version_takes_over_while_fifty_callers_ask(place: Folder, bundle_folder: Path) -> None:
    """No request fails, and every answer comes from the one version or the other, and says from which."""
    with service_on(place) as address:

        def change() -> None:
            publish(place, bundle_folder, 2)
            until(lambda: listed(address)["models"][0]["versions"] == [2])

        responses, last = asyncio.run(ask_during(change, address))
    assert {response.status_code for response in responses} == {200}
    assert {response.json()["version"] for response in responses[:CALLERS]} == {1}
    assert {response.json()["version"] for response in last} == {2}
    # The graphs are the same, so no answer may differ but in its label.
    assert len({json.dumps({**response.json(), "version": None}) for response in responses}) == 1


def test_a_new_version_reaches_every_worker_without_a_failed_request(
    place: Folder, bundle_folder: Path
) -> None:
    """As it does one process; by hand nothing is changed, since that would reach one of them."""

    def answering(address: str) -> set[tuple[str, ...]]:
        """Versions that any of the processes still answers with."""
        metrics = samples(httpx2.get(f"{address}/metrics", timeout=60).text)["anyview_model_loaded"]
        return {labels for labels, value in metrics.items() if value}

    options = ("--workers", "2", "--poll-seconds", "0.1", "--allow-loading", "true")
    with process_of(Path(place.address), *options) as (address, _):
        for what in ("load", "unload"):
            refused = httpx2.post(f"{address}/models/tiny/{what}", timeout=60)
            assert (refused.status_code, "2 worker processes" in refused.json()["detail"]) == (409, True)

        def change() -> None:
            publish(place, bundle_folder, 2)
            until(lambda: answering(address) == {("tiny", "2")}, 60)

        responses, last = asyncio.run(ask_during(change, address))
    assert {response.status_code for response in responses} == {200}
    assert {response.json()["version"] for response in responses} == {1, 2}
    assert {response.json()["version"] for response in last} == {2}


def test_a_corrupt_version_changes_only_the_list_of_the_refused(place: Folder, bundle_folder: Path) -> None:
    with service_on(place) as address:

        def change() -> None:
            publish(place, bundle_folder, 2, golden_npz=b"nothing")
            until(lambda: listed(address)["refused"])

        responses, _ = asyncio.run(ask_during(change, address))
        assert {(r.status_code, r.json()["version"]) for r in responses} == {(200, 1)}
        assert "golden.npz is no archive of arrays" in listed(address)["refused"][0]["reason"]
        metrics = samples(httpx2.get(f"{address}/metrics").text)
        assert metrics["anyview_refused_bundles"] == {(): 1}
        assert metrics["anyview_model_loaded"] == {("tiny", "1"): 1}
        assert httpx2.get(f"{address}/readyz").status_code == 200


def test_a_version_that_cannot_be_served_is_not_tried_again_until_it_is_another_one(
    place: Folder, bundle_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as one that a person copies into the store file by file."""
    whole = Path(place.address) / "tiny" / "1"
    with serving(place) as client:
        copy = shutil.copytree(whole, Path(place.address) / "tiny" / ".2").rename(whole.with_name("2"))
        until(lambda: refused(client) == [("tiny", 2)])
        publish(place, bundle_folder, 1, "umbra")
        until(
            lambda: "umbra" in loaded(client)
        )  # loaded after tiny/2 was looked at again: names are in order
        assert len([record for record in caplog.records if "refused tiny/2" in record.message]) == 1
        manifest = json.loads((copy / "manifest.json").read_bytes())
        (copy / "manifest.json").write_text(json.dumps({**manifest, "version": 2}))
        until(lambda: loaded(client) == {"tiny": [2], "umbra": [1]})
        assert refused(client) == []


def test_a_new_model_is_found(place: Folder, bundle_folder: Path) -> None:
    with serving(place, default_model="tiny") as client:
        publish(place, bundle_folder, 1, "other")
        until(lambda: loaded(client) == {"other": [1], "tiny": [1]})
        assert answered(client, "/models/other/encode") == 1


def test_a_service_that_starts_on_an_empty_store_is_ready_when_a_model_is_there(
    tmp_path: Path, bundle_folder: Path
) -> None:
    place = Folder(tmp_path)
    with serving(place) as client:
        assert client.get("/readyz").status_code == 503
        publish(place, bundle_folder, 1)
        until(lambda: client.get("/readyz").status_code == 200)


def test_several_versions_answer_side_by_side(place: Folder, bundle_folder: Path) -> None:
    publish(place, bundle_folder, 2)
    publish(place, bundle_folder, 3)
    with serving(place, versions=2) as client:
        assert loaded(client) == {"tiny": [3, 2]}
        assert [answered(client, f"/encode{query}") for query in ("", "?version=2")] == [3, 2]
        assert client.get("/models/tiny?version=2").json()["version"] == 2
        missing = client.post("/encode?version=1", json=BODY)
        assert missing.status_code == 404
        assert missing.json()["detail"] == "version 1 of 'tiny' is not loaded; there is 3 and 2"


def test_what_is_unloaded_stays_so_until_it_is_loaded(place: Folder, bundle_folder: Path) -> None:
    publish(place, bundle_folder, 1, "other")
    with serving(place, allow_loading=True) as client:
        assert client.post("/models/other/unload").json() == {"model": "other", "versions": []}
        publish(place, bundle_folder, 2)  # when this is loaded, the store was looked at once more
        until(lambda: loaded(client) == {"tiny": [2]})
        assert client.post("/models/other/encode", json=BODY).status_code == 404
        assert client.post("/models/other/unload").status_code == 404
        assert client.post("/models/other/load").json() == {"model": "other", "versions": [1]}
        assert answered(client, "/models/other/encode") == 1


def test_a_version_that_is_bad_can_be_taken_back_by_hand(place: Folder, bundle_folder: Path) -> None:
    publish(place, bundle_folder, 2)
    with serving(place, allow_loading=True) as client:
        assert client.post("/models/tiny/load?version=1").json()["versions"] == [2, 1]
        assert client.post("/models/tiny/unload?version=2").json()["versions"] == [1]
        assert answered(client) == 1
        publish(place, bundle_folder, 3)
        until(lambda: loaded(client) == {"tiny": [3, 1]})  # what was loaded by hand stays
        assert answered(client) == 3


def test_what_cannot_be_loaded_is_told(place: Folder, bundle_folder: Path) -> None:
    publish(place, bundle_folder, 2, golden_npz=b"nothing")
    with serving(place, allow_loading=True) as client:
        spoilt = client.post("/models/tiny/load")
        assert (spoilt.status_code, "golden.npz" in spoilt.json()["error"]) == (422, True)
        for path in ("/models/tiny/load?version=9", "/models/nothing/load", "/models/tiny/unload?version=9"):
            assert client.post(path).status_code == 404
        assert loaded(client) == {"tiny": [1]}


@pytest.mark.parametrize(("options", "status"), [({}, 403), ({"allow_loading": True, "workers": 2}, 409)])
def test_models_follow_the_store_alone_unless_allowed(
    place: Folder, options: dict[str, Any], status: int
) -> None:
    with serving(place, **options) as client:
        for what in ("load", "unload"):
            response = client.post(f"/models/tiny/{what}")
            assert response.status_code == status
            assert "the store alone decides" in response.json()["detail"]
        assert answered(client) == 1
