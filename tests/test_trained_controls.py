"""The controls that are trained: SSL on the target alone, and a teacher that is trained along."""

from __future__ import annotations

import copy
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import references
from crossdistill.encoders import Encoder, TeacherConfig, build_teacher, load_encoder, save_encoder, weights_hash
from crossdistill.encoders.encoder import Architecture
from crossdistill.errors import ConfigError, StoppedError
from crossdistill.modalities.image import Image
from crossdistill.objectives import CMC, InfoNCE
from crossdistill.objectives.core import Batch
from crossdistill.pairs.items import Items
from crossdistill.pipeline import RunFolder, evaluate, make_config, run, trained_controls
from crossdistill.training import TrainConfig, distil
from crossdistill.training.online_teacher import OnlineSource, OnlineTeacherConfig, distil_online
from crossdistill.training.optimiser import build_optimiser
from engine_bench import changed
from test_objectives import randn

STILL = {"flip": 0, "rotate": 0, "translate": 0, "scale": [1, 1], "brightness": 0, "contrast": 0}
CONTROLS = ["random_student", "ssl_target", "online_teacher"]
EVALUATE = {"protocols": ["knn", "linear", "retrieval", "zero_shot"], "shots": [2], "draws": 2, "controls": CONTROLS}


def configuration(manifest: Path, out: Path, **changed: Any) -> dict[str, Any]:
    return {
        "pairs": str(manifest),
        "source": {"modality": "image", "size": 32},
        "target": {"modality": "image", "size": 32, "channels": 1},
        "teacher": {"backbone": "test_resnet", "weights": "random"},
        "student": {"backbone": "test_resnet"},
        "train": {"epochs": 2, "batch_size": 16, "log_every": 1},
        "evaluate": EVALUATE,
        "trackers": [],
        "out": str(out),
        **changed,
    }


def metrics_of(folder: RunFolder) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(folder.metrics.read_text())
    return content


@pytest.fixture(scope="module")
def finished(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(configuration(manifest, tmp_path_factory.mktemp("controls") / "run"))


class TestInARun:
    def test_are_measured_like_any_subject(self, finished: RunFolder) -> None:
        outcomes = {outcome["name"]: outcome for outcome in metrics_of(finished)["outcomes"]}
        assert list(outcomes) == ["cmcd", *CONTROLS]
        ssl, online = outcomes["ssl_target"], outcomes["online_teacher"]
        assert {"knn", "linear", "linear_2_shot"} <= set(ssl["metrics"])
        assert not any("source" in name or "zero_shot" in name for name in ssl["metrics"])
        assert set(ssl["skipped"]) == {"retrieval", "zero_shot"}
        assert set(online["metrics"]) == set(outcomes["cmcd"]["metrics"])
        assert "(4 steps)" in ssl["description"]

    def test_take_as_many_steps_as_the_distillation(self, finished: RunFolder) -> None:
        lines = [json.loads(line) for line in finished.log.read_text().splitlines()]
        last = {line["stage"]: line["step"] for line in lines if line["kind"] == "step"}
        assert last["control/ssl_target"] == last["control/online_teacher"] == last["distil/cmcd"] == 4

    def test_are_kept_and_made_anew_with_other_settings_alone(
        self, finished: RunFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = {name: weights_hash(load_encoder(finished.control(name))) for name in CONTROLS[1:]}
        written = finished.control("ssl_target") / "encoder.json"
        at = written.stat().st_mtime_ns
        source = weights_hash(load_encoder(finished.control("online_teacher") / "source"))

        def interrupted(place: Path, *rest: Any) -> None:
            if place.name == "online_teacher":
                raise KeyboardInterrupt
            save_encoder(place, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(trained_controls, "save_encoder", interrupted)
            with pytest.raises(KeyboardInterrupt):
                evaluate(finished.root, ["evaluate.draws=3", "evaluate.online_teacher={momentum: 0.5}"])
        # Its source is that of other settings now, so that the student of before must not be taken for whole.
        assert weights_hash(load_encoder(finished.control("online_teacher") / "source")) != source
        evaluate(finished.root, ["evaluate.online_teacher={}", "evaluate.draws=2"])
        assert weights_hash(load_encoder(finished.control("online_teacher"))) == before["online_teacher"]
        assert weights_hash(load_encoder(finished.control("online_teacher") / "source")) == source
        assert written.stat().st_mtime_ns == at

    def test_retrieval_is_among_its_own_sources(self, finished: RunFolder) -> None:
        teacher = load_encoder(finished.teacher)
        source = load_encoder(finished.control("online_teacher") / "source")
        assert weights_hash(source) != weights_hash(teacher)
        moved = {
            name for name, value in source.state_dict().items() if not torch.equal(value, teacher.state_dict()[name])
        }
        assert moved == {name for name, _ in source.named_parameters()}, "all weights, and no running statistics"

    def test_a_stopped_one_has_the_bits_of_an_uninterrupted_one(
        self, finished: RunFolder, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = configuration(manifest, tmp_path / "run")
        config["train"] = {**config["train"], "checkpoint_every": 1}
        for name, objective in (("ssl_target", InfoNCE), ("online_teacher", CMC)):
            calls = 0
            original = objective.loss

            def stop(self: Any, batch: Batch, original: Any = original) -> Tensor:
                nonlocal calls
                calls += 1
                if calls == 3:
                    os.kill(os.getpid(), signal.SIGTERM)
                found: Tensor = original(self, batch)
                return found

            with monkeypatch.context() as patch:
                patch.setattr(objective, "loss", stop)
                with pytest.raises(StoppedError):
                    run(config)
            assert not (tmp_path / "run/controls" / name).exists()
        again = run(config)
        for name in CONTROLS[1:]:
            assert weights_hash(load_encoder(again.control(name))) == weights_hash(load_encoder(finished.control(name)))
        first, second = (metrics_of(folder)["outcomes"] for folder in (finished, again))
        assert first == second


def test_without_labels_ssl_has_nothing_to_show(manifest: Path, tmp_path: Path) -> None:
    config = configuration(manifest, tmp_path / "run", train={"epochs": 1, "batch_size": 16})
    config["evaluate"] = {"protocols": ["retrieval"], "controls": ["ssl_target"]}
    metrics = metrics_of(run(config))
    assert [outcome["name"] for outcome in metrics["outcomes"]] == ["cmcd"]
    assert "ssl_target" in metrics["left_out"]
    assert not (tmp_path / "run/controls").exists()


def test_they_are_asked_for_by_name() -> None:
    config = make_config({"pairs": "emoji", "out": "x"})
    assert not {"ssl_target", "online_teacher"} & set(config.evaluate.controls)
    with pytest.raises(ConfigError, match="momentum"):
        make_config({"pairs": "emoji", "out": "x", "evaluate": {"online_teacher": {"momentum": 2}}})


class Linear(nn.Module):
    """A backbone that is a matrix, so that gradients can be had in plain loops."""

    def __init__(self, channels: int, seed: int) -> None:
        super().__init__()
        self.matrix = nn.Parameter(randn(seed, 5, channels * 64) / 10)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.matrix.T


def linear_encoder(channels: int, seed: int) -> Encoder:
    shape = Image.model_validate(
        {"size": 8, "channels": channels, "mean": [0.5] * channels, "std": [0.5] * channels,
         "interpolation": "bilinear", "augment": STILL}
    )  # fmt: skip
    architecture = Architecture(backbone="linear", features=5, head="none", width=5)
    return Encoder(Linear(channels, seed), nn.Identity(), shape, architecture, "a test")


def pictures(encoder: Encoder, seed: int) -> Items:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 256, (6, *encoder.modality.shape), dtype=torch.uint8, generator=generator)
    return Items.of_tensor(values, encoder.modality)


class TestOnlineTeacher:
    SETTINGS = OnlineTeacherConfig(momentum=0.9, lr_scale=0.25, temperature=0.3)
    TRAIN = TrainConfig(epochs=3, batch_size=6, lr=0.01, warmup=0, schedule="constant", weight_decay=0, device="cpu")

    def test_equals_plain_loops(self) -> None:
        """Three steps: two losses, two rates, and the average that follows; one source is in two pairs."""
        student, teacher = linear_encoder(1, seed=1), linear_encoder(3, seed=2)
        teacher.offset.copy_(randn(3, 5) / 10)
        targets, sources = pictures(student, 4), pictures(teacher, 5)
        ids = torch.tensor([0, 1, 2, 3, 4, 0])
        ours = copy.deepcopy(student)
        followed = distil_online(ours, teacher, targets, sources, ids, self.SETTINGS, self.TRAIN)

        x = student.modality.normalise(targets.batch(range(6)).float()).flatten(1)
        y = teacher.modality.normalise(sources.batch(range(6))).flatten(1)
        s, t = (each.backbone.matrix.detach().clone().requires_grad_() for each in (student, teacher))
        e = t.detach().clone()
        optimiser = torch.optim.AdamW([{"params": [s], "lr": 0.01}, {"params": [t], "lr": 0.0025}], weight_decay=0)
        for _ in range(3):
            rows, moving, average = x @ s.T, y @ t.T - teacher.offset, y @ e.T - teacher.offset
            optimiser.zero_grad()
            loss = references.cmc(rows, average, ids.tolist(), 0.3)
            (loss + references.cmc(moving, rows.detach(), ids.tolist(), 0.3)).backward()
            optimiser.step()
            e = 0.9 * e + 0.1 * t.detach()
        torch.testing.assert_close(ours.backbone.matrix.detach(), s.detach(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(followed.backbone.matrix, e, rtol=1e-5, atol=1e-6)
        assert not torch.equal(e, teacher.backbone.matrix)

    def test_accumulated_batches_move_the_average_once_a_step(self) -> None:
        student, teacher = linear_encoder(1, seed=1), linear_encoder(3, seed=2)
        config = TrainConfig(**{**self.TRAIN.model_dump(), "epochs": 1, "batch_size": 3, "accumulate": 2})
        before = teacher.backbone.matrix.detach().clone()
        online = OnlineSource(teacher, 0.9)
        moved: list[float] = []

        def update(self: OnlineSource, original: Any = OnlineSource.update) -> None:
            original(self)
            moved.append(float((self.average.backbone.matrix - before).abs().max()))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(OnlineSource, "update", update)
            distil_online(
                student, teacher, pictures(student, 4), pictures(teacher, 5), torch.arange(6), self.SETTINGS, config
            )
        assert len(moved) == 1
        assert torch.equal(teacher.backbone.matrix, before), "the teacher itself stays"
        assert not any(value.requires_grad for value in online.average.parameters())

    def test_with_momentum_one_it_is_distillation_by_cmc(self) -> None:
        student, teacher = linear_encoder(1, seed=1), linear_encoder(3, seed=2)
        targets, sources, ids = pictures(student, 4), pictures(teacher, 5), torch.arange(6)
        frozen = copy.deepcopy(student)
        with torch.no_grad():
            bank = teacher(teacher.modality.normalise(sources.batch(range(6))))
        distil(frozen, targets, bank, ids, CMC(0.3), self.TRAIN)
        settings = OnlineTeacherConfig(momentum=1.0, temperature=0.3)
        followed = distil_online(student, teacher, targets, sources, ids, settings, self.TRAIN)
        torch.testing.assert_close(student.backbone.matrix, frozen.backbone.matrix, rtol=1e-4, atol=1e-5)
        assert torch.equal(followed.backbone.matrix, teacher.backbone.matrix)

    def test_its_rate_is_a_part_of_the_students_within_layers_too(self) -> None:
        source = build_teacher(TeacherConfig(backbone="test_resnet", weights="random"), Image(size=32))
        student = build_teacher(TeacherConfig(backbone="test_resnet", weights="random"), Image(size=32))
        model = nn.ModuleDict({"student": student, "online": OnlineSource(source, 0.9)})
        for decay in (None, 0.5):
            optimiser = build_optimiser(model, changed(layer_decay=decay), scales={"online.source.": 0.1})
            scale = {id(p): group["lr_scale"] for group in optimiser.param_groups for p in group["params"]}
            named = {name: scale[id(p)] for name, p in model.named_parameters() if p.requires_grad}
            assert set(scale) == {id(p) for p in model.parameters() if p.requires_grad}
            for name, value in named.items():
                if name.startswith("student."):
                    assert named[name.replace("student.", "online.source.", 1)] == pytest.approx(0.1 * value)
