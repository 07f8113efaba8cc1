"""The experiment file: everything that a training run depends on, typed and frozen.

An unknown key is an error, so that a misspelt setting is never silently a default.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models_store.kinds.fields import Column, Name, Spectrogram
from models_store.manifest import KindName, Modality
from training.errors import ExperimentError

EXPERIMENTS = Path(__file__).parent / "experiments"

Positive = Annotated[int, Field(gt=0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Network(_Frozen):
    """An encoder and, with its layers in reverse, a decoder."""

    type: Literal["mlp", "conv", "custom"] = "mlp"
    """``mlp``: fully connected; ``conv``: convolutions first, for kinds whose cells have neighbours, such
    as an image; ``custom``: modules of one's own, see ``training/networks/custom.py``."""
    hidden: tuple[Positive, ...] = (512, 512)
    """Of the fully connected layers of the encoder: how wide each is; the decoder has them in reverse."""
    activation: Literal["relu", "silu"] = "silu"
    """Between layers."""
    channels: Annotated[tuple[Positive, ...], Field(min_length=1)] = (32, 64)
    """Of ``conv``: what each convolution gives; each halves the size."""
    encoder: str | None = None
    """Of ``custom``: the import path, ``package.module:name``."""
    decoder: str | None = None
    """Of ``custom``: the same for the decoder."""
    options: dict[str, Any] = {}
    """Of ``custom``: keyword arguments for both."""

    @model_validator(mode="after")
    def _complete(self) -> Network:
        if (self.type == "custom") != bool(self.encoder) or bool(self.encoder) != bool(self.decoder):
            raise ValueError("the type 'custom' needs an encoder and a decoder, and only it has them")
        return self


class TableColumn(_Frozen):
    """One column of a vector or counts, and where it is found."""

    name: str
    """In answers, and in tables that are sent."""
    unit: str | None = None
    """Such as ``cm``; said beside every value."""
    range: tuple[float, float] | None = None
    """The lowest and the highest value that people should expect; nothing is clipped."""
    field: str | None = None
    """Its header in the file; default: its name."""

    @property
    def column(self) -> Column:
        return Column(name=self.name, unit=self.unit, range=self.range)


class ModalityChoice(_Frozen):
    """The settings of one modality; the data source supplies what is left out."""

    kind: KindName | None = None
    """Default: what the source says."""
    field: str | None = None
    """Of the source `table`: the column or array that holds it, where it is one; ``FILE:FIELD`` where
    several files have one of that name. Of a vector of several columns, each column names its own."""
    shape: tuple[Positive, ...] | None = None
    """Of the source `table`: what pictures are resized to."""
    spectrogram: Spectrogram | None = None
    """Of the source `table`: what a sound becomes."""
    likelihood: str | None = None
    """``normal``, ``laplace``, ``student_t``, ``bernoulli``, ``categorical``, ``poisson`` or
    ``negative_binomial``; default:
    what the source says."""
    labels: tuple[str, ...] | None = None
    """Of a category: its labels, in the order of their indices."""
    columns: tuple[TableColumn, ...] | None = None
    """Of a vector or counts: its columns, in their order."""
    range: tuple[float, float] | None = None
    """Lowest and highest value, which ``bernoulli`` and pictures need; default: what the source says."""
    weight: Annotated[float, Field(gt=0)] | None = None
    """lambda: by how much the log-likelihood of this modality is multiplied in the objective; default: the
    square root of (numbers of the largest modality ÷ its own), see ``training/fit.py``."""
    network: Network = Network()
    """Its encoder and decoder."""

    def of(self, modality: Modality) -> Modality:
        """Returns the source's description with the settings of the experiment in it."""
        keys = ("kind", "likelihood", "labels", "range")
        changes = {key: value for key in keys if (value := getattr(self, key)) is not None}
        if self.columns is not None:
            changes["columns"] = [column.column for column in self.columns]
        return modality.with_changes(changes)


class Data(_Frozen):
    """Where the rows come from."""

    source: str
    """``mnist``, ``fashion_mnist``, ``mfeat``, ``digits``, or ``table``: files of one's own."""
    path: Path | None = None
    """The folder of the source (of `digits`: of its three); default: ``$ANYVIEW_DATA/SOURCE``, else
    ``../shared/data/SOURCE``."""
    files: tuple[Path, ...] = ()
    """Of the source `table`: CSV, Parquet, npz, npy, or folders with one table in each."""
    key: str | None = None
    """Of the source `table`: the column that joins the rows of several files; default: row by row."""
    test: Annotated[int, Field(ge=0)] = 0
    """Of the source `table`: random rows that are kept from training to measure the model on."""
    validation: Annotated[int, Field(ge=0)] = 0
    """Rows held out of training for the validation loss; 0: none, and the last epoch is the best."""
    limit: Positive | None = None
    """Use only the first rows of each split."""
    paired: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The share of training rows whose categories are seen; of the others they are taken away."""
    paired_share: Annotated[float, Field(gt=0, le=1)] | None = None
    """How many rows of an epoch are such rows, repeated where there are fewer; default: as they come."""
    missing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The share of all entries, a modality of a training row, that is taken away at random."""


class Model(_Frozen):
    """The fields of MVAEConfig that an experiment chooses."""

    latent_dim: Positive = 10
    """D, the dimensions of z."""
    objective: str = "coherent"
    """``coherent``, ``matched``, ``conditional``, ``cross`` or ``paper``: see training/README.md."""
    use_subsampling: bool = True
    """Whether each modality alone is a subset of the objective, beside all together."""
    k: Annotated[int, Field(ge=0)] = 0
    """How many random subsets are drawn for each batch, beside all and each alone."""
    warmup: Annotated[int, Field(ge=0)] = 10
    """Over how many epochs the weight of the divergence rises from 0 to beta."""
    beta: Annotated[float, Field(gt=0)] = 1.0
    """The weight of the divergence."""


class Fit(_Frozen):
    """The loop: Adam, and what surrounds it."""

    epochs: Positive = 100
    """Passes over the training rows."""
    batch_size: Positive = 128
    """Of all processes together."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Of Adam, at its highest."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """``cosine``: the rate rises over the first 5 % of the steps and falls to 0; ``constant``: it stays."""
    clip: Annotated[float, Field(gt=0)] | None = None
    """The largest norm of a gradient; longer ones are shortened to it. Default: none is."""
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Validate and keep a moving average of the weights with this decay, such as 0.999; 0: the weights."""
    patience: Positive | None = None
    """Stop after so many epochs without a lower validation loss, which is the objective on held-out rows with
    the same noise every time. Default: train for all ``epochs``."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto``: a GPU where there is one. All training rows are held there if they take less than half of
    what is free."""
    precision: Literal["32", "bf16"] = "32"
    """``bf16``: networks run in half precision, on a CPU too; weights, posteriors and likelihoods stay in
    single precision."""
    compile: bool = False
    """Compile the loss with torch.compile: a minute or two at the start, then faster steps. On a CPU it
    needs a C++ compiler; on a GPU steps are recorded as CUDA graphs."""
    processes: Positive = 1
    """On each machine, one per GPU."""
    nodes: Positive = 1
    """Machines; environment variables number them, as with torchrun."""


class Evaluation(_Frozen):
    """How the numbers of the model card are made."""

    rows: Positive = 1000
    """Held-out rows whose log-likelihood and intervals are estimated."""
    importance_samples: Positive = 1000
    """K; ``/score`` answers a p-value where it is asked for as many, and its default is 1000."""
    generated_per_label: Positive = 500
    """Rows generated from each label, to be judged."""


class Experiment(_Frozen):
    """One training run."""

    name: Name
    """Of the published model."""
    description: str = ""
    """One sentence for its card."""
    licence: str = ""
    """Of the weights and of the data."""
    seed: int = 0
    """Of the initial weights, the order of rows and every draw: the same seed, the same model."""
    examples: bool = True
    """Whether real rows may be part of the bundle: as golden inputs, which the service shows as examples,
    points on the latent map, pictures in the report. With false golden inputs and report show generated
    rows alone."""
    data: Data
    """Where the rows come from."""
    modalities: dict[Name, ModalityChoice]
    """A table for each modality that is to be learned, by its name."""
    model: Model = Model()
    """The latent space and the objective."""
    fit: Fit = Fit()
    """The training loop."""
    evaluation: Evaluation = Evaluation()
    """How the published numbers are made."""


def check_code(experiment: Experiment, allowed: bool) -> None:
    """Refuses networks that import code, unless the user has allowed it.

    Raises:
        ExperimentError: A modality has networks of type ``custom`` and code is not allowed.
    """
    for name, choice in experiment.modalities.items():
        if choice.network.type == "custom" and not allowed:
            raise ExperimentError(
                f"modalities.{name}.network imports and runs {choice.network.encoder!r} and "
                f"{choice.network.decoder!r}: add --allow-code if you trust this code"
            )


def read_experiment(name_or_path: str) -> tuple[Experiment, str]:
    """Reads an experiment file.

    Arguments:
        name_or_path: Path of a file, or name of a built-in experiment.

    Returns:
        The experiment and the text of its file.

    Raises:
        ExperimentError: There is no such file, it is not readable TOML, or a key or value in it is wrong.
    """
    path = Path(name_or_path)
    if not path.is_file():
        path = EXPERIMENTS / f"{name_or_path}.toml"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in EXPERIMENTS.glob("*.toml")))
        raise ExperimentError(f"no experiment file '{name_or_path}'; built in are {names}")
    try:
        text = path.read_text(encoding="utf-8")
        return Experiment.model_validate(tomllib.loads(text)), text
    except ValidationError as error:
        raise ExperimentError(f"{path}: {_first(error)}") from None
    except UnicodeDecodeError as error:
        raise ExperimentError(f"{path} must be UTF-8 text: byte {error.start} is not") from None
    except RecursionError:
        raise ExperimentError(f"{path}: arrays or tables are nested too deeply") from None
    except OSError as error:
        raise ExperimentError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # of TOML, and of numbers with thousands of digits
        raise ExperimentError(f"{path}: {error}") from None


def _first(error: ValidationError) -> str:
    first: Any = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key '{where}'"
    return f"{where}: {first['msg']}, got {first['input']!r:.200}"
