"""A modality of one's own: found by an entry point or a registration, and checked before it is used."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from crossdistill.errors import ConfigError, PairsError
from crossdistill.modalities import known_modalities, modality_class, parse_modality, register, registry
from crossdistill.modalities.base import Modality
from crossdistill.modalities.contract import check_modality
from crossdistill.modalities.thermal import Thermal

SETTINGS: dict[str, dict[str, Any]] = {"audio": {"seconds": 0.5}, "video": {"frames": 3}}
SUFFIX = {"multispectral": ".npy", "audio": ".wav", "video": ".mp4", "timeseries": ".csv", "embedding": ".npy"}


class Heat(Thermal):
    modality: Literal["heat"] = "heat"  # type: ignore[assignment]


@pytest.fixture(autouse=True)
def _nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


@pytest.mark.parametrize("name", known_modalities())
def test_ours_keep_the_contract(name: str) -> None:
    check_modality(modality_class(name), suffix=SUFFIX.get(name, ".png"), **SETTINGS.get(name, {}))


class TestContract:
    """Each thing that may go wrong is told, and by its name."""

    @pytest.mark.parametrize(
        ("method", "wrong", "complaint"),
        [
            ("decode", lambda self, item: torch.zeros(3), "decode gives \\(3,\\)"),
            ("decode", lambda self, item: torch.zeros(self.shape), "the same for different files"),
            ("decode", lambda self, item: torch.rand(self.shape), "two results for one file"),
            ("normalise", lambda self, batch: batch.double(), "normalise of what augment gives is torch.float64"),
            ("augment", lambda self, batch, placement=None: batch.add_(1), "changes the batch"),
            ("augment", lambda self, batch, placement=None: batch + torch.seed() % 1000, "under one seed"),
            ("resolve", lambda self, defaults: Thermal().resolve(defaults), "resolve gives a Thermal"),
            ("picture", lambda self, item, side: Thermal.draw(self, torch.rand(1, 8, 8), 8), "picture is \\(8, 8\\)"),
        ],
    )
    def test_names_what_is_wrong(self, method: str, wrong: Any, complaint: str) -> None:
        kind = type("Heat", (Heat,), {method: wrong})
        with pytest.raises(AssertionError, match=complaint):
            check_modality(kind, suffix=".png")

    def test_errors_of_other_classes_are_no_answer_to_a_bad_file(self) -> None:
        def careless(self: Heat, item: Any) -> torch.Tensor:
            try:
                return Thermal.decode(self, item)
            except PairsError as error:
                raise ValueError(str(error)) from error

        with pytest.raises(AssertionError, match="a missing file raises ValueError"):
            check_modality(type("Heat", (Heat,), {"decode": careless}), suffix=".png")

    def test_items_need_not_be_files(self) -> None:
        def by_path(self: Heat, item: Any) -> torch.Tensor:
            return Thermal.decode(self, item) if isinstance(item, Path) else torch.zeros(self.shape)

        with pytest.raises(AssertionError, match="bytes in memory"):
            check_modality(type("Heat", (Heat,), {"decode": by_path}), suffix=".png")


class TestNames:
    def test_registered(self) -> None:
        with pytest.raises(ConfigError, match="Unknown modality") as caught:
            parse_modality({"modality": "heat"})
        assert "register" in caught.value.details["fix"]
        assert register(Heat) is Heat
        assert "heat" in known_modalities()
        assert isinstance(parse_modality({"modality": "heat", "size": 32}), Heat)

    def test_our_names_are_taken(self) -> None:
        with pytest.raises(ConfigError, match="taken"):
            register(Thermal)
        with pytest.raises(ConfigError, match="no modality"):
            register(Path)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="no name"):
            register(Modality)

    def test_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        points = {
            "heat": EntryPoint("heat", "tests.test_own_modality:Heat", registry.ENTRY_POINTS),
            "warmth": EntryPoint("warmth", "tests.test_own_modality:Heat", registry.ENTRY_POINTS),
            "lost": EntryPoint("lost", "no_such_module:Lost", registry.ENTRY_POINTS),
            "image": EntryPoint("image", "no_such_module:Image", registry.ENTRY_POINTS),
        }
        monkeypatch.setattr(registry, "_installed", lambda: list(points.values()))
        monkeypatch.setattr(
            EntryPoint, "load", lambda self: Heat if "Heat" in self.value else __import__("no_such_module")
        )
        assert modality_class("heat") is Heat
        assert {"heat", "lost"} < set(known_modalities())
        with pytest.raises(ConfigError, match="two names"):
            modality_class("warmth")
        with pytest.raises(ConfigError, match="cannot be used") as caught:
            modality_class("lost")
        assert "no_such_module" in caught.value.details["received"]
        assert modality_class("image").__module__ == "crossdistill.modalities.image"
