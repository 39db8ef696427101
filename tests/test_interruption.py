"""Requests to stop, and states that are there afterwards."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.distributed import HashStore

from crossdistill import ranks
from crossdistill.encoders.encoder import weights_hash
from crossdistill.errors import ConfigError, StoppedError, TrainingError
from crossdistill.objectives import CMCD, CRD, TeacherColumns
from crossdistill.objectives.core import Batch
from crossdistill.training import TrainLog
from crossdistill.training.checkpoint import Checkpoints
from crossdistill.training.interruption import stop_requests
from crossdistill.training.trackers import Tracker
from engine_bench import CONFIG, Bench, StopAt, changed, terminate


@pytest.fixture
def bench(manifest: Path, tmp_path: Path) -> Bench:
    return Bench(manifest, tmp_path)


def send(number: signal.Signals, times: int) -> None:
    for _ in range(times):
        os.kill(os.getpid(), number)


class TestSignals:
    def test_a_second_ctrl_c_interrupts_and_a_second_sigterm_does_not(self) -> None:
        with stop_requests() as request:
            send(signal.SIGTERM, 3)
        assert request.signal_name == "SIGTERM"
        with pytest.raises(KeyboardInterrupt), stop_requests():
            send(signal.SIGINT, 2)

    def test_processes_that_prepare_batches_do_not_end_before_the_training(self, bench: Bench) -> None:
        """A scheduler signals every process; those that prepare batches are needed until the step is over."""
        groups: list[int] = []
        others = set(multiprocessing.active_children())  # of tests before this one, in the same process

        def stop_all() -> None:
            for child in set(multiprocessing.active_children()) - others:
                assert child.pid is not None
                groups.append(os.getpgid(child.pid))
                os.kill(child.pid, signal.SIGTERM)
            time.sleep(0.2)
            terminate()

        config = changed(workers=2)
        with pytest.raises(StoppedError, match="goes on from here"):
            bench.run("cut", config, StopAt(4, stop_all))
        assert len(groups) == 2
        assert os.getpgrp() not in groups
        assert weights_hash(bench.run("cut", config)) == weights_hash(bench.run("whole", CONFIG))

    def test_says_from_where_the_run_goes_on(self, bench: Bench) -> None:
        class Bad(StopAt):
            def loss(self, batch: Batch) -> Tensor:
                return super().loss(batch) * (float("nan") if self.left == 0 else 1)

        with pytest.raises(StoppedError, match="goes on from the last checkpoint"):
            bench.run("bad", CONFIG, Bad(4, terminate))


class TestCheckpoints:
    def test_what_was_just_written_is_never_removed(self, tmp_path: Path) -> None:
        states = Checkpoints(tmp_path, keep=2)
        for step in (100, 200):
            states.save(step, {"step": step})
        (tmp_path / "step-0000000200.pt").write_bytes(b"damaged")
        fewer = Checkpoints(tmp_path, keep=1)
        assert fewer.load() == {"step": 100}
        fewer.save(150, {"step": 150})
        assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["step-0000000150.pt"]
        assert fewer.load() == {"step": 150}

    def test_memory_that_runs_out_is_not_taken_for_damage(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        bench.run("a", CONFIG)

        def full(*_: object, **__: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(torch.optim.AdamW, "load_state_dict", full)
        with pytest.raises(TrainingError, match=r"memory does not suffice(.|\n)*train\.batch_size"):
            bench.run("a", CONFIG)


class TestGuards:
    def test_a_bad_last_step_of_an_epoch_is_skipped_as_any_other(self, bench: Bench) -> None:
        calls = iter(range(10**6))

        def every_third(_: nn.Module, __: object, embedded: Tensor) -> Tensor:
            return embedded * (float("nan") if next(calls) % 3 == 2 else 1)

        bench.initial.head.register_forward_hook(every_third)
        bench.run("a", CONFIG)
        assert [line["step"] for line in bench.lines("a", "skip")] == [3, 6, 9]

    def test_a_bad_batch_leaves_no_trace_in_the_memory_of_crd(self) -> None:
        torch.manual_seed(0)
        crd = CRD(projection=8, negatives=4).train()
        rows, ids = torch.randn(6, 16), torch.arange(6)
        crd.prepare(TeacherColumns(rows, ids))
        crd(torch.randn(2, 16), rows[:2], ids[:2])
        crd(torch.full((2, 16), float("nan")), rows[2:4], ids[2:4])
        assert bool(torch.isfinite(crd(torch.randn(2, 16), rows[4:], ids[4:])))

    def test_kernels_of_volumes_are_left_in_their_layout(self, bench: Bench) -> None:
        class Volumes(CMCD):
            def __init__(self) -> None:
                super().__init__(0.1)
                self.kernel = nn.Parameter(torch.zeros(1, 1, 2, 2, 2))

        bench.run("a", changed(epochs=1), Volumes())

    def test_early_stopping_without_held_out_pairs_is_refused(self, bench: Bench) -> None:
        with pytest.raises(ConfigError, match=r"train\.early_stop"):
            bench.run("a", changed(early_stop=2))

    def test_a_service_that_fails_ends_no_training(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        class Down(Tracker):
            told = 0

            @classmethod
            def open(cls, folder: Path, config: dict[str, object]) -> Down:
                return cls()

            def add(self, stage: str, step: int, values: dict[str, float]) -> None:
                self.told += 1
                raise ConnectionError("503")

            def close(self) -> None:
                pass

        tracker = Down()
        log = TrainLog(tmp_path / "train.jsonl", "distil", [tracker])
        for step in (1, 2):
            log.add("step", 1, step, {"loss": 1.0})
        assert tracker.told == 1
        assert capsys.readouterr().err.count("503") == 1
        assert len((tmp_path / "train.jsonl").read_text().splitlines()) == 2


class TestMeeting:
    def meet(self, notes: HashStore, count: int, limit: float = 20.0) -> list[str]:
        found = [""] * count

        def come(number: int) -> None:
            found[number] = ranks.meet(notes, number, count, timedelta(seconds=limit))

        threads = [threading.Thread(target=come, args=(number,)) for number in reversed(range(count))]
        for thread in threads:
            thread.start()
            time.sleep(0.05)
        for thread in threads:
            thread.join()
        return found

    def test_attempts_on_one_store_have_names_of_their_own(self) -> None:
        notes = HashStore()
        first, second = self.meet(notes, 3), self.meet(notes, 3)
        assert len(set(first)) == len(set(second)) == 1
        assert first[0] != second[0]

    def test_who_does_not_come_is_named(self) -> None:
        notes = HashStore()
        self.meet(notes, 3)  # their words still lie there
        with pytest.raises(TrainingError, match=r"none of \[1, 2\]"):
            ranks.meet(notes, 0, 3, timedelta(seconds=0.2))

    def test_a_time_limit_that_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in (("WORLD_SIZE", "2"), ("RANK", "0"), ("CROSSDISTILL_RANK_TIMEOUT", "soon")):
            monkeypatch.setenv(name, value)
        with pytest.raises(ConfigError, match="CROSSDISTILL_RANK_TIMEOUT"):
            ranks.start()
