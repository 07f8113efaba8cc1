"""A client of openapi-generator, python: generated.py ADDRESS KEY FILE; FILE is an .npy of one image."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from openapi_client import ApiClient, ApiException, Configuration
from openapi_client.api.kinds_api import KindsApi
from openapi_client.models.kinds_body_row import KindsBodyRow
from openapi_client.models.kinds_document import KindsDocument
from openapi_client.models.kinds_inputs import KindsInputs

ODD = ['sea, "deep"', "snow 🦉"]


def main() -> None:
    address, key, file = sys.argv[1:]
    image = Path(file).read_bytes()
    with ApiClient(Configuration(host=address, access_token=key)) as client:
        api = KindsApi(client)
        uploaded = api.kinds_generate(image=[image, image], place=ODD, gen_mod=["animal"], k=20)
        assert (uploaded.n_data, uploaded.cond_mod) == (2, ["image", "place"])
        animal = uploaded.targets.animal
        assert animal
        assert animal.probabilities
        first: float = animal.probabilities[0][0]
        assert first > 0

        body = [KindsBodyRow(height=180, mass=None), None, KindsBodyRow(age=3)]
        inputs = KindsInputs(place=[*ODD, None], body=body)
        rows = api.kinds_generate_json(KindsDocument(inputs=inputs), gen_mod=["body", "place"], k=20)
        assert rows.targets.body
        assert rows.targets.body.columns == ["height", "mass", "age"]
        assert rows.targets.place
        assert rows.targets.place.ranked
        assert {*rows.targets.place.ranked[0]} == {*ODD, "it's"}
        encoded = api.kinds_encode_json(KindsDocument(inputs=KindsInputs(place=[*ODD])))

        refusal: ApiException | None = None
        try:
            api.kinds_generate(image=[image], cond_mod=["sound"])
        except ApiException as error:
            refusal = error
        assert refusal
        assert refusal.status == 422
        assert refusal.data
        assert refusal.data.type == "urn:anyview:wrong-input"
        assert "cond_mod names 'sound'" in refusal.data.detail
    print(json.dumps(encoded.mu))


if __name__ == "__main__":
    main()
