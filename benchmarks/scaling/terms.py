"""What the simulator takes and gives; the terms are defined in :mod:`benchmarks.scaling.model`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Place = Literal["device", "host", "sharded"]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What one rank sustains. ``measured`` says whether anybody has measured it; it is an assumption otherwise.

    Attributes:
        name: for tables.
        measured: see above.
        network_rate: operations a second of the student's forward and backward pass.
        teacher_rate: operations a second of the teacher's forward pass.
        product_rate: operations a second of the objective's matrix products.
        cell_seconds: seconds a logit beyond the products.
        value_seconds: seconds a value of the bank that is widened and brought to unit length.
        host_link: bytes a second from host to device; by default no time at all.
        bandwidth: bytes a second that a rank sends to its neighbour in the ring.
        latency: seconds of one message.
        storage_rate: bytes a second that a rank reads from where items are stored.
        disk_rate: bytes a second that a checkpoint is written with.
        decode_seconds: seconds to decode an item, in one process.
        workers: processes of a rank that decode; 0: in between.
        augment_seconds: seconds to augment an item.
        optimiser_seconds: seconds a parameter.
        step_seconds: constant overhead of a step.
        overlap: share of the backward pass behind which the all-reduce can hide.
        sharing: factor by which a rank's network is slower among several: ranks of one machine share its memory and
            cores, and batch normalisation over ranks takes more work on a CPU.
        memory: bytes of device memory that a bank may take.
        price: money an hour of a rank, in USD.
    """

    name: str
    measured: bool
    network_rate: float
    teacher_rate: float
    product_rate: float
    cell_seconds: float
    value_seconds: float
    host_link: float = 1e18
    bandwidth: float
    latency: float
    storage_rate: float
    disk_rate: float
    decode_seconds: float
    workers: int
    augment_seconds: float
    optimiser_seconds: float
    step_seconds: float
    overlap: float
    sharing: float = 1.0
    memory: float
    price: float


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is distilled.

    Attributes:
        pairs: N.
        batch: B, over all ranks.
        width: d.
        student_operations: of forward and backward of an item (a multiply-add is two).
        student_parameters: P.
        norms: layers of batch normalisation.
        teacher_operations: of forward of an item.
        stored_bytes: of a target item as it is stored.
        source_bytes: of a source item as it is stored; they are read once, for the bank.
        views: augmented views of a source in the bank, beside the canonical one.
        value_bytes: of a value of the bank: 2 or 4.
        columns: M; 0 compares within the batch alone.
        place: where the bank is.
    """

    pairs: int
    batch: int
    width: int
    student_operations: float
    student_parameters: float
    norms: int = 0
    teacher_operations: float = 0.0
    stored_bytes: float = 0.0
    source_bytes: float = 0.0
    views: int = 0
    value_bytes: int = 2
    columns: int = 0
    place: Place = "device"


@dataclass(frozen=True, kw_only=True)
class Step:
    """Seconds of one rank in one step, by what they are spent on; see the module."""

    read: float
    decode: float
    augment: float
    network: float
    norms: float
    in_batch: float
    bank: float
    gather: float
    exposed: float
    optimiser: float
    overhead: float

    @property
    def device(self) -> float:
        """All but reading and decoding."""
        return sum(asdict(self).values()) - self.read - self.decode


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """A prediction.

    Attributes:
        step: by term.
        step_seconds: of a whole step.
        seconds: of an epoch.
        bank_seconds: to compute the bank, once.
        bank_bytes: of all of it.
        bank_bytes_rank: that a rank keeps at hand.
        operations: of an epoch in the student's network, all ranks.
        bank_operations: of an epoch in the comparison with the bank, all ranks.
        sent_bytes: of an epoch, by each rank.
        checkpoint_bytes: student, its two moments.
        money: of an epoch, in USD.
        bank_money: of the bank, once.
        bound: the largest term, or ``data`` where the step waits for items.
    """

    step: Step
    step_seconds: float
    seconds: float
    bank_seconds: float
    bank_bytes: float
    bank_bytes_rank: float
    operations: float
    bank_operations: float
    sent_bytes: float
    checkpoint_bytes: float
    money: float
    bank_money: float
    bound: str
