"""Uses the generated client as a user would: ``python ask.py ADDRESS KEY FILE``; FILE is an .npy of an image.

Checked with mypy under strict settings together with the client, and then run. Prints the posterior's mean,
and which operations were called with success.
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
from anyview_client import AuthenticatedClient, Client
from anyview_client.api.health import livez, metrics, readyz
from anyview_client.api.kinds import kinds_encode, kinds_generate, kinds_score
from anyview_client.api.models import (
    get_card,
    get_example_file,
    get_examples,
    get_latent,
    get_model,
    get_report,
    list_models,
    load_model,
    unload_model,
)
from anyview_client.api.questions import encode, encode_with, generate, generate_with, score, score_with
from anyview_client.models.encode_with_json_body import EncodeWithJsonBody
from anyview_client.models.examples import Examples
from anyview_client.models.generate_with_files_body import GenerateWithFilesBody
from anyview_client.models.kinds_body_row import KindsBodyRow
from anyview_client.models.kinds_document import KindsDocument
from anyview_client.models.kinds_encoded import KindsEncoded
from anyview_client.models.kinds_form import KindsForm
from anyview_client.models.kinds_generated import KindsGenerated
from anyview_client.models.kinds_inputs import KindsInputs
from anyview_client.models.kinds_scored import KindsScored
from anyview_client.models.latent_map import LatentMap
from anyview_client.models.loaded_versions import LoadedVersions
from anyview_client.models.manifest import Manifest
from anyview_client.models.model_list import ModelList
from anyview_client.models.problem import Problem
from anyview_client.types import File, Unset

OPERATIONS = "anyview_client.api."
CATS = KindsDocument(inputs=KindsInputs(animal=["cat", "dog"]))


def noting(used: set[str]) -> Callable[[httpx.Response], None]:
    """A hook that notes which function of the client was answered with success."""

    def note(response: httpx.Response) -> None:
        if response.is_success:
            callers = (frame.frame.f_globals["__name__"] for frame in inspect.stack(context=0))
            used.update(name.rpartition(".")[2] for name in callers if name.startswith(OPERATIONS))

    return note


def uploads(client: AuthenticatedClient, content: bytes) -> list[list[float]]:
    """A file and a label in a form, to the model by name and to the default one."""
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


def sends_archives(client: AuthenticatedClient, content: bytes, mu: list[list[float]]) -> None:
    """Arrays as an npz archive, to each of the questions."""
    stream = io.BytesIO()
    np.savez(stream, image=np.load(io.BytesIO(content)))
    archive = stream.getvalue()
    encoded = encode.sync(client=client, body=File(io.BytesIO(archive)))
    assert isinstance(encoded, KindsEncoded)
    assert encoded.mu == mu
    generated = generate.sync(client=client, body=File(io.BytesIO(archive)), gen_mod=["animal"], k=5)
    assert isinstance(generated, KindsGenerated)
    scored = kinds_score.sync(client=client, body=File(io.BytesIO(archive)), k=5)
    assert isinstance(scored, KindsScored)
    assert scored.question == ["image"]


def asks_in_json(client: AuthenticatedClient) -> None:
    """Rows that lack what others have, and targets with their units."""
    rows = KindsInputs(
        animal=["owl", None, 0], body=[None, KindsBodyRow(height=180, mass=None), [1, None, 3]]
    )
    answer = kinds_generate.sync(
        client=client, body=KindsDocument(inputs=rows), gen_mod=["body", "animal"], k=20
    )
    assert isinstance(answer, KindsGenerated)
    body, animal = answer.targets.body, answer.targets.animal
    assert not isinstance(body, Unset)
    assert not isinstance(body.mean, Unset)
    assert (body.columns, len(body.mean), len(body.mean[0])) == (["height", "mass", "age"], 3, 3)
    assert not isinstance(animal, Unset)
    assert not isinstance(animal.ranked, Unset)
    assert set(animal.ranked[0]) == {"cat", "dog", "owl"}
    scored = score.sync(client=client, body=CATS, k=50)
    assert isinstance(scored, KindsScored)
    assert (scored.question, len(scored.log_prob)) == (["animal", "animal"], 2)
    prior = generate.sync(client=client, cond_mod=["none"], n_data=2, prior="mixture")
    assert isinstance(prior, KindsGenerated)
    assert prior.n_data == 2
    assert isinstance(score.sync(client=client), Problem)  # of nothing


def names_any_model(client: AuthenticatedClient, content: bytes) -> None:
    """What a client can ask of models that were not there when it was generated."""
    cat = EncodeWithJsonBody.from_dict({"inputs": {"animal": ["cat"]}})
    encoded = encode_with.sync("kinds", client=client, body=cat, flatten=True)
    assert encoded is not None
    assert not isinstance(encoded, Problem)
    assert encoded.n_data == 1
    form = GenerateWithFilesBody()
    form["image"] = File(io.BytesIO(content), "image.npy")
    generated = generate_with.sync("kinds", client=client, body=form, gen_mod=["animal"], k=5)
    assert generated is not None
    assert not isinstance(generated, Problem)
    assert list(generated["targets"]) == ["animal"]
    stream = io.BytesIO()
    np.savez(stream, animal=np.array([0, 2]))
    scored = score_with.sync("kinds", client=client, body=File(io.BytesIO(stream.getvalue())), k=5)
    assert scored is not None
    assert not isinstance(scored, Problem)
    assert scored["question"] == ["animal", "animal"]


def takes_other_forms(client: AuthenticatedClient) -> None:
    """Tables and archives, which the generator does not know, by way of what it builds on."""
    plain = client.get_httpx_client()
    table = plain.post(
        "/models/kinds/generate?K=5",
        content=b"animal\ncat\n",
        headers={"content-type": "text/csv", "accept": "text/csv"},
    )
    assert table.status_code == 200
    assert table.text.startswith("animal,")
    archive = plain.post("/generate?K=5", json=CATS.to_dict(), headers={"accept": "application/x-npz"})
    assert np.load(io.BytesIO(archive.content))["targets.image.mean"].shape == (2, 6, 4)


def reads_errors(client: AuthenticatedClient, stranger: AuthenticatedClient) -> None:
    refused = kinds_encode.sync_detailed(
        client=client, body=KindsForm(image=[File(io.BytesIO(b"no picture"))])
    )
    assert isinstance(refused.parsed, Problem)
    assert refused.parsed.status == 400
    assert "part 'image'" in refused.parsed.detail
    assert refused.parsed.request_id == refused.headers["x-request-id"]
    unknown = encode_with.sync("nobody", client=client)
    assert isinstance(unknown, Problem)
    assert unknown.status == 404
    assert isinstance(unload_model.sync("nobody", client=client), Problem)
    for closed in (list_models, encode, metrics):
        locked = closed.sync(client=stranger)
        assert isinstance(locked, Problem)
        assert locked.status == 401


def looks_around(client: AuthenticatedClient) -> None:
    listed = list_models.sync(client=client)
    assert isinstance(listed, ModelList)
    assert listed.default == "kinds"
    manifest = get_model.sync("kinds", client=client)
    assert isinstance(manifest, Manifest)
    assert [modality.name for modality in manifest.modalities][:2] == ["image", "sound"]
    latent = get_latent.sync("kinds", client=client)
    assert isinstance(latent, LatentMap)
    assert (len(latent.axes), len(latent.points)) == (2, 4)
    assert get_card.sync("kinds", client=client) == "# kinds\n"
    report = get_report.sync_detailed("kinds", "card.md", client=client)
    assert report.content == b"# kinds\n"
    examples = get_examples.sync("kinds", client=client, n_data=2)
    assert isinstance(examples, Examples), examples
    assert len(examples.inputs["image"]) == 2
    picture = get_example_file.sync_detailed("kinds", 0, "image", client=client)
    assert picture.content.startswith(b"\x89PNG")
    assert "anyview_requests_total" in str(metrics.sync(client=client))


def looks_after_models(client: AuthenticatedClient) -> None:
    gone = unload_model.sync("kinds", client=client)
    assert isinstance(gone, LoadedVersions)
    assert gone.versions == []
    assert readyz.sync_detailed(client=client).status_code == 503
    back = load_model.sync("kinds", client=client)
    assert isinstance(back, LoadedVersions)
    assert back.versions == [1]


async def waits(client: AuthenticatedClient) -> None:
    """The same, for those who do other things meanwhile."""
    async with client:
        first, second = await asyncio.gather(
            *(kinds_encode.asyncio(client=client, body=CATS, seed=1) for _ in range(2))
        )
    assert isinstance(first, KindsEncoded)
    assert first == second


def main() -> None:
    address, key, file = sys.argv[1:]
    content = Path(file).read_bytes()
    used: set[str] = set()
    watched = {"event_hooks": {"response": [noting(used)]}}
    with (
        AuthenticatedClient(base_url=address, token=key, httpx_args=watched) as client,
        AuthenticatedClient(base_url=address, token=f"not-{key}") as stranger,
        Client(base_url=address, httpx_args=watched) as anybody,
    ):
        mu = uploads(client, content)
        sends_archives(client, content, mu)
        asks_in_json(client)
        names_any_model(client, content)
        takes_other_forms(client)
        reads_errors(client, stranger)
        looks_around(client)
        looks_after_models(client)
        for health in (livez, readyz):
            assert health.sync_detailed(client=anybody).status_code == 200
    asyncio.run(waits(AuthenticatedClient(base_url=address, token=key)))
    print(json.dumps({"mu": mu, "used": sorted(used)}))


if __name__ == "__main__":
    main()
