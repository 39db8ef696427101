"""The study's files are valid configurations, and its tables say what the results do."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from benchmarks.study import axes, figures, overall, tables, tasks, unfinished
from benchmarks.study.__main__ import kept

from crossdistill.compare.cell import is_done, read_result
from crossdistill.compare.config import MethodConfig
from crossdistill.compare.findings import Findings, Metric
from crossdistill.compare.plan import Cell, search_space, size_of, with_method
from crossdistill.compare.statistics import Difference, Interval
from crossdistill.errors import ConfigError
from crossdistill.files import read_json, write_json


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sets' manifests, which nothing here reads."""
    folder = tmp_path_factory.mktemp("data")
    for name in tasks.NAMES:
        (folder / name).mkdir()
        (folder / name / "manifest.csv").touch()
    return folder


@pytest.mark.parametrize("name", tasks.NAMES)
def test_every_method_fits_every_task_and_is_tried_as_often(name: str, data: Path, tmp_path: Path) -> None:
    config, settings = tasks.task(name, data, tmp_path, []), tasks.settings(name, quick=False)
    assert settings.reference in settings.methods
    common = set()
    for method in settings.methods.values():
        with_method(config, method)
        space = search_space(method, config, settings)
        assert size_of(space) >= settings.trials or not method.tuned
        if method.objective is not None:
            common.add((*space["train.lr"], *space["train.epochs"]))
    assert len(common) == 1


def test_a_set_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has not been built"):
        tasks.task("emoji", tmp_path, tmp_path, [])


@pytest.mark.parametrize("name", axes.known_axes())
def test_every_method_fits_every_value_of_an_axis(name: str, data: Path, tmp_path: Path) -> None:
    about = axes.read_axis(name)
    assert set(about.without) <= set(about.values)
    assert {each for names in about.without.values() for each in names} <= set(about.methods)
    found: dict[str, list[Any]] = {}
    for value in about.values:
        assert len(about.methods_at(value)) > 1, "one method is no comparison"
        config = tasks.task(about.task, data, tmp_path, axes.overrides(about.settings_at(value)))
        for name, method in about.methods_at(value).items():
            found.setdefault(name, []).append(with_method(config, MethodConfig(**method)).to_dict())
    for configs in found.values():
        assert not any(one == other for one, other in itertools.combinations(configs, 2))


def test_what_there_is_of_a_task_that_was_stopped_goes_on_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished, "RESULTS", tmp_path / "results")
    here, there = tmp_path / "here", tmp_path / "there"
    assert unfinished.keep("emoji", here) == unfinished.restore("emoji", there) == 0
    about = {"measured_on": "val", "failed": None, "metrics": {"m": {"value": 0.1}}, "skipped": {}, "seconds": 1}
    results = {"trial": about, "diverged": {**about, "failed": "diverged"}, "final": {**about, "measured_on": "test"}}
    for key, result in results.items():
        write_json(here / key / "result.json", result)
        (here / key / "outcomes.safetensors").write_text(f"items of {key}")
    (here / "going on").mkdir()
    assert unfinished.keep("emoji", here) == 3
    write_json(there / "diverged" / "result.json", {**results["diverged"], "seconds": 2})
    assert unfinished.restore("emoji", there) == 2
    assert read_json(there / "diverged" / "result.json")["seconds"] == 2, "what is there stays as it is"
    assert sorted(each.name for each in there.iterdir()) == ["diverged", "final", "trial"]
    assert (there / "final" / "outcomes.safetensors").read_text() == "items of final"
    cell = Cell("cmc", 1000, "val", {}, None, {}, "trial")
    assert is_done(there, cell)
    assert read_result(there, cell).metrics == about["metrics"], "without what each item gave"


def differs(second: str, value: float, *, decided: bool = True) -> Difference:
    return Difference(
        tasks.DEFAULT, second, Interval(value, value - 0.01, value + 0.01), 0.001, 0.01 if decided else 0.5, 1.0
    )


def found(name: str, values: dict[str, float], decided: bool = True) -> Findings:
    """What a comparison says whose metric has these values."""
    ranks = {each: Interval(place, place, place) for place, each in enumerate(sorted(values, key=lambda n: -values[n]))}
    against = [
        differs(each, values[tasks.DEFAULT] - value, decided=decided)
        for each, value in values.items()
        if each != tasks.DEFAULT
    ]
    metric = Metric(name, {each: Interval(value, value - 0.01, value + 0.01) for each, value in values.items()},
                    {each: [value] for each, value in values.items()}, against, [], ranks)  # fmt: skip
    methods = {each: MethodConfig(control=each) if each == "ssl_target" else MethodConfig(objective=each.split()[0])
               for each in values}  # fmt: skip
    counts = {split: {"pairs": number, "groups": 1} for split, number in (("train", 9), ("val", 2), ("test", 3))}
    about: dict[str, Any] = {"name": "x", "counts": counts, "classes": 2, "test_groups": 3}
    return Findings(about, {}, methods, tasks.DEFAULT, (name,), {}, {}, [metric], {}, {}, {}, 5)


def test_the_lead_is_over_the_best_of_the_others_and_the_family_is_none() -> None:
    values = {
        "one": {tasks.DEFAULT: 0.5, "cmc": 0.9, "l2": 0.4, "siglip": 0.45, "ssl_target": 0.3, "l2 detail": 0.6},
        "two": {tasks.DEFAULT: 0.5, "l2": 0.52, "siglip": 0.1, "ssl_target": 0.2},
    }
    results = {task: kept(found("linear_5_shot", each)) for task, each in values.items()}
    rows = {row.name: row for row in overall.measurements(results)}
    lead = next(row for name, row in rows.items() if "best other objective" in name)
    assert lead.value == pytest.approx((5 - 2) / 2)  # siglip on one, l2 on two
    assert not lead.holds
    tied = next(row for name, row in rows.items() if "first or tied" in name)
    assert (tied.value, tied.reference) == (1, 2)
    alike = next(row for name, row in rows.items() if "has detail, too" in name)
    assert alike.value == pytest.approx(-10), "what has detail is no method as it was published"
    alone = next(row for name, row in rows.items() if "SSL" in name)
    assert alone.value == pytest.approx(25)
    assert alone.holds
    lines = "\n".join(tables.targets_table(list(rows.values())))
    assert "mean over 2 tasks (95%: +0.8 to +2.2) | +1.5 | >= 3, interval above 0 | **missed** |" in lines
    assert "first or tied | 1 of 2 | all | **missed** |" in lines


def test_tables_mark_what_is_decided_and_the_best() -> None:
    content = kept(found("linear_5_shot", {tasks.DEFAULT: 0.5, "cmc": 0.6, "ssl_target": 0.3}))
    assert "pairwise" not in content["metrics"][0]
    text = "\n".join(tables.task_table("one", content))
    assert "| `cmcd detail` | 50.0 (49.0 to 51.0) |" in text
    assert "| `cmc` | **60.0** (59.0 to 61.0) ▲ |" in text
    assert "| *ssl_target* | 30.0 (29.0 to 31.0) ▼ |" in text
    assert "9 training pairs, 2 of validation, 3 of test in 3 groups" in text
    ahead = kept(found("linear_5_shot", {tasks.DEFAULT: 0.5, "cmc": 0.4, "ssl_target": 0.7}))
    lines = tables.task_table("one", ahead)[-4:-1]
    assert [line.split(" ")[1] for line in lines] == ["`cmcd", "`cmc`", "*ssl_target*"], "controls come last"
    assert ["**" in line for line in lines] == [True, False, False], "and are never the best"
    undecided = found("linear_5_shot", {tasks.DEFAULT: 0.5, "cmc": 0.6}, decided=False).to_json()
    assert "▲" not in "\n".join(tables.task_table("one", undecided))
    lines = tables.leads({"one": content})
    assert lines[2:4] == ["| `cmc` (of the family) | -10.0 (-11.0 to -9.0) * | -10.0 |",
                          "| *ssl_target* | +20.0 (+19.0 to +21.0) * | +20.0 |"]  # fmt: skip


CELL = {"value": 0.25, "low": 0.2, "high": 0.3}


def axis(name: str, values: Iterable[str], metrics: Iterable[str] = tasks.AXIS_METRICS) -> dict[str, Any]:
    """What is kept of an axis on which one of two methods has results."""
    measured = {each: {"cmcd": CELL} for each in metrics}
    return {
        "axis": name, "task": "emoji", "seeds": 3, "methods": {"cmcd": {}, "cmc": {}},
        "values": {value: {"metrics": measured, "against": {}} for value in values},
    }  # fmt: skip


def test_an_axis_is_a_table_of_values_and_methods() -> None:
    lines = tables.axis_table(axis("temperature", ("0.1", "0.2")))
    assert lines[-2] == "| 0.2 | `cmcd` " + "| 25.0 (20.0 to 30.0) " * len(tasks.AXIS_METRICS) + "|"
    assert len(lines) == 2 + 2 + 2 + 1, "a method without results has no row"
    content = axis("temperature", ("0.1", "0.2"))
    column = tasks.AXIS_METRICS[0]
    for decided, value in ((False, "0.1"), (True, "0.2")):
        content["values"][value] = {
            "metrics": {column: {"cmcd": CELL, "cmc": {"value": 0.5, "low": 0.4, "high": 0.6}}},
            "against": {column: [differs("cmc", -0.25, decided=decided).to_json()]},
        }
    lines = tables.axis_table(content)
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in lines[4:-1]]
    assert rows == [["0.1", "`cmcd`", "25.0 (20.0 to 30.0)"], ["", "`cmc`", "50.0 (40.0 to 60.0)"],
                    ["0.2", "`cmcd`", "25.0 (20.0 to 30.0)"], ["", "`cmc`", "50.0 (40.0 to 60.0) ▲"]]  # fmt: skip


def test_an_axis_is_drawn_along_numbers_and_beside_each_other_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.theory import figures as drawing

    monkeypatch.setattr(drawing, "FOLDER", tmp_path)
    shots = ("linear_1_shot", "linear_5_shot", "linear", "both_5_shot", "both")
    content = [axis("pairs", ("5%", "100%")), axis("recipe", ("as it is", "four views")),
               axis("labels", ("all",), shots)]  # fmt: skip
    drawn = [path.read_text(encoding="utf-8") for path in figures.draw({}, {each["axis"]: each for each in content})]
    assert ["5%" in each for each in drawn] == [True, False, False]
    assert ["four views" in each for each in drawn] == [False, True, False]
    assert ["labels a class of the target" in each for each in drawn] == [False, False, True]
    assert all(each.count("cmcd") == 1 and "cmc<" not in each for each in drawn), "one legend, of what has results"
    assert figures.ordered(("0.02", "100%"))
    assert not figures.ordered(("5%", "all"))
