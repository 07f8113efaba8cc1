"""Several trained models as one model, whose latent space holds theirs."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from models_store.linear import NATURAL
from models_store.members import Members
from training.coders import LOG_VAR_LIMIT, Coders, module_key
from training.model import MVAE
from training.networks import ModelOutput
from training.networks.linear import LinearEncoder
from training.networks.mixed import ColumnFeatures, ColumnParameters
from training.networks.mlp import MLPDecoder, MLPEncoder


class Ensemble(Coders):
    """Models as one, whose latent space holds theirs, as ``models_store/members.py`` lays them out.

    Arguments:
        members: At least two models of one configuration.
        weights: Weight of each in the mixture; none for equal ones.
    """

    def __init__(self, members: Sequence[MVAE], weights: Sequence[float] = ()) -> None:
        first, count = members[0], len(members)
        mixture = Members.of(count * first.latent_dim + 1, count, weights)
        names = first.modalities
        encoders = {name: _Encoders([one.encoders[module_key(name)] for one in members]) for name in names}
        decoders = {
            name: _Decoders([one.decoders[module_key(name)] for one in members], mixture) for name in names
        }
        super().__init__(replace(first.config, latent_dim=mixture.joint_dimension), encoders, decoders)
        self.members = nn.ModuleList(members)
        self.mixture = mixture
        self.linear_members = sum(map(_is_linear, members))


def _is_linear(model: MVAE) -> bool:
    return all(isinstance(encoder, LinearEncoder) for encoder in model.encoders.values())


class _Stacked(nn.Module):
    """Networks of one structure, whose weights lie in one tensor each.

    Arguments:
        networks: Trained networks, which stay as they are: the weights are copied.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self._members = len(networks)
        self._structure = (copy.deepcopy(networks[0]).to("meta"),)  # in a tuple: no module of this one
        self._together = len(networks) > 1 and _has_rules(networks[0])
        parameters, buffers = stack_module_state(list(networks))
        self._places = {name: f"stacked_{number}" for number, name in enumerate([*parameters, *buffers])}
        for name, value in {**parameters, **buffers}.items():
            self.register_buffer(self._places[name], value.detach(), persistent=False)

    @property
    def structure(self) -> nn.Module:
        """One of the networks, without weights."""
        return self._structure[0]

    def outputs(self, x: Tensor, axis: int | None) -> ModelOutput:
        """Outputs of all networks, (M, n, *shape).

        Fully connected networks are computed together, others one after another: vmap has no rule for some
        layers, and graphs of convolutions and of mixed columns under it have a fixed batch size.

        Arguments:
            x: Input of all, (n, *shape), or of each, (M, n, *shape).
            axis: Axis of the networks in x; None if it is that of all.
        """
        weights = {name: getattr(self, place) for name, place in self._places.items()}
        if self._together:
            return ModelOutput(torch.vmap(self._run, in_dims=(0, axis))(weights, x))
        each = [
            self._run({name: value[k] for name, value in weights.items()}, x if axis is None else x[k])
            for k in range(self._members)
        ]
        return ModelOutput({name: torch.stack([one[name] for one in each]) for name in each[0]})

    def _run(self, weights: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
        return dict(functional_call(self.structure, weights, (x,)))


def _has_rules(network: nn.Module) -> bool:
    """Whether vmap has a rule for every layer, under which graphs take batches of any size."""
    mixed = any(isinstance(part, ColumnFeatures | ColumnParameters) for part in network.modules())
    return isinstance(network, MLPEncoder | MLPDecoder) and not mixed


class _Linear(nn.Module):
    """Linear encoders of one view, computed together.

    Arguments:
        networks: The encoders, which have the same inputs, and stay as they are: the weights are copied.
    """

    def __init__(self, networks: Sequence[LinearEncoder]) -> None:
        super().__init__()
        self.structure = LinearEncoder.beside(networks)
        for part in self.structure.modules():
            for name, value in [*part.named_buffers(recurse=False)]:
                part.register_buffer(name, value, persistent=False)  # the members keep them

    def outputs(self, x: Tensor, axis: int | None) -> ModelOutput:  # noqa: ARG002 - as _Stacked
        """Outputs of all encoders for the same x, (M, n, *shape)."""
        return ModelOutput(self.structure(x))


class _Networks(nn.Module):
    """Networks of all members, of which neighbours of one structure are computed together.

    Arguments:
        networks: A trained network of each member.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        groups = [[*group] for _, group in itertools.groupby(networks, _structure)]
        self._sizes = [len(group) for group in groups]
        self.groups = nn.ModuleList(_together(group) for group in groups)

    @property
    def structures(self) -> list[nn.Module]:
        """A network of each structure, whose weights do not count."""
        return [group.structure for group in cast(Sequence[_Stacked | _Linear], self.groups)]

    def outputs(self, x: Tensor, axis: int | None) -> ModelOutput:
        """Outputs of all members, (M, n, *shape); for the arguments see :class:`_Stacked`."""
        return _joined(self.by_group(x, axis))

    def by_group(self, x: Tensor, axis: int | None) -> list[ModelOutput]:
        """:meth:`outputs` of each structure."""
        inputs = [x] * len(self._sizes) if axis is None else torch.split(x, self._sizes)
        groups = cast(Sequence[_Stacked | _Linear], self.groups)
        return [group.outputs(part, axis) for group, part in zip(groups, inputs, strict=True)]


def _joined(groups: Sequence[ModelOutput]) -> ModelOutput:
    """The outputs that all groups have."""
    names = [name for name in groups[0] if all(name in group for group in groups)]
    return ModelOutput({name: torch.cat([group[name].float() for group in groups]) for name in names})


def _together(networks: Sequence[nn.Module]) -> _Stacked | _Linear:
    linear = [network for network in networks if isinstance(network, LinearEncoder)]
    return _Linear(linear) if linear else _Stacked(networks)


def _structure(network: nn.Module) -> tuple[type, list[tuple[str, torch.Size]]]:
    """Equal for networks that differ in the values of their weights alone."""
    return type(network), [(name, value.shape) for name, value in network.state_dict().items()]


class _Encoders(_Networks):
    """The experts of all members side by side, and the prior in place of u."""

    def forward(self, x: Tensor) -> ModelOutput:
        groups = self.by_group(x, None)
        experts = _joined(groups)
        mu, log_var = (_beside(value) for value in (experts.embedding, experts.log_covariance))
        unknown = torch.zeros_like(mu[:, :1])
        # of the linear models, which are the last ones
        natural = {NATURAL: _beside(groups[-1][NATURAL].float())} if NATURAL in groups[-1] else {}
        return ModelOutput(
            embedding=torch.cat([mu, unknown], dim=1),
            log_covariance=torch.cat([log_var, unknown + LOG_VAR_LIMIT], dim=1),
            **natural,
        )


class _Decoders(_Networks):
    """The decoder of the member that u chooses."""

    def __init__(self, networks: Sequence[nn.Module], mixture: Members) -> None:
        super().__init__(networks)
        self._mixture = mixture

    def forward(self, z: Tensor) -> ModelOutput:
        blocks = z[:, :-1].reshape(-1, len(self._mixture), self._mixture.dimension).transpose(0, 1)
        outputs = self.outputs(blocks, 0)
        return ModelOutput({name: self._selected(z[:, -1:], x) for name, x in outputs.items()})

    def _selected(self, u: Tensor, values: Tensor) -> Tensor:
        """By row the value of the selected member: (n, *shape), for u of shape (n, 1)."""
        selected, *others = values.unbind(0)
        for edge, value in zip(self._mixture.edges, others, strict=True):
            above = (u > edge).reshape(-1, *(1 for _ in value.shape[1:]))
            selected = torch.where(above, value, selected)
        return selected


def _beside(values: Tensor) -> Tensor:
    """(M, n, d) as (n, M d)."""
    return values.transpose(0, 1).flatten(start_dim=1)
