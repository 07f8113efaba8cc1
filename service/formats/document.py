"""A JSON document: by modality a list of rows, null where a row lacks it."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from models_store import kinds
from models_store.errors import InputRefused, shown
from models_store.kinds import arrays
from models_store.manifest import Modality
from service.engine.observations import Column
from service.engine.rules import Rules
from service.errors import Unparsable, WrongInput, located


def columns(rules: Rules, body: bytes) -> dict[str, Column]:
    """The rows by modality.

    Raises:
        Unparsable: It is no JSON, or a file in it cannot be read.
        WrongInput: It is another document, a modality is unknown, or a value does not fit.
        TooLarge: It has too many rows.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unparsable(f"the body is not JSON: {error}") from None
    if (
        not isinstance(document, dict)
        or document.keys() != {"inputs"}
        or not isinstance(document["inputs"], dict)
    ):
        got = f"the fields {sorted(document)}" if isinstance(document, dict) else type(document).__name__
        raise WrongInput(f'the body must be {{"inputs": {{"NAME": [row, …], …}}}}, got {got}')
    # To look at every number takes longer than to read them, and hardly a body has one of the words; to look
    # for a letter takes a twentieth of the time of a word.
    booleans = (b"r" in body and b"true" in body) or (b"f" in body and b"false" in body)
    columns = {}
    for name, rows in document["inputs"].items():
        modality = rules.modality(name)
        if not isinstance(rows, list):
            raise WrongInput(f"inputs.{name} must be a list of rows, got {shown(rows)}")
        rules.check_rows(len(rows))
        if booleans and modality.labels is None:  # which says better what it wants
            for index, row in enumerate(rows):
                located(f"inputs.{name}[{index}]", arrays.refuse_booleans, modality, row)
        columns[name] = _column(modality, rows)
    return columns


def _column(modality: Modality, rows: list[Any]) -> Column:
    given = [row for row in rows if row is not None]
    try:
        observed = kinds.read_values(modality, given)
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
    """Says which of the rows it is that cannot be read."""
    for index, row in enumerate(rows):
        if row is not None:
            located(f"inputs.{modality.name}[{index}]", kinds.read_values, modality, [row])
