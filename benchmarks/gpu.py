"""Settles what is said of training on a GPU: one JSON line per finding, on a machine with one GPU.

    python -m benchmarks.gpu                 # all steps
    python -m benchmarks.gpu parity resume   # some of them
    python -m benchmarks.gpu --quick         # few rows: a trial, on a CPU too

A step that fails says why, and the next one runs. ``benchmarks/gpu.sh`` runs this, the tests that touch the
device and ``benchmarks.training``, within nine minutes and without a network.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import profile, supported_activities

from benchmarks.gpu_parity import CPU, errors_on
from training import data, device, fit
from training.config import Experiment, read_experiment
from training.data import Prepared
from training.epoch import Progress
from training.errors import TrainingError
from training.evaluation.judging import Judge
from training.model import MVAE

GPU = device.device_of("auto")
"""The GPU; the CPU where there is none, to try the script."""
BATCH, SEVERAL, PROFILED = 128, 200, 50
"""Rows of a batch, and batches of an epoch whose speed or steps are measured: the last is a whole one."""
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bf16": {"precision": "bf16"},
    "compile": {"compile": True},
    "compile, bf16": {"compile": True, "precision": "bf16"},
}
"""Settings of ``[fit]`` that may make training faster."""


@dataclass(frozen=True)
class Run:
    """One run of this script.

    Arguments:
        quick: Whether to use few rows and epochs.
        output: Folder for the state of the trained recipes.
    """

    quick: bool
    output: Path | None

    def experiment(self, name: str, rows: int | None = None, **settings: Any) -> Experiment:
        """A shipped experiment with other settings of ``[fit]``, of at most so many training rows."""
        experiment, _ = read_experiment(name)
        limit = min(rows or 10**9, 1024) if self.quick else rows
        limited = experiment.data.model_copy(update={"limit": limit} if limit else {})
        fitted = experiment.fit.model_copy(update=settings)
        return experiment.model_copy(update={"fit": fitted, "data": limited})


Finding = dict[str, Any]


def environment(_run: Run) -> Iterator[Finding]:
    """The GPU and the versions."""
    cuda = torch.cuda.is_available()
    yield {
        "device": torch.cuda.get_device_name() if cuda else "none: a trial on the CPU",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cores": os.cpu_count(),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }


def parity(_run: Run) -> Iterator[Finding]:
    """Loss and gradient of every objective on each device, relative to those on the CPU in float32."""
    return errors_on(GPU)


def steps(run: Run) -> Iterator[Finding]:
    """What a step of training launches, copies and waits for, with the loss as it is and compiled."""
    if GPU.type == "cpu":
        return
    for how in ("plain", "compile"):
        experiment = run.experiment("mnist", PROFILED * BATCH, epochs=1, device="cuda", **WAYS[how])
        prepared = data.prepare(experiment)
        with (
            warnings.catch_warnings(record=True) as waits,
            profile(
                activities=supported_activities()  # type: ignore[no-untyped-call]
            ) as p,
        ):
            warnings.simplefilter("always")
            progress = Progress(batch=_warn_of_waits)
            with tempfile.TemporaryDirectory() as folder:
                fit.fit(experiment, prepared, Path(folder), progress)
        torch.cuda.set_sync_debug_mode("default")
        yield {"how": how, **_per_step(p.key_averages()), "waits": _waits(waits)}


def _warn_of_waits(_epoch: int, _batch: int, _loss: float) -> None:
    """Reports synchronisations from the first look at the loss on."""
    torch.cuda.set_sync_debug_mode("warn")


def _per_step(events: Any) -> Finding:
    def number(*names: str) -> float:
        return round(sum(e.count for e in events if e.key in names) / PROFILED, 2)

    return {
        "kernels": number("cudaLaunchKernel", "cuLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernelEx"),
        "graphs": number("cudaGraphLaunch"),
        "copies": number("cudaMemcpyAsync"),
        "synchronisations": number("cudaStreamSynchronize", "cudaDeviceSynchronize"),
    }


def _waits(caught: list[warnings.WarningMessage]) -> dict[str, int]:
    """Places of the code that waited for the GPU, with how often."""
    places = [f"{Path(w.filename).name}:{w.lineno}" for w in caught if "synchroniz" in str(w.message)]
    return {place: places.count(place) for place in sorted(set(places))}


def speed(run: Run) -> Iterator[Finding]:
    """Rows per second in the last of three epochs, each way."""
    from torch._dynamo.utils import counters

    for name in ("mnist", "digits"):
        prepared = data.prepare(run.experiment(name, SEVERAL * BATCH))
        for where in ("cuda", "cpu") if GPU.type == "cuda" else ("cpu",):
            for how in WAYS if where == "cuda" else ["plain"]:
                torch._dynamo.reset()
                counters.clear()
                experiment = run.experiment(name, SEVERAL * BATCH, epochs=3, device=where, **WAYS[how])
                started = time.monotonic()
                with tempfile.TemporaryDirectory() as folder:
                    reports = fit.fit(experiment, prepared, Path(folder)).reports
                yield {
                    "model": name,
                    "device": where,
                    "how": how,
                    "rows_per_second": round(reports[-1].rows_per_second),
                    "first_epoch_seconds": round(reports[0].seconds, 1),
                    "loss": round(reports[-1].train_loss, 3),
                    "wall": round(time.monotonic() - started, 1),
                    "graphs_skipped": counters["inductor"].get("cudagraph_skips", 0),
                    "recompiled": sum(counters["recompiles"].values()),
                    "graph_breaks": sum(counters["graph_break"].values()),
                }


def resume(run: Run) -> Iterator[Finding]:
    """Differences of repeated runs and of runs that were stopped and resumed, here and on another device."""
    rows, epochs, folders = SEVERAL * BATCH, 3, tempfile.TemporaryDirectory()
    here = GPU.type if GPU.type == "cuda" else "cpu"
    for name in ("mnist", "digits"):
        prepared = data.prepare(run.experiment(name, rows))

        def fitted(where: str, folder: str, stop: int | None = None, *, again: bool = False) -> fit.Fitted:
            experiment = run.experiment(name, rows, epochs=epochs, device=where)  # noqa: B023 - called here
            place = Path(folders.name) / name / folder  # noqa: B023
            return fit.fit(experiment, prepared, place, _stopping(stop), resume=again)  # noqa: B023

        whole, repeated = fitted(here, "whole"), fitted(here, "repeated")
        yield {"model": name, "device": here, "repeated_differs_by": _difference(whole, repeated)}
        for first, then in ((here, here), (here, "cpu"), ("cpu", here)):
            folder = f"{first}-{then}"
            try:
                fitted(first, folder, stop=2)
            except InterruptedError:
                resumed = fitted(then, folder, again=True)
            losses = [fitted_run.reports[-1].train_loss for fitted_run in (whole, resumed)]
            yield {
                "model": name,
                "stopped_on": first,
                "resumed_on": then,
                "differs_by": _difference(whole, resumed),
                "loss_differs_by": abs(losses[1] / losses[0] - 1),
            }
    folders.cleanup()


def _stopping(after: int | None) -> Progress:
    def on_epoch(report: fit.EpochReport) -> None:
        if report.epoch == after:
            raise InterruptedError

    return Progress(epoch=on_epoch)


def _difference(a: fit.Fitted, b: fit.Fitted) -> float:
    """The largest difference of a weight."""
    pairs = zip(a.model.state_dict().values(), b.model.state_dict().values(), strict=True)
    return max(float((x - y).abs().max()) for x, y in pairs)


def memory(run: Run) -> Iterator[Finding]:
    """Rows that stay on the host, a run that diverges, and a generator on the GPU."""
    experiment = run.experiment("mnist", SEVERAL * BATCH, epochs=2)
    prepared = data.prepare(experiment)
    share, device.SHARE = device.SHARE, 0.0
    try:
        with tempfile.TemporaryDirectory() as folder:
            reports = fit.fit(experiment, prepared, Path(folder)).reports
    finally:
        device.SHARE = share
    yield {"rows_on_the_host": round(reports[-1].rows_per_second), "loss": reports[-1].train_loss}
    diverging = run.experiment("mnist", SEVERAL * BATCH, epochs=2, learning_rate=1e4)
    troubles: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            fit.fit(diverging, prepared, Path(folder), Progress(trouble=troubles.append))
            outcome = "finished"
        except TrainingError as error:
            outcome = str(error)
    yield {"diverging": outcome, "messages": troubles[:2]}
    model = fit.build(experiment, prepared).to(GPU)
    image = {"image": prepared.test.data["image"][:4]}
    generator = torch.Generator(GPU)
    draws = [model.encode(image, N=2, generator=generator.manual_seed(0)).z for _ in range(2)]
    yield {"generator": "the same draws twice" if torch.equal(*draws) else "other draws"}


def judges(run: Run) -> Iterator[Finding]:
    """Seconds to train a judge of pictures on each device, and its accuracy."""
    prepared = data.prepare(run.experiment("mnist"))
    for where in (GPU, CPU):
        started = time.monotonic()
        judge = Judge.learn(prepared.train, "label", "image", where)
        seconds = round(time.monotonic() - started, 1)
        accuracy = None if judge is None else judge.accuracy(prepared.test)
        yield {"device": where.type, "seconds": seconds, "accuracy": accuracy}


def recipes(run: Run) -> Iterator[Finding]:
    """The whole recipes as shipped: seconds, and how often the label is right given each other view."""
    for name in ("mnist", "digits"):
        experiment = run.experiment(name, **({"epochs": 1} if run.quick else {}))
        prepared = data.prepare(experiment)
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            fitted = fit.fit(experiment, prepared, Path(folder))
            if run.output:
                shutil.copytree(folder, run.output / name, dirs_exist_ok=True)
        yield {
            "model": name,
            "seconds": round(time.monotonic() - started, 1),
            "epochs": len(fitted.reports),
            "loss": fitted.reports[-1].train_loss,
            "rows_per_second": round(np.median([r.rows_per_second for r in fitted.reports])),
            "label_right": _accuracies(fitted.model.to(GPU), prepared),
        }


@torch.no_grad()
def _accuracies(model: MVAE, prepared: Prepared) -> dict[str, float]:
    """Share of test rows whose label is right given one other modality."""
    label = next(m.name for m in prepared.modalities if m.labels is not None)
    right = {name: 0 for name in model.modalities if name != label}
    for start in range(0, len(prepared.test), 2000):
        rows = prepared.test.take(slice(start, start + 2000))
        for name in right:
            probabilities = model.predict({name: rows.data[name]}, [name], [label], N=20)[label].mean(1)
            right[name] += int((probabilities.argmax(-1).cpu() == rows.data[label]).sum())
    return {name: count / len(prepared.test) for name, count in right.items()}


STEPS: tuple[Callable[[Run], Iterator[Finding]], ...] = (
    environment,
    parity,
    steps,
    speed,
    resume,
    memory,
    judges,
    recipes,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("steps", nargs="*", help=", ".join(step.__name__ for step in STEPS))
    parser.add_argument("--quick", action="store_true", help="few rows and epochs")
    parser.add_argument("--output", type=Path, help="folder for the state of the trained recipes")
    arguments = parser.parse_args()
    run, started = Run(arguments.quick, arguments.output), time.monotonic()
    for step in STEPS:
        if arguments.steps and step.__name__ not in arguments.steps:
            continue
        try:
            for finding in step(run):
                _say(step.__name__, started, finding)
        except Exception as error:
            where = [f"{f.filename}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)[-4:]]
            _say(step.__name__, started, {"failed": f"{type(error).__name__}: {error}"[:600], "where": where})


def _say(step: str, started: float, finding: Finding) -> None:
    print(
        json.dumps({"step": step, "at": round(time.monotonic() - started, 1), **finding}, default=str),
        flush=True,
    )


if __name__ == "__main__":
    main()
