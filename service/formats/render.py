"""Writes results of the engine as JSON, npz, tables or files."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from models_store.arrays import Array
from models_store.kinds import MEDIA, category
from models_store.manifest import Manifest, Modality
from service.engine.budget import Allowance
from service.engine.model import Encoded, Generated
from service.engine.scoring import Scored
from service.engine.summaries import numbers_in
from service.formats import files, npz, tables
from service.http.response import NPZ, ZIP, Reply
from service.schemas import POSTERIOR_FIELDS

AT_ONCE = 2**17
"""Numbers that are written as JSON at a time, in some 5 ms, while no other thread runs."""
Answer = Mapping[str, Any]
"""Tree of dictionaries, arrays, lists, strings and numbers."""

CHARSETS = {"cp932": "windows-31j"}
"""Encodings that are registered under another name than ``windows-`` and their number."""


def reply(media: str, answer: Answer, numbers: int) -> Reply:
    """Writes an answer of so many numbers as JSON or npz."""
    return Reply(media, npz.archive(_leaves(answer)) if media == NPZ else to_json(answer, numbers))


def to_json(answer: Answer, numbers: int | None = None) -> bytes:
    """Writes a tree as JSON, long arrays in pieces; NaN and infinity become null.

    Arguments:
        answer: The tree.
        numbers: How many numbers it holds; None: they are counted.
    """
    few = (numbers_in(answer) if numbers is None else numbers) <= AT_ONCE
    return _dumps(answer) if few else b"".join(_pieces(answer))


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)


def _is_list_of_mappings(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _pieces(value: Any) -> Iterator[bytes]:
    if isinstance(value, dict):
        mark = b"{"
        for key, item in value.items():
            yield mark + orjson.dumps(key) + b":"
            yield from _pieces(item)
            mark = b","
        yield b"}" if value else b"{}"
    elif _is_list_of_mappings(value):
        for index, item in enumerate(value):
            yield b"," if index else b"["
            yield from _pieces(item)
        yield b"]"
    elif isinstance(value, np.ndarray) and value.size > AT_ONCE:
        rows = max(1, AT_ONCE * len(value) // value.size)
        mark = b"["
        for start in range(0, len(value), rows):
            block = value[start : start + rows]
            yield mark
            yield from _pieces(block[0]) if block.size > AT_ONCE else (_dumps(block)[1:-1],)
            mark = b","
        yield b"]"
    else:
        yield _dumps(value)


def head(manifest: Manifest, n: int, seed: int, condition: Sequence[str]) -> dict[str, Any]:
    """Returns the first fields of every answer."""
    return {
        "model": manifest.name,
        "version": manifest.version,
        "n_data": n,
        "seed": seed,
        "cond_mod": list(condition),
    }


def encoded(
    manifest: Manifest,
    media: str,
    n: int,
    seed: int,
    encoded: Encoded,
    flatten: bool,
    fields: Collection[str],
) -> Reply:
    """Writes the posterior of n rows as JSON or npz.

    Arguments:
        manifest: Manifest of the model.
        media: Media type of the response.
        n: Number of rows.
        seed: Seed of the draws.
        encoded: The posterior.
        flatten: Whether z has the shape (n N, D).
        fields: Requested names of ``POSTERIOR_FIELDS``.
    """
    answer: dict[str, Any] = {
        **head(manifest, n, seed, encoded.condition),
        "z": _flat(encoded.z) if flatten else encoded.z,
        "mu": encoded.mu,
        "log_var": encoded.log_var,
        "one_latent_space": True,
    }
    if encoded.explanation is not None:
        contributions, information, disagreement = encoded.explanation
        answer["contributions"] = dict(zip(("prior", *manifest.names), contributions, strict=True))
        answer |= {"information": information, "disagreement": disagreement}
    if len(fields) < len(POSTERIOR_FIELDS):
        hidden = {*POSTERIOR_FIELDS}.difference(fields)
        answer = {name: value for name, value in answer.items() if name not in hidden}
    return reply(media, answer, encoded.numbers)


def scores(scored: Scored) -> dict[str, Any]:
    """Returns the fields of log-likelihoods."""
    return {
        "question": list(scored.questions),
        "log_prob": scored.evidence.log_prob,
        "std_error": scored.evidence.std_error,
        "ess": scored.evidence.ess,
        "k_hat": scored.evidence.k_hat,
        "reliable": scored.evidence.reliable,
        "p_value": scored.p_value,
    }


def generated(
    manifest: Manifest,
    media: str,
    head: Mapping[str, Any],
    result: Generated,
    filling: tables.Filling | None,
    flatten: bool,
    allowance: Allowance,
) -> Reply:
    """Writes generated modalities in any media type; blocks the thread.

    Arguments:
        manifest: Manifest of the model.
        media: Media type of the response.
        head: First fields of the answer, ``seed`` among them.
        result: Fields of each target.
        filling: Table that a response in CSV fills.
        flatten: Whether samples have the shape (n N, …) in JSON and npz.
        allowance: Checked between files.

    Raises:
        Stopped: The request is gone.
    """
    seed: int = head["seed"]
    if filling is not None:
        content = tables.to_text(filling, result)
    elif media in MEDIA:
        content = files.single(manifest, result, MEDIA[media], seed)
    elif media == ZIP:
        content = files.zipped(manifest, result, seed, head, allowance)
    else:
        return reply(media, {**head, "targets": _targets(manifest, result, flatten)}, result.numbers)
    # Of these media types, only a zip holds the seed itself.
    if filling is not None:
        encoding = filling.sent.table.dialect.encoding.removesuffix("-sig")
        media = (
            f"{media}; charset={'windows-31j' if encoding == 'cp932' else encoding.replace('cp', 'windows-')}"
        )
    return Reply(media, content, ((b"x-seed", str(seed).encode()),))


def _targets(manifest: Manifest, result: Generated, flatten: bool) -> dict[str, Any]:
    return {
        name: _target(manifest.modality(name), summary, flatten) for name, summary in result.targets.items()
    }


def _target(modality: Modality, summary: Mapping[str, Any], flatten: bool) -> Mapping[str, Any]:
    """Returns the fields of a target, with the labels, or the columns and units, of its last axis."""
    if modality.traits.mixed:
        return {"columns": _by_column(modality, summary, flatten)}
    if modality.labels and "samples" in summary:
        summary = {**summary, "samples": category.samples_as_integers(modality, summary["samples"])}
    if flatten and "samples" in summary:
        summary = {**summary, "samples": _flat(summary["samples"])}
    if modality.labels:
        return {**summary, "labels": list(modality.labels)}
    if modality.columns:
        names, units = [c.name for c in modality.columns], [c.unit or "" for c in modality.columns]
        return {**summary, "columns": names, "units": units}
    return summary


def _by_column(modality: Modality, summary: Mapping[str, Any], flatten: bool) -> dict[str, Any]:
    """Returns the fields of each column of a table, with its unit or its labels."""
    answers = {}
    for at, column in enumerate(modality.columns or ()):
        fields: dict[str, Any] = {}
        if column.labels is not None:
            fields |= {**summary.get("labelled", {}).get(column.name, {}), "labels": list(column.labels)}
        else:
            fields |= {
                name: summary[name][..., at] for name in ("mean", "std", "quantiles") if name in summary
            }
            fields |= {"levels": summary["levels"]} if "levels" in summary else {}
            fields["unit"] = column.unit or ""
        if "samples" in summary:
            drawn = summary["samples"][..., at]
            drawn = drawn if column.labels is None else np.array(column.labels)[drawn.astype(int)]
            fields["samples"] = _flat(drawn) if flatten else drawn
        answers[column.name] = fields
    return answers


def _flat(draws: Array) -> Array:
    return draws.reshape(-1, *draws.shape[2:])


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):  # orjson writes neither strings nor arrays that are not contiguous
        return value.tolist() if value.dtype.kind == "U" else np.ascontiguousarray(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _leaves(answer: Answer, path: str = "") -> list[tuple[str, Any]]:
    """Flattens a tree to its leaves, each named by its path with dots."""
    leaves: list[tuple[str, Any]] = []
    for key, value in answer.items():
        if isinstance(value, Mapping):
            leaves += _leaves(value, f"{path}{key}.")
        elif value is not None:
            leaves.append((f"{path}{key}", np.asarray(value)))
    return leaves
