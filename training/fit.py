"""The training loop: build, run the epochs, keep the best.

All randomness of an epoch comes from generators seeded with (seed, epoch), so that an epoch is the
same whatever came before it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from training.config import Experiment
from training.data import Prepared
from training.data.rows import Rows
from training.errors import TrainingError
from training.model import MVAE, MVAEConfig
from training.networks import ModelOutput, networks_for

BEST = "best.safetensors"
METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class EpochReport:
    """What one epoch came to; losses in nats per row, validation at the full weight of the divergence."""

    epoch: int
    train_loss: float
    validation_loss: float | None
    best: bool
    seconds: float


@dataclass(frozen=True)
class Progress:
    """Who is told how far training has come; each call returns at once."""

    batch: Callable[[int, int, float], None] = lambda _epoch, _batch, _loss: None
    """(epoch, batch of that epoch, its loss)."""
    epoch: Callable[[EpochReport], None] = lambda _report: None


@dataclass(frozen=True)
class Fitted:
    """The model with the weights of its best epoch, and how it came to them."""

    model: MVAE
    reports: list[EpochReport]


def build(experiment: Experiment, prepared: Prepared) -> MVAE:
    """The model of an experiment, its weights drawn from the experiment's seed."""
    torch.manual_seed(experiment.seed)
    chosen, settings = experiment.modalities, experiment.model
    pairs = {
        modality.name: networks_for(
            modality,
            chosen[modality.name].network,
            settings.latent_dim,
            prepared.train.data[modality.name],
        )
        for modality in prepared.modalities
    }
    config = MVAEConfig(
        n_modalities=len(pairs),
        uses_likelihood_rescaling=True,
        rescale_factors={name: choice.weight for name, choice in chosen.items()},
        decoders_dist={modality.name: modality.likelihood for modality in prepared.modalities},
        decoder_dist_params={m.name: {"range": m.range} for m in prepared.modalities if m.range},
        **settings.model_dump(),
    )
    encoders = {name: pair[0] for name, pair in pairs.items()}
    decoders = {name: pair[1] for name, pair in pairs.items()}
    return MVAE(config, encoders, decoders)


def fit(
    experiment: Experiment, prepared: Prepared, workdir: Path, progress: Progress | None = None
) -> Fitted:
    """Trains the model of an experiment.

    Arguments:
        experiment: What to train.
        prepared: Its data.
        workdir: Where the best weights and the metrics of every epoch are written.
        progress: Who is told.

    Raises:
        TrainingError: The loss is no longer a number.
    """
    progress = progress or Progress()
    model = build(experiment, prepared)
    settings = experiment.fit
    batches = -(-len(prepared.train) // settings.batch_size)
    optimizer = adam(model, settings.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * batches, pct_start=0.05
    )
    reports: list[EpochReport] = []
    for epoch in range(1, settings.epochs + 1):
        started = time.monotonic()
        total = 0.0
        for index, (rows, output) in enumerate(_losses(model, experiment, prepared.train, epoch)):
            loss = float(output.loss.detach())
            if loss != loss:
                raise TrainingError(
                    f"the loss is not a number in epoch {epoch}, batch {index + 1}; the weights of the best "
                    f"epoch so far are in {workdir / BEST}; try a smaller fit.learning_rate"
                )
            optimizer.zero_grad(set_to_none=True)
            output.loss.backward()
            optimizer.step()
            schedule.step()
            total += loss * len(rows)
            progress.batch(epoch, index + 1, loss)
        validation = validation_loss(model, experiment, prepared.validation)
        best = validation is None or validation <= min(
            (r.validation_loss for r in reports if r.validation_loss is not None), default=validation
        )
        report = EpochReport(epoch, total / len(prepared.train), validation, best, time.monotonic() - started)
        reports.append(report)
        _save(model, workdir, report)
        progress.epoch(report)
    model.load_state_dict(load_file(workdir / BEST))
    return Fitted(model.eval(), reports)


def adam(model: MVAE, learning_rate: float) -> torch.optim.Optimizer:
    """Adam in one kernel for all weights, which on a CPU too is several times faster than a loop."""
    return torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True)


@torch.no_grad()
def validation_loss(model: MVAE, experiment: Experiment, rows: Rows) -> float | None:
    """The objective on held-out rows: the same noise at every call, the divergence at its full weight."""
    if not len(rows):
        return None
    model.eval()
    total = 0.0
    generator = _generator(experiment.seed, 0)
    for start in range(0, len(rows), 1000):
        batch = rows.take(slice(start, start + 1000))
        family = model.draw_subsets(generator)
        noise = torch.randn(len(family), len(batch), model.latent_dim, generator=generator)
        loss = model(batch, epoch=experiment.model.warmup + 1, family=family, noise=noise).loss
        total += float(loss) * len(batch)
    model.train()
    return total / len(rows)


def _losses(
    model: MVAE, experiment: Experiment, rows: Rows, epoch: int
) -> Iterator[tuple[Rows, ModelOutput]]:
    """The batches of one epoch in their own order, each with its loss."""
    generator = _generator(experiment.seed, epoch)
    order = torch.randperm(len(rows), generator=generator)
    chunks = torch.split(order, experiment.fit.batch_size)
    model.train()
    for index, chunk in enumerate(chunks):
        batch = rows.take(chunk)
        family = model.draw_subsets(generator)
        noise = torch.randn(len(family), len(batch), model.latent_dim, generator=generator)
        yield batch, model(batch, epoch=epoch, batch_ratio=index / len(chunks), family=family, noise=noise)


def _generator(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


def _save(model: MVAE, workdir: Path, report: EpochReport) -> None:
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / METRICS).open("a") as log:
        log.write(json.dumps(asdict(report)) + "\n")
    if report.best:
        draft = workdir / f"{BEST}.part"
        save_file(model.state_dict(), draft, metadata={"epoch": str(report.epoch)})
        draft.replace(workdir / BEST)
