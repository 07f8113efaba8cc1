"""Uses the generated client as a user would: ``python ask.py ADDRESS FILE``; FILE is an .npy of one image.

Checked with mypy under strict settings together with the client, and then run. Prints the posterior's mean.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

from anyview_client import Client
from anyview_client.api.health import livez, metrics, readyz
from anyview_client.api.kinds import kinds_encode, kinds_generate, kinds_score
from anyview_client.api.models import get_card, get_model, get_report, list_models, load_model, unload_model
from anyview_client.api.questions import encode, encode_with, generate, score
from anyview_client.models.encode_with_json_body import EncodeWithJsonBody
from anyview_client.models.kinds_body_row import KindsBodyRow
from anyview_client.models.kinds_document import KindsDocument
from anyview_client.models.kinds_encoded import KindsEncoded
from anyview_client.models.kinds_form import KindsForm
from anyview_client.models.kinds_generated import KindsGenerated
from anyview_client.models.kinds_inputs import KindsInputs
from anyview_client.models.kinds_scored import KindsScored
from anyview_client.models.manifest import Manifest
from anyview_client.models.model_list import ModelList
from anyview_client.models.problem import Problem
from anyview_client.types import File, Unset


def uploads(client: Client, content: bytes) -> list[list[float]]:
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


def asks_in_json(client: Client) -> None:
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
    scored = kinds_score.sync(
        client=client, body=KindsDocument(inputs=KindsInputs(animal=["cat", "dog"])), k=50
    )
    assert isinstance(scored, KindsScored)
    assert (scored.question, len(scored.log_prob)) == (["animal", "animal"], 2)
    prior = generate.sync(client=client, cond_mod=["none"], n_data=2)
    assert isinstance(prior, KindsGenerated)
    assert prior.n_data == 2
    assert isinstance(score.sync(client=client), Problem)  # of nothing
    generic = encode_with.sync(
        "kinds",
        client=client,
        body=EncodeWithJsonBody.from_dict({"inputs": {"animal": ["cat"]}}),
        flatten=True,
    )
    assert generic is not None
    assert not isinstance(generic, Problem)
    assert generic["n_data"] == 1


def reads_errors(client: Client) -> None:
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
    forbidden = load_model.sync("kinds", client=client)
    assert isinstance(forbidden, Problem)
    assert forbidden.status == 403
    assert isinstance(unload_model.sync("nobody", client=client), Problem)


def looks_around(client: Client) -> None:
    listed = list_models.sync(client=client)
    assert isinstance(listed, ModelList)
    assert listed.default == "kinds"
    manifest = get_model.sync("kinds", client=client)
    assert isinstance(manifest, Manifest)
    assert [modality.name for modality in manifest.modalities][:2] == ["image", "sound"]
    assert get_card.sync("kinds", client=client) == "# kinds\n"
    report = get_report.sync_detailed("kinds", "card.md", client=client)
    assert report.content == b"# kinds\n"
    for health in (livez, readyz):
        assert health.sync_detailed(client=client).status_code == 200
    assert "anyview_requests_total" in str(metrics.sync(client=client))


def main() -> None:
    address, file = sys.argv[1:]
    with Client(base_url=address) as client:
        mu = uploads(client, Path(file).read_bytes())
        asks_in_json(client)
        reads_errors(client)
        looks_around(client)
    print(json.dumps(mu))


if __name__ == "__main__":
    main()
