"""The engine: averages, schedules, freezing, accumulation, precision, staged sizes, guards, checkpoints, the clock."""

from __future__ import annotations

import copy
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crossdistill.draws import rand, randint, randn_like, share_of_batch
from crossdistill.encoders import Encoder, StudentConfig, build_student
from crossdistill.encoders.encoder import weights_hash
from crossdistill.errors import (
    ConfigError,
    MissingDependencyError,
    PairsError,
    StoppedError,
    StorageError,
    TrainingError,
)
from crossdistill.modalities.image import Image
from crossdistill.modalities.image_augment import ImageAugment
from crossdistill.objectives import CMCD, L2, Objective
from crossdistill.objectives.core import Batch
from crossdistill.pairs import open_pairs
from crossdistill.pairs.items import Items
from crossdistill.pairs.patience import time_limit
from crossdistill.training import TrainLog, distil
from crossdistill.training.average import WeightAverage
from crossdistill.training.checkpoint import Checkpoints
from crossdistill.training.guards import (
    CollapseGuard,
    FiniteGuard,
    NormStatistics,
    effective_rank,
    memory_errors,
    uniformity,
)
from crossdistill.training.optimiser import Freezer, build_optimiser, learning_rate
from crossdistill.training.state import TrainState
from crossdistill.training.trackers import open_trackers
from engine_bench import CONFIG, MODALITY, Bench, StopAt, changed, terminate


@pytest.fixture
def bench(manifest: Path, tmp_path: Path) -> Bench:
    return Bench(manifest, tmp_path)


class TestShares:
    def test_ranks_draw_what_one_would(self) -> None:
        def draw(first: int, count: int) -> list[Tensor]:
            torch.manual_seed(5)
            with share_of_batch(first, count, 7):
                return [rand(count), rand(count, 2), randn_like(torch.zeros(count, 3)), randint(0, 100, count)]

        whole = draw(0, 7)
        parts = [draw(0, 3), draw(3, 2), draw(5, 2)]
        for number, each in enumerate(whole):
            assert torch.equal(torch.cat([part[number] for part in parts]), each)

    def test_augmentation_is_that_of_the_whole_batch(self) -> None:
        modality = Image(size=16, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3, interpolation="bilinear").contrastive()
        batch = torch.randint(0, 256, (9, 3, 16, 16), dtype=torch.uint8)

        def augment(first: int, count: int) -> Tensor:
            torch.manual_seed(3)
            with share_of_batch(first, count, 9):
                return modality.augment(batch[first : first + count])

        assert torch.equal(torch.cat([augment(0, 4), augment(4, 4), augment(8, 1)]), augment(0, 9))


class TestSchedule:
    def test_forms(self) -> None:
        line = [learning_rate(step, 10, changed(lr=1.0, warmup=0, schedule="linear")) for step in range(10)]
        assert line == pytest.approx([1 - step / 10 for step in range(10)])
        assert {learning_rate(step, 10, changed(lr=1.0, warmup=0, schedule="constant")) for step in range(10)} == {1.0}

    def test_layers_learn_slower_towards_the_input(self) -> None:
        torch.manual_seed(0)
        student = build_student(StudentConfig(backbone="test_resnet"), MODALITY, 16)
        model = nn.ModuleDict({"student": student})
        optimiser = build_optimiser(model, changed(layer_decay=0.5))
        scale = {id(p): group["lr_scale"] for group in optimiser.param_groups for p in group["params"]}
        assert set(scale) == {id(p) for p in model.parameters()}
        first = scale[id(next(student.backbone.parameters()))]
        last = scale[id(list(student.backbone.parameters())[-1])]
        assert first < last <= 1
        assert {scale[id(p)] for p in student.head.parameters()} == {1.0}

    def test_layers_of_a_module_of_ones_own_are_not_known(self) -> None:
        module = nn.Module()
        module.backbone = nn.Linear(2, 2)
        with pytest.raises(ConfigError, match="layer_decay"):
            build_optimiser(module, changed(layer_decay=0.5))


class TestFreezing:
    def test_for_good_and_for_a_while(self, bench: Bench) -> None:
        before = copy.deepcopy(bench.initial.state_dict())
        student = bench.run("a", changed(freeze=("backbone.*",)))
        after = student.state_dict()
        assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("backbone."))
        assert not torch.equal(after["head.weight"], before["head.weight"])
        thawed = bench.run("b", changed(freeze=("backbone.*",), freeze_epochs=1)).state_dict()
        assert not torch.equal(thawed["backbone.conv1.0.weight"], before["backbone.conv1.0.weight"])

    def test_a_frozen_part_is_as_it_was_until_it_thaws(self, bench: Bench) -> None:
        whole = bench.run("a", changed(freeze=("backbone.*",), freeze_epochs=2, epochs=2))
        assert all(
            torch.equal(value, bench.initial.state_dict()[name])
            for name, value in whole.state_dict().items()
            if name.startswith("backbone.")
        )

    def test_an_unknown_name_is_refused(self, bench: Bench) -> None:
        with pytest.raises(ConfigError, match=r"train\.freeze"):
            bench.run("a", changed(freeze=("backbon.*",)))
        with pytest.raises(ValueError, match="freeze names nothing"):
            changed(freeze_epochs=2)

    def test_norms_of_a_frozen_part_keep_their_statistics(self) -> None:
        model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2))
        freezer = Freezer(model, changed(freeze=("0.*",)))
        model.train()
        freezer.apply(0)
        assert [layer.training for layer in model] == [False, True]


class TestAverage:
    def test_follows_the_formula_and_swaps(self) -> None:
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        average = WeightAverage(model, 0.9)
        average.update()
        expected = model.weight.detach().clone()
        for _ in range(3):
            with torch.no_grad():
                model.weight.add_(1.0)
            average.update()
            expected = 0.9 * expected + 0.1 * model.weight.detach()
        latest = model.weight.detach().clone()
        with average.in_place():
            torch.testing.assert_close(model.weight, nn.Parameter(expected))
        assert torch.equal(model.weight, latest)

    def test_becomes_the_result_and_is_resumed(self, bench: Bench) -> None:
        config = changed(ema=0.8)
        plain, averaged = bench.run("plain", CONFIG), bench.run("averaged", config)
        assert weights_hash(plain) != weights_hash(averaged)
        with pytest.raises(StoppedError):
            bench.run("cut", config, StopAt(5, terminate))
        assert weights_hash(bench.run("cut", config)) == weights_hash(averaged)


class TestAccumulation:
    def test_adds_up_to_the_gradient_of_the_larger_batch(
        self, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench = Bench(manifest, tmp_path, "test_vit")  # without batch normalisation
        still = {"flip": 0, "rotate": 0, "translate": 0, "scale": (1, 1), "brightness": 0, "contrast": 0}
        bench.items = Items.like(bench.items, MODALITY.model_copy(update={"augment_with": ImageAugment(**still)}))
        gradients: list[list[Tensor]] = []
        original = TrainState.step_optimiser

        def keep(state: TrainState, loss: float, total: int) -> Any:
            gradients.append([p.grad.clone() for kind in state._trained for p in kind if p.grad is not None])
            return original(state, loss, total)

        monkeypatch.setattr(TrainState, "step_optimiser", keep)
        bench.run("large", changed(batch_size=12), L2())
        large, gradients = gradients[0], []
        bench.run("small", changed(batch_size=4, accumulate=3), L2())
        for one, other in zip(large, gradients[0], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
        assert [line["step"] for line in bench.lines("small", "step")] == list(range(1, 10))
        assert bench.lines("small", "step")[0]["loss"] == pytest.approx(
            bench.lines("large", "step")[0]["loss"], rel=1e-6
        )

    def test_resumes(self, bench: Bench) -> None:
        config = changed(batch_size=6, accumulate=2)
        whole = bench.run("whole", config)
        with pytest.raises(StoppedError):
            bench.run("cut", config, StopAt(9, terminate))
        assert weights_hash(bench.run("cut", config)) == weights_hash(whole)


class TestPrecision:
    def test_bf16_is_close_and_resumes(self, bench: Bench) -> None:
        exact, half = bench.run("exact", CONFIG), bench.run("half", changed(precision="bf16"))
        losses = [[line["loss"] for line in bench.lines(name, "step")] for name in ("exact", "half")]
        assert losses[0][0] == pytest.approx(losses[1][0], rel=0.05)
        assert weights_hash(exact) != weights_hash(half)
        assert all(parameter.dtype == torch.float32 for parameter in half.parameters())
        with pytest.raises(StoppedError):
            bench.run("cut", changed(precision="bf16"), StopAt(5, terminate))
        assert weights_hash(bench.run("cut", changed(precision="bf16"))) == weights_hash(half)

    def test_fp16_lowers_its_scale_until_it_fits_and_resumes_with_it(self, bench: Bench) -> None:
        class Steep(CMCD):
            def loss(self, batch: Batch) -> Tensor:
                return super().loss(batch) * 100

        config = changed(precision="fp16", epochs=8)
        whole = bench.run("whole", config, Steep(0.1))
        skipped = bench.lines("whole", "skip")
        assert len(bench.lines("whole", "step")) + len(skipped) == 24
        assert all(line["what"] == "gradient" for line in skipped)
        scales = [
            torch.load(path, weights_only=True)["scaler"]["scale"] for path in (bench.folder / "whole").glob("*.pt")
        ]
        assert all(scale <= 65536 for scale in scales)
        stop = StopAt(len(skipped) + 5, terminate)
        original = stop.loss
        stop.loss = lambda batch: original(batch) * 100  # type: ignore[method-assign]
        with pytest.raises(StoppedError):
            bench.run("cut", config, stop)
        assert weights_hash(bench.run("cut", config, Steep(0.1))) == weights_hash(whole)


class TestResolution:
    def test_begins_small(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[int] = []
        bench.initial.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-1]))
        bench.run("a", changed(resolution=[{"until": 0.4, "size": 16}, {"until": 0.7, "size": 24}]))
        assert seen[2:] == [16] * 4 + [24] * 3 + [32] * 2  # after the two sizes were tried

    def test_sizes_that_do_not_fit_are_refused(self, bench: Bench) -> None:
        with pytest.raises(ConfigError, match="larger than the items"):
            bench.run("a", changed(resolution=[{"until": 0.5, "size": 64}]))

        def picky(_: nn.Module, inputs: tuple[Tensor]) -> None:
            if inputs[0].shape[-1] != 32:
                raise AssertionError("built for 32 pixels")

        bench.initial.register_forward_pre_hook(picky)
        with pytest.raises(ConfigError, match=r"cannot take items(.|\n)*16"):
            bench.run("a", changed(resolution=[{"until": 0.5, "size": 16}]))

    def test_shares_have_to_rise(self) -> None:
        with pytest.raises(ValueError, match="must rise"):
            changed(resolution=[{"until": 0.5, "size": 16}, {"until": 0.4, "size": 24}])


class TestEarlyStopping:
    def test_ends_keeps_the_best_and_resumes_to_the_same(self, bench: Bench) -> None:
        scores = [0.1, 0.5, 0.4, 0.3, 0.2, 0.6]
        states: list[dict[str, Tensor]] = []

        def run(name: str, objective: Objective | None = None, start: int = 0) -> Encoder:
            measured = iter(scores[start:])
            student = copy.deepcopy(bench.initial)

            def monitor() -> dict[str, float]:
                states.append(copy.deepcopy(student.state_dict()))
                return {"val_mrr": next(measured)}

            config = changed(epochs=6, early_stop=2, keep="best")
            log = TrainLog(bench.folder / f"{name}.jsonl", "distil")
            return distil(
                student, bench.items, bench.teacher, torch.arange(40), objective or CMCD(0.1), config,
                log=log, checkpoint=bench.folder / name, monitor=monitor,
            )  # fmt: skip

        result = run("a")
        assert len(bench.lines("a", "epoch")) == 4  # the best was the second; two more without a better one
        assert all(torch.equal(value, states[1][name]) for name, value in result.state_dict().items())
        with pytest.raises(StoppedError):
            run("b", StopAt(8, terminate))  # in the third epoch
        assert weights_hash(run("b", start=2)) == weights_hash(result)
        assert weights_hash(run("b", start=6)) == weights_hash(result)  # it had ended: nothing is trained again


class TestGuards:
    def test_a_bad_step_is_skipped_counted_and_does_not_spoil_the_rest(self, bench: Bench) -> None:
        class Once(CMCD):
            calls = 0

            def loss(self, batch: Batch) -> Tensor:
                self.calls += 1
                value = super().loss(batch)
                return value * float("nan") if self.calls == 4 else value

        student = bench.run("a", CONFIG, Once(0.1))
        (skip,) = bench.lines("a", "skip")
        assert (skip["what"], skip["skipped"], skip["step"]) == ("loss", 1, 4)
        assert all(bool(torch.isfinite(value).all()) for value in student.state_dict().values())
        assert len(bench.lines("a", "step")) == 8

    def test_an_infinite_gradient_behind_a_finite_loss_is_noticed(self, bench: Bench) -> None:
        class Spike(CMCD):
            calls = 0

            def loss(self, batch: Batch) -> Tensor:
                self.calls += 1
                place = batch.student[0, 0]
                root = (place - place.detach()).abs().sqrt()  # 0, with a derivative that is none
                return super().loss(batch) + (root if self.calls == 2 else 0)

        student = bench.run("a", CONFIG, Spike(0.1))
        assert [line["what"] for line in bench.lines("a", "skip")] == ["gradient"]
        assert all(bool(torch.isfinite(value).all()) for value in student.state_dict().values())

    def test_backs_off_recovers_and_ends(self, capsys: pytest.CaptureFixture[str]) -> None:
        guard = FiniteGuard(changed(nonfinite_limit=7), "training")
        for _ in range(6):
            guard.bad("loss", 0, 100, 1.0)
        assert guard.factor == 0.25
        twin = FiniteGuard(changed(nonfinite_limit=7), "training")
        twin.load_state_dict(guard.state_dict())
        for _ in range(100):
            twin.good()
        assert (twin.factor, twin.skipped) == (0.5, 6)
        with pytest.raises(TrainingError, match="7 steps in a row"):
            guard.bad("loss", 0, 100, 1.0)
        assert "the step is skipped" in capsys.readouterr().err

    def test_running_statistics_are_put_back(self) -> None:
        layer = nn.BatchNorm1d(2)
        layer(torch.randn(8, 2))
        before = copy.deepcopy(layer.state_dict())
        norms = NormStatistics(layer)
        norms.keep()
        layer(torch.full((4, 2), float("nan")))
        assert bool(torch.isnan(layer.running_mean).any())
        norms.restore()
        assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())

    @pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you")])
    def test_exhausted_memory_names_the_settings_that_help(self, error: Exception) -> None:
        with (
            pytest.raises(TrainingError, match=r"embed_at_once: 6(.|\n)*bf16(.|\n)*batch_size: 6"),
            memory_errors(CONFIG, "distilling", "train", 12),
        ):
            raise error
        with pytest.raises(RuntimeError, match="another matter"), memory_errors(CONFIG, "distilling", "train", 12):
            raise RuntimeError("another matter")

    def test_effective_rank_and_uniformity_of_known_clouds(self) -> None:
        assert effective_rank(torch.eye(8)) == pytest.approx(8, rel=1e-5)
        assert effective_rank(torch.ones(8, 4)) == pytest.approx(1, rel=1e-4)
        assert uniformity(torch.ones(5, 3)) == pytest.approx(0, abs=1e-6)
        opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
        assert uniformity(opposite) == pytest.approx(-8)

    def test_collapse_is_warned_about_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        torch.manual_seed(0)
        guard, teacher = CollapseGuard("distilling"), torch.randn(64, 32)
        assert guard.measure() == {}
        for _ in range(4):
            guard.see(torch.ones(64, 32) + 1e-4 * torch.randn(64, 32), teacher)
            measured = guard.measure()
        assert measured["effective_rank"] < 0.1 * measured["teacher_effective_rank"]
        assert capsys.readouterr().err.count("collapsing") == 1
        guard.see(torch.randn(64, 32), teacher)
        assert guard.measure()["effective_rank"] > 10


class TestCheckpoints:
    def test_rotate_and_are_written_at_steps(self, bench: Bench) -> None:
        bench.run("a", changed(checkpoint_every=2, keep_checkpoints=3))
        kept = sorted(path.name for path in (bench.folder / "a").iterdir())
        assert kept == sorted(f"step-{step:010d}.{kind}" for step in (6, 8, 9) for kind in ("pt", "sha256"))

    def test_a_state_without_its_checksum_does_not_count(self, tmp_path: Path) -> None:
        states = Checkpoints(tmp_path, keep=2)
        assert states.load() is None
        states.save(3, {"step": 3})
        (tmp_path / "step-0000000009.pt").write_bytes(b"half of it")
        assert states.load() == {"step": 3}

    def test_no_room_is_said_and_the_last_state_is_whole(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        states = Checkpoints(tmp_path, keep=1)
        states.save(1, {"step": 1})
        monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
        with pytest.raises(StorageError, match=r"no room for a checkpoint(.|\n)*MiB free"):
            states.save(2, {"step": 2})
        assert states.load() == {"step": 1}

    def test_one_of_another_network_is_refused(self, bench: Bench, manifest: Path) -> None:
        bench.run("a", CONFIG)
        other = Bench(manifest, bench.folder, "test_vit")
        from crossdistill.errors import RunFolderError

        with pytest.raises(RunFolderError, match="another training"):
            other.run("a", CONFIG)

    def test_hold_no_code(self, tmp_path: Path) -> None:
        import pickle

        class Evil:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.mkdir, (str(tmp_path / "owned"),)

        states = Checkpoints(tmp_path, keep=1)
        path = tmp_path / "step-0000000001.pt"
        path.write_bytes(pickle.dumps({"step": Evil()}))
        from crossdistill.errors import RunFolderError
        from crossdistill.files import sha256_file

        path.with_suffix(".sha256").write_text(sha256_file(path))
        with pytest.raises(RunFolderError, match="No checkpoint"):
            states.load()
        assert not (tmp_path / "owned").exists()

    def test_a_jumping_clock_changes_nothing(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = bench.run("whole", CONFIG)
        jumps = iter(np.random.default_rng(0).integers(-(10**6), 10**6, 10**6))
        monkeypatch.setattr(time, "time", lambda: float(next(jumps)))
        assert weights_hash(bench.run("jumping", CONFIG)) == weights_hash(whole)
        assert all(line["seconds"] >= 0 for line in bench.lines("jumping", "epoch"))


class TestClock:
    def test_says_where_the_time_goes(self, bench: Bench) -> None:
        plain, profiled = bench.run("plain", CONFIG), bench.run("a", changed(profile=True))
        found = json.loads((bench.folder / "profile" / "distil.json").read_text())
        phases = found["phases"]
        assert set(phases) == {
            "data",
            "augmentation",
            "forward",
            "objective",
            "backward",
            "optimiser",
            "waiting",
            "other",
        }
        assert sum(phase["share"] for phase in phases.values()) == pytest.approx(1, abs=0.01)
        assert phases["forward"]["ms"] > 0 and phases["backward"]["ms"] > 0  # noqa: PT018
        assert found["steps"] == 7
        assert weights_hash(plain) == weights_hash(profiled)


class TestReading:
    def test_an_item_that_hangs_is_named(self, manifest: Path, tmp_path: Path) -> None:
        (tmp_path / "pairs.csv").write_text("source,target\nhang.png,hang.png\n")
        (tmp_path / "hang.png").touch()
        pairs = open_pairs(str(tmp_path / "pairs.csv"))
        (tmp_path / "hang.png").unlink()
        os.mkfifo(tmp_path / "hang.png")  # reading waits for a writer that never comes
        started = time.monotonic()
        with pytest.raises(PairsError, match=r"row 2, column target: .*hang\.png") as caught:
            Items.of(pairs, [0], "target", MODALITY, patience=0.5)
        assert "train.read_timeout" in str(caught.value)
        assert time.monotonic() - started < 10
        assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL

    def test_the_limit_leaves_other_errors_and_results_alone(self) -> None:
        with pytest.raises(KeyError), time_limit(5):
            raise KeyError("x")
        with time_limit(0.2):
            pass
        time.sleep(0.3)  # no alarm rings later


class TestTrackers:
    def test_tensorboard_has_every_number(self, bench: Bench) -> None:
        from tensorboardX.proto.event_pb2 import Event

        opened = open_trackers(("tensorboard",), bench.folder, {})
        distil(
            copy.deepcopy(bench.initial), bench.items, bench.teacher, torch.arange(40), CMCD(0.1), CONFIG,
            log=TrainLog(bench.folder / "train.jsonl", "distil/cmcd", opened),
        )  # fmt: skip
        for tracker in opened:
            tracker.close()
        (file,) = (bench.folder / "tensorboard" / "distil-cmcd").glob("events*")
        blob, place, found = file.read_bytes(), 0, {}
        while place < len(blob):
            length = int.from_bytes(blob[place : place + 8], "little")
            event = Event.FromString(blob[place + 12 : place + 12 + length])
            place += 16 + length
            for value in event.summary.value:
                found[value.tag, event.step] = value.simple_value
        lines = bench.lines("train", "step")
        assert len(lines) == 9
        assert all(found["loss", line["step"]] == pytest.approx(line["loss"], rel=1e-6) for line in lines)
        assert ("epoch/effective_rank", 9) in found

    @pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
    def test_a_missing_package_is_named(self, name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import sys

        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingDependencyError, match=rf"crossdistill\[{name}\]"):
            open_trackers((name,), tmp_path, {})

    def test_one_that_cannot_be_opened_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import sys
        import types

        def init(**_: object) -> None:
            raise RuntimeError("not logged in\nand more")

        monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
        with pytest.raises(ConfigError, match=r"trackers: wandb(.|\n)*not logged in\n"):
            open_trackers(("tensorboard", "wandb"), tmp_path, {})

    def test_others_are_told_the_same(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        import sys
        import types

        told: list[dict[str, float]] = []
        run = types.SimpleNamespace(log=told.append, finish=lambda: told.append({"end": 1.0}))
        for name in ("wandb", "trackio"):
            fake = types.SimpleNamespace(init=lambda **_: run)
            monkeypatch.setitem(sys.modules, name, fake)
            (tracker,) = open_trackers((name,), bench.folder, {"a": 1})  # type: ignore[arg-type]
            tracker.begin("distil", 0)
            tracker.add("distil", 3, {"loss": 0.5})
            tracker.close()
        assert told == [{"distil/loss": 0.5, "distil/step": 3}, {"end": 1.0}] * 2
        assert len((bench.folder / "trackers.id").read_text().strip()) == 16
