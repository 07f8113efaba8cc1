"""Every setting is documented, in one table, by the words that --help prints."""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from models_store.folder import SHIPPED
from service.settings import Settings

TABLE = Path(__file__).parents[2] / "docs" / "settings.md"


def row(name: str, field: FieldInfo) -> str:
    option = f"`--{name.replace('_', '-')}`"
    return f"| `ANYVIEW_{name.upper()}` | {option} | {_default(field)} | {field.description} |"


def _default(field: FieldInfo) -> str:
    if field.default in (None, []):
        return ""
    if field.default == str(SHIPPED):
        return "the shipped models"
    choices = _choices(field.annotation)
    reported = f"`{field.default:g}`" if isinstance(field.default, float) else f"`{field.default}`"
    return " / ".join([reported, *(f"`{choice}`" for choice in choices if choice != field.default)])


def _choices(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) is typing.Literal:
        return typing.get_args(annotation)
    if isinstance(annotation, types.UnionType):
        return tuple(choice for one in typing.get_args(annotation) for choice in _choices(one))
    return ()


def test_the_table_has_every_setting_and_no_other() -> None:
    expected = [row(name, field) for name, field in Settings.model_fields.items()]
    actual = [line for line in TABLE.read_text().splitlines() if line.startswith("| `")]
    assert actual == expected
