"""The experiment file: everything that a training run depends on, typed and frozen.

An unknown key is an error, so that a misspelt setting is never silently a default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from models_store.kinds import KINDS
from models_store.kinds.fields import Column, Name, Spectrogram
from models_store.limits import Description, Text, cause_of, first_of, place_of
from models_store.manifest import KindName, Modality
from models_store.members import MOST_MEMBERS
from models_store.tables.dialect import FileDialect
from training.augment_config import Augment, usual_or_none
from training.errors import ExperimentError
from training.toml import parse

EXPERIMENTS = Path(__file__).parent / "experiments"
LINEAR_MEMBERS = 4
"""Linear models in a mixture, whose differences carry the uncertainty of their parameters; even."""

Positive = Annotated[int, Field(gt=0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Network(_Frozen):
    """An encoder and, with its layers in reverse, a decoder."""

    type: Literal["mlp", "conv", "conv_encoder", "custom"] = "mlp"
    """``mlp``: fully connected; ``conv``: convolutions first, for kinds whose cells have neighbours, such
    as an image; ``conv_encoder``: convolutions in the encoder alone, since those of a decoder run for every
    draw; ``custom``: imported modules, see ``training/networks/custom.py``."""
    hidden: tuple[Positive, ...] = (512, 512)
    """Widths of the fully connected layers of the encoder; the decoder has them in reverse."""
    activation: Literal["relu", "silu"] = "silu"
    """Activation between layers."""
    channels: Annotated[tuple[Positive, ...], Field(min_length=1)] = (32, 64)
    """For convolutions: output channels of each; each halves the size."""
    encoder: str | None = None
    """For ``custom``: import path of the encoder, ``package.module:name``."""
    decoder: str | None = None
    """For ``custom``: import path of the decoder."""
    options: dict[str, Any] = {}
    """For ``custom``: keyword arguments of both."""

    @model_validator(mode="after")
    def _complete(self) -> Network:
        if (self.type == "custom") != bool(self.encoder) or bool(self.encoder) != bool(self.decoder):
            raise ValueError("the type 'custom' needs an encoder and a decoder, and only it has them")
        return self


class TableColumn(_Frozen):
    """One column of a vector, of counts or of a table, and its place in the file."""

    name: Text
    """Name of the column in requests and responses."""
    unit: Text | None = None
    """Unit such as ``cm``, shown beside every value."""
    range: tuple[float, float] | None = None
    """Lowest and highest expected value, for display; values are not clipped."""
    field: Text | None = None
    """Header of the column in the file; default: its name."""
    likelihood: str | None = None
    """Of a column of a ``table``: ``normal``, ``log_normal``, ``laplace``, ``student_t``, ``poisson``,
    ``negative_binomial``, ``zero_inflated`` or ``categorical``; default: ``categorical`` with labels, else
    ``normal``."""
    labels: tuple[Text, ...] | None = None
    """Of a column of a ``table``: its labels, in the order of their indices."""
    ordered: bool = False
    """Of a column of a ``table``: whether its labels go from the lowest to the highest."""

    def described(self, mixed: bool) -> Column:
        """The column in the manifest.

        Arguments:
            mixed: Whether it is one of a table, whose columns have likelihoods.
        """
        usual = ("categorical" if self.labels is not None else "normal") if mixed else None
        return Column(
            name=self.name,
            unit=self.unit,
            range=self.range,
            likelihood=self.likelihood or usual,
            labels=self.labels,
            ordered=self.ordered or None,
        )


class ModalityChoice(_Frozen):
    """The settings of one modality; the data source supplies what is left out."""

    kind: KindName | None = None
    """Kind of the modality; default: that of the source."""
    field: str | None = None
    """For the source `table`: the column or array with the values; ``FILE:FIELD`` if several files have a
    field of that name. For a vector of several columns, each column has its own ``field``."""
    shape: tuple[Positive, ...] | None = None
    """For the source `table`: shape to which pictures are resized."""
    spectrogram: Spectrogram | None = None
    """For the source `table`: spectrogram that is computed from a sound."""
    likelihood: str | None = None
    """``normal``, ``log_normal``, ``laplace``, ``student_t``, ``bernoulli``, ``categorical``, ``poisson``,
    ``negative_binomial``, ``zero_inflated``, or ``mixed`` of a ``table``; default: that of the source."""
    labels: tuple[Text, ...] | None = None
    """For a category: its labels, in the order of their indices."""
    columns: tuple[TableColumn, ...] | None = None
    """For a vector, counts or a table: its columns, in order."""
    range: tuple[float, float] | None = None
    """Lowest and highest value, needed for ``bernoulli`` and pictures; default: that of the source."""
    weight: Annotated[float, Field(gt=0)] | None = None
    """lambda, the factor of this modality's log-likelihood in the objective; default: the
    square root of (numbers of the largest modality ÷ its own), see ``training/fit.py``."""
    hidden_cells: Annotated[float, Field(ge=0, le=0.5)] | None = None
    """For kinds with missing cells: mean share of the cells of a row that are hidden from the encoder in
    training, and predicted from the others. A row hides between none and twice this share. Default: 0.5 for
    a table, 0 for other kinds."""
    augment: Annotated[Augment | None, BeforeValidator(usual_or_none)] = None
    """For pictures, videos, sounds and points: random changes of rows in training. ``true`` for changes of
    the usual strengths, or a table of strengths. Default: ``false``."""
    network: Network = Network()
    """Encoder and decoder."""

    def of(self, modality: Modality) -> Modality:
        """Returns the source's description with the settings of the experiment."""
        keys = ("kind", "likelihood", "labels", "range")
        changes = {key: value for key in keys if (value := getattr(self, key)) is not None}
        if self.columns is not None:
            mixed = KINDS[self.kind or modality.kind].mixed
            headers = [before.field for before in modality.columns or ()] or [None] * len(self.columns)
            changes["columns"] = [
                column.described(mixed).model_copy(update={"field": header})
                for column, header in zip(self.columns, headers, strict=True)
            ]
        described = modality.with_changes(changes)
        if self.hidden_cells and not described.may_lack_cells:
            raise ExperimentError(
                f"modalities.{modality.name}.hidden_cells: a {described.kind} of {described.dtype} has no "
                "missing cells; leave it out"
            )
        if self.augment is not None:
            self.augment.check(described)
        return described

    def hidden_share(self, modality: Modality) -> float:
        """Mean share of hidden cells: that of the experiment, else that of the kind."""
        return modality.traits.hidden_cells if self.hidden_cells is None else self.hidden_cells


def _as_texts(marks: Any) -> Any:
    """A list of marks with numbers as text; other values unchanged."""
    if not isinstance(marks, list | tuple):
        return marks
    return [
        str(mark) if isinstance(mark, int | float) and not isinstance(mark, bool) else mark for mark in marks
    ]


class Data(_Frozen):
    """Data source, and selection of its rows."""

    source: str
    """``mnist``, ``fashion_mnist``, ``mfeat``, ``digits``, ``polydigits``, ``table`` for other files, or
    ``dataset`` for many Parquet files that need not fit in memory."""
    path: Path | None = None
    """Folder of the source (for `digits` and `polydigits`: of their folders); default:
    ``$ANYVIEW_DATA/SOURCE``, else ``../shared/data/SOURCE``."""
    files: tuple[Path, ...] = ()
    """For the source `table`: CSV, Parquet, npz, npy, or folders with one table in each."""
    dialects: dict[str, FileDialect] = {}
    """For the source `table`: how a file is written, by its path as in ``files``; default: detected."""
    key: str | None = None
    """For the source `table`: the column that joins the rows of several files; default: row by row."""
    address: str | None = None
    """For the source `dataset`: a folder of Parquet files, a pattern of paths, or an address of fsspec, such
    as ``s3://bucket/rows``."""
    buffer: Positive = 100_000
    """For the source `dataset`: least number of rows, over all processes, that are read before batches are
    drawn from them."""
    epoch_rows: Positive | None = None
    """For the source `dataset`: about how many rows an epoch has, after which the run is validated and saved.
    Every row is read once in (training rows ÷ this) epochs. Default: all training rows."""
    test: Annotated[int, Field(ge=0)] = 0
    """For the sources `table` and `dataset`: number of random rows held out of training to measure the
    model."""
    validation: Annotated[int, Field(ge=0)] = 0
    """Rows held out of training for the validation loss; 0: none, and the last epoch is the best."""
    limit: Positive | None = None
    """Use only the first rows of each split."""
    paired: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of training rows that keep their categories; the others lose them."""
    paired_share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of an epoch's rows that keep their categories, by repetition; default: no repetition."""
    missing: tuple[str, ...] = ()
    """For the sources `table` and `dataset`: cells that mean a missing value in any column, such as
    ``["-999", "."]``; ``-999`` also matches ``-999.0``."""
    missing_by_column: dict[str, tuple[str, ...]] = {}
    """For the sources `table` and `dataset`: further such cells by header, such as ``{ Days = ["99"] }``."""
    removed: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of entries (a modality of a training row) that are removed at random, to measure the cost."""

    @model_validator(mode="before")
    @classmethod
    def _share_or_marks(cls, fields: Any) -> Any:
        """Accepts a share as ``missing``, as before 0.3, and marks for missing values that are numbers."""
        if not isinstance(fields, dict):
            return fields
        missing, by_column = fields.get("missing"), fields.get("missing_by_column")
        if isinstance(missing, int | float) and not isinstance(missing, bool):
            return {**{key: value for key, value in fields.items() if key != "missing"}, "removed": missing}
        changes: dict[str, Any] = {} if missing is None else {"missing": _as_texts(missing)}
        if isinstance(by_column, dict):
            changes["missing_by_column"] = {header: _as_texts(marks) for header, marks in by_column.items()}
        return {**fields, **changes}


class Model(_Frozen):
    """Fields of MVAEConfig that an experiment sets."""

    latent_dim: Annotated[int, Field(gt=0, le=2**16)] = 10
    """D, the number of dimensions of z."""
    objective: str = "coherent"
    """``coherent``, ``matched``, ``conditional``, ``cross`` or ``paper``: see training/README.md."""
    use_subsampling: bool = True
    """Whether each modality alone is a subset of the objective, beside all together."""
    k: Annotated[int, Field(ge=0)] = 0
    """Number of random subsets drawn for each batch, beside all and each alone."""
    warmup: Annotated[int, Field(ge=0)] = 10
    """Number of epochs in which the weight of the divergence rises from 0 to beta."""
    beta: Annotated[float, Field(gt=0)] = 1.0
    """The weight of the divergence."""
    members: Annotated[int, Field(ge=1, le=MOST_MEMBERS)] = 1
    """Models that are trained one after another, each with other rows held out, and answer as one, a mixture:
    of few rows, the mean of several answers is better than each. Training takes as many times as long; each
    has ``latent_dim`` dimensions of z."""
    linear: bool = False
    """Whether the mixture has a linear model, too: a factor analysis, in closed form, of all rows that are
    not for testing, to which ``network`` does not apply. Of few rows it learns more of what is linear than
    networks do. Its weight is the one that predicts validation rows best."""

    @model_validator(mode="after")
    def _few_enough(self) -> Self:
        if self.linear and self.members + LINEAR_MEMBERS > MOST_MEMBERS:
            raise ValueError(
                f"with linear = true, members is at most {MOST_MEMBERS - LINEAR_MEMBERS}, not {self.members}"
            )
        return self


class Fit(_Frozen):
    """Settings of the training loop, which uses Adam."""

    epochs: Positive = 100
    """Passes over the training rows."""
    batch_size: Positive = 128
    """Rows of a batch, over all processes."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Highest learning rate of Adam."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """``cosine``: the rate rises over the first 5 % of the steps and falls to 0; ``constant``: it stays."""
    clip: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of the gradient; larger gradients are scaled down to it. Default: no limit."""
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Validate and keep a moving average of the weights with this decay, such as 0.999; 0: the weights."""
    patience: Positive | None = None
    """Stop after so many epochs without a lower validation loss, which is the objective on held-out rows with
    the same noise every time. Default: train for all ``epochs``."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto``: a GPU where there is one. All training rows are held there if they take less than half of
    the free memory."""
    precision: Literal["32", "bf16"] = "32"
    """``bf16``: networks run in half precision, on a CPU too; weights, posteriors and likelihoods stay in
    single precision."""
    compile: bool = False
    """Compile the loss with torch.compile: a minute or two at the start, then faster steps. On a CPU it
    needs a C++ compiler; on a GPU steps are recorded as CUDA graphs."""
    processes: Positive = 1
    """Processes on each machine, one per GPU. Does not count where a launcher starts the processes (torchrun,
    srun): it says how many there are. Losses are the same for any number."""
    nodes: Positive = 1
    """Number of machines; environment variables number them. Does not count under a launcher, either."""


class Evaluation(_Frozen):
    """Settings of the metrics of the model card."""

    rows: Positive = 1000
    """Held-out rows whose log-likelihood and intervals are estimated."""
    importance_samples: Positive = 1000
    """K; ``/score`` returns a p-value for requests with the same K, and its default is 1000."""
    calibration: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Share of the test rows that calibrates intervals and label probabilities, and does not measure them;
    none of fewer than 60 rows. 0: no calibration."""
    corruptions: bool = False
    """Whether the card has the accuracy of the label where a picture, sound or line of points is corrupted:
    moved, turned, noisy and so on. ``anyview-train corruptions NAME`` prints it for any model."""
    generated_per_label: Positive = 500
    """Rows generated from each label, to be judged."""


class Experiment(_Frozen):
    """One training run."""

    name: Name
    """Name of the published model."""
    description: Description = ""
    """One sentence for the card."""
    licence: Description = ""
    """Licence of the weights and of the data."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the initial weights, the order of rows and every draw; determines the model."""
    examples: bool = True
    """Whether real rows may be part of the bundle: as golden inputs, which the service shows as examples,
    points on the latent map, pictures in the report. With false golden inputs and report show generated
    rows alone."""
    data: Data
    """Data source, and selection of its rows."""
    modalities: dict[Name, ModalityChoice]
    """Settings of each learned modality by name."""
    model: Model = Model()
    """The latent space and the objective."""
    fit: Fit = Fit()
    """The training loop."""
    evaluation: Evaluation = Evaluation()
    """Settings of the published metrics."""


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
        return Experiment.model_validate(parse(text)), text
    except ValidationError as error:
        raise ExperimentError(f"{path}: {_first(error)}") from None
    except UnicodeDecodeError as error:
        raise ExperimentError(f"{path} must be UTF-8 text: byte {error.start} is not") from None
    except OSError as error:
        raise ExperimentError(f"{path} cannot be read: {error.strerror}") from None
    except ExperimentError as error:
        raise ExperimentError(f"{path}: {error}") from None


def _first(error: ValidationError) -> str:
    first = first_of(error)
    if first["type"] == "extra_forbidden":
        return f"unknown key '{place_of(first)}'"
    return f"{place_of(first)}: {cause_of(first, shows_input=True)}"
