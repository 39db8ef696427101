"""What a run trains on labels: fine-tuning of its student, and the control that starts from random weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from crossdistill.encoders import Encoder
from crossdistill.evaluation import EvaluateConfig, EvaluationSet, Outcome
from crossdistill.evaluation.config import LABELLED
from crossdistill.evaluation.probes import few_shot_rows
from crossdistill.evaluation.supervised import LabelledItems, LabelTraining
from crossdistill.evaluation.supervised_config import SupervisedConfig
from crossdistill.pairs import Split
from crossdistill.pairs.table import SPLITS
from crossdistill.pipeline.work import Run


def train_on_labels(
    run: Run, data: EvaluationSet, distilled: Encoder, initial: Callable[[], Encoder], outcomes: list[Outcome]
) -> None:
    """Adds the results to the outcome of the main student, and the control's outcome to ``outcomes``.

    Args:
        run: its configuration says what is wanted.
        data: the test bed.
        distilled: the main student.
        initial: makes the network of random weights that the control starts from.
        outcomes: the main student's first, where there is one.
    """
    fine_tune = "fine_tune" in run.evaluate.protocols and bool(outcomes) and outcomes[0].role == "objective"
    labelled = bool(run.pairs.classes) and bool({*LABELLED, "retrieval"} & set(run.evaluate.protocols))
    scratch = "supervised" in run.evaluate.controls and (labelled or "segmentation" not in run.evaluate.protocols)
    if fine_tune:
        training = _training(run, data, distilled, run.evaluate.fine_tune, "evaluate.fine_tune")
        main = outcomes[0]
        main.add("fine_tune", *training.on_all(copy.deepcopy(distilled), "fine-tuning the student"))
        for shots in run.evaluate.fine_tune.shots:
            title = f"fine-tuning the student, {shots} labels a class"
            _few(training, main, f"fine_tune_{shots}_shot", shots, run.evaluate.fine_tune.draws, distilled, title)
    if scratch:
        start = "from scratch" if run.given_student is None else "from the module as it was given"
        outcome = Outcome(
            name="supervised", role="control", description=f"supervised {start}: the student's network, labels alone"
        )
        training = _training(run, data, distilled, run.evaluate.supervised, "evaluate.supervised")
        network = initial()
        outcome.add("fine_tune", *training.on_all(copy.deepcopy(network), "training from scratch, all labels"))
        for shots in run.evaluate.shots if run.evaluate.supervised_shots else []:
            name = f"linear_{shots}_shot"
            _few(training, outcome, name, shots, 1, network, f"training from scratch, {shots} labels a class")
            if shots in run.evaluate.fine_tune.shots:  # the same, to be compared with the student's fine-tuning
                outcome.copy(name, f"fine_tune_{shots}_shot")
        outcomes.append(outcome)


def describe_recognition(data: EvaluationSet, config: EvaluateConfig, main: Outcome) -> dict[str, Any] | None:
    """The classes, how many labels there are, and which classes the main student confuses with all labels.

    None where nothing was classified.
    """
    kept = {name: main.confusions[name] for name in ("linear", "fine_tune") if name in main.confusions}
    if not {*LABELLED} & {*config.protocols}:
        return None
    classes = len(data.pairs.classes)
    counts = {
        split: np.bincount(data.labels(data.rows(split, "target", labelled=True)), minlength=classes).tolist()
        for split in SPLITS
    }
    return {"classes": list(data.pairs.classes), "labels": counts, "confusion": kept}


def _few(
    training: LabelTraining, outcome: Outcome, name: str, shots: int, draws: int, start: Encoder, title: str
) -> None:
    labels = training.data.labels(training.train.rows)
    chosen = [few_shot_rows(labels, shots, draw, training.common.seed) for draw in range(draws)]
    answers = [training.on_few(copy.deepcopy(start), each, title) for each in chosen]
    outcome.add(name, *training.predictions(answers, len(chosen[0]), start))


def _training(run: Run, data: EvaluationSet, encoder: Encoder, config: SupervisedConfig, section: str) -> LabelTraining:
    def labelled(split: Split) -> LabelledItems:
        rows = data.rows(split, "target", labelled=True)
        return LabelledItems(run.items(rows.tolist(), "target", encoder.modality), rows)

    return LabelTraining(
        data=data, train=labelled("train"), held_out=labelled("val"), test=labelled("test"), config=config,
        common=run.config.train, section=section,
    )  # fmt: skip
