"""Reads JSON documents: a list of rows per modality, null where a row lacks it.

An empty list beside lists with rows is a modality that was not sent: some generated clients send one for each
field that their user left out.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import orjson

from models_store.errors import InputRefused, shown
from models_store.kinds import arrays
from models_store.manifest import Modality
from service.engine.budget import Allowance
from service.engine.observations import Column
from service.engine.rules import Rules
from service.errors import TooLarge, Unparsable, WrongInput, located
from service.formats import pixels

MOST_VALUES = 2**22
"""Values of a document, which is parsed in some 0.2 s, while no other thread runs."""
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
    if allowance is not None:
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
        got = f"the fields {sorted(document)}" if isinstance(document, dict) else type(document).__name__
        raise WrongInput(f'the body must be {{"inputs": {{"NAME": [row, …], …}}}}, got {got}')
    # Checking every value takes longer than reading them, and few bodies have a boolean. The search for a
    # letter takes a twentieth of the time of the search for a word.
    booleans = (b"r" in body and b"true" in body) or (b"f" in body and b"false" in body)
    inputs = rules.by_modality(document["inputs"])
    if not rules.media.isdisjoint(inputs):
        pixels.check(rules, {name: _texts(inputs[name]) for name in rules.media & inputs.keys()}, allowance)
    all_empty = [*inputs.values()].count([]) == len(inputs)
    columns = {}
    for name, rows in inputs.items():
        if rows == [] and not all_empty:
            rules.modality(name)
            continue
        if not isinstance(rows, list):
            raise WrongInput(f"inputs.{name} must be a list of rows, got {shown(rows)}")
        modality = rules.modality(name, len(rows))
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
    commas, lists, objects = (body.count(mark, 0, end) for mark in (b",", b"[", b"{"))
    if (values := commas + lists + objects) > MOST_VALUES:
        raise TooLarge(
            f"a request may have {MOST_VALUES} values in JSON, this one has some {values}; "
            "send npz or binary tensors, or fewer rows at a time"
        )
    return end + 40 * commas + 72 * lists + 240 * objects


def _texts(rows: Any) -> list[str]:
    return [row for row in rows if isinstance(row, str)] if isinstance(rows, list) else []


def _remedy(body: bytes, error: orjson.JSONDecodeError) -> str:
    """Remedy for the words that Python's json module and JavaScript write instead of numbers."""
    # the position counts characters, and orjson stops in the word or at its end
    near = body.decode(errors="replace")[max(error.pos - 12, 0) : error.pos + 12]
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
