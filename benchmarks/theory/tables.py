"""The tables of docs/theory-study.md from the newest raw results: python -m benchmarks.theory.tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.record import RESULTS
from benchmarks.theory.study import ERRORS, VARIANTS
from crossdistill.advisor.verdict import VERDICTS
from crossdistill.files import read_json


def newest(part: str) -> dict[str, Any]:
    """Raw results of a part of the benchmark."""
    found: dict[str, Any] = read_json(sorted(RESULTS.glob(f"*-theory-{part}.json"))[-1])
    return found


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def interval(each: dict[str, float]) -> str:
    """Rank correlation with its interval."""
    return f"{each['rho']:.2f} ({each['low']:.2f} to {each['high']:.2f})"


def tables() -> Iterator[tuple[str, str]]:
    """Title and table of each."""
    study = newest("study")
    against = study["tv_against_error"]
    yield (
        "TV against error",
        table(
            ["", "distillations", *ERRORS.values()],
            [[name, str(each["tv"]["error"]["points"]), *(interval(each["tv"][error]) for error in ERRORS)]
             for name, each in against.items()],
        ),
    )  # fmt: skip
    yield (
        "variants of TV, few-shot error",
        table(["", *VARIANTS.values()],
              [[name, *(interval(each[variant]["error"]) for variant in VARIANTS)] for name, each in against.items()]),
    )  # fmt: skip
    yield "inequality", table(["", ""], [[key, f"{value:.4g}"] for key, value in study["inequality"].items()])
    ordered = sorted(study["distances_against_gain"].items(), key=lambda each: -abs(each[1]["rho"]))
    yield "distances against gain", table(["before training", "rank correlation with the gain"],
                                          [[name, interval(each)] for name, each in ordered])  # fmt: skip
    advisor = study["advisor"]
    yield (
        "advisor",
        table(
            ["", "forecasts", "rank correlation", "coverage of 90%", "mean error, points", "of the others' mean"],
            [["labels" if kind == "labelled" else "stand-in classes", str(each["correlation"]["points"]),
              interval(each["correlation"]), f"{100 * each['coverage']:.0f}%", f"{100 * each['error']:.1f}",
              f"{100 * each['error_of_the_mean']:.1f}"] for kind, each in advisor.items()],
        ),
    )  # fmt: skip
    for kind, each in advisor.items():
        rows = [[verdict, *(str(each["confusion"].get(verdict, {}).get(outcome, 0)) for outcome in _OUTCOMES)]
                for verdict in VERDICTS if verdict in each["confusion"]]  # fmt: skip
        yield f"verdicts, {kind}", table(["verdict", *_OUTCOMES], rows)
    traps = newest("traps")["traps"]
    yield "traps", table(["set, trap", "verdict"], [[name, each["verdict"]] for name, each in traps.items()])
    yield "estimators", _estimators(newest("estimators")["cells"])


_OUTCOMES = ("helped", "did not help")


def _estimators(cells: list[dict[str, Any]]) -> str:
    dimensions = sorted({each["dimensions"] for each in cells})
    rows = []
    for name, items in dict.fromkeys((each["estimator"], each["items"]) for each in cells):
        found = {each["dimensions"]: each for each in cells if (each["estimator"], each["items"]) == (name, items)}
        rows.append([name, f"{items:,}", *(_error(found.get(each)) for each in dimensions)])
    return table(["estimator", "items", *(f"d = {each}" for each in dimensions)], rows)


def _error(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return ""
    scale = f", {100 * cell['rmse'] / abs(cell['truth']):.0f}%" if cell["truth"] else ""
    return f"{cell['rmse']:.2g}{scale}"


def main() -> None:
    """Prints them."""
    for title, text in tables():
        print(f"## {title}\n\n{text}\n")


if __name__ == "__main__":
    main()
