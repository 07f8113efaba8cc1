"""``python -m tests.training.run_fit EXPERIMENT WORKDIR [resume]``: training alone, to be killed."""

from __future__ import annotations

import sys
from pathlib import Path

from training import data
from training.config import read_experiment
from training.fit import Progress, fit


def main(name: str, workdir: str, *more: str) -> None:
    experiment, _ = read_experiment(name)
    progress = Progress(epoch=lambda report: print(report.epoch, flush=True))
    fit(experiment, data.prepare(experiment), Path(workdir), progress, resume="resume" in more)


if __name__ == "__main__":
    main(*sys.argv[1:])
