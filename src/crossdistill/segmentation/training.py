"""Training of a decoder, and of the backbone under it, on labelled masks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from crossdistill import ranks
from crossdistill.encoders import Encoder
from crossdistill.evaluation.segmentation_config import SegmentationConfig
from crossdistill.modalities.geometry import draw_placements, place_labels
from crossdistill.pairs.items import Items
from crossdistill.segmentation.masks import IGNORED
from crossdistill.segmentation.network import Segmenter
from crossdistill.training import TrainConfig
from crossdistill.training.clock import phase
from crossdistill.training.loop import Task, choose_device, fit
from crossdistill.training.precision import autocast


def train_segmenter(
    encoder: Encoder,
    items: Items,
    masks: Tensor,
    classes: int,
    config: SegmentationConfig,
    common: TrainConfig,
    *,
    frozen: bool,
    title: str,
) -> Segmenter:
    """A new decoder over a copy of ``encoder``'s backbone, trained by cross-entropy of each pixel, weighted by
    :func:`class_weights`; in eval mode, on the CPU.

    Items are augmented as in stage 2, and their masks moved with them; what comes in from outside has no class.

    Args:
        encoder: distilled or of random weights; it stays as it is.
        items: target items, ``n`` of them.
        masks: indices of classes, ``(n, H, W)`` in uint8, 255 where there is none.
        classes: number of classes.
        config: of this training.
        common: seed, device and the other settings that all trainings of a run share.
        frozen: whether the backbone stays as it is.
        title: for the progress bar.
    """
    settings = training_settings(config, common, len(items))
    torch.manual_seed(settings.seed)
    model = Segmenter(encoder, config.head, classes, frozen=frozen)
    device = choose_device(settings.device)
    modality, geometry = items.modality, items.modality.geometry
    weights = class_weights(masks, classes, config.balance)

    def prepare(numbers: Tensor, decoded: Tensor) -> tuple[Tensor, ...]:
        wanted = masks[numbers.cpu()].to(device)
        placement = None
        if geometry is not None and geometry.changes:
            placement = draw_placements(geometry, len(numbers))
            wanted = place_labels(wanted, placement.to(device), IGNORED)
        return modality.normalise(modality.augment(decoded, placement)), wanted

    def loss(images: Tensor, wanted: Tensor) -> Tensor:
        with phase("forward"), autocast(settings.precision, device):
            logits = model(images)
        with phase("objective"):
            return pixel_cross_entropy(logits.float(), wanted, weights)

    task = Task(title, model, model, prepare, loss, section="evaluate.segmentation")
    fit(task, items, settings)
    return model.cpu().eval()


def class_weights(masks: Tensor, classes: int, balance: float) -> Tensor:
    """What a pixel of each class counts, ``(classes,)``: its share of the pixels to the power of ``-balance``.

    With 0 all pixels count alike, and few masks that are mostly background teach background; with 1 all classes do
    (balancing by frequency, arXiv 1411.4734). A class without a pixel has the weight 0; the mean over all pixels is 1.

    Args:
        masks: ``(n, H, W)`` in uint8, 255 where there is no class.
        classes: their number.
        balance: from 0 to 1.
    """
    counts = torch.bincount(masks.flatten(), minlength=IGNORED + 1)[:classes].double()
    weights = torch.where(counts > 0, counts.clamp(min=1) ** -balance, 0.0)
    return (weights * counts.sum() / (weights * counts).sum().clamp(min=1e-12)).float()


def pixel_cross_entropy(logits: Tensor, wanted: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy, the mean over all pixels that have a class, of all ranks' items together; 0 where none has.

    A rank's value is such that the mean over the ranks is that of the whole batch.

    Args:
        logits: ``(B, C, H, W)``.
        wanted: ``(B, H, W)``, 255 where there is no class.
        weights: of the classes, ``(C,)``; all 1 by default. The mean is then weighted by them.
    """
    # Pixels as rows: the form for pictures is not repeatable on GPUs.
    rows, numbers = logits.movedim(1, -1).flatten(0, -2), wanted.long().flatten()
    weights = (torch.ones(rows.shape[1]) if weights is None else weights).to(rows)
    total = F.cross_entropy(rows, numbers, weights, ignore_index=IGNORED, reduction="sum")
    counted = ranks.add_up([float(weights[numbers[numbers != IGNORED]].sum())])[0]
    return total * ranks.world() / counted if counted else total


def training_settings(config: SegmentationConfig, common: TrainConfig, items: int) -> TrainConfig:
    """The ``train`` section for a decoder: what is set for the distillation alone does not hold for it."""
    per_epoch = max(1, items // min(config.batch_size, items))
    return common.model_copy(
        update={
            "epochs": max(config.epochs, -(-config.steps // per_epoch)),
            "batch_size": config.batch_size,
            "lr": config.lr,
            "accumulate": 1,
            "monitor_every": 10**9,
            "freeze": (),
            "freeze_epochs": None,
            "resolution": (),
            "layer_decay": None,
            "early_stop": None,
            "keep": "last",
            "ema": None,
            "embed_at_once": None,
            "compile": False,
            "profile": False,
            "parallel": "ddp",
        }
    )


def predict(model: Segmenter, items: Items, device: torch.device) -> Tensor:
    """The likeliest class of each pixel of items in their canonical view, ``(N, H, W)`` in uint8."""
    model = model.to(device).eval()
    found = []
    for start in range(0, len(items), 64):
        images = items.modality.normalise(items.batch(range(start, min(start + 64, len(items)))).to(device))
        with torch.no_grad():
            found.append(model(images).argmax(dim=1).byte().cpu())
    side = items.modality.shape[-2:]
    return torch.cat(found) if found else torch.empty(0, *side, dtype=torch.uint8)
