"""What the commands of ``anyview-train`` do, once it is clear what was asked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load
from torch import Tensor

from models_store import latent, stores
from models_store.folder import Bundle
from models_store.latent import Latent
from models_store.manifest import Manifest
from training import data
from training import fit as fitting
from training.ablation import weak
from training.checkpoint import EpochReport
from training.config import Experiment, read_experiment
from training.evaluation import EvaluatedModel, fit_latent, measure_model
from training.evaluation.card import CARD, report
from training.export import OnnxGraphs, export
from training.importing import read_saved, to_bundle
from training.tracking import Tracked, tracked

LEADER = os.environ.get("LOCAL_RANK", "0") == "0"
"""Of several processes on a machine, one speaks."""
console = Console(quiet=not LEADER)


def fit(
    chosen: Experiment,
    text: str,
    place: stores.Store,
    folder: Path,
    *,
    resume: bool,
    start: Bundle | None,
    trackers: Sequence[str],
) -> None:
    """Trains in a folder, and publishes.

    Arguments:
        chosen: What is trained.
        text: Of the experiment file.
        place: Where it is published.
        folder: For the state of the run.
        resume: Whether to go on with the run that is there.
        start: A model whose weights are the first.
        trackers: By name, who is told of every epoch.
    """
    weights = None if start is None else weights_of(start)
    prepared = data.prepare(chosen)
    console.print(
        f"{chosen.name}: {len(prepared.train)} training, {len(prepared.validation)} validation, "
        f"{len(prepared.test)} test rows of {', '.join(chosen.modalities)}; writing to {folder}; "
        f"if anything stops this run, go on with --resume {folder}",
        soft_wrap=True,
    )
    with tracked(trackers if LEADER else [], chosen, folder, resume) as told:
        with _shown(chosen, prepared, told) as progress:
            fitted = fitting.fit(chosen, prepared, folder, progress, resume=resume, weights=weights)
        if fitted.leader:
            told.measured(_publish(fitted, chosen, text, prepared, place).metrics)


def evaluate(bundle: Bundle, output: Path | None) -> None:
    """Measures a published model again; writes its card and pictures to a folder, if one is given."""
    chosen, _ = read_experiment(str(bundle.folder / "experiment.toml"))
    prepared = data.prepare(chosen)
    files = {name: bundle.read(name) for name in bundle.manifest.files if name.endswith(".onnx")}
    evaluated = _evaluated(chosen, bundle.manifest, OnnxGraphs(bundle.manifest, files), prepared)
    known = None
    if latent.FILE in bundle.manifest.files:
        known = Latent.from_bytes(bundle.read(latent.FILE), bundle.manifest)
    _, again = _measured(evaluated, known, chosen)
    if output is not None:
        for name, content in again.items():
            path = output / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    print(again[CARD].decode(), end="")


def import_(folder: Path, place: stores.Store, name: str, networks: str | None) -> None:
    """Publishes what the reference library saved in a folder."""
    imported = read_saved(folder, networks)
    manifest, files = to_bundle(imported, name, place.next_number(name), folder)
    console.print(f"published {place.publish(manifest, files)}", soft_wrap=True)


def _publish(
    fitted: fitting.Fitted, chosen: Experiment, text: str, prepared: data.Prepared, place: stores.Store
) -> Manifest:
    """Exports what was fitted, measures and publishes it; its manifest."""
    number = place.next_number(chosen.name)
    manifest, files = export(fitted.model, chosen, text, prepared, number, fitted.reports)
    console.print("the ONNX graphs agree with torch; measuring on held-out rows")
    evaluated = _evaluated(chosen, manifest, OnnxGraphs(manifest, files), prepared)
    files[latent.FILE] = fit_latent(evaluated).to_bytes()
    known = Latent.from_bytes(files[latent.FILE], manifest)
    measured, found = _measured(evaluated, known, chosen)
    files |= found
    target = place.publish(measured, files)
    print(files[CARD].decode(), end="")
    console.print(f"published {target}", soft_wrap=True)
    return measured


def _evaluated(
    chosen: Experiment, manifest: Manifest, graphs: OnnxGraphs, prepared: data.Prepared
) -> EvaluatedModel:
    return EvaluatedModel(
        manifest, graphs, prepared.train, prepared.test, chosen.evaluation, chosen.seed, chosen.examples
    )


def _measured(
    evaluated: EvaluatedModel, known: Latent | None, chosen: Experiment
) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest with what was measured in it, and the files that tell of it."""
    manifest = measure_model(evaluated, known).stated_in(evaluated.manifest)
    return manifest, report(evaluated, known, manifest, weak.studies(chosen.name))


def weights_of(bundle: Bundle) -> dict[str, Tensor]:
    """The torch weights that a bundle was exported from."""
    return load(bundle.read("weights.safetensors"))


@contextmanager
def _shown(chosen: Experiment, prepared: data.Prepared, told: Tracked) -> Iterator[fitting.Progress]:
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

        yield fitting.Progress(
            on_batch, on_epoch, told.resumed, lambda what: bar.console.print(what, highlight=False)
        )
