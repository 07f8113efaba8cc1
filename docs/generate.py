"""Writes what of docs/ follows from types: ``python docs/generate.py``, or ``make docs``."""

from __future__ import annotations

import inspect
import json
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from models_store.manifest import Manifest
from training.config import EXPERIMENTS, Experiment

DOCS = Path(__file__).parent

HEAD = """# The experiment file

One TOML file holds every setting of a training run. An unknown key is refused, so that a misspelt setting is
never silently a default. `anyview-train init` writes such a file for your data, with an objective and a
schedule that suit it ([why](own-data.md#the-schedule-that-it-writes)). Experiments of the
project: {examples}. Modules that a network of type `custom` names are imported only with
`anyview-train fit --allow-code`.

This page is made from [training/config.py](../training/config.py) by `make docs`.
"""

PLAIN = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
    Any: "anything",
}
BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def main() -> None:
    for name, text in contents().items():
        (DOCS / name).write_text(text)


def contents() -> dict[str, str]:
    """The text of every generated file, by name."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Manifest.model_json_schema(mode="serialization"),
    }
    return {
        "manifest.schema.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n",
        "experiment.md": experiment(),
    }


def experiment() -> str:
    examples = ", ".join(
        f"[{file.stem}](../training/experiments/{file.name})" for file in sorted(EXPERIMENTS.glob("*.toml"))
    )
    head = "\n\n".join(_wrapped(paragraph) for paragraph in HEAD.format(examples=examples).split("\n\n"))
    return "\n".join([f"{head}\n", *_section(Experiment, "At the top")])


def _wrapped(paragraph: str) -> str:
    words = " ".join(paragraph.split())
    return textwrap.fill(words, 120, break_long_words=False, break_on_hyphens=False)


def _section(model: type[BaseModel], title: str, path: str = "") -> Iterator[str]:
    """The table of a model's own keys, and then the sections below it."""
    yield f"## {title}\n"
    yield f"{_wrapped(inspect.cleandoc(model.__doc__ or ''))}\n"
    yield "| Key | Value | Default | Meaning |"
    yield "| --- | --- | --- | --- |"
    below = []
    for name, field in model.model_fields.items():
        inner = _inner(field.annotation)
        named = f"{path}.{name}".lstrip(".") + (
            ".NAME" if typing.get_origin(field.annotation) is dict else ""
        )
        if inner is not None:
            below.append((inner, f"`[{named}]`", named))
        value = f"table, see [{named}](#{_anchor(named)})" if inner else _value(field)
        yield f"| `{name}` | {value} | {_default(field)} | {_meaning(field)} |"
    yield ""
    for inner, heading, named in below:
        yield from _section(inner, heading, named)


def _meaning(field: FieldInfo) -> str:
    return " ".join((field.description or "").split()).replace("``", "`").replace("|", "\\|")


def _anchor(named: str) -> str:
    """As GitHub makes it from a heading."""
    return "".join(letter for letter in named.lower() if letter.isalnum() or letter in "_-")


def _inner(annotation: Any) -> type[BaseModel] | None:
    """The model within lists, tables by name, and what may be absent."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_inner, typing.get_args(annotation))), None)


def _value(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {getattr(one, key)}"
        for one in [*field.metadata, *_metadata(field.annotation)]
        for key, sign in BOUNDS.items()
        if getattr(one, key, None) is not None
    ]
    return ", ".join([_type(field.annotation), *bounds])


def _metadata(annotation: Any) -> Iterator[Any]:
    """What bounds a value within lists, and within what may be absent."""
    for one in typing.get_args(annotation):
        if typing.get_origin(one) is typing.Annotated:
            for bound in one.__metadata__:
                yield from getattr(bound, "metadata", [bound])
        else:
            yield from _metadata(one)


def _type(annotation: Any) -> str:
    origin, within = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " or ".join(f"`{json.dumps(choice)}`" for choice in within)
    if origin is typing.Annotated:
        return _type(within[0])
    if origin in (types.UnionType, typing.Union):
        return _type(next(one for one in within if one is not types.NoneType))
    if origin is tuple:
        each = [_type(one) for one in within if one is not Ellipsis]
        return f"list of {each[0]}s" if Ellipsis in within else f"[{', '.join(each)}]"
    if origin is dict:
        return "table"
    return PLAIN[annotation]


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "must be given"
    if isinstance(field.default, BaseModel) or field.default in (None, "", (), {}):
        return ""
    return f"`{json.dumps(field.default)}`"


if __name__ == "__main__":
    main()
