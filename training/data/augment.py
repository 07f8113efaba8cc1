r"""Random changes of the rows that encoders get in training.

The changed row is encoded, and the loss is that of reconstructing the row as it is in the data. Generated
rows stay like those of the data, and encoders learn to ignore moves and noise. Each row draws its own
:math:`u`, uniform in [-1, 1], and :math:`v`, uniform in [0, 1]; the factors are the strengths of
``training.augment_config.Augment``.

- Pictures and videos: scaled by :math:`1 / (1 + u_1 \, \text{scale})` and turned by :math:`u_2 \,
  \text{rotate}` about the centre; moved by :math:`(u_3, u_4) \, \text{shift}` of the sides, where the
  border is repeated; a square with sides of :math:`v_1 \, \text{occlude}` in one level; normal noise of
  deviation :math:`v_2 \, \text{noise}`.
- Sounds: moved by :math:`u_1 \, \text{shift}` of the frames, with silence beside them; levels above silence
  plus :math:`u_2 \, \text{gain}`; noise as above.
- Points: scaled by :math:`1 + u_1 \, \text{scale}`, turned and moved as above; a point at the share t of
  its line moves to :math:`t^{e^a}`, with :math:`a = u_5 \, \text{resample}`.

References:
    | Best practices for convolutional neural networks applied to visual document analysis
      (Simard, Steinkraus & Platt, 2003)
    | Improved regularization of convolutional neural networks with Cutout (DeVries & Taylor, 2017)
    | Extracting and composing robust features with denoising autoencoders (Vincent et al., 2008)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from models_store.manifest import Modality
from training.config import Experiment
from training.data.rows import Rows
from training.draws import draw_normal, draw_uniform

Strengths = Mapping[str, float]
Range = tuple[float, float]


@dataclass(frozen=True)
class Draws:
    """Random numbers for the rows of one batch, on the device of the generator.

    Arguments:
        rows: Number of rows.
        generator: Source of the numbers.
    """

    rows: int
    generator: torch.Generator

    def uniform(self, low: float = -1.0, axes: int = 1) -> Tensor:
        """A number in [low, 1] for each row, with as many axes: (rows, 1, …)."""
        shape = (self.rows, *(1 for _ in range(axes - 1)))
        return low + (1 - low) * draw_uniform(shape, self.generator)

    def normal(self, x: Tensor) -> Tensor:
        """Standard normal numbers of the shape of ``x``."""
        return draw_normal(x.shape, self.generator)


@dataclass(frozen=True)
class Augmentation:
    """Changes of the modalities of a model.

    Arguments:
        modalities: Changed modalities.
        strengths: Strengths of the changes, by modality.
    """

    modalities: Sequence[Modality]
    strengths: Mapping[str, Strengths]

    @classmethod
    def of(cls, experiment: Experiment, modalities: Sequence[Modality]) -> Augmentation:
        """The augmentation of an experiment, without modalities that no change has a strength for."""
        strengths = {
            modality.name: augment.strengths(modality.kind)
            for modality in modalities
            if (augment := experiment.modalities[modality.name].augment) is not None
        }
        changed = {
            name: one for name, one in strengths.items() if one["share"] and sum(one.values()) > one["share"]
        }
        return cls([modality for modality in modalities if modality.name in changed], changed)

    def changed(self, rows: Rows, index: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Changed rows by modality, on the device of the generator; the same for the same generator.

        Arguments:
            rows: Rows of an epoch.
            index: Rows of the batch.
            generator: Source of the draws.
        """
        return {
            modality.name: change(
                modality,
                rows.data[modality.name][index].to(generator.device),
                self.strengths[modality.name],
                generator,
            )
            for modality in self.modalities
        }


def change(modality: Modality, x: Tensor, strengths: Strengths, generator: torch.Generator) -> Tensor:
    """Changes some rows of a modality at random.

    Arguments:
        modality: The modality; rows stay within its range.
        x: Rows, (n, *shape), in the user's units and any dtype, on the device of the generator.
        strengths: Strengths by name, see ``training.augment_config.Augment``.
        generator: Source of the draws.

    Returns:
        Rows of the shape and dtype of ``x``.
    """
    draws = Draws(len(x), generator)
    low, high = modality.range or _range(x)
    changed = CHANGES[modality.kind](x.to(torch.float32), strengths, draws, (low, high)).clamp(low, high)
    if not x.dtype.is_floating_point:
        changed = changed.round()
    selected = draws.uniform(0, x.ndim) < strengths["share"]
    return torch.where(selected, changed.to(x.dtype), x)


def _range(x: Tensor) -> Range:
    """Lowest and highest value of a batch, for a modality without a range; NaN of missing rows left out."""
    seen = x[x == x].to(torch.float32)
    return (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 1.0)


def _change_picture(x: Tensor, strengths: Strengths, draws: Draws, limits: Range) -> Tensor:
    """Pictures (n, H, W) or (n, H, W, C)."""
    return _change_frames(x[:, None], strengths, draws, limits)[:, 0]


def _change_frames(x: Tensor, strengths: Strengths, draws: Draws, limits: Range) -> Tensor:
    """Clips (n, frames, H, W) or (n, frames, H, W, C); all frames and channels of a row change alike."""
    wide = x if x.ndim == 5 else x[..., None]
    n, frames, height, width, channels = wide.shape
    planes = wide.movedim(-1, 2).reshape(n, frames * channels, height, width)
    planes = _occluded(_moved(planes, strengths, draws), strengths["occlude"], draws, limits)
    changed = planes.reshape(n, frames, channels, height, width).movedim(2, -1).reshape(x.shape)
    return _with_noise(changed, strengths["noise"], draws, limits)


def _moved(planes: Tensor, strengths: Strengths, draws: Draws) -> Tensor:
    """Planes (n, C, H, W) turned, scaled and moved."""
    if not any(strengths[name] for name in ("shift", "rotate", "scale")):
        return planes
    height, width = planes.shape[2:]
    turn, move = _affine(strengths, draws)
    # Coordinates from -1 to 1 along each side: a rotation mixes them by the ratio of the sides.
    ratio = turn.new_tensor([[1.0, height / width], [width / height, 1.0]])
    theta = torch.cat([turn * ratio, 2 * move[..., None]], dim=2)
    grid = affine_grid(theta, list(planes.shape), align_corners=False)
    return grid_sample(planes, grid, padding_mode="border", align_corners=False)


def _affine(strengths: Strengths, draws: Draws) -> tuple[Tensor, Tensor]:
    """Scaled rotations (n, 2, 2), and moves (n, 2) as shares of the sides."""
    factor = 1 + strengths["scale"] * draws.uniform()
    angle = math.radians(strengths["rotate"]) * draws.uniform()
    cos, sin = factor * angle.cos(), factor * angle.sin()
    move = strengths["shift"] * torch.stack([draws.uniform(), draws.uniform()], dim=1)
    return torch.stack([cos, -sin, sin, cos], dim=1).view(-1, 2, 2), move


def _occluded(planes: Tensor, occlude: float, draws: Draws, limits: Range) -> Tensor:
    """Planes (n, C, H, W) with a square of one level."""
    if not occlude:
        return planes
    height, width = planes.shape[2:]
    half = occlude / 2 * min(height, width) * draws.uniform(0)
    inside = [
        (torch.arange(side, device=half.device) + 0.5 - side * draws.uniform(0)[:, None]).abs()
        < half[:, None]
        for side in (height, width)
    ]
    square = (inside[0][:, :, None] & inside[1][:, None, :])[:, None]
    low, high = limits
    return torch.where(square, low + (high - low) * draws.uniform(0, 4), planes)


def _with_noise(x: Tensor, noise: float, draws: Draws, limits: Range) -> Tensor:
    if not noise:
        return x
    return x + noise * (limits[1] - limits[0]) * draws.uniform(0, x.ndim) * draws.normal(x)


def _change_sound(x: Tensor, strengths: Strengths, draws: Draws, limits: Range) -> Tensor:
    """Spectrograms (n, bands, frames); the lowest level is silence."""
    frames, (low, high) = x.shape[2], limits
    source = torch.arange(frames, device=x.device) - (
        strengths["shift"] * frames * draws.uniform(axes=2)
    ).round().to(torch.int64)
    index = source.clamp(0, frames - 1)[:, None].expand_as(x)
    moved = torch.where((source == source.clamp(0, frames - 1))[:, None], x.gather(2, index), low)
    louder = moved + strengths["gain"] * (high - low) * draws.uniform(axes=3)
    return _with_noise(torch.where(moved > low, louder, moved), strengths["noise"], draws, limits)


def _change_points(x: Tensor, strengths: Strengths, draws: Draws, limits: Range) -> Tensor:
    """Points (n, P, 2), of which the first and the last stay the ends of the line."""
    low, high = limits
    turn, move = _affine(strengths, draws)
    centre = (low + high) / 2
    turned = (x - centre) @ turn.mT + centre + (high - low) * move[:, None]
    last = max(1, x.shape[1] - 1)
    share = torch.linspace(0, 1, x.shape[1], device=x.device)
    place = last * share ** torch.exp(strengths["resample"] * draws.uniform(axes=2))
    before = place.floor().clamp(0, max(0, last - 1)).to(torch.int64)
    ends = [
        turned.gather(1, at.clamp(max=x.shape[1] - 1)[..., None].expand_as(x)) for at in (before, before + 1)
    ]
    return torch.lerp(ends[0], ends[1], (place - before)[..., None])


CHANGES: Mapping[str, Callable[[Tensor, Strengths, Draws, Range], Tensor]] = {
    "image": _change_picture,
    "video": _change_frames,
    "audio": _change_sound,
    "points": _change_points,
}
"""Function that changes float32 rows, by kind."""
