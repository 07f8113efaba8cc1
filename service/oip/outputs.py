"""What a model can answer, by name: the posterior, and summaries and samples of every modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from models_store.errors import listed
from models_store.manifest import Manifest
from service.engine.model import Encoded, Generated
from service.engine.predictive import LEVELS
from service.engine.rules import Rules
from service.errors import WrongInput
from service.oip.requests import Wanted
from service.oip.tensors import Array

POSTERIOR = ("z", "mu", "log_var")
MEASURES = ("information", "disagreement")


@dataclass(frozen=True)
class Output:
    """One output.

    Arguments:
        name: By which it is asked for.
        shape: With -1 for what depends on the request: rows first, then N.
        target: The modality that it is of; none, if it is of the posterior.
        field: Of /generate's summaries, or of the posterior.
    """

    name: str
    shape: tuple[int, ...]
    target: str | None
    field: str

    @property
    def usual(self) -> bool:
        """Whether it is given to those who ask for no outputs."""
        return self.field in (*POSTERIOR, "mean", "probabilities")

    def of(self, encoded: Encoded | None, generated: Generated | None) -> Array:
        """Its numbers.

        Arguments:
            encoded: The answer about z, which outputs of the posterior need.
            generated: The answer about the modalities, which outputs of those need.
        """
        if self.target is not None:
            if generated is None:
                raise ValueError(f"'{self.name}' was not computed")
            found: Array = generated.targets[self.target][self.field]
            return found
        if encoded is None:
            raise ValueError(f"'{self.name}' was not computed")
        part: Array = getattr(encoded.origin if self.field in MEASURES else encoded, self.field)
        return part


def outputs_of(manifest: Manifest) -> dict[str, Output]:
    """Everything that a model can answer, by name."""
    shapes = {
        "z": (-1, -1, manifest.latent_dim),
        **dict.fromkeys(("mu", "log_var"), (-1, manifest.latent_dim)),
    }
    shapes |= dict.fromkeys(MEASURES, (-1,))
    found = [Output(name, shape, None, name) for name, shape in shapes.items()]
    for modality in manifest.modalities:
        row, main = modality.parameter_shape(), "probabilities" if modality.labels else "mean"
        # A modality may be called 'mu'.
        name = f"{modality.name}.{main}" if modality.name in shapes else modality.name
        found.append(Output(name, (-1, *row), modality.name, main))
        if not modality.labels:
            found.append(Output(f"{modality.name}.std", (-1, *row), modality.name, "std"))
            quantiles = (-1, len(LEVELS), *row)
            found.append(Output(f"{modality.name}.quantiles", quantiles, modality.name, "quantiles"))
        found.append(Output(f"{modality.name}.samples", (-1, -1, *row), modality.name, "samples"))
    return {output.name: output for output in found}


class Asked(NamedTuple):
    """What a request wants to know.

    Arguments:
        outputs: Each as it is wanted.
        targets: The modalities that some of them are of.
        fields: What of those is wanted.
        posterior: Whether any is of the posterior.
        explained: Whether any says where the posterior comes from.
    """

    outputs: tuple[tuple[Wanted, Output], ...]
    targets: tuple[str, ...]
    fields: frozenset[str]
    posterior: bool
    explained: bool


def asked(
    known: Mapping[str, Output], rules: Rules, wanted: Sequence[Wanted], chosen: Sequence[str], binary: bool
) -> Asked:
    """What comes of the outputs that a request names.

    Arguments:
        known: All that there are.
        rules: Of the model.
        wanted: The outputs; none for the posterior, and the middle of every target.
        chosen: ``gen_mod``: the modalities that they may be of, or ``all``.
        binary: Whether those that nobody named are sent as bytes.

    Raises:
        WrongInput: There is no such output or modality, or they contradict each other; the text says which.
    """
    everything = list(chosen) == ["all"]
    if not everything:
        for name in chosen:
            rules.modality(name)
    if not wanted:
        wanted = [
            Wanted(output.name, binary)
            for output in known.values()
            if output.usual and (output.target is None or everything or output.target in chosen)
        ]
    for one in wanted:
        if one.name not in known:
            raise WrongInput(f"unknown output '{one.name}'; this model gives {listed(known)}")
    found = [known[one.name] for one in wanted]
    targets = tuple(dict.fromkeys(output.target for output in found if output.target is not None))
    if outside := [name for name in targets if not everything and name not in chosen]:
        raise WrongInput(f"outputs of {listed(outside)} were asked for, but gen_mod names {listed(chosen)}")
    return Asked(
        tuple(zip(wanted, found, strict=True)),
        targets,
        frozenset(output.field for output in found),
        posterior=any(output.target is None for output in found),
        explained=any(output.field in MEASURES for output in found),
    )
