"""The text of a first experiment file, from what was guessed of the modalities."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models_store.kinds import KINDS
from models_store.manifest import RESERVED
from training.tables.survey import unit_of

MOST_HELD_OUT = 10_000
STEPS = 8000
"""Steps of the optimizer that a first training run should have."""

LARGE_SIDE = 32
"""Pictures with at least so many pixels a side are learned by convolutions, ..."""
SMALL_SIDE = 8
"""... which leave about so many."""


@dataclass(frozen=True)
class Guess:
    """One modality as it will be written.

    Arguments:
        name: Of the modality.
        kind: Of the modality.
        lines: Its keys in the experiment file, in TOML.
        shape: Of one row; a category has none.
        comment: Why it was guessed.
    """

    name: str
    kind: str
    lines: Sequence[str]
    shape: tuple[int, ...]
    comment: str

    @property
    def cells(self) -> int:
        """The numbers in one row."""
        return math.prod(self.shape)


def draft(
    paths: Sequence[Path],
    output: Path,
    key: str | None,
    rows: int,
    guesses: Sequence[Guess],
    left_out: Mapping[str, str],
) -> str:
    """The text of the experiment file.

    Arguments:
        paths: The files that it is about.
        output: Where it will be written.
        key: What joins their rows, if anything does.
        rows: How many there are.
        guesses: The modalities.
        left_out: What became none of them, and why.
    """
    held_out = min(max(1, rows // 10), MOST_HELD_OUT)
    batch = min(128, max(8, rows // 20))
    epochs = min(300, max(1, math.ceil(STEPS * batch / rows)))
    latent = min(32, max(2, sum(min(guess.cells, 16) for guess in guesses)))
    lines = [
        f"# Guessed from {printable(joined(paths))} ({rows} rows): read it, correct it, then run",
        "#",
        f"#   anyview-train fit {printable(str(output))}",
        "#",
        f"name = {quoted(called(paths[0].resolve().stem, set()))}",
        'description = ""',
        'licence = ""',
        "seed = 1",
        "# examples = false     # keeps every row of yours out of what is published",
        "",
        "[data]",
        'source = "table"',
        f"files = [{', '.join(quoted(str(path)) for path in paths)}]     # seen from where the command runs",
        *([f"key = {quoted(key)}     # rows with the same value belong together"] if key else []),
        f"test = {held_out}     # random rows that are never trained on",
        f"validation = {held_out}     # random rows that choose the best epoch",
    ]
    for guess in guesses:
        lines += ["", f"# {printable(guess.comment)}", f"[modalities.{guess.name}]", *guess.lines]
        lines += _network(guess)
    if left_out:
        lines += [
            "",
            "# left out:",
            *(f"#   {printable(f'{name}: {reason}')}" for name, reason in left_out.items()),
        ]
    lines += [
        "",
        "[model]",
        f"latent_dim = {latent}",
        "warmup = " + str(min(10, epochs // 3)),
        "",
        "[fit]",
        f"epochs = {epochs}",
        f"batch_size = {batch}",
        "learning_rate = 1e-3",
    ]
    return "\n".join(lines) + "\n"


def _network(guess: Guess) -> list[str]:
    """Fully connected, but for pictures that are not small; of a picture the other choice, too."""
    width = 64 if guess.cells <= 32 else 256 if guess.cells <= 512 else 400
    full = f"network = {{ hidden = [{width}, {width}] }}"
    kind = KINDS[guess.kind]
    if kind.default_network != "conv":
        return [full]
    side = sorted(guess.shape[: kind.layout])[-2]  # the shorter side of a picture
    halvings = max(2, round(math.log2(side / SMALL_SIDE)))
    channels = ", ".join(map(str, [32, *[64] * (halvings - 1)]))
    conv = f'network = {{ type = "conv", channels = [{channels}], hidden = [256] }}'
    if side >= LARGE_SIDE:
        return [conv, f"# {full}     # several times faster, and worse"]
    return [full, f"# {conv}     # several times slower, and often better"]


def called(text: str, taken: set[str]) -> str:
    """A name that a modality may have and that none has yet."""
    plain = re.sub(r"[^a-z0-9]+", "_", unit_of(text)[0].lower()).strip("_")[:50]
    base = plain if plain[:1].isalpha() and plain not in RESERVED else f"m_{plain}".rstrip("_")
    name, number = base, 2
    while name in taken:
        name, number = f"{base}_{number}", number + 1
    taken.add(name)
    return name


def quoted(text: str) -> str:
    """A TOML string: that of JSON, with DEL escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def printable(text: str) -> str:
    """The text on one line: line breaks and control characters are escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def joined(paths: Sequence[Path]) -> str:
    """The files in a sentence."""
    return " and ".join(str(path) for path in paths)
