"""The column by which files are joined."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

from training.errors import DataError, ExperimentError
from training.tables.cases import plain
from training.tables.files import File, texts
from training.tables.survey import Field

KEY = re.compile(
    r"(^|[^a-z])(id|ids|key|code|nr|no|number|index|idx|uuid|guid|barcode|mrn|sample|samples|patient|patients|subject"
    r"|subjects|participant|participants|case|cases|person|donor|specimen|accession|cell|respondent|seqn|record|name)"
    r"($|[^a-z])|id$",
    re.IGNORECASE,
)
"""Headers that call a column a key."""


def key_of(files: Sequence[File], fields: Sequence[Field]) -> str | None:
    """Header, in the first file, of the column that joins files; None where rows are joined by position.

    A column joins them if all have it, but for case, blanks and punctuation of the header, and if none of its
    values occurs twice in a file.

    Raises:
        DataError: A column that is called a key has a value more than once.
        ExperimentError: No column joins files whose numbers of rows, or whose keys, differ.
    """
    if len(files) == 1:
        return None
    common = _common(files, fields)
    keys = [one for one, peers in common if all(_differs(peer) for peer in peers)]
    keys.sort(key=lambda one: KEY.search(one.name) is None)
    if keys:
        return keys[0].name
    for one, peers in common:
        for peer in peers:
            if KEY.search(one.name) and not _differs(peer):
                raise DataError(
                    f"{peer.file.path}: '{peer.name}' would join the files, but has a value more than once; "
                    "make one row of those that belong to one case, or rename the column if it is no key"
                )
    _refuse_other_names(fields)
    if len({file.rows for file in files}) > 1:
        counts = " and ".join(f"{file.path.name} {file.rows}" for file in files)
        raise ExperimentError(
            f"the files have different numbers of rows ({counts}) and no key column in common"
        )
    return None


def _common(files: Sequence[File], fields: Sequence[Field]) -> list[tuple[Field, list[Field]]]:
    """Columns of the first file, each with the column of every file that has its header, or one like it."""
    exact: list[dict[str, Field]] = []
    alike: list[dict[str, list[Field]]] = []
    for file in files:
        columns = [one for one in fields if one.file is file and not one.shape]
        exact.append({one.name: one for one in columns})
        alike.append(defaultdict(list))
        for one in columns:
            alike[-1][plain(one.name)].append(one)
    common = []
    for one in exact[0].values():
        matches = [
            names.get(one.name) or _single(plains.get(plain(one.name), []))
            for names, plains in zip(exact, alike, strict=True)
        ]
        peers = [peer for peer in matches if peer is not None]
        if len(peers) == len(files):
            common.append((one, peers))
    return common


def _single(fields: Sequence[Field]) -> Field | None:
    return fields[0] if len(fields) == 1 else None


def _refuse_other_names(fields: Sequence[Field]) -> None:
    """Refuses files whose keys have different headers.

    Raises:
        ExperimentError: Columns of two files identify rows by the same values.
    """
    texts_that_differ = [one for one in fields if one.differ and not one.numeric and not one.shape]
    keys = {(one.file.path, one.name): set(_texts(one)) for one in texts_that_differ}
    for (path, name), (other_path, other_name) in combinations(keys, 2):
        first, second = keys[path, name], keys[other_path, other_name]
        if path != other_path and 2 * len(first & second) > min(len(first), len(second)):
            raise ExperimentError(
                f"'{name}' of {path} and '{other_name}' of {other_path} hold the same keys; give both "
                "columns one header to join the files by it"
            )


def _differs(field: Field) -> bool:
    """Whether no value occurs twice; ``1`` and ``01`` differ where the header calls the column a key."""
    if field.differ or not (field.numeric and KEY.search(field.name)):
        return field.differ and field.present > 0
    return len(set(values := _texts(field))) == len(values)


def _texts(field: Field) -> list[str]:
    cells = (text for block in field.file.blocks([field.name]) for text in texts(block[field.name]))
    return [text for text in cells if text is not None]
