"""Folders of saved models: the configuration as JSON, the weights as safetensors, nothing as a pickle."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from models_store.errors import listed
from training.coders import Coders
from training.mvae_config import MVAEConfig

CONFIG, WEIGHTS, CARD = "model_config.json", "model.safetensors", "README.md"


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

    def push_to_hf_hub(self, hf_hub_path: str, *, private: bool | None = None) -> str:
        """Uploads what :meth:`save` writes, and a card, to a repository of the Hugging Face Hub.

        The repository is created if it does not exist. The key is that of ``hf auth login`` or ``HF_TOKEN``.

        Arguments:
            hf_hub_path: Repository, ``user/name``.
            private: Whether a new repository is private; None: the default of the user.

        Returns:
            Address of the commit.

        Raises:
            ModuleNotFoundError: The extra ``hub`` is not installed.
            ValueError: A likelihood is a function, which a folder cannot hold.
        """
        api = _hub().HfApi(library_name="anyview")
        with TemporaryDirectory() as folder:
            self.save(folder)
            (Path(folder) / CARD).write_text(_card(self.config))
            api.create_repo(hf_hub_path, private=private, exist_ok=True)
            message = f"Upload {self.model_name}"
            commit = api.upload_folder(repo_id=hf_hub_path, folder_path=folder, commit_message=message)
        return str(commit.commit_url)

    @classmethod
    def load_from_hf_hub(
        cls,
        hf_hub_path: str,
        allow_pickle: bool = False,
        encoders: Mapping[str, nn.Module] | None = None,
        decoders: Mapping[str, nn.Module] | None = None,
        revision: str | None = None,
    ) -> Self:
        """Downloads a model that :meth:`push_to_hf_hub` uploaded; it is in evaluation mode.

        Arguments:
            hf_hub_path: Repository, ``user/name``.
            allow_pickle: As in MultiVae; only False, since no pickle is read.
            encoders: As in :meth:`load_from_folder`.
            decoders: As in :meth:`load_from_folder`.
            revision: Branch, tag or commit; None: the newest commit.

        Raises:
            ModuleNotFoundError: The extra ``hub`` is not installed.
            ValueError: As for :meth:`load_from_folder`; or ``allow_pickle``.
        """
        if allow_pickle:
            raise ValueError("no pickle is read: pass the networks as encoders and decoders")
        folder = _hub().snapshot_download(
            hf_hub_path, revision=revision, allow_patterns=[CONFIG, WEIGHTS], library_name="anyview"
        )
        return cls.load_from_folder(folder, encoders, decoders)


def _hub() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "the Hugging Face Hub needs the extra hub: pip install 'anyview[hub]'"
        ) from None


def _card(config: MVAEConfig) -> str:
    """Returns the card of a repository: how to load the model, and its modalities."""
    dims = config.input_dims or {}
    rows = "".join(f"| {name} | {' × '.join(map(str, shape))} |\n" for name, shape in dims.items())
    return (
        "---\nlibrary_name: anyview\ntags: [multimodal-vae]\n---\n\n# MVAE\n\n"
        f"A multimodal VAE with {config.n_modalities} modalities and {config.latent_dim} latent dimensions, "
        "trained with AnyView.\n\n```python\nfrom training.model import MVAE\n\n"
        'model = MVAE.load_from_hf_hub("user/name")\n```\n'
        + (f"\n| Modality | Shape |\n| --- | --- |\n{rows}" if rows else "")
    )


def _read_config(file: Path) -> MVAEConfig:
    try:
        fields = json.loads(file.read_text())
        return MVAEConfig(**{name: value for name, value in fields.items() if name != "name"})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is not the configuration of an MVAE: {error}") from None
