"""The operations ``encode``, ``generate`` and ``score``: of a loaded model, or of any."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
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
LONG: Schema = {"type": "integer", "format": "int64"}
"""A whole number that may have more than 31 bits, to which some languages limit other integers."""
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


@dataclass(frozen=True)
class Sending:
    """One way of sending rows, with a path of its own; the plain path accepts every media type.

    Arguments:
        suffix: Last part of the path and of the operation id; empty for the plain path.
        media: Media type of the body.
        words: Description of the body.
    """

    suffix: str
    media: str
    words: str

    def path(self, operation: str) -> str:
        return f"{operation}/{self.suffix}" if self.suffix else operation

    def operation_id(self, operation: str) -> str:
        return f"{operation}_{self.suffix}" if self.suffix else operation


SENDINGS = (
    Sending("", response.MULTIPART, "files and texts as a form"),
    Sending("json", response.JSON, "rows as JSON"),
    Sending("npz", response.BYTES, "arrays as an npz archive"),
    Sending("csv", response.CSV, "a table as CSV"),
)


def operation(
    kind: Operation, sending: Sending, operation_id: str, tag: str, model: tuple[str, Manifest] | None
) -> Schema:
    """Returns the description of a request and its responses.

    Generators make one function with one body and one response of an operation. So it has one media type of
    each; the description names those that the service can also send.

    Arguments:
        kind: Operation.
        sending: Way of sending the rows.
        operation_id: Name of the function in a generated client.
        tag: Tag under which it is listed.
        model: Its model, with the prefix of the model's components; None: the path names the model.
    """
    prefix, manifest = model or (ANY, None)
    others = ", ".join(f"`{media}`" for media in kind.media[1:])
    words = [
        f"{kind.description} This operation sends {sending.words}.",
        *([f"Model {manifest.name}: {manifest.description}"] if manifest else []),
        f"With the header Accept, the response can also be {others}.",
    ]
    if manifest and (hidden := [f"`{name}`" for name in HIDDEN if name in kind.query.model_fields]):
        words.append(f"For {' and '.join(hidden)}, which change the response, see `{kind.name}_with`.")
    described = f"{kind.summary}, from {sending.words}"
    return {
        "operationId": operation_id,
        "tags": [tag],
        "summary": described + (f" ({manifest.name})" if manifest else ""),
        "description": "\n\n".join(words),
        "parameters": list(_parameters(kind.query, manifest)),
        "requestBody": _body(kind, sending, prefix, manifest),
        "responses": {
            "200": {
                "description": "The response.",
                "content": {response.JSON: {"schema": _reference(prefix, _answer(kind))}},
            },
            **{str(status): problem(status) for status in OF_INFERENCE},
        },
    }


def components(prefix: str, manifest: Manifest, used: Collection[str] = ()) -> dict[str, Schema]:
    """Returns the schemas that the operations of a model refer to.

    Arguments:
        prefix: First part of their names.
        manifest: Manifest of the model.
        used: Names of other schemas; rows of ``a_b`` in ``c`` and of ``b`` in ``c_a`` join to one name.
    """
    small = {m.name: [shown] for m in manifest.modalities if (shown := modalities.example(m)) is not None}
    names = _row_names(prefix, manifest, used)
    rows = {name: {"$ref": f"{SCHEMAS}{row}"} for name, row in names.items()}
    form = _object({m.name: modalities.part(m, rows[m.name]) for m in manifest.modalities}, closed=True)
    inputs = _object({m.name: modalities.rows(m, rows[m.name]) for m in manifest.modalities}, closed=True)
    document = _object({"inputs": _reference(prefix, "Inputs")}, ["inputs"], closed=True)
    if small:
        document["examples"] = [{"inputs": small}]
    schemas = {"Form": {**form, "description": PARTS}, "Document": document, "Inputs": inputs}
    answers = (_encoded(manifest), _generated(manifest), _scored())
    schemas |= {_answer(kind): answer for kind, answer in zip(OPERATIONS, answers, strict=True)}
    return {
        **{names[m.name]: modalities.row(m) for m in manifest.modalities if modalities.has_component(m)},
        **{class_name(prefix, name): schema for name, schema in schemas.items()},
    }


def generic_components() -> dict[str, Schema]:
    """Returns the schemas of the operations that name a model in their path."""
    rows = {"type": "object", "additionalProperties": nested((None,), {})}
    schemas = {
        "Form": {"type": "object", "additionalProperties": BINARY, "description": PARTS},
        "Document": _object({"inputs": rows}, ["inputs"]),
        **{_answer(kind): _object(_head()) | {"additionalProperties": True} for kind in OPERATIONS},
    }
    return {class_name(ANY, name): schema for name, schema in schemas.items()}


def class_name(*names: str) -> str:
    """Joins names to that of a class: ``a_b`` and ``Form`` to ``ABForm``.

    A schema has no dot in its name: some generators make a module of what stands before it.
    """
    words = (word for name in names for word in name.split("_"))
    return "".join(word[:1].upper() + word[1:] for word in words)


def _row_names(prefix: str, manifest: Manifest, used: Collection[str]) -> dict[str, str]:
    """Returns a name for the rows of each modality that no other schema has, in upper or lower case."""
    names: dict[str, str] = {}
    for modality in manifest.names:
        taken = {name.lower() for name in (*used, *names.values())}
        name, number = class_name(prefix, modality, "Row"), 2
        while name.lower() in taken:
            name, number = class_name(prefix, modality, f"Row{number}"), number + 1
        names[modality] = name
    return names


ANY = "any_model"
"""Prefix of the components that do not depend on a model."""

HIDDEN = ("fields", "flatten")
"""Parameters of /encode and /generate that operations of a model leave out: its responses are typed."""

PARTS = "One part per row of a modality; a modality without a part is missing."


SCHEMAS = "#/components/schemas/"


def _reference(prefix: str, component: str) -> Schema:
    return {"$ref": SCHEMAS + class_name(prefix, component)}


def _answer(kind: Operation) -> str:
    return f"{kind.name.capitalize()}d"


def _encoded(manifest: Manifest) -> Schema:
    z = manifest.latent_dim
    by_row = nested((None,), NUMBER)
    described = {
        "z": (nested((None, None, z), NUMBER), "Draws, by row."),
        "mu": (nested((None, z), NUMBER), "The mean of the posterior, by row."),
        "log_var": (nested((None, z), NUMBER), "The logarithm of its variance."),
        "one_latent_space": ({"type": "boolean"}, "Always true: the model has no private latent spaces."),
        "contributions": (
            _object(dict.fromkeys(("prior", *manifest.names), by_row)),
            "Shares of the posterior's precision, by row.",
        ),
        "information": (by_row, "KL from the prior, in nats, by row."),
        "disagreement": (by_row, "In nats, by row: above 0 where modalities contradict each other."),
    }
    fields = {name: {**schema, "description": text} for name, (schema, text) in described.items()}
    return _object({**_head(), **fields})


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
    row = {**TEXTS, "description": "Conditional distribution of each row, such as `label|image`."}
    return _object({**_head(), "gen_mod": TEXTS, "K": WHOLE, "question": row, **estimates})


def _head() -> dict[str, Schema]:
    return {"model": TEXT, "version": WHOLE, "n_data": WHOLE, "seed": LONG, "cond_mod": TEXTS}


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
        if manifest and name in HIDDEN and (name == "flatten" or query is EncodeQuery):
            continue
        typed = {key: value for key, value in schema.items() if key not in ("title", "description", "anyOf")}
        if "anyOf" in schema:  # a query cannot hold null
            typed = next(one for one in schema["anyOf"] if one != {"type": "null"})
        if name == "seed":
            typed |= LONG
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


def _body(kind: Operation, sending: Sending, prefix: str, manifest: Manifest | None) -> Schema:
    names = manifest.names if manifest else ("NAME",)
    # Without a part, cond_mod=none draws from the prior; the other media types have a body even then.
    required = bool(sending.suffix) or kind.name == "score"
    schemas = {
        response.MULTIPART: _reference(prefix, "Form"),
        response.JSON: _reference(prefix, "Document"),
        response.BYTES: BINARY,
        response.CSV: TEXT,
    }
    words = {
        response.MULTIPART: PARTS,
        response.JSON: "Rows of each observed modality; null where a row lacks it.",
        response.BYTES: f"An npz archive: arrays {', '.join(names)}, rows first; a boolean mask.{names[0]} "
        "says which rows have it.",
        response.CSV: "A table with the header modality.column, or the column alone where only one modality "
        "has it; an empty cell is missing.",
    }
    content: Schema = {"schema": schemas[sending.media]}
    if sending.media == response.MULTIPART and manifest:
        content["encoding"] = {
            m.name: {"style": "form", "explode": True}
            for m in manifest.modalities
            if not modalities.has_component(m)
        }
    return {"description": words[sending.media], "required": required, "content": {sending.media: content}}
