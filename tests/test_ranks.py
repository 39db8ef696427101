"""Two and three gloo processes against one: the same value, and the same parameter gradients after DDP's averaging."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from crossdistill.objectives import CMCD, InfoNCE, Objective, ObjectiveConfig, TeacherColumns
from crossdistill.objectives.paws import PAWS
from crossdistill.training.gradient_cache import embed_in_parts
from test_objectives import VARIANTS

ROWS = {2: [5, 2], 3: [3, 4, 0]}  # of each rank: uneven, and one without any
PARTS = {2: [slice(0, 11), slice(11, 30)], 3: [slice(0, 11), slice(11, 30), slice(30, 30)]}  # of a bank, one empty
SHARDED = {
    name: config for name, config in VARIANTS.items() if name.endswith("bank") or name == "kd" or name.startswith("crd")
}
PAIRS, INPUT, WIDTH = 30, 6, 8


class Step(nn.Module):
    """A student and its objective in one module, so that DDP averages the parameters of both."""

    def __init__(self, objective: Objective, parts: int = 0) -> None:
        super().__init__()
        self.parts = parts
        torch.manual_seed(0)
        self.student = nn.Sequential(nn.Linear(INPUT, 12), nn.Tanh(), nn.Linear(12, WIDTH))
        self.objective = objective

    def forward(self, inputs: Tensor, teacher: Tensor, ids: Tensor) -> Tensor:
        if self.parts:
            value: Tensor = self.objective(embed_in_parts(self.student, inputs, self.parts), teacher, ids)
        elif isinstance(self.objective, InfoNCE | PAWS):  # two views through one network
            value = self.objective(self.student(inputs), self.student(inputs + 0.3), ids)
        else:
            value = self.objective(self.student(inputs), teacher, ids)
        return value


def data() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    inputs = torch.randn(PAIRS, INPUT, generator=generator, dtype=torch.float64)
    teacher = torch.randn(PAIRS, WIDTH, generator=generator, dtype=torch.float64)
    ids = torch.arange(PAIRS)
    ids[3] = ids[1]  # one source item in two pairs, which are on different ranks or on one
    ids[6] = ids[0]
    return inputs, teacher, ids


EXTRA: dict[str, Callable[[], Step]] = {
    "info_nce": lambda: Step(InfoNCE()),
    "paws": lambda: Step(PAWS()),
    "gradient caching": lambda: Step(CMCD(), parts=2),
}


def build(config: Any, columns: TeacherColumns) -> Step:
    if isinstance(config, str) and config in EXTRA:
        step = EXTRA[config]().double()
    else:
        step = Step(ObjectiveConfig.model_validate(config).build()).double()
    objective = step.objective
    objective.prepare(columns)
    return step


def results(step: nn.Module, rows: slice) -> dict[str, Tensor]:
    inputs, teacher, ids = data()
    value = step(inputs[rows], teacher[rows], ids[rows])
    value.backward()
    found = {"value": value.detach()}
    for name, parameter in step.named_parameters():
        if parameter.grad is not None:
            found[name.removeprefix("module.")] = parameter.grad.clone()
    return found


def work(rank: int, world: int, folder: str) -> None:
    """One rank: every objective in turn, and the banks that are spread over the ranks."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    first = sum(ROWS[world][:rank])
    rows = slice(first, first + ROWS[world][rank])
    _, teacher, ids = data()
    found = {}
    for name, config in {**VARIANTS, **{name: name for name in EXTRA}}.items():
        step = build(config, TeacherColumns(teacher, ids))
        found[name] = results(DistributedDataParallel(step), rows)
    for name, config in SHARDED.items():
        mine = PARTS[world][rank]
        step = build(config, TeacherColumns(teacher[mine], ids[mine], sharded=True))
        found[f"{name}, sharded"] = results(DistributedDataParallel(step), rows)
    torch.save(found, f"{folder}/rank{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.fixture(scope="module", params=[2, 3])
def ranks(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, dict[str, Tensor]]]:
    world: int = request.param
    folder = tmp_path_factory.mktemp(f"ranks{world}")
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        multiprocessing.spawn(work, args=(world, str(folder)), nprocs=world)
    finally:
        os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)
    return [torch.load(Path(folder) / f"rank{rank}.pt", weights_only=True) for rank in range(world)]


@pytest.mark.parametrize("name", [*VARIANTS, *EXTRA, *(f"{name}, sharded" for name in SHARDED)])
def test_many_ranks_equal_one_process(ranks: list[dict[str, dict[str, Tensor]]], name: str) -> None:
    _, teacher, ids = data()
    config = name if name in EXTRA else VARIANTS[name.removesuffix(", sharded")]
    expected = results(build(config, TeacherColumns(teacher, ids)), slice(0, 7))
    assert float(max(gradient.abs().max() for key, gradient in expected.items() if key != "value")) > 1e-6
    for rank in ranks:
        assert rank[name].keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(rank[name][key], value, rtol=1e-6, atol=1e-9)
