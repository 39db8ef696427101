"""Comparisons: statistics against brute force and known answers, the cells' keys, a whole comparison, and mistakes."""

from __future__ import annotations

import importlib
import itertools
import json
import multiprocessing
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from crossdistill.bank.inspection import describe_bank, verify_bank
from crossdistill.cli.app import app
from crossdistill.compare import CompareConfig, compare, named_methods, read_comparison
from crossdistill.compare.cell import Result
from crossdistill.compare.compare import Trial, best, score_of
from crossdistill.compare.config import MethodConfig, own_search
from crossdistill.compare.findings import gather, metric_of, over_seeds
from crossdistill.compare.page import write_pages
from crossdistill.compare.plan import Cell, make_cell, next_trials, search_space, with_settings
from crossdistill.compare.statistics import (
    Difference,
    Draws,
    Interval,
    Sums,
    cliques,
    compare_all,
    holm,
    interval_of,
    mean_ranks,
    ranks_of,
)
from crossdistill.compare.tables import markdown
from crossdistill.errors import ConfigError, CrossDistillError, PairsError, TrainingError
from crossdistill.evaluation.intervals import Estimate, Floats, mean_of_ratios, proportion
from crossdistill.objectives import ObjectiveConfig
from crossdistill.pipeline.config import make_config

GROUPS = np.repeat(np.arange(20), 2)


def estimates(rng: np.random.Generator, seeds: int, chance: float) -> list[Estimate]:
    """Outcomes of 40 items in 20 groups; groups differ in how hard they are."""
    hard = np.repeat(rng.normal(0, 0.15, 20), 2)
    return [proportion((rng.random(40) < chance + hard).astype(float), GROUPS) for _ in range(seeds)]


def items_of(counts: Floats) -> NDArray[np.int64]:
    """The items of each group as often as the group was drawn."""
    return np.concatenate([np.flatnonzero(group == GROUPS) for group in np.repeat(np.arange(20), counts.astype(int))])


class TestStatistics:
    def test_resampling_is_what_it_says(self) -> None:
        """Against drawing seeds and groups with all their items, one resample after the other."""
        rng = np.random.default_rng(0)
        table = rng.random((3, 40))
        sums = Sums.of([proportion(row, GROUPS) for row in table])
        draws = Draws.make(3, 20, resamples=50)
        drawn = sums.resampled(draws)
        for number in range(50):
            seeds = np.repeat(np.arange(3), draws.seeds[number].astype(int))
            items = items_of(draws.groups[number])
            assert drawn[number] == pytest.approx(table[seeds][:, items].mean())
        assert sums.value() == pytest.approx(table.mean())

    def test_ratios_are_resampled_as_ratios(self) -> None:
        rng = np.random.default_rng(1)
        above, below = rng.random((2, 40, 3)), 1 + rng.random((2, 40, 3))
        sums = Sums.of([mean_of_ratios(a, b, GROUPS) for a, b in zip(above, below, strict=True)])
        draws = Draws.make(2, 20, resamples=20)
        drawn = sums.resampled(draws)
        for number in range(20):
            items = items_of(draws.groups[number])
            each = (above[:, items].sum(axis=1) / below[:, items].sum(axis=1)).mean(axis=1)
            assert drawn[number] == pytest.approx((draws.seeds[number] * each).sum() / 2)

    def test_intervals_cover_and_errors_are_rare(self) -> None:
        """Two equal methods: their difference is in its interval, and is seldom said to be decided."""
        rng = np.random.default_rng(2)
        covered = decided = 0
        for _ in range(200):
            skill = rng.normal(0, 0.15, 20)  # of groups, the same for both methods
            both: dict[str, Sums] = {}
            for name in "ab":
                luck = rng.normal(0, 0.03, 4)  # of seeds
                chances = 0.5 + np.repeat(skill, 2)[None] + luck[:, None]
                both[name] = Sums.of([proportion((rng.random(40) < row).astype(float), GROUPS) for row in chances])
            found = compare_all(both)[0]
            covered += found.interval.low <= 0 <= found.interval.high
            decided += found.decided
        assert covered >= 0.92 * 200  # it errs on the wide side
        assert decided <= 0.08 * 200

    def test_a_real_difference_is_found(self) -> None:
        rng = np.random.default_rng(3)
        methods = {name: Sums.of(estimates(rng, 5, chance)) for name, chance in (("a", 0.8), ("b", 0.4), ("c", 0.42))}
        against = compare_all(methods, "a")
        assert [(each.first, each.second, each.decided) for each in against] == [("a", "b", True), ("a", "c", True)]
        assert all(each.interval.low > 0 and each.wins == 1 for each in against)
        ranks = mean_ranks(methods)
        assert ranks["a"].value == 1
        assert ranks["a"].high < min(ranks["b"].value, ranks["c"].value)
        assert cliques({name: each.value for name, each in ranks.items()}, compare_all(methods)) == [
            sorted("bc", key=lambda name: ranks[name].value)
        ]

    def test_holm_against_its_definition(self) -> None:
        values = [0.01, 0.04, 0.03, 0.005]
        # Sorted 0.005 0.01 0.03 0.04 times 4 3 2 1, and never falling.
        assert holm(values) == pytest.approx([0.03, 0.06, 0.06, 0.02])
        assert holm([0.9, 0.9]) == [1.0, 1.0]

    def test_ranks_share_ties(self) -> None:
        assert ranks_of(np.array([[3.0, 1.0, 3.0]])).tolist() == [[1.5, 3.0, 1.5]]

    def test_cliques_are_maximal(self) -> None:
        ranks = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
        zero = Interval(0, 0, 0)
        apart = {("a", "c"), ("a", "d"), ("b", "d")}
        differences = [Difference(one, other, zero, 0, 0.01 if (one, other) in apart else 0.5, 0.5)
                       for one, other in itertools.combinations("abcd", 2)]  # fmt: skip
        assert cliques(ranks, differences) == [["a", "b"], ["b", "c"], ["c", "d"]]

    def test_other_items_cannot_be_paired(self) -> None:
        one = proportion(np.ones(40), GROUPS)
        with pytest.raises(ValueError, match="same items"):
            Sums.of([one, proportion(np.ones(40), np.arange(40))])
        with pytest.raises(ValueError, match="same seeds and groups"):
            compare_all({"a": Sums.of([one]), "b": Sums.of([one, one])})

    def test_what_is_no_mean_over_items_has_an_interval_over_seeds(self) -> None:
        found = over_seeds([1.0, 2.0, 3.0])
        assert found.value == 2
        assert found.high - found.value == pytest.approx(4.303 / np.sqrt(3), abs=1e-3)
        results = [Result({"nmi": {"value": value}}, {}, {}, None, 1.0) for value in (0.2, 0.3)]
        assert not metric_of("nmi", {"a": results, "b": results}, "a").paired


def base(tmp_path: Path, manifest: Path, **more: Any) -> dict[str, Any]:
    return {
        "pairs": str(manifest), "source": {"modality": "image", "size": 32},
        "target": {"modality": "image", "size": 32, "channels": 1},
        "teacher": {"backbone": "test_resnet", "weights": "random"}, "student": {"backbone": "test_resnet"},
        "train": {"epochs": 3, "batch_size": 16},
        "evaluate": {"protocols": ["linear", "retrieval"], "shots": [2], "draws": 2},
        "out": str(tmp_path / "out"), **more,
    }  # fmt: skip


class TestPlan:
    def test_the_space_is_rates_then_own_then_lengths(self, tmp_path: Path, manifest: Path) -> None:
        config = make_config(base(tmp_path, manifest, objective={"name": "cmc", "temperature": 0.3}))
        settings = CompareConfig(trials=4)
        space = search_space(MethodConfig(objective={"name": "cmc", "temperature": 0.3}), config, settings)
        assert list(space) == ["train.lr", "objective.temperature", "train.epochs"]
        assert space["train.lr"] == [1e-3, 3e-3, pytest.approx(1e-3 / 3)]
        assert space["objective.temperature"][0] == 0.3
        assert space["train.epochs"] == [3, 1]
        assert list(search_space(MethodConfig(objective="l2"), config, settings)) == ["train.lr", "train.epochs"]
        assert search_space(MethodConfig(control="random_student"), config, settings) == {}
        assert search_space(MethodConfig(objective="l2"), config, CompareConfig(trials=1)) == {}
        own = MethodConfig(objective="l2", search={"train.batch_size": [16, 8]})
        assert search_space(own, config, CompareConfig(search={})) == {"train.batch_size": [16, 8]}

    def test_each_turn_goes_along_one_setting_around_the_best(self) -> None:
        space = {"lr": [1, 3, 9], "t": [0.1, 0.2], "epochs": [30, 10]}
        score = {3: 5.0, 9: 1.0, 1: 2.0}

        def rated(settings: dict[str, Any]) -> float:
            return score[settings["lr"]] + 10 * settings["t"] - (settings["epochs"] == 10)

        tried: list[tuple[dict[str, Any], float | None]] = []
        turns = []
        for turn in range(5):
            new = next_trials(space, tried, turn, trials=7)
            turns.append(new)
            tried += [(each, rated(each)) for each in new]
        assert turns[0] == [{"lr": 1, "t": 0.1, "epochs": 30}]
        assert turns[1] == [{"lr": rate, "t": 0.1, "epochs": 30} for rate in (3, 9)]
        assert turns[2] == [{"lr": 3, "t": 0.2, "epochs": 30}]
        assert turns[3] == [{"lr": 3, "t": 0.2, "epochs": 10}]
        assert turns[4] == [{"lr": rate, "t": 0.2, "epochs": 30} for rate in (1, 9)]  # rates again, around the new best
        assert next_trials(space, tried, 5, trials=7) == []

    def test_a_budget_is_used_up_or_the_space_is(self) -> None:
        for trials in (1, 2, 5, 99):
            tried: list[tuple[dict[str, Any], float | None]] = []
            for turn in range(60):
                tried += [(each, None) for each in next_trials({"a": [1, 2, 3], "b": [1, 2, 3]}, tried, turn, trials)]
            assert len(tried) == min(trials, 9)
            assert len({json.dumps(each) for each, _ in tried}) == len(tried)

    def test_the_search_goes_around_what_is_configured(self) -> None:
        found = own_search(ObjectiveConfig.model_validate({"name": "cmc", "temperature": 0.3}))
        assert found == {"objective.temperature": [0.3, 0.1, 0.05, 0.2]}
        assert own_search(ObjectiveConfig.model_validate([{"name": "l2"}, {"name": "cmc"}])) == {}

    def test_a_key_says_what_a_result_depends_on(self, tmp_path: Path, manifest: Path) -> None:
        config = make_config(base(tmp_path, manifest))
        method = MethodConfig(objective="cmc")

        def key(where: Any = config, about: str = "s", **more: Any) -> str:
            settings = more.pop("settings", {})
            given: dict[str, Any] = {"seed": 0, "measured_on": "test", **more}
            return make_cell("m", method, where, about, settings, **given).key

        moved = config.model_copy(update={"out": tmp_path / "elsewhere"})
        fewer = config.model_copy(update={"train": config.train.model_copy(update={"workers": 2, "log_every": 3})})
        assert key() == key(moved) == key(fewer)
        others = [key(seed=1), key(measured_on="val"), key(about="t"), key(settings={"train.lr": 0.1}),
                  key(settings={"evaluate.draws": 7})]  # fmt: skip
        assert len({key(), *others}) == 6

    def test_settings_at_dotted_keys(self) -> None:
        assert with_settings({"a": {"b": 1}}, {"a.c": 2, "d.e": 3}) == {"a": {"b": 1, "c": 2}, "d": {"e": 3}}
        with pytest.raises(ConfigError, match="no section"):
            with_settings({"a": 1}, {"a.b": 2})

    @pytest.mark.parametrize(
        ("section", "said"),
        [
            ({"methods": {"x": {}}}, "exactly one of the two"),
            ({"methods": {"x": {"control": "nobody"}}}, "unknown control 'nobody'"),
            ({"methods": {"x": {"control": "supervised"}}, "reference": "y"}, "none of the methods"),
            ({"seeds": 0}, "compare.seeds"),
            ({"tries": 1}, "compare.tries"),
        ],
    )
    def test_wrong_sections(self, section: dict[str, Any], said: str, tmp_path: Path, manifest: Path) -> None:
        path = tmp_path / "c.yaml"
        path.write_text(yaml.safe_dump(base(tmp_path, manifest, compare=section)))
        with pytest.raises(ConfigError, match=said):
            read_comparison(path, [])

    def test_wrong_names(self) -> None:
        assert named_methods(["l2+cmc"], [])["l2+cmc"].objective == [{"name": "l2"}, {"name": "cmc"}]
        with pytest.raises(ConfigError, match="Unknown objective"):
            named_methods(["cmx"], [])
        with pytest.raises(ConfigError, match="Unknown control"):
            named_methods([], ["cmc"])
        with pytest.raises(ConfigError, match="stands there twice"):
            named_methods(["cmc", "cmc"], [])

    def test_the_best_trial(self) -> None:
        trials = [Trial({}, 0.2, None), Trial({"a": 1}, None, "diverged"), Trial({"a": 2}, 0.2, None)]
        assert best(trials) is trials[0]
        with pytest.raises(TrainingError, match="Every trial"):
            best(trials[1:2])
        with pytest.raises(ConfigError, match="none of the metrics"):
            score_of(Result({"knn": {"value": 1}}, {}, {}, None, 1), ("linear",))


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, manifest: Path) -> tuple[Path, dict[str, Any], list[str]]:
    """A comparison with an own teacher, a trial that diverges, and a control."""
    folder = tmp_path_factory.mktemp("compared")
    content = base(folder, manifest, pretrain={"backbone": "test_resnet", "epochs": 1, "batch_size": 16})
    content["teacher"] = {"weights": "pretrain"}
    content["compare"] = {
        "methods": {
            "cmc": {"objective": {"name": "cmc", "temperature": 0.2}},
            "l2": {"objective": "l2", "search": {"train.lr": [1e-3, 1e30]}},
            "random": {"control": "random_student"},
        },
        "seeds": 2, "trials": 2, "search": {},
    }  # fmt: skip
    path = folder / "compare.yaml"
    path.write_text(yaml.safe_dump(content))
    told: list[str] = []
    config, settings = read_comparison(path, [])
    found = compare(config, settings, jobs=2, tell=told.append)
    write_pages(found, config.out)
    return path, found.to_json(), told


class TestWhole:
    def test_says_what_it_found(self, compared: tuple[Path, dict[str, Any], list[str]]) -> None:
        path, found, told = compared
        assert found["chosen"]["l2"] == {"train.lr": 1e-3}
        assert found["trials"]["l2"][1]["failed"] is not None
        assert found["select"] == ["linear_2_shot", "target_to_source_mrr"]
        probe = next(each for each in found["metrics"] if each["name"] == "linear_2_shot")
        assert set(probe["values"]) == {"cmc", "l2", "random"}
        assert all(len(each) == 2 for each in probe["per_seed"].values())
        assert [each["second"] for each in probe["against"]] == ["l2", "random"]
        assert len(probe["pairwise"]) == 3
        assert sum("trial" in line or "seed" in line or "temperature" in line or "lr" in line for line in told) >= 10
        out = path.parent / "out"
        assert json.loads((out / "compare.json").read_text()) | {"environment": 0} == found | {"environment": 0}
        assert not list(out.glob("cells/*/student"))
        page, text = (out / "compare.html").read_text(), (out / "compare.md").read_text()
        assert "Results on the test split" in page
        assert "random" in page
        assert text.count("| cmc |") == 2

    def test_no_choice_has_seen_the_test_rows(self, compared: tuple[Path, dict[str, Any], list[str]]) -> None:
        out = compared[0].parent / "out"
        rows: dict[str, set[str]] = {}
        for place in out.glob("cells/*/result.json"):
            on = json.loads(place.read_text())["measured_on"]
            lines = (place.parent / "pairs.csv").read_text().splitlines()[1:]
            rows.setdefault(on, set()).update(line.split(",")[0] for line in lines if ",test," in line)
        assert rows["val"]
        assert not rows["val"] & rows["test"]

    def test_the_same_again_does_nothing_and_says_the_same(
        self, compared: tuple[Path, dict[str, Any], list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, before, _ = compared
        config, settings = read_comparison(path, [])
        monkeypatch.setattr("crossdistill.compare.work.ProcessPoolExecutor", None)  # nothing is left for it
        again = compare(config, settings, jobs=1, tell=lambda line: None).to_json()
        assert again == before

    def test_a_missing_cell_alone_is_done_again_with_the_same_result(
        self, compared: tuple[Path, dict[str, Any], list[str]]
    ) -> None:
        path, before, _ = compared
        cells = path.parent / "out" / "cells"
        gone = next(place.parent for place in sorted(cells.glob("*/result.json"))
                    if json.loads(place.read_text())["method"] == "cmc"
                    and json.loads(place.read_text())["measured_on"] == "test")  # fmt: skip
        kept = (gone / "outcomes.safetensors").read_bytes()
        shutil.rmtree(gone)
        told: list[str] = []
        config, settings = read_comparison(path, [])
        again = compare(config, settings, jobs=1, tell=told.append).to_json()
        assert sum(line.startswith("[") for line in told) == 1
        assert (gone / "outcomes.safetensors").read_bytes() == kept
        assert {key: again[key] for key in ("metrics", "chosen")} == {key: before[key] for key in ("metrics", "chosen")}

    def test_the_command_prints_a_table_or_json(
        self, compared: tuple[Path, dict[str, Any], list[str]], capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = compared[0]
        for options, said in (([], "report: "), (["--json"], '"reference": "cmc"')):
            app(["compare", str(path), *options], standalone_mode=False)
            assert said in capsys.readouterr().out


def test_views_of_several_seeds_and_numbers_lie_beside_each_other(manifest: Path, tmp_path: Path) -> None:
    methods = {str(count): MethodConfig(objective="cmc", set={"views.count": count}) for count in (1, 2)}
    config = make_config(base(tmp_path, manifest))
    found = compare(config, CompareConfig(methods=methods, seeds=2, trials=1), jobs=1, tell=lambda line: None)
    assert not found.failed
    assert len(list((config.out / "bank").glob("views-*.safetensors"))) == 4
    assert len(describe_bank(config.out / "bank")) == len(verify_bank(config.out / "bank")) == 5


def test_the_longest_trainings_come_first(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as is known: after a method's first trial."""
    from crossdistill.pairs import open_pairs

    module = importlib.import_module("crossdistill.compare.compare")
    seconds, order = {"l2": 1.0, "cmc": 2.0, "pkt": 3.0}, []

    def work(cells: list[Cell], *_: Any, keep: bool) -> Iterator[Cell]:
        for cell in cells:
            order.append((cell.method, cell.seed))
            yield cell

    def result(folder: Path, cell: Cell) -> Result:
        return Result({"linear": {"value": 0.5}}, {}, {}, None, seconds[cell.method])

    monkeypatch.setattr(module, "work_through", work)
    monkeypatch.setattr(module, "read_result", result)
    config, methods = make_config(base(tmp_path, manifest)), named_methods(list(seconds), [])
    settings = CompareConfig(methods=methods, trials=3, select=("linear",))
    told: list[str] = []
    grid = module._Grid(config, methods, "subject", tmp_path, ["cpu"], told.append)
    trials = grid.tune(settings, open_pairs(manifest))
    assert [method for method, _ in order] == ["l2", "cmc", "pkt", "pkt", "pkt", "cmc", "cmc", "l2", "l2"]
    assert "lr 0.003" in told[-2]
    del order[:]
    grid.measure({name: each[0] for name, each in trials.items()}, 2, keep=False)
    assert order == [("pkt", 0), ("cmc", 0), ("l2", 0), ("pkt", 1), ("cmc", 1), ("l2", 1)]


class TestMistakes:
    def test_one_method_is_no_comparison(self, tmp_path: Path, manifest: Path) -> None:
        with pytest.raises(ConfigError, match="nothing to compare"):
            compare(make_config(base(tmp_path, manifest)), CompareConfig())

    def test_no_validation_split(self, tmp_path: Path, manifest: Path) -> None:
        content = base(tmp_path, manifest)
        content["pairs"] = {"manifest": str(manifest), "split": {"val": 0.0}}
        with pytest.raises(PairsError, match="no validation split"):
            compare(make_config(content), CompareConfig(methods=named_methods(["cmc", "l2"], [])))

    def test_a_setting_that_does_not_fit_is_told_before_anything_long(self, tmp_path: Path, manifest: Path) -> None:
        methods = {"a": MethodConfig(objective="cmc", set={"train.epoch": 3}), "b": MethodConfig(objective="l2")}
        with pytest.raises(ConfigError, match=r"train\.epoch"):
            compare(make_config(base(tmp_path, manifest)), CompareConfig(methods=methods))
        assert not (tmp_path / "out").exists()

    def test_a_mistake_that_one_cell_meets_ends_the_others(self, tmp_path: Path, manifest: Path) -> None:
        """One that is in the middle of its training stops as it does at Ctrl-C, and its process ends."""
        methods = {
            "long": MethodConfig(objective="l2", set={"train.epochs": 5000}),
            "short": MethodConfig(objective="cmc"),
            "mistaken": MethodConfig(objective="cmc", set={"train.embed_at_once": 4}),
        }
        settings = CompareConfig(methods=methods, seeds=1, trials=1)
        with pytest.raises(ConfigError, match="Gradient caching"):
            compare(make_config(base(tmp_path, manifest)), settings, jobs=2, tell=lambda line: None)
        workers = multiprocessing.active_children()
        for worker in workers:
            worker.join(60)
        assert not any(worker.is_alive() for worker in workers)

    def test_all_methods_failed(self, manifest: Path, tmp_path: Path) -> None:
        from crossdistill.pairs import open_pairs

        config = make_config(base(tmp_path, manifest))
        failed = [Result({}, {}, {}, "diverged", 1.0)] * 2
        methods = named_methods(["cmc", "l2"], [])
        trials = {name: [Trial({}, None, None)] for name in methods}
        found = gather(open_pairs(manifest), config, methods, trials, {name: each[0] for name, each in trials.items()},
                       dict.fromkeys(methods, failed), "cmc", ("linear",))  # fmt: skip
        assert found.metrics == []
        assert "cmc has no result: diverged" in markdown(found)


def test_an_interval_holds_its_value() -> None:
    rng = np.random.default_rng(5)
    table: Floats = (rng.random((1, 40)) < 0.5).astype(float)
    sums = Sums.of([proportion(table[0], GROUPS)])
    found = interval_of(sums, Draws.make(1, 20))
    assert found.low <= found.value <= found.high
    assert issubclass(ConfigError, CrossDistillError)
