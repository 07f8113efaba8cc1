"""An estimator of scikit-learn that trains as ``init`` and ``fit`` do, and fills as ``impute`` does."""

from __future__ import annotations

import contextlib
import io
import tempfile
import tomllib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import tomlkit
from pyarrow import parquet
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from models_store.arrays import Array
from models_store.errors import ModelsStoreError
from models_store.folder import Bundle, open_bundle, publish
from models_store.manifest import Manifest
from models_store.stores import store_at
from service import impute
from service.errors import Refusal
from service.models.loading import opened
from training import commands
from training.config import read_experiment
from training.errors import TrainingError
from training.evaluation.gains import beats_the_mean
from training.tables.frames import arrow_column, check_names, table_of
from training.tables.guess import FEWEST_ROWS, guess

ESTIMATOR, MANIFEST = "estimator", "manifest.json"
"""Key of ``trained`` in the manifest of a saved estimator, and name of the manifest's file."""


class MultimodalImputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Fills missing cells and views of tables by a multimodal VAE.

    ``fit`` guesses the kinds of the columns as ``anyview-train init`` does, trains as ``anyview-train fit``
    does, and keeps the bundle; ``transform`` fills as ``anyview-serve impute`` does. A service with the
    bundle gives the same numbers. NaN, None and pandas.NA are missing. Draws of a row depend on its position,
    as in a request, so that filled cells and probabilities change a little with the order of the rows.

    Arguments:
        views: Columns of each view by its name; or a text that separates the name of the view from that of
            the column in a header, such as ``"_"`` for ``blood_iron``; None: as ``init`` forms them. A
            category is a view of its own.
        changes: Settings of the experiment by key, such as ``{"fit.epochs": 50}``: see docs/experiment.md.
        draws: Number of draws of z behind a filled cell.
        name: Name of the published model.
        verbose: Whether to print the progress of training.
        random_state: Seed of training and of draws.

    Attributes:
        bundle_: Files of the published model by name.
        categories_: Labels of each category by column.
        left_out_: Columns that the model does not have, such as dates and constant ones; they are returned as
            they are. A warning of ``fit`` says why.
        metrics_: Metrics of the model card, such as ``gains`` over the training mean.

    Example:
        >>> imputer = MultimodalImputer(views={"body": ["height", "weight"]})  # doctest: +SKIP
        >>> filled = imputer.fit_transform(people)  # doctest: +SKIP
    """

    def __init__(
        self,
        views: Mapping[str, Sequence[str]] | str | None = None,
        *,
        changes: Mapping[str, Any] | None = None,
        draws: int = 100,
        name: str = "imputer",
        verbose: bool = False,
        random_state: Any = None,
    ) -> None:
        self.views = views
        self.changes = changes
        self.draws = draws
        self.name = name
        self.verbose = verbose
        self.random_state = random_state

    # --- fitting -------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002, N803 - the interface of scikit-learn
        """Trains a model of a table.

        Arguments:
            X: Data frame or array, (n, columns); numbers, labels as text, counts as whole numbers.
            y: Not used.

        Raises:
            ValueError: X cannot be learned from, or a view names a column that X does not have.
        """
        table = self._table(X, reset=True)
        self.seed_ = int(check_random_state(self.random_state).randint(2**31 - 1))
        with _as_value_error(), tempfile.TemporaryDirectory() as name:
            self._keep(self._trained(table, Path(name)))
        gains = self.metrics_["gains"]
        if gains and not beats_the_mean(gains):
            warnings.warn(
                "nothing is predicted from the rest of a row better than by its training mean",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def _trained(self, table: pa.Table, folder: Path) -> Bundle:
        """Writes the table, guesses an experiment, trains, and publishes within the folder."""
        file, experiment_file = folder / f"{self.name}.parquet", folder / "experiment.toml"
        parquet.write_table(table, file)
        first = guess([file], experiment_file, groups=self._groups(table.column_names))
        if first.left_out:
            warnings.warn(f"left out of the model: {'; '.join(first.left_out)}", stacklevel=3)
        document = tomllib.loads(first.text)
        document["seed"] = self.seed_
        for key, value in (self.changes or {}).items():
            *tables, last = key.split(".")
            place = document
            for part in tables:
                place = place.setdefault(part, {})
            place[last] = value
        experiment_file.write_text(tomlkit.dumps(document), encoding="utf-8")
        experiment, text = read_experiment(str(experiment_file))
        quiet = contextlib.nullcontext() if self.verbose else contextlib.redirect_stdout(io.StringIO())
        place_of_models = store_at(str(folder / "store"))
        with quiet:
            commands.fit(
                experiment,
                text,
                place_of_models,
                folder / "run",
                resume=False,
                start=None,
                trackers=(),
                force=True,
            )
        return open_bundle(folder / "store" / experiment.name / "1")

    def _groups(self, columns: Sequence[str]) -> dict[str, str]:
        """Name of the view by column."""
        if self.views is None:
            return {}
        if isinstance(self.views, str):
            return {column: column.split(self.views, 1)[0] for column in columns if self.views in column[1:]}
        for view, members in self.views.items():
            for column in members:
                if column not in columns:
                    raise ValueError(f"view '{view}' names the column '{column}', which X does not have")
        return {column: view for view, members in self.views.items() for column in members}

    # --- filling -------------------------------------------------------------------------------------

    def transform(self, X: Any) -> Array:  # noqa: N803
        """Fills the missing cells with the means of their predictive distributions, or the likeliest label.

        Cells that are there stay as they are. A row in which nothing is observed stays missing.

        Arguments:
            X: Data frame or array with the columns of the fitted one, (n, columns).

        Returns:
            The filled table, (n, columns): numbers, or objects where X has labels.
        """
        (filled,) = self._filled(X, None)
        return filled

    def sample(self, X: Any, m: int = 1) -> list[Array]:  # noqa: N803
        """Draws m completed tables for multiple imputation: all gaps of a row are one joint draw.

        Arguments:
            X: As for :meth:`transform`.
            m: Number of tables.
        """
        return self._filled(X, m)

    @available_if(lambda self: bool(self.categories_))  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any, column: str | None = None) -> Array | list[Array]:  # noqa: N803
        """Probabilities of the labels of a category given all other columns, (n, labels).

        Arguments:
            X: As for :meth:`transform`; the cells of the category itself are not used.
            column: The category. None: of every category in the order of ``categories_``, in a list where
                there are several.
        """
        table = self._table(X, reset=False)
        if column is not None and column not in self.categories_:
            raise ValueError(f"column must be one of {list(self.categories_)}, got {column!r}")
        selected = list(self.categories_) if column is None else [column]
        with self._as_file(table) as file:
            probabilities = [
                impute.label_probabilities(self._model, file, one, seed=self.seed_, draws=self.draws)
                for one in selected
            ]
        return probabilities[0] if len(probabilities) == 1 else probabilities

    def _filled(self, X: Any, m: int | None) -> list[Array]:  # noqa: N803
        table = self._table(X, reset=False)
        with self._as_file(table) as file:
            paths = impute.fill(
                self._model, file, file.with_name("filled.parquet"), seed=self.seed_, draws=self.draws, m=m
            )
            return [_rows(parquet.read_table(path).select(table.column_names)) for path in paths]

    @contextlib.contextmanager
    def _as_file(self, table: pa.Table) -> Iterator[Path]:
        with _as_value_error(), tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{self.name}.parquet"
            parquet.write_table(table, file)
            yield file

    # --- keeping -------------------------------------------------------------------------------------

    def save(self, store: str | Path) -> Path:
        """Publishes the model into a folder of models, which ``anyview-serve --store`` serves.

        Returns:
            The folder of the bundle, ``store/NAME/VERSION``; :meth:`load` reads it.
        """
        check_is_fitted(self)
        manifest = Manifest.from_json(self.bundle_[MANIFEST])
        fitted = {
            "seed": self.seed_,
            "columns": [str(name) for name in self.get_feature_names_out()],
            "named": hasattr(self, "feature_names_in_"),
        }
        changes = {
            "version": store_at(str(store)).next_number(manifest.name),
            "trained": {**manifest.trained, ESTIMATOR: fitted},
        }
        files = {name: content for name, content in self.bundle_.items() if name != MANIFEST}
        return publish(Path(store), manifest.model_copy(update=changes), files)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The estimator of a bundle that :meth:`save` published.

        Arguments:
            folder: Folder of the bundle, ``store/NAME/VERSION``.

        Raises:
            ValueError: It is no bundle, or not of an estimator.
        """
        with _as_value_error():
            bundle = open_bundle(Path(folder))
        fitted = bundle.manifest.trained.get(ESTIMATOR)
        if fitted is None:
            raise ValueError(f"{folder} was not saved by {cls.__name__}")
        imputer = cls(name=bundle.manifest.name)
        imputer.seed_, imputer.n_features_in_ = fitted["seed"], len(fitted["columns"])
        if fitted["named"]:
            imputer.feature_names_in_ = np.array(fitted["columns"], dtype=object)
        imputer._keep(bundle)
        return imputer

    def _keep(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        files = {name: bundle.read(name) for name in manifest.files}
        self.bundle_ = {**files, MANIFEST: manifest.to_json()}
        self.metrics_ = manifest.metrics
        self.categories_ = {m.field or m.name: m.labels for m in manifest.modalities if m.labels is not None}
        vectors = (column for m in manifest.modalities for column in m.columns or ())
        learned = {*self.categories_, *(column.field or column.name for column in vectors)}
        self.left_out_ = [name for name in self.get_feature_names_out() if name not in learned]
        self._model = opened(bundle)

    def __getstate__(self) -> dict[str, Any]:
        """The state without the open model, whose graphs cannot be copied."""
        state: dict[str, Any] = super().__getstate__()
        return {key: value for key, value in state.items() if key != "_model"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Opens the model of the state."""
        super().__setstate__(state)
        if "bundle_" in state:
            with tempfile.TemporaryDirectory() as folder:
                manifest = Manifest.from_json(self.bundle_[MANIFEST])
                place = Path(folder) / manifest.name / str(manifest.version)
                for name, content in self.bundle_.items():
                    (place / name).parent.mkdir(parents=True, exist_ok=True)
                    (place / name).write_bytes(content)
                self._model = opened(open_bundle(place))

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn may hand over: gaps, text and categories."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        return tags

    def _table(self, X: Any, *, reset: bool) -> pa.Table:  # noqa: N803
        """The rows as a table with text for headers; checks the columns as scikit-learn does."""
        least = FEWEST_ROWS if reset else 1
        checks = {"dtype": None, "ensure_all_finite": "allow-nan", "ensure_min_samples": least}
        framed = hasattr(X, "columns")
        if framed:
            check_names(X)
        checked = validate_data(self, X, reset=reset, skip_check_array=framed, **checks)
        if framed:  # its columns have types of their own, which check_array would make one
            check_array(np.broadcast_to(0.0, X.shape), estimator=self, input_name="X", **checks)
        if not reset:
            check_is_fitted(self)
        names = [str(name) for name in self.get_feature_names_out()]
        if framed:
            return table_of(X, names)
        pairs = zip(names, np.asarray(checked).T, strict=True)
        return pa.table([arrow_column(name, values) for name, values in pairs], names)


def _rows(table: pa.Table) -> Array:
    """The rows of a table, NaN where missing: numbers, or objects where any column has others."""
    numeric = all(pa.types.is_integer(one.type) or pa.types.is_floating(one.type) for one in table.columns)
    if numeric:
        return np.column_stack([column.to_numpy().astype(float) for column in table.columns])
    rows = np.empty(table.shape, dtype=object)
    for at, column in enumerate(table.columns):
        rows[:, at] = [np.nan if cell is None else cell for cell in column.to_pylist()]
    return rows


@contextlib.contextmanager
def _as_value_error() -> Iterator[None]:
    """Raises errors of the project as those that scikit-learn's callers expect.

    Raises:
        ValueError: The project refused the data or the settings.
    """
    try:
        yield
    except (TrainingError, ModelsStoreError, Refusal) as error:
        raise ValueError(str(error)) from error
