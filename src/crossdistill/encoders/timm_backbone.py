"""Backbones by timm name, with any number of input channels and, where the architecture allows, any size."""

from __future__ import annotations

from typing import Any

import timm
from timm.layers import resample_abs_pos_embed, resample_patch_embed  # type: ignore[attr-defined]  # not in its __all__
from timm.models import adapt_input_conv
from torch import Tensor, nn

from crossdistill.encoders.vector_backbone import VECTOR_BACKBONES
from crossdistill.encoders.weights import normalise_names
from crossdistill.errors import EncoderError, nearest
from crossdistill.modalities import InputDefaults


def timm_defaults(name: str) -> InputDefaults:
    """What timm says the backbone's weights were trained with.

    Raises:
        EncoderError: timm knows no such backbone.
    """
    if not timm.is_model(name):
        raise EncoderError(
            "Unknown backbone.", expected="a timm model name, or one of ours for vectors", received=name,
            fix=nearest(name, [*timm.list_models(), *VECTOR_BACKBONES]),
        )  # fmt: skip
    config = timm.get_pretrained_cfg(name)
    if config is None:  # an architecture without published weights
        return InputDefaults(size=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), interpolation="bicubic")
    return InputDefaults(
        size=config.input_size[-1], mean=config.mean, std=config.std, interpolation=config.interpolation
    )


def build_timm_backbone(
    name: str, channels: int, size: tuple[int, int], *, pretrained: bool = False, patch_size: int | None = None
) -> nn.Module:
    """A timm backbone that ends in pooled features.

    Args:
        name: timm name, with or without a tag (``resnet18.a1_in1k``).
        channels: of the input.
        size: height and width of the input; passed to architectures that are built for one size.
        pretrained: whether to fetch timm's weights.
        patch_size: of a transformer's patches, in pixels; what its name says by default. Weights are resampled.

    Raises:
        EncoderError: unknown name, a size it cannot be built for, or weights that cannot be fetched.
    """
    config = timm.get_pretrained_cfg(name)
    side = size[0] if size[0] == size[1] else size
    options: dict[str, Any] = {"img_size": side} if config is not None and config.fixed_input_size else {}
    if patch_size is not None:
        options["patch_size"] = patch_size
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0, in_chans=channels, **options)
    except Exception as error:  # timm, its hub client and the network raise many kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if pretrained:
            raise EncoderError(
                "The pretrained weights cannot be fetched.",
                where=name,
                expected="a network, or weights that an earlier download has cached",
                received=reason,
                fix="give a local file: weights: PATH.safetensors",
            ) from error
        raise EncoderError("The backbone cannot be built.", where=f"{name} at size {side}", received=reason) from error
    return model


def load_backbone_state(model: nn.Module, state: dict[str, Tensor], *, name: str, origin: str) -> None:
    """Loads a state dict into a backbone, adapting the first layer to its channels and positions to its size.

    Classifier weights are left out; anything else must match by name and shape.

    Raises:
        EncoderError: keys are missing, unknown or of another shape.
    """
    wanted = model.state_dict()
    state = normalise_names(state, wanted)
    config: dict[str, Any] = getattr(model, "default_cfg", None) or {}
    state = {key: value for key, value in state.items() if not _belongs_to(key, config.get("classifier"))}
    first = config.get("first_conv")
    for stem in (first,) if isinstance(first, str) else (first or ()):
        key = f"{stem}.weight"
        if key in state and key in wanted:
            state[key] = _for_channels(state[key], wanted[key].shape[1])
    key = "patch_embed.proj.weight"
    if key in state and key in wanted and state[key].shape[2:] != wanted[key].shape[2:]:
        state[key] = resample_patch_embed(state[key], list(wanted[key].shape[2:]))  # FlexiViT, arXiv 2212.08013
    key = "pos_embed"
    if key in state and key in wanted and state[key].shape[1] != wanted[key].shape[1]:
        state[key] = _for_size(state[key], model)
    missing = sorted(wanted.keys() - state.keys())
    unknown = sorted(state.keys() - wanted.keys())
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in sorted(wanted.keys() & state.keys())
        if state[key].shape != wanted[key].shape
    ]
    problems = [
        f"{len(found)} {what}: {', '.join(found[:3])}{', ...' if len(found) > 3 else ''}"
        for what, found in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
        if found
    ]
    if problems:
        raise EncoderError(
            "The weights do not fit the backbone.",
            where=f"{origin} into {name}",
            expected=f"the {len(wanted)} tensors of {name}",
            received="; ".join(problems),
            fix="name the backbone that the weights were trained with",
        )
    model.load_state_dict(state, strict=True)


def _for_channels(weight: Tensor, channels: int) -> Tensor:
    """A first layer's weight ``(O, C, h, w)`` for other channels: summed into one, or repeated (Wightman, timm)."""
    given = weight.shape[1]
    if given == channels:
        return weight
    if given == 3:
        adapted: Tensor = adapt_input_conv(channels, weight)
        return adapted
    if given == 1:
        return weight.expand(-1, channels, -1, -1) / channels
    return weight.sum(dim=1, keepdim=True) if channels == 1 else weight  # refused by its shape


def _for_size(positions: Tensor, model: nn.Module) -> Tensor:
    """A transformer's position embeddings ``(1, tokens, width)`` for the grid of ``model``."""
    patches = getattr(model, "patch_embed", None)
    prefix = getattr(model, "num_prefix_tokens", None)
    grid = getattr(patches, "grid_size", None)
    if grid is None or prefix is None or getattr(model, "no_embed_class", False):
        return positions  # refused by its shape
    resampled: Tensor = resample_abs_pos_embed(positions, list(grid), num_prefix_tokens=prefix)
    return resampled


def _belongs_to(key: str, classifier: str | tuple[str, ...] | None) -> bool:
    prefixes = (classifier,) if isinstance(classifier, str) else (classifier or ())
    return any(key.startswith(f"{prefix}.") for prefix in prefixes)
