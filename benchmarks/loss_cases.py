"""One loss, forward and backward, in a process of its own, so that its peak memory is its own too.

`benchmarks.objectives` starts this module with a case as JSON and reads the measurement, JSON too, from its output.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from crossdistill.objectives import CMC, CMCD, InfoNCE, SigLIP, TeacherColumns

TAU = 0.1
Loss = Callable[[Tensor, Tensor], Tensor]


def naive_cmcd(student: Tensor, teacher: Tensor) -> Tensor:
    """Symmetric CMC + CMD as one would write it: whole matrices and autograd."""
    s, t = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
    logits, own = s @ t.T / TAU, torch.arange(len(s), device=s.device)
    cmc = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    itself = torch.eye(len(s), dtype=torch.bool, device=s.device)
    log_q = (s @ s.T / TAU).masked_fill(itself, float("-inf")).log_softmax(dim=1)
    with torch.no_grad():
        p = (t @ t.T / TAU).masked_fill(itself, float("-inf")).softmax(dim=1)
    return cmc - (p * log_q.masked_fill(itself, 0.0)).sum(dim=1).mean()


def compiled_cmcd(student: Tensor, teacher: Tensor) -> Tensor:
    """The same through ``torch.compile``."""
    loss: Tensor = torch.compile(naive_cmcd)(student, teacher)
    return loss


def naive_cmc(student: Tensor, teacher: Tensor) -> Tensor:
    """Symmetric CMC alone."""
    logits, own = F.normalize(student, dim=1) @ F.normalize(teacher, dim=1).T / TAU, torch.arange(len(student))
    own = own.to(logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def _clip(student: Tensor, teacher: Tensor) -> Tensor:
    from open_clip.loss import ClipLoss

    loss: Tensor = ClipLoss()(F.normalize(student, dim=1), F.normalize(teacher, dim=1), 1 / TAU)
    return loss


def _siglip(student: Tensor, teacher: Tensor) -> Tensor:
    from open_clip.loss import SigLipLoss

    rows = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
    loss: Tensor = SigLipLoss()(*rows, student.new_tensor(1 / TAU), student.new_tensor(-10.0))
    return loss


def _lightly(student: Tensor, teacher: Tensor) -> Tensor:
    from lightly.loss import NTXentLoss

    loss: Tensor = NTXentLoss(temperature=TAU)(student, teacher)
    return loss


def _metric_learning(student: Tensor, teacher: Tensor) -> Tensor:
    from pytorch_metric_learning.losses import NTXentLoss

    item = torch.arange(len(student)).repeat(2)
    loss: Tensor = NTXentLoss(temperature=TAU)(torch.cat([student, teacher]), item)
    return loss


LOSSES: dict[str, tuple[Loss, bool]] = {  # and whether the teacher's side is trained too, as the peer's is
    "whole matrices": (naive_cmcd, False),
    "whole matrices, compiled": (compiled_cmcd, False),
    "cmc + cmd": (CMCD(TAU, cmd_weight=1.0), False),
    "cmc in whole matrices": (naive_cmc, True),
    "cmc": (CMC(TAU), True),
    "open_clip ClipLoss": (_clip, True),
    "info_nce": (InfoNCE(TAU), True),
    "lightly NTXentLoss": (_lightly, True),
    "pytorch-metric-learning NTXentLoss": (_metric_learning, True),
    "siglip": (SigLIP(TAU, learnable=False), True),
    "open_clip SigLipLoss": (_siglip, True),
}


def memory_mb(field: str) -> float:
    """VmRSS (now) or VmHWM (peak) of this process in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":"))


def measure(prepare: Callable[[], Callable[[], Any]], repeats: int, device: str) -> dict[str, float]:
    """The shortest time of several, and the most memory beyond what was there before preparing, in MiB."""
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**20
    else:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts again from what is in use
        before = memory_mb("VmRSS")
    action, best = prepare(), float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        if cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated() / 2**20 if cuda else memory_mb("VmHWM")
    return {"seconds": best, "extra_mb": peak - before, "peak_mb": peak}


def _loss_step(name: str, case: dict[str, Any]) -> Callable[[], None]:
    """Forward and backward of a loss; its kernels and modules are loaded by then."""
    loss, both = LOSSES[name]
    device, generator = case["device"], torch.Generator().manual_seed(0)
    if isinstance(loss, torch.nn.Module):
        loss = loss.to(device)

    def tensors(rows: int) -> tuple[Tensor, Tensor]:
        student, teacher = (torch.randn(rows, case["width"], generator=generator).to(device) for _ in range(2))
        return student.requires_grad_(), teacher.requires_grad_(both)

    loss(*tensors(64)).backward()  # type: ignore[no-untyped-call]
    student, teacher = tensors(case["batch"])

    def step() -> None:
        student.grad = teacher.grad = None
        loss(student, teacher).backward()  # type: ignore[no-untyped-call]

    return step


def in_batch(case: dict[str, Any]) -> dict[str, float]:
    """A loss of ``batch`` rows of ``width``."""
    step = _loss_step(case["loss"], case)
    return measure(lambda: step, case["repeats"], case["device"])


def in_turns(case: dict[str, Any]) -> dict[str, float]:
    """Times of several losses that take turns, as the machine's speed changes over time; of each its best turn."""
    steps = {name: _loss_step(name, case) for name in case["losses"]}
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(case["repeats"]):
        for name, step in steps.items():
            best[name] = min(best[name], measure(lambda step=step: step, 1, case["device"])["seconds"])
    return best


def _bank_step(case: dict[str, Any], columns: TeacherColumns) -> Callable[[], None]:
    objective = CMC(TAU, symmetric=False, against="bank")
    objective.prepare(columns)
    ids = columns.ids[:: max(1, len(columns) // case["batch"])][: case["batch"]]
    teacher = columns.embeddings[ids].float()
    student = (teacher + torch.randn(teacher.shape).to(teacher)).requires_grad_()

    def step() -> None:
        student.grad = None
        objective(student, teacher, ids).backward()

    return step


def whole_bank(case: dict[str, Any]) -> dict[str, float]:
    """CMC, one way, of a batch against a memory-mapped float16 bank. What is mapped counts as memory too."""
    device = torch.device(case["device"])
    _bank_step(case, TeacherColumns(torch.randn(case["batch"], case["width"], device=device)))()  # loads the kernels

    def prepare() -> Callable[[], None]:
        bank = np.load(case["bank"], mmap_mode="r")[: case["columns"]]
        return _bank_step(case, TeacherColumns(bank).to(device))

    return measure(prepare, case["repeats"], case["device"])


def bank_and_products(case: dict[str, Any]) -> dict[str, float]:
    """The same beside the two products that it cannot do without, in float32, of columns that lie ready in memory.

    The products take the columns in tiles of the size that the objective uses, or all at once, whichever is faster. The
    three take turns, as the machine's speed changes over time, and each has its best turn counted.
    """
    device = torch.device(case["device"])
    bank = np.load(case["bank"], mmap_mode="r")[: case["columns"]]
    step = _bank_step(case, TeacherColumns(bank).to(device))
    rows, whole = (torch.randn(count, case["width"], device=device) for count in (case["batch"], case["columns"]))
    logits = {size: torch.empty(len(rows), size, device=device) for size in (1024, len(whole))}
    sums = torch.zeros_like(rows)

    def products(size: int) -> None:
        for tile in whole.split(size):
            torch.mm(rows, tile.T, out=logits[size])
            sums.addmm_(logits[size], tile)

    best = dict.fromkeys(("ours", "tiles", "whole"), float("inf"))
    actions: dict[str, Callable[[], None]] = {
        "ours": step, "tiles": lambda: products(1024), "whole": lambda: products(len(whole)),
    }  # fmt: skip
    for _ in range(case["repeats"]):
        for name, action in actions.items():
            best[name] = min(best[name], measure(lambda action=action: action, 1, case["device"])["seconds"])
    return {"seconds": best["ours"], "products": min(best["tiles"], best["whole"])}


def product_rate(case: dict[str, Any]) -> dict[str, float]:
    """Operations a second of one large float32 matrix product."""
    first, second = (torch.randn(case["batch"], case["width"], device=case["device"]) for _ in range(2))
    first @ second.T
    measured = measure(lambda: lambda: first @ second.T, case["repeats"], case["device"])
    return {**measured, "flops": 2 * case["batch"] ** 2 * case["width"] / measured["seconds"]}


KINDS = {
    "in_batch": in_batch,
    "in_turns": in_turns,
    "whole_bank": whole_bank,
    "bank_and_products": bank_and_products,
    "product_rate": product_rate,
}

if __name__ == "__main__":
    torch.manual_seed(0)
    request = json.loads(sys.argv[1])
    print(json.dumps(KINDS[request["kind"]](request)))
