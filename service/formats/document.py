"""Reads JSON documents: a list of rows per modality, null where a row lacks it.

An empty list beside lists with rows is a modality that was not sent: some generated clients send one for each
field that their user left out.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import orjson

from models_store.errors import InputRefused, listed, shown
from models_store.kinds import arrays, table
from models_store.manifest import Modality
from service.engine.budget import Allowance
from service.engine.observations import Column
from service.engine.rules import Rules
from service.errors import TooLarge, Unparsable, WrongInput, located
from service.formats import pixels

BYTES_OF_VALUE = 40
"""Memory of a value: a number of Python, and its place in a list and in an array."""
COUNTED_BYTES = 2**16
"""Length of a document from which its values are counted, which takes as long as to parse it."""
NOT_FINITE = re.compile(r"(?<![\w\"])-?(NaN|nan|Infinity|None)(?![\w\"])")
"""Words of JSON-like texts for numbers that are not finite or missing."""


def columns(rules: Rules, body: bytes, allowance: Allowance | None = None) -> dict[str, Column]:
    """Reads the columns of a document.

    Arguments:
        rules: Rules of the model.
        body: Body of the request.
        allowance: Memory for this work in a thread; None on the event loop.

    Raises:
        Costly: Its files take too long for the event loop.
        Unparsable: The body is not JSON, or a file in it cannot be read.
        WrongInput: The document has another structure, a modality is unknown, or a value does not fit.
        TooLarge: There are too many rows.
    """
    if allowance is not None and len(body) > COUNTED_BYTES:
        allowance.take(memory(body))
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unparsable(f"the body is not JSON: {error}{_remedy(body, error)}") from None
    if (
        not isinstance(document, dict)
        or document.keys() != {"inputs"}
        or not isinstance(document["inputs"], dict)
    ):
        got = f"the fields {listed(document)}" if isinstance(document, dict) else type(document).__name__
        raise WrongInput(f'the body must be {{"inputs": {{"NAME": [row, …], …}}}}, got {got}')
    # Checking every value takes longer than reading them, and few bodies have a boolean. The search for a
    # letter takes a twentieth of the time of the search for a word.
    booleans = (b"r" in body and b"true" in body) or (b"f" in body and b"false" in body)
    inputs = rules.by_modality(document["inputs"])
    modalities = {
        name: rules.modality(name, len(rows) if isinstance(rows, list) else 0)
        for name, rows in inputs.items()
    }
    if files := {name: texts for name in rules.media & inputs.keys() if (texts := _texts(inputs[name]))}:
        pixels.check(rules, files, allowance)
    all_empty = [*inputs.values()].count([]) == len(inputs)
    columns = {}
    for name, rows in inputs.items():
        if rows == [] and not all_empty:
            continue
        if not isinstance(rows, list):
            raise WrongInput(f"inputs.{name} must be a list of rows, got {shown(rows)}")
        modality = modalities[name]
        if booleans and not (modality.labels or modality.traits.mixed):  # labels have a better message
            for index, row in enumerate(rows):
                located(f"inputs.{name}[{index}]", arrays.refuse_booleans, modality, row)
        columns[name] = _column(modality, rows)
    return columns


def memory(body: bytes, length: int | None = None) -> int:
    """Memory of a parsed document, in bytes: numbers, lists and objects of Python, and their array.

    Arguments:
        body: Body of a request.
        length: Bytes of JSON at its begin; None: the whole body.

    Raises:
        TooLarge: It has too many values.
    """
    end = len(body) if length is None else length
    if (values := table.json_values(body, end)) > table.MOST_VALUES:
        raise TooLarge(
            f"a request may have {table.MOST_VALUES} values in JSON, and this one has more; a text, list or "
            "object counts as 3, a name in an object as 5; send npz or binary tensors, or fewer rows"
        )
    return end + BYTES_OF_VALUE * values


def _texts(rows: Any) -> list[str]:
    return [row for row in rows if isinstance(row, str)] if isinstance(rows, list) else []


def _remedy(body: bytes, error: orjson.JSONDecodeError) -> str:
    """Remedy for the words that Python's json module and JavaScript write instead of numbers."""
    # The position counts characters, of up to 4 bytes; orjson stops in the word or at its end.
    near = body[: 4 * (error.pos + 12)].decode(errors="replace")[max(error.pos - 12, 0) : error.pos + 12]
    word = NOT_FINITE.search(near)
    return f"; {word[0]} is no JSON: write null for a missing value" if word else ""


def _column(modality: Modality, rows: list[Any]) -> Column:
    given = [row for row in rows if row is not None]
    try:
        observed = modality.traits.read_values(modality, given)
    except InputRefused:
        _refuse(modality, rows)
        raise
    if len(given) == len(rows):
        return Column(observed)
    present = np.array([row is not None for row in rows], bool)
    values = np.zeros((len(rows), *modality.shape), modality.numpy_dtype)
    values[present] = observed
    return Column(values, present)


def _refuse(modality: Modality, rows: list[Any]) -> None:
    """Raises the error of the first row that cannot be read, with its place."""
    for index, row in enumerate(rows):
        if row is not None:
            located(f"inputs.{modality.name}[{index}]", modality.traits.read_values, modality, [row])
