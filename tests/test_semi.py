"""Few pairs beside many items without a partner: what stays a pair, what is asked of the rest, how it is resumed."""

from __future__ import annotations

import copy
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import references
from crossdistill.encoders.encoder import weights_hash
from crossdistill.errors import ConfigError, PairsError, StoppedError
from crossdistill.modalities import InputDefaults
from crossdistill.objectives import CMC, InfoNCE, TeacherColumns, known_objectives
from crossdistill.objectives.paws import PAWS
from crossdistill.pairs import Pair, Pairs, open_pairs
from crossdistill.pairs.unpair import keep_pairs, share_of_rows
from crossdistill.pipeline import RunFolder, make_config, run
from crossdistill.pipeline.own_pairs import own_pairs
from crossdistill.pipeline.work import begin
from crossdistill.training import SemiConfig, TrainConfig, TrainLog, distil
from crossdistill.training.batches import Beside, StepSampler
from engine_bench import Bench, StopAt, changed, terminate
from test_many import run as launched
from test_objectives import randn
from test_trained_controls import linear_encoder, pictures

PAIRS, OTHERS, SOURCES = 24, 16, 32  # of the bench's 40 targets; of the teacher's embeddings


def table(count: int = 40, per_group: int = 2) -> Pairs:
    """Pairs in groups, of which the last quarter is for the test; and one unpaired item on either side."""
    rows = [
        Pair(source=Path(f"s{i}.png"), target=Path(f"t{i}.png"), label=f"class {i % 3}", group=f"g{i // per_group}",
             split="train" if i < 3 * count // 4 else "test", mask=Path(f"m{i}.png"))
        for i in range(count)
    ]  # fmt: skip
    alone = [
        Pair(source=Path("s.png"), target=None, split="train"),
        Pair(source=None, target=Path("t.png"), split="train"),
    ]
    return Pairs((*rows, *alone))


def paired(pairs: Pairs) -> set[str]:
    return {str(pairs[row].target) for row in pairs.where("train", has=("source", "target"))}


class TestKeepPairs:
    def test_a_share_of_the_groups_stays_and_nothing_is_lost(self) -> None:
        pairs = table()
        kept = keep_pairs(pairs, 0.2, seed=1)
        assert kept.counts()["train"] == {
            "pairs": 6, "source_only": 25, "target_only": 25, "labelled": 30 + 24, "groups": 15 + 2,
        }  # fmt: skip
        assert kept.counts()["test"] == pairs.counts()["test"]
        for side in ("source", "target"):
            for labelled in (True, None):
                assert [str(kept[row].item(side)) for row in kept.where("train", has=(side,), labelled=labelled)] == [
                    str(pairs[row].item(side)) for row in pairs.where("train", has=(side,), labelled=labelled)
                ]
        for row in kept:
            partner = (str(row.source).replace("s", "t"), str(row.target))
            assert (row.source is None) or (row.target is None) or partner[0] == partner[1]
            assert row.mask is None or row.target is not None
        groups = [kept[row].group for row in kept.where("train", has=("source", "target"))]
        assert len(groups) == 2 * len(set(groups)), "whole groups"

    def test_smaller_shares_are_parts_of_larger_ones_and_seeds_differ(self) -> None:
        pairs = table()
        sets = [paired(keep_pairs(pairs, share, seed=1)) for share in (0.01, 0.1, 0.5, 1)]
        assert [len(each) for each in sets] == [2, 4, 16, 30]
        assert all(smaller < larger for smaller, larger in pairwise(sets))
        assert sets[1] == paired(keep_pairs(pairs, 0.1, seed=1)) != paired(keep_pairs(pairs, 0.1, seed=2))
        assert keep_pairs(pairs, 1, seed=1) is pairs

    def test_a_share_of_rows_is_of_whole_groups_and_nested(self) -> None:
        pairs = table()
        rows = pairs.where("train", has=("source",))
        parts = [share_of_rows(pairs, rows, share, seed=1) for share in (0.01, 0.2, 0.5, 1)]
        assert parts[-1] == list(rows)
        assert all(set(smaller) < set(larger) for smaller, larger in pairwise(parts))
        for part in parts:
            groups = {pairs.group_ids[row] for row in part}
            assert part == [row for row in rows if pairs.group_ids[row] in groups], "whole groups, in order"
        assert 0.2 * len(rows) <= len(parts[1]) < 0.2 * len(rows) + 2
        assert parts[1] != share_of_rows(pairs, rows, 0.2, seed=2)

    def test_an_item_of_several_pairs_is_one_row(self) -> None:
        rows = [Pair(source=Path("s0.png"), target=Path(f"t{i}.png"), split="train", label="a") for i in range(3)]
        rows += [Pair(source=Path(f"s{i}.png"), target=Path(f"t{i}.png"), split="train", label="b") for i in (5, 6)]
        found = {len(paired(keep_pairs(Pairs(tuple(rows)), 0.2, seed))) for seed in range(8)}
        assert found == {1, 3}
        one = next(p for s in range(8) if len(paired(p := keep_pairs(Pairs(tuple(rows)), 0.2, s))) == 1)
        sources = [str(pair.source) for pair in one if pair.source is not None]
        assert len(sources) == len(set(sources)) == 3


def reference(first: Tensor, second: Tensor, bank: Tensor, tau: float, sharpen: float, spread: float) -> Tensor:
    """PAWS in plain loops."""

    def distribution(row: Tensor, temperature: float) -> list[Tensor]:
        exponentials = [torch.exp(references.cosine(row, column) / temperature) for column in bank]
        return [each / references.total(exponentials, row) for each in exponentials]

    losses, mean = [], [torch.zeros((), dtype=first.dtype) for _ in bank]
    for views in ((first, second), (second, first)):
        for row, other in zip(*views, strict=True):
            wanted = distribution(other.detach(), tau * sharpen)
            losses += [-q * torch.log(p) for p, q in zip(distribution(row, tau), wanted, strict=True)]
            mean = [m + q / (2 * len(first)) for m, q in zip(mean, distribution(row, tau * sharpen), strict=True)]
    return references.total(losses, first) / (2 * len(first)) + spread * references.total(
        [m * torch.log(m) for m in mean], first
    )


class TestNeighbours:
    @pytest.mark.parametrize(("sharpen", "spread"), [(0.25, 1.0), (1.0, 0.0), (0.5, 3.0)])
    @pytest.mark.parametrize("tile", [1, 2, 4])
    def test_equals_plain_loops_whatever_the_tiles(self, sharpen: float, spread: float, tile: int) -> None:
        first, second = (randn(seed, 4, 5).double().requires_grad_() for seed in (1, 2))
        bank = randn(3, 7, 5).double()
        # A budget of so few bytes that a tile has one, two or four columns.
        megabytes = tile * (8 + 2 * 5) * 8 / 2**20
        for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
            objective = PAWS(0.3, sharpen, spread, memory_mb=megabytes).to(dtype)
            objective.prepare(TeacherColumns(bank.to(dtype), torch.arange(7)))
            views = [view.detach().to(dtype).requires_grad_() for view in (first, second)]
            value = objective(*views)
            expected = reference(first, second, bank, 0.3, sharpen, spread)
            torch.testing.assert_close(value.double(), expected, rtol=tolerance, atol=tolerance)
            gradients = torch.autograd.grad(value, views)
            for ours, theirs in zip(gradients, torch.autograd.grad(expected, (first, second)), strict=True):
                torch.testing.assert_close(ours.double(), theirs, rtol=tolerance, atol=tolerance)

    def test_the_entropy_has_the_gradient_of_its_values(self) -> None:
        """The target has none, so that finite differences see the last term alone where the first is taken off."""
        bank, second = randn(3, 6, 4).double(), randn(2, 3, 4).double()
        whole, without = PAWS(0.3, 0.5, 1.0).double(), PAWS(0.3, 0.5, 0.0).double()
        for each in (whole, without):
            each.prepare(TeacherColumns(bank))

        def entropy(first: Tensor) -> Tensor:
            return whole(first, second) - without(first, second)

        assert torch.autograd.gradcheck(entropy, randn(1, 3, 4).double().requires_grad_(), fast_mode=True)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    @pytest.mark.parametrize("case", ["zero", "identical", "opposite", "equal", "one"])
    def test_is_finite_at_the_edges(self, case: str, dtype: torch.dtype) -> None:
        bank = randn(1, 4, 8)
        rows = {"zero": 0 * bank, "identical": torch.ones(4, 8), "opposite": -bank, "equal": bank, "one": bank[:1]}
        objective = PAWS(0.01)
        objective.prepare(TeacherColumns(bank))
        view = rows[case].to(dtype).requires_grad_()
        value = objective(view, rows[case].to(dtype))
        (gradient,) = torch.autograd.grad(value, view)
        assert bool(torch.isfinite(value))
        assert bool(torch.isfinite(gradient).all())

    def test_is_smallest_where_views_agree_are_sharp_and_spread(self) -> None:
        bank = torch.eye(6)
        objective = PAWS(0.1)
        objective.prepare(TeacherColumns(bank))
        agreeing, turned = float(objective(bank, bank)), float(objective(bank, bank.roll(1, 0)))
        crowded, vague = (
            float(objective(bank[:1].expand(6, 6), bank[:1].expand(6, 6))),
            float(objective(torch.ones(6, 6), torch.ones(6, 6))),
        )
        assert agreeing < min(turned, crowded, vague)

    def test_is_no_objective_of_pairs(self) -> None:
        assert "paws" not in known_objectives()
        with pytest.raises(ValueError, match="whole on every rank"):
            PAWS().prepare(TeacherColumns(randn(1, 3, 4), sharded=True))
        with pytest.raises(ConfigError, match="spread"):
            PAWS(spread=-1)


class TestBatches:
    def test_go_along_by_the_number_of_the_batch_alone(self) -> None:
        beside = Beside(count=7, batch_size=3)
        whole = list(StepSampler(10, 4, 6, seed=1, beside=beside))
        assert [batch[:4] for batch in whole] == list(StepSampler(10, 4, 6, seed=1)), "the pairs' order is as ever"
        others = [[number - 10 for number in batch[4:]] for batch in whole]
        assert all(len(set(batch)) == 3 and set(batch) <= set(range(7)) for batch in others)
        passes = [set(others[i]) | set(others[i + 1]) for i in range(0, 12, 2)]
        assert all(len(each) == 6 for each in passes), "each once in a pass"
        assert len({frozenset(each) for each in passes}) > 1, "another order in each, so that none is left out for good"
        for first in (1, 2, 5):
            assert list(StepSampler(10, 4, 6, seed=1, beside=beside, first_step=first)) == whole[first:]
        accumulated = list(StepSampler(10, 4, 6, seed=1, beside=beside, accumulate=2))
        assert accumulated == whole, "by batches, not by steps"
        assert sorted(next(iter(StepSampler(10, 4, 1, seed=1, beside=Beside(2, 50))))[4:]) == [10, 11]

    def test_an_end_within_an_epoch(self) -> None:
        whole = list(StepSampler(10, 4, 6, seed=1))
        cut = StepSampler(10, 4, 6, seed=1, steps=5)
        assert (cut.total_steps, len(cut), list(cut)) == (5, 5, whole[:5])
        assert list(StepSampler(10, 4, 6, seed=1, steps=5, first_step=3)) == whole[3:5]


def semi(term: str, **settings: Any) -> SemiConfig:
    return SemiConfig.model_validate({"term": term, "batch_size": 8, **settings})


class TestTraining:
    @pytest.fixture
    def bench(self, manifest: Path, tmp_path: Path) -> Bench:
        return Bench(manifest, tmp_path)

    def train(self, bench: Bench, name: str, config: TrainConfig, settings: SemiConfig, objective: Any = None) -> str:
        student = distil(
            copy.deepcopy(bench.initial), bench.items, bench.teacher[:PAIRS], torch.arange(PAIRS),
            objective or StopAt(10**9, terminate), config, log=TrainLog(bench.folder / f"{name}.jsonl", "distil"),
            checkpoint=bench.folder / name, semi=settings,
            support=(bench.teacher[:SOURCES], torch.arange(SOURCES)),
        )  # fmt: skip
        return weights_hash(student)

    @pytest.mark.parametrize("term", ["contrastive", "neighbours"])
    @pytest.mark.parametrize("accumulate", [1, 2])
    def test_a_stopped_one_goes_on_to_the_same_bits(self, bench: Bench, term: str, accumulate: int) -> None:
        config = changed(epochs=3, batch_size=8, accumulate=accumulate, checkpoint_every=1)
        whole = self.train(bench, "whole", config, semi(term))
        with pytest.raises(StoppedError):
            self.train(bench, "cut", config, semi(term), StopAt(5, terminate))
        assert self.train(bench, "cut", config, semi(term)) == whole
        epochs = [bench.lines(name, "epoch") for name in ("whole", "cut")]
        for line in [*epochs[0], *epochs[1]]:
            line.pop("seconds")
        assert epochs[0] == epochs[1]
        assert all("semi" in line for line in epochs[0])
        assert whole != self.train(bench, "heavier", config, semi(term, weight=2.0))

    @pytest.mark.parametrize("term", ["contrastive", "neighbours"])
    def test_one_step_equals_plain_loops(self, term: str) -> None:
        """A matrix as the student, nothing drawn: the objective on the pairs plus the weighted term on the others."""
        student = linear_encoder(1, seed=1)
        items, teacher = pictures(student, 4), randn(5, 4, 5)
        config = TrainConfig(
            epochs=1, batch_size=2, lr=0.01, warmup=0, schedule="constant", weight_decay=0, device="cpu"
        )
        settings = SemiConfig.model_validate({"term": term, "weight": 0.7, "batch_size": 4, "temperature": 0.3})
        ours = copy.deepcopy(student)
        distil(ours, items, teacher[:2], torch.arange(2), CMC(0.3), config, semi=settings,
               support=(teacher, torch.arange(4)))  # fmt: skip

        x = student.modality.normalise(items.batch(range(6)).float()).flatten(1)
        weights = student.backbone.matrix.detach().clone().requires_grad_()
        optimiser = torch.optim.AdamW([weights], lr=0.01, weight_decay=0)
        rows = x @ weights.T
        loss = references.cmc(rows[:2], teacher[:2], [0, 1], 0.3)
        if term == "contrastive":
            loss = loss + 0.7 * references.info_nce(rows[2:], rows[2:], [0, 1, 2, 3], 0.3)
        else:
            loss = loss + 0.7 * reference(rows[2:], rows[2:], teacher, 0.3, 0.25, 1.0)
        loss.backward()
        optimiser.step()
        torch.testing.assert_close(ours.backbone.matrix.detach(), weights.detach(), rtol=1e-4, atol=1e-5)

    def test_gradient_caching_changes_nothing(self) -> None:
        student = linear_encoder(1, seed=1)
        items, teacher = pictures(student, 4), randn(5, 4, 5)
        found = []
        for at_once in (None, 3):
            ours = copy.deepcopy(student)
            config = TrainConfig(epochs=2, batch_size=2, embed_at_once=at_once, device="cpu")
            distil(ours, items, teacher[:2], torch.arange(2), StopAt(10**9, terminate), config,
                   semi=semi("neighbours", batch_size=4), support=(teacher, torch.arange(4)))  # fmt: skip
            found.append(ours.backbone.matrix.detach())
        torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)

    def test_the_terms_are_those_of_the_configuration(self) -> None:
        contrastive, neighbours = semi("contrastive").build(), semi("neighbours", temperature=0.2, spread=0).build()
        assert isinstance(contrastive, InfoNCE)
        assert contrastive.temperature.initial == pytest.approx(1 / 0.2)
        assert isinstance(neighbours, PAWS)
        assert (neighbours.temperature.initial, neighbours.sharpen, neighbours.spread) == (5.0, 0.25, 0)
        assert semi("contrastive", batch_size=None).beside(100, changed(batch_size=12)).size == 12


def configuration(manifest: Path, out: Path, **section: Any) -> dict[str, Any]:
    return {
        "pairs": str(manifest),
        "source": {"modality": "image", "size": 32},
        "target": {"modality": "image", "size": 32, "channels": 1},
        "teacher": {"backbone": "test_resnet", "weights": "random"},
        "student": {"backbone": "test_resnet"},
        "train": {"epochs": 2, "batch_size": 8, "log_every": 1},
        "semi": {"pairs": 0.4, "batch_size": 12, **section},
        "evaluate": {"protocols": ["linear", "retrieval"], "shots": [2], "draws": 2, "controls": []},
        "trackers": [],
        "out": str(out),
    }


def metrics_of(folder: RunFolder) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(folder.metrics.read_text())
    return content


class TestRuns:
    @pytest.mark.parametrize("term", [None, "contrastive", "neighbours"])
    def test_a_run_on_a_share_of_the_pairs(self, manifest: Path, tmp_path: Path, term: str | None) -> None:
        folder = run(configuration(manifest, tmp_path / "run", term=term))
        metrics = metrics_of(folder)
        train = metrics["pairs"]["splits"]["train"]
        assert train["pairs"] + train["target_only"] == open_pairs(str(manifest)).counts()["train"]["pairs"]
        assert 0 < train["pairs"] < train["target_only"]
        assert ["semi" in line for line in metrics["curves"]["distil/cmcd"]] == [term is not None] * 2
        assert open_pairs(folder.pairs).counts() == metrics["pairs"]["splits"], "the rows as used read back"
        assert len(own_pairs(folder)) == sum(
            each["pairs"] + each["source_only"] + each["target_only"] for each in metrics["pairs"]["splits"].values()
        )
        if term == "neighbours":
            again = run(configuration(manifest, tmp_path / "again", term=term))
            assert metrics_of(again)["outcomes"] == metrics["outcomes"]

    def test_runs_of_other_shares_share_no_decoded_items_by_mistake(self, manifest: Path, tmp_path: Path) -> None:
        whole, part = (
            begin(make_config(configuration(manifest, tmp_path / str(share), pairs=share))) for share in (1.0, 0.4)
        )
        part.decoded = whole.decoded
        for each in (whole, part):
            modality = each.config.target.resolve(
                InputDefaults(size=32, mean=(0.5,), std=(0.5,), interpolation="bicubic")
            )
            row = each.pairs.where(has=("target",))[-1]
            expected = modality.decode(each.pairs[row].target)
            assert torch.equal(each.items([row], "target", modality)[0], expected)

    def test_what_cannot_be_had_is_said(self, manifest: Path, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"no unpaired target(.|\n)*semi.term(.|\n)*unpaired_target"):
            run(configuration(manifest, tmp_path / "a", pairs=1.0, term="contrastive"))
        with pytest.raises(PairsError, match=r"too few training pairs(.|\n)*semi.pairs"):
            run(configuration(manifest, tmp_path / "b", pairs=0.01))
        wrong = configuration(manifest, tmp_path / "c", term="contrastive")
        with pytest.raises(ConfigError, match=r"embed_at_once(.|\n)*batches of 32"):
            run({**wrong, "train": {**wrong["train"], "embed_at_once": 8}})
        for section in ({"pairs": 0}, {"pairs": 1.1}, {"term": "mixup"}, {"weight": 0}, {"sharpen": 2}, {"batch": 3}):
            with pytest.raises(ConfigError, match="semi"):
                make_config(configuration(manifest, tmp_path / "d", **section))
        assert make_config({"pairs": "emoji", "out": "x"}).semi is None
        assert make_config({"pairs": "emoji", "out": "x"}, ["semi.pairs=0.1"]).semi == SemiConfig(pairs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_do_what_one_does(manifest: Path, tmp_path: Path, processes: int) -> None:
    """With parts of the second batch that differ by an item, and with both controls that are trained."""
    config = configuration(manifest, tmp_path / "alone", pairs=0.8, term="neighbours", batch_size=7)
    config |= {
        "student": {"backbone": "test_convnext"},
        "train": {"epochs": 3, "batch_size": 11, "accumulate": 2, "lr": 3e-4, "log_every": 1, "device": "cpu"},
    }
    config["evaluate"]["controls"] = ["ssl_target", "online_teacher"]
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(config))
    found = []
    for count, name in ((1, "alone"), (processes, "together")):
        code, said = launched(count, "run", str(path), f"out={tmp_path / name}")
        assert code == 0, said
        found.append([json.loads(line) for line in (tmp_path / name / "train.jsonl").read_text().splitlines()])
    assert [line["stage"] for line in found[0]] == [line["stage"] for line in found[1]]
    assert {line["stage"] for line in found[0]} == {"distil/cmcd", "control/ssl_target", "control/online_teacher"}
    for first, second in zip(*found, strict=True):
        assert second["loss"] == pytest.approx(first["loss"], abs=1e-5)
        assert second.get("semi") == pytest.approx(first.get("semi"), abs=1e-5)
