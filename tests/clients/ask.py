"""Use of the generated client: ``python ask.py ADDRESS KEY FILE``, where FILE is an .npy of an image.

The test checks this file with strict mypy together with the client, and then runs it. It prints the mean of
the posterior and the operations that succeeded.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
from generated_client import AuthenticatedClient, Client
from generated_client.api.health import livez, metrics, readyz
from generated_client.api.kinds import (
    kinds_encode,
    kinds_encode_json,
    kinds_encode_npz,
    kinds_generate,
    kinds_generate_json,
    kinds_generate_npz,
    kinds_score,
    kinds_score_json,
    kinds_score_npz,
)
from generated_client.api.models import (
    get_card,
    get_example_file,
    get_examples,
    get_latent,
    get_model,
    get_report,
    get_value,
    list_models,
    load_model,
    unload_model,
)
from generated_client.api.questions import (
    encode,
    encode_json,
    encode_npz,
    encode_with,
    encode_with_json,
    encode_with_npz,
    generate,
    generate_json,
    generate_npz,
    generate_with,
    generate_with_json,
    generate_with_npz,
    score,
    score_json,
    score_npz,
    score_with,
    score_with_json,
    score_with_npz,
)
from generated_client.models.any_model_document import AnyModelDocument
from generated_client.models.any_model_form import AnyModelForm
from generated_client.models.examples import Examples
from generated_client.models.kinds_body_row import KindsBodyRow
from generated_client.models.kinds_document import KindsDocument
from generated_client.models.kinds_encoded import KindsEncoded
from generated_client.models.kinds_form import KindsForm
from generated_client.models.kinds_generated import KindsGenerated
from generated_client.models.kinds_inputs import KindsInputs
from generated_client.models.kinds_scored import KindsScored
from generated_client.models.latent_map import LatentMap
from generated_client.models.loaded_versions import LoadedVersions
from generated_client.models.manifest import Manifest
from generated_client.models.model_list import ModelList
from generated_client.models.problem import Problem
from generated_client.models.value_of_views import ValueOfViews
from generated_client.types import File, Unset

OPERATIONS = "generated_client.api."
CATS = KindsDocument(inputs=KindsInputs(animal=["cat", "dog"]))


def record_operations(used: set[str]) -> Callable[[httpx.Response], None]:
    """A hook that adds the client function of each successful response to ``used``."""

    def record(response: httpx.Response) -> None:
        if response.is_success:
            callers = (frame.frame.f_globals["__name__"] for frame in inspect.stack(context=0))
            used.update(name.rpartition(".")[2] for name in callers if name.startswith(OPERATIONS))

    return record


def upload_files(client: AuthenticatedClient, content: bytes) -> list[list[float]]:
    """Sends a file and a label as a form, to the model by name and to the default model."""
    form = KindsForm(image=[File(io.BytesIO(content), "image.npy")], animal=["cat"])
    answer = kinds_encode.sync(client=client, body=form, n=3, seed=1)
    assert isinstance(answer, KindsEncoded)
    assert (answer.model, answer.cond_mod, len(answer.z[0])) == ("kinds", ["image", "animal"], 3)
    assert abs(sum(shares[0] for shares in answer.contributions.to_dict().values()) - 1) < 1e-4
    again = File(io.BytesIO(content), "image.npy")
    alone = encode.sync(client=client, body=KindsForm(image=[again], body=[KindsBodyRow(height=172)]))
    assert isinstance(alone, KindsEncoded)
    assert alone.cond_mod == ["image", "body"]
    only = encode.sync(client=client, body=KindsForm(image=[File(io.BytesIO(content), "x")]))
    assert isinstance(only, KindsEncoded)
    return only.mu


def send_archives(client: AuthenticatedClient, content: bytes, mu: list[list[float]]) -> None:
    """Sends arrays as an npz archive to each operation."""
    stream = io.BytesIO()
    np.savez(stream, image=np.load(io.BytesIO(content)))

    def archive() -> File:
        return File(io.BytesIO(stream.getvalue()))

    for encoded in (
        encode_npz.sync(client=client, body=archive()),
        kinds_encode_npz.sync(client=client, body=archive()),
    ):
        assert isinstance(encoded, KindsEncoded)
        assert encoded.mu == mu
    for generated in (
        generate_npz.sync(client=client, body=archive(), gen_mod=["animal"], k=5),
        kinds_generate_npz.sync(client=client, body=archive(), gen_mod=["animal"], k=5),
    ):
        assert isinstance(generated, KindsGenerated)
    for scored in (
        score_npz.sync(client=client, body=archive(), k=5),
        kinds_score_npz.sync(client=client, body=archive(), k=5),
    ):
        assert isinstance(scored, KindsScored)
        assert scored.question == ["image"]


def send_json(client: AuthenticatedClient) -> None:
    """Sends rows with different missing modalities, and reads targets with their units."""
    rows = KindsInputs(animal=["owl", None, "cat"], body=[None, KindsBodyRow(height=180, mass=None), None])
    rows.place = [None, None, 'sea, "deep"']
    for answer in (
        kinds_generate_json.sync(
            client=client, body=KindsDocument(inputs=rows), gen_mod=["body", "animal"], k=20
        ),
        generate_json.sync(client=client, body=KindsDocument(inputs=rows), gen_mod=["body", "animal"], k=20),
    ):
        assert isinstance(answer, KindsGenerated)
        body, animal = answer.targets.body, answer.targets.animal
        assert not isinstance(body, Unset)
        assert not isinstance(body.mean, Unset)
        assert (body.columns, len(body.mean), len(body.mean[0])) == (["height", "mass", "age"], 3, 3)
        assert not isinstance(animal, Unset)
        assert not isinstance(animal.ranked, Unset)
        assert set(animal.ranked[0]) == {"cat", "dog", "owl"}
    for encoded in (
        encode_json.sync(client=client, body=CATS),
        kinds_encode_json.sync(client=client, body=CATS),
    ):
        assert isinstance(encoded, KindsEncoded)
        assert encoded.n_data == 2
    for scored in (
        score_json.sync(client=client, body=CATS, k=50),
        kinds_score_json.sync(client=client, body=CATS, k=50),
        score.sync(client=client, body=KindsForm(animal=["cat", "dog"]), k=50),
        kinds_score.sync(client=client, body=KindsForm(animal=["cat", "dog"]), k=50),
    ):
        assert isinstance(scored, KindsScored)
        assert (scored.question, len(scored.log_prob)) == (["animal", "animal"], 2)


def draw_from_prior(client: AuthenticatedClient) -> None:
    """Sends no rows, which is refused unless the prior is asked for by name."""
    prior = generate.sync(client=client, cond_mod=["none"], n_data=2, prior="mixture")
    assert isinstance(prior, KindsGenerated)
    assert prior.n_data == 2
    assert isinstance(kinds_generate.sync(client=client, cond_mod=["none"]), KindsGenerated)
    assert isinstance(generate.sync(client=client), Problem)


def name_any_model(client: AuthenticatedClient, content: bytes) -> None:
    """Uses a model that the service did not have when the client was generated."""
    cat = AnyModelDocument.from_dict({"inputs": {"animal": ["cat"]}})
    encoded = encode_with_json.sync("kinds", client=client, body=cat, flatten=True, fields=["mu"])
    assert encoded is not None
    assert not isinstance(encoded, Problem)
    assert encoded.n_data == 1
    assert "mu" in encoded
    form = AnyModelForm()
    form["image"] = File(io.BytesIO(content), "image.npy")
    generated = generate_with.sync("kinds", client=client, body=form, gen_mod=["animal"], k=5)
    assert generated is not None
    assert not isinstance(generated, Problem)
    assert list(generated["targets"]) == ["animal"]
    for other in (
        generate_with_json.sync_detailed("kinds", client=client, body=cat, k=5),
        score_with_json.sync_detailed("kinds", client=client, body=cat, k=5),
    ):
        assert other.status_code == 200
    for upload in (encode_with, score_with):
        form["image"] = File(io.BytesIO(content), "image.npy")
        assert upload.sync_detailed("kinds", client=client, body=form).status_code == 200
    stream = io.BytesIO()
    np.savez(stream, animal=np.array([0, 2]))
    for archived in (encode_with_npz, generate_with_npz, score_with_npz):
        archive = File(io.BytesIO(stream.getvalue()))
        assert archived.sync_detailed("kinds", client=client, body=archive).status_code == 200


def use_other_media_types(client: AuthenticatedClient) -> None:
    """Reads tables and archives with httpx itself: the operations of the document answer in JSON."""
    plain = client.get_httpx_client()
    table = plain.post(
        "/models/kinds/generate?K=5",
        content=b"animal\ncat\n",
        headers={"content-type": "text/csv", "accept": "text/csv"},
    )
    assert table.status_code == 200
    assert table.text.startswith("animal,")
    archive = plain.post("/generate/json?K=5", json=CATS.to_dict(), headers={"accept": "application/x-npz"})
    assert np.load(io.BytesIO(archive.content))["targets.image.mean"].shape == (2, 6, 4)


def read_errors(client: AuthenticatedClient, unauthorised: AuthenticatedClient) -> None:
    refused = kinds_encode.sync_detailed(
        client=client, body=KindsForm(image=[File(io.BytesIO(b"no picture"))])
    )
    assert isinstance(refused.parsed, Problem)
    assert refused.parsed.type_.startswith("urn:anyview:")
    assert refused.parsed.status == 400
    assert "part 'image'" in refused.parsed.detail
    assert refused.parsed.request_id == refused.headers["x-request-id"]
    unknown = encode_with.sync("missing", client=client, body=AnyModelForm())
    assert isinstance(unknown, Problem)
    assert unknown.status == 404
    assert isinstance(unload_model.sync("missing", client=client), Problem)
    for closed in (list_models, encode, metrics):
        locked = closed.sync(client=unauthorised)
        assert isinstance(locked, Problem)
        assert locked.status == 401


def read_models(client: AuthenticatedClient) -> None:
    listed = list_models.sync(client=client)
    assert isinstance(listed, ModelList)
    assert listed.default == "kinds"
    manifest = get_model.sync("kinds", client=client)
    assert isinstance(manifest, Manifest)
    assert [modality.name for modality in manifest.modalities][:2] == ["image", "sound"]
    latent = get_latent.sync("kinds", client=client)
    assert isinstance(latent, LatentMap)
    assert (len(latent.axes), len(latent.points)) == (2, 4)
    value = get_value.sync("kinds", client=client)
    assert isinstance(value, ValueOfViews)
    assert value.targets["animal"].views["image"].added == 0.25
    assert get_card.sync("kinds", client=client) == "# kinds\n"
    report = get_report.sync_detailed("kinds", "card.md", client=client)
    assert report.content == b"# kinds\n"
    examples = get_examples.sync("kinds", client=client, n_data=2)
    assert isinstance(examples, Examples), examples
    assert len(examples.inputs["image"]) == 2
    picture = get_example_file.sync_detailed("kinds", 0, "image", client=client)
    assert picture.content.startswith(b"\x89PNG")
    assert "anyview_requests_total" in str(metrics.sync(client=client))


def unload_and_load(client: AuthenticatedClient) -> None:
    unloaded = unload_model.sync("kinds", client=client)
    assert isinstance(unloaded, LoadedVersions)
    assert unloaded.versions == []
    assert readyz.sync_detailed(client=client).status_code == 503
    loaded = load_model.sync("kinds", client=client)
    assert isinstance(loaded, LoadedVersions)
    assert loaded.versions == [1]


async def encode_concurrently(client: AuthenticatedClient) -> None:
    """Calls the asynchronous functions of the client."""
    async with client:
        first, second = await asyncio.gather(
            *(kinds_encode_json.asyncio(client=client, body=CATS, seed=1) for _ in range(2))
        )
    assert isinstance(first, KindsEncoded)
    assert first == second


def main() -> None:
    address, key, file = sys.argv[1:]
    content = Path(file).read_bytes()
    used: set[str] = set()
    hooks = {"event_hooks": {"response": [record_operations(used)]}}
    with (
        AuthenticatedClient(base_url=address, token=key, httpx_args=hooks) as client,
        AuthenticatedClient(base_url=address, token=f"not-{key}") as unauthorised,
        Client(base_url=address, httpx_args=hooks) as keyless,
    ):
        mu = upload_files(client, content)
        send_archives(client, content, mu)
        send_json(client)
        draw_from_prior(client)
        name_any_model(client, content)
        use_other_media_types(client)
        read_errors(client, unauthorised)
        read_models(client)
        unload_and_load(client)
        for health in (livez, readyz):
            assert health.sync_detailed(client=keyless).status_code == 200
    asyncio.run(encode_concurrently(AuthenticatedClient(base_url=address, token=key)))
    print(json.dumps({"mu": mu, "used": sorted(used)}))


if __name__ == "__main__":
    main()
