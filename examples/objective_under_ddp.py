"""An objective in your own distributed code: each process has its own rows, the loss is that of all of them.

torchrun --nproc-per-node 2 examples/objective_under_ddp.py
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from crossdistill.objectives import CMCD, Objective, TeacherColumns

PAIRS, TARGET, WIDTH, BATCH = 1000, 20, 16, 64


class Step(nn.Module):
    """Student and objective in one module: DDP averages the gradient of the temperature too."""

    def __init__(self, student: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.student = student
        self.objective = objective

    def forward(self, items: Tensor, teacher: Tensor, ids: Tensor) -> Tensor:
        """The loss of the whole batch, on every rank."""
        loss: Tensor = self.objective(self.student(items), teacher, ids)
        return loss


def main() -> None:
    """Trains a small student on pairs that every process can see, in batches that the processes share."""
    distributed.init_process_group("gloo")
    rank, world = distributed.get_rank(), distributed.get_world_size()
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(PAIRS, WIDTH, generator=generator)
    items = teacher @ torch.randn(WIDTH, TARGET, generator=generator) + torch.randn(PAIRS, TARGET, generator=generator)

    # Columns are the whole pair set, each process holding a part of them; the batch's rows are divided as well.
    mine = torch.arange(PAIRS)[rank::world]
    objective = CMCD(learnable_temperature=True, cmd_form="to_teacher", against="bank")
    objective.prepare(TeacherColumns(teacher[mine], mine, sharded=True))
    torch.manual_seed(0)
    step = DistributedDataParallel(Step(nn.Linear(TARGET, WIDTH), objective))
    optimiser = torch.optim.AdamW(step.parameters(), lr=1e-2)
    for epoch in range(5):
        for batch in torch.randperm(PAIRS, generator=generator).split(BATCH):  # the last one is smaller
            rows = batch[rank::world]
            loss = step(items[rows], teacher[rows], rows)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if rank == 0:
            print(f"epoch {epoch + 1}: loss {float(loss.detach()):.4f}")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
