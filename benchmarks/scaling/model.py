"""An epoch of distillation as sums and maxima of simple terms: what is computed, read, sent, and what it costs.

Notation: N pairs, B rows of a batch over all ranks, W ranks, b = B / W rows of a rank, d the width of the embeddings, M
columns of the bank that a row is compared with, P parameters of the student. Seconds of one step of one rank:

    read       b * stored bytes / storage rate
    decode     b * decoding seconds / workers
    augment    b * augmentation seconds
    network    b * operations of forward and backward / sustained rate; times ``sharing`` with several ranks
    norms      4 ceil(log2 W) latencies a layer of batch normalisation: an all-reduce of little, over a tree and back,
               forward and backward
    in batch   CMC both ways: 8 b B d operations and 2 b B cells. Against the bank one way is left: half of that
    bank       4 b M d operations and b M cells; M d values are widened, and carried over if the bank is on the host.
               Sharded over the ranks: the same with B rows and M / W columns, and one all-reduce of B (d + 2) floats
    gather     (W - 1) / W * B (8 d + 8) bytes of embeddings and ids, and an all-reduce of B d floats for the gradient
    all-reduce ring (Patarasuk and Yuan 2009): 2 (W - 1) / W * 4 P bytes / bandwidth + 2 (W - 1) latencies
    optimiser  P * seconds a parameter; and a constant overhead

A cell is one logit: what it costs beyond the products (masking, exponential, sum). The teacher has no gradient, so that
each direction of CMC takes two products (logits, and the gradient of the student's side).

What overlaps: the all-reduce of the gradients with the share ``overlap`` of the backward pass, which is two thirds of
the network; reading and decoding with everything else where there are workers (a step takes the longer of the two),
with nothing where there are none (a step takes the sum). Everything else is one after the other, as it is in the code.
An epoch is floor(N / B) steps and a checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import asdict

from benchmarks.scaling.terms import Epoch, Machine, Step, Workload

BACKWARD = 2 / 3  # share of the backward pass in the operations of forward and backward
FLOAT = 4  # bytes


def ring_bytes(size: float, world: int) -> float:
    """Bytes that a rank sends in an all-reduce of ``size`` bytes."""
    return 2 * (world - 1) / world * size


def ring_seconds(size: float, world: int, machine: Machine) -> float:
    """Seconds of an all-reduce of ``size`` bytes over ``world`` ranks."""
    if world == 1:
        return 0.0
    return ring_bytes(size, world) / machine.bandwidth + 2 * (world - 1) * machine.latency


def bank_seconds(work: Workload, machine: Machine, world: int) -> float:
    """Seconds that a step spends on the comparison with the bank."""
    if not work.columns:
        return 0.0
    sharded = work.place == "sharded"
    rows, columns = (work.batch, work.columns / world) if sharded else (work.batch / world, work.columns)
    seconds = 4 * rows * columns * work.width / machine.product_rate + rows * columns * machine.cell_seconds
    seconds += columns * work.width * machine.value_seconds
    if work.place == "host":
        seconds += columns * work.width * work.value_bytes / machine.host_link
    if sharded:
        seconds += ring_seconds(work.batch * (work.width + 2) * FLOAT, world, machine)
    return seconds


def _gather(work: Workload, machine: Machine, world: int) -> tuple[float, float]:
    """Seconds and sent bytes of a step's exchange of embeddings."""
    if world == 1:
        return 0.0, 0.0
    size = (world - 1) / world * work.batch * (2 * FLOAT * work.width + 8)
    seconds = size / machine.bandwidth + 3 * (world - 1) * machine.latency
    back = work.batch * work.width * FLOAT
    return seconds + ring_seconds(back, world, machine), size + ring_bytes(back, world)


def predict(work: Workload, machine: Machine, world: int = 1) -> Epoch:
    """What an epoch of ``work`` costs on ``world`` ranks like ``machine``."""
    b, directions = work.batch / world, 1 if work.columns else 2
    network = b * work.student_operations / machine.network_rate * (machine.sharing if world > 1 else 1.0)
    cells = directions * b * work.batch
    gather, gathered = _gather(work, machine, world)
    reduced = FLOAT * work.student_parameters
    step = Step(
        read=b * work.stored_bytes / machine.storage_rate,
        decode=b * machine.decode_seconds / max(machine.workers, 1),
        augment=b * machine.augment_seconds,
        network=network,
        norms=4 * math.ceil(math.log2(world)) * machine.latency * work.norms,
        in_batch=4 * cells * work.width / machine.product_rate + cells * machine.cell_seconds,
        bank=bank_seconds(work, machine, world),
        gather=gather,
        exposed=max(0.0, ring_seconds(reduced, world, machine) - machine.overlap * BACKWARD * network),
        optimiser=work.student_parameters * machine.optimiser_seconds,
        overhead=machine.step_seconds,
    )
    data = max(step.read, step.decode) if machine.workers else step.read + step.decode
    whole = max(step.device, data) if machine.workers else step.device + data
    steps = work.pairs // work.batch
    checkpoint = 3 * FLOAT * work.student_parameters
    seconds = steps * whole + checkpoint / machine.disk_rate
    seen = work.pairs * (1 + work.views)
    building = seen / world * work.teacher_operations / machine.teacher_rate
    reading = work.pairs / world * work.source_bytes / machine.storage_rate
    decoding = seen / world * machine.decode_seconds / max(machine.workers, 1) if work.source_bytes else 0.0
    built = max(building, reading, decoding)
    bank = seen * work.width * work.value_bytes
    sharded = work.columns and work.place == "sharded"
    spread = ring_bytes(work.batch * (work.width + 2) * FLOAT, world) if sharded else 0.0
    terms = {name: value for name, value in asdict(step).items() if name not in ("read", "decode")}
    return Epoch(
        step=step,
        step_seconds=whole,
        seconds=seconds,
        bank_seconds=built,
        bank_bytes=bank,
        bank_bytes_rank=bank / world if work.place == "sharded" else bank,
        operations=work.pairs * work.student_operations,
        bank_operations=4.0 * work.pairs * work.columns * work.width,
        sent_bytes=steps * (gathered + spread + ring_bytes(reduced, world)),
        checkpoint_bytes=checkpoint,
        money=world * seconds / 3600 * machine.price,
        bank_money=world * built / 3600 * machine.price,
        bound="data" if machine.workers and data > step.device else max(terms, key=lambda name: terms[name]),
    )


def break_even(work: Workload, machine: Machine) -> float:
    """Columns M at which the comparison with the bank costs as much as the student's network, by operations and cells.

    ``operations / network rate = M (4 d / product rate + cell)``; what does not depend on the batch alone is left out.
    """
    column = 4 * work.width / machine.product_rate + machine.cell_seconds
    return work.student_operations / machine.network_rate / column
