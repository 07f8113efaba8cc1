"""``anyview-train``: guess an experiment, fit it or import a model, publish it; evaluate it again."""

# Commands import torch themselves, so that help, `init` and error messages do not wait for it.
from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from models_store.errors import ModelsStoreError
from models_store.folder import SHIPPED
from models_store.stores import open_named, store_at
from training.config import check_code, read_experiment
from training.errors import ExperimentError, TrainingError
from training.launch import is_leader
from training.places import CANNOT_WRITE, check_writable, reason
from training.tables.guess import guess
from training.tables.marks import marks_of
from training.tracking import TRACKERS

app = typer.Typer(help=__doc__, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

Store = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="ANYVIEW_STORE",
        help="The folder of published models, or an address such as s3://bucket/models.",
    ),
]


@app.command("init")
def init_command(
    files: Annotated[
        list[str],
        typer.Argument(
            help="CSV, Parquet, npz or npy, folders with a table of paths of images or sounds; or a folder "
            "or an address of many Parquet files."
        ),
    ],
    output: Annotated[Path, typer.Option(help="The experiment file to write.")] = Path("experiment.toml"),
    key: Annotated[
        str | None, typer.Option(help="The column that joins the rows of several files; default: by content.")
    ] = None,
    missing: Annotated[
        list[str] | None,
        typer.Option(help="A cell that means a missing value, such as -999; COLUMN=-999 for one column."),
    ] = None,
    table: Annotated[
        bool, typer.Option("--table", help="One view of all columns of a file, of the kind table.")
    ] = False,
) -> None:
    """Writes a first experiment file for some files, and reports what it read, left out and joined."""
    if output.exists():
        raise ExperimentError(f"{output} exists already; choose another name with --output")
    check_writable(output.parent, "--output", create=False)
    first = guess(files, output, key, marks_of(missing or ()), table=table)
    output.write_text(first.text, encoding="utf-8")
    print(*first.report, sep="\n")
    print(f"wrote {output}: read it, correct it, then run: anyview-train fit {output}")


@app.command("fit")
def fit_command(
    experiment: Annotated[str, typer.Argument(help="An experiment file, or the name of a built-in one.")],
    store: Store = "store",
    workdir: Annotated[Path | None, typer.Option(help="Default: runs/NAME-TIME.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="The workdir of a run that was stopped: continue it.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="NAME, or NAME/VERSION, of a published model: start from it.")
    ] = None,
    track: Annotated[
        str, typer.Option(help=f"Trackers that log every epoch, comma-separated: {', '.join(TRACKERS)}.")
    ] = "",
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Import the modules that networks of type 'custom' name.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Publish also a model that predicts no better than the training mean."),
    ] = False,
) -> None:
    """Trains a model, checks its ONNX graphs against torch, measures it and publishes it.

    Publishes nothing, and exits with 1, if nothing is predicted from the rest of a row better than by its
    training mean.
    """
    if resume is not None and (workdir is not None or start is not None):
        raise TrainingError("--resume continues a run in its own folder: leave out --workdir and --from")
    settings, text = read_experiment(experiment)
    check_code(settings, allow_code)
    folder = resume or workdir or Path("runs") / f"{settings.name}-{datetime.now():%Y%m%d-%H%M%S}"
    place = store_at(store)
    leader = is_leader()
    if leader:
        if "://" not in store:
            check_writable(Path(store), "--store")
        place.next_number(settings.name)  # a store that does not answer is reported before the training
        if resume is None:
            check_writable(folder, "--workdir")
    begun = open_named(place, start) if leader and start is not None else None
    trackers = [name.strip() for name in track.split(",") if name.strip()]

    from training import commands

    commands.fit(
        settings,
        text,
        place,
        folder,
        resume=resume is not None,
        start=begun,
        trackers=trackers,
        force=force,
    )


@app.command("evaluate")
def evaluate_command(
    model: Annotated[str, typer.Argument(help="NAME, or NAME/VERSION, of a published model.")],
    store: Store = str(SHIPPED),
    output: Annotated[
        Path | None, typer.Option(help="A folder for the card and its pictures, as they are in the bundle.")
    ] = None,
) -> None:
    """Measures a published model again, from its graphs, and prints its card."""
    bundle = open_named(store_at(store), model)
    if output is not None:
        check_writable(output, "--output")

    from training import commands

    commands.evaluate(bundle, output)


@app.command("corruptions")
def corruptions_command(
    model: Annotated[str, typer.Argument(help="NAME, or NAME/VERSION, of a published model.")],
    store: Store = str(SHIPPED),
) -> None:
    """Prints how often the label is right where one view is corrupted, beside a classifier of that view."""
    bundle = open_named(store_at(store), model)

    from training import commands

    commands.corruptions(bundle)


@app.command("calibrate")
def calibrate_command(
    model: Annotated[str, typer.Argument(help="NAME, or NAME/VERSION, of a published model.")],
    store: Store = "store",
) -> None:
    """Publishes the next version of a model: same graphs, calibrated intervals, reference scores."""
    place = store_at(store)
    bundle = open_named(place, model)
    if "://" not in store:
        check_writable(Path(store), "--store")

    from training import commands

    commands.calibrate(bundle, place)


@app.command("import")
def import_command(
    folder: Annotated[Path, typer.Argument(help="The folder that MultiVae's MVAE.save wrote.")],
    store: Store = "store",
    name: Annotated[str | None, typer.Option(help="Name of the model; default: the folder's.")] = None,
    networks: Annotated[
        str | None, typer.Option(help="package.module:function that makes encoders and decoders.")
    ] = None,
) -> None:
    """Publishes a model saved by MultiVae; reads its configuration and tensors, never a pickle."""
    place = store_at(store)
    if "://" not in store:
        check_writable(Path(store), "--store")

    from training import commands

    commands.import_(folder, place, name or folder.resolve().name, networks)


def main() -> None:
    try:
        app()
    except (TrainingError, ModelsStoreError) as error:
        print(f"anyview-train: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        print(f"anyview-train: {reason(error)}", file=sys.stderr)
        sys.exit(1)
