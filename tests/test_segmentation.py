"""Segmentation: masks and what is wrong with them, decoders, the measures against others, and a whole run."""

from __future__ import annotations

import builtins
import copy
import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from sklearn.metrics import accuracy_score, jaccard_score
from torch import nn

from crossdistill.encoders import Encoder, StudentConfig, build_student, chosen_levels, feature_maps
from crossdistill.errors import ConfigError, EncoderError, MissingDependencyError, PairsError
from crossdistill.evaluation.config import EvaluateConfig
from crossdistill.evaluation.intervals import difference
from crossdistill.evaluation.preflight import applicable
from crossdistill.evaluation.segmentation_config import SegmentationConfig
from crossdistill.files import read_json
from crossdistill.modalities import parse_modality
from crossdistill.modalities.geometry import Geometry, draw_placements, place, place_labels
from crossdistill.pairs import Pair, Pairs, open_pairs
from crossdistill.pairs.items import Items
from crossdistill.pipeline import evaluate, run
from crossdistill.pipeline.outcomes import read_outcomes
from crossdistill.pipeline.segmenting import palette
from crossdistill.segmentation import (
    Classes,
    MaskReader,
    Segmenter,
    build_head,
    check_masks,
    predict,
    read_mask,
    train_segmenter,
)
from crossdistill.segmentation.few import few_masks
from crossdistill.segmentation.masks import read_masks
from crossdistill.segmentation.measuring import class_iou, mean_iou, overlaps, pixel_accuracy, present
from crossdistill.segmentation.training import class_weights, pixel_cross_entropy
from crossdistill.training import TrainConfig

SIDE = 32
CLASSES = ("ground", "disc", "square")


def scene(rng: np.random.Generator) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A disc and a square of different grey on a dark ground, and its mask."""
    y, x = np.mgrid[:SIDE, :SIDE]
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    picture = rng.uniform(20, 60) + rng.normal(0, 4, (SIDE, SIDE))
    for number, grey in ((1, 140), (2, 210)):
        cx, cy, radius = *rng.uniform(8, SIDE - 8, 2), rng.uniform(5, 8)
        here = np.hypot(x - cx, y - cy) < radius if number == 1 else np.maximum(abs(x - cx), abs(y - cy)) < radius
        mask[here], picture[here] = number, grey + rng.normal(0, 12)
    mask[:1] = 255  # a sensor's edge that nobody labelled
    return picture.clip(0, 255).astype(np.uint8), mask


def write_scenes(folder: Path, count: int = 40) -> Path:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        picture, mask = scene(rng)
        names = [f"{column}/{number}.png" for column in ("source", "target", "mask")]
        colour = np.stack([picture, 255 - picture, picture], axis=2)
        for name, content in zip(names, (colour, picture, mask), strict=True):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Pillow.fromarray(content).save(folder / name)
        split = "test" if number % 4 == 3 else "val" if number % 10 == 0 else "train"
        rows.append([*names[:2], "", split, f"{split} {number // 2}", names[2]])
    with (folder / "pairs.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["source", "target", "label", "split", "group", "mask"], *rows])
    names_of = {str(number): name for number, name in enumerate(CLASSES)}
    (folder / "mask_classes.json").write_text(json.dumps({**names_of, "255": "unlabelled"}))
    return folder / "pairs.csv"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes"))


def target(size: int = SIDE, **settings: Any) -> Any:
    return parse_modality({"modality": "image", "size": size, "channels": 1, "mean": [0.4], "std": [0.3],
                           "interpolation": "bilinear", **settings})  # fmt: skip


def student(name: str = "test_resnet", size: int = SIDE) -> Encoder:
    torch.manual_seed(0)
    return build_student(StudentConfig(backbone=name), target(size), 8)


# --- Masks ---------------------------------------------------------------------------------------------------------


def test_masks_are_read_as_they_are_stored(tmp_path: Path) -> None:
    numbers = np.array([[0, 1, 2], [3, 255, 7]])
    Pillow.fromarray(numbers.astype(np.uint8)).save(tmp_path / "grey.png")
    palette_picture = Pillow.fromarray(numbers.astype(np.uint8)).convert("P")
    palette_picture.putdata(numbers.reshape(-1).tolist())
    palette_picture.save(tmp_path / "palette.png")
    Pillow.fromarray((numbers * 100).astype(np.uint16)).save(tmp_path / "deep.png")
    Pillow.fromarray(numbers.astype(bool)).save(tmp_path / "bits.png")
    np.save(tmp_path / "array.npy", numbers.astype(np.float32))
    for name, expected in (("grey.png", numbers), ("palette.png", numbers), ("deep.png", numbers * 100),
                           ("bits.png", numbers > 0), ("array.npy", numbers)):  # fmt: skip
        np.testing.assert_array_equal(read_mask(tmp_path / name), expected)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (np.zeros((4, 4, 3), np.uint8), "holds no class numbers"),
        (np.full((4, 4), 0.5, np.float32), "not whole"),
        (np.full((4, 4), -1, np.int16), "numbers of no class"),
        (b"no picture", "cannot be read"),
        (None, "missing"),
    ],
)
def test_what_is_no_mask_is_told(tmp_path: Path, content: Any, words: str) -> None:
    path = tmp_path / ("mask.npy" if isinstance(content, np.ndarray) else "mask.png")
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(PairsError, match=words) as caught:
        read_mask(path)
    assert str(path) in str(caught.value)


def altered(scenes: Path, tmp_path: Path, change: Any) -> Pairs:
    """The scenes with another mask in row 3 (the first row is row 2)."""
    pairs = open_pairs(str(scenes))
    wrong = tmp_path / "mask.png"
    change(wrong)
    rows = [Pair(source=p.source, target=p.target, label=p.label, split=p.split, group=p.group, where=p.where,
                 mask=wrong if n == 1 else p.mask) for n, p in enumerate(pairs)]  # fmt: skip
    return pairs.with_rows(rows)


def test_wrong_masks_are_refused_with_row_and_file(scenes: Path, tmp_path: Path) -> None:
    def refused(content: np.ndarray[Any, Any] | None, error: type[Exception], **settings: Any) -> str:
        def write(path: Path) -> None:
            path.write_bytes(b"broken") if content is None else Pillow.fromarray(content).save(path)

        pairs = altered(scenes, tmp_path, write)
        (tmp_path / "mask_classes.json").unlink(missing_ok=True)
        with pytest.raises(error) as caught:
            check_masks(pairs, target(), SegmentationConfig(**settings))
        return str(caught.value)

    for text in (
        refused(None, PairsError),
        refused(np.zeros((SIDE, 2 * SIDE), np.uint8), PairsError),
        refused(np.full((SIDE, SIDE), 9, np.uint8), PairsError, classes=3),
    ):
        assert "pairs.csv, row 3" in text
        assert "mask.png" in text
    assert "A mask has a number that is no class." in text
    assert "0 to 2, as evaluate.segmentation.classes says, or 255" in text
    assert "received: 9" in text
    assert "other proportions" in refused(np.zeros((SIDE, 2 * SIDE), np.uint8), PairsError)
    assert "fewer than two" in refused(np.zeros((SIDE, SIDE), np.uint8), ConfigError, ignore=[1, 2, 255])
    # A coarser mask of the same part of the scene is no mistake.
    half = altered(scenes, tmp_path, lambda path: Pillow.fromarray(np.zeros((16, 16), np.uint8)).save(path))
    assert check_masks(half, target(), SegmentationConfig()).names == CLASSES


def test_classes_come_from_the_file_the_setting_or_the_masks(scenes: Path, tmp_path: Path) -> None:
    pairs = open_pairs(str(scenes))
    assert check_masks(pairs, target(), SegmentationConfig()).names == CLASSES
    named = check_masks(pairs, target(), SegmentationConfig(classes=["a", "b", "c", "d"]))
    assert (named.names, named.numbers) == (("a", "b", "c", "d"), (0, 1, 2, 3))
    without = check_masks(pairs, target(), SegmentationConfig(ignore=[0, 255]))
    assert (without.names, without.numbers) == (("disc", "square"), (1, 2))
    assert without.indices(np.array([[0, 1], [2, 255]]), "here").tolist() == [[255, 0], [1, 255]]
    elsewhere = write_scenes(tmp_path / "scenes", 8)
    (tmp_path / "scenes" / "mask_classes.json").unlink()
    found = check_masks(open_pairs(str(elsewhere)), target(), SegmentationConfig())
    assert found.names == ("class 0", "class 1", "class 2")
    (tmp_path / "scenes" / "mask_classes.json").write_text('["ground"]')
    with pytest.raises(PairsError, match="no mapping"):
        check_masks(open_pairs(str(elsewhere)), target(), SegmentationConfig())


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_masks_are_brought_to_size_as_their_targets_are(tmp_path: Path, fit: str) -> None:
    """The target shows its own mask: where both are brought to size alike, they stay one picture."""
    mask = np.zeros((60, 100), np.uint8)
    mask[20:50, 30:80] = 1
    Pillow.fromarray(mask * 200).save(tmp_path / "target.png")
    Pillow.fromarray(mask).save(tmp_path / "mask.png")
    pair = Pair(source=tmp_path / "target.png", target=tmp_path / "target.png", mask=tmp_path / "mask.png")
    modality = target(32, fit=fit)
    reader = MaskReader(Pairs((pair,)), [0], modality, Classes((0, 1), ("a", "b"), (), "test"))
    found = read_masks(reader)[0].numpy()
    shown = modality.decode(tmp_path / "target.png")[0].numpy()
    inside = found != 255
    assert inside.mean() == pytest.approx(0.6 if fit == "pad" else 1.0, abs=0.04)
    clear = inside & ((shown < 40) | (shown > 160))
    assert ((shown > 100) == (found == 1))[clear].all()
    assert clear.sum() > 0.8 * inside.sum()


def test_masks_move_with_their_items() -> None:
    torch.manual_seed(0)
    masks = torch.randint(0, 3, (5, 8, 8), dtype=torch.uint8).repeat_interleave(8, 1).repeat_interleave(8, 2)
    placements = draw_placements(Geometry(rotate=30, translate=0.3), 5)
    moved = place_labels(masks, placements, 255)
    assert moved.dtype == torch.uint8
    assert (moved == 255).any()
    for number in range(3):  # a class's share of a pixel, where it is whole, is its label
        share = place((masks == number).float()[:, None] * 2 - 1, placements)[:, 0]
        inside = moved != 255
        assert (moved == number)[inside & (share > 0.999)].all()
        assert not (moved == number)[inside & (share < -0.999)].any()
    flip = torch.tensor([[-1.0, 0, 0], [0, 1, 0]]).expand(5, 2, 3)
    assert torch.equal(place_labels(masks, flip, 255), masks.flip(2))


def test_few_masks_are_of_many_groups_and_nested() -> None:
    groups = np.repeat(np.arange(10), 4)
    ten, twelve = few_masks(groups, 10, 0, 3), few_masks(groups, 12, 0, 3)
    assert sorted(groups[ten]) == list(range(10))
    assert set(ten) < set(twelve)
    assert np.array_equal(ten, few_masks(groups, 10, 0, 3))
    assert not np.array_equal(ten, few_masks(groups, 10, 1, 3))
    assert np.array_equal(few_masks(groups, "all", 5, 3), np.arange(40))


# --- Networks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet", "test_vit"])
@pytest.mark.parametrize("head", ["light", "unet", "fpn"])
def test_every_decoder_goes_over_every_backbone(name: str, head: Any) -> None:
    if head != "light":
        pytest.importorskip("segmentation_models_pytorch")
    encoder = student(name)
    items = torch.randn(2, 1, SIDE, SIDE)
    with torch.no_grad():
        expected = feature_maps(encoder.eval().backbone, items, chosen_levels(encoder))
    tuned, frozen = (Segmenter(encoder, head, 5, frozen=still) for still in (False, True))
    with torch.no_grad():  # the weights are those of the encoder
        for one, other in zip(feature_maps(tuned.eval().backbone, items, tuned.levels), expected, strict=True):
            assert torch.equal(one, other)
    for model in (tuned, frozen):
        logits = model.train()(items)
        assert logits.shape == (2, 5, SIDE, SIDE)
        logits.sum().backward()
    # DDP needs a gradient of everything that is trained.
    assert all(value.grad is not None for value in tuned.parameters())
    assert all(value.grad is None for value in frozen.backbone.parameters())
    assert not any(module.training for module in frozen.backbone.modules())


def test_a_picture_of_any_side_goes_through() -> None:
    pytest.importorskip("segmentation_models_pytorch")
    for head in ("light", "unet", "fpn"):
        assert Segmenter(student(size=72), head, 3, frozen=True)(torch.randn(2, 1, 72, 72)).shape == (2, 3, 72, 72)


def test_what_has_no_maps_or_no_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = Encoder.from_module(nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 4)), target())
    with pytest.raises(EncoderError, match="no feature maps"):
        Segmenter(bare, "light", 3, frozen=True)
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("segmentation_models_pytorch"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingDependencyError, match=r"segmentation-models-pytorch") as caught:
        build_head("unet", chosen_levels(student()), 1, 3)
    assert "pip install 'crossdistill[segmentation]'" in str(caught.value)


def test_the_loss_is_the_mean_over_pixels_with_a_class() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    wanted = torch.randint(0, 3, (2, 4, 5), dtype=torch.uint8)
    wanted[0, 1:3] = 255
    loss = pixel_cross_entropy(logits, wanted)
    ours = torch.autograd.grad(loss, logits)[0]
    terms, plain = [], logits.detach().clone().requires_grad_()
    for item in range(2):
        for row in range(4):
            for column in range(5):
                number = int(wanted[item, row, column])
                if number != 255:
                    scores = plain[item, :, row, column]
                    terms.append(scores.exp().sum().log() - scores[number])
    expected = sum(terms) / len(terms)
    assert isinstance(expected, torch.Tensor)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours, torch.autograd.grad(expected, plain)[0])
    assert float(pixel_cross_entropy(logits, torch.full_like(wanted, 255)).detach()) == 0.0


def test_rare_classes_count_as_much_as_balance_says() -> None:
    masks = torch.zeros(2, 4, 4, dtype=torch.uint8)  # 16 pixels of class 0, 4 of class 1, 0 of class 2, 12 of none
    masks[1] = 255
    masks[1, 0] = 1
    torch.testing.assert_close(class_weights(masks, 3, 0.0), torch.tensor([1.0, 1.0, 0.0]))
    torch.testing.assert_close(class_weights(masks, 3, 1.0), torch.tensor([20 / 32, 20 / 8, 0.0]))
    half = class_weights(masks, 3, 0.5)
    assert half[1] / half[0] == pytest.approx(2.0)  # four times as rare, to the power of a half
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    one, other = (torch.nn.functional.cross_entropy(logits, torch.where(masks == number, number, 255).long(),
                                                    ignore_index=255) for number in (0, 1))  # fmt: skip
    torch.testing.assert_close(pixel_cross_entropy(logits, masks, class_weights(masks, 3, 1.0)), (one + other) / 2)


def test_the_measures_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, groups = rng.integers(0, 4, (6, 9, 9)).astype(np.uint8), np.array([0, 0, 1, 2, 3, 4])
    truth[rng.random(truth.shape) < 0.2] = 255
    draws = [rng.integers(0, 6, truth.shape).astype(np.uint8) for _ in range(3)]  # classes 4, 5: only predicted
    there = present(truth, 6)
    assert there.tolist() == [True] * 4 + [False] * 2
    counted = [overlaps(each, truth, 6) for each in draws]
    valid = truth != 255
    every = [jaccard_score(truth[valid], each[valid], labels=range(4), average=None) for each in draws]
    right = [accuracy_score(truth[valid], each[valid]) for each in draws]
    one = mean_iou(counted[:1], there, groups)
    assert one.value == pytest.approx(every[0].mean())
    mean = mean_iou(counted, there, groups)
    assert (mean.value, mean.draws) == (pytest.approx(np.mean(every)), 3)
    assert mean.low < min(mean.value, one.value)
    assert class_iou(counted, 2, groups).value == pytest.approx(np.mean([each[2] for each in every]))
    assert pixel_accuracy(counted, groups).value == pytest.approx(np.mean(right))
    assert one.low <= one.value <= one.high
    changed = difference(one, mean_iou(counted[1:2], there, groups))
    assert changed.value == pytest.approx(every[0].mean() - every[1].mean())


def test_a_decoder_learns_and_is_the_same_twice(scenes: Path) -> None:
    pairs, encoder = open_pairs(str(scenes)), student()
    rows = [row for row, pair in enumerate(pairs) if pair.split == "train"]
    classes = check_masks(pairs, target(), SegmentationConfig())
    items = Items.of(pairs, rows, "target", encoder.modality)
    masks = read_masks(MaskReader(pairs, rows, encoder.modality, classes))
    config = SegmentationConfig(epochs=1, steps=30, batch_size=8, lr=1e-2)
    before = copy.deepcopy(encoder.state_dict())
    models = [
        train_segmenter(encoder, items, masks, 3, config, TrainConfig(device="cpu"), frozen=frozen, title="masks")
        for frozen in (True, True, False)
    ]
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    first, second, tuned = (predict(model, items, torch.device("cpu")) for model in models)
    assert torch.equal(first, second)
    for found in (first, tuned):
        counted = overlaps(found.numpy(), masks.numpy(), 3)
        assert mean_iou([counted], np.array([True] * 3), np.arange(len(rows))).value > 0.6
    assert torch.equal(models[0].backbone.conv1[0].weight, encoder.backbone.conv1[0].weight)  # type: ignore[index,union-attr]
    assert not torch.equal(models[2].backbone.conv1[0].weight, encoder.backbone.conv1[0].weight)  # type: ignore[index,union-attr]


def test_colours_differ() -> None:
    assert len({tuple(each) for each in palette(60).tolist()}) == 60


# --- Runs ----------------------------------------------------------------------------------------------------------


def config(scenes: Path, out: Path, **segmentation: Any) -> dict[str, Any]:
    return {
        "pairs": str(scenes),
        "source": {"modality": "image", "size": SIDE},
        "target": {"modality": "image", "size": SIDE, "channels": 1},
        "teacher": {"backbone": "test_resnet", "weights": "random"},
        "student": {"backbone": "test_resnet"},
        "objective": {"name": "l2"},
        "train": {"epochs": 2, "batch_size": 8},
        "evaluate": {
            "protocols": ["retrieval", "segmentation"],
            "segmentation": {"masks": [4, "all"], "draws": 2, "epochs": 1, "steps": 8, "batch_size": 8, "lr": 1e-2,
                             "pictures": 2, **segmentation},
        },
        "out": str(out),
    }  # fmt: skip


@pytest.fixture(scope="module")
def finished(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(config(scenes, tmp_path_factory.mktemp("segmented") / "run")).root


def test_a_run_measures_every_subject_under_the_same_decoder(finished: Path) -> None:
    metrics = read_json(finished / "metrics.json")
    found = {outcome["name"]: outcome["metrics"] for outcome in metrics["outcomes"]}
    skipped = {outcome["name"]: outcome["skipped"].get("segmentation") for outcome in metrics["outcomes"]}
    frozen = {f"{kind}_frozen{count}" for kind in ("miou", "pixel_accuracy") for count in ("", "_4_masks")}
    tuned = {name.replace("frozen", "tuned") for name in frozen}
    assert {name for name in found["l2"] if "miou" in name or "pixel" in name} == frozen | tuned
    assert {name for name in found["random_student"] if "miou" in name or "pixel" in name} == frozen
    assert set(found["supervised"]) == tuned  # there are no labels, so that it has nothing else
    assert "supervised" in skipped["random_student"]
    assert found["l2"]["miou_tuned_4_masks"]["draws"] == 2
    assert found["l2"]["miou_tuned"]["value"] > 0.5
    compared = {(line["second"], line["metric"]) for line in metrics["comparisons"]}
    assert {("random_student", "miou_frozen"), ("supervised", "miou_tuned_4_masks")} <= compared
    # The items' parts lie in the run folder: the same difference can be had from there.
    kept = read_outcomes(finished / "outcomes.safetensors")
    parts = kept["l2"]["miou_frozen"].parts
    assert parts is not None
    sums = parts.sum(axis=0)
    assert (sums[:, 0] / sums[:, 1]).mean() == pytest.approx(found["l2"]["miou_frozen"]["value"], abs=1e-5)
    section = metrics["segmentation"]
    assert [each["name"] for each in section["classes"]] == list(CLASSES)
    assert section["masks"] == {"train": 26, "test": 10}
    mean = np.mean([each["value"] for each in section["by_class"]["l2"]["miou_frozen"]])
    assert mean == pytest.approx(found["l2"]["miou_frozen"]["value"], abs=1e-4)


def test_the_report_shows_masks_classes_and_curve(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    section = page[page.index("<h2>Segmentation") :]
    section = section[: section.index("</section>")]
    assert section.count("data:image/png") == 2 * (2 + 4)  # target, truth, frozen and tuned
    for name in (*CLASSES, "random_student", "supervised"):
        assert name in section
    assert "labelled masks" in section
    assert re.search(r"n = 10", page)


def test_other_settings_need_no_other_distillation(finished: Path) -> None:
    evaluate(finished, ["evaluate.segmentation={masks: [6], frozen: true, steps: 4, epochs: 1, pictures: 0}",
                        "evaluate.controls=[]", "evaluate.protocols=[segmentation]"])  # fmt: skip
    found = read_json(finished / "metrics.json")
    assert set(found["outcomes"][0]["metrics"]) == {"miou_frozen_6_masks", "pixel_accuracy_frozen_6_masks"}
    assert found["segmentation"]["pictures"]["items"] == []


def test_a_distilled_student_beats_the_random_one(scenes: Path, tmp_path: Path) -> None:
    """The teacher is trained on the classes of pixels, so that there is something to hand on."""
    pairs = open_pairs(str(scenes))
    torch.manual_seed(0)
    modality = parse_modality({"modality": "image", "size": SIDE, "mean": [0.4] * 3, "std": [0.3] * 3,
                               "interpolation": "bilinear"})  # fmt: skip
    teacher = build_student(StudentConfig(backbone="test_resnet", head="none"), modality, 96)
    rows = [row for row, pair in enumerate(pairs) if pair.split == "train"]
    classes = check_masks(pairs, target(), SegmentationConfig())
    items = Items.of(pairs, rows, "source", modality)
    masks = read_masks(MaskReader(pairs, rows, modality, classes))
    taught = train_segmenter(teacher, items, masks, 3, SegmentationConfig(steps=100, epochs=1, batch_size=8, lr=5e-3),
                             TrainConfig(device="cpu"), frozen=False, title="teacher")  # fmt: skip
    teacher.backbone.load_state_dict(taught.backbone.state_dict())
    content = config(scenes, tmp_path / "run", masks=["all"], frozen=True, steps=10, pictures=0)
    content["train"] = {"epochs": 30, "batch_size": 26, "lr": 5e-3, "monitor_every": 30}
    content["dense"] = {"weight": 1.0, "cells": 16, "level": -2}
    content["evaluate"] = {**content["evaluate"], "protocols": ["segmentation"], "controls": ["random_student"]}
    content.pop("teacher"), content.pop("source")
    folder = run(content, teacher=teacher)
    metrics = read_json(folder.metrics)
    values = {each["name"]: each["metrics"]["miou_frozen"]["value"] for each in metrics["outcomes"]}
    assert values["l2"] > values["random_student"] + 0.03, values
    line = next(each for each in metrics["comparisons"] if each["metric"] == "miou_frozen")
    assert line["difference"]["low"] > 0, line


def test_what_the_pairs_cannot_bear_is_left_out_or_refused(scenes: Path, manifest: Path) -> None:
    asked = EvaluateConfig.model_validate({"protocols": ["retrieval", "segmentation", "knn"]})
    kept, left_out = applicable(open_pairs({"manifest": str(manifest), "split": {"test": 0.3}}), asked)
    assert left_out == {"segmentation": "the pairs have no masks"}
    assert "segmentation" not in kept.protocols
    kept, left_out = applicable(open_pairs(str(scenes)), asked)
    assert kept.protocols == ["retrieval", "segmentation"]
    assert "supervised" in kept.controls  # masks are labels
    many = EvaluateConfig.model_validate({"protocols": ["segmentation"], "segmentation": {"masks": [10, 50]}})
    with pytest.raises(PairsError, match="too few masks") as caught:
        applicable(open_pairs(str(scenes)), many)
    assert "50 target items" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            {"student": {"backbone": "mlp_8x1"}, "target": {"modality": "embedding", "width": SIDE * SIDE}},
            Exception,
            "",
        ),
        ({"evaluate": {"segmentation": {"masks": []}}}, ConfigError, "masks is empty"),
        ({"evaluate": {"segmentation": {"masks": [1]}}}, ConfigError, "2 or more"),
        ({"evaluate": {"segmentation": {"head": "segformer"}}}, ConfigError, "light"),
        ({"evaluate": {"segmentation": {"classes": 1}}}, ConfigError, "2 to 254"),
    ],
)
def test_wrong_settings_are_refused(
    scenes: Path, tmp_path: Path, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        run({**config(scenes, tmp_path / "run"), **change})
    assert words in str(caught.value)
    assert not (tmp_path / "run").exists()
