"""Coverage of the intervals of ``/score`` on held-out rows: ``python -m benchmarks.coverage digits``.

Held-out rows of a published model are scored twice with K = 1,000, and once with 8,000 draws, which stand
for the truth; their own error is added to that of the estimate. One core needs 40 to 90 seconds for 200
rows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import typer

from models_store.evidence import Evidence
from models_store.folder import SHIPPED
from models_store.stores import open_named, store_at
from training.commands import published
from training.evaluation import EvaluatedModel
from training.evaluation.scores import log_prob

SEEDS, TRUTH = (1, 2), 9
"""Seeds of the scores, and that of the truth."""


def main(model: str, question: str = "all", rows: int = 200, store: str = str(SHIPPED)) -> None:
    """Prints bias, coverages and the share of reliable rows of one question, such as ``image|label``."""
    _, evaluated = published(open_named(store_at(store), model))
    names, _, given = question.partition("|")
    targets = list(evaluated.manifest.names) if names == "all" else names.split(",")
    condition = given.split(",") if given else []

    def score(draws: int, seed: int) -> Evidence:
        settings = evaluated.settings.model_copy(update={"importance_samples": draws})
        changed: EvaluatedModel = replace(evaluated, settings=settings, seed=seed)
        return log_prob(changed, evaluated.test.head(rows), targets, condition)

    truth = score(8000, TRUTH)
    scores = [score(1000, seed) for seed in SEEDS]
    errors = np.concatenate([one.log_prob - truth.log_prob for one in scores])
    stated = np.concatenate([np.hypot(one.std_error, np.nan_to_num(truth.std_error)) for one in scores])
    reliable = np.concatenate([one.reliable for one in scores])
    deviations = np.abs(errors / stated)[reliable]
    print(
        f"{model}, {question}, {rows} rows: {reliable.mean():.3f} reliable; of these 95 % intervals cover "
        f"{(deviations < 1.96).mean():.3f}, 50 % intervals {(deviations < 0.674).mean():.3f}; "
        f"bias {errors[reliable].mean():+.3f} nats; median ESS {np.median([one.ess for one in scores]):.0f}"
    )


if __name__ == "__main__":
    typer.run(main)
