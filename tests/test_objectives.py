"""Objectives against references in plain loops, in values and gradients, and their behaviour at the edges."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from crossdistill.errors import ConfigError
from crossdistill.objectives import CMC, CMCD, CMD, L2, Cosine, InfoNCE, ObjectiveConfig, known_objectives


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum() / (a.square().sum().sqrt() * b.square().sum().sqrt())


def reference_cmc(student: Tensor, teacher: Tensor, ids: list[int], tau: float, symmetric: bool) -> Tensor:
    count = len(ids)

    def one_way(anchors: Tensor, candidates: Tensor) -> Tensor:
        total = torch.zeros((), dtype=anchors.dtype)
        for i in range(count):
            kept = [j for j in range(count) if j == i or ids[j] != ids[i]]
            denominator = sum(torch.exp(cosine(anchors[i], candidates[j]) / tau) for j in kept)
            total = total - torch.log(torch.exp(cosine(anchors[i], candidates[i]) / tau) / denominator)
        return total / count

    forth = one_way(student, teacher)
    return (forth + one_way(teacher, student)) / 2 if symmetric else forth


def reference_cmd(student: Tensor, teacher: Tensor, ids: list[int], tau: float, teacher_tau: float) -> Tensor:
    count = len(ids)
    total = torch.zeros((), dtype=student.dtype)
    for i in range(count):
        kept = [j for j in range(count) if ids[j] != ids[i]]
        if not kept:
            continue
        s = [torch.exp(cosine(student[i], student[j]) / tau) for j in kept]
        t = [torch.exp(cosine(teacher[i], teacher[j]) / teacher_tau) for j in kept]
        for p_s, p_t in zip(s, t, strict=True):
            total = total - p_t / sum(t) * torch.log(p_s / sum(s))
    return total / count


def reference_l2(student: Tensor, teacher: Tensor, ids: list[int]) -> Tensor:
    pairs = zip(student, teacher, strict=True)
    return sum(((s / s.square().sum().sqrt() - t / t.square().sum().sqrt()).square().sum() for s, t in pairs),
               start=torch.zeros((), dtype=student.dtype)) / len(ids)  # fmt: skip


def reference_cosine(student: Tensor, teacher: Tensor, ids: list[int]) -> Tensor:
    pairs = zip(student, teacher, strict=True)
    return 1 - sum((cosine(s, t) for s, t in pairs), start=torch.zeros((), dtype=student.dtype)) / len(ids)


CASES: list[tuple[str, nn.Module, Callable[[Tensor, Tensor, list[int]], Tensor]]] = [
    ("cmc symmetric", CMC(0.2), lambda s, t, ids: reference_cmc(s, t, ids, 0.2, True)),
    ("cmc one way", CMC(0.2, symmetric=False), lambda s, t, ids: reference_cmc(s, t, ids, 0.2, False)),
    ("cmd", CMD(0.2), lambda s, t, ids: reference_cmd(s, t, ids, 0.2, 0.2)),
    ("cmd, own temperature", CMD(0.2, 0.5), lambda s, t, ids: reference_cmd(s, t, ids, 0.2, 0.5)),
    (
        "cmcd",
        CMCD(0.2, cmd_weight=0.7),
        lambda s, t, ids: reference_cmc(s, t, ids, 0.2, True) + 0.7 * reference_cmd(s, t, ids, 0.2, 0.2),
    ),
    ("l2", L2(), reference_l2),
    ("cosine", Cosine(), reference_cosine),
]


@pytest.mark.parametrize(("name", "objective", "reference"), CASES, ids=[case[0] for case in CASES])
@pytest.mark.parametrize("ids", [None, [0, 1, 2, 3, 4, 5], [0, 1, 1, 2, 0, 3], [0, 0, 0, 0, 0, 0]])
def test_value_and_gradient_equal_the_reference(
    name: str, objective: nn.Module, reference: Callable[[Tensor, Tensor, list[int]], Tensor], ids: list[int] | None
) -> None:
    generator = torch.Generator().manual_seed(3)
    student = torch.randn(6, 5, generator=generator, requires_grad=True)
    teacher = torch.randn(6, 5, generator=generator)
    value = objective(student, teacher, None if ids is None else torch.tensor(ids))
    (gradient,) = torch.autograd.grad(value, student)

    exact = student.detach().double().requires_grad_()
    expected = reference(exact, teacher.double(), ids if ids is not None else list(range(6)))
    # Where every row shows one item CMD has no candidates: a constant, whose gradient is zero.
    connected = expected + 0 * exact.sum()
    (expected_gradient,) = torch.autograd.grad(connected, exact)
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=1e-4, atol=1e-6)


def test_info_nce_equals_the_reference() -> None:
    generator = torch.Generator().manual_seed(5)
    first, second = torch.randn(4, 3, generator=generator), torch.randn(4, 3, generator=generator)
    views = torch.cat([first, second]).double()
    expected = 0.0
    for i in range(8):
        partner = (i + 4) % 8
        denominator = sum(math.exp(float(cosine(views[i], views[j])) / 0.3) for j in range(8) if j != i)
        expected -= math.log(math.exp(float(cosine(views[i], views[partner])) / 0.3) / denominator) / 8
    assert float(InfoNCE(0.3)(first, second)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", known_objectives())
class TestEveryObjective:
    """What any objective must hold, whoever adds it."""

    def test_has_no_gradient_for_the_teacher_side_of_cmd_and_a_finite_one_for_the_student(self, name: str) -> None:
        student = torch.randn(5, 4, requires_grad=True)
        loss = ObjectiveConfig.model_validate(name).build()(student, torch.randn(5, 4))
        loss.backward()
        assert loss.ndim == 0
        assert student.grad is not None
        assert bool(torch.isfinite(student.grad).all())
        assert float(student.grad.abs().sum()) > 0

    @pytest.mark.parametrize("case", ["zero", "identical", "huge", "tiny", "one", "opposite"])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    def test_is_finite_at_the_edges(self, name: str, case: str, dtype: torch.dtype) -> None:
        base = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
        tensors = {
            "zero": torch.zeros(4, 8),
            "identical": torch.ones(4, 8),
            "huge": base * 1e4,
            "tiny": base * 1e-4,
            "one": base[:1],
            "opposite": -base,
        }
        student = tensors[case].to(dtype).requires_grad_()
        teacher = (base[:1] if case == "one" else base).to(dtype)
        loss = ObjectiveConfig.model_validate(name).build()(student, teacher)
        loss.backward()
        assert bool(torch.isfinite(loss))
        assert student.grad is not None
        assert bool(torch.isfinite(student.grad).all())

    def test_does_not_depend_on_the_order_of_the_pairs(self, name: str) -> None:
        student, teacher, order = torch.randn(6, 4), torch.randn(6, 4), torch.randperm(6)
        objective = ObjectiveConfig.model_validate(name).build()
        torch.testing.assert_close(objective(student, teacher), objective(student[order], teacher[order]))

    def test_is_smallest_when_the_student_equals_the_teacher(self, name: str) -> None:
        teacher = torch.randn(8, 16, generator=torch.Generator().manual_seed(2))
        objective = ObjectiveConfig.model_validate(name).build()
        noisy = teacher + torch.randn(8, 16, generator=torch.Generator().manual_seed(3))
        assert float(objective(teacher, teacher)) < float(objective(noisy, teacher))

    def test_refuses_unequal_shapes(self, name: str) -> None:
        with pytest.raises(ValueError, match=r"\(B, d\)"):
            ObjectiveConfig.model_validate(name).build()(torch.randn(3, 4), torch.randn(3, 5))


@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_lengths_of_embeddings_do_not_matter(scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(5, 6, generator=generator), torch.randn(5, 6, generator=generator)
    torch.testing.assert_close(CMCD()(student * scale, teacher), CMCD()(student, teacher / scale), rtol=1e-4, atol=1e-5)


def test_cmd_is_bounded_below_by_the_entropy_of_the_teacher() -> None:
    """KL = CMD - H(p_T) is never negative, and zero when the student reproduces the teacher's relations."""
    teacher = torch.randn(7, 5)
    objective = CMD(0.3)
    entropy = float(objective(teacher, teacher))
    assert float(objective(teacher * 3, teacher)) == pytest.approx(entropy, rel=1e-5)
    assert float(objective(torch.randn(7, 5), teacher)) > entropy


def test_a_configuration_shows_its_defaults_and_refuses_what_it_does_not_know() -> None:
    assert ObjectiveConfig.model_validate({"name": "cmc"}).model_dump() == {
        "name": "cmc",
        "temperature": 0.1,
        "symmetric": True,
    }
    with pytest.raises(ConfigError, match="temperature"):
        ObjectiveConfig.model_validate({"name": "cmc", "temprature": 0.1})
    with pytest.raises(ConfigError, match="did you mean 'cmd'"):
        ObjectiveConfig.model_validate("cmdc")
    with pytest.raises(ConfigError, match="positive"):
        ObjectiveConfig.model_validate({"name": "cmc", "temperature": 0}).build()
