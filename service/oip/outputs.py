"""Outputs of a model, by name: the posterior, and summaries and samples of every modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from models_store.arrays import Array
from models_store.errors import listed
from models_store.manifest import Manifest
from service.engine.model import Encoded, Generated
from service.engine.rules import Rules
from service.engine.summaries import LEVELS
from service.errors import WrongInput
from service.oip.requests import RequestedOutput

POSTERIOR = ("z", "mu", "log_var")
MEASURES = ("information", "disagreement")


@dataclass(frozen=True)
class Output:
    """One output of a model.

    Arguments:
        name: Name in requests.
        shape: Shape, with -1 for axes that depend on the request: rows first, then N.
        target: Modality of the output; None: the posterior.
        field: Field of /generate's summaries, or of the posterior.
    """

    name: str
    shape: tuple[int, ...]
    target: str | None
    field: str
    column: str | None = None
    """Column with labels of a table; None: the whole target."""

    @property
    def usual(self) -> bool:
        """Whether it is returned where a request names no outputs."""
        return self.field in (*POSTERIOR, "mean", "probabilities")

    def labels(self, manifest: Manifest) -> tuple[str, ...] | None:
        """Returns the labels of the target or of its column; None: it has none."""
        if self.target is None:
            return None
        modality = manifest.modality(self.target)
        for column in modality.columns or ():
            if column.name == self.column:
                return column.labels
        return modality.labels

    def of(self, encoded: Encoded | None, generated: Generated | None) -> Array:
        """Returns the values.

        Arguments:
            encoded: Result for z, which outputs of the posterior need.
            generated: Result for the modalities, which their outputs need.
        """
        if self.target is not None:
            if generated is None:
                raise ValueError(f"'{self.name}' was not computed")
            summary: Mapping[str, Any] = generated.targets[self.target]
            if self.column is not None:
                summary = summary["labelled"][self.column]
            values: Array = summary[self.field]
            return values
        if encoded is None:
            raise ValueError(f"'{self.name}' was not computed")
        part: Array = getattr(encoded.explanation if self.field in MEASURES else encoded, self.field)
        return part


def outputs_of(manifest: Manifest) -> dict[str, Output]:
    """Returns all outputs of a model, by name."""
    shapes = {
        "z": (-1, -1, manifest.latent_dim),
        **dict.fromkeys(("mu", "log_var"), (-1, manifest.latent_dim)),
    }
    shapes |= dict.fromkeys(MEASURES, (-1,))
    outputs = [Output(name, shape, None, name) for name, shape in shapes.items()]
    for modality in manifest.modalities:
        row, main = modality.parameter_shape(), "probabilities" if modality.labels else "mean"
        row = modality.shape if modality.traits.mixed else row
        # A modality may have the name 'mu'.
        name = f"{modality.name}.{main}" if modality.name in shapes else modality.name
        outputs.append(Output(name, (-1, *row), modality.name, main))
        if not modality.labels:
            outputs.append(Output(f"{modality.name}.std", (-1, *row), modality.name, "std"))
            quantiles = (-1, len(LEVELS), *row)
            outputs.append(Output(f"{modality.name}.quantiles", quantiles, modality.name, "quantiles"))
        outputs.append(Output(f"{modality.name}.samples", (-1, -1, *row), modality.name, "samples"))
        for column in modality.columns or () if modality.traits.mixed else ():
            if column.labels:
                shape = (-1, len(column.labels))
                # A column may have the name of a summary.
                taken = column.name in ("std", "quantiles", "samples", "mean")
                name = f"{modality.name}.{column.name}{'.probabilities' if taken else ''}"
                outputs.append(Output(name, shape, modality.name, "probabilities", column.name))
    return {output.name: output for output in outputs}


class RequestedOutputs(NamedTuple):
    """Outputs of a request, resolved.

    Arguments:
        outputs: Requested outputs, each with the output of the model.
        targets: Modalities that the outputs need.
        fields: Fields of their summaries that the outputs need.
        posterior: Whether any output is of the posterior.
        explained: Whether any output explains the posterior.
        drawn: Whether any output holds draws of z.
    """

    outputs: tuple[tuple[RequestedOutput, Output], ...]
    targets: tuple[str, ...]
    fields: frozenset[str]
    posterior: bool
    explained: bool
    drawn: bool


def resolve(
    available: Mapping[str, Output],
    rules: Rules,
    requested: Sequence[RequestedOutput],
    gen_mod: Sequence[str],
    binary: bool,
) -> RequestedOutputs:
    """Looks up the outputs that a request names.

    Arguments:
        available: All outputs of the model.
        rules: Rules of the model.
        requested: Requested outputs; empty: the posterior, and mean or probabilities of every target.
        gen_mod: Modalities that the outputs may be of, or ``all``.
        binary: Whether outputs are sent as bytes where the request names none.

    Raises:
        WrongInput: There is no such output or modality, or they contradict each other; the text names it.
    """
    everything = list(gen_mod) == ["all"]
    gen_mod = gen_mod if everything else [rules.modality(name).name for name in gen_mod]
    if not requested:
        requested = [
            RequestedOutput(output.name, binary)
            for output in available.values()
            if output.usual and (output.target is None or everything or output.target in gen_mod)
        ]
    for one in requested:
        if one.name not in available:
            raise WrongInput(f"unknown output {listed([one.name])}; this model gives {listed(available)}")
    outputs = [available[one.name] for one in requested]
    targets = tuple(dict.fromkeys(output.target for output in outputs if output.target is not None))
    if outside := [name for name in targets if not everything and name not in gen_mod]:
        raise WrongInput(f"outputs of {listed(outside)} were requested, but gen_mod names {listed(gen_mod)}")
    return RequestedOutputs(
        tuple(zip(requested, outputs, strict=True)),
        targets,
        frozenset(output.field for output in outputs),
        posterior=any(output.target is None for output in outputs),
        explained=any(output.field in MEASURES for output in outputs),
        drawn=any(output.field == "z" for output in outputs),
    )
