"""GET /models, health, and stores in which not everything is sound."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx2
import onnx
import pytest
from fastapi.testclient import TestClient

from models_store.manifest import Manifest
from service.app import create_app
from service.models.catalog import Catalog
from service.routes import models as routes
from service.settings import Settings
from tests.service.asking import SEVEN, parts
from tests.service.running import running, until


def serving(store: Path, **options: object) -> TestClient:
    return TestClient(create_app(Settings.model_validate({"store": store, **options})))


@pytest.fixture
def store(bundle_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model as ``tiny/1``, ``tiny/2`` and ``other/1``."""
    for name, version in (("tiny", 1), ("tiny", 2), ("other", 1)):
        copy = shutil.copytree(bundle_folder, tmp_path / name / str(version))
        manifest = json.loads((copy / "manifest.json").read_bytes())
        (copy / "manifest.json").write_text(json.dumps({**manifest, "name": name, "version": version}))
    return tmp_path


def change_byte(folder: Path) -> None:
    content = bytearray((folder / "image.encoder.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "image.encoder.onnx").write_bytes(content)


def change_manifest(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        (folder / "manifest.json").write_text(json.dumps({**manifest, **changes}))

    return change


def put_graph(folder: Path, file: str, content: bytes) -> None:
    """With its checksum in the manifest."""
    (folder / file).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"][file] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def give_doubles(folder: Path) -> None:
    file = "image.encoder.onnx"
    model = onnx.load(folder / file)
    for node in model.graph.node:
        node.output[:] = ["single" if name == "mu" else name for name in node.output]
        node.input[:] = ["single" if name == "mu" else name for name in node.input]
    model.graph.node.append(onnx.helper.make_node("Cast", ["single"], ["mu"], to=onnx.TensorProto.DOUBLE))
    (mu,) = (output for output in model.graph.output if output.name == "mu")
    mu.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    put_graph(folder, file, model.SerializeToString())


def add_path(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"]["../../other/1/golden.npz"] = manifest["files"]["golden.npz"]
    (folder / "manifest.json").write_text(json.dumps(manifest))


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "one byte": (change_byte, "tiny/2: image.encoder.onnx is not the file that was published"),
    "a missing file": (lambda f: (f / "golden.npz").unlink(), "tiny/2: golden.npz is missing"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "tiny/2: manifest.json is missing"),
    "another format": (change_manifest(format=2), "manifest.json: format is 2, this program reads format 1"),
    "another size": (change_manifest(latent_dim=17), "image.encoder.onnx 'mu' has the shape"),
    "doubles": (give_doubles, "image.encoder.onnx gives 'mu' of tensor(double), tensor(float) is expected"),
    "a path outside": (add_path, "the path '../../other/1/golden.npz' leaves the bundle's folder"),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_version_is_refused_by_name_and_everything_else_serves(
    store: Path, damage: Callable[[Path], None], reason: str
) -> None:
    damage(store / "tiny" / "2")
    with serving(store, default_model="tiny") as client:
        listed = client.get("/models").json()
        assert {(m["name"], m["version"]) for m in listed["models"]} == {("tiny", 1), ("other", 1)}
        assert [(r["model"], r["version"]) for r in listed["refused"]] == [("tiny", 2)]
        assert reason in listed["refused"][0]["reason"]
        assert client.post("/encode", **parts(image=SEVEN)).json()["version"] == 1
        assert client.post("/models/other/encode", **parts(image=SEVEN)).status_code == 200
        assert client.get("/readyz").status_code == 200


def test_a_graph_that_no_longer_gives_its_golden_values_is_refused(store: Path) -> None:
    """The checksums are right, the numbers are not: the graphs of another training."""
    folder = store / "tiny" / "2"
    content = (folder / "image.encoder.onnx").read_bytes()
    put_graph(folder, "image.encoder.onnx", content.replace(content[-4000:], content[-4000:][::-1]))
    with serving(store, default_model="tiny") as client:
        (refused,) = client.get("/models").json()["refused"]
        assert refused["reason"].startswith("tiny/2: image.encoder.onnx ")


def test_the_newest_version_answers(store: Path) -> None:
    with serving(store) as client:
        assert client.post("/models/tiny/encode", **parts(image=SEVEN)).json()["version"] == 2


def test_among_several_models_one_must_be_named_or_set(store: Path) -> None:
    with serving(store) as client:
        response = client.post("/encode", **parts(image=SEVEN))
        assert response.status_code == 404
        assert "ask /models/NAME/…, where NAME is one of 'other' and 'tiny'" in response.json()["detail"]
    with serving(store, default_model="other") as client:
        assert client.post("/encode", **parts(image=SEVEN)).json()["model"] == "other"


def test_the_manifest_is_served_as_it_was_published(client: TestClient, bundle_folder: Path) -> None:
    served = client.get("/models/tiny").content
    assert Manifest.from_json(served) == Manifest.from_json((bundle_folder / "manifest.json").read_bytes())


def test_models_are_listed(client: TestClient) -> None:
    listed = client.get("/models").json()
    assert listed["default"] == "tiny"
    assert listed["models"][0]["modalities"] == ["image", "label"]


def test_what_a_bundle_does_not_have_is_not_found(client: TestClient) -> None:
    for path in ("/models/tiny/card", "/models/tiny/report/x.png", "/models/tiny/report/..%2Fmanifest.json"):
        assert client.get(path).status_code == 404


VALUE = {
    "label": {"measure": "nats", "views": {"image": {"alone": 1.25, "rows": 100}}},
    "image": {"measure": "R²", "views": {"label": {"alone": 0.25, "added": 0.125, "rows": 100}}},
}


def test_the_value_of_views_is_that_of_the_bundle(store: Path) -> None:
    change_manifest(metrics={"value": VALUE})(store / "tiny" / "2")
    with serving(store, default_model="tiny") as client:
        assert client.get("/models/tiny/value").json() == {"targets": VALUE}


@pytest.mark.parametrize("metrics", [{}, {"value": {"label": 3}}], ids=["older", "malformed"])
def test_a_model_without_the_value_of_its_views_names_the_command_that_adds_it(
    store: Path, metrics: dict[str, object]
) -> None:
    change_manifest(metrics=metrics)(store / "tiny" / "2")
    with serving(store, default_model="tiny") as client:
        response = client.get("/models/tiny/value")
    assert response.status_code == 404
    assert "`anyview-train calibrate tiny` publishes a version that has it" in response.json()["detail"]


def test_an_empty_store_lives_but_is_not_ready(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").status_code == 503
        response = client.post("/encode", **parts(image=SEVEN))
        assert (response.status_code, response.json()["status"]) == (503, 503)
        assert "no model is loaded from the store" in response.json()["detail"]


def test_a_wanted_model_that_is_not_there_is_named_by_readiness(store: Path) -> None:
    with serving(store, models=["tiny", "digits"]) as client:
        assert client.get("/readyz").json() == {
            "status": "not ready",
            "missing": ["digits"],
            "store": "present",
        }


def test_docs_load_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "http" not in page.replace("https://fastapi.tiangolo.com/img/favicon.png", "http")
    for path in ("/static-offline-docs/swagger-ui-bundle.js", "/static-offline-docs/swagger-ui.css"):
        assert path in page
        assert client.get(path).status_code == 200


def test_examples_can_be_asked_about_as_they_are(client: TestClient) -> None:
    examples = client.get("/models/tiny/examples", params={"n_data": 3})
    answer = client.post("/models/tiny/generate", json=examples.json()).json()
    assert answer["n_data"] == 3
    assert answer["cond_mod"] == list(examples.json()["inputs"])


def test_a_picture_of_an_example_is_read_as_its_numbers(client: TestClient) -> None:
    picture = client.get("/models/tiny/examples/2/image")
    assert picture.headers["content-type"] == "image/png"
    numbers = client.get("/models/tiny/examples").json()["inputs"]["image"][2]
    as_file = client.post("/models/tiny/encode", files={"image": picture.content}).json()
    as_numbers = client.post("/models/tiny/encode", json={"inputs": {"image": [numbers]}}).json()
    assert as_file["mu"] == as_numbers["mu"]


def test_examples_are_not_computed_for_clients_that_have_left(
    bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One at work blocks the only thread; five wait behind it and leave."""
    entered, gate, rows = threading.Event(), threading.Event(), list[int]()

    def example(_loaded: object, row: int, _modality: str) -> tuple[str, bytes]:
        rows.append(row)
        entered.set()
        gate.wait()
        return "image/png", b""

    monkeypatch.setattr(routes, "_example_file", example)
    settings = Settings(store=bundle_folder.parents[1], threads=1)
    catalog = Catalog(settings)
    with (
        running(create_app(settings, lambda _: catalog)) as (host, port),
        httpx2.Client(base_url=f"http://{host}:{port}", timeout=60) as client,
        ThreadPoolExecutor(1) as clients,
    ):
        current = catalog.loaded["tiny"].model.admission.current
        first = clients.submit(client.get, "/models/tiny/examples/0/image")
        try:
            assert entered.wait(60)
            with ExitStack() as connections:
                for row in range(1, 6):
                    connection = connections.enter_context(socket.create_connection((host, port)))
                    path = f"/models/tiny/examples/{row}/image"
                    connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
                until(lambda: len(current) == 6)
            until(lambda: len(current) == 1)
        finally:
            gate.set()
        assert first.result().status_code == 200
        assert client.get("/models/tiny/examples/9/image").status_code == 200
    assert rows == [0, 9]


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        (
            "64/image",
            "'tiny' has no example 64 of 'image': there are 32, counted from 0, and some may lack a view",
        ),
        (
            "0/sound",
            "'tiny' has no example 0 of 'sound': there are 0, counted from 0, and some may lack a view",
        ),
        ("0/label", "a row of 'label' is no picture or sound; /models/tiny/examples has it"),
    ],
)
def test_an_example_that_is_not_there_is_named(client: TestClient, path: str, detail: str) -> None:
    response = client.get(f"/models/tiny/examples/{path}")
    assert (response.status_code, response.json()["detail"]) == (404, detail)
