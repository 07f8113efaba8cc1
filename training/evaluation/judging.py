"""Coherence and variety of generated rows, judged by classifiers of real rows.

Coherence is the share of generated rows with the right label; variety is their variance within a label,
relative to real rows. Both are needed: identical rows can be coherent, and wrong rows can vary.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models_store.arrays import Array
from models_store.latent import Latent
from models_store.manifest import Modality
from training.data.rows import Rows
from training.evaluation.evaluated import CPU, EvaluatedModel, having_all, observed_all, question
from training.evaluation.metrics import GenerationMetrics, Priors

MOST_JUDGED = 60_000
"""Limit of training rows per judge; the other rows, perhaps on disk, are not read."""
FEWEST_JUDGED = 20
"""Least number of rows from which a judge is trained."""
GENERATED = 2000
"""Limit of held-out rows from which rows are generated, one from each."""
STEPS, EPOCHS, BATCH = 1400, 20, 128
"""Limits of a judge's training: optimizer steps and epochs, and rows of a batch."""
SMALLEST_PICTURE = 12
"""Least pixels on a side for a convolutional judge."""
SHIFT = 2
"""Largest random shift of training pictures, in pixels."""


@dataclass(frozen=True)
class Judge:
    """A classifier of one modality, trained on real rows only."""

    network: nn.Module
    category: str
    target: str
    shift: Array
    scale: Array

    @classmethod
    def learn(cls, train: Rows, category: str, target: str, device: torch.device = CPU) -> Judge | None:
        """Trains a judge on a device; returns None if there are too few rows, or only one label."""
        some = train.head(MOST_JUDGED)
        both = observed_all(some, [category, target])
        x, labels = some.data[target].numpy()[both].astype(np.float32), some.data[category].numpy()[both]
        if len(x) < FEWEST_JUDGED or len(np.unique(labels)) < 2:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a column without values
            shift, scale = np.nan_to_num(np.nanmean(x, axis=0)), spread(x)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            network = _network(x.shape[1:], int(labels.max()) + 1).to(device)
            judge = cls(network, category, target, shift, scale)
            _learn(network, torch.from_numpy(judge.scaled(x)).to(device), torch.from_numpy(labels).to(device))
        return judge

    def scaled(self, x: Array) -> Array:
        """Returns the standardised input of the classifier; a missing cell becomes 0, the mean."""
        wide = x.astype(np.float32)
        return np.where(np.isnan(wide), np.float32(0), (wide - self.shift) / self.scale)

    @torch.no_grad()
    def predict(self, x: Array) -> Array:
        """Returns the index of the predicted label of each row: (n,)."""
        device = next(self.network.parameters()).device
        pieces = [self.network(torch.from_numpy(self.scaled(part)).to(device)) for part in _parts(x)]
        return torch.cat(pieces).argmax(dim=1).numpy(force=True)

    def accuracy(self, rows: Rows) -> float:
        """Returns the accuracy on the rows that have both modalities."""
        both = having_all(rows, [self.category, self.target])
        right = self.predict(both.data[self.target].numpy()) == both.data[self.category].numpy()
        return float(right.mean())


def _parts(x: Array) -> list[Array]:
    return np.array_split(x, max(1, len(x) // 1000))


def _network(shape: tuple[int, ...], classes: int) -> nn.Module:
    if len(shape) == 2 and min(shape) >= SMALLEST_PICTURE:
        sides = math.prod(math.ceil(math.ceil(side / 2) / 2) for side in shape)
        return nn.Sequential(
            nn.Unflatten(1, (1, shape[0])),
            nn.Conv2d(1, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * sides, 128),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(128, classes),
        )
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(shape), 256),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(256, 256),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(256, classes),
    )


def _learn(network: nn.Module, x: Tensor, labels: Tensor) -> None:
    steps = min(STEPS, max(1, EPOCHS * len(x) // BATCH))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    picture = isinstance(network[0], nn.Unflatten) if isinstance(network, nn.Sequential) else False
    for _ in range(steps):
        batch_rows = torch.randint(len(x), (min(BATCH, len(x)),), device=x.device)
        seen = _moved(x[batch_rows]) if picture else x[batch_rows]
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(seen), labels[batch_rows])
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    network.eval()


def _moved(x: Tensor) -> Tensor:
    """Shifts the whole batch by a few pixels, cyclically: opposite borders of pictures are alike."""
    down, right = (int(n) for n in torch.randint(-SHIFT, SHIFT + 1, (2,)))
    return x.roll((down, right), dims=(1, 2))


Judges = Mapping[tuple[str, str], Judge]
"""Judges by category and target."""


def learn_judges(modalities: Sequence[Modality], train: Rows, device: torch.device = CPU) -> Judges:
    """Trains a judge of each modality for each category on a device, where there are enough rows."""
    judges = {
        (category.name, target.name): Judge.learn(train, category.name, target.name, device)
        for category in modalities
        for target in modalities
        if category.labels is not None and target.labels is None
    }
    return {pair: judge for pair, judge in judges.items() if judge is not None}


def generation_metrics(
    evaluated: EvaluatedModel, judges: Judges, latent: Latent | None = None
) -> GenerationMetrics:
    """Judges each modality but categories, generated from every subset of the others.

    Arguments:
        evaluated: The model that generates.
        judges: Classifiers trained on real rows.
        latent: Latent space with a second prior to compare, if any.
    """
    metrics: GenerationMetrics = {"judge_accuracy": {}, "coherence": {}, "variety": {}, "agreement": {}}
    for (category, target), judge in judges.items():
        if observed_all(evaluated.test, [category, target]).any():
            modality = evaluated.manifest.modality
            _judge(evaluated, modality(category), modality(target), judge, metrics)
    for category in dict.fromkeys(category for category, _ in judges):
        selected = {target: judge for (by, target), judge in judges.items() if by == category}
        metrics["agreement"][category] = _agreement(evaluated, category, selected, latent)
    return metrics


def _judge(
    evaluated: EvaluatedModel,
    category: Modality,
    target: Modality,
    judge: Judge,
    metrics: GenerationMetrics,
) -> None:
    several = sum(m.labels is not None for m in evaluated.manifest.modalities) > 1
    by = f" by {category.name}" if several else ""
    selected = question([target.name], [category.name])
    metrics["judge_accuracy"][selected] = round(judge.accuracy(evaluated.test), 4)
    others = [name for name in evaluated.manifest.names if name != target.name]
    for given in evaluated.subsets(others):
        if given == (category.name,):
            true_labels, generated = _from_labels(evaluated, category, target.name)
        else:
            rows = having_all(evaluated.test, [category.name, *given]).head(GENERATED)
            if len(rows) < 2:
                continue
            true_labels = rows.data[category.name].numpy()
            generated = generate(evaluated, given, target.name, rows)
        conditional = question([target.name], given) + by
        metrics["coherence"][conditional] = round(float((judge.predict(generated) == true_labels).mean()), 4)
        ratios = variance_ratios(evaluated.test, category.name, target.name, generated, true_labels)
        if len(ratios):
            metrics["variety"][conditional] = {
                "mean": round(float(ratios.mean()), 3),
                "lowest": round(float(ratios.min()), 3),
            }


def _from_labels(evaluated: EvaluatedModel, category: Modality, target: str) -> tuple[Array, Array]:
    """Returns each label ``generated_per_label`` times, and a row generated from each."""
    labels = np.arange(len(category.labels or ())).repeat(evaluated.settings.generated_per_label)
    rows = Rows({category.name: torch.from_numpy(labels.astype(category.numpy_dtype))})
    return labels, generate(evaluated, [category.name], target, rows)


def generate(evaluated: EvaluatedModel, given: Sequence[str], target: str, rows: Rows) -> Array:
    """Returns the mean of p(x | z) at one draw of z for each row: (n, *shape)."""
    posterior = evaluated.posterior(rows, given)
    noise = evaluated.rng().standard_normal(posterior.mu[:, None].shape, np.float32)
    return evaluated.means(target, posterior.sample(noise)[:, 0])


def variance_ratios(test: Rows, category: str, target: str, generated: Array, labels: Array) -> Array:
    """Returns, per label, the variance of generated rows ÷ that of real rows, each summed over cells."""
    rows = having_all(test, [category, target])
    real, real_labels = rows.data[target].numpy(), rows.data[category].numpy()
    ratios = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column without values in a label
        unit = spread(real)
        for label in np.unique(labels):
            ours, theirs = generated[labels == label], real[real_labels == label]
            if len(ours) < 2 or len(theirs) < 2:
                continue
            varied = np.nansum(np.nanvar(theirs, axis=0, dtype=np.float64) / unit**2)
            if varied > 0:
                ratios.append(np.nansum(ours.var(axis=0, dtype=np.float64) / unit**2) / varied)
    return np.array(ratios)


def spread(x: Array) -> Array:
    """Returns the standard deviation: of each column of a vector, of all cells of other shapes."""
    deviation = np.nanstd(x.astype(np.float32), axis=0 if x.ndim == 2 else None)
    return np.where(deviation > 0, deviation, np.float32(1))


def _agreement(
    evaluated: EvaluatedModel, category: str, judges: dict[str, Judge], latent: Latent | None
) -> Priors:
    """Returns, per prior, the share of draws of z for which all judges agree with the label decoder."""
    rng = evaluated.rng()
    noise = rng.standard_normal((GENERATED, evaluated.manifest.latent_dim), np.float32)
    agreement: Priors = {"standard": _agreed(evaluated, category, judges, noise)}
    if latent is not None:
        z = latent.mixture.sample(rng.random(GENERATED), noise)
        agreement["mixture"] = _agreed(evaluated, category, judges, z)
    return agreement


def _agreed(evaluated: EvaluatedModel, category: str, judges: dict[str, Judge], z: Array) -> float:
    predicted = evaluated.means(category, z).argmax(axis=1)
    votes = [judge.predict(evaluated.means(name, z)) for name, judge in judges.items()]
    return round(float(np.all([vote == predicted for vote in votes], axis=0).mean()), 4)
