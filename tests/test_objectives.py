"""Objectives against references in plain loops, in values and gradients, and what any objective must hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import references
from crossdistill.errors import ConfigError
from crossdistill.objectives import (
    CMC,
    CMCD,
    CMD,
    CORAL,
    CRD,
    KD,
    L2,
    MMD,
    PKT,
    RKD,
    SEED,
    SP,
    BarlowTwins,
    Cosine,
    FeatureStatistics,
    InfoNCE,
    LiT,
    Objective,
    ObjectiveConfig,
    RobustCMC,
    SigLIP,
    TeacherColumns,
    VICReg,
    WeightedSum,
    known_objectives,
)

Reference = Callable[[Tensor, Tensor, list[int]], Tensor]


def stored(temperature: float) -> float:
    """The temperature that a float32 parameter log(1/temperature) stands for."""
    return math.exp(-float(torch.tensor(math.log(1 / temperature))))


CASES: dict[str, tuple[Objective, Reference]] = {
    "cmc symmetric": (CMC(0.2), lambda s, t, ids: references.cmc(s, t, ids, 0.2)),
    "cmc one way": (CMC(0.2, symmetric=False), lambda s, t, ids: references.cmc(s, t, ids, 0.2, False)),
    "cmc learnable": (CMC(0.2, learnable_temperature=True), lambda s, t, ids: references.cmc(s, t, ids, stored(0.2))),
    "robust cmc": (RobustCMC(0.7, 0.2), lambda s, t, ids: references.cmc(s, t, ids, 0.2, q=0.7)),
    "cmd": (CMD(0.2), lambda s, t, ids: references.cmd(s, t, ids, 0.2, 0.2)),
    "cmd, own temperature": (CMD(0.2, 0.5), lambda s, t, ids: references.cmd(s, t, ids, 0.2, 0.5)),
    "cmd to teacher": (
        CMD(0.2, 0.5, form="to_teacher"),
        lambda s, t, ids: references.cmd(s, t, ids, 0.2, 0.5, "to_teacher"),
    ),
    "cmcd": (
        CMCD(0.2, cmd_weight=0.7),
        lambda s, t, ids: references.cmc(s, t, ids, 0.2) + 0.7 * references.cmd(s, t, ids, 0.2, 0.2),
    ),
    "seed": (SEED(0.3, 0.1), lambda s, t, ids: references.seed(s, t, ids, 0.3, 0.1)),
    "info_nce": (InfoNCE(0.3), lambda s, t, ids: references.info_nce(s, t, ids, 0.3)),
    "l2": (L2(), references.l2),
    "cosine": (Cosine(), references.cosine_distance),
    "siglip": (SigLIP(0.2, -2.0), lambda s, t, ids: references.siglip(s, t, ids, stored(0.2), -2.0)),
    "lit": (LiT(0.2), lambda s, t, ids: references.cmc(s, t, ids, stored(0.2))),
    "rkd": (RKD(25.0, 50.0), lambda s, t, ids: references.rkd(s, t, ids, 25.0, 50.0)),
    "pkt": (PKT(), references.pkt),
    "sp": (SP(3000.0), lambda s, t, ids: references.sp(s, t, ids, 3000.0)),
    "coral": (CORAL(), references.coral),
    "mmd": (MMD(), references.mmd),
    "mmd, one bandwidth": (MMD(0.7), lambda s, t, ids: references.mmd(s, t, ids, 0.7)),
    "vicreg": (VICReg(25.0, 25.0, 1.0), lambda s, t, ids: references.vicreg(s, t, ids, (25.0, 25.0, 1.0))),
    "barlow_twins": (BarlowTwins(0.005), lambda s, t, ids: references.barlow_twins(s, t, ids, 0.005)),
    "feature_statistics": (FeatureStatistics(), references.feature_statistics),
    "weighted sum": (
        WeightedSum([(0.5, CMC(0.2)), (2.0, L2())]),
        lambda s, t, ids: 0.5 * references.cmc(s, t, ids, 0.2) + 2 * references.l2(s, t, ids),
    ),
}
IDS = [None, [0, 1, 1, 2, 0, 3], [0, 0, 0, 0, 0, 0]]


def data(count: int = 6, width: int = 5, seed: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(count, width, generator=generator, dtype=torch.float64)
    return student.requires_grad_(), torch.randn(count, width, generator=generator, dtype=torch.float64)


def compare(objective: nn.Module, reference: Reference, ids: list[int] | None, width: int = 5) -> None:
    """Float64 to 1e-10 relative, float32 to 1e-5, in values and in gradients."""
    student, teacher = data(width=width)
    objective = objective.double()
    expected = reference(student, teacher, ids if ids is not None else list(range(6)))
    # Where every row shows one item some objectives have no candidates: a constant, whose gradient is zero.
    (expected_gradient,) = torch.autograd.grad(expected + 0 * student.sum(), student)
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        ours = student.detach().to(dtype).requires_grad_()
        value = objective.to(dtype)(ours, teacher.to(dtype), None if ids is None else torch.tensor(ids))
        (gradient,) = torch.autograd.grad(value, ours)
        torch.testing.assert_close(value.double(), expected, rtol=tolerance, atol=tolerance)
        scale = float(expected_gradient.abs().max())
        torch.testing.assert_close(gradient.double(), expected_gradient, rtol=0, atol=tolerance * max(scale, 1.0))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("ids", IDS, ids=["all different", "some equal", "all equal"])
@pytest.mark.parametrize("width", [5, 9], ids=["more rows than dimensions", "fewer"])
def test_value_and_gradient_equal_the_reference(case: str, width: int, ids: list[int] | None) -> None:
    compare(*CASES[case], ids, width)


def test_kd_equals_the_reference_with_the_clusters_it_found() -> None:
    _, teacher = data()
    objective = KD(clusters=3, temperature=0.3)
    objective.prepare(TeacherColumns(teacher))
    assert objective.centres.shape == (3, 5)
    torch.testing.assert_close(objective.centres.square().sum(dim=1), torch.ones(3))
    centres = torch.stack([references.unit(centre) for centre in objective.centres.double()])
    objective.centres = centres  # unit to the last bit of float64
    compare(objective, lambda s, t, ids: references.kd(s, t, ids, centres, 0.3), None)


@pytest.mark.parametrize("projection", [None, 3])
def test_crd_equals_the_reference_with_the_memory_and_the_negatives_it_drew(projection: int | None) -> None:
    student, teacher = data(count=8)
    bank_ids = torch.tensor([10, 11, 12, 13, 14, 15, 16, 17])
    objective = CRD(projection, negatives=5, temperature=0.3).double()
    objective.prepare(TeacherColumns(teacher, bank_ids))
    objective = objective.double()
    start = objective.student_memory.clone(), objective.teacher_memory.clone()
    rows = torch.tensor([6, 1, 3])
    drawn = objective._draw(rows)
    assert drawn.shape == (3, 5)
    assert not bool((drawn == rows[:, None]).any())

    def term(anchors: list[Tensor], memory: Tensor) -> Tensor:
        exponentials = [
            [torch.exp((anchor * memory[j]).sum() / 0.3) for j in [int(i), *drawn[k].tolist()]]
            for k, (i, anchor) in enumerate(zip(rows, anchors, strict=True))
        ]
        z = 8 * sum(float(e.detach()) for row in exponentials for e in row) / 18
        h = [[e / z / (e / z + 5 / 8) for e in row] for row in exponentials]
        return -sum(torch.log(row[0]) + sum(torch.log(1 - each) for each in row[1:]) for row in h) / 3

    if projection is None:
        expected = term([references.unit(student[i]) for i in rows], teacher / teacher.norm(dim=1, keepdim=True))
    else:
        maps = objective._linear()
        ours = [references.unit(maps[0](references.unit(student[i]))) for i in rows]
        theirs = [references.unit(maps[1](references.unit(teacher[i]))) for i in rows]
        expected = term(ours, start[1]) + term(theirs, start[0])
    value = objective(student[rows], teacher[rows], bank_ids[rows])
    torch.testing.assert_close(value, expected, rtol=1e-7, atol=1e-7)  # its memory is float32
    leaves = [student, *objective.parameters()]
    for ours_gradient, theirs_gradient in zip(
        torch.autograd.grad(value, leaves), torch.autograd.grad(expected, leaves), strict=True
    ):
        torch.testing.assert_close(ours_gradient, theirs_gradient, rtol=1e-7, atol=1e-7)
    if projection is not None:
        moved = references.unit(0.5 * start[0][3] + 0.5 * ours[2].detach())
        torch.testing.assert_close(objective.student_memory[3], moved, rtol=1e-5, atol=1e-6)
        assert torch.equal(objective.student_memory[0], start[0][0])
    assert not torch.equal(objective._draw(rows), drawn), "negatives are drawn anew in every step"
    with pytest.raises(ValueError, match="no memory of id 99"):
        objective(student[:1], teacher[:1], torch.tensor([99]))
    with pytest.raises(ValueError, match="pass the ids"):
        objective(student[:1], teacher[:1])
    objective.prepare(TeacherColumns(teacher[:4]))
    assert int(objective.calls) == 0
    assert bool(torch.isnan(objective.log_normalisers).all())


VARIANTS: dict[str, Any] = {name: name for name in known_objectives()} | {
    "cmc bank": {"name": "cmc", "against": "bank"},
    "cmc learnable": {"name": "cmc", "learnable_temperature": True},
    "cmd to teacher": {"name": "cmd", "form": "to_teacher"},
    "cmd bank": {"name": "cmd", "form": "to_teacher", "against": "bank"},
    "cmcd bank": {"name": "cmcd", "cmd_form": "to_teacher", "against": "bank"},
    "robust_cmc bank": {"name": "robust_cmc", "against": "bank"},
    "seed bank": {"name": "seed", "against": "bank"},
    "feature_statistics bank": {"name": "feature_statistics", "against": "bank"},
    "crd in the common space": {"name": "crd", "projection": None, "negatives": 64},
    "sum": [{"name": "cmc"}, {"name": "l2", "weight": 0.5}],
}


def built(variant: str, teacher: Tensor, ids: Tensor) -> Objective:
    """An objective that has seen the bank, in eval mode (CRD's memory then stays as it is)."""
    objective = ObjectiveConfig.model_validate(VARIANTS[variant]).build()
    objective.prepare(TeacherColumns(teacher, ids))
    return objective.eval()


def randn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("variant", VARIANTS)
class TestEveryObjective:
    """What any objective must hold, whoever adds it."""

    def test_has_a_finite_gradient_for_the_student(self, variant: str) -> None:
        student, teacher, ids = randn(1, 5, 4).requires_grad_(), randn(2, 5, 4), torch.arange(5)
        loss = built(variant, teacher, ids)(student, teacher, ids)
        loss.backward()
        assert loss.ndim == 0
        assert student.grad is not None
        assert bool(torch.isfinite(student.grad).all())
        assert float(student.grad.abs().sum()) > 0

    def test_passes_gradcheck(self, variant: str) -> None:
        student, teacher = data(count=4, width=3, seed=5)
        objective = built(variant, teacher, torch.arange(4)).double()
        assert torch.autograd.gradcheck(lambda rows: objective(rows, teacher, torch.arange(4)), student, fast_mode=True)

    @pytest.mark.parametrize("width", [3, 6])
    def test_has_right_second_derivatives_or_none(self, variant: str, width: int) -> None:
        student, teacher = data(count=4, width=width, seed=5)
        objective = built(variant, teacher, torch.arange(4)).double()
        try:
            right = torch.autograd.gradgradcheck(
                lambda rows: objective(rows, teacher, torch.arange(4)), student, fast_mode=True
            )
        except RuntimeError as error:
            right = "first derivatives only" in str(error)
        assert right

    def test_refuses_what_it_cannot_use(self, variant: str) -> None:
        objective = built(variant, randn(1, 3, 5), torch.arange(3))
        rows, ids = randn(1, 3, 5), torch.arange(3)
        for student, message in ((rows[0], r"\(B, d\)"), (rows.long(), "floating"), (rows[:0], "no rows")):
            with pytest.raises(ValueError, match=message):
                objective(student, student.clone(), ids[: len(student)])
        with pytest.raises(ValueError, match="bank of width 5; received 4"):
            objective(rows[:, :4], rows[:, :4], ids)
        with pytest.raises(ValueError, match="integers"):
            objective(rows, rows, ids.float())
        torch.testing.assert_close(objective(rows, rows, ids.numpy()), objective(rows, rows, ids.tolist()))

    @pytest.mark.parametrize("case", ["zero", "identical", "huge", "tiny", "one", "opposite", "equal"])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    def test_is_finite_at_the_edges(self, variant: str, case: str, dtype: torch.dtype) -> None:
        base = randn(1, 4, 8)
        factor = 1e4 if dtype == torch.float16 else 1e30
        tensors = {
            "zero": torch.zeros(4, 8),
            "identical": torch.ones(4, 8),
            "huge": base * factor,
            "tiny": base * (1e-4 if dtype == torch.float16 else 1e-30),
            "one": base[:1],
            "opposite": -base,
            "equal": base.clone(),
        }
        student = tensors[case].to(dtype).requires_grad_()
        for teacher in (base, tensors[case]):
            teacher = (base[:1] if case == "one" else teacher).to(dtype)
            ids = torch.arange(len(teacher))
            loss = built(variant, teacher, ids)(student, teacher, ids)
            (gradient,) = torch.autograd.grad(loss, student)
            assert loss.dtype == torch.float32
            assert bool(torch.isfinite(loss))
            assert gradient.dtype == dtype
            assert bool(torch.isfinite(gradient).all())
            trained = built(variant, teacher, ids).train()  # CRD moves its memory then
            (gradient,) = torch.autograd.grad(trained(student, teacher, ids), student)
            assert bool(torch.isfinite(gradient).all())

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_autocast_changes_nothing_but_the_inputs(self, variant: str, dtype: torch.dtype) -> None:
        student, teacher, ids = randn(3, 6, 8), randn(4, 6, 8), torch.arange(6)
        weight = randn(5, 8, 8).requires_grad_()
        with torch.autocast("cpu", dtype=dtype):
            low = student @ weight
            loss = built(variant, teacher, ids)(low, teacher, ids)
        assert low.dtype == dtype
        # The very values that the half-precision network gave, in float64.
        expected = built(variant, teacher, ids).double()(low.detach().double(), teacher.double(), ids)
        torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
        loss.backward()
        assert weight.grad is not None
        assert bool(torch.isfinite(weight.grad).all())

    def test_does_not_depend_on_the_order_of_the_pairs(self, variant: str) -> None:
        student, teacher, ids, order = randn(6, 6, 4), randn(7, 6, 4), torch.arange(6), torch.tensor([3, 0, 5, 1, 4, 2])
        objective = built(variant, teacher, ids)
        with torch.no_grad():
            there, back = objective(student, teacher, ids), objective(student[order], teacher[order], ids[order])
        torch.testing.assert_close(there, back)

    def test_is_smallest_when_the_student_equals_the_teacher(self, variant: str) -> None:
        if variant.startswith("crd"):
            pytest.skip("its smallest value depends on the negatives that are drawn and on the student's own memory")
        teacher, ids = randn(2, 48, 32), torch.arange(48)
        objective = built(variant, teacher, ids)
        with torch.no_grad():
            assert float(objective(teacher, teacher, ids)) < float(objective(teacher + randn(3, 48, 32), teacher, ids))

    def test_a_small_step_against_the_gradient_lowers_it(self, variant: str) -> None:
        student, teacher, ids = randn(8, 7, 6).requires_grad_(), randn(9, 7, 6), torch.arange(7)
        objective = built(variant, teacher, ids)
        before = objective(student, teacher, ids)
        (gradient,) = torch.autograd.grad(before, student)
        step = 1e-2 / float(gradient.norm())
        assert float(objective(student - step * gradient, teacher, ids).detach()) < float(before.detach())

    def test_refuses_unequal_shapes(self, variant: str) -> None:
        with pytest.raises(ValueError, match=r"\(B, d\)"):
            built(variant, randn(1, 3, 5), torch.arange(3))(torch.randn(3, 4), torch.randn(3, 5))

    def test_documents_its_source(self, variant: str) -> None:
        documentation = type(ObjectiveConfig.model_validate(VARIANTS[variant]).build()).__doc__ or ""
        assert "arXiv" in documentation or "JMLR" in documentation or variant in ("cosine", "sum")


@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_lengths_of_embeddings_do_not_matter(scale: float, seed: int) -> None:
    student, teacher = randn(seed, 5, 6), randn(seed + 1, 5, 6)
    torch.testing.assert_close(CMCD()(student * scale, teacher), CMCD()(student, teacher / scale), rtol=1e-4, atol=1e-5)


def test_cmd_is_bounded_below_by_the_entropy_of_the_teacher() -> None:
    """KL = CMD - H(p_T) is never negative, and zero when the student reproduces the teacher's relations."""
    teacher = torch.randn(7, 5)
    objective = CMD(0.3)
    entropy = float(objective(teacher, teacher))
    assert float(objective(teacher * 3, teacher)) == pytest.approx(entropy, rel=1e-5)
    assert float(objective(torch.randn(7, 5), teacher)) > entropy


def test_robust_cmc_becomes_cmc_for_small_q_and_is_bounded() -> None:
    student, teacher = randn(1, 6, 4), randn(2, 6, 4)
    assert float(RobustCMC(1e-4)(student, teacher)) == pytest.approx(float(CMC()(student, teacher)), rel=1e-2)
    assert float(RobustCMC(0.5, temperature=0.01)(-teacher, teacher)) <= 2.0


def test_robust_cmc_learns_more_from_pairs_of_which_half_are_wrong() -> None:
    """The point of it: a linear student of a noisy linear view, half of whose pairs are shuffled, finds partners."""
    source = randn(11, 400, 16)
    target = source @ randn(12, 16, 24) + 0.5 * randn(13, 400, 24)
    wrong = torch.arange(150)
    paired = source[:300].clone()
    paired[wrong] = source[wrong.roll(1)]

    def found(objective: Objective) -> float:
        torch.manual_seed(0)
        student = nn.Linear(24, 16)
        optimiser = torch.optim.Adam(student.parameters(), lr=1e-2)
        for _ in range(300):
            optimiser.zero_grad()
            objective(student(target[:300]), paired).backward()
            optimiser.step()
        with torch.no_grad():
            scores = (
                nn.functional.normalize(student(target[300:]), dim=1) @ nn.functional.normalize(source[300:], dim=1).T
            )
        return float((scores.argmax(dim=1) == torch.arange(100)).float().mean())

    assert found(RobustCMC(0.7)) > found(CMC()) + 0.05


def test_a_learnable_temperature_is_trained_and_kept_in_bounds() -> None:
    student, teacher = randn(1, 6, 4), randn(2, 6, 4)
    objective = CMC(0.011, learnable_temperature=True)
    (parameter,) = objective.parameters()
    optimiser = torch.optim.SGD([parameter], lr=10.0)
    for aligned in (teacher, student):  # perfect pairs want it lower, which is not allowed; random ones higher
        for _ in range(3):
            optimiser.zero_grad()
            objective(aligned, teacher).backward()
            optimiser.step()
        if aligned is teacher:
            objective(aligned, teacher)
            assert float(parameter.exp().detach()) == pytest.approx(100.0, rel=1e-4)
    assert float(parameter.exp().detach()) < 99.0
    with pytest.raises(ConfigError, match=r"0\.01"):
        CMC(0.001, learnable_temperature=True)


def test_lit_trains_its_temperature_and_never_the_locked_side() -> None:
    student, teacher = (rows.requires_grad_() for rows in (randn(1, 6, 4), randn(2, 6, 4)))
    objective = LiT(0.2)
    objective(student, teacher).backward()
    assert teacher.grad is None
    scale = math.exp(float(objective.temperature.log_scale.detach()))
    exact = torch.tensor(math.log(scale), dtype=torch.float64, requires_grad=True)
    rows = student.detach().double(), teacher.detach().double()
    expected = references.cmc(*rows, list(range(6)), torch.exp(-exact))
    torch.testing.assert_close(
        objective.temperature.log_scale.grad.double(), torch.autograd.grad(expected, exact)[0], rtol=1e-4, atol=1e-6
    )


def test_a_bank_objective_says_what_it_misses() -> None:
    student, teacher = randn(1, 3, 4), randn(2, 3, 4)
    with pytest.raises(ValueError, match="call prepare"):
        CMC(against="bank")(student, teacher, torch.arange(3))
    objective = CMC(against="bank")
    objective.prepare(TeacherColumns(teacher))
    with pytest.raises(ValueError, match="pass ids"):
        objective(student, teacher)
    with pytest.raises(ConfigError, match="to_teacher"):
        CMD(against="bank")


@pytest.mark.parametrize(
    "setting",
    [
        {"name": "cmc", "temperature": float("inf")}, {"name": "cmc", "memory_mb": 0},
        {"name": "cmcd", "cmd_weight": -1},
        {"name": "kd", "clusters": 0}, {"name": "kd", "seed": -1}, {"name": "crd", "momentum": 2},
        {"name": "crd", "negatives": 0}, {"name": "siglip", "bias": float("nan")}, {"name": "sp", "weight": -3},
        {"name": "rkd", "angle_weight": float("nan")}, {"name": "vicreg", "variance": -1}, {"name": "mmd", "sigma": 0},
        {"name": "barlow_twins", "redundancy": -1}, [{"name": "cmc", "weight": -1}],
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_would_fail_later_are_refused_at_once(setting: Any) -> None:
    with pytest.raises(ConfigError):
        ObjectiveConfig.model_validate(setting)


def test_python_callers_are_told_of_unknown_choices() -> None:
    for make in (lambda: CMC(against="Bank"), lambda: CMD(form="to-teacher"), lambda: FeatureStatistics("whole")):
        with pytest.raises(ConfigError, match=r"bank|within"):
            make()  # type: ignore[no-untyped-call]
    with pytest.raises(ConfigError, match="at least one"):
        WeightedSum([])


def test_the_own_pair_keeps_its_gradient_at_low_temperatures() -> None:
    """Where it has nearly all the weight, one minus it is a small difference of large numbers."""
    student = torch.eye(4, 8).requires_grad_()
    teacher = torch.eye(4, 8) + 0.01 * randn(3, 4, 8)
    exact = student.detach().double().requires_grad_()
    for objective in (CMC(0.05, symmetric=False), CMC(0.05, symmetric=False, against="bank")):
        objective.prepare(TeacherColumns(teacher))
        (gradient,) = torch.autograd.grad(objective(student, teacher, torch.arange(4)), student)
        (expected,) = torch.autograd.grad(references.cmc(exact, teacher.double(), [0, 1, 2, 3], 0.05, False), exact)
        assert float((gradient - expected).abs().max() / expected.abs().max()) < 1e-4


def test_the_teacher_is_not_judged_by_the_type_of_the_student() -> None:
    teacher, ids = 2e-3 * randn(1, 6, 8), torch.arange(6)
    student = randn(2, 6, 8).half()
    torch.testing.assert_close(CMC()(student, teacher), CMC()(student, 1e3 * teacher))
    bank = CMC(against="bank", symmetric=False)
    bank.prepare(TeacherColumns(teacher))
    torch.testing.assert_close(bank(student, teacher, ids), CMC(symmetric=False)(student, teacher))


def test_a_bank_without_the_batch_is_refused() -> None:
    student, teacher = randn(1, 3, 4), randn(2, 3, 4)
    objective = CMC(against="bank")
    objective.prepare(TeacherColumns(teacher, torch.tensor([1000, 1001, 1002])))
    with pytest.raises(ValueError, match="not among those of the bank"):
        objective(student, teacher, torch.arange(3))


def test_a_first_call_in_inference_mode_leaves_it_trainable() -> None:
    student, teacher = randn(1, 6, 4).requires_grad_(), randn(2, 6, 4)
    objective = KD(clusters=2)
    with torch.inference_mode():
        objective(student, teacher)
    objective(student, teacher).backward()
    assert student.grad is not None


def test_a_configuration_shows_its_defaults_and_refuses_what_it_does_not_know() -> None:
    assert ObjectiveConfig.model_validate({"name": "cmc"}).model_dump() == {
        "name": "cmc",
        "label": "cmc",
        "temperature": 0.1,
        "symmetric": True,
        "learnable_temperature": False,
        "against": "batch",
        "memory_mb": 64,
    }
    with pytest.raises(ConfigError, match="temperature"):
        ObjectiveConfig.model_validate({"name": "cmc", "temprature": 0.1})
    with pytest.raises(ConfigError, match="did you mean 'cmd'"):
        ObjectiveConfig.model_validate("cmdc")
    with pytest.raises(ConfigError, match="positive"):
        ObjectiveConfig.model_validate({"name": "cmc", "temperature": 0}).build()
    with pytest.raises(ConfigError, match="q is out of range"):
        ObjectiveConfig.model_validate({"name": "robust_cmc", "q": 2}).build()
    with pytest.raises(ConfigError, match="against"):
        ObjectiveConfig.model_validate({"name": "cmc", "against": "queue"})


def test_a_sum_is_written_as_a_list() -> None:
    config = ObjectiveConfig.model_validate([{"name": "cmc", "temperature": 0.2}, {"name": "l2", "weight": 0.5}])
    assert config.label == "cmc+l2"
    student, teacher = randn(1, 6, 4), randn(2, 6, 4)
    expected = CMC(0.2)(student, teacher) + 0.5 * L2()(student, teacher)
    torch.testing.assert_close(config.build()(student, teacher), expected)
    # What is written into a run folder is read back as the same objective.
    again = ObjectiveConfig.model_validate(config.model_dump(mode="json"))
    assert again == config
    torch.testing.assert_close(again.build()(student, teacher), expected)
    with pytest.raises(ConfigError, match="terms"):
        ObjectiveConfig.model_validate([])
    with pytest.raises(ConfigError, match="did you mean 'cmc'"):
        ObjectiveConfig.model_validate([{"name": "cnc"}])
    with pytest.raises(ValueError, match="names a folder"):
        ObjectiveConfig.model_validate({"name": "cmc", "label": "../elsewhere"})
