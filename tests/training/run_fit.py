"""``python -m tests.training.run_fit EXPERIMENT WORKDIR [resume]``: training alone, to be killed.

After each epoch every process prints its number and waits for a line, or the end, of the standard input.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from training import data
from training.config import read_experiment
from training.device import fabric_for
from training.fit import Progress, fit
from training.launch import launched


def train(name: str | Path, workdir: Path, tell: Callable[[int], None], resume: bool) -> None:
    """Trains, and calls ``tell`` with the number of each finished epoch."""
    experiment, _ = read_experiment(str(name))
    progress = Progress(epoch=lambda report: tell(report.epoch))
    fabric = fabric_for(experiment.fit, launched())
    fit(experiment, data.prepare(experiment, fabric), workdir, progress, resume=resume, fabric=fabric)


def tell(epoch: int) -> None:
    print(epoch, flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    train(sys.argv[1], Path(sys.argv[2]), tell, "resume" in sys.argv[3:])
