"""An encoder: backbone, projection head and the preprocessing that belongs to them, inseparable."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from crossdistill.errors import EncoderError
from crossdistill.modalities import Modality

_OWN = "python:"  # a backbone's name: a module that somebody else made


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """All that is needed to build an encoder again before its weights are loaded.

    Attributes:
        backbone: a name that :mod:`~crossdistill.encoders.backbone` knows, or ``python:QUALIFIED.NAME`` for a module of
            the user's own.
        features: width of the backbone's output.
        head: kind of the projection head.
        width: width of the embedding.
        patch_size: of a transformer's patches, where it is not the one that its name stands for.
        detail_level: number of the feature map that follows the pooled features, where one does (see ``detail.py``).
        detail_grid: cells along each side that it is averaged to.
        detail_channels: to which its channels are mixed, where they are.
    """

    backbone: str
    features: int
    head: str
    width: int
    patch_size: int | None = None
    detail_level: int | None = None
    detail_grid: int | None = None
    detail_channels: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, without what there is none of: a patch size other than the usual one, detail."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class Encoder(nn.Module):
    """Backbone and head with their preprocessing.

    Args:
        backbone: maps normalised input ``(B, *modality.shape)`` to features ``(B, F)``. One of ours, which takes
            pictures, is given the frames of clips one by one (see :func:`backbone_features`).
        head: maps features to embeddings ``(B, d)``.
        modality: resolved preprocessing.
        architecture: how to build it again.
        origin: where the weights come from, in words, for provenance.

    Attributes:
        offset: ``(d,)``, subtracted from every embedding; zero unless the space has been centred. Features behind a
            ReLU lie in a narrow cone, where every cosine similarity is near one; around their mean they spread out.
    """

    offset: Tensor

    def __init__(
        self, backbone: nn.Module, head: nn.Module, modality: Modality, architecture: Architecture, origin: str
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.modality = modality
        self.architecture = architecture
        self.origin = origin
        self.register_buffer("offset", torch.zeros(architecture.width))

    @classmethod
    def from_module(cls, module: nn.Module, modality: Modality, head: nn.Module | None = None) -> Encoder:
        """An encoder from any module that maps ``(B, *modality.shape)`` to ``(B, F)``.

        Args:
            module: the backbone; its weights are used as they are.
            modality: with size, mean and std given (there are no defaults to take them from).
            head: projection; identity by default.

        Raises:
            EncoderError: the module cannot take the modality's shape or does not give ``(B, F)``.
        """
        kind = type(module)
        name = f"{_OWN}{kind.__module__}.{kind.__qualname__}"
        features = output_width(module, modality, name)
        projection = head if head is not None else nn.Identity()
        with torch.no_grad():
            probe = projection.eval()(torch.zeros(2, features))
        architecture = Architecture(
            backbone=name,
            features=features,
            head="none" if head is None else f"python:{type(head).__qualname__}",
            width=int(probe.shape[1]),
        )
        return cls(module, projection, modality, architecture, origin="a module given from Python")

    @property
    def width(self) -> int:
        """Width ``d`` of the embedding."""
        return self.architecture.width

    def features(self, images: Tensor) -> Tensor:
        """Normalised input ``(B, *shape)`` to backbone features ``(B, F)``."""
        return backbone_features(self.backbone, images, self.architecture.backbone)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised input ``(B, *shape)`` to embeddings ``(B, d)``, not unit length."""
        return self.project(self.features(images))

    def project(self, features: Tensor) -> Tensor:
        """Backbone features ``(B, F)`` to embeddings ``(B, d)``."""
        embedded: Tensor = self.head(features)
        return embedded - self.offset


class Teacher:
    """A frozen encoder: eval mode, no gradients, for good.

    It is deliberately no ``nn.Module``: no parent can switch it to training mode, and no optimiser can find its
    parameters.
    """

    def __init__(self, encoder: Encoder, device: torch.device | str = "cpu") -> None:
        self.encoder = encoder.to(device).eval().requires_grad_(False)
        self.device = torch.device(device)

    @property
    def modality(self) -> Modality:
        """Its preprocessing."""
        return self.encoder.modality

    @property
    def width(self) -> int:
        """Width ``d`` of its embeddings."""
        return self.encoder.width

    def embed(self, items: Tensor) -> Tensor:
        """Decoded items ``(B, *shape)`` to embeddings ``(B, d)`` in float32 on the CPU, not unit length."""
        if self.encoder.training:
            raise RuntimeError("the teacher has been switched to training mode from outside")
        with torch.no_grad():
            embedded: Tensor = self.encoder(self.modality.normalise(items.to(self.device)))
        return embedded.float().cpu()

    def fingerprint(self) -> str:
        """Hash of weights, architecture and preprocessing: embeddings with another one must not be mixed."""
        digest = hashlib.sha256(weights_hash(self.encoder).encode())
        digest.update(self.modality.model_dump_json(exclude={"augment_with"}).encode())
        about = self.encoder.architecture
        if about.detail_level is not None:  # no weight tells of it
            digest.update(f"detail {about.detail_level} {about.detail_grid}".encode())
        return digest.hexdigest()


def weights_hash(module: nn.Module) -> str:
    """SHA-256 over the names, shapes, types and bytes of a module's state."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def backbone_features(backbone: nn.Module, items: Tensor, name: str) -> Tensor:
    """Normalised items ``(B, *shape)`` to features ``(B, F)``.

    Backbones by name take pictures: of clips ``(B, T, C, H, W)`` they embed each frame, and the mean over the frames is
    the clip's feature (Temporal Segment Networks, arXiv 1608.00859). Modules of the user's own take items as they are.
    """
    if items.ndim != 5 or name.startswith(_OWN):
        found: Tensor = backbone(items)
        return found
    if torch.is_grad_enabled() or backbone.training:
        frames: Tensor = backbone(items.flatten(0, 1))
        return frames.view(*items.shape[:2], -1).mean(dim=1)
    # No activation has to be kept, so that a clip needs no more memory than a picture.
    return torch.stack([backbone(frame) for frame in items.unbind(1)]).mean(dim=0)


def output_width(backbone: nn.Module, modality: Modality, name: str) -> int:
    """Width ``F`` of a backbone's output, found by running it once on zeros.

    Raises:
        EncoderError: it cannot take this input, or its output is not ``(B, F)``.
    """
    shape = modality.shape
    axes = "width" if len(shape) == 1 else ", ".join(["frames", "channels", "height", "width"][-len(shape) :])
    training = backbone.training
    try:
        with torch.no_grad():
            output = backbone_features(backbone.eval(), torch.zeros(2, *shape), name)
    except Exception as error:  # a backbone may raise anything; whatever it is, the input did not fit
        raise EncoderError(
            "The backbone cannot take input of this size.",
            where=name,
            expected="a size and a number of channels that it was built for",
            received=f"{axes} = {shape}: {str(error).splitlines()[0] if str(error) else error!r}",
            fix="change size or channels in the modality's section (transformers want a multiple of their patch size)",
        ) from error
    finally:
        backbone.train(training)
    if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[0] != 2:
        received = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise EncoderError(
            "The backbone does not give one vector per item.", where=name, expected="(B, F)", received=received
        )
    if not bool(torch.isfinite(output).all()):
        raise EncoderError("The backbone gives values that are not finite.", where=name, received=f"input {shape}")
    return int(output.shape[1])
