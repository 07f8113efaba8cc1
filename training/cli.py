"""``anyview-train``: guess an experiment, fit it or import a model, publish it; evaluate it again."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load
from torch import Tensor

from models_store import latent, stores
from models_store.errors import ModelsStoreError
from models_store.latent import Latent
from models_store.manifest import Manifest
from models_store.store import SHIPPED, Bundle
from models_store.stores import open_named, store_at
from training import data, fit
from training.checkpoint import EpochReport
from training.config import Experiment, read_experiment
from training.data.guess import experiment_for
from training.errors import ExperimentError, TrainingError
from training.evaluation import Examinee, describe, measure
from training.evaluation.card import CARD, report
from training.export import OnnxGraphs, export
from training.importing import read_saved, to_bundle
from training.tracking import TRACKERS, Tracked, tracked

app = typer.Typer(help=__doc__, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
LEADER = os.environ.get("LOCAL_RANK", "0") == "0"
"""Of several processes on a machine, one speaks."""
console = Console(quiet=not LEADER)

Store = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="ANYVIEW_STORE",
        help="The folder of published models, or an address such as s3://bucket/models.",
    ),
]


@app.command("init")
def init_command(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="CSV, Parquet, npz or npy, or folders with a table of paths of images or sounds."
        ),
    ],
    output: Annotated[Path, typer.Option(help="The experiment file to write.")] = Path("experiment.toml"),
) -> None:
    """Looks at files, and writes an experiment file for them, to be read and edited."""
    if output.exists():
        raise ExperimentError(f"{output} exists already; choose another name with --output")
    output.write_text(experiment_for(files, output))
    console.print(
        f"wrote {output}: read it, correct it, then run: anyview-train fit {output}", soft_wrap=True
    )


@app.command("fit")
def fit_command(
    experiment: Annotated[str, typer.Argument(help="An experiment file, or the name of a built-in one.")],
    store: Store = "store",
    workdir: Annotated[Path | None, typer.Option(help="Default: runs/NAME-TIME.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="The workdir of a run that was stopped: go on with it.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="NAME, or NAME/VERSION, of a published model: start from it.")
    ] = None,
    track: Annotated[
        str, typer.Option(help=f"Who is told of every epoch, comma-separated: {', '.join(TRACKERS)}.")
    ] = "",
) -> None:
    """Trains a model, checks its ONNX graphs against torch, measures it and publishes it."""
    if resume is not None and (workdir is not None or start is not None):
        raise TrainingError(
            "--resume goes on where it stopped, in its own folder: leave out --workdir and --from"
        )
    chosen, text = read_experiment(experiment)
    folder = resume or workdir or Path("runs") / f"{chosen.name}-{datetime.now():%Y%m%d-%H%M%S}"
    place = store_at(store)
    place.next_number(chosen.name)  # a store that does not answer is better known now than after the training
    weights = None if start is None else weights_of(open_named(place, start))
    prepared = data.prepare(chosen)
    console.print(
        f"{chosen.name}: {len(prepared.train)} training, {len(prepared.validation)} validation, "
        f"{len(prepared.test)} test rows of {', '.join(chosen.modalities)}; writing to {folder}"
    )
    names = [name.strip() for name in track.split(",") if name.strip()] if LEADER else []
    with tracked(names, chosen, folder, resume is not None) as told:
        with _shown(chosen, prepared, told) as progress:
            fitted = fit.fit(chosen, prepared, folder, progress, resume=resume is not None, weights=weights)
        if fitted.leader:
            told.measured(_publish(fitted, chosen, text, prepared, place).metrics)


def _publish(
    fitted: fit.Fitted, chosen: Experiment, text: str, prepared: data.Prepared, place: stores.Store
) -> Manifest:
    """Exports what was fitted, measures and publishes it; its manifest."""
    number = place.next_number(chosen.name)
    manifest, files = export(fitted.model, chosen, text, prepared, number, fitted.reports)
    console.print("the ONNX graphs agree with torch; measuring on held-out rows")
    examinee = _examinee(chosen, manifest, OnnxGraphs(manifest, files), prepared)
    files[latent.FILE] = describe(examinee).to_bytes()
    known = Latent.from_bytes(files[latent.FILE], manifest)
    measured = measure(examinee, known).stated_in(manifest)
    files |= report(examinee, known, measured)
    target = place.publish(measured, files)
    print(files[CARD].decode(), end="")
    console.print(f"published {target}", soft_wrap=True)
    return measured


@app.command("evaluate")
def evaluate_command(
    model: Annotated[str, typer.Argument(help="NAME, or NAME/VERSION, of a published model.")],
    store: Store = str(SHIPPED),
    output: Annotated[
        Path | None, typer.Option(help="A folder for the card and its pictures, as they are in the bundle.")
    ] = None,
) -> None:
    """Computes the numbers of a published model's card again, from its graphs, and prints them."""
    bundle = open_named(store_at(store), model)
    chosen, _ = read_experiment(str(bundle.folder / "experiment.toml"))
    prepared = data.prepare(chosen)
    files = {name: bundle.read(name) for name in bundle.manifest.files if name.endswith(".onnx")}
    examinee = _examinee(chosen, bundle.manifest, OnnxGraphs(bundle.manifest, files), prepared)
    known = None
    if latent.FILE in bundle.manifest.files:
        known = Latent.from_bytes(bundle.read(latent.FILE), bundle.manifest)
    measured = measure(examinee, known).stated_in(bundle.manifest)
    again = report(examinee, known, measured)
    if output is not None:
        for name, content in again.items():
            path = output / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    print(again[CARD].decode(), end="")


@app.command("import")
def import_command(
    folder: Annotated[Path, typer.Argument(help="What the reference library's MVAE.save wrote.")],
    store: Store = "store",
    name: Annotated[str | None, typer.Option(help="Of the model; default: the folder's.")] = None,
    networks: Annotated[
        str | None, typer.Option(help="package.module:function that makes encoders and decoders.")
    ] = None,
) -> None:
    """Publishes a model of the reference library; reads its configuration and tensors, never a pickle."""
    imported = read_saved(folder, networks)
    chosen = name or folder.resolve().name
    place = store_at(store)
    manifest, files = to_bundle(imported, chosen, place.next_number(chosen), folder)
    console.print(f"published {place.publish(manifest, files)}", soft_wrap=True)


def main() -> None:
    try:
        app()
    except (TrainingError, ModelsStoreError) as error:
        print(f"anyview-train: {error}", file=sys.stderr)
        sys.exit(1)


def _examinee(
    chosen: Experiment, manifest: Manifest, graphs: OnnxGraphs, prepared: data.Prepared
) -> Examinee:
    return Examinee(
        manifest, graphs, prepared.train, prepared.test, chosen.evaluation, chosen.seed, chosen.examples
    )


def weights_of(bundle: Bundle) -> dict[str, Tensor]:
    """The torch weights that a bundle was exported from."""
    return load(bundle.read("weights.safetensors"))


@contextmanager
def _shown(chosen: Experiment, prepared: data.Prepared, told: Tracked) -> Iterator[fit.Progress]:
    """A progress bar and a line per epoch, for people; the same for whoever else is told."""
    batches = -(-len(prepared.train) // chosen.fit.batch_size)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("epoch 1", total=chosen.fit.epochs * batches, loss="…")

        def on_batch(epoch: int, batch: int, loss: float) -> None:
            done = (epoch - 1) * batches + batch
            bar.update(
                task, description=f"epoch {epoch}/{chosen.fit.epochs}", completed=done, loss=f"{loss:.2f}"
            )

        def on_epoch(done: EpochReport) -> None:
            validation = "" if done.validation_loss is None else f", validation {done.validation_loss:.3f}"
            best = ", the best so far" if done.best and done.validation_loss is not None else ""
            bar.console.print(
                f"epoch {done.epoch}: loss {done.train_loss:.3f}{validation}{best} ({done.seconds:.1f} s)",
                highlight=False,
            )
            told.epoch(done)

        yield fit.Progress(
            on_batch, on_epoch, told.resumed, lambda what: bar.console.print(what, highlight=False)
        )
