"""The tables of docs/scale.md from a results file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def amount(value: float, unit: str = "") -> str:
    """A number of three digits with a prefix of ten's powers."""
    for size, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {prefix}{unit}".strip()
    return f"{value:.3g} {unit}".strip()


def duration(seconds: float) -> str:
    """In the unit that fits."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def units(found: dict[str, Any]) -> str:
    """Unit costs."""
    costs = found["units"]
    machine = costs["machine"]
    rows = [
        [f"`{name}` forward and backward, an item", f"{each['seconds'] * 1e3:.3g} ms, {amount(each['rate'], 'FLOP/s')}"]
        for name, each in costs["networks"].items()
    ]
    rows += [
        [f"`{costs['teacher']['name']}` forward, an item", f"{costs['teacher']['seconds'] * 1e3:.3g} ms"],
        ["products of the objective", amount(machine["product_rate"], "FLOP/s")],
        ["a cell beyond the products", f"{machine['cell_seconds'] * 1e9:.3g} ns"],
        ["a value of the bank, widened", f"{machine['value_seconds'] * 1e9:.3g} ns"],
        ["augmentation, an item", f"{machine['augment_seconds'] * 1e6:.3g} us"],
        ["AdamW, a parameter", f"{machine['optimiser_seconds'] * 1e9:.3g} ns"],
        ["copy in memory, read and written", amount(costs["copy_bytes_per_second"], "B/s")],
        ["reading a file in sequence", amount(machine["storage_rate"], "B/s")],
        ["a row of a mapped bank, at random, cached", f"{costs['mapped_row_seconds']['cached'] * 1e6:.3g} us"],
        ["the same, not cached", f"{costs['mapped_row_seconds']['from_disk'] * 1e6:.3g} us"],
        ["JPEG of 320 x 240 decoded to 224 x 224", f"{costs['decode_photograph_seconds'] * 1e3:.3g} ms"],
        ["its bytes read and hashed", f"{costs['hash_seconds'] * 1e6:.3g} us"],
        ["all-reduce of 2 gloo processes", amount(machine["bandwidth"], "B/s")],
        ["a message of theirs", f"{machine['latency'] * 1e6:.3g} us"],
        ["network of one of 2 processes, against one alone", f"{machine['sharing']:.3g} x the time"],
    ]
    return table(["unit", "cost"], rows)


def checked(found: dict[str, Any]) -> str:
    """Predicted against measured."""
    rows = [
        [each["point"], f"{each['predicted']:.3g} s", f"{each['measured']:.3g} s",
         f"{each['predicted'] / each['measured']:.2f}"]
        for each in found.get("check", [])
    ]  # fmt: skip
    return table(["run", "predicted", "measured", "ratio"], rows)


def costs(found: dict[str, Any], gpu: str = "H100") -> str:
    """The plan."""
    rows = []
    for each in found["predictions"]["costs"]:
        if each["gpu"] == gpu:
            bank = amount(each["bank_bytes_rank"], "B") if each["columns"].startswith("whole") else "-"
            held = bank + ("" if each["fits"] else ", **does not fit**")
            rows.append(
                [f"{each['pairs']:.0e}".replace("e+0", "e"), str(each["gpus"]), each["columns"], held,
                 amount(each["operations"] + each["bank_operations"], "FLOP"), amount(each["sent_bytes"], "B"),
                 duration(each["device_seconds"]), duration(each["seconds"]), each["bound"], f"{each['money']:,.3g}"]
            )  # fmt: skip
    head = [
        "pairs",
        "GPUs",
        "columns",
        "bank, a GPU",
        "operations",
        "sent, a GPU",
        "computing",
        "epoch",
        "most of it",
        "USD",
    ]
    return table(head, rows)


def estimators(found: dict[str, Any], stage: str, temperature: float) -> str:
    """Errors of what replaces the whole bank."""
    most = max(each["columns_in_all"] for each in found["estimators"])
    rows = []
    for each in found["estimators"]:
        if (each["columns_in_all"], each["stage"], each["temperature"]) != (most, stage, temperature):
            continue
        rows.append(
            [each["estimator"], f"{each['columns']:,}", f"{each['loss_bias']:+.3f}", f"{each['loss_deviation']:.3f}",
             f"{each['row_cosine']:.3f}", f"{each['row_norm']:.2f}", f"{each['row_bias']:.3f}",
             f"{each['row_deviation']:.3f}", f"{each['head_error']:.3f}",
             f"{each['mass']:.2f}" if "mass" in each else "", f"{each['recall']:.2f}" if "recall" in each else ""]
        )  # fmt: skip
    head = ["columns", "M or k", "loss: bias", "deviation", "gradient: cosine", "norm", "bias", "deviation",
            "head's gradient: error", "mass", "recall"]  # fmt: skip
    return table(head, rows)


def sharded(found: dict[str, Any]) -> str:
    """A bank spread over processes."""
    rows = [
        [str(each["ranks"]), amount(each["bytes"], "B"), amount(each["bytes_rank"], "B"),
         f"{each['loss_difference']:.1e}", f"{each['gradient_difference']:.1e}"]
        for each in found["sharded"]
    ]  # fmt: skip
    return table(["processes", "bank", "a process", "loss: difference", "gradient: relative"], rows)


def failures(found: dict[str, Any]) -> str:
    """What grows with the pairs."""
    rows = []
    for each in found["failures"]:
        cost = "-" if each["unit"] == "pairs" else f"{each['each']:.3g} {each['unit']} a {each['per']}"
        rows.append([each["part"], cost, amount(each["fails_at"])])
    return table(["part", "cost", "pairs"], rows)


def everything(found: dict[str, Any]) -> str:
    """All of them."""
    parts = {"units": units(found), "check": checked(found), "sharded": sharded(found), "failures": failures(found)}
    for stage in ("early", "late"):
        for temperature in sorted({each["temperature"] for each in found["estimators"]}):
            parts[f"estimators, {stage}, temperature {temperature}"] = estimators(found, stage, temperature)
    parts |= {f"plan, {gpu}": costs(found, gpu) for gpu in ("H100", "H200")}
    return "\n\n".join(f"{name}\n\n{text}" for name, text in parts.items())
