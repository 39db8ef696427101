"""Objectives against other people's code on the same tensors, in values and gradients; `make test-peers` runs them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import KernelCenterer
from torch import Tensor, nn
from torch.nn import functional as F

from crossdistill.objectives import (
    CMC,
    CMD,
    MMD,
    SEED,
    BarlowTwins,
    Cosine,
    InfoNCE,
    Objective,
    SigLIP,
    TeacherColumns,
    VICReg,
)

pytestmark = pytest.mark.peers

Loss = Callable[[Tensor, Tensor], Tensor]
Pair = tuple[Tensor, Tensor]

# MiB: all rows at once; a few rows; one row at a time.
memory_sizes = pytest.mark.parametrize("memory_mb", [64, 0.001, 0.0001])
temperatures = pytest.mark.parametrize("tau", [0.02, 0.1, 0.5])


@pytest.fixture(params=[(24, 16), (7, 33)], ids=str)
def pair(request: pytest.FixtureRequest) -> Pair:
    """Loosely related rows of very different lengths: no loss is near 0, and normalisation takes part in gradients."""
    generator = torch.Generator().manual_seed(0)
    first, noise = (torch.randn(request.param, generator=generator, dtype=torch.float64) for _ in range(2))
    lengths = torch.rand(2, request.param[0], 1, generator=generator, dtype=torch.float64) * 4 + 0.1
    return first * lengths[0], (first + 3 * noise) * lengths[1]


def unit(rows: Tensor) -> Tensor:
    return F.normalize(rows, dim=1)


def scaled(rows: Tensor) -> Tensor:
    """As the statistical objectives see the embeddings; the peers take what they are given."""
    return unit(rows) * math.sqrt(rows.shape[1])


def without_diagonal(square: Tensor) -> Tensor:
    return square[~torch.eye(len(square), dtype=torch.bool)].view(len(square), -1)


def their_own(parameter: nn.Parameter) -> Tensor:
    return parameter.detach().clone().requires_grad_()


def assert_alike(
    ours: Loss,
    peer: Loss,
    pair: Pair,
    parameters: tuple[Sequence[Tensor], Sequence[Tensor]] = ((), ()),
    *,
    frozen_teacher: bool = False,
) -> None:
    """Compares values and the gradients of student, teacher (unless frozen), and of our and their parameters."""
    found = []
    for loss, trained in zip((ours, peer), parameters, strict=True):
        student, teacher = pair[0].clone().requires_grad_(), pair[1].clone().requires_grad_(not frozen_teacher)
        value = loss(student, teacher)
        leaves = [student, *([] if frozen_teacher else [teacher]), *trained]
        found.append([value.detach(), *torch.autograd.grad(value, leaves)])
    assert all(each.dtype == torch.float64 and each.abs().max() > 0 for each in found[0]), "an empty comparison"
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


@temperatures
@memory_sizes
def test_info_nce_lightly(pair: Pair, tau: float, memory_mb: float) -> None:
    peer = pytest.importorskip("lightly.loss").NTXentLoss(temperature=tau)
    assert_alike(InfoNCE(tau, memory_mb), peer, pair)


@temperatures
def test_info_nce_pytorch_metric_learning(pair: Pair, tau: float) -> None:
    peer = pytest.importorskip("pytorch_metric_learning.losses").NTXentLoss(temperature=tau)

    def of_views(first: Tensor, second: Tensor) -> Tensor:
        return peer(torch.cat([first, second]), torch.arange(len(first)).repeat(2))

    assert_alike(InfoNCE(tau), of_views, pair)


@temperatures
@memory_sizes
@pytest.mark.parametrize("frozen_teacher", [False, True])
def test_cmc_open_clip(pair: Pair, tau: float, memory_mb: float, frozen_teacher: bool) -> None:
    peer = pytest.importorskip("open_clip.loss").ClipLoss()

    def clip(student: Tensor, teacher: Tensor) -> Tensor:
        return peer(unit(student), unit(teacher), 1 / tau)

    assert_alike(CMC(temperature=tau, memory_mb=memory_mb), clip, pair, frozen_teacher=frozen_teacher)


@temperatures
@memory_sizes
def test_cmc_learnable_temperature_open_clip(pair: Pair, tau: float, memory_mb: float) -> None:
    peer = pytest.importorskip("open_clip.loss").ClipLoss()
    ours = CMC(temperature=tau, learnable_temperature=True, memory_mb=memory_mb).double()
    log_scale = their_own(ours.temperature.log_scale)

    def clip(student: Tensor, teacher: Tensor) -> Tensor:
        return peer(unit(student), unit(teacher), log_scale.exp())

    assert_alike(ours, clip, pair, ([ours.temperature.log_scale], [log_scale]))


@temperatures
@memory_sizes
def test_cmc_against_bank_lightly(pair: Pair, tau: float, memory_mb: float) -> None:
    # MoCo's queue, exact: to each anchor the peer is shown the embeddings of all other items.
    losses = pytest.importorskip("lightly.loss")
    bank = torch.randn(40, pair[1].shape[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    bank[: len(pair[1])] = pair[1]
    ours = CMC(tau, symmetric=False, against="bank", memory_mb=memory_mb)
    ours.prepare(TeacherColumns(bank))

    def moco(student: Tensor, teacher: Tensor) -> Tensor:
        total = student.new_zeros(())
        for item in range(len(student)):
            peer = losses.NTXentLoss(temperature=tau, memory_bank_size=(len(bank) - 1, bank.shape[1]))
            peer.memory_bank.bank = unit(torch.cat([bank[:item], bank[item + 1 :]]))
            total = total + peer(student[item : item + 1], teacher[item : item + 1]) / len(student)
        return total

    ids = torch.arange(len(pair[0]))
    assert_alike(lambda student, teacher: ours(student, teacher, ids), moco, pair, frozen_teacher=True)


@pytest.mark.parametrize(("temperature", "bias"), [(0.1, -10.0), (0.5, 0.0), (1.0, 2.5)])
@memory_sizes
def test_siglip_open_clip(pair: Pair, temperature: float, bias: float, memory_mb: float) -> None:
    peer = pytest.importorskip("open_clip.loss").SigLipLoss(rank=0, world_size=1)
    ours = SigLIP(temperature, bias, memory_mb=memory_mb).double()
    log_scale, offset = their_own(ours.temperature.log_scale), their_own(ours.bias)

    def siglip(student: Tensor, teacher: Tensor) -> Tensor:
        return peer(unit(student), unit(teacher), log_scale.exp(), offset)

    assert_alike(ours, siglip, pair, ([ours.temperature.log_scale, ours.bias], [log_scale, offset]))


@temperatures
@pytest.mark.parametrize("name", ["seed", "cmd", "cmd to_teacher"])
def test_distillation_open_clip(pair: Pair, tau: float, name: str) -> None:
    # The peer's distillation term takes ready-made logits: with the anchor's own column for SEED, without it for CMD.
    peer = pytest.importorskip("open_clip.loss").DistillClipLoss()
    ours: dict[str, Objective] = {
        "seed": SEED(tau, teacher_temperature=0.05),
        "cmd": CMD(tau, teacher_temperature=0.05),
        "cmd to_teacher": CMD(tau, teacher_temperature=0.05, form="to_teacher"),
    }

    def distill(student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = unit(student), unit(teacher)
        wanted = teacher @ teacher.T / 0.05
        logits = student @ (student if name == "cmd" else teacher).T / tau
        if name != "seed":
            wanted, logits = without_diagonal(wanted), without_diagonal(logits)
        return peer.dist_loss(wanted, logits)

    assert_alike(ours[name], distill, pair, frozen_teacher=True)


def test_cosine_lightly(pair: Pair) -> None:
    # The peer leaves out the constant 1.
    peer = pytest.importorskip("lightly.loss").NegativeCosineSimilarity()
    assert_alike(Cosine(), lambda student, teacher: 1 + peer(student, teacher), pair)


def mmd_by_kernel(kernel: Callable[[Any, Any], Any], first: Any, second: Any) -> Any:
    return kernel(first, first).mean() + kernel(second, second).mean() - 2 * kernel(first, second).mean()


@pytest.mark.parametrize("sigma", [0.3, 1.0])
@memory_sizes
def test_mmd_pot(pair: Pair, sigma: float, memory_mb: float) -> None:
    ot = pytest.importorskip("ot")

    def mmd(student: Tensor, teacher: Tensor) -> Tensor:
        return mmd_by_kernel(lambda x, y: ot.utils.kernel(x, y, "gaussian", sigma=sigma), unit(student), unit(teacher))

    assert_alike(MMD(sigma, memory_mb), mmd, pair)


def test_mmd_many_bandwidths_pot(pair: Pair) -> None:
    ot = pytest.importorskip("ot")

    def mmd(student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = unit(student), unit(teacher)
        frozen = teacher.detach()
        spread = float(ot.dist(frozen, frozen).mean())  # the bandwidths follow the teacher, without a gradient

        def kernel(x: Tensor, y: Tensor) -> Tensor:
            sigmas = [math.sqrt(factor * spread / 2) for factor in (0.25, 0.5, 1, 2, 4)]
            return torch.stack([ot.utils.kernel(x, y, "gaussian", sigma=sigma) for sigma in sigmas]).mean(dim=0)

        return mmd_by_kernel(kernel, student, teacher)

    assert_alike(MMD(), mmd, pair)


@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_mmd_hyppo(pair: Pair, sigma: float) -> None:
    # hyppo has no gradients, and its biased "MMD" is a distance correlation of the pooled rows (kernel matrix K, 2B
    # rows) with their labels: 1/8 sqrt(r), r = MMD^2/4 / (||HKH||/2B) with H the centring matrix. The factor of 1/8 is
    # its 2 n^2 m^2 / (n + m)^4 for n = m; the labels' own kernel cancels. So MMD^2 = 4 (8 stat)^2 ||HKH||/2B.
    peer = pytest.importorskip("hyppo.ksample")
    gamma = 1 / (2 * sigma**2)
    student, teacher = (unit(rows).numpy() for rows in pair)
    statistic = peer.MMD(compute_kernel="gaussian", bias=True, gamma=gamma).statistic(student, teacher)
    pooled = unit(torch.cat(pair)).numpy()
    centred = KernelCenterer().fit_transform(rbf_kernel(pooled, gamma=gamma))
    ours = float(MMD(sigma)(*pair))
    assert ours == pytest.approx(4 * (8 * statistic) ** 2 * math.sqrt((centred**2).sum()) / len(pooled), rel=1e-9)
    by_kernel = mmd_by_kernel(functools.partial(rbf_kernel, gamma=gamma), student, teacher)
    assert ours == pytest.approx(by_kernel, rel=1e-9)


def test_vicreg_lightly(pair: Pair) -> None:
    # No factor differs: both halve the hinge, as the published code does and the paper does not.
    peer = pytest.importorskip("lightly.loss").VICRegLoss()
    assert_alike(VICReg(), lambda student, teacher: peer(scaled(student), scaled(teacher)), pair)


@pytest.mark.parametrize("weights", [(25.0, 25.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
def test_vicreg_pytorch_metric_learning(pair: Pair, weights: tuple[float, float, float]) -> None:
    peer = pytest.importorskip("pytorch_metric_learning.losses").VICRegLoss(*weights)
    assert_alike(VICReg(*weights), lambda student, teacher: peer(scaled(student), ref_emb=scaled(teacher)), pair)


@pytest.mark.parametrize("redundancy", [5e-3, 1.0])
def test_barlow_twins_lightly(pair: Pair, redundancy: float) -> None:
    # No factor differs: both standardise as batch normalisation does, over B, with 1e-5 added to the variance.
    peer = pytest.importorskip("lightly.loss").BarlowTwinsLoss(lambda_param=redundancy)
    assert_alike(BarlowTwins(redundancy), lambda student, teacher: peer(scaled(student), scaled(teacher)), pair)
