"""The three questions as operations: of a model that is known, or of any."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from models_store.kinds import MEDIA
from models_store.manifest import Manifest
from service.http import response
from service.openapi import modalities
from service.openapi.errors import OF_QUESTIONS, problem
from service.openapi.modalities import BINARY, FINITE_OR_NULL, NUMBER, Schema, nested
from service.schemas import EncodeQuery, GenerateQuery, ScoreQuery

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
TEXTS: Schema = nested((None,), TEXT)


@dataclass(frozen=True)
class Question:
    """One of the three.

    Arguments:
        name: Of its path.
        summary: In a line.
        description: What is answered.
        query: Its parameters.
        media: Forms of its answer, the default first.
    """

    name: str
    summary: str
    description: str
    query: type[BaseModel]
    media: Sequence[str]


QUESTIONS = (
    Question(
        "encode",
        "The posterior of z",
        "The posterior of z given whatever was sent, draws from it, and which modality it comes from.",
        EncodeQuery,
        (response.JSON, response.NPZ),
    ),
    Question(
        "generate",
        "Any modality, given any others",
        "Every modality asked for, given whatever was sent: summaries with their uncertainty, and samples.",
        GenerateQuery,
        (response.JSON, response.NPZ, *MEDIA, response.ZIP, response.CSV),
    ),
    Question(
        "score",
        "How likely it is",
        "The log-likelihood of what was sent: of all together, of some, or of some given others.",
        ScoreQuery,
        (response.JSON, response.NPZ),
    ),
)


def operation(question: Question, operation_id: str, tag: str, manifest: Manifest | None) -> Schema:
    """What may be asked and answered.

    Arguments:
        question: Which one.
        operation_id: The name of the function in a generated client.
        tag: Under which it is listed.
        manifest: Of the model that it is for; None: of whichever the path names.
    """
    answer = _reference(manifest, _answer(question)) if manifest else _any_model()
    content = {media: {"schema": TEXT if media == response.CSV else BINARY} for media in question.media}
    of = f"\n\nOf the model {manifest.name}: {manifest.description}" if manifest else ""
    if manifest and "flatten" in question.query.model_fields:
        of += f"\n\nFor `flatten`, with which rows and draws are one axis, see `{question.name}_with`."
    return {
        "operationId": operation_id,
        "tags": [tag],
        "summary": question.summary + (f" ({manifest.name})" if manifest else ""),
        "description": question.description + of,
        "parameters": list(_parameters(question.query, manifest)),
        "requestBody": _body(manifest),
        "responses": {
            "200": {
                "description": "The answer.",
                "headers": {"X-Seed": {"schema": WHOLE, "description": "The seed, where the body has none."}},
                "content": {**content, response.JSON: {"schema": answer}},
            },
            **{str(status): problem(status) for status in OF_QUESTIONS},
        },
    }


def components(manifest: Manifest) -> dict[str, Schema]:
    """The schemas that the operations of a model refer to."""
    known = manifest.modalities
    small = {m.name: [shown] for m in known if (shown := modalities.example(m)) is not None}
    rows = {m.name: _reference(manifest, f"{m.name}.Row") for m in known}
    form = _object({m.name: modalities.part(m, rows[m.name]) for m in known}, closed=True)
    inputs = _object({m.name: modalities.rows(m, rows[m.name]) for m in known}, closed=True)
    document = _object({"inputs": _reference(manifest, "Inputs")}, ["inputs"], closed=True)
    if small:
        document["examples"] = [{"inputs": small}]
    told = {f"{m.name}.Row": modalities.row(m) for m in known}
    told |= {"Form": {**form, "description": PARTS}, "Document": document, "Inputs": inputs}
    answers = (_encoded(manifest), _generated(manifest), _scored())
    told |= {_answer(question): answer for question, answer in zip(QUESTIONS, answers, strict=True)}
    return {f"{manifest.name}.{name}": schema for name, schema in told.items()}


PARTS = "One part per modality; several parts of one name are several rows; one that is not sent is missing."


def _reference(manifest: Manifest, component: str) -> Schema:
    return {"$ref": f"#/components/schemas/{manifest.name}.{component}"}


def _answer(question: Question) -> str:
    return f"{question.name.capitalize()}d"


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
        "std_error": "Of the estimate.",
        "ess": "Effective sample size.",
        "p_value": "The share of held-out rows that score lower; null without a reference.",
    }
    told = {name: {**by_row, "description": words[name]} for name in words}
    asked = {
        "gen_mod": TEXTS,
        "K": WHOLE,
        "question": {**TEXTS, "description": "Such as `label|image`, by row."},
    }
    return _object({**_head(), **asked, **told})


def _any_model() -> Schema:
    """What the answers of all models have, and whatever else they hold."""
    return _object(_head()) | {"additionalProperties": True}


def _head() -> dict[str, Schema]:
    return {"model": TEXT, "version": WHOLE, "n_data": WHOLE, "seed": WHOLE, "cond_mod": TEXTS}


def _object(
    properties: dict[str, Schema], required: Iterable[str] | None = None, closed: bool = False
) -> Schema:
    """An object; without ``required`` all of an answer is, and nothing of what is asked."""
    needed = list(properties if required is None and not closed else required or ())
    told: Schema = {"type": "object", "properties": properties}
    return (
        told | ({"required": needed} if needed else {}) | ({"additionalProperties": False} if closed else {})
    )


def _parameters(query: type[BaseModel], manifest: Manifest | None) -> Iterable[Schema]:
    if manifest is None:
        yield {"name": "name", "in": "path", "required": True, "schema": TEXT, "description": "Of the model."}
    for name, schema in query.model_json_schema()["properties"].items():
        if name == "flatten" and manifest:  # it changes what the answer is, which is typed here
            continue
        told = {key: value for key, value in schema.items() if key not in ("title", "description", "anyOf")}
        if "anyOf" in schema:  # in a query, null is not sent
            told = next(one for one in schema["anyOf"] if one != {"type": "null"})
        if name in ("cond_mod", "gen_mod") and manifest:
            words = ("all", "none") if name == "cond_mod" else ("all",)
            told["items"] = {"type": "string", "enum": [*words, *manifest.names]}
        yield {
            "name": name,
            "in": "query",
            "required": False,
            "schema": told,
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
        "description": "What is observed. Without a body, ask for the prior with `cond_mod=none`.",
        "required": False,
        "content": {
            response.MULTIPART: {"schema": by_name},
            response.JSON: {"schema": inputs},
            response.NPZ: {"schema": {**BINARY, "description": archive}},
            response.BYTES: {"schema": {**BINARY, "description": archive}},
            response.CSV: {"schema": {**TEXT, "description": f"{table}an empty cell is missing."}},
        },
    }
