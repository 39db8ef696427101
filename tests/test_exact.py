"""Tiles against whole matrices: the same values and gradients whatever the sizes, the bank's type and its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import references
from crossdistill.objectives import (
    CMC,
    CMCD,
    CMD,
    MMD,
    PKT,
    RKD,
    SEED,
    SP,
    FeatureStatistics,
    InfoNCE,
    Objective,
    RobustCMC,
    SigLIP,
    TeacherColumns,
)
from crossdistill.objectives.core import column_tiles, fused, row_blocks
from crossdistill.objectives.core.rows import unit_rows
from crossdistill.objectives.core.same_item import SameItem

TINY = 1e-5  # MiB: tiles of a single row or column


def naive_softmax_loss(logits: Tensor, excluded: Tensor, target: Tensor | None, own: Tensor | None) -> Tensor:
    """Whole matrices: logits, target logits and mask ``(B, N)``, own logits ``(B,)`` to the losses ``(B,)``."""
    logits = logits.masked_fill(excluded, float("-inf"))
    if own is not None:
        logits = torch.cat([own[:, None], logits], dim=1)
    if target is None:
        assert own is not None
        return logits.logsumexp(dim=1) - own
    none_left = torch.isinf(logits).all(dim=1, keepdim=True)
    log_q = logits.masked_fill(none_left, 0.0).log_softmax(dim=1)
    p = target.masked_fill(none_left, 0.0).softmax(dim=1)
    return (-(p * log_q.masked_fill(p == 0, 0.0)).sum(dim=1)).masked_fill(none_left[:, 0], 0.0)


def naive(
    kind: str, student: Tensor, teacher: Tensor, ids: Tensor, bank: Tensor | None, bank_ids: Tensor | None
) -> Tensor:
    s, t = unit_rows(student), unit_rows(teacher)
    columns = t if bank is None else unit_rows(bank)
    column_ids = ids if bank_ids is None else bank_ids
    excluded = ids[:, None] == column_ids[None]
    in_batch = ids[:, None] == ids[None]
    own = (s * t).sum(dim=1) / 0.1
    if kind == "cmc":
        forth = naive_softmax_loss(s @ columns.T / 0.1, excluded, None, own)
        back = naive_softmax_loss(t @ s.T / 0.1, in_batch, None, own)
        return (forth + back).mean() / 2
    if kind == "cmd within":
        target = (t @ t.T / 0.05).masked_fill(in_batch, float("-inf"))
        return naive_softmax_loss(s @ s.T / 0.1, in_batch, target, None).mean()
    if kind == "cmd to teacher":
        target = (t @ columns.T / 0.05).masked_fill(excluded, float("-inf"))
        return naive_softmax_loss(s @ columns.T / 0.1, excluded, target, None).mean()
    target = (t @ columns.T / 0.05).masked_fill(excluded, float("-inf"))
    target = torch.cat([(t * t).sum(dim=1, keepdim=True) / 0.05, target], dim=1)
    return naive_softmax_loss(s @ columns.T / 0.1, excluded, target, own).mean()


def tiled(kind: str, against: str, memory_mb: float) -> Objective:
    makers: dict[str, Callable[[], Objective]] = {
        "cmc": lambda: CMC(0.1, against=against, memory_mb=memory_mb),  # type: ignore[arg-type]
        "cmd within": lambda: CMD(0.1, 0.05, memory_mb=memory_mb),
        "cmd to teacher": lambda: CMD(0.1, 0.05, "to_teacher", against, memory_mb),  # type: ignore[arg-type]
        "seed": lambda: SEED(0.1, 0.05, against, memory_mb),  # type: ignore[arg-type]
    }
    return makers[kind]()


def check(kind: str, student: Tensor, teacher: Tensor, ids: Tensor, bank: Tensor | None, bank_ids: Tensor | None,
          memory_mb: float, tolerance: float) -> None:  # fmt: skip
    objective = tiled(kind, "batch" if bank is None else "bank", memory_mb)
    if bank is not None:
        objective.prepare(TeacherColumns(bank, bank_ids))
    student = student.requires_grad_()
    value = objective(student, teacher, ids)
    (gradient,) = torch.autograd.grad(value, student)
    # The reference in float64 on the very same numbers.
    exact = student.detach().double().requires_grad_()
    expected = naive(kind, exact, teacher.double(), ids, None if bank is None else bank.double(), bank_ids)
    (expected_gradient,) = torch.autograd.grad(expected + 0 * exact.sum(), exact)
    torch.testing.assert_close(value.double(), expected, rtol=tolerance, atol=tolerance)
    scale = max(1e-2, float(expected_gradient.abs().max()))
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=0, atol=tolerance * scale * 10)


@given(
    kind=st.sampled_from(["cmc", "cmd within", "cmd to teacher", "seed"]),
    rows=st.integers(1, 40),
    columns=st.integers(1, 90),
    width=st.integers(2, 20),
    items=st.integers(1, 60),
    memory_mb=st.sampled_from([TINY, 1e-3, 5e-3, 64.0]),
    with_bank=st.booleans(),
    double=st.booleans(),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=250, deadline=None)
def test_tiles_equal_whole_matrices(
    kind: str,
    rows: int,
    columns: int,
    width: int,
    items: int,
    memory_mb: float,
    with_bank: bool,
    double: bool,
    seed: int,
) -> None:
    """B = 1, a bank of one, tiles larger than the bank, ids that exclude all columns of some or of all rows."""
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.float64 if double else torch.float32
    student, teacher = (torch.randn(rows, width, generator=generator, dtype=dtype) for _ in range(2))
    bank = torch.randn(columns, width, generator=generator, dtype=dtype) if with_bank and kind != "cmd within" else None
    ids = torch.randint(0, items, (rows,), generator=generator)
    bank_ids = None
    if bank is not None:  # which holds the items of the batch
        bank_ids = torch.randint(0, items, (columns,), generator=generator)
        ids = bank_ids[torch.randint(0, columns, (rows,), generator=generator)]
    check(kind, student, teacher, ids, bank, bank_ids, memory_mb, 1e-10 if double else 1e-5)


@pytest.mark.parametrize("kind", ["cmc", "cmd within", "cmd to teacher", "seed"])
def test_tiles_equal_whole_matrices_at_a_real_size(kind: str) -> None:
    student, teacher = torch.randn(700, 64), torch.randn(700, 64)
    bank, bank_ids = (None, None) if kind == "cmd within" else (torch.randn(5000, 64), torch.arange(5000))
    check(kind, student, teacher, torch.arange(700), bank, bank_ids, 1.0, 1e-5)


@pytest.mark.parametrize("objective", [PKT, SP, MMD, RKD, SigLIP])
def test_the_other_pairwise_objectives_in_blocks_equal_one_block(objective: type[Objective]) -> None:
    student, teacher = torch.randn(40, 6, dtype=torch.float64, requires_grad=True), torch.randn(40, 6).double()
    results = []
    for memory_mb in (64.0, 0.01, TINY):
        value = objective(memory_mb=memory_mb).double()(student, teacher)  # type: ignore[call-arg]
        results.append((value.detach(), *torch.autograd.grad(value, student)))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-10, atol=1e-12)


def test_a_whole_bank_is_what_a_batch_of_everything_would_be() -> None:
    """Against the bank, a part of the pair set gets the gradients that it has in a batch of the whole set."""
    student, teacher, ids = (
        torch.randn(60, 8, dtype=torch.float64),
        torch.randn(60, 8, dtype=torch.float64),
        torch.arange(60),
    )
    student.requires_grad_()
    for whole, part in (
        (CMC(symmetric=False), CMC(symmetric=False, against="bank")),
        (CMD(form="to_teacher"), CMD(form="to_teacher", against="bank")),
        (SEED(), SEED(against="bank")),
    ):
        part.prepare(TeacherColumns(teacher, ids))
        (expected,) = torch.autograd.grad(whole(student, teacher, ids), student)
        value = sum(part(student[rows], teacher[rows], ids[rows]) * len(rows) / 60 for rows in ids.split(17))
        (gradient,) = torch.autograd.grad(value, student)
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize(
    "objective", [CMC(against="bank"), CMD(form="to_teacher", against="bank"), RobustCMC(against="bank")]
)
def test_a_bank_of_any_type_gives_what_its_numbers_give_in_float32(objective: Objective, dtype: torch.dtype) -> None:
    student, teacher, ids = torch.randn(7, 6).requires_grad_(), torch.randn(7, 6), torch.arange(7)
    bank = torch.cat([teacher, 20 * torch.randn(50, 6)]).to(dtype)
    results = []
    for embeddings in (bank, bank.float()):
        objective.prepare(TeacherColumns(embeddings))
        value = objective(student, teacher, ids)
        results.append((value.detach(), *torch.autograd.grad(value, student)))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_memory_mapped_bank_is_read_from_disk(tmp_path: Path, dtype: type[np.floating]) -> None:
    student, teacher, ids = torch.randn(7, 6), torch.randn(7, 6), torch.arange(7)
    matrix = np.concatenate([teacher.numpy(), np.random.default_rng(0).standard_normal((3000, 6))]).astype(dtype)
    np.save(tmp_path / "bank.npy", matrix)
    mapped = np.load(tmp_path / "bank.npy", mmap_mode="r")
    objective = CMC(against="bank")
    objective.prepare(TeacherColumns(torch.from_numpy(matrix)))
    expected = objective(student, teacher, ids)
    columns = TeacherColumns(mapped)
    assert columns.embeddings.data_ptr() == mapped.ctypes.data, "nothing is copied"
    objective.prepare(columns)
    torch.testing.assert_close(objective(student, teacher, ids), expected, rtol=0, atol=0)


def test_a_memory_mapped_bfloat16_bank_too(tmp_path: Path) -> None:
    bank = torch.randn(100, 6).bfloat16()
    file = tmp_path / "bank.bf16"
    file.write_bytes(bank.view(torch.int16).numpy().tobytes())
    mapped = torch.from_file(str(file), size=600, dtype=torch.bfloat16).view(100, 6)
    student, teacher, ids = torch.randn(7, 6), torch.randn(7, 6), torch.arange(7)
    objective = CMC(against="bank")
    objective.prepare(TeacherColumns(bank.float()))
    expected = objective(student, teacher, ids)
    objective.prepare(TeacherColumns(mapped))
    torch.testing.assert_close(objective(student, teacher, ids), expected)


def test_feature_statistics_of_the_bank_equal_the_reference() -> None:
    student, teacher = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    bank = torch.randn(40, 4, dtype=torch.float64)
    objective = FeatureStatistics(against="bank")
    objective.prepare(TeacherColumns(bank))
    expected = references.feature_statistics(student, teacher, list(range(6)), (bank, []))
    torch.testing.assert_close(objective(student, teacher, torch.arange(6)), expected, rtol=1e-10, atol=1e-10)


def test_the_gradient_of_a_learnable_temperature_equals_the_naive_one() -> None:
    student, teacher = torch.randn(9, 6, dtype=torch.float64), torch.randn(9, 6, dtype=torch.float64)
    for against, symmetric in (("batch", True), ("batch", False), ("bank", False)):
        objective = CMC(0.3, symmetric, True, against, TINY).double()  # type: ignore[arg-type]
        objective.prepare(TeacherColumns(teacher))
        (parameter,) = objective.parameters()
        (ours,) = torch.autograd.grad(objective(student, teacher, torch.arange(9)), parameter)
        log_scale = parameter.detach().clone().requires_grad_()
        logits = unit_rows(student) @ unit_rows(teacher).T * log_scale.exp()
        expected = torch.nn.functional.cross_entropy(logits, torch.arange(9))
        if symmetric:
            expected = (expected + torch.nn.functional.cross_entropy(logits.T, torch.arange(9))) / 2
        (theirs,) = torch.autograd.grad(expected, log_scale)
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_a_trained_teacher_side_gets_its_gradient_too() -> None:
    """Two trained towers, as in CLIP, and the two views of InfoNCE."""
    for objective in (CMC(0.2, memory_mb=TINY), InfoNCE(0.2, memory_mb=TINY)):
        first, second = (torch.randn(5, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
        assert torch.autograd.gradcheck(objective, (first, second))


@pytest.mark.parametrize("objective", [CMC(), CMD(), CMC(against="bank"), SEED()])
def test_the_same_numbers_with_and_without_gradients_and_again(objective: Objective) -> None:
    student, teacher, ids = torch.randn(30, 6), torch.randn(30, 6), torch.arange(30)
    objective.prepare(TeacherColumns(teacher))
    with torch.no_grad():
        without = objective(student, teacher, ids)
    values = [objective(student.clone().requires_grad_(), teacher, ids) for _ in range(2)]
    assert torch.equal(values[0].detach(), values[1].detach())
    assert torch.equal(without, values[0].detach())


def test_a_second_derivative_is_refused_and_not_wrong() -> None:
    student, teacher = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3)
    bank = CMC(against="bank")
    bank.prepare(TeacherColumns(teacher))
    for objective in (CMC(), bank):
        with pytest.raises(RuntimeError, match="first derivatives only"):
            torch.autograd.grad(objective(student, teacher, torch.arange(4)), student, create_graph=True)


@pytest.mark.parametrize("items", [1, 3, 1000])
@pytest.mark.parametrize("size", [1, 7, 100])
def test_same_items_are_found_in_any_block(items: int, size: int) -> None:
    """Few ids (a mask is compared block by block) and many (cells are listed)."""
    rows, columns = torch.randint(0, items, (30,)), torch.randint(0, items, (50,))
    expected, same = rows[:, None] == columns[None], SameItem(rows, columns)
    for axis, blocks in ((0, same.blocks_of_rows(size)), (1, same.blocks_of_columns(size))):
        for cells, wanted in zip(blocks, expected.split(size, dim=axis), strict=True):
            block = torch.zeros(wanted.shape)
            cells.exclude_(block)
            assert torch.equal(block < -1, wanted)


def test_tiles_follow_the_memory_budget() -> None:
    assert row_blocks.block_rows(64 * 2**20, 8192, 2, 4) == 256
    assert row_blocks.block_rows(2**20, 8192, 2, 4) == 16
    assert row_blocks.block_rows(1, 8192, 2, 4) == 1
    anchors = torch.zeros(256, 512)
    assert column_tiles.tile_columns(64 * 2**20, anchors) == 1024
    assert column_tiles.tile_columns(2**20, anchors) == 204
    assert column_tiles.tile_columns(1, anchors) == 1


def test_where_compiling_fails_the_tiles_run_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> Callable[..., object]:
        def call(*_: object) -> object:
            raise RuntimeError("no compiler here")

        return call

    monkeypatch.setattr(fused, "worth_compiling", lambda _: True)
    monkeypatch.setattr(torch, "compile", broken)
    calls = []

    @fused.fused
    def double(values: Tensor) -> Tensor:
        calls.append(1)
        return values * 2

    for _ in range(2):
        assert torch.equal(double(torch.ones(3)), torch.full((3,), 2.0))
    assert len(calls) == 2


def test_nothing_of_the_size_of_the_batch_squared_is_kept_for_the_backward_pass() -> None:
    student, teacher = torch.randn(600, 16, requires_grad=True), torch.randn(600, 16)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda each: kept.append(each.numel()) or each, lambda each: each):
        CMCD()(student, teacher)
    assert max(kept) <= 600 * 16


def test_columns_refuse_what_they_cannot_hold() -> None:
    with pytest.raises(ValueError, match=r"\(N, d\)"):
        TeacherColumns(torch.zeros(3))
    with pytest.raises(ValueError, match="floating"):
        TeacherColumns(torch.zeros(3, 2, dtype=torch.long))
    with pytest.raises(ValueError, match=r"ids of shape \(3,\)"):
        TeacherColumns(torch.zeros(3, 2), torch.arange(4))
