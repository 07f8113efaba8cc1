"""Folders of saved models: the configuration as JSON, the weights as safetensors, nothing as a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Self

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from models_store.errors import listed
from training.coders import Coders
from training.mvae_config import MVAEConfig

CONFIG, WEIGHTS = "model_config.json", "model.safetensors"


class SavedCoders(Coders):
    """Coders that a folder can hold, under the names of MultiVae.

    Arguments:
        config: Configuration of the model.
        encoders: Encoders by modality; a default one for each modality that is left out.
        decoders: Decoders by modality; likewise.
    """

    model_name = "MVAE"

    @property
    def model_config(self) -> MVAEConfig:
        """The configuration."""
        return self.config

    def save(self, dir_path: str | PathLike[str]) -> None:
        """Writes the configuration as JSON and the weights as safetensors into a folder.

        Networks that were passed to the model are not written, only their weights.

        Raises:
            ValueError: A likelihood is a function, which a folder cannot hold.
        """
        for name, dist in (self.config.decoders_dist or {}).items():
            if callable(dist):
                raise ValueError(f"the likelihood of '{name}' is a function, which a folder cannot hold")
        folder = Path(dir_path)
        folder.mkdir(parents=True, exist_ok=True)
        config = {"name": type(self.config).__name__, **asdict(self.config)}
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        save_file({name: x.contiguous() for name, x in self.state_dict().items()}, folder / WEIGHTS)

    @classmethod
    def load_from_folder(
        cls,
        dir_path: str | PathLike[str],
        encoders: Mapping[str, nn.Module] | None = None,
        decoders: Mapping[str, nn.Module] | None = None,
    ) -> Self:
        """Reads a folder that :meth:`save` wrote; the model is in evaluation mode.

        Arguments:
            dir_path: The folder.
            encoders: Encoders that were passed to the saved model, of any weights.
            decoders: Decoders that were passed to the saved model, of any weights.

        Raises:
            ValueError: A file is missing, damaged, or does not fit; networks are missing.
        """
        folder = Path(dir_path)
        config = _read_config(folder / CONFIG)
        passed = (encoders or {}).keys() | (decoders or {}).keys()
        if missing := [name for name in config.custom_architectures if name not in passed]:
            raise ValueError(
                f"{folder} was saved with networks of its own for {listed(missing)}, which it does not "
                "hold; pass them as encoders and decoders"
            )
        model = cls(config, encoders, decoders)
        try:
            model.load_state_dict(load_file(folder / WEIGHTS))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise ValueError(f"{folder / WEIGHTS} does not fit the model: {error}") from None
        return model.eval()


def _read_config(file: Path) -> MVAEConfig:
    try:
        fields = json.loads(file.read_text())
        return MVAEConfig(**{name: value for name, value in fields.items() if name != "name"})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is not the configuration of an MVAE: {error}") from None
