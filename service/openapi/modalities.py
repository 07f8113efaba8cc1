"""JSON schemas of one modality: a part of a form, a row of a document, and a target of a response."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from models_store.kinds import category
from models_store.kinds.base import MediaKind
from models_store.kinds.fields import Column
from models_store.likelihoods.mixed import CELLS
from models_store.manifest import Modality

Schema = dict[str, Any]

BINARY: Schema = {"type": "string", "format": "binary"}
NULL: Schema = {"type": "null"}
NUMBER: Schema = {"type": "number"}
FINITE_OR_NULL: Schema = {"type": ["number", "null"]}
MOST_LABELS = 64
"""Modalities with more labels state their number in the description, instead of all labels."""


def nested(shape: Sequence[int | None], item: Schema) -> Schema:
    """Returns the schema of nested arrays; None is an axis of any length."""
    if not shape:
        return item
    first, *rest = shape
    length = {} if first is None else {"minItems": first, "maxItems": first}
    return {"type": "array", "items": nested(rest, item), **length}


def part(modality: Modality, reference: Schema) -> Schema:
    """Returns the schema of the parts of a form, one for each row.

    Arguments:
        modality: Modality of the parts.
        reference: Reference to the schema that :func:`row` returns.
    """
    item = reference if has_component(modality) else _label(modality) if modality.labels else BINARY
    return {"type": "array", "minItems": 1, "items": item, **_about(modality)}


def rows(modality: Modality, reference: Schema) -> Schema:
    """Returns the schema of rows in a JSON document, null where a row lacks it; arguments of :func:`part`.

    Generators turn a choice of several types into a wrapper class, or into no type at all. So the schema has
    one form of a row; ``x-also`` lists the schemas of the others that the service accepts.
    """
    plain = row(modality)
    # A type may be null in every generator; a reference that may be null only where it names an object.
    item = (
        {"anyOf": [reference, NULL]}
        if has_component(modality)
        else {**plain, "type": [plain["type"], "null"]}
    )
    return {"type": "array", "items": {**item, "x-also": _others(modality)}, **_about(modality)}


def has_component(modality: Modality) -> bool:
    """Whether the row of a modality has a schema with a name: an object with a property by column."""
    return bool(modality.columns) and _are_identifiers_distinct(modality.columns or ())


def _are_identifiers_distinct(columns: Sequence[Column]) -> bool:
    """Whether generators make a name of its own of each column.

    They keep letters of ASCII and digits: nothing is left of ``年``, and ``a b`` and ``A-B`` become one name.
    """
    identifiers = {re.sub("[^a-z0-9]", "", column.name.lower()) for column in columns}
    return len(identifiers) == len(columns) and "" not in identifiers


def row(modality: Modality) -> Schema:
    """Returns the schema of a row in its main form: a label, an object by column, base64, or numbers."""
    if modality.labels:
        return _label(modality)
    if modality.columns:
        return _by_column(modality)
    if isinstance(modality.traits, MediaKind):
        return _file(modality)
    return {**nested(modality.shape, _cell(modality)), "description": _description(modality)}


def example(modality: Modality) -> Any:
    """Returns a short example row; None where rows are long or have no text form."""
    if modality.labels:
        return modality.labels[0]
    if modality.columns and len(modality.columns) <= 12:
        return {column.name: _typical(modality, column) for column in modality.columns}
    return None


def target(modality: Modality) -> Schema:
    """Returns the schema of a target of /generate; the parameter ``fields`` selects its fields."""
    item = NUMBER if modality.likelihood in ("bernoulli", "categorical") else FINITE_OR_NULL
    if modality.traits.mixed:
        return _target_by_column(modality)
    one = modality.parameter_shape()
    properties: dict[str, Schema] = {"samples": nested((None, None, *one), item)}
    if modality.labels:
        # With noise=true a sample is the integer of a label, else the probabilities of all labels.
        # Untyped: generators of clients do not compile a list or an integer.
        properties["samples"] = nested((None, None), {})
        properties["probabilities"] = nested((None, *one), NUMBER)
        properties["ranked"] = nested((None, *one), {"type": "string"})
        properties["labels"] = nested(one, {"type": "string"})
        required = ["labels"]
    else:
        properties |= {name: nested((None, *one), item) for name in ("mean", "std")}
        properties["quantiles"] = nested((None, None, *one), item)
        properties["levels"] = nested((None,), NUMBER)
        required = []
    if modality.columns:
        names = {name: nested(one, {"type": "string"}) for name in ("columns", "units")}
        properties, required = properties | names, ["columns", "units"]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "description": _description(modality),
    }


def _target_by_column(modality: Modality) -> Schema:
    """Returns the schema of a target of the kind table: an object for each column."""
    columns = {column.name: _column_of_target(column) for column in modality.columns or ()}
    by_column: Schema = {"type": "object", "properties": columns, "required": list(columns)}
    if not has_component(modality):
        by_column = {"type": "object", "additionalProperties": {"type": "object"}}
    return {
        "type": "object",
        "properties": {"columns": by_column},
        "required": ["columns"],
        "description": _description(modality),
    }


def _column_of_target(column: Column) -> Schema:
    """Returns the schema of a column of a target: of labels, or of numbers."""
    rows, drawn = nested((None,), FINITE_OR_NULL), nested((None, None), FINITE_OR_NULL)
    if column.labels:
        text, one = {"type": "string"}, (len(column.labels),)
        fields = {
            "probabilities": nested((None, *one), NUMBER),
            "ranked": nested((None, *one), text),
            "labels": nested(one, text),
            "samples": nested((None, None), text),
        }
        return {"type": "object", "properties": fields, "required": ["labels"]}
    fields = {
        "mean": rows,
        "std": rows,
        "quantiles": drawn,
        "levels": nested((None,), NUMBER),
        "unit": {"type": "string"},
        "samples": drawn,
    }
    return {"type": "object", "properties": fields, "required": ["unit"]}


def _others(modality: Modality) -> list[Schema]:
    """Returns the schemas of other forms of a row in JSON."""
    if modality.labels:
        return [{**_integer(modality.labels), "description": _index_words(modality.labels)}]
    if modality.traits.mixed:
        cell = {"type": ["number", "string", "null"]}
        return [{**nested(modality.shape, cell), "description": "Or the cells in the order of the columns."}]
    cells = nested(modality.shape, _cell(modality))
    alone = [_cell(modality)] if modality.shape == (1,) else []
    if modality.columns or isinstance(modality.traits, MediaKind):
        return [cells, *alone]
    if "columns" in modality.traits.fields:
        by_number: Schema = {"type": "object", "additionalProperties": _cell(modality)}
        return [_file(modality), {**by_number, "description": "Or cells by their number, from 0."}, *alone]
    return [_file(modality), *alone]


def _file(modality: Modality) -> Schema:
    file = f"{modality.traits.files}, as base64."
    return {"type": "string", "contentEncoding": "base64", "description": file}


def _label(modality: Modality) -> Schema:
    return _text(modality.labels or ())


def _text(labels: Sequence[str]) -> Schema:
    """Returns the schema of a label: text, not an enumeration.

    Generators make an identifier of each value of an enumeration, which few labels are, and some cannot read
    or send lists of enumerations. ``x-labels`` lists the accepted texts.
    """
    return {"type": "string", **({"x-labels": list(labels)} if len(labels) <= MOST_LABELS else {})}


def _integer(labels: tuple[str, ...]) -> Schema:
    numbers = category.integers(labels)
    if len(numbers) > MOST_LABELS or numbers == (*range(len(numbers)),):
        return {"type": "integer", "minimum": min(numbers), "maximum": max(numbers)}
    return {"type": "integer", "enum": sorted(set(numbers))}


def _index_words(labels: tuple[str, ...]) -> str:
    are_indices = category.integers(labels) == (*range(len(labels)),)
    return "Or its index." if are_indices else "Or the integer that it reads as."


def _by_column(modality: Modality) -> Schema:
    """Returns the schema of an object with a value per column; a missing column is a missing cell."""
    columns = modality.columns or ()
    cell = _cell(modality)
    if not has_component(modality):
        any_cell = {} if modality.traits.mixed else cell
        return {"type": "object", "additionalProperties": any_cell, "description": _description(modality)}
    whole: Schema = {
        "type": "object",
        "properties": {
            column.name: {**(_cell_of(column) if modality.traits.mixed else cell), **_about_column(column)}
            for column in columns
        },
        "additionalProperties": False,
    }
    return whole if modality.may_lack_cells else {**whole, "required": [column.name for column in columns]}


def _cell(modality: Modality) -> Schema:
    dtype = modality.numpy_dtype
    if dtype.kind == "b":
        return {"type": "boolean"}
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        lowest = modality.traits.lowest
        least = int(limits.min) if lowest is None else lowest
        # JSON numbers beyond 2^53 are not exact, and few generators of clients support them.
        bounds = {"minimum": least, "maximum": int(limits.max)} if limits.bits <= 32 else {"minimum": least}
        long = {"format": "int64"} if limits.max > np.iinfo(np.int32).max else {}
        return {"type": "integer", **(bounds if least > -(2**53) else {}), **long}
    return FINITE_OR_NULL if modality.may_lack_cells else NUMBER


def _cell_of(column: Column) -> Schema:
    """Returns the schema of a cell of a table: a label or a number, null where missing."""
    if column.labels:
        other = {**_integer(column.labels), "description": _index_words(column.labels)}
        return {**_text(column.labels), "type": ["string", "null"], "x-also": [other]}
    if CELLS[column.likelihood or "normal"].of_counts:
        return {"type": ["integer", "null"], "minimum": 0}
    return FINITE_OR_NULL


def _about_column(column: Column) -> Schema:
    words = [f"In {column.unit}." if column.unit else "", ""]
    if column.range:
        words[1] = f"Seen from {column.range[0]:g} to {column.range[1]:g}."
    description = " ".join(filter(None, words))
    return {"description": description} if description else {}


def _about(modality: Modality) -> Schema:
    shown = example(modality)
    return {
        "description": _description(modality),
        "x-modality": modality.model_dump(
            mode="json", exclude_none=True, include={"kind", "shape", "dtype", "labels", "columns", "range"}
        ),
        **({"examples": [[shown]]} if shown is not None else {}),
    }


def _description(modality: Modality) -> str:
    """Returns shape, type, unit and accepted files in a sentence."""
    facts = [
        f"{modality.kind} of shape {modality.shape}, {modality.dtype}" if modality.shape else modality.kind
    ]
    if modality.range:
        facts.append(f"values from {modality.range[0]:g} to {modality.range[1]:g}")
    if modality.labels and len(modality.labels) > MOST_LABELS:
        facts.append(f"{len(modality.labels)} labels, from '{modality.labels[0]}' to '{modality.labels[-1]}'")
    elif modality.labels:
        facts.append("one of " + ", ".join(f"'{label}'" for label in modality.labels))
    if sound := modality.spectrogram:
        facts.append(f"{sound.samples} samples at {sound.rate} Hz")
    sentence = f"{'; '.join(facts)}."
    files = modality.traits.files
    return f"{sentence} {files}." if files else sentence


def _typical(modality: Modality, column: Column) -> float | int | str:
    if column.labels:
        return column.labels[0]
    middle = _middle(modality, column)
    return round(middle) if column.likelihood and CELLS[column.likelihood].of_counts else middle


def _middle(modality: Modality, column: Column) -> float | int:
    low, high = column.range or modality.range or (0.0, 0.0)
    middle = (low + high) / 2
    return round(middle) if modality.numpy_dtype.kind in "iu" else float(f"{middle:.4g}")
