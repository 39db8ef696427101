"""The simulator of benchmarks/scale.py on cases worked by hand, and the estimators of the whole bank on small ones."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from benchmarks.scaling.accelerators import assumed
from benchmarks.scaling.columns import Case, exact, nearest, subset
from benchmarks.scaling.model import bank_seconds, break_even, predict, ring_seconds
from benchmarks.scaling.plan import RESNET50, costs, limits
from benchmarks.scaling.terms import Machine, Workload
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from crossdistill.objectives import CMC, TeacherColumns

MACHINE = Machine(
    name="by hand", measured=False, network_rate=100.0, teacher_rate=50.0, product_rate=1000.0, cell_seconds=0.01,
    value_seconds=0.001, host_link=8.0, bandwidth=10.0, latency=0.5, storage_rate=20.0, disk_rate=6.0,
    decode_seconds=0.25, workers=0, augment_seconds=0.125, optimiser_seconds=0.1, step_seconds=3.0, overlap=0.0,
    memory=1.0, price=36.0,
)  # fmt: skip
WORK = Workload(
    pairs=20, batch=8, width=5, student_operations=25.0, student_parameters=6, teacher_operations=10.0, stored_bytes=5.0
)


class TestSimulator:
    def test_one_rank_within_the_batch(self) -> None:
        epoch = predict(WORK, MACHINE)
        assert epoch.step.network == 8 * 25 / 100
        assert epoch.step.in_batch == pytest.approx(8 * 8 * 8 * 5 / 1000 + 2 * 64 * 0.01)
        assert (epoch.step.bank, epoch.step.gather, epoch.step.exposed, epoch.step.norms) == (0, 0, 0, 0)
        step = 2 + 2.56 + 1.28 + 8 * 0.125 + 6 * 0.1 + 3 + 8 * 5 / 20 + 8 * 0.25
        assert epoch.step_seconds == pytest.approx(step)
        assert epoch.seconds == pytest.approx(2 * step + 3 * 4 * 6 / 6)  # 20 pairs are two whole batches of 8
        assert epoch.money == pytest.approx(36 * epoch.seconds / 3600)
        assert epoch.bank_seconds == pytest.approx(20 * 10 / 50)
        assert epoch.bank_bytes == 20 * 5 * 2

    def test_the_bank_on_the_device_and_on_the_host(self) -> None:
        work = replace(WORK, columns=20)
        on_device = 4 * 8 * 20 * 5 / 1000 + 8 * 20 * 0.01 + 20 * 5 * 0.001
        assert bank_seconds(work, MACHINE, 1) == pytest.approx(on_device)
        assert bank_seconds(replace(work, place="host"), MACHINE, 1) == pytest.approx(on_device + 20 * 5 * 2 / 8)
        # One way alone is left within the batch.
        assert predict(work, MACHINE).step.in_batch == pytest.approx(predict(WORK, MACHINE).step.in_batch / 2)

    def test_a_sharded_bank_has_the_same_products_and_one_exchange(self) -> None:
        work = replace(WORK, columns=20, place="sharded")
        expected = (4 * 8 * 10 * 5 / 1000 + 8 * 10 * 0.01) + 10 * 5 * 0.001 + ring_seconds(8 * 7 * 4, 2, MACHINE)
        assert bank_seconds(work, MACHINE, 2) == pytest.approx(expected)
        assert predict(work, MACHINE, 2).bank_bytes_rank == 100

    def test_two_ranks_exchange_embeddings_gradients_and_norms(self) -> None:
        machine = replace(MACHINE, sharing=1.5)
        step = predict(replace(WORK, norms=3), machine, 2).step
        assert step.network == pytest.approx(4 * 25 / 100 * 1.5)
        assert step.norms == pytest.approx(4 * 0.5 * 3)
        assert ring_seconds(24, 2, machine) == pytest.approx(2 * 0.5 * 24 / 10 + 2 * 0.5)
        assert step.exposed == pytest.approx(ring_seconds(24, 2, machine))
        assert step.gather == pytest.approx(0.5 * 8 * 48 / 10 + 3 * 0.5 + ring_seconds(160, 2, machine))
        hidden = predict(replace(WORK, norms=3), replace(machine, overlap=1.0), 2).step.exposed
        assert hidden == pytest.approx(step.exposed - 2 / 3 * step.network)

    def test_workers_read_behind_the_step(self) -> None:
        fast = predict(WORK, replace(MACHINE, workers=4))
        assert fast.step_seconds == pytest.approx(fast.step.device)
        slow = predict(WORK, replace(MACHINE, workers=1, decode_seconds=10.0))
        assert slow.step_seconds == 80.0
        assert slow.bound == "data"

    def test_at_the_break_even_the_bank_costs_as_much_as_the_student(self) -> None:
        machine = replace(MACHINE, value_seconds=0.0)
        columns = break_even(WORK, machine)
        at_large = replace(WORK, columns=round(columns * 1000), student_operations=25_000.0)
        assert bank_seconds(at_large, machine, 1) == pytest.approx(predict(at_large, machine).step.network, rel=1e-3)

    def test_the_plan_has_all_sizes_and_its_limits_follow_from_it(self) -> None:
        records = costs("H100")
        assert {(each["pairs"], each["gpus"]) for each in records} == set(
            itertools.product((10**6, 10**8, 10**9), (1, 8, 256))
        )
        machine = assumed("H100", 8)
        assert limits(machine)["memory"] == pytest.approx(0.6 * 80e9 / (512 * 2))
        assert all(
            each["fits"] == (each["pairs"] <= limits(machine)["memory"])
            for each in records
            if each["columns"] == "whole, on each GPU"
        )
        twice = costs("H100", price=6.0)
        assert [each["money"] for each in twice] == pytest.approx([2 * each["money"] for each in records])

    @given(
        pairs=st.integers(10_000, 10**9), world=st.sampled_from([1, 2, 8, 64, 256]), columns=st.integers(0, 10**9),
        place=st.sampled_from(["device", "host", "sharded"]), factor=st.floats(1.1, 10),
    )  # fmt: skip
    @settings(max_examples=60, deadline=None)
    def test_more_work_is_never_faster_and_a_better_machine_never_slower(
        self, pairs: int, world: int, columns: int, place: str, factor: float
    ) -> None:
        work, machine = replace(RESNET50, pairs=pairs, columns=columns, place=place), assumed("H100", world)
        seconds = predict(work, machine, world).seconds
        for name in ("pairs", "columns", "width", "student_operations", "student_parameters", "stored_bytes"):
            more = replace(work, **{name: math.ceil(getattr(work, name) * factor)})
            assert predict(more, machine, world).seconds >= seconds * (1 - 1e-9), name
        for name in ("network_rate", "product_rate", "bandwidth", "host_link", "storage_rate"):
            better = replace(machine, **{name: getattr(machine, name) * factor})
            assert predict(work, better, world).seconds <= seconds * (1 + 1e-9), name
        for name in ("cell_seconds", "value_seconds", "latency", "decode_seconds", "step_seconds"):
            worse = replace(machine, **{name: getattr(machine, name) * factor})
            assert predict(work, worse, world).seconds >= seconds * (1 - 1e-9), name


@pytest.fixture
def case() -> Case:
    """Three rows against eight columns."""
    generator = torch.Generator().manual_seed(0)
    columns = F.normalize(torch.randn(8, 4, generator=generator, dtype=torch.float64), dim=1)
    rows = F.normalize(torch.randn(3, 4, generator=generator, dtype=torch.float64), dim=1)
    return Case.of(rows, columns, torch.tensor([5, 0, 2]), 0.2)


class TestEstimators:
    def test_the_exact_one_is_the_librarys(self, case: Case) -> None:
        objective = CMC(0.2, symmetric=False, against="bank")
        objective.prepare(TeacherColumns(case.columns))
        rows = case.rows.clone().requires_grad_()
        loss = objective(rows, case.columns[case.own], case.own)
        loss.backward()
        estimate = exact(case)
        torch.testing.assert_close(estimate.losses.mean(), loss.detach())
        along = estimate.gradients - case.rows * (case.rows * estimate.gradients).sum(dim=1, keepdim=True)
        torch.testing.assert_close(along / 3, rows.grad)

    def test_a_corrected_subset_has_the_right_mean_over_all_subsets(self, case: Case) -> None:
        """Of all subsets that hold a row's own column, and of all that do not: each has the mean Z."""
        wanted = exact(case).log_total.exp()
        held: list[list[list[float]]] = [[[], []] for _ in range(3)]
        for chosen in itertools.combinations(range(8), 3):
            totals = subset(case, torch.tensor(chosen), corrected=True).log_total.exp()
            for row in range(3):
                held[row][int(case.own[row]) in chosen].append(float(totals[row]))
        for row in range(3):
            for some in held[row]:
                assert sum(some) / len(some) == pytest.approx(float(wanted[row]), rel=1e-10)

    def test_a_subset_of_all_is_exact_and_without_correction_it_is_below(self, case: Case) -> None:
        for corrected in (True, False):
            for found, wanted in zip(subset(case, torch.arange(8), corrected=corrected), exact(case), strict=True):
                torch.testing.assert_close(found, wanted)
        some = torch.tensor([1, 3, 4, 6])
        assert bool((subset(case, some, corrected=False).losses < exact(case).losses).all())

    def test_neighbours_with_a_remainder_have_the_right_mean(self, case: Case) -> None:
        neighbours = case.logits.topk(2, dim=1).indices
        wanted = exact(case).log_total.exp()
        totals: dict[tuple[int, int], list[float]] = {}
        for chosen in itertools.combinations(range(8), 5):
            found = nearest(case, neighbours, torch.tensor(chosen)).log_total.exp()
            for row in range(3):
                taken = {*neighbours[row].tolist(), int(case.own[row])}
                totals.setdefault((row, len(taken & set(chosen))), []).append(float(found[row]))
        for (row, _), some in totals.items():
            assert sum(some) / len(some) == pytest.approx(float(wanted[row]), rel=1e-10)

    def test_neighbours_alone_are_below_and_all_of_them_are_exact(self, case: Case) -> None:
        order = case.logits.topk(7, dim=1).indices
        losses = [nearest(case, order[:, :k]).losses for k in range(1, 8)]
        assert all(bool((after > before).all()) for before, after in itertools.pairwise(losses))
        torch.testing.assert_close(losses[-1], exact(case).losses)
        torch.testing.assert_close(nearest(case, order).gradients, exact(case).gradients)


@pytest.mark.slow
def test_the_quick_benchmark_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.scale", "--quick", "--json"], capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"name": "epoch: test_resnet' in done.stdout
