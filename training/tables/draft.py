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
from models_store.tables.names import unit_of

MOST_HELD_OUT = 10_000
STEPS = 8000
"""Optimizer steps of a first training run on pictures, sounds and other large arrays."""
TABLE_STEPS = 1000
"""Optimizer steps on columns of numbers, labels and counts, ..."""
LARGE_TABLE_STEPS = 4000
"""... and on tables of at least LARGE_TABLE rows."""
LARGE_TABLE = 5000
MOST_REPORTED = 30
"""Sentences on how cells were read."""
MANY_VIEWS = 6
"""From so many modalities on, `coherent` can diverge: see ``training/objective.py``."""

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
    report: Sequence[str] = (),
) -> str:
    """The text of the experiment file.

    Arguments:
        paths: The files that it is about.
        output: Where it will be written.
        key: What joins their rows, if anything does.
        rows: How many there are.
        guesses: The modalities.
        left_out: What became none of them, and why.
        report: Sentences of the files on missing cells and on columns that cannot be read.
    """
    held_out = min(max(1, rows // 10), MOST_HELD_OUT)
    schedule = _schedule(rows - 2 * held_out, guesses)
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
        lines += _network(guess, schedule.layers)
    if left_out:
        lines += [
            "",
            "# left out:",
            *(f"#   {printable(f'{name}: {reason}')}" for name, reason in left_out.items()),
        ]
    if report:
        lines += ["", "# how cells were read:", *_reported(report)]
    return "\n".join([*lines, *_training(schedule, latent)]) + "\n"


def _reported(report: Sequence[str]) -> list[str]:
    """Comment lines of the sentences on how cells were read."""
    rest = len(report) - MOST_REPORTED
    shown = [*report[:MOST_REPORTED], *([f"and {rest} more"] if rest > 0 else [])]
    return [f"#   {printable(line)}" for line in shown]


def _training(schedule: _Schedule, latent: int) -> list[str]:
    """Returns the tables ``model`` and ``fit``."""
    return [
        "",
        "[model]",
        f"latent_dim = {latent}",
        "warmup = " + str(min(10, schedule.epochs // 3)),
        *(
            [f"objective = {quoted(schedule.objective)}     # {OBJECTIVE_REASON}"]
            if schedule.objective
            else []
        ),
        "",
        "[fit]",
        f"epochs = {schedule.epochs}",
        f"batch_size = {schedule.batch}",
        f"learning_rate = {schedule.learning_rate}",
        f"patience = {max(20, schedule.epochs // 4)}     # epochs without a lower validation loss, then stop",
        *(["average = 0.99     # validate and keep averaged weights"] if schedule.layers == 1 else []),
    ]


OBJECTIVE_REASON = "stable for any number of views, and each view is learned from the others"


@dataclass(frozen=True)
class _Schedule:
    """How a first run trains.

    Arguments:
        epochs: Number of epochs.
        batch: Rows of a batch.
        learning_rate: As TOML writes it.
        layers: Hidden layers of a fully connected network.
        objective: Name of the objective; None: the default.
    """

    epochs: int
    batch: int
    learning_rate: str
    layers: int
    objective: str | None


def _schedule(rows: int, guesses: Sequence[Guess]) -> _Schedule:
    """Chooses steps, rate and depth by the number of training rows and by what is learned.

    On tables of a few hundred rows (pbc, breast, weak views; three splits) one hidden layer at 3e-3 with
    averaged weights and 1,000 steps came within .03 R² of ridge regression, where two layers at 1e-3 learned
    nothing of views of one column.
    """
    tabular = all(KINDS[guess.kind].tabular for guess in guesses)
    objective = "conditional" if tabular or len(guesses) >= MANY_VIEWS else None
    if tabular:
        batch = min(64 if rows < LARGE_TABLE else 256, max(8, rows // 4))
        steps, rate, layers = TABLE_STEPS if rows < LARGE_TABLE else LARGE_TABLE_STEPS, "3e-3", 1
    else:
        batch, steps, rate, layers = min(128, max(8, rows // 16)), STEPS, "1e-3", 2
    epochs = min(300, max(1, math.ceil(steps / math.ceil(rows / batch))))
    return _Schedule(epochs, batch, rate, layers, objective)


def _network(guess: Guess, layers: int) -> list[str]:
    """Fully connected, but for pictures that are not small; of a picture the other choice, too."""
    width = 64 if guess.cells <= 32 else 256 if guess.cells <= 512 else 400
    full = f"network = {{ hidden = {[width] * layers} }}"
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
