"""What a stored model is worth, measured on held-out rows through its ONNX graphs.

A question is written as in the service: `label|image` is the label given the image, `image,label` both.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from models_store.evidence import evidence, log_weights
from models_store.fusion import Gaussian, product
from models_store.golden import Graphs
from models_store.manifest import Manifest, Modality
from training.config import Evaluation
from training.data.rows import Rows

NumpyArray = np.ndarray[Any, np.dtype[Any]]

DRAWS = 100
"""Draws of z behind one predictive probability, as in the service."""
CHUNK = 10_000
"""Rows decoded at a time."""
MEASURED_KINDS = frozenset({"vector", "counts", "points", "tensor"})
"""What is asked for its numbers; a picture or a sound is judged as a whole."""
MOST_JUDGED = 60_000
"""Training rows from which a judge learns; the others stay where they are, perhaps on a disk."""
FEWEST_JUDGED = 20
"""With fewer rows than this nobody learns to judge."""


@dataclass(frozen=True)
class Examinee:
    """A stored model and the rows that it is asked about.

    Arguments:
        manifest: The model.
        graphs: What runs it.
        train: Real rows from which judges learn.
        test: Held-out rows.
        settings: How many rows and draws.
        seed: Of every draw.
    """

    manifest: Manifest
    graphs: Graphs
    train: Rows
    test: Rows
    settings: Evaluation
    seed: int

    def posterior(self, rows: Rows, names: Sequence[str]) -> Gaussian:
        """q(z | x_S) of every row, S intersected with what it has: (n, latent_dim)."""
        experts = [self.graphs.encode(name, rows.data[name].numpy()) for name in names]
        present = np.stack([observed(rows, name) for name in names])
        stacked = Gaussian(np.stack([e.mu for e in experts]), np.stack([e.log_var for e in experts]))
        return product(stacked, present)

    def means(self, name: str, z: NumpyArray) -> NumpyArray:
        """The mean of p(x | z), with the leading axes of z."""
        flat = z.reshape(-1, z.shape[-1]).astype(np.float32)
        modality = self.manifest.modality(name)
        pieces = [
            modality.distribution.mean(self.graphs.decode(name, flat[start : start + CHUNK]))
            for start in range(0, len(flat), CHUNK)
        ]
        joined = np.concatenate(pieces)
        return joined.reshape(*z.shape[:-1], *joined.shape[1:])


def observed(rows: Rows, name: str) -> NumpyArray:
    """Which rows have that modality."""
    return rows.masks[name].numpy() if name in rows.masks else np.ones(len(rows), bool)


def having(rows: Rows, names: Sequence[str]) -> Rows:
    """The rows that have at least one of these modalities."""
    if all(name in rows.masks for name in names):
        return rows.take(torch.from_numpy(np.any([observed(rows, name) for name in names], axis=0)))
    return rows


def _both(rows: Rows, one: str, other: str) -> NumpyArray:
    return observed(rows, one) & observed(rows, other)


def measure(examinee: Examinee) -> dict[str, Any]:
    """All the numbers of a model card; every key is a question.

    Returns:
        ``log_prob`` (nats per row, with its standard error), ``accuracy`` of categories, ``intervals`` of
        numbers, ``judge_accuracy``, ``coherence`` and ``variety`` of what is generated from a category.
        A question that no held-out row can answer is left out.
    """
    categories = [m for m in examinee.manifest.modalities if m.kind == "category"]
    others = [m for m in examinee.manifest.modalities if m.kind != "category"]
    metrics: dict[str, Any] = {"log_prob": dict(_log_probs(examinee)), "accuracy": {}}
    for category in categories:
        for given in examinee.manifest.names:
            if given != category.name and _both(examinee.test, category.name, given).any():
                question = f"{category.name}|{given}"
                metrics["accuracy"][question] = _accuracy(examinee, category.name, given)
    metrics["intervals"] = dict(_intervals(examinee))
    judged: dict[str, dict[str, Any]] = {"judge_accuracy": {}, "coherence": {}, "variety": {}}
    for category in categories:
        for target in others:
            _judge(examinee, category, target, judged)
    return {**metrics, **judged}


def log_prob(examinee: Examinee, rows: Rows, names: Sequence[str]) -> Mapping[str, NumpyArray]:
    """Estimates log p(x_S) of each row with importance samples from q(z | x_S).

    Returns:
        ``log_prob``, ``std_error`` and ``ess``, each (n,).
    """
    rng = np.random.default_rng(examinee.seed)
    draws = examinee.settings.importance_samples
    columns = []
    for index in range(len(rows)):
        row = rows.take(slice(index, index + 1))
        posterior = examinee.posterior(row, names)
        noise = rng.standard_normal((draws, 1, examinee.manifest.latent_dim), np.float32)
        z = posterior.sample(noise)
        likelihoods = []
        for name in names:
            modality = examinee.manifest.modality(name)
            decoded = examinee.graphs.decode(name, z[:, 0])
            wide = {key: value[:, None] for key, value in decoded.items()}
            cells = modality.distribution.row_log_prob(row.data[name].numpy(), wide)
            likelihoods.append((cells, observed(row, name)))
        columns.append(evidence(log_weights(z, posterior, likelihoods).astype(np.float64)))
    return {
        "log_prob": np.concatenate([e.log_prob for e in columns]),
        "std_error": np.concatenate([e.std_error for e in columns]),
        "ess": np.concatenate([e.ess for e in columns]),
    }


def _log_probs(examinee: Examinee) -> Iterator[tuple[str, dict[str, float]]]:
    """Of each modality alone, and of all."""
    names = examinee.manifest.names
    for asked in [*[(name,) for name in names], names] if len(names) > 1 else [names]:
        rows = having(examinee.test, asked).head(examinee.settings.rows)
        if len(rows) < 2:
            continue
        estimate = log_prob(examinee, rows, asked)
        values = estimate["log_prob"]
        yield (
            ",".join(asked),
            {
                "mean": round(float(values.mean()), 3),
                "std_error": round(float(values.std(ddof=1) / np.sqrt(len(values))), 3),
                "median_ess": round(float(np.median(estimate["ess"])), 1),
                "rows": len(values),
                "K": examinee.settings.importance_samples,
            },
        )


def _accuracy(examinee: Examinee, category: str, given: str) -> float:
    """How often the most probable label, given another modality alone, is the right one."""
    both = _both(examinee.test, category, given)
    posterior = examinee.posterior(examinee.test, [given])
    probabilities = np.zeros(())
    rng = np.random.default_rng(examinee.seed)
    for _ in range(DRAWS):
        z = posterior.sample(rng.standard_normal(posterior.mu.shape, np.float32))
        probabilities = probabilities + examinee.means(category, z)
    right = probabilities.argmax(axis=-1) == examinee.test.data[category].numpy()
    return round(float(right[both].mean()), 4)


def _intervals(examinee: Examinee) -> Iterator[tuple[str, dict[str, float]]]:
    """How well the numbers of one modality are told from each other one alone, and from all others."""
    names = examinee.manifest.names
    for target in examinee.manifest.modalities:
        others = [name for name in names if name != target.name]
        for given in [*[[name] for name in others], others] if len(others) > 1 else [others]:
            if target.kind in MEASURED_KINDS and given:
                rows = having(having(examinee.test, given), [target.name]).head(examinee.settings.rows)
                if len(rows) > 1:
                    yield f"{target.name}|{','.join(given)}", intervals(examinee, target, given, rows)


def intervals(examinee: Examinee, target: Modality, given: Sequence[str], rows: Rows) -> dict[str, float]:
    """Holds the predictive distribution of a target against what was observed.

    Returns:
        ``r2`` of its mean, averaged over columns; ``coverage_50`` and ``coverage_90``, the shares of
        observed cells within the central intervals; ``rows``.
    """
    x = rows.data[target.name].numpy().astype(np.float64)
    mean, quantiles = predictive(examinee, target, given, rows)
    low, lower, upper, high = quantiles
    seen = ~np.isnan(x)
    return {
        "r2": round(_r2(x.reshape(len(x), -1), mean.reshape(len(x), -1)), 4),
        "coverage_50": round(float(((lower <= x) & (x <= upper))[seen].mean()), 4),
        "coverage_90": round(float(((low <= x) & (x <= high))[seen].mean()), 4),
        "rows": len(rows),
    }


def predictive(
    examinee: Examinee, target: Modality, given: Sequence[str], rows: Rows
) -> tuple[NumpyArray, NumpyArray]:
    """The mean of the target, (n, *shape), and its quantiles at 5, 25, 75 and 95 %, (4, n, *shape)."""
    posterior = examinee.posterior(rows, given)
    rng = np.random.default_rng(examinee.seed)
    means, quantiles = [], []
    step = max(1, CHUNK // DRAWS)
    for start in range(0, len(rows), step):
        some = Gaussian(posterior.mu[start : start + step], posterior.log_var[start : start + step])
        z = some.sample(rng.standard_normal((DRAWS, *some.mu.shape), np.float32))
        decoded = examinee.graphs.decode(target.name, z.reshape(-1, z.shape[-1]).astype(np.float32))
        wide = {key: value.reshape(*z.shape[:2], *value.shape[1:]) for key, value in decoded.items()}
        means.append(target.distribution.mean(wide).mean(axis=0))
        drawn = target.distribution.sample(wide, rng)
        quantiles.append(np.quantile(drawn, [0.05, 0.25, 0.75, 0.95], axis=0, method="weibull"))
    return np.concatenate(means), np.concatenate(quantiles, axis=1)


def _r2(x: NumpyArray, mean: NumpyArray) -> float:
    """One less the share of the variance that is left, averaged over the columns that vary: (n, columns)."""
    left = np.nansum((x - mean) ** 2, axis=0)
    total = np.nansum((x - _column_means(x)) ** 2, axis=0)
    vary = total > 0
    return float((1 - left[vary] / total[vary]).mean()) if vary.any() else 0.0


def _column_means(x: NumpyArray) -> NumpyArray:
    seen = (~np.isnan(x)).sum(axis=0)
    return np.nansum(x, axis=0) / np.maximum(seen, 1)


def _judge(
    examinee: Examinee, category: Modality, target: Modality, judged: dict[str, dict[str, Any]]
) -> None:
    """Generates the target from each label, z sampled, and asks a classifier that knows only real rows."""
    question = f"{target.name}|{category.name}"
    judge = Judge.learn(examinee.train, category.name, target.name)
    if judge is None or not _both(examinee.test, category.name, target.name).any():
        return
    judged["judge_accuracy"][question] = round(judge.accuracy(examinee.test), 4)
    labels = np.arange(len(category.labels or ()))
    generated = generate(examinee, category.name, target.name, labels)
    flat = generated.reshape(-1, *generated.shape[2:])
    wanted = labels.repeat(generated.shape[1])
    judged["coherence"][question] = round(float((judge.predict(flat) == wanted).mean()), 4)
    ratios = _variance_ratios(examinee.test, category.name, target.name, generated)
    if len(ratios):
        judged["variety"][question] = {
            "mean": round(float(ratios.mean()), 3),
            "lowest": round(float(ratios.min()), 3),
        }


def generate(examinee: Examinee, category: str, target: str, labels: NumpyArray) -> NumpyArray:
    """The mean of p(x | z) at sampled z for each label: (labels, generated_per_label, *shape)."""
    dtype = examinee.manifest.modality(category).numpy_dtype
    expert = examinee.graphs.encode(category, labels.astype(dtype))
    alone = Gaussian(expert.mu[None], expert.log_var[None])
    posterior = product(alone, np.ones((1, len(labels)), bool))
    rng = np.random.default_rng(examinee.seed)
    shape = (len(labels), examinee.settings.generated_per_label, examinee.manifest.latent_dim)
    wide = Gaussian(posterior.mu[:, None], posterior.log_var[:, None])
    return examinee.means(target, wide.sample(rng.standard_normal(shape, np.float32)))


def _variance_ratios(test: Rows, category: str, target: str, generated: NumpyArray) -> NumpyArray:
    """Per label: the variance of a cell among generated rows ÷ that among real ones, summed over cells."""
    both = _both(test, category, target)
    real, labels = test.data[target].numpy()[both], test.data[category].numpy()[both]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a column that no row of a label has
        unit = _spread(real)
        variances = [
            (
                np.nansum(generated[index].var(axis=0) / unit**2),
                np.nansum(np.nanvar(real[labels == index], axis=0, dtype=np.float64) / unit**2),
            )
            for index in range(len(generated))
            if (labels == index).any()
        ]
    return np.array([ours / theirs for ours, theirs in variances if theirs > 0])


def _spread(x: NumpyArray) -> NumpyArray:
    """What makes cells comparable: each column of a vector has its own unit, a picture has one."""
    spread = np.nanstd(x.astype(np.float32), axis=0 if x.ndim == 2 else None)
    return np.where(spread > 0, spread, np.float32(1))


@dataclass(frozen=True)
class Judge:
    """A classifier of one modality that was trained on real rows alone."""

    classifier: MLPClassifier
    category: str
    target: str
    shift: NumpyArray
    scale: NumpyArray

    @classmethod
    def learn(cls, train: Rows, category: str, target: str) -> Judge | None:
        """A judge, or None where there are too few rows, or only one label, to learn from."""
        some = train.head(MOST_JUDGED)
        both = _both(some, category, target)
        x, labels = some.data[target].numpy()[both].astype(np.float32), some.data[category].numpy()[both]
        if len(x) < FEWEST_JUDGED or len(np.unique(labels)) < 2:
            return None
        flat = x.reshape(len(x), -1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of a column that nobody has
            shift, scale = np.nan_to_num(np.nanmean(flat, axis=0)), _spread(x)
        classifier = MLPClassifier((256,), batch_size=min(200, len(x)), max_iter=15, random_state=0)
        judge = cls(classifier, category, target, shift, scale)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fifteen epochs are what is wanted
            classifier.fit(judge.scaled(x), labels)
        return judge

    def scaled(self, x: NumpyArray) -> NumpyArray:
        """What the classifier sees; a missing cell is an average one."""
        flat = x.reshape(len(x), -1).astype(np.float32)
        return np.where(np.isnan(flat), 0.0, (flat - self.shift) / self.scale)

    def predict(self, x: NumpyArray) -> NumpyArray:
        return np.asarray(self.classifier.predict(self.scaled(x)))

    def accuracy(self, rows: Rows) -> float:
        both = _both(rows, self.category, self.target)
        right = self.predict(rows.data[self.target].numpy()[both]) == rows.data[self.category].numpy()[both]
        return float(right.mean())
