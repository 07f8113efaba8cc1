"""The batch scripts start the tasks of a step; ``srun`` is a stand-in that starts them on this machine."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests import forking
from tests.training.test_launch import losses, odd_experiment
from training import data
from training.config import read_experiment
from training.fit import fit

FOLDER = Path(__file__).parents[2] / "deploy" / "slurm"
SCRIPTS = sorted(FOLDER.glob("*.sbatch"))
SRUN = """#!/bin/bash
# Starts $TASKS tasks with the variables of a job step, and fails if one of them does.
while [[ $1 == --* ]]; do echo "$1" >> "$RECORD"; shift; done
export SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=$TASKS SLURM_NTASKS=$TASKS
for task in $(seq 0 $((TASKS - 1))); do
    SLURM_PROCID=$task SLURM_LOCALID=$task SLURM_NODEID=0 "$@" & tasks+=($!)
done
for task in "${tasks[@]}"; do wait "$task" || exit 1; done
"""
JOB = {"SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "127.0.0.1", "SLURM_NNODES": "1"}
TASKS = {"train": "2", "torchrun": "1"}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_script_trains_as_one_process_does(script: Path, tmp_path: Path) -> None:
    file = odd_experiment(tmp_path, epochs=1)
    experiment, _ = read_experiment(str(file))
    fit(experiment, data.prepare(experiment), tmp_path / "one")
    done = run(script, tmp_path, file)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("published ") == 1
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    assert "--cpus-per-task=2" in (tmp_path / "record").read_text().splitlines()
    resumed = run(script, tmp_path, file, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.count("published ") == 1


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_script_refuses_another_argument(script: Path, tmp_path: Path) -> None:
    refused = run(script, tmp_path, tmp_path / "experiment.toml", "--resum")
    assert refused.returncode == 2
    assert refused.stderr == "the second argument is '--resum', but can only be --resume\n"


def run(script: Path, folder: Path, *arguments: Path | str) -> subprocess.CompletedProcess[str]:
    """Runs a batch script in a folder, with stand-ins for the programs of SLURM."""
    commands = folder / "commands"
    commands.mkdir(exist_ok=True)
    programs = {  # one epoch learns less than the training mean: --force publishes it, too
        "srun": SRUN,
        "scontrol": "#!/bin/bash\necho 127.0.0.1\n",
        "anyview-train": '#!/bin/bash\nexec $PYTHON_EXEC -m training "$@" --force\n',
        "torchrun": '#!/bin/bash\nexec $PYTHON_EXEC -m torch.distributed.run "$@" --force\n',
    }
    for name, text in programs.items():
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    environment = {
        **os.environ,
        **JOB,
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": str(FOLDER.parents[1]),
        "PYTHON_EXEC": str(forking.python()),  # torchrun starts its processes with it, too
        "SLURM_CPUS_PER_TASK": "2",
        "TASKS": TASKS[script.stem],
        "PROCESSES": "2",
        "RECORD": str(folder / "record"),
    }
    command = ["bash", str(script), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own script


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_options_of_the_script_are_lines_that_sbatch_reads(script: Path) -> None:
    """sbatch reads options before the first command alone."""
    lines = script.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    options = [number for number, line in enumerate(lines) if line.startswith("#SBATCH ")]
    assert len(options) >= 5
    assert max(options) < first
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+=\S+", lines[number]) for number in options)
