"""log p(x) of binarised MNIST: ours by `paper` and by the default objective, and MultiVae.

The same networks (784-512-512-64 and 64-512-784, MultiVae's, without the sigmoid that its
decoder ends in though logits are expected), the same first weights, batches, epochs, warm-up and split; every
model is scored by the same 1,000 importance samples per test row. Pixels are drawn once, with the grey value
as their probability; the label is the second modality, its likelihood multiplied by 50.

References:
    | Multimodal Generative Models for Scalable Weakly-Supervised Learning (Wu & Goodman, 2018), table 2
    | https://arxiv.org/abs/1802.05335
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.reference import reference
from training import data
from training.ablation.records import HERE, Record, append, done, read, table
from training.config import Model, read_experiment
from training.data.rows import Rows
from training.fit import adam
from training.model import MVAE
from training.mvae_config import MVAEConfig
from training.networks import OneHot

BATCH, LATENT, CLASSES, RATE = 100, 64, 10, 1e-3
DIMS = {"image": (28, 28), "label": (CLASSES,)}
RECALLED = -86.03
"""Wu & Goodman (2018): log p(x) of the MVAE on binarised MNIST; recalled, not measured by us."""
THEIRS = "paper, reference library"


@dataclass(frozen=True)
class Trainee:
    """A model as its own library trains it, and the same networks as ours are asked.

    Arguments:
        loss: Of a batch, given the epoch and the share of it that is done.
        scored: Ours, around the networks that are trained.
    """

    loss: Callable[[Rows, int, float], Tensor]
    scored: MVAE


def fields(warmup: int) -> dict[str, Any]:
    return {
        "n_modalities": 2,
        "latent_dim": LATENT,
        "input_dims": DIMS,
        "uses_likelihood_rescaling": True,
        "rescale_factors": {"image": 1.0, "label": 50.0},
        "decoders_dist": {"image": "bernoulli", "label": "categorical"},
        "warmup": warmup,
    }


def trainee(objective: str | None, warmup: int, seed: int) -> Trainee:
    """MultiVae's model for None, else ours with that objective."""
    library = reference()
    torch.manual_seed(seed)
    twin = library.MVAE(library.MVAEConfig(**fields(warmup)))
    for decoder in twin.decoders.values():
        decoder.layers[-1] = decoder.layers[-1][0]  # the linear layer, without its sigmoid
    encoders: Mapping[str, nn.Module] = {
        "image": twin.encoders["image"],
        "label": nn.Sequential(OneHot(CLASSES), twin.encoders["label"]),
    }
    scored = MVAE(MVAEConfig(**fields(warmup), objective=objective or "paper"), encoders, twin.decoders)

    def theirs(batch: Rows, epoch: int, done: float) -> Tensor:
        one_hot = nn.functional.one_hot(batch.data["label"], CLASSES).float()
        inputs = library.Complete({"image": batch.data["image"], "label": one_hot})
        return twin(inputs, epoch=epoch, batch_ratio=done).loss

    def ours(batch: Rows, epoch: int, done: float) -> Tensor:
        loss: Tensor = scored(batch, epoch=epoch, batch_ratio=done).loss
        return loss

    return Trainee(theirs if objective is None else ours, scored)


def binarised(rows: Rows, seed: int) -> Rows:
    """Pixels 0 and 1, drawn once with the grey value as probability."""
    grey = rows.data["image"].numpy()
    drawn = np.random.default_rng(seed).random(grey.shape, np.float32) * 255 < grey
    return Rows({"image": torch.from_numpy(drawn.astype(np.float32)), "label": rows.data["label"]})


def train(trained: Trainee, rows: Rows, epochs: int, seed: int) -> None:
    optimizer = adam(trained.scored, RATE)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    for epoch in range(1, epochs + 1):
        chunks = torch.split(torch.randperm(len(rows), generator=generator), BATCH)
        for index, chunk in enumerate(chunks):
            optimizer.zero_grad()
            loss = trained.loss(rows.take(chunk), epoch, index / len(chunks))
            torch.autograd.backward(loss)
            optimizer.step()
    trained.scored.eval()


def score(model: MVAE, rows: Rows, subset: list[str], draws: int) -> Tensor:
    """log p(x_S) of every row, by that many importance samples."""
    generator = torch.Generator().manual_seed(0)
    pieces = [
        model.compute_log_prob(part, subset, K=draws, batch_size_K=100, generator=generator).log_prob
        for part in (rows.take(slice(i, i + 100)) for i in range(0, len(rows), 100))
    ]
    return torch.cat(pieces)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=5, help="epochs over which the divergence comes in")
    parser.add_argument("--rows", type=int, help="use only the first rows of each split")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--K", type=int, default=1000)
    parser.add_argument("--output", type=Path, default=HERE)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = arguments.output / "binarised.jsonl"
    experiment, _ = read_experiment("mnist")
    limited = experiment.data.model_copy(update={"limit": arguments.rows, "validation": 0})
    prepared = data.prepare(experiment.model_copy(update={"data": limited}))
    rows, test = binarised(prepared.train, 0), binarised(prepared.test, 1)
    default = Model().objective
    for seed in arguments.seeds:
        for name, objective in ((THEIRS, None), ("paper, ours", "paper"), (f"{default}, ours", default)):
            case = {
                "experiment": "mnist, binarised",
                "model": name,
                "epochs": arguments.epochs,
                "warmup": arguments.warmup,
                "rows": arguments.rows,
                "K": arguments.K,
                "seed": seed,
            }
            if done(path, case):
                continue
            started = time.monotonic()
            model = trainee(objective, arguments.warmup, seed)
            train(model, rows, arguments.epochs, seed)
            image = score(model.scored, test, ["image"], arguments.K)
            both = score(model.scored, test, ["image", "label"], arguments.K)
            scores = {
                "log p(image)": float(image.mean()),
                "std. error": float(image.std() / len(image) ** 0.5),
                "log p(image, label)": float(both.mean()),
            }
            append(path, Record(case, scores, time.monotonic() - started))
            print(name, scores, flush=True)
    records = [record for record in read(path) if record.case["epochs"] == arguments.epochs]
    print(table(records, ("model", "epochs", "warmup", "rows")))
    print(f"Wu & Goodman (2018), recalled: log p(image) {RECALLED}")


if __name__ == "__main__":
    main()
