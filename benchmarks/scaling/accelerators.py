"""Machines that are not at hand: published peaks times an assumed utilisation, and an assumed price.

Nothing here is measured. The peaks are what the vendor publishes for the H100 SXM and the H200 SXM (dense, without
sparsity); utilisation, workers, storage and price are assumptions, and arguments. ``python -m benchmarks.scale
--device cuda`` measures the machine at hand instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.scaling.terms import Machine

PRICE = 3.0  # USD an hour of one GPU: an assumption, no quotation
UTILISATION = 0.35  # of the peak of bf16, by a network's forward and backward pass: an assumption
PRODUCTS = 0.6  # of the peak of TF32, by large matrix products: an assumption
MEMORY = 0.7  # of the peak of the memory's bandwidth: an assumption
PASSES = 20  # bytes of memory traffic a logit: written, and read or overwritten four times, in float32
NODE = 8  # GPUs of a machine


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """Published peaks of a GPU, and of what it is connected with.

    Attributes:
        name: for tables.
        bf16: operations a second, dense.
        tf32: likewise.
        memory_bandwidth: bytes a second.
        memory: bytes.
        link: bytes a second to another GPU of its machine, one way.
        network: bytes a second to another machine, one way, for each GPU.
        host: bytes a second from its host, one way.
    """

    name: str
    bf16: float
    tf32: float
    memory_bandwidth: float
    memory: float
    link: float = 450e9  # NVLink 4: 900 GB/s both ways together
    network: float = 50e9  # 400 Gb/s for each GPU
    host: float = 64e9  # PCIe 5.0 x16


ACCELERATORS = {
    "H100": Accelerator(name="H100", bf16=989e12, tf32=494e12, memory_bandwidth=3.35e12, memory=80e9),
    "H200": Accelerator(name="H200", bf16=989e12, tf32=494e12, memory_bandwidth=4.8e12, memory=141e9),
}


def assumed(
    name: str,
    world: int,
    *,
    utilisation: float = UTILISATION,
    price: float = PRICE,
    decode_seconds: float = 0.005,
    workers: int = 12,
    storage_rate: float = 1e9,
) -> Machine:
    """A rank of ``world`` with such a GPU; more than eight are on several machines.

    Args:
        name: of :data:`ACCELERATORS`.
        world: ranks.
        utilisation: of the peak of bf16, of the network.
        price: USD an hour of a GPU.
        decode_seconds: of an item, in one process.
        workers: processes that decode, for each GPU.
        storage_rate: bytes a second from object storage, for each GPU.
    """
    chosen = ACCELERATORS[name]
    memory_rate = MEMORY * chosen.memory_bandwidth
    return Machine(
        name=f"{world} x {name} (assumed)",
        measured=False,
        network_rate=utilisation * chosen.bf16,
        teacher_rate=utilisation * chosen.bf16,
        product_rate=PRODUCTS * chosen.tf32,
        cell_seconds=PASSES / memory_rate,
        value_seconds=10 / memory_rate,  # two bytes read, four written, four read by the product
        host_link=MEMORY * chosen.host,
        bandwidth=MEMORY * (chosen.link if world <= NODE else chosen.network),
        latency=10e-6,
        storage_rate=storage_rate,
        disk_rate=1e9,
        decode_seconds=decode_seconds,
        workers=workers,
        augment_seconds=20e-6,
        optimiser_seconds=28 / memory_rate,  # bytes: parameter, gradient, two moments read; three of them written
        step_seconds=5e-3,
        overlap=0.8,
        memory=0.6 * chosen.memory,
        price=price,
    )
