"""The operations ``encode``, ``generate`` and ``score``: of a loaded model, or of any."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from models_store.kinds import MEDIA
from models_store.manifest import Manifest
from service.http import response
from service.openapi import modalities
from service.openapi.errors import OF_INFERENCE, problem
from service.openapi.modalities import BINARY, FINITE_OR_NULL, NUMBER, Schema, nested
from service.schemas import EncodeQuery, GenerateQuery, ScoreQuery

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
TEXTS: Schema = nested((None,), TEXT)


@dataclass(frozen=True)
class Operation:
    """One of the three operations.

    Arguments:
        name: Last part of its path.
        summary: Summary in a few words.
        description: Description of the response.
        query: Parameters.
        media: Media types of the response, the default first.
    """

    name: str
    summary: str
    description: str
    query: type[BaseModel]
    media: Sequence[str]


OPERATIONS = (
    Operation(
        "encode",
        "The posterior of z",
        "The posterior of z given the observed modalities, draws from it, and the share of each modality.",
        EncodeQuery,
        (response.JSON, response.NPZ),
    ),
    Operation(
        "generate",
        "Any modality, given any others",
        "The requested modalities given the observed ones: summaries with their uncertainty, and samples.",
        GenerateQuery,
        (response.JSON, response.NPZ, *MEDIA, response.ZIP, response.CSV),
    ),
    Operation(
        "score",
        "The log-likelihood",
        "The log-likelihood of the observed modalities: of all together or of some, under the prior of z, or "
        "of some given others, under the posterior of z given those: the density that `generate` draws from.",
        ScoreQuery,
        (response.JSON, response.NPZ),
    ),
)


def operation(kind: Operation, operation_id: str, tag: str, manifest: Manifest | None) -> Schema:
    """Returns the description of a request and its responses.

    Arguments:
        kind: Operation.
        operation_id: Name of the function in a generated client.
        tag: Tag under which it is listed.
        manifest: Manifest of its model; None: the path names the model.
    """
    answer = _reference(manifest, _answer(kind)) if manifest else _any_model()
    content = {media: {"schema": TEXT if media == response.CSV else BINARY} for media in kind.media}
    of = f"\n\nModel {manifest.name}: {manifest.description}" if manifest else ""
    if manifest and "flatten" in kind.query.model_fields:
        of += f"\n\nFor `flatten`, which joins the axes of rows and draws, see `{kind.name}_with`."
    return {
        "operationId": operation_id,
        "tags": [tag],
        "summary": kind.summary + (f" ({manifest.name})" if manifest else ""),
        "description": kind.description + of,
        "parameters": list(_parameters(kind.query, manifest)),
        "requestBody": _body(manifest),
        "responses": {
            "200": {
                "description": "The response.",
                "headers": {"X-Seed": {"schema": WHOLE, "description": "The seed, where the body has none."}},
                "content": {**content, response.JSON: {"schema": answer}},
            },
            **{str(status): problem(status) for status in OF_INFERENCE},
        },
    }


def components(manifest: Manifest) -> dict[str, Schema]:
    """Returns the schemas that the operations of a model refer to."""
    small = {m.name: [shown] for m in manifest.modalities if (shown := modalities.example(m)) is not None}
    rows = {m.name: _reference(manifest, f"{m.name}.Row") for m in manifest.modalities}
    form = _object({m.name: modalities.part(m, rows[m.name]) for m in manifest.modalities}, closed=True)
    inputs = _object({m.name: modalities.rows(m, rows[m.name]) for m in manifest.modalities}, closed=True)
    document = _object({"inputs": _reference(manifest, "Inputs")}, ["inputs"], closed=True)
    if small:
        document["examples"] = [{"inputs": small}]
    schemas = {f"{m.name}.Row": modalities.row(m) for m in manifest.modalities}
    schemas |= {"Form": {**form, "description": PARTS}, "Document": document, "Inputs": inputs}
    answers = (_encoded(manifest), _generated(manifest), _scored())
    schemas |= {_answer(kind): answer for kind, answer in zip(OPERATIONS, answers, strict=True)}
    return {f"{manifest.name}.{name}": schema for name, schema in schemas.items()}


PARTS = "One part per row of a modality; a modality without a part is missing."


def _reference(manifest: Manifest, component: str) -> Schema:
    return {"$ref": f"#/components/schemas/{manifest.name}.{component}"}


def _answer(kind: Operation) -> str:
    return f"{kind.name.capitalize()}d"


def _encoded(manifest: Manifest) -> Schema:
    z = manifest.latent_dim
    shares = {name: nested((None,), NUMBER) for name in ("prior", *manifest.names)}
    return _object(
        {
            **_head(),
            "z": {**nested((None, None, z), NUMBER), "description": "Draws, by row."},
            "mu": {**nested((None, z), NUMBER), "description": "The mean of the posterior, by row."},
            "log_var": {**nested((None, z), NUMBER), "description": "The logarithm of its variance."},
            "one_latent_space": {"type": "boolean"},
            "contributions": {
                **_object(shares),
                "description": "Shares of the posterior's precision, by row.",
            },
            "information": {**nested((None,), NUMBER), "description": "KL from the prior, in nats, by row."},
            "disagreement": {
                **nested((None,), NUMBER),
                "description": "In nats, by row: above 0 where modalities contradict each other.",
            },
        }
    )


def _generated(manifest: Manifest) -> Schema:
    targets = {m.name: modalities.target(m) for m in manifest.modalities}
    return _object({**_head(), "targets": _object(targets, required=[])})


def _scored() -> Schema:
    by_row = nested((None,), FINITE_OR_NULL)
    words = {
        "log_prob": "log p(x_T | x_S), in nats; null where it is not finite.",
        "std_error": "Standard error of the estimate, in nats; null where the estimate is not reliable.",
        "ess": "Effective sample size.",
        "k_hat": "Shape of the tail of the importance weights; null where they have no tail to judge.",
        "p_value": "Two-sided p-value of the score among those of held-out rows: small where hardly any "
        "scores lower, or hardly any higher; null without a reference of the same K and estimator.",
    }
    estimates: dict[str, Schema] = {name: {**by_row, "description": words[name]} for name in words}
    estimates["reliable"] = {
        **nested((None,), {"type": "boolean"}),
        "description": "Whether k_hat and ess say that the estimate lies within its error.",
    }
    request = {
        "gen_mod": TEXTS,
        "K": WHOLE,
        "question": {**TEXTS, "description": "Conditional distribution of each row, such as `label|image`."},
    }
    return _object({**_head(), **request, **estimates})


def _any_model() -> Schema:
    """Returns the schema of the responses of any model: their common fields, and others."""
    return _object(_head()) | {"additionalProperties": True}


def _head() -> dict[str, Schema]:
    return {"model": TEXT, "version": WHOLE, "n_data": WHOLE, "seed": WHOLE, "cond_mod": TEXTS}


def _object(
    properties: dict[str, Schema], required: Iterable[str] | None = None, closed: bool = False
) -> Schema:
    """Returns the schema of an object.

    Arguments:
        properties: Schema of each field.
        required: Required fields; None: all of an open object, none of a closed one.
        closed: Whether other fields are refused, as in requests.
    """
    needed = list(properties if required is None and not closed else required or ())
    schema: Schema = {"type": "object", "properties": properties}
    if needed:
        schema["required"] = needed
    if closed:
        schema["additionalProperties"] = False
    return schema


def _parameters(query: type[BaseModel], manifest: Manifest | None) -> Iterable[Schema]:
    if manifest is None:
        model = "Name of the model."
        yield {"name": "name", "in": "path", "required": True, "schema": TEXT, "description": model}
    for name, schema in query.model_json_schema()["properties"].items():
        if name == "flatten" and manifest:  # it changes the shape of the response, which is typed here
            continue
        typed = {key: value for key, value in schema.items() if key not in ("title", "description", "anyOf")}
        if "anyOf" in schema:  # a query cannot hold null
            typed = next(one for one in schema["anyOf"] if one != {"type": "null"})
        if name in ("cond_mod", "gen_mod") and manifest:
            words = ("all", "none") if name == "cond_mod" else ("all",)
            typed["items"] = {"type": "string", "enum": [*words, *manifest.names]}
        yield {
            "name": name,
            "in": "query",
            "required": False,
            "schema": typed,
            "description": schema["description"],
        }


def _body(manifest: Manifest | None) -> Schema:
    names = manifest.names if manifest else ("NAME",)
    arrays = f"An npz archive: arrays {', '.join(names)}, rows first"
    archive = f"{arrays}; a boolean mask.{names[0]} says which rows have it."
    table = "A table with the header modality.column, or the column alone where only one modality has it; "
    by_name = {"type": "object", "additionalProperties": BINARY, "description": PARTS}
    inputs = _object({"inputs": {"type": "object", "additionalProperties": nested((None,), {})}}, ["inputs"])
    if manifest:
        by_name, inputs = _reference(manifest, "Form"), _reference(manifest, "Document")
    return {
        "description": "The observed modalities. Without a body, `cond_mod=none` draws from the prior.",
        "required": False,
        "content": {
            response.MULTIPART: {"schema": by_name},
            response.JSON: {"schema": inputs},
            response.NPZ: {"schema": {**BINARY, "description": archive}},
            response.BYTES: {"schema": {**BINARY, "description": archive}},
            response.CSV: {"schema": {**TEXT, "description": f"{table}an empty cell is missing."}},
        },
    }
