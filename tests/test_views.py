"""Augmented pairs: what is registered stays so, and an embedding is used for the very view that it belongs to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossdistill.bank import SourceViews, build_view_bank, teacher_view, view_placements
from crossdistill.encoders import Teacher, load_encoder
from crossdistill.errors import ConfigError, RunFolderError
from crossdistill.modalities.depth import Depth
from crossdistill.modalities.geometry import Geometry, draw_placements, place
from crossdistill.modalities.image import Image
from crossdistill.modalities.image_augment import ImageAugment
from crossdistill.pairs import open_pairs
from crossdistill.pairs.items import Items
from crossdistill.pipeline import run

STILL = Geometry(flip=0, rotate=0, translate=0, scale=(1, 1))


def blobs(count: int, side: int) -> torch.Tensor:
    """The same smooth scenes at any resolution, ``(count, 1, side, side)`` in 0..1."""
    down, right = torch.meshgrid(*[(torch.arange(side) + 0.5) / side] * 2, indexing="ij")
    rng = np.random.default_rng(3)
    return torch.stack(
        [sum(torch.exp(-((down - y) ** 2 + (right - x) ** 2) / 0.02) for x, y in rng.uniform(0.3, 0.7, (3, 2)))[None]
         for _ in range(count)]
    ).float()  # fmt: skip


# --- geometry


def test_each_setting_moves_as_it_says() -> None:
    scene = torch.zeros(1, 1, 32, 32)
    scene[:, :, 4:8, 20:24] = 1
    still = draw_placements(STILL, 3)
    assert torch.allclose(place(scene.expand(3, -1, -1, -1), still), scene.expand(3, -1, -1, -1), atol=1e-6)
    flipped = place(scene, draw_placements(STILL.model_copy(update={"flip": 1.0}), 1))
    assert torch.allclose(flipped, scene.flip(3), atol=1e-5)
    quarter = torch.tensor([[[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]])
    assert torch.allclose(place(scene, quarter), torch.rot90(scene, 1, (2, 3)), atol=1e-5) or torch.allclose(
        place(scene, quarter), torch.rot90(scene, -1, (2, 3)), atol=1e-5
    )
    # Zooming by 2 shows the middle twice as large.
    zoomed = place(scene.roll(10, 2), draw_placements(STILL.model_copy(update={"scale": (2.0, 2.0)}), 1))
    assert float(zoomed.sum()) == pytest.approx(4 * float(scene.sum()), rel=0.05)


@given(st.integers(0, 2**31), st.floats(0, 0.3), st.floats(0, 90), st.booleans())
def test_what_is_drawn_keeps_within_its_ranges(seed: int, translate: float, rotate: float, crop: bool) -> None:
    change = Geometry(rotate=rotate, translate=translate, scale=(0.8, 1.25), crop=(0.5, 1) if crop else None)
    maps = draw_placements(change, 64, torch.Generator().manual_seed(seed))
    assert torch.equal(maps, draw_placements(change, 64, torch.Generator().manual_seed(seed)))
    area = torch.linalg.det(maps[:, :, :2].double()).abs()
    assert bool((area <= 1 / 0.8**2 + 1e-6).all())
    assert bool((area >= (0.5 if crop else 1) / 1.25**2 * (0.75 if crop else 1) - 1e-6).all())
    if not crop:
        assert bool((maps[:, :, 2].abs() <= 2 * translate + 1e-6).all())
        turned = torch.rad2deg(torch.atan2(maps[:, 0, 1], maps[:, 1, 1])).abs()
        assert bool((turned <= rotate + 1e-3).all())


def test_a_placement_does_not_depend_on_resolution() -> None:
    """Registered sides of different sizes stay registered: change and shrink is shrink and change."""
    fine, coarse = blobs(16, 96), blobs(16, 32)
    maps = draw_placements(Geometry(rotate=40, translate=0.15, scale=(0.7, 1.3)), 16, torch.Generator().manual_seed(1))
    shrunk = torch.nn.functional.interpolate(place(fine, maps), 32, mode="area")
    assert float((shrunk - place(coarse, maps)).abs().max()) < 0.02 * float(fine.max())  # of interpolation
    unrelated = draw_placements(Geometry(rotate=40), 16, torch.Generator().manual_seed(2))
    assert float((shrunk - place(coarse, unrelated)).abs().max()) > 0.3


def test_modalities_take_the_same_placement() -> None:
    scenes = blobs(8, 64)
    maps = draw_placements(Geometry(rotate=40, translate=0.15), 8, torch.Generator().manual_seed(1))
    plain = {"flip": 0, "rotate": 0, "translate": 0, "scale": (1, 1)}
    image = Image(size=64, channels=1, augment_with=ImageAugment(**plain, brightness=0, contrast=0))
    depth = Depth.model_validate({"size": 64, "augment": {"gain": 0, "offset": 0, "noise": 0}})
    as_image = image.augment((scenes.clamp(0, 1) * 255).byte(), maps) / 255
    as_depth = depth.augment(scenes.clamp(0, 1).half(), maps)
    assert float((as_image - as_depth).abs().max()) < 0.01
    assert not torch.allclose(as_depth, depth.augment(scenes.half()), atol=0.1)


# --- views


@pytest.fixture
def views_run(tiny: dict[str, Any]) -> dict[str, Any]:
    return {**tiny, "views": {"count": 3, "geometry": "shared"}}


def test_an_embedding_belongs_to_the_view_it_is_used_for(views_run: dict[str, Any]) -> None:
    """Drawn again one by one, every view gives the embedding that the bank holds of it."""
    folder = run(views_run)
    teacher = Teacher(load_encoder(folder.teacher))
    pairs = open_pairs(views_run["pairs"])
    rows = pairs.where("train", has=("source", "target"))
    items = Items.of(pairs, rows, "source", teacher.modality)
    target = load_encoder(folder.student).modality
    placements = view_placements(target.geometry, len(items), 3, 0)
    found = build_view_bank(folder.bank, teacher, items, 3, placements, 0)  # opened: the key is the same
    assert found.shape == (len(rows), 3, teacher.width)
    for number, view in ((0, 0), (5, 2), (len(rows) - 1, 1)):
        again = teacher.embed(teacher_view(teacher, items, number, view, placements, 0)[None])
        assert torch.allclose(again[0], found[number, view], atol=1e-4)
    assert float((found[:, 0] - found[:, 1]).abs().max()) > 1e-3
    # What a step draws is the embedding and the placement of one and the same view.
    assert placements is not None
    views = SourceViews(found, placements, torch.arange(len(rows)), shared=True)
    torch.manual_seed(0)
    some = torch.tensor([3, 3, 7, 7, 7])
    embeddings, placed = views.draw(some)
    assert placed is not None
    for embedding, where, number in zip(embeddings, placed, some.tolist(), strict=True):
        match = [view for view in range(3) if torch.equal(found[number, view], embedding)]
        assert len(match) == 1
        assert torch.equal(placements[number, match[0]], where)


def test_the_report_shows_a_strip_of_augmented_pairs(views_run: dict[str, Any]) -> None:
    folder = run(views_run)
    strip = json.loads(folder.metrics.read_text())["augmentation"]
    assert strip["count"] == 3
    assert strip["geometry"] == "shared"
    assert len(strip["pairs"]) == 6
    for pair in strip["pairs"]:
        for view in pair["views"]:
            assert (folder.pictures / view["source"]).is_file()
            assert (folder.pictures / view["target"]).is_file()
    assert "As the encoders see them in training" in folder.report.read_text()


def test_views_change_training_and_resume_to_the_same(views_run: dict[str, Any], tiny: dict[str, Any]) -> None:
    first = run({**views_run, "out": f"{views_run['out']}-1"})
    again = run({**views_run, "out": f"{views_run['out']}-2"})
    plain = run({**tiny, "out": f"{tiny['out']}-3"})
    assert first.metrics.read_bytes() == again.metrics.read_bytes()
    outcomes = [json.loads(folder.metrics.read_text())["outcomes"][0] for folder in (first, plain)]
    assert outcomes[0] != outcomes[1]


def test_views_of_another_augmentation_are_refused(views_run: dict[str, Any]) -> None:
    folder = run(views_run)
    teacher = Teacher(load_encoder(folder.teacher))
    pairs = open_pairs(views_run["pairs"])
    items = Items.of(pairs, pairs.where("train", has=("source", "target")), "source", teacher.modality)
    placements = view_placements(teacher.modality.geometry, len(items), 3, 1)
    with pytest.raises(RunFolderError, match="another augmentation"):
        build_view_bank(folder.bank, teacher, items, 3, placements, 1)


def test_what_lies_on_no_grid_has_no_shared_geometry(tiny: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"shared geometry(.|\n)*target is audio"):
        run({**tiny, "target": {"modality": "audio"}, "views": {"count": 2, "geometry": "shared"}})
    with pytest.raises(ConfigError, match="count to 1"):
        run({**tiny, "views": {"geometry": "shared"}})
    assert not (tmp_path / "run").exists()
