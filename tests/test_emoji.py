"""The built-in emoji set: which emoji are one concept, and what is built."""

from __future__ import annotations

import pytest

from crossdistill.pairs.making.unicode_emoji import Emoji, concept, read_emoji_test


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1F44B", "1F44B 1F3FB"),  # waving hand, and with a skin tone
        ("1F468 200D 1F33E", "1F469 1F3FD 200D 1F33E"),  # man farmer, woman farmer with a skin tone
        ("1F9D1 200D 1F33E", "1F468 200D 1F33E"),  # farmer, man farmer
        ("1F3C3", "1F3C3 200D 2640 FE0F"),  # person running, woman running
        ("1F3C3", "1F3C3 200D 2642 FE0F 200D 27A1 FE0F"),  # ... man running facing right
        ("1F468 200D 1F9B0", "1F469 200D 1F9B3"),  # man: red hair, woman: white hair
        ("1F934", "1F478"),  # prince, princess
        ("1F385", "1F9D1 200D 1F384"),  # Santa Claus, Mx Claus
    ],
)
def test_variants_of_one_concept_share_a_group(first: str, second: str) -> None:
    assert concept(tuple(first.split())) == concept(tuple(second.split()))


@pytest.mark.parametrize(("first", "second"), [("1F468 200D 1F33E", "1F468 200D 1F373"), ("1F436", "1F431")])
def test_different_concepts_do_not(first: str, second: str) -> None:
    assert concept(tuple(first.split())) != concept(tuple(second.split()))


def test_reads_unicodes_own_list() -> None:
    text = (
        "# group: Food & Drink\n# subgroup: drink\n"
        "2615      ; fully-qualified     # ☕ E0.6 hot beverage\n"
        "2615 FE0F ; unqualified         # ☕ E0.6 hot beverage\n"
        "# group: People & Body\n# subgroup: hands\n"
        "1F44B 1F3FB ; fully-qualified # 👋🏻 E1.0 waving hand: light skin tone\n"
    )
    found = read_emoji_test(text)
    assert found[0] == Emoji(("2615",), "hot beverage", "Food & Drink", "drink")
    assert [emoji.toned for emoji in found] == [False, True]
