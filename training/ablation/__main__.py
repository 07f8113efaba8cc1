"""``python -m training.ablation``: runs studies, skips recorded runs, and writes their tables.

The default options repeat the runs of ``RESULTS.md``, which take hours on one core. ``--epochs 1 --rows 500``
is a trial; its runs are recorded apart from the long ones.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from models_store.errors import ModelsStoreError
from training import data
from training.ablation import folds, studies, weak
from training.ablation.records import HERE, Case, Record, append, done, read, table
from training.ablation.runs import changed, trained
from training.config import Experiment
from training.data.rows import Rows as DataRows
from training.errors import TrainingError
from training.evaluation.judging import Judges, learn_judges
from training.objective import OBJECTIVES

app = typer.Typer(help=__doc__, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

BY = ("experiment", "variant", "epochs", "rows")

BOTH, ALL, NONE = ["mnist", "digits"], list(OBJECTIVES), list[str]()
SEEDS, FOLDS = [1, 2, 3], list(range(folds.FOLDS))
SHARES, MISSING = list(weak.SHARES), [0.0, 0.2]

Seeds = Annotated[list[int], typer.Option("--seed", help="Repeat for several.")]
Epochs = Annotated[int | None, typer.Option(help="Default: those of the experiment.")]
Rows = Annotated[int | None, typer.Option(help="Use only the first rows of each split.")]
Settings = Annotated[
    list[str], typer.Option("--set", help="A setting of the experiment, such as model.beta=0.5; repeatable.")
]
Variant = Annotated[str | None, typer.Option(help="Name of these settings in the tables.")]
Folder = Annotated[Path, typer.Option(help="Folder of the results.")]


@dataclass(frozen=True)
class Common:
    """Options common to the studies of one setting.

    Arguments:
        seeds: Seeds; each value of the setting is run with each of them.
        epochs: Epochs of each run.
        rows: Rows used of each split, from its start; None for all.
        settings: Further changes, KEY=VALUE.
        variant: Name of these changes in the tables.
    """

    seeds: list[int]
    epochs: int
    rows: int | None
    settings: list[str]
    variant: str

    def runs(self, experiment: str, key: str, values: Iterable[Any]) -> Iterator[tuple[Experiment, Case]]:
        """Yields the experiment with each value of a setting and each seed, and its case in the tables."""
        section, name = key.split(".")
        for value in values:
            for seed in self.seeds:
                changes = {f"{section}__{name}": value, "fit__epochs": self.epochs, "data__limit": self.rows}
                settings_of_run = changed(experiment, self.settings, seed=seed, **changes)
                yield settings_of_run, _case(settings_of_run, self.settings, self.variant, **{name: value})


@app.command("objectives")
def objectives_command(
    experiment: Annotated[list[str], typer.Option(help="Repeat for several.")] = BOTH,
    objective: Annotated[list[str], typer.Option(help="Repeat for several.")] = ALL,
    seed: Seeds = SEEDS,
    epochs: Annotated[int, typer.Option()] = studies.OBJECTIVE_EPOCHS,
    rows: Rows = None,
    settings: Settings = NONE,
    variant: Variant = None,
    output: Folder = HERE,
) -> None:
    """Objectives × seeds: label accuracy, coherence, variety, coverage of intervals, log p(x)."""
    judges: dict[str, Judges] = {}

    def run(settings_of_run: Experiment) -> Mapping[str, float]:
        prepared = data.prepare(settings_of_run)
        if settings_of_run.name not in judges:  # trained on real rows only, so the same for every run
            judges[settings_of_run.name] = learn_judges(prepared.modalities, prepared.train)
        return studies.summary(trained(settings_of_run, prepared), judges[settings_of_run.name])

    common = _study(studies.SHORT, "warmup 1", seed, epochs, rows, settings, variant)
    for name in experiment:
        for settings_of_run, case in common.runs(name, "model.objective", objective):
            _once(output / "objectives.jsonl", case, partial(run, settings_of_run))


@app.command("weak")
def weak_command(
    experiment: str = "mnist",
    paired: Annotated[list[float], typer.Option(help="Shares of the labels that are seen.")] = SHARES,
    seed: Seeds = SEEDS,
    epochs: Annotated[int, typer.Option()] = weak.EPOCHS,
    rows: Rows = None,
    settings: Settings = NONE,
    variant: Variant = None,
    output: Folder = HERE,
) -> None:
    """Weak supervision: label accuracy by the share of training rows whose label is seen."""
    common = _study(weak.SETTINGS, "few labels", seed, epochs, rows, settings, variant)
    for settings_of_run, case in common.runs(experiment, "data.paired", paired):
        _labels(output / weak.FILE, settings_of_run, case)


@app.command("missing")
def missing_command(
    experiment: str = "digits",
    missing: Annotated[list[float], typer.Option(help="Shares of entries that are taken away.")] = MISSING,
    seed: Seeds = SEEDS,
    epochs: Annotated[int, typer.Option()] = studies.MISSING_EPOCHS,
    rows: Rows = None,
    settings: Settings = NONE,
    variant: Variant = None,
    output: Folder = HERE,
) -> None:
    """Missing entries: label accuracy by the share of all entries that training lacks."""
    common = _study(studies.SHORT, "warmup 1", seed, epochs, rows, settings, variant)
    for settings_of_run, case in common.runs(experiment, "data.missing", missing):
        _labels(output / "missing.jsonl", settings_of_run, case)


@app.command("folds")
def folds_command(
    experiment: str = "mfeat",
    fold: Annotated[list[int], typer.Option(help="Which fifths are held out in turn.")] = FOLDS,
    epochs: Epochs = None,
    settings: Settings = NONE,
    variant: Variant = None,
    output: Folder = HERE,
) -> None:
    """Five folds of mfeat: any three views predicted from any three others, beside ridge regression."""

    def run(settings_of_run: Experiment, number: int) -> Mapping[str, float]:
        prepared = folds.fold(data.prepare(settings_of_run), number, settings_of_run.data.validation)
        learned = [prepared.train, prepared.validation]
        everything = DataRows(
            {name: torch.cat([part.data[name] for part in learned]) for name in prepared.train.data}
        )
        return folds.compare(trained(settings_of_run, prepared), everything)

    for number in fold:
        settings_of_run = changed(experiment, settings, fit__epochs=epochs)
        case = _case(settings_of_run, settings, variant, fold=number)
        _once(output / "folds.jsonl", case, partial(run, settings_of_run, number))


@app.command("tables")
def tables_command(
    output: Folder = HERE,
) -> None:
    """Writes RESULTS.md from the recorded results."""
    text = "\n".join(_tables(output))
    (output / "RESULTS.md").write_text(text)
    print(text, end="")


def _tables(folder: Path) -> Iterable[str]:
    yield "# Results of the studies\n"
    yield "Made by `python -m training.ablation tables` from the `.jsonl` files beside it: mean ± standard"
    yield "deviation over the runs. What the columns mean is in [training/README.md](../README.md).\n"
    results = read(folder / "objectives.jsonl")
    for experiment in dict.fromkeys(record.case["experiment"] for record in results):
        changes = [record for record in results if record.case["experiment"] == experiment]
        yield f"## Objectives, {experiment}\n"
        by = ("objective", *BY[1:])
        yield table(changes, by, studies.AVERAGES) + "\n"
        yield (
            table(changes, by, [n for r in changes[:1] for n in r.results if n not in studies.AVERAGES])
            + "\n"
        )
    for title, file, key in (
        ("Weak supervision", weak.FILE, "paired"),
        ("Missing entries", "missing.jsonl", "missing"),
        ("Five folds: three views from three others", "folds.jsonl", None),
        ("Binarised MNIST", "binarised.jsonl", "model"),
    ):
        records = read(folder / file)
        if records:
            yield f"## {title}\n"
            yield table(records, ([key] if key else []) + [k for k in BY if k in records[0].case]) + "\n"
            if key == "paired":
                yield f"{weak.SOURCE}.\n"


def _study(
    changes: Iterable[str],
    label: str,
    seeds: list[int],
    epochs: int,
    rows: int | None,
    settings: list[str],
    variant: str | None,
) -> Common:
    """Returns the options of a study with its changes; ``label`` names them if there are no others."""
    return Common(seeds, epochs, rows, [*changes, *settings], variant or " ".join(settings) or label)


def _labels(path: Path, settings_of_run: Experiment, case: Case) -> None:
    _once(path, case, lambda: studies.label_accuracy(trained(settings_of_run, data.prepare(settings_of_run))))


def _case(settings_of_run: Experiment, settings: Iterable[str], variant: str | None, **changes: Any) -> Case:
    return {
        "experiment": settings_of_run.name,
        "variant": variant or " ".join(settings) or "as it ships",
        "epochs": settings_of_run.fit.epochs,
        "rows": settings_of_run.data.limit,
        **changes,
        "seed": settings_of_run.seed,
    }


def _once(path: Path, case: Case, run: Callable[[], Mapping[str, float]]) -> None:
    description = ", ".join(f"{key} {value}" for key, value in case.items() if value is not None)
    if done(path, case):
        print(f"done already: {description}")
        return
    print(f"{description} …", flush=True)
    started = time.monotonic()
    results = run()
    append(path, Record(case, results, time.monotonic() - started))
    print("  " + ", ".join(f"{name} {value:.3f}" for name, value in list(results.items())[:8]), flush=True)


def main() -> None:
    torch.set_num_threads(1)
    try:
        app()
    except (TrainingError, ModelsStoreError) as error:
        print(f"training.ablation: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
