"""Dense distillation: against a reference in plain loops, the bank of maps, resumed runs, refusals."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

from crossdistill.bank.inspection import describe_bank, verify_bank
from crossdistill.bank.maps import TeacherMaps, build_map_bank
from crossdistill.encoders import (
    Encoder,
    StudentConfig,
    Teacher,
    TeacherConfig,
    build_student,
    build_teacher,
    feature_maps,
    features_and_map,
    levels_of,
)
from crossdistill.errors import ConfigError, RunFolderError, StoppedError
from crossdistill.files import read_json
from crossdistill.modalities import parse_modality
from crossdistill.modalities.geometry import Geometry, draw_placements, place
from crossdistill.objectives import CMC, L2, Objective
from crossdistill.pairs.items import Items
from crossdistill.pipeline import run
from crossdistill.pipeline.banking import build_teacher_bank
from crossdistill.training import TrainConfig, distil
from crossdistill.training.dense import Cells, DenseTerm, source_places

NAMES = ["test_resnet", "test_convnext", "test_efficientnet", "test_vit"]


def encoder(name: str = "test_resnet", size: int = 64, width: int = 8, **settings: Any) -> Encoder:
    torch.manual_seed(0)
    modality = parse_modality({"modality": "image", "size": size, "mean": [0.5] * 3, "std": [0.25] * 3, **settings})
    return build_student(StudentConfig(backbone=name), modality, width).eval()


def images(count: int, size: int = 64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_the_map_on_the_way_changes_no_feature(name: str) -> None:
    student = encoder(name)
    items = student.modality.normalise(images(2))
    with torch.no_grad():
        features, found = features_and_map(student.backbone, items, levels_of(student)[-1])
        assert torch.equal(features, student.features(items))
        assert torch.equal(found, feature_maps(student.backbone, items, levels_of(student)[-1:])[0])
    assert found.shape[1] == levels_of(student)[-1].channels


def maps_of(count: int, grid: tuple[int, int], width: int, centred: bool = True) -> TeacherMaps:
    generator = torch.Generator().manual_seed(1)
    cells = torch.randn(count, *grid, width, generator=generator)
    maps = TeacherMaps(cells, torch.tensor([0, 1, 1, 2, 3][:count]), None)
    return maps.centred() if centred else maps


def test_maps_are_read_between_cells_as_grids_are() -> None:
    maps = maps_of(5, (3, 5), 4, centred=False)
    pairs = torch.tensor([2, 0, 4])
    places = torch.rand(3, 11, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = F.grid_sample(
        maps.cells[maps.item[pairs]].permute(0, 3, 1, 2), places[:, None], padding_mode="border", align_corners=False
    )[:, :, 0].transpose(1, 2)
    torch.testing.assert_close(maps.at(pairs, places), expected)
    # At the centres of the cells there is nothing to interpolate.
    own = maps.at(pairs, source_places((3, 5), 3, None))
    torch.testing.assert_close(own, maps.cells[maps.item[pairs]].flatten(1, 2))
    assert maps.nearest(source_places((3, 5), 2, None)).tolist() == [list(range(15))] * 2


def test_the_centre_is_the_mean_of_all_cells() -> None:
    maps = maps_of(5, (3, 2), 4)
    assert maps.centre is not None
    np.testing.assert_allclose(maps.centre, maps.cells.numpy().reshape(-1, 4).mean(axis=0), atol=1e-6)
    middle = torch.tensor([3]), torch.zeros(1, 1, 2)
    assert torch.equal(maps.at(*middle), TeacherMaps(maps.cells, maps.item, None).at(*middle) - maps.centre)


def test_a_cell_of_a_moved_target_is_looked_up_where_it_came_from() -> None:
    """A picture whose colour is its own place: what the moved picture shows in a cell is where it says it came from."""
    side = 64
    axis = (2 * torch.arange(side) + 1) / side - 1
    picture = torch.stack([axis.expand(side, side), axis[:, None].expand(side, side)])[None].repeat(6, 1, 1, 1)
    torch.manual_seed(3)
    placements = draw_placements(Geometry(crop=(0.5, 0.9)), 6)
    moved = place(picture, placements)
    places = source_places((8, 8), 6, placements).view(6, 8, 8, 2)
    centres = F.avg_pool2d(moved, 8)  # the colour is linear in the place, so that means are values at centres
    inside = (places.abs() < 0.75).all(dim=-1)
    assert inside.sum() > 100
    torch.testing.assert_close(centres.permute(0, 2, 3, 1)[inside], places[inside], atol=2e-3, rtol=0)


class Rows(Objective):
    """Keeps what it is given."""

    def loss(self, batch: Any) -> Tensor:
        self.seen = batch
        total: Tensor = (batch.student * batch.teacher).sum()
        return total


@pytest.mark.parametrize("objective", [CMC(temperature=0.5), L2(normalise=False)])
@pytest.mark.parametrize("moved", [False, True])
def test_the_dense_loss_and_its_gradients_are_those_of_plain_loops(objective: Objective, moved: bool) -> None:
    student, maps = encoder(), maps_of(5, (3, 2), 6)
    level = levels_of(student)[-2]
    torch.manual_seed(5)
    term = DenseTerm(student, maps, level, objective, weight=0.7, count=9).double()
    pairs, ids = torch.tensor([1, 4, 2]), torch.tensor([10, 11, 10])
    placement = draw_placements(Geometry(translate=0.5), 3) if moved else None
    cells = term.draw(pairs, ids, placement)
    assert cells.numbers.shape == (3, 9)
    found = torch.randn(3, level.channels, *term.grid, dtype=torch.float64, requires_grad=True)
    loss = term.loss(found, Cells(cells.numbers, cells.teacher.double(), cells.ids, cells.inside))
    ours = torch.autograd.grad(loss, [found, term.project.weight, term.project.bias])

    weight, bias = (each.detach().clone().requires_grad_() for each in (term.project.weight, term.project.bias))
    height, width = term.grid
    ours_rows, theirs_rows, row_ids = [], [], []
    for item in range(3):
        for place_number, number in enumerate(cells.numbers[item].tolist()):
            row, column = divmod(number, width)
            x, y = (2 * column + 1) / width - 1, (2 * row + 1) / height - 1
            if placement is not None:
                x, y = (float(placement[item, axis] @ torch.tensor([x, y, 1.0])) for axis in range(2))
            inside = abs(x) <= 1 and abs(y) <= 1
            assert inside == bool(cells.inside[item, place_number])
            if not inside:
                continue
            source = maps.cells[maps.item[pairs[item]]].double()
            across, down = ((x + 1) * 2 - 1) / 2, ((y + 1) * 3 - 1) / 2
            value = torch.zeros(6, dtype=torch.float64)
            for r in range(3):
                for c in range(2):
                    near = max(0.0, 1 - abs(min(max(down, 0), 2) - r)) * max(0.0, 1 - abs(min(max(across, 0), 1) - c))
                    value += near * source[r, c]
            assert maps.centre is not None
            theirs_rows.append(value - maps.centre.double())
            ours_rows.append(weight @ found[item, :, row, column] + bias)
            row_ids.append((int(ids[item]), math.floor((y + 1) / 2 * 3) if y < 1 else 2,
                            math.floor((x + 1) / 2 * 2) if x < 1 else 1))  # fmt: skip
    s, t = torch.stack(ours_rows), torch.stack(theirs_rows)
    if isinstance(objective, L2):
        expected = sum(((s[i] - t[i]) ** 2).sum() for i in range(len(s))) / len(s)
    else:
        s, t = s / s.norm(dim=1, keepdim=True), t / t.norm(dim=1, keepdim=True)
        expected = torch.zeros((), dtype=torch.float64)
        for i in range(len(s)):
            others = [j for j in range(len(s)) if j == i or row_ids[j] != row_ids[i]]
            for a, b in ((s, t), (t, s)):
                scores = torch.stack([a[i] @ b[j] / 0.5 for j in others])
                expected = expected + (torch.logsumexp(scores, 0) - a[i] @ b[i] / 0.5) / (2 * len(s))
    expected = 0.7 * expected
    assert len(set(row_ids)) < len(row_ids), "some rows should show the same place of the same source"
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
    theirs = torch.autograd.grad(expected, [found, weight, bias])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_cells_outside_of_the_source_take_no_part() -> None:
    student, maps = encoder(), maps_of(5, (2, 2), 6)
    term = DenseTerm(student, maps, levels_of(student)[-1], Rows(), 1.0, 16)
    away = torch.tensor([[1.0, 0, 1.0], [0, 1, 0]]).expand(3, 2, 3).clone()
    away[2, 0, 2] = 5.0  # nothing of it is in the source
    cells = term.draw(torch.tensor([0, 1, 3]), torch.tensor([0, 1, 2]), away)
    assert cells.inside.sum(dim=1).tolist() == [2, 2, 0]
    found = torch.randn(3, 96, *term.grid, requires_grad=True)
    term.loss(found, cells).backward()
    assert found.grad is not None
    assert found.grad[2].abs().sum() == 0
    far = term.draw(torch.tensor([0]), torch.tensor([0]), away[2:])
    assert float(term.loss(found[:1], far).detach()) == 0.0


def teacher_and_items(count: int = 20) -> tuple[Teacher, Items]:
    modality = encoder().modality
    torch.manual_seed(1)
    teacher = Teacher(build_teacher(TeacherConfig(backbone="test_resnet", weights="random"), modality))
    return teacher, Items.of_tensor(images(count), modality)


def test_distillation_with_maps_brings_them_together() -> None:
    teacher, items = teacher_and_items(24)
    level = levels_of(teacher.encoder)[-1]
    with torch.no_grad():
        cells = feature_maps(teacher.encoder.backbone, teacher.modality.normalise(items.batch(range(24))), [level])[0]
        embedded = teacher.embed(items.batch(range(24)))
    maps = TeacherMaps(cells.permute(0, 2, 3, 1), torch.arange(24), None).centred()
    student = encoder(width=teacher.width, augment={"rotate": 0, "translate": 0, "scale": [1, 1]})
    targets = Items.like(items, student.modality)
    torch.manual_seed(2)
    term = DenseTerm(student, maps, levels_of(student)[-1], L2(), 1.0, 4)

    def distance() -> float:
        every = term.draw(torch.arange(24), torch.arange(24), None)
        with torch.no_grad():
            found = feature_maps(student.eval().backbone, student.modality.normalise(targets.batch(range(24))),
                                 [term.level])[0]  # fmt: skip
            return float(term.loss(found, every))

    before = distance()
    config = TrainConfig(epochs=12, batch_size=12, lr=3e-3, device="cpu")
    distil(student, targets, embedded, torch.arange(24), L2(), config, dense=term)
    assert distance() < 0.75 * before


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    from tests.conftest import write_pairs

    manifest = write_pairs(tmp_path_factory.mktemp("registered"), variants=8)
    return {
        "pairs": str(manifest),
        "source": {"modality": "image", "size": 32},
        "target": {"modality": "image", "size": 32, "channels": 1},
        "teacher": {"backbone": "test_resnet", "weights": "random"},
        "student": {"backbone": "test_resnet"},
        "train": {"epochs": 2, "batch_size": 8, "log_every": 1},
        "evaluate": {"protocols": ["retrieval"], "controls": []},
        "dense": {"weight": 0.5, "cells": 3, "level": -2, "objective": {"name": "cmc"}},
    }


def test_a_run_with_maps_and_the_same_run_resumed_are_the_same(
    registered: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run({**registered, "out": str(tmp_path / "whole")})
    described = {each["file"].rpartition("/")[2]: each for each in describe_bank(whole.bank)}
    assert described["maps.safetensors"]["dtype"] == "float16"
    assert described["maps.safetensors"]["grid"] == [2, 2]
    assert any("maps.safetensors: whole" in line for line in verify_bank(whole.bank))
    provenance = read_json(whole.student / "encoder.json")["provenance"]
    assert provenance["dense"]["cells"] == 3

    from crossdistill.training import dense

    calls = 0
    plain = dense.DenseTerm.loss

    def stopping(self: DenseTerm, *arguments: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(dense.DenseTerm, "loss", stopping)
        with pytest.raises(StoppedError):
            run({**registered, "out": str(tmp_path / "resumed")})
    resumed = run({**registered, "out": str(tmp_path / "resumed")})
    assert (resumed.student / "model.safetensors").read_bytes() == (whole.student / "model.safetensors").read_bytes()
    without = run({**registered, "dense": None, "out": str(tmp_path / "without")})
    assert (without.student / "model.safetensors").read_bytes() != (whole.student / "model.safetensors").read_bytes()


def test_the_bank_of_maps_is_built_mended_and_refused(tmp_path: Path, registered: dict[str, Any]) -> None:
    teacher, items = teacher_and_items(5)
    items.files, items._wheres = [Path(__file__)] * 5, [""] * 5
    level = levels_of(teacher.encoder)[-1]
    found = build_map_bank(tmp_path / "bank", teacher, items, level).clone()
    with torch.no_grad():
        expected = feature_maps(teacher.encoder.backbone, teacher.modality.normalise(items.batch(range(5))), [level])[0]
    torch.testing.assert_close(found.float(), expected.permute(0, 2, 3, 1), atol=2e-3, rtol=1e-3)
    data = tmp_path / "bank" / "maps.safetensors"
    content = bytearray(data.read_bytes())
    content[-3] ^= 255
    data.write_bytes(bytes(content))
    with pytest.raises(RunFolderError, match="damaged"):
        build_map_bank(tmp_path / "bank", teacher, items, level)
    again = build_map_bank(tmp_path / "bank", teacher, items, level, mend=True)
    assert torch.equal(again, found)
    with pytest.raises(RunFolderError, match=r"feature maps are stale") as caught:
        build_map_bank(tmp_path / "bank", teacher, items, levels_of(teacher.encoder)[0])
    assert "level: 4, now 0" in str(caught.value)

    (tmp_path / "dense.yaml").write_text(yaml.safe_dump({**registered, "out": str(tmp_path / "run")}))
    assert (build_teacher_bank(tmp_path / "dense.yaml") / "maps.json").is_file()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dense": {"level": 7}}, "There is no feature map of this number"),
        ({"dense": {"objective": {"name": "cmc", "against": "bank"}}}, "more than the batch"),
        ({"train": {"embed_at_once": 4, "batch_norm": "per_part", "batch_size": 8}}, "train.embed_at_once"),
        ({"train": {"resolution": [{"until": 0.5, "size": 16}]}}, "train.resolution"),
        ({"student": {"backbone": "mlp_8x1"}, "target": {"modality": "embedding", "width": 4}}, "feature maps on both"),
    ],
)
def test_what_cannot_be_distilled_densely_is_refused_beforehand(
    registered: dict[str, Any], tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    config = copy.deepcopy(registered)
    config.update({**change, "out": str(tmp_path / "run")})
    with pytest.raises(ConfigError) as caught:
        run(config)
    assert words in str(caught.value)
    assert not (tmp_path / "run").exists()
