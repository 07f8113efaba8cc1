"""Commands of ``anyview-train``, called with checked arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load
from torch import Tensor

from models_store import calibration, latent, residuals, stores
from models_store.calibration import Calibration
from models_store.folder import Bundle
from models_store.latent import Latent
from models_store.manifest import Manifest
from models_store.residuals import Residuals
from training import data, members
from training import fit as fitting
from training.ablation import weak
from training.checkpoint import LAST, EpochReport
from training.config import Experiment, read_experiment
from training.device import device_name, device_of, fabric_for, naming_lost_processes
from training.divergence import advice
from training.errors import TrainingError
from training.evaluation import (
    EvaluatedModel,
    fit_latent,
    measure_answers,
    measure_corruptions,
    measure_model,
)
from training.evaluation.calibrating import calibrate as learn_calibration
from training.evaluation.calibrating import split
from training.evaluation.card import CARD, FOLDER, card_of, corruption_table, report
from training.evaluation.corruptions import CORRUPTIONS
from training.evaluation.gains import beats_the_mean
from training.evaluation.members import MemberGraphs
from training.evaluation.metrics import Gain
from training.evaluation.residuals import fit_residuals
from training.export import OnnxGraphs, check_room, export
from training.importing import read_saved, to_bundle
from training.launch import Launch, is_leader, launched
from training.places import reason
from training.threads import threads_for
from training.tracking import Tracked, tracked

ABSURD = -10.0
"""Gain below which an answer is worse than none: ten times the error of the training mean."""
console = Console(quiet=not is_leader())


def fit(
    experiment: Experiment,
    text: str,
    place: stores.Store,
    folder: Path,
    *,
    resume: bool,
    start: Bundle | None,
    trackers: Sequence[str],
    force: bool = False,
) -> None:
    """Trains in a folder, and publishes.

    Arguments:
        experiment: The experiment.
        text: Text of the experiment file.
        place: Store in which the model is published.
        folder: Folder of the run: its state, best weights and metrics.
        resume: Whether to continue the run in the folder.
        start: Published model whose weights initialise the training; read by the leader alone.
        trackers: Names of the trackers that log every epoch.
        force: Whether to publish a model that predicts no better than the training mean, too.

    Raises:
        TrainingError: The folder holds another run, a place cannot be written, another process of the run
            is gone, or the model predicts no better than the training mean: its card is then in the folder
            of the run.
    """
    leader, launch = is_leader(), launched()
    if leader and not resume and (folder / LAST).exists():
        raise TrainingError(
            f"{folder} holds a run: continue it with --resume {folder}, "
            "or choose another folder with --workdir"
        )
    weights = None if start is None else weights_of(start)
    processes = experiment.fit.processes * experiment.fit.nodes if launch is None else launch.world_size
    with naming_lost_processes(processes, folder):
        fabric = fabric_for(experiment.fit, launch)
        prepared = data.prepare(experiment, fabric)
    check_room(experiment, prepared)
    _announce(experiment, prepared, folder, launch)
    with tracked(trackers if leader else [], experiment, folder, resume) as log:
        with _shown(experiment, prepared, log) as progress:
            trained = members.train(
                experiment, prepared, folder, progress, resume=resume, weights=weights, fabric=fabric
            )
        if trained.leader:
            with threads_for(trained.model, experiment.fit.batch_size):
                measured, files = _finished(trained, experiment, text, prepared, place)
            log.measured(measured.metrics)
            if not force:
                _check_gains(measured, files, folder, advice(experiment, text))
            _publish(measured, files, place)


def _announce(experiment: Experiment, prepared: data.Prepared, folder: Path, launch: Launch | None) -> None:
    """Prints what will be trained, where, and how to continue it."""
    console.print(
        f"{experiment.name}: {prepared.train_rows} training, {len(prepared.validation)} validation, "
        f"{len(prepared.test)} test rows of {', '.join(experiment.modalities)}; "
        f"training on {device_name(device_of(experiment.fit.device))}; writing to {folder}; "
        f"if anything stops this run, continue with --resume {folder}",
        soft_wrap=True,
    )
    if launch is not None and experiment.fit.processes * experiment.fit.nodes not in (1, launch.world_size):
        console.print(
            f"the launcher started {launch.world_size} processes, which train together; "
            "fit.processes and fit.nodes of the experiment do not count",
            soft_wrap=True,
        )


def evaluate(bundle: Bundle, output: Path | None) -> None:
    """Measures a published model again; writes its card and pictures to a folder, if given."""
    experiment, evaluated = published(bundle)
    latent_space = None
    if latent.FILE in bundle.manifest.files:
        latent_space = Latent.from_bytes(bundle.read(latent.FILE), bundle.manifest)
    _, card_files = _measured(evaluated, latent_space, experiment)
    if output is not None:
        _write(card_files, output)
    print(card_files[CARD].decode(), end="")


def corruptions(bundle: Bundle) -> None:
    """Prints how often a published model names the right label where one view is corrupted.

    Raises:
        TrainingError: The model has no category, or no view of a kind that can be corrupted.
    """
    measured = measure_corruptions(published(bundle)[1])
    if not measured:
        raise TrainingError(
            f"{bundle.manifest.name} has no test rows with a category and a view of one of these kinds: "
            f"{', '.join(CORRUPTIONS)}; nothing can be measured"
        )
    print(corruption_table(measured))


def published(bundle: Bundle) -> tuple[Experiment, EvaluatedModel]:
    """A published model with its calibration, and the test rows that have not calibrated it."""
    experiment, _ = read_experiment(str(bundle.folder / "experiment.toml"))
    prepared = data.prepare(experiment)
    evaluated = _evaluated(experiment, bundle.manifest, _graphs(bundle), prepared)
    evaluated = _with_residuals(evaluated, bundle)
    if calibration.FILE in bundle.manifest.files:
        corrections = Calibration.from_bytes(bundle.read(calibration.FILE), bundle.manifest)
        _, measuring = split(prepared.test, experiment.evaluation.calibration, experiment.seed)
        evaluated = replace(evaluated, test=measuring, calibration=corrections)
    return experiment, evaluated


def calibrate(bundle: Bundle, place: stores.Store) -> None:
    """Publishes the next version of a model: the same graphs, with a calibration and reference scores.

    Measures again what depends on either: answers, log-likelihoods and references. Other metrics stay.
    """
    experiment, _ = read_experiment(str(bundle.folder / "experiment.toml"))
    prepared = data.prepare(experiment)
    number = place.next_number(bundle.manifest.name)
    manifest = bundle.manifest.model_copy(update={"version": number})
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    evaluated = _evaluated(experiment, manifest, _graphs(bundle), prepared)
    evaluated = _calibrated(_with_residuals(evaluated, bundle), experiment, files)
    measured = measure_answers(evaluated).stated_in(manifest)
    drawn = [name.removeprefix(FOLDER) for name in files if name.endswith(".png")]
    files[CARD] = card_of(measured, drawn, weak.studies(experiment.name)).encode()
    console.print(f"published {place.publish(measured, files)}", soft_wrap=True)


def import_(folder: Path, place: stores.Store, name: str, networks: str | None) -> None:
    """Publishes a model that MultiVae saved in a folder."""
    imported = read_saved(folder, networks)
    manifest, files = to_bundle(imported, name, place.next_number(name), folder)
    console.print(f"published {place.publish(manifest, files)}", soft_wrap=True)


def _finished(
    trained: members.Trained, experiment: Experiment, text: str, prepared: data.Prepared, place: stores.Store
) -> tuple[Manifest, dict[str, bytes]]:
    """Exports and measures the fitted model; returns the manifest and the files of its bundle."""
    number = place.next_number(experiment.name)
    manifest, files = export(trained.model, experiment, text, prepared, number, trained.reports)
    console.print("the ONNX graphs agree with torch; measuring on held-out rows")
    graphs = OnnxGraphs(manifest, files, device_of(experiment.fit.device).type)
    evaluated = _evaluated(experiment, manifest, graphs, prepared)
    networks = _members(evaluated)[: len(trained.held_out)]
    if (factors := fit_residuals(networks, trained.held_out)) is not None:
        if manifest.linear_members:  # their errors are independent
            applies = np.arange(manifest.members) < len(networks)
            factors = replace(factors, members=applies, mixture=manifest.mixture)
        files[residuals.FILE] = factors.to_bytes()
        evaluated = replace(evaluated, residuals=factors)
    evaluated = _calibrated(evaluated, experiment, files)
    files[latent.FILE] = fit_latent(evaluated).to_bytes()
    latent_space = Latent.from_bytes(files[latent.FILE], manifest)
    measured, card_files = _measured(evaluated, latent_space, experiment)
    return measured, files | card_files


def _members(evaluated: EvaluatedModel) -> list[EvaluatedModel]:
    """Each member of an ensemble; of a single model the model itself."""
    mixture = evaluated.manifest.mixture
    if len(mixture) == 1:
        return [evaluated]
    graphs = [MemberGraphs(evaluated.graphs, k, mixture) for k in range(len(mixture))]
    return [replace(evaluated, graphs=one) for one in graphs]


def _check_gains(measured: Manifest, files: dict[str, bytes], folder: Path, remedy: str) -> None:
    """Refuses a model of which no prediction is better than the training mean.

    Raises:
        TrainingError: It is such a model; its card was written into the folder of the run.
    """
    gains: dict[str, Gain] = measured.metrics["gains"]
    absurd = [name for name, gain in gains.items() if gain["gain"] < ABSURD]
    if not absurd and (not gains or beats_the_mean(gains)):
        return
    _write({name: files[name] for name in files if name.startswith(FOLDER)}, folder)
    if absurd:
        gain = gains[absurd[0]]
        raise TrainingError(
            f"nothing was published: '{absurd[0]}' is predicted far worse than by its training mean "
            f"({gain['measure']} {gain['gain']:.3g} on {gain['rows']} held-out rows), as where a cell is "
            f"mistyped; look for values far from all others; weights and {CARD} are in {folder}; "
            f"--resume {folder} --force publishes the model as it is"
        )
    best = max(gains, key=lambda name: gains[name]["gain"])
    gain = gains[best]
    raise TrainingError(
        "nothing was published: nothing is predicted from the rest of a row better than by its training mean "
        f"(the best is '{best}', {gain['measure']} {gain['gain']:.3f} ± {gain['gain_error']:.3f} on "
        f"{gain['rows']} held-out rows); weights and {CARD} are in {folder}; "
        f"{remedy}; --resume {folder} --force publishes the model as it is"
    )


def _publish(measured: Manifest, files: dict[str, bytes], place: stores.Store) -> None:
    try:
        target = place.publish(measured, files)
    except OSError as error:
        size = sum(map(len, files.values())) / 1e6
        raise TrainingError(f"{place.address}: {reason(error)}; the model needs {size:.1f} MB") from error
    print(files[CARD].decode(), end="")
    console.print(f"published {target}", soft_wrap=True)


def _write(files: Mapping[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _evaluated(
    experiment: Experiment, manifest: Manifest, graphs: OnnxGraphs, prepared: data.Prepared
) -> EvaluatedModel:
    return EvaluatedModel(
        manifest,
        graphs,
        prepared.train,
        prepared.test,
        experiment.evaluation,
        experiment.seed,
        experiment.examples,
        device=device_of(experiment.fit.device),
    )


def _with_residuals(evaluated: EvaluatedModel, bundle: Bundle) -> EvaluatedModel:
    """The evaluated model with the correlation between numbers that its bundle has, if any."""
    if residuals.FILE not in bundle.manifest.files:
        return evaluated
    content = bundle.read(residuals.FILE)
    return replace(evaluated, residuals=Residuals.from_bytes(content, bundle.manifest))


def _calibrated(evaluated: EvaluatedModel, experiment: Experiment, files: dict[str, bytes]) -> EvaluatedModel:
    """Calibrates a model with a share of its test rows, and leaves the others to measure it.

    Adds the calibration to the files of the bundle, if there are enough rows for one.
    """
    calibrating, measuring = split(evaluated.test, experiment.evaluation.calibration, experiment.seed)
    corrections = learn_calibration(evaluated, calibrating)
    if not corrections.corrections:
        return evaluated
    files[calibration.FILE] = corrections.to_bytes()
    return replace(evaluated, test=measuring, calibration=corrections)


def _graphs(bundle: Bundle) -> OnnxGraphs:
    files = {name: bundle.read(name) for name in bundle.manifest.files if name.endswith(".onnx")}
    return OnnxGraphs(bundle.manifest, files)


def _measured(
    evaluated: EvaluatedModel, latent_space: Latent | None, experiment: Experiment
) -> tuple[Manifest, dict[str, bytes]]:
    """Returns the manifest with the metrics, and the files of the report."""
    manifest = measure_model(evaluated, latent_space).stated_in(evaluated.manifest)
    return manifest, report(evaluated, latent_space, manifest, weak.studies(experiment.name))


def weights_of(bundle: Bundle) -> dict[str, Tensor]:
    """The torch weights of the networks that a bundle was exported from, without those of linear models."""
    weights, manifest = load(bundle.read("weights.safetensors")), bundle.manifest
    if not manifest.linear_members:
        return weights
    networks = {str(member) for member in range(manifest.members - manifest.linear_members)}
    return {key: value for key, value in weights.items() if key.split(".")[1] in networks}


@contextmanager
def _shown(experiment: Experiment, prepared: data.Prepared, log: Tracked) -> Iterator[fitting.Progress]:
    """Shows a progress bar, prints a line per epoch and logs it to the trackers."""
    batches = -(-prepared.epoch_rows // experiment.fit.batch_size)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        epochs = experiment.fit.epochs * experiment.model.members
        task = bar.add_task("epoch 1", total=epochs * batches, loss="…")

        def on_batch(epoch: int, batch: int, loss: float) -> None:
            done = (epoch - 1) * batches + batch
            bar.update(task, description=f"epoch {epoch}/{epochs}", completed=done, loss=f"{loss:.2f}")

        def on_epoch(done: EpochReport) -> None:
            validation = "" if done.validation_loss is None else f", validation {done.validation_loss:.3f}"
            best = ", the best so far" if done.best and done.validation_loss is not None else ""
            bar.console.print(
                f"epoch {done.epoch}: loss {done.train_loss:.3f}{validation}{best} ({done.seconds:.1f} s)",
                highlight=False,
            )
            log.epoch(done)

        def tell(what: str) -> None:
            bar.console.print(what, highlight=False)

        yield fitting.Progress(on_batch, on_epoch, tell, log.resumed, tell)
