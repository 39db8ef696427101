"""Training: the bank, the schedule, batches as functions of seed and step, resume, interruption, bad losses."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from crossdistill.encoders import Encoder, StudentConfig, Teacher, TeacherConfig, build_student, build_teacher
from crossdistill.encoders.encoder import weights_hash
from crossdistill.errors import ConfigError, PairsError, RunFolderError, StoppedError, TrainingError
from crossdistill.modalities.image import Image
from crossdistill.objectives import CMC, CMCD, CRD, KD, Objective, SigLIP
from crossdistill.objectives.core import Batch
from crossdistill.pairs import Pairs, open_pairs
from crossdistill.pairs.items import Items
from crossdistill.training import TrainConfig, TrainLog, distil, read_epochs
from crossdistill.training.batches import StepSampler, epoch_order
from crossdistill.training.loop import choose_device
from crossdistill.training.optimiser import learning_rate


@pytest.fixture
def pairs(manifest: Path) -> Pairs:
    return open_pairs(str(manifest))


@pytest.fixture
def teacher() -> Teacher:
    torch.manual_seed(0)
    return Teacher(build_teacher(TeacherConfig(backbone="test_resnet", weights="random"), Image(size=32)))


class TestItems:
    def test_cached_and_uncached_are_the_same(self, pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
        modality = Image(size=16, mean=(0, 0, 0), std=(1, 1, 1), interpolation="bilinear")
        cached = Items.of(pairs, range(5), "target", modality)
        monkeypatch.setattr("crossdistill.pairs.items.CACHE_BYTES", 0)
        lazy = Items.of(pairs, range(5), "target", modality)
        assert torch.equal(cached.batch([3, 1]), lazy.batch([3, 1]))
        assert torch.equal(cached.subset([4, 2])[1], lazy.subset([4, 2])[1])
        with pytest.raises(ValueError, match="another decoding"):
            Items.like(cached, modality.model_copy(update={"size": 8}))

    def test_a_broken_item_is_named_with_its_row(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_text("no image")
        (tmp_path / "pairs.csv").write_text("source,target\na.png,a.png\n")
        pairs = open_pairs(str(tmp_path / "pairs.csv"))
        modality = Image(size=16, mean=(0, 0, 0), std=(1, 1, 1), interpolation="bilinear")
        with pytest.raises(PairsError, match=r"pairs\.csv, row 2, column target: .*a\.png"):
            Items.of(pairs, [0], "target", modality)


class TestSchedule:
    def test_rises_then_falls_to_zero(self) -> None:
        config = TrainConfig(lr=1.0, warmup=0.1)
        rates = [learning_rate(step, 100, config) for step in range(100)]
        assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
        assert rates[10] == pytest.approx(1.0)
        assert all(a > b for a, b in itertools.pairwise(rates[10:]))
        assert rates[-1] < 1e-3

    def test_every_epoch_is_a_permutation_and_a_resumed_sampler_goes_on(self) -> None:
        assert sorted(epoch_order(0, 3, 20)) == list(range(20))
        assert epoch_order(0, 3, 20) != epoch_order(0, 4, 20)
        whole = list(StepSampler(20, 6, 3, seed=1))
        assert len(whole) == 9
        assert list(StepSampler(20, 6, 3, seed=1, first_step=4)) == whole[4:]
        assert len(list(StepSampler(4, 100, 2, seed=1))) == 2  # fewer items than a batch

    def test_an_unknown_device_is_explained(self) -> None:
        assert choose_device("cpu").type == "cpu"
        with pytest.raises(ConfigError, match=r"train\.device"):
            choose_device("quantum")


class Distillation:
    """A small distillation that can be run in one go or in pieces."""

    def __init__(self, pairs: Pairs, teacher: Teacher, folder: Path) -> None:
        self.folder = folder
        modality = Image(size=32, channels=1, mean=(0.5,), std=(0.5,), interpolation="bilinear")
        self.items = Items.of(pairs, range(40), "target", modality)
        sources = Items.of(pairs, range(40), "source", teacher.modality)
        self.embeddings = teacher.embed(sources.batch(range(40)))
        torch.manual_seed(1)
        self.initial = build_student(StudentConfig(backbone="test_resnet"), modality, teacher.width)

    def run(self, name: str, config: TrainConfig, objective: nn.Module | None = None, **options: Any) -> Encoder:
        import copy

        return distil(
            copy.deepcopy(self.initial),
            self.items,
            self.embeddings,
            torch.arange(40),
            objective or CMCD(0.1),
            config,
            log=TrainLog(self.folder / f"{name}.jsonl", "distil/cmcd"),
            checkpoint=self.folder / f"{name}.pt",
            **options,
        )


@pytest.fixture
def distillation(pairs: Pairs, teacher: Teacher, tmp_path: Path) -> Distillation:
    return Distillation(pairs, teacher, tmp_path)


CONFIG = TrainConfig(epochs=3, batch_size=12, lr=2e-3, log_every=1)


def stop_at(objective: Objective, call: int, action: Callable[[], None]) -> Objective:
    """The objective, which does something at its n-th call."""
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            action()

    objective.register_forward_pre_hook(count)
    return objective


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


STATEFUL = {
    "crd": lambda: CRD(negatives=8, projection=4),
    "siglip": SigLIP,
    "kd": lambda: KD(clusters=5),
    "learnable": lambda: CMC(learnable_temperature=True),
    "bank": lambda: CMCD(against="bank", cmd_form="to_teacher"),
}


class TestDistillation:
    def test_learns_and_the_same_seed_gives_the_same_bits(self, distillation: Distillation) -> None:
        first = distillation.run("a", CONFIG)
        assert weights_hash(distillation.run("b", CONFIG)) == weights_hash(first)
        assert weights_hash(distillation.run("c", CONFIG.model_copy(update={"seed": 1}))) != weights_hash(first)
        losses = [line["loss"] for line in read_epochs(distillation.folder / "a.jsonl")["distil/cmcd"]]
        assert len(losses) == 3
        assert losses[-1] < losses[0]

    def test_worker_processes_change_nothing(self, distillation: Distillation) -> None:
        alone = distillation.run("a", CONFIG)
        helped = distillation.run("b", CONFIG.model_copy(update={"workers": 1}))
        assert weights_hash(alone) == weights_hash(helped)

    @pytest.mark.parametrize("call", [2, 3, 5])
    def test_interrupted_and_resumed_equals_uninterrupted(self, distillation: Distillation, call: int) -> None:
        whole = distillation.run("whole", CONFIG)
        with pytest.raises(StoppedError, match=r"SIGTERM(.|\n)*run the same command again"):
            distillation.run("cut", CONFIG, stop_at(CMCD(0.1), call, terminate))
        resumed = distillation.run("cut", CONFIG)
        assert weights_hash(resumed) == weights_hash(whole)
        curves = [read_epochs(distillation.folder / f"{name}.jsonl") for name in ("whole", "cut")]
        assert curves[0] == curves[1]
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

    @pytest.mark.parametrize("name", STATEFUL)
    def test_what_an_objective_has_learnt_is_resumed_too(self, distillation: Distillation, name: str) -> None:
        whole = distillation.run("whole", CONFIG, STATEFUL[name]())
        with pytest.raises(StoppedError):
            distillation.run("cut", CONFIG, stop_at(STATEFUL[name](), 5, terminate))
        assert weights_hash(distillation.run("cut", CONFIG, STATEFUL[name]())) == weights_hash(whole)

    def test_a_temperature_is_trained_along(self, distillation: Distillation) -> None:
        objective = CMC(learnable_temperature=True)
        (before,) = (parameter.detach().clone() for parameter in objective.parameters())
        distillation.run("a", CONFIG, objective)
        assert not torch.equal(before, next(objective.parameters()).detach())

    def test_gradient_caching_refuses_batch_normalisation_or_takes_it_per_part(
        self, distillation: Distillation
    ) -> None:
        with pytest.raises(ConfigError, match=r"embed_at_once(.|\n)*batch_norm: per_part"):
            distillation.run("a", CONFIG.model_copy(update={"embed_at_once": 5}))
        settings = {"embed_at_once": 5, "batch_norm": "per_part"}
        distillation.run("b", CONFIG.model_copy(update=settings))
        losses = [line["loss"] for line in read_epochs(distillation.folder / "b.jsonl")["distil/cmcd"]]
        assert losses[-1] < losses[0]

    def test_killed_without_warning_and_resumed_equals_uninterrupted(self, distillation: Distillation) -> None:
        whole = distillation.run("whole", CONFIG)

        def crash() -> None:
            raise RuntimeError("power cut")

        with pytest.raises(RuntimeError, match="power cut"):
            distillation.run("cut", CONFIG, stop_at(CMCD(0.1), 6, crash))
        with (distillation.folder / "cut.jsonl").open("a") as stream:
            stream.write('{"stage": "distil/cmcd", "kind": "st')  # it died while it wrote a line
        assert weights_hash(distillation.run("cut", CONFIG)) == weights_hash(whole)
        lines = [json.loads(line) for line in (distillation.folder / "cut.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines if line["kind"] == "step"] == list(range(1, 10))

    def test_a_loss_that_is_not_finite_ends_with_a_message(self, distillation: Distillation) -> None:
        class Broken(Objective):
            def loss(self, batch: Batch) -> Tensor:
                return batch.student.sum() * float("nan")

        with pytest.raises(TrainingError, match=r"not finite, 9 steps in a row(.|\n)*step 9 of 9(.|\n)*lower train.lr"):
            distillation.run("a", CONFIG, Broken())

    def test_a_damaged_checkpoint_is_passed_over_and_refused_when_all_are(
        self, distillation: Distillation, capsys: pytest.CaptureFixture[str]
    ) -> None:
        distillation.run("a", CONFIG)
        newest, older = sorted((distillation.folder / "a.pt").glob("*.pt"), reverse=True)
        blob = bytearray(newest.read_bytes())
        blob[len(blob) // 2] ^= 1
        newest.write_bytes(bytes(blob))
        distillation.run("a", CONFIG)
        assert f"{newest} is damaged" in (said := " ".join(capsys.readouterr().err.split()))
        assert f"going on from {older.name}, the last good one" in said
        for path in (newest, older):
            path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(RunFolderError, match="move this folder away"):
            distillation.run("a", CONFIG)

    def test_monitors_in_eval_mode(self, distillation: Distillation) -> None:
        seen: list[dict[str, float]] = []

        def monitor() -> dict[str, float]:
            seen.append({"val_r@1": 0.5})
            return seen[-1]

        distillation.run("a", CONFIG.model_copy(update={"monitor_every": 2}), monitor=monitor)
        assert len(seen) == 2  # after the second epoch, and after the last
        curve = read_epochs(distillation.folder / "a.jsonl")["distil/cmcd"]
        assert ["val_r@1" in line for line in curve] == [False, True, True]
