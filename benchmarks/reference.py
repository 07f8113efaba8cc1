"""Imports MultiVae, ``multivae`` from PyPI, with few of its dependencies.

``pip install --no-deps multivae pythae`` is enough: imports of its data sets and plots, such as torchvision,
nltk and matplotlib, are replaced by empty modules if they are not installed.
"""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

UNUSED = {"torchvision", "nltk", "matplotlib", "tqdm", "pandas", "torchmetrics"}


class _Empty(ModuleType):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class _StandIn(MetaPathFinder, Loader):
    """Comes last, so that it finds only what is not installed."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:  # noqa: ARG002
        top = fullname.partition(".")[0]
        return ModuleSpec(fullname, self, is_package=True) if top in UNUSED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


def reference() -> SimpleNamespace:
    """The names that tests and benchmarks use of it: models, data sets, networks, the trainer."""
    before, finder = set(sys.modules), _StandIn()
    sys.meta_path.append(finder)
    try:
        from multivae.data.datasets.base import IncompleteDataset, MultimodalBaseDataset
        from multivae.models import MVAE, MVTCAE, MVAEConfig, MVTCAEConfig
        from multivae.models.base import BaseAEConfig
        from multivae.models.nn.default_architectures import Decoder_AE_MLP, Encoder_VAE_MLP
        from multivae.trainers import BaseTrainer, BaseTrainerConfig
    finally:
        sys.meta_path.remove(finder)
        # Others who look for these modules must not find empty ones.
        for name in set(sys.modules) - before:
            if isinstance(sys.modules[name], _Empty):
                del sys.modules[name]
    return SimpleNamespace(
        MVAE=MVAE,
        MVAEConfig=MVAEConfig,
        MVTCAE=MVTCAE,
        MVTCAEConfig=MVTCAEConfig,
        Complete=MultimodalBaseDataset,
        Incomplete=IncompleteDataset,
        Encoder=Encoder_VAE_MLP,
        Decoder=Decoder_AE_MLP,
        Shape=BaseAEConfig,
        Trainer=BaseTrainer,
        TrainerConfig=BaseTrainerConfig,
    )
