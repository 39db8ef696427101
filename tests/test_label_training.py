"""Trainings on labels: the recipe takes hold, the val split decides on the length, few labels have a fixed one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crossdistill.encoders import Encoder, StudentConfig, build_student
from crossdistill.errors import PairsError
from crossdistill.evaluation import EvaluationSet, Outcome
from crossdistill.evaluation.supervised import LabelledItems, LabelTraining
from crossdistill.evaluation.supervised_config import FineTuneConfig, SupervisedConfig
from crossdistill.modalities.image import Image
from crossdistill.pairs import Split, open_pairs
from crossdistill.pairs.items import Items
from crossdistill.pipeline import run
from crossdistill.report import write_report
from crossdistill.training import TrainConfig, train_classifier
from crossdistill.training.classify import HeldOut
from crossdistill.training.optimiser import build_optimiser

IMAGE = Image(size=32, channels=1, mean=(0.5,), std=(0.5,), interpolation="bilinear")
COMMON = TrainConfig(device="cpu", weight_decay=0.01)


@pytest.fixture(scope="module")
def data(manifest: Path) -> EvaluationSet:
    pairs = open_pairs({"manifest": str(manifest), "split": {"val": 0.2, "test": 0.3}})
    return EvaluationSet(pairs, np.arange(len(pairs)))


def training(
    data: EvaluationSet, config: SupervisedConfig, *, held_out: bool = True, test: Split = "test"
) -> LabelTraining:
    def labelled(split: Split) -> LabelledItems:
        rows = data.rows(split, "target", labelled=True)
        return LabelledItems(Items.of(data.pairs, rows.tolist(), "target", IMAGE), rows)

    val = labelled("val")
    val = val if held_out else val.subset(np.arange(0))
    section = "evaluate.fine_tune"
    return LabelTraining(data, labelled("train"), val, labelled(test), config, COMMON, section)


def student() -> Encoder:
    torch.manual_seed(0)
    return build_student(StudentConfig(backbone="test_resnet"), IMAGE, 8)


def test_learns_what_it_is_shown(data: EvaluationSet) -> None:
    recipe = FineTuneConfig(epochs=40, batch_size=16, lr=3e-3, layer_decay=1.0, augment=False)
    found, note = training(data, recipe, held_out=False, test="train").on_all(student(), "fine-tuning")
    assert (found.predicted[0] == found.truth).mean() > 0.6  # four classes
    assert 0.25 <= found.confidence.min() <= found.confidence.max() <= 1
    assert note.startswith("40 epochs: no label in a val split")


def test_takes_the_best_epoch_of_the_val_split_and_repeats_itself(data: EvaluationSet) -> None:
    recipe = FineTuneConfig(epochs=6, batch_size=16, lr=3e-3, layer_decay=1.0)
    found, note = training(data, recipe).on_all(student(), "fine-tuning")
    assert "the best in accuracy on" in note
    again, other = training(data, recipe).on_all(student(), "fine-tuning")
    np.testing.assert_array_equal(found.confidence, again.confidence)
    assert note == other


def test_early_stopping_ends_it_and_the_best_weights_are_kept(data: EvaluationSet) -> None:
    """A learning rate that is far too high: the first epoch cannot be improved on for long."""
    items = training(data, FineTuneConfig()).held_out
    held_out = HeldOut(items.items, data.labels(items.rows).tolist())
    config = COMMON.model_copy(update={"epochs": 60, "batch_size": 16, "lr": 3e-3, "early_stop": 2, "keep": "best"})
    train = training(data, FineTuneConfig()).train
    labels = data.labels(train.rows).tolist()
    model = train_classifier(student(), train.items, labels, 4, config, title="t", held_out=held_out)
    assert len(held_out.accuracies) == held_out.best + 2 < 60
    after = HeldOut(items.items, held_out.labels).measure(model, torch.device("cpu"))
    assert after["val_accuracy"] == pytest.approx(held_out.accuracies[held_out.best - 1], abs=1e-5)
    assert held_out.accuracies[held_out.best - 1] == max(held_out.accuracies)


def test_the_loss_decides_between_equal_accuracies_and_never_against_one(data: EvaluationSet) -> None:
    items = training(data, FineTuneConfig()).held_out
    labels = data.labels(items.rows)

    class Fixed(nn.Module):
        def __init__(self, logits: Tensor) -> None:
            super().__init__()
            self.logits = logits

        def forward(self, images: Tensor) -> Tensor:
            return self.logits[: len(images)]

    def scored(right: int, sure: float) -> float:
        said = np.where(np.arange(len(labels)) < right, labels, (labels + 1) % 4)
        logits = sure * torch.eye(4)[torch.as_tensor(said)]
        return HeldOut(items.items, labels.tolist()).measure(Fixed(logits), torch.device("cpu"))["val_score"]

    assert scored(5, 1.0) > scored(5, 9.0)  # mostly wrong, and surer of it
    assert scored(6, 1e6) > scored(5, 0.0)


def test_few_labels_have_as_many_steps_as_are_set_or_as_all_have(data: EvaluationSet) -> None:
    steps = len(training(data, FineTuneConfig()).train) // 8
    for wanted, expected in ((30, 30), (10**6, 20 * steps)):
        few = training(data, FineTuneConfig(epochs=20, batch_size=8, few_shot_steps=wanted))
        assert few._few_epochs(8) == max(20, expected)
    few = training(data, FineTuneConfig(epochs=1, batch_size=16, few_shot_steps=3, shots=[2]))
    answers = [few.on_few(student(), np.arange(8), "few") for _ in range(2)]
    found, note = few.predictions(answers, 8, student())
    assert found.predicted.shape == (2, len(few.test))
    assert note.startswith("fixed length of 2 epochs, 2 draws")  # no more than all labels have


def test_layers_decay_where_they_are_known(data: EvaluationSet) -> None:
    decaying = training(data, FineTuneConfig(layer_decay=0.5))
    settings = decaying._settings(student(), 1, held_out=False)
    scales = {
        group["lr_scale"] for group in build_optimiser(nn.ModuleDict({"encoder": student()}), settings).param_groups
    }
    assert max(scales) == 1.0
    assert min(scales) < 0.1
    assert training(data, SupervisedConfig())._settings(student(), 1, held_out=False).layer_decay is None
    own = Encoder.from_module(nn.Sequential(nn.Flatten(), nn.Linear(1024, 8)), IMAGE)
    recipe = FineTuneConfig(layer_decay=0.5, epochs=1)
    _, note = training(data, recipe, held_out=False).on_all(own, "own")
    assert note.endswith("no layer-wise decay, as this backbone does not say what its layers are")


def test_label_smoothing_and_augmentation_take_hold(data: EvaluationSet) -> None:
    train = training(data, FineTuneConfig()).train
    labels = data.labels(train.rows).tolist()
    config = COMMON.model_copy(update={"epochs": 2, "batch_size": 16, "lr": 1e-3})

    def weights(**recipe: Any) -> Tensor:
        return train_classifier(student(), train.items, labels, 4, config, title="t", **recipe).linear.weight

    plain = weights()
    torch.testing.assert_close(plain, weights(), rtol=0, atol=0)
    assert not torch.equal(plain, weights(label_smoothing=0.1))
    assert not torch.equal(plain, weights(augment=False))


@pytest.fixture(scope="module")
def finished(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run({
        "pairs": {"manifest": str(manifest), "split": {"val": 0.2, "test": 0.3}},
        "source": {"size": 32}, "target": {"size": 32, "channels": 1},
        "teacher": {"backbone": "test_resnet", "weights": "random"}, "student": {"backbone": "test_resnet"},
        "train": {"epochs": 1, "batch_size": 16},
        "evaluate": {
            "protocols": ["linear", "zero_shot", "both", "clustering", "retrieval", "fine_tune"], "shots": [1, 2],
            "draws": 2, "fine_tune": {"epochs": 1, "shots": [2], "draws": 2}, "supervised": {"epochs": 1},
            "controls": ["supervised"],
        },
        "out": str(tmp_path_factory.mktemp("labels") / "run"),
    }).root  # fmt: skip


def test_a_run_has_every_number_and_says_how_it_was_come_by(finished: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    main, control = metrics["outcomes"]
    assert set(main["metrics"]) >= {"fine_tune_2_shot", "fine_tune_2_shot_ece", "both_1_shot", "clustering_ari"}
    assert main["metrics"]["fine_tune_2_shot"]["draws"] == 2
    assert control["metrics"]["fine_tune_2_shot"] == control["metrics"]["linear_2_shot"]
    assert "labelled val items" in main["notes"]["fine_tune"]
    assert set(control["notes"]) == {"fine_tune", "fine_tune_2_shot", "linear_1_shot", "linear_2_shot"}
    compared = {(each["second"], each["metric"]) for each in metrics["comparisons"]}
    assert compared >= {("supervised", "fine_tune_2_shot"), ("supervised", "linear_2_shot_macro_f1")}
    found = metrics["recognition"]
    assert sum(found["labels"]["test"]) == main["metrics"]["linear"]["items"]
    for name in ("linear", "fine_tune"):
        right = sum(count for true, said, count in found["confusion"][name] if true == said)
        assert right / sum(found["labels"]["test"]) == pytest.approx(main["metrics"][name]["value"], abs=1e-5)


def test_the_report_draws_the_curve_and_the_confusions(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert "Recognition</h2>" in page
    tiles = re.findall(r'tile-label">(.*?)<', page)
    assert "2-shot" in tiles
    assert not any("macro F1" in each for each in tiles)
    curve = json.loads(page.split('id="label-curve">')[1].split("</script>")[0])
    lines = {line.get("name"): line for line in curve["data"] if line.get("name")}
    assert set(lines) == {"cmcd", "cmcd, both labels", "cmcd, source labels alone", "cmcd, fine-tuned", "supervised"}
    assert lines["cmcd"]["x"][:2] == [1, 2]
    assert len(lines["supervised"]["x"]) == 3  # one, two and all labels
    cells = json.loads(page.split('id="confusion">')[1].split("</script>")[0])["data"][0]["z"]
    assert len(cells) == 4
    assert sum(cells[0]) == pytest.approx(100)


def test_of_many_classes_those_that_are_confused_are_shown(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("metrics.json", "config.yaml", "environment.json"):
        (copy / name).write_bytes((finished / name).read_bytes())
    (copy / "pictures").symlink_to(finished / "pictures")
    metrics = json.loads((copy / "metrics.json").read_text())
    classes = 200
    cells = [[n, n, 4] for n in range(classes)] + [[n, (n + 7) % classes, 1] for n in range(0, classes, 8)]
    metrics["recognition"] = {
        "classes": [f"class {number}" for number in range(classes)],
        "labels": {split: [5] * classes for split in ("train", "val", "test")},
        "confusion": {"linear": cells},
    }  # fmt: skip
    (copy / "metrics.json").write_text(json.dumps(metrics))
    page = write_report(copy).read_text()
    figure = json.loads(page.split('id="confusion">')[1].split("</script>")[0])
    assert len(figure["data"][0]["z"]) == 40
    assert "the 40 classes of 200" in page
    assert {"class 0", "class 7"} <= set(figure["layout"]["yaxis"]["ticktext"])


def test_shots_of_the_fine_tuning_that_a_class_cannot_bear_are_refused(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(PairsError, match="too small for the shots"):
        run({
            "pairs": str(manifest), "teacher": {"backbone": "test_resnet", "weights": "random"},
            "source": {"size": 32}, "target": {"size": 32, "channels": 1}, "student": {"backbone": "test_resnet"},
            "evaluate": {"protocols": ["fine_tune"], "controls": [], "fine_tune": {"shots": [40]}},
            "out": str(tmp_path / "run"),
        })  # fmt: skip


def test_a_copy_of_an_outcome_has_all_that_was_said_of_it() -> None:
    outcome = Outcome(name="supervised", role="control", description="")
    with pytest.raises(KeyError):
        outcome.copy("linear_5_shot", "fine_tune_5_shot")
