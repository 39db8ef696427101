"""The advisor: its curve, its checks on constructed traps, its rules, and the command from end to end."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from typer.testing import CliRunner

from crossdistill.advisor.advice import FEWEST, advise
from crossdistill.advisor.bed import CELLS, Bed, lay_bed, shrunk
from crossdistill.advisor.checks import Fit, pairing, partner_rank, redrawn, structure, teacher_knows
from crossdistill.advisor.curve import Spread, fit_curve
from crossdistill.advisor.evidence import CANDIDATES, AdviseSettings, divide, linear_students, sizes_of
from crossdistill.advisor.forecast import Calibration, calibrations, curve_of, features, fit_calibration, forecast
from crossdistill.advisor.page import write_page
from crossdistill.advisor.pilot import Budget, few_shot, new_student, train_pilot, vectors_of
from crossdistill.advisor.tasks import labelled_task, stand_in_task
from crossdistill.advisor.verdict import VERDICTS, recommended, remarks, rule
from crossdistill.cli.app import app
from crossdistill.encoders import Encoder, TeacherConfig, build_teacher
from crossdistill.errors import PairsError
from crossdistill.evaluation.intervals import Estimate, Floats, proportion
from crossdistill.modalities import parse_modality
from crossdistill.objectives import ObjectiveConfig
from crossdistill.pairs import PairsConfig, open_pairs
from crossdistill.pairs.items import Items

QUICK = AdviseSettings(pairs=120, shots=2, draws=2, repeats=1, steps=4)


def estimate(value: float, low: float | None = None, high: float | None = None) -> Estimate:
    nothing: Any = np.zeros(1)
    return Estimate(value=value, low=value if low is None else low, high=value if high is None else high, items=100,
                    outcomes=nothing, groups=nothing)  # fmt: skip


def bed_of(targets: np.ndarray[Any, Any], teacher: np.ndarray[Any, Any], labels: Any = None) -> Bed:
    """A bed of pictures ``(n, H, W)`` in 0..255 and embeddings ``(n, d)``."""
    count = len(targets)
    modality = parse_modality(
        {"modality": "image", "size": targets.shape[-1], "channels": 1, "mean": [0.5], "std": [0.25]}
    )
    values = torch.from_numpy(targets.astype(np.uint8))[:, None]
    return Bed(
        rows=np.arange(count), targets=Items.of_tensor(values, modality), teacher=teacher.astype(np.float32),
        shown=None, ids=np.arange(count), groups=np.arange(count),
        labels=np.full(count, -1) if labels is None else np.asarray(labels), classes=("a", "b"),
    )  # fmt: skip


def smooth_pairs(count: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Pictures made of a few smooth factors ``(n, 16, 16)``, and the factors as the teacher sees them ``(n, 6)``."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(count, 6))
    grid = np.linspace(0, np.pi, 16)
    waves = np.stack([np.outer(np.cos(a * grid), np.cos(b * grid)) for a, b in
                      [(0, 1), (1, 0), (1, 1), (2, 0), (0, 2), (2, 1)]])  # fmt: skip
    pictures = 128 + 25 * np.tensordot(factors, waves, 1) + rng.normal(size=(count, 16, 16))
    return pictures.clip(0, 255), factors


class TestCurve:
    def test_recovers_a_power_law(self) -> None:
        truth = lambda n: 0.8 - 0.5 * (n / 50) ** -0.6  # noqa: E731
        sizes = [50, 100, 200, 400, 800] * 3
        curve = fit_curve(sizes, [truth(n) for n in sizes], highest=1.0)
        for pairs in (50, 400, 3200):
            found = curve.at(pairs)
            assert found.low - 0.02 <= truth(pairs) <= found.high + 0.02
            assert found.value == pytest.approx(truth(pairs), abs=0.05)
        assert curve.limit.low <= 0.8 <= curve.limit.high

    def test_uncertainty_grows_beyond_the_pilots(self) -> None:
        curve = fit_curve([60, 120, 240], [0.3, 0.36, 0.41], highest=0.9)
        widths = [curve.at(n).high - curve.at(n).low for n in (240, 1000, 10_000)]
        assert widths[0] < widths[1] < widths[2]
        assert curve.at(240).value < curve.at(1000).value < curve.at(10_000).value

    def test_flat_pilots_promise_little(self) -> None:
        flat = fit_curve([60, 120, 240] * 2, [0.3] * 6, highest=0.9)
        rising = fit_curve([60, 120, 240] * 2, [0.3, 0.36, 0.41] * 2, highest=0.9)
        assert flat.at(2400).value - 0.3 < 0.5 * (rising.at(2400).value - 0.41)

    def test_pairs_for_a_share_of_the_ceiling(self) -> None:
        sizes = [100, 200, 400, 800, 1600]
        curve = fit_curve(sizes, [0.8 - 0.4 * 100 / n for n in sizes], highest=0.8)
        needed = curve.pairs_for(0.9, 0.2)  # 0.74 of 0.8: 0.4 (n / 100)^-1 = 0.06
        assert needed.value == pytest.approx(667, rel=0.25)
        assert needed.low <= needed.value <= needed.high

    def test_refuses_what_is_no_curve(self) -> None:
        with pytest.raises(ValueError, match="sizes"):
            fit_curve([1, 2], [0.1], highest=1)


class TestChecks:
    def test_sane_pairs_fit(self) -> None:
        pictures, factors = smooth_pairs(200)
        found = pairing(bed_of(pictures, factors))
        assert found is not None
        assert found.low > 0.9
        own = structure(bed_of(pictures, factors))
        assert own is not None
        assert own.signal == "clear"
        assert own.value > 0.7

    def test_shuffled_pairs_do_not_fit_though_the_targets_are_structured(self) -> None:
        pictures, factors = smooth_pairs(200)
        bed = bed_of(pictures, factors[np.random.default_rng(1).permutation(200)])
        found, own = pairing(bed), structure(bed)
        assert found is not None
        assert own is not None
        assert found.low <= 0.5 <= found.high + 0.02
        assert own.signal == "clear"

    def test_noise_has_no_structure(self) -> None:
        found = []
        for seed in range(4):
            rng = np.random.default_rng(seed)
            own = structure(bed_of(rng.integers(0, 256, (150, 16, 16)), rng.normal(size=(150, 6))))
            assert own is not None
            assert own.signal == "none"
            found.append(own.value)
        assert np.mean(found) == pytest.approx(0.5, abs=0.07)

    def test_few_pairs_are_not_judged(self) -> None:
        pictures, factors = smooth_pairs(40)
        assert pairing(bed_of(pictures, factors)) is None
        assert structure(bed_of(pictures, factors)) is None

    def test_partner_rank_of_known_vectors(self) -> None:
        vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
        ids = np.arange(50)
        assert partner_rank(vectors, vectors, ids, ids).value == 1.0
        assert partner_rank(vectors, -vectors, ids, ids).value == 0.0
        constant = np.ones_like(vectors)
        assert partner_rank(constant, vectors, ids, ids).value == pytest.approx(0.5, abs=0.1)
        assert partner_rank(constant, constant, ids, ids).value == 0.5

    def test_a_teacher_of_random_weights_is_told_from_a_trained_one(self, dial: Path) -> None:
        pairs = open_pairs(PairsConfig(manifest=dial / "manifest.csv"))
        source = parse_modality({"modality": "image", "size": 64})
        leads = []
        for config in (
            TeacherConfig(weights="efficientnet-lite0"),
            TeacherConfig(backbone="tf_efficientnet_lite0", weights="random"),
        ):
            torch.manual_seed(3)
            encoder = build_teacher(config, source)
            items = Items.of(pairs, range(48), "source", encoder.modality)
            found = teacher_knows(encoder, items, np.arange(48), torch.device("cpu"), 0)
            assert found is not None
            leads.append(found.value)
            few = items.subset(range(20))
            assert teacher_knows(encoder, few, np.arange(20), torch.device("cpu"), 0) is None
        assert leads[0] > 0.12
        assert leads[1] < 0.1

    def test_weights_are_drawn_anew_and_the_teacher_is_left_alone(self) -> None:
        modality = parse_modality({"modality": "image", "size": 32, "mean": [0.5] * 3, "std": [0.25] * 3})
        encoder = build_teacher(TeacherConfig(backbone="test_resnet", weights="random"), modality)
        before = {name: value.clone() for name, value in encoder.state_dict().items()}
        twin = redrawn(encoder, 1)
        assert twin is not None
        assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
        assert not torch.equal(next(iter(twin.parameters())), next(iter(encoder.parameters())))

        class Fixed(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weight = torch.nn.Parameter(torch.randn(3, 4))

            def forward(self, images: torch.Tensor) -> torch.Tensor:
                return images.mean(dim=(2, 3)) @ self.weight

        assert redrawn(Encoder.from_module(Fixed(), modality), 1) is None


class TestBed:
    def test_grids_become_small_and_keep_their_kind(self) -> None:
        pictures = torch.randint(0, 256, (3, 1, 64, 64), dtype=torch.uint8)
        small = shrunk(pictures)
        assert small.shape == (3, 1, 40, 40)
        assert small.dtype == torch.uint8
        assert shrunk(pictures[..., :30, :30]).shape == (3, 1, 30, 30)
        sound = shrunk(torch.rand(2, 1, 64, 251).half())
        assert sound.shape[-1] * sound.shape[-2] <= CELLS * 1.05
        assert sound.dtype == torch.float16
        vectors = torch.rand(5, 7)
        assert shrunk(vectors) is vectors

    def test_lay_bed(self, manifest: Path) -> None:
        pairs = open_pairs(PairsConfig(manifest=manifest))
        source = parse_modality({"modality": "image", "size": 32, "mean": [0.5] * 3, "std": [0.25] * 3})
        encoder = build_teacher(TeacherConfig(backbone="test_resnet", weights="random"), source)
        target = parse_modality({"modality": "image", "size": 32, "channels": 1}).resolve(
            encoder.modality.as_defaults()
        )
        rows = list(range(20))
        bed = lay_bed(pairs, rows, encoder, target, device=torch.device("cpu"))
        assert bed.teacher.shape == (20, encoder.width)
        assert np.abs(bed.teacher.mean(axis=0)).max() < 1e-4
        assert bed.shown is not None
        assert bed.identical == 0
        assert [bed.classes[label] for label in bed.labels] == [pairs[row].label for row in rows]
        same = pairs.with_rows(dataclasses.replace(pair, target=pair.source) for pair in pairs)
        twin = parse_modality({"modality": "image", "size": 32}).resolve(encoder.modality.as_defaults())
        assert lay_bed(same, rows, encoder, twin, device=torch.device("cpu")).identical == 1

    def test_division_keeps_groups_together(self) -> None:
        groups = np.repeat(np.arange(30), 4)
        train, test = divide(groups, 0)
        assert set(groups[train]).isdisjoint(groups[test])
        assert sorted([*train, *test]) == list(range(120))
        assert 0.2 < len(test) / 120 < 0.45
        lopsided = np.array([0] * 60 + list(range(1, 21)))
        for seed in range(10):  # the large group is trained on, wherever the draw puts it
            train, test = divide(lopsided, seed)
            assert len(train) >= 60
            assert 8 <= len(test) <= 20

    def test_sizes(self) -> None:
        assert sizes_of(266) == [66, 133, 266]
        assert sizes_of(40) == [16, 20, 40]
        assert sizes_of(12) == [12]


class TestTasks:
    def test_classes_without_enough_labels_take_no_part(self) -> None:
        labels = np.array([0] * 30 + [1] * 30 + [-1] * 15)
        pictures, factors = smooth_pairs(75)
        bed = bed_of(pictures, factors, labels)
        train, test = np.arange(0, 75, 2), np.arange(1, 75, 2)
        task = labelled_task(bed, train, test, 3, 1)
        assert task is not None
        assert task.classes == 2
        assert labelled_task(bed, train, test, 19, 1) is None
        assert not task.stand_in
        grouped = dataclasses.replace(bed, groups=np.arange(75) // 10)
        assert labelled_task(grouped, train, test, 3, 1) is None  # items, but too few groups of them
        assert labelled_task(bed, train, test[:15], 3, 1) is None

    def test_stand_ins_need_no_label(self) -> None:
        pictures, _ = smooth_pairs(160)
        centres = np.eye(4)[np.arange(160) % 4] * 5
        bed = bed_of(pictures, centres + np.random.default_rng(0).normal(size=(160, 4)) * 0.1)
        train, test = np.arange(0, 100), np.arange(100, 160)
        task = stand_in_task(bed, train, test, 2, 1, 0)
        assert task is not None
        assert task.stand_in
        assert task.classes >= 4
        again = stand_in_task(bed, train, test, 2, 1, 0)
        assert again is not None
        assert np.array_equal(task.labels, again.labels)

    def test_few_shot_accuracy_of_vectors_that_tell_all_and_nothing(self) -> None:
        labels = np.arange(80) % 4
        pictures, factors = smooth_pairs(80)
        bed = bed_of(pictures, factors, labels)
        bed = dataclasses.replace(bed, classes=("a", "b", "c", "d"))
        train, test = np.arange(40), np.arange(40, 80)
        task = labelled_task(bed, train, test, 2, 3)
        assert task is not None
        clear = np.eye(4, dtype=np.float32)[labels]
        assert few_shot(clear, task, train, test, 0).mean() == 1
        blind = np.random.default_rng(0).normal(size=(80, 4)).astype(np.float32)
        assert few_shot(blind, task, train, test, 0).mean() == pytest.approx(0.25, abs=0.15)


class TestPilots:
    def test_a_linear_student_finds_what_is_linear(self) -> None:
        pictures, factors = smooth_pairs(200)
        bed = bed_of(pictures, factors)
        train, test = divide(bed.groups, 0)
        found = linear_students(bed, train, AdviseSettings(repeats=1))
        last = found[len(train), 0][test]
        assert np.corrcoef(last.ravel(), factors[test].ravel())[0, 1] > 0.95

    def test_a_pilot_learns_and_is_repeatable(self) -> None:
        pictures, factors = smooth_pairs(160)
        bed = bed_of(pictures, factors)
        train, test = divide(bed.groups, 0)
        student = new_student(bed, 0)
        objective, budget = ObjectiveConfig(name="cmcd"), Budget(steps=120, batch_size=32)
        trained = [vectors_of(train_pilot(bed, train, objective, budget, 0, student), bed) for _ in range(2)]
        assert np.array_equal(*trained)
        before = partner_rank(vectors_of(student, bed)[test], bed.teacher[test], bed.ids[test], bed.groups[test])
        after = partner_rank(trained[0][test], bed.teacher[test], bed.ids[test], bed.groups[test])
        assert after.value > max(0.6, before.value)


def evidence(**changes: Any) -> Any:
    task = SimpleNamespace(
        stand_in=False, untrained=estimate(0.2), scratch=estimate(0.25), alone=estimate(0.25), shown=None,
        source=estimate(0.8), distilled=estimate(0.4),
        linear=[SimpleNamespace(pairs=200, accuracy=0.5)],
    )  # fmt: skip
    fit = Fit(0.95, 0.9, 0.99, "clear", (0.0, 0.0, 0.02))
    base = {"pairs": 300, "trained": 200, "held_out": 100, "identical": 0.0, "pairing": fit, "structure": fit,
            "knows": estimate(0.2, 0.1, 0.3), "partner": estimate(0.9, 0.85, 0.95), "task": task,
            "objectives": {}, "distances": linear_auc(0.9, 0.005)}  # fmt: skip
    return SimpleNamespace(**{**base, **changes})


def linear_auc(value: float, p_value: float) -> dict[str, Any]:
    return {"retrieval_auc": SimpleNamespace(value=value, p_value=p_value)}


UNRELATED = {"partner": estimate(0.5, 0.45, 0.55), "distances": linear_auc(0.5, 0.4)}
GOOD, BAD = Spread(0.1, 0.05, 0.15), Spread(0.0, -0.05, 0.05)


class TestVerdicts:
    @pytest.mark.parametrize(
        ("changes", "now", "more", "verdict"),
        [
            ({}, GOOD, [], "worth it"),
            ({}, BAD, [(1000, GOOD)], "collect more pairs"),
            ({}, BAD, [(1000, BAD), (3000, BAD)], "the target does not carry it"),
            ({}, Spread(0.01, 0.005, 0.015), [], "the target does not carry it"),
            ({}, Spread(0.06, -0.04, 0.16), [(1000, Spread(0.06, -0.05, 0.17))], "collect more pairs"),
            ({"partner": estimate(0.5, 0.45, 0.55)}, GOOD, [], "worth it"),
            ({"knows": None}, GOOD, [], "worth it"),
            ({"identical": 1.0}, GOOD, [], "the target is the source"),
            ({"knows": estimate(0.02, 0.001, 0.04)}, GOOD, [], "the teacher knows nothing"),
            (UNRELATED, BAD, [(1000, GOOD)], "wrong pairing"),
            ({**UNRELATED, "structure": Fit(0.5, 0.4, 0.6, "none", None)}, BAD, [], "the target does not carry it"),
            (UNRELATED, GOOD, [], "wrong pairing"),
            ({"pairing": Fit(0.8, 0.7, 0.9, "clear", (0.4, 0.3, 0.5))}, GOOD, [], "wrong pairing"),
            ({"task": None}, None, [], "collect more pairs"),
        ],
    )
    def test_rules(self, changes: dict[str, Any], now: Spread | None, more: Any, verdict: str) -> None:
        found = rule(evidence(**changes), now, more)
        assert found.verdict == verdict
        assert verdict in VERDICTS
        assert all(found.reasons)

    def test_an_objective_is_recommended_only_when_it_is_clearly_ahead(self) -> None:
        default, other, third, *_ = CANDIDATES
        barely = estimate(0.1, 0.01, 0.19)
        assert recommended(evidence(objectives={other: {"few_shot": barely, "partner": barely}}))[0] == default
        ahead, level, behind = estimate(0.1, 0.05, 0.15), estimate(0.0, -0.1, 0.1), estimate(-0.1, -0.15, -0.05)
        assert recommended(evidence())[0] == default
        assert recommended(evidence(objectives={other: {"few_shot": level, "partner": level}}))[0] == default
        assert recommended(evidence(objectives={other: {"few_shot": ahead, "partner": level}}))[0] == other
        assert recommended(evidence(objectives={other: {"few_shot": ahead, "partner": behind}}))[0] == default
        both = {other: {"few_shot": ahead, "partner": level}, third: {"few_shot": ahead, "partner": ahead}}
        assert recommended(evidence(objectives=both))[0] == third

    def test_remarks_say_when_the_teacher_itself_does_better(self) -> None:
        task = evidence().task
        task.shown = estimate(0.6)
        assert "start the student from the teacher's weights" in " ".join(remarks(evidence(task=task)))
        task.shown = estimate(0.1)
        assert not remarks(evidence(task=task))


class TestForecast:
    def test_learns_the_shrinkage_and_covers_what_is_left_out(self) -> None:
        rng = np.random.default_rng(0)
        rows, gains, sets = [], [], []
        for number in range(12):
            for _ in range(10):
                row = np.array([rng.uniform(0, 0.3), rng.uniform(0, 0.2), rng.uniform(0, 0.5)])
                rows.append(row)
                gains.append(float(row @ [0.5, 1.0, 0.1] + 0.01 + rng.normal() * 0.01))
                sets.append(f"set {number}")
        known = fit_calibration(rows, gains, sets)
        # Found, but for the pull of what was believed before: 0.5, 1 and 0.5.
        assert known.weights[:2] == pytest.approx((0.5, 1.0), abs=0.1)
        assert 0.1 <= known.weights[2] < 0.4
        fresh = [np.array([rng.uniform(0, 0.3), rng.uniform(0, 0.2), rng.uniform(0, 0.5)]) for _ in range(400)]
        off = [abs(row @ (np.array(known.weights) - [0.5, 1.0, 0.1]) + known.offset - 0.01 + rng.normal() * 0.01)
               for row in fresh]  # fmt: skip
        assert 0.8 <= np.mean(np.array(off) <= known.spread) <= 0.99
        assert known.spread < 0.1  # the pull costs something where it is wrong
        with pytest.raises(ValueError, match="two sets"):
            fit_calibration(rows[:3], gains[:3], ["one"] * 3)

    def test_a_far_forecast_is_less_certain(self) -> None:
        task: Any = SimpleNamespace(
            stand_in=False, source=estimate(0.8), alone=estimate(0.2),
            linear=[SimpleNamespace(pairs=240, accuracy=0.5)], items=100, gain=estimate(0.2, 0.2, 0.2),
            pilots=[SimpleNamespace(objective=next(iter(CANDIDATES)), pairs=n, accuracy=a)
                    for n, a in ((60, 0.3), (120, 0.36), (240, 0.41))],
        )  # fmt: skip
        curve = curve_of(task)
        known = Calibration(weights=(1, 1, 0), offset=0, spread=0.05, error=0.03, records=1, sets=("a",))
        near, far = forecast(task, curve, 240, known), forecast(task, curve, 5000, known)
        assert near.high - near.low < far.high - far.low
        assert near.value == pytest.approx(float(features(task, curve, 240)[0]))
        assert far.value > near.value
        task.gain = estimate(0.2, 0.05, 0.35)  # few held-out items
        vague = forecast(task, curve, 240, known)
        assert vague.high - vague.low > 1.5 * (near.high - near.low)
        assert vague.value == near.value

    def test_what_is_shipped_was_learnt_from_several_sets(self) -> None:
        for known in (calibrations().labelled, calibrations().stand_in):
            assert len(known.sets) >= 6
            assert known.records > 30
            assert 0 < known.spread < 0.5


@pytest.fixture(scope="module")
def dial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dial set, as a folder."""
    folder = tmp_path_factory.mktemp("dial") / "dial"
    options = ["keep=1", "nuisance=0", "pairs=150", "classes=3", "side=32"]
    done = CliRunner().invoke(app, ["data", "build", "dial", "--out", str(folder), *options])
    assert done.exit_code == 0, done.output
    return folder


TEACHER = "backbone=test_resnet,weights=random"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command with pilots of a few steps."""
    from crossdistill.cli import advise as command

    original = command.validated

    def short(model: Any, content: Any, where: str) -> Any:
        return original(model, {**content, "steps": 4, "repeats": 1, "draws": 2}, where)

    monkeypatch.setattr(command, "validated", short)


class TestCommand:
    def test_terminal_json_and_page(self, dial: Path, tmp_path: Path, quick: None) -> None:
        out = tmp_path / "advice"
        done = CliRunner().invoke(
            app, ["advise", str(dial), "--teacher", TEACHER, "--out", str(out), "--workers", "0", "--shots", "2"]
        )
        assert done.exit_code == 0, done.output
        content = json.loads((out / "advice.json").read_text())
        assert content["verdict"] in VERDICTS
        assert content["verdict"].upper() in done.output
        assert f"gain with {content['pairs']['available']} pairs" in done.output
        assert len(content["gain"]) == 4
        assert all(each["low"] <= each["value"] <= each["high"] for each in content["gain"])
        assert {task["stand_in"] for task in content["evidence"]["tasks"]} == {False, True}
        assert content["evidence"]["distances"]["retrieval_auc"]["value"] > 0
        page = (out / "advice.html").read_text()
        assert content["verdict"][1:] in page
        assert "Plotly.newPlot" in page
        assert "https://" not in page.split("</script>")[-1]

    def test_the_same_seed_gives_the_same_advice(self, dial: Path) -> None:
        pairs = open_pairs(PairsConfig(manifest=dial / "manifest.csv"))
        source = parse_modality({"modality": "image", "size": 32})
        found = []
        for _ in range(2):
            torch.manual_seed(0)
            encoder = build_teacher(TeacherConfig(backbone="test_resnet", weights="random"), source)
            target = parse_modality({"modality": "image", "size": 32, "channels": 1})
            content = advise(pairs, encoder, target, settings=QUICK).to_json()
            content.pop("seconds")
            found.append(json.dumps(content))
        assert found[0] == found[1]

    def test_the_test_split_is_never_looked_at(self, dial: Path, tmp_path: Path) -> None:
        pairs = open_pairs(PairsConfig(manifest=dial / "manifest.csv"))
        pairs = pairs.with_rows(
            dataclasses.replace(pair, target=tmp_path / f"missing {number}.png") if pair.split == "test" else pair
            for number, pair in enumerate(pairs)
        )
        source = parse_modality({"modality": "image", "size": 32})
        encoder = build_teacher(TeacherConfig(backbone="test_resnet", weights="random"), source)
        target = parse_modality({"modality": "image", "size": 32, "channels": 1})
        assert advise(pairs, encoder, target, settings=QUICK).ruling.verdict in VERDICTS

    def test_too_few_pairs_are_refused_in_one_message(self, dial: Path, tmp_path: Path) -> None:
        with (dial / "manifest.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))[:20]
        folder = tmp_path / "few"
        folder.mkdir()
        shutil.copytree(dial / "source", folder / "source")
        shutil.copytree(dial / "target", folder / "target")
        with (folder / "manifest.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        pairs = open_pairs(PairsConfig(manifest=folder / "manifest.csv"))
        source = parse_modality({"modality": "image", "size": 32})
        encoder = build_teacher(TeacherConfig(backbone="test_resnet", weights="random"), source)
        with pytest.raises(PairsError, match=f"at least {FEWEST} pairs"):
            advise(pairs, encoder, parse_modality({"modality": "image", "size": 32, "channels": 1}))

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["nowhere", "--teacher", TEACHER], "no such pairs"),
            (["DIAL"], "none is named"),
            (["DIAL", "--teacher", "none"], "none is named"),
            (["DIAL", "--teacher", "efficientnet-lite9"], "Unknown teacher"),
            (["DIAL", "--teacher", TEACHER, "--pairs", "3"], "pairs"),
            (["DIAL", "--teacher", TEACHER, "--student", "no_such_net"], "no_such_net"),
            (["DIAL", "--teacher", TEACHER, "--student", "test_vit"], "items of this size"),
        ],
    )
    def test_mistakes_end_in_one_message(self, dial: Path, arguments: list[str], words: str) -> None:
        done = CliRunner().invoke(app, ["advise", *(str(dial) if each == "DIAL" else each for each in arguments)])
        assert done.exit_code != 0
        assert words in str(done.exception)

    def test_a_target_that_is_the_source_is_named(self, dial: Path, tmp_path: Path, quick: None) -> None:
        twin = tmp_path / "twin"
        shutil.copytree(dial, twin)
        for path in (twin / "source").iterdir():
            Pillow.open(path).save(twin / "target" / path.name)
        done = CliRunner().invoke(
            app, ["advise", str(twin), "--teacher", TEACHER, "--target", "modality=image,size=64", "--json",
                  "--workers", "0", "--shots", "2"]
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout.strip().splitlines()[-1])["verdict"] == "the target is the source"


class TestOddPairs:
    """What users have: it ends in a verdict or in one message, never in a traceback."""

    def advice(self, pairs: Any, target: Any, source: Any = None, backbone: str = "test_resnet") -> Any:
        torch.manual_seed(0)
        modality = parse_modality(source or {"modality": "image", "size": 32})
        encoder = build_teacher(TeacherConfig(backbone=backbone, weights="random"), modality)
        found = advise(pairs, encoder, parse_modality(target), settings=QUICK)
        json.dumps(found.to_json(), allow_nan=False)
        return found

    GREY = {"modality": "image", "size": 32, "channels": 1}  # noqa: RUF012

    def test_no_labels(self, dial: Path) -> None:
        pairs = open_pairs(PairsConfig(manifest=dial / "manifest.csv"))
        pairs = pairs.with_rows(dataclasses.replace(pair, label=None) for pair in pairs)
        found = self.advice(pairs, self.GREY)
        assert [task.stand_in for task in found.evidence.tasks] == [True]
        assert "stand in for classes" in " ".join(found.remarks)

    def test_constant_targets(self, dial: Path, tmp_path: Path) -> None:
        pairs = open_pairs(PairsConfig(manifest=dial / "manifest.csv"))
        rows = []
        for number, pair in enumerate(pairs):
            path = tmp_path / f"{number}.png"
            Pillow.new("L", (32, 32), 255).save(path)
            rows.append(dataclasses.replace(pair, target=path))
        found = self.advice(pairs.with_rows(rows), self.GREY)
        assert found.ruling.verdict == "the target does not carry it"
        assert "one and the same" in found.ruling.reasons[0]
        write_page(found, tmp_path / "page.html")

    def test_few_groups(self, dial: Path, tmp_path: Path) -> None:
        pairs = open_pairs(PairsConfig(manifest=dial / "manifest.csv"))
        rows = [
            dataclasses.replace(pair, group=f"group {number % 6}", split="train") for number, pair in enumerate(pairs)
        ]
        found = self.advice(pairs.with_rows(rows), self.GREY)
        assert found.ruling.verdict in VERDICTS
        assert not found.evidence.distances
        write_page(found, tmp_path / "page.html")
        two = [
            dataclasses.replace(pair, group=f"group {number % 2}", split="train") for number, pair in enumerate(pairs)
        ]
        with pytest.raises(PairsError, match="cannot be divided"):
            self.advice(pairs.with_rows(two), self.GREY)

    def test_vectors(self, dial: Path, tmp_path: Path) -> None:
        pairs = open_pairs(PairsConfig(manifest=dial / "manifest.csv"))
        rng = np.random.default_rng(0)
        rows = []
        for number, pair in enumerate(pairs):
            for side in ("source", "target"):
                np.save(tmp_path / f"{side}-{number}.npy", rng.normal(size=6).astype(np.float32))
            rows.append(
                dataclasses.replace(
                    pair, source=tmp_path / f"source-{number}.npy", target=tmp_path / f"target-{number}.npy"
                )
            )
        vectors = {"modality": "embedding", "width": 6}
        found = self.advice(pairs.with_rows(rows), vectors, vectors, "mlp")
        assert found.evidence.student == "mlp"
        assert found.ruling.verdict in VERDICTS
        write_page(found, tmp_path / "page.html")


def test_proportions_of_estimates_are_those_of_the_items() -> None:
    """What the verdict reads is an interval over groups: one group of many items is one piece of evidence."""
    wide = proportion(np.array([1.0] * 10 + [0.0] * 10), np.repeat([0, 1], 10))
    narrow = proportion(np.array([1.0] * 10 + [0.0] * 10), np.arange(20))
    assert wide.high - wide.low > narrow.high - narrow.low
