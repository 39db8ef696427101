"""What the site makes from the code, the formulas, and what lies outside of docs/."""

from __future__ import annotations

import importlib
import re
from typing import get_origin

from tests.documentation.hooks import DOCS, PAGES, RESULTS, hook, name_of
from tests.documentation.reading import ROOT, leaf_commands


class TestReference:
    def test_every_command_with_every_option(self) -> None:
        text = hook("commands").commands()
        sections = dict(re.findall(r"^### crossdistill ([a-z ]+)$(.*?)(?=^### |\Z)", text, re.MULTILINE | re.DOTALL))
        leaves = dict(leaf_commands())
        assert set(leaves) <= set(sections)
        for name, command in leaves.items():
            section = sections[name]
            assert len(section.strip().split("\n")[0]) > 10, f"{name} does not say what it does"
            assert f"```\ncrossdistill {name}" in section, f"{name} has no example"
            for parameter in command.params:
                shown = (
                    parameter.opts[-1] if parameter.opts[-1].startswith("-") else (parameter.metavar or parameter.name)
                )
                shown = shown.strip("[]").removesuffix("...").removesuffix("]")
                assert shown in section or shown == "--help", f"{name} lacks {shown}"

    def test_every_setting_with_its_meaning(self) -> None:
        rows = re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", hook("settings").settings(), re.MULTILINE)
        assert len(rows) > 200
        assert {"pairs", "temperature", "near", "layer_decay", "sharded"} - {name for name, _ in rows} == {"sharded"}
        assert not [name for name, meaning in rows if not meaning.strip()]

    def test_a_setting_is_told_as_it_is(self) -> None:
        text = hook("settings").settings()
        assert (
            "| `batch_size` | whole number, ≥ 2 | `256` | items that one loss compares, over all processes together |"
            in text
        )
        assert "| `encoding` | `linear`, `inverse`, `log` | `inverse` |" in text
        assert "| `out` | path | *required* |" in text

    def test_every_public_name_has_a_page_and_a_docstring(self) -> None:
        public = hook("api").public_names()
        assert len(public) > 15
        for module, names in public.items():
            found = importlib.import_module(module)
            declared = set(getattr(found, "__all__", names)) - {"__version__"}
            assert declared == set(names), module
            for name in names:
                value = getattr(found, name)
                if get_origin(value) is None and callable(value):
                    assert (value.__doc__ or "").strip(), f"{module}.{name} says nothing of itself"


class TestFormulas:
    def test_all_of_the_theory_and_each_number_once(self) -> None:
        text = (DOCS / "theory.md").read_text(encoding="utf-8")
        numbers = [int(each) for each in re.findall(r"\\tag\{(\d+)\}", text)]
        assert sorted(numbers) == list(range(1, 50))
        prose = re.sub(r"\$`.*?`\$|^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        assert {int(each) for each in re.findall(r"\((\d+)\)", prose)} <= set(numbers)
        assert set(numbers) <= {int(each) for each in re.findall(r"\((\d+)\)", text.split("## 12.")[1])}

    def test_every_formula_can_be_drawn(self) -> None:
        maths = hook("maths")
        count = 0
        for page in PAGES:
            text = page.read_text(encoding="utf-8")
            shown = maths.on_page_content(maths.on_page_markdown(text, None, None, None), None, None, None)
            assert not re.search(r"MATHS\d|\$`|\\tag|<m(?:i|o|text)>[^<]*\\", shown), name_of(page)
            count += shown.count("<math")
        assert count > 250

    def test_a_block_and_a_line(self) -> None:
        maths = hook("maths")
        shown = maths.on_page_content(
            maths.on_page_markdown("a $`x_i|y|`$ b\n\n```math\nx^2 \\tag{7}\n```\n", None, None, None), *[None] * 3
        )
        assert shown.startswith("a <math")
        assert 'id="eq-7"' in shown
        assert "<msup><mi>x</mi><mn>2</mn></msup>" in shown
        assert 'lspace="0"' in shown


class TestRepository:
    """What lies outside of docs/ and is linked to."""

    def test_places(self) -> None:
        repository = hook("repository")
        assert repository._uri(DOCS / "bank.md") == "bank.md"
        assert repository._uri(ROOT / "examples" / "emoji.yaml") == "repository/examples/emoji.yaml.md"
        assert repository._uri(ROOT / "examples" / "sets") == "repository/examples/sets/index.md"
        assert repository._uri(RESULTS / "2026-11-23-sets.json").endswith("results/2026-11-23-sets.json")

    def test_code_is_left_alone(self) -> None:
        change = hook("repository").outside_code("a\n```\na\n```\na\n", lambda text: text.replace("a", "b"))
        assert change == "b\n```\na\n```\nb\n"

    def test_a_notebook_as_a_page(self) -> None:
        cells = [
            {"cell_type": "markdown", "source": ["# One\n", "two"]},
            {"cell_type": "code", "source": ["1 + 1"], "outputs": [{"data": {"text/plain": ["2"]}}]},
            {
                "cell_type": "code",
                "source": "show()",
                "outputs": [{"data": {"image/png": "QUJD\n", "text/plain": "<x>"}}],
            },
        ]
        page = list(hook("repository")._notebook({"cells": cells}))
        assert page == [
            "# One\ntwo", "````python\n1 + 1\n````", "````text\n2\n````", "````python\nshow()\n````",
            "![result](data:image/png;base64,QUJD)",
        ]  # fmt: skip
