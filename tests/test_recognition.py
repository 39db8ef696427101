"""Recognition: scores against scikit-learn and torchmetrics, intervals that cover, both kinds of labels, clusters."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score, confusion_matrix, f1_score, normalized_mutual_info_score
from sklearn.neighbors import KNeighborsClassifier

from crossdistill.evaluation import EvaluateConfig, EvaluationSet, RowVectors, Subject, measure
from crossdistill.evaluation.both_labels import USUAL, choose_pool, log_probabilities, pooled
from crossdistill.evaluation.calibration import BINS, calibration_error
from crossdistill.evaluation.clustering import adjusted_rand, agreement, clusters, mutual_information
from crossdistill.evaluation.intervals import mean_of_ratios, proportion
from crossdistill.evaluation.probes import LinearProbe, knn_answers, knn_predictions, unit
from crossdistill.evaluation.recognition import Predictions, confusion, macro_f1, recognition, stacked
from crossdistill.evaluation.retrieval import recall, same_side
from crossdistill.evaluation.supervised_config import FineTuneConfig
from crossdistill.pairs import Pair, Pairs


def drawn(seed: int, draws: int = 1, count: int = 80, classes: int = 5) -> Predictions:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, count)
    predicted = np.where(rng.random((draws, count)) < 0.5, truth, rng.integers(0, classes, (draws, count)))
    return Predictions(predicted, rng.uniform(0.2, 0.999, (draws, count)), truth, np.arange(count) // 2, classes)


class TestScores:
    @pytest.mark.parametrize("seed", range(5))
    def test_equal_those_of_other_libraries(self, seed: int) -> None:
        found = drawn(seed)
        scores = recognition("linear", found)
        predicted = found.predicted[0]
        assert scores["linear"].value == pytest.approx((predicted == found.truth).mean())
        assert scores["linear_macro_f1"].value == pytest.approx(f1_score(found.truth, predicted, average="macro"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torchmetrics.classification import MulticlassCalibrationError
        # Probabilities whose largest is the predicted class's confidence.
        shares = np.repeat((1 - found.confidence[0])[:, None] / 4, 5, axis=1)
        keep = found.confidence[0] > 0.25
        shares[np.arange(80), predicted] = found.confidence[0]
        reference = MulticlassCalibrationError(5, n_bins=BINS, norm="l1")
        expected = reference(torch.tensor(shares[keep]), torch.tensor(found.truth[keep]))
        some = calibration_error(
            found.confidence[:, keep], found.predicted[:, keep] == found.truth[keep], np.arange(keep.sum())
        )
        assert some.value == pytest.approx(float(expected), abs=1e-6)
        table = np.zeros((5, 5), dtype=int)
        for true, said, count in confusion(found):
            table[true, said] = count
        assert (table == confusion_matrix(found.truth, predicted)).all()

    def test_classes_that_nobody_has_or_names_do_not_count(self) -> None:
        found = Predictions(np.array([[0, 1, 1, 0]]), np.ones((1, 4)), np.array([0, 1, 0, 0]), np.arange(4), 9)
        assert macro_f1(found).value == pytest.approx(f1_score([0, 1, 0, 0], [0, 1, 1, 0], average="macro"))

    def test_counts_of_several_draws_are_added_up(self) -> None:
        found = drawn(3, draws=4)
        expected = f1_score(np.tile(found.truth, 4), found.predicted.ravel(), average="macro")
        estimate = macro_f1(found)
        assert estimate.value == pytest.approx(expected)
        assert estimate.draws == 4
        narrow = mean_of_ratios(*(estimate.parts[:, :, side] for side in (0, 1)), found.groups)  # type: ignore[index]
        assert narrow.value == pytest.approx(expected)
        assert estimate.high - estimate.low > narrow.high - narrow.low
        errors = [calibration_error(c[None], (p == found.truth)[None].astype(float), found.groups).value
                  for c, p in zip(found.confidence, found.predicted, strict=True)]  # fmt: skip
        assert recognition("x", found)["x_ece"].value == pytest.approx(np.mean(errors))

    def test_a_confidence_of_one_is_in_the_last_bin(self) -> None:
        estimate = calibration_error(np.array([[1.0, 0.95]]), np.array([[0.0, 1.0]]), np.arange(2))
        assert estimate.value == pytest.approx(abs(1.95 - 1) / 2)


@pytest.mark.parametrize(("gap", "draws"), [(0.0, 1), (0.1, 1), (0.1, 3)])
def test_the_interval_of_a_known_calibration_error_covers_it(gap: float, draws: int) -> None:
    rng = np.random.default_rng(0)
    covered, groups = 0, np.repeat(np.arange(50), 3)
    for _ in range(80):
        confidence = rng.uniform(0.5, 0.999, (draws, 150))
        together = rng.random((draws, 150)) < 0.3
        luck = np.where(together, np.repeat(rng.random((draws, 50)), 3, axis=1), rng.random((draws, 150)))
        found = calibration_error(confidence, (luck < confidence - gap).astype(float), groups)
        covered += found.low <= gap <= found.high
    assert covered / 80 >= 0.86


class TestClusters:
    @pytest.mark.parametrize("seed", range(5))
    def test_agreement_equals_scikit_learn(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        truth, found = rng.integers(0, 4, 60), rng.integers(0, 6, 60)
        found[:30] = truth[:30]
        scores = agreement(found, truth, np.arange(60), "clustering")
        assert scores["clustering_nmi"].value == pytest.approx(normalized_mutual_info_score(truth, found))
        assert scores["clustering_ari"].value == pytest.approx(adjusted_rand_score(truth, found))

    def test_edges(self) -> None:
        one = np.array([[[5.0]]])
        assert mutual_information(one) == adjusted_rand(one) == [1.0]
        assert adjusted_rand(np.array([[[2.0, 2.0]]]))[0] == adjusted_rand_score([0, 0, 1, 1], [0, 0, 0, 0])
        assert mutual_information(np.array([[[2.0, 2.0]]]))[0] == 0.0

    def test_finds_what_is_there_and_the_same_each_time(self) -> None:
        rng = np.random.default_rng(0)
        truth = np.repeat(np.arange(4), 20)
        vectors = (np.eye(4, 8)[truth] + 0.05 * rng.normal(size=(80, 8))).astype(np.float32)
        found = clusters(vectors, 4, seed=0)
        assert agreement(found, truth, np.arange(80), "c")["c_ari"].value == 1.0
        assert (found == clusters(vectors, 4, seed=0)).all()
        assert len(clusters(vectors[:2], 4, seed=0)) == 2

    def test_intervals_cover(self) -> None:
        rng = np.random.default_rng(0)
        groups = np.repeat(np.arange(40), 4)

        def one() -> dict[str, tuple[float, float, float]]:
            truth = np.repeat(rng.integers(0, 4, 40), 4)
            found = np.where(np.repeat(rng.random(40) < 0.6, 4), truth, rng.integers(0, 4, 160))
            return {name: (e.low, e.value, e.high) for name, e in agreement(found, truth, groups, "c").items()}

        many = [one() for _ in range(80)]
        for name in ("c_nmi", "c_ari"):
            expected = np.mean([each[name][1] for each in many])
            assert np.mean([each[name][0] <= expected <= each[name][2] for each in many]) >= 0.85


class TestProbes:
    def test_answers_are_the_models_own(self) -> None:
        rng = np.random.default_rng(0)
        for classes in (2, 4):
            labels = np.arange(40) % classes
            train = (np.eye(4, 6)[labels] + rng.normal(size=(40, 6))).astype(np.float32)
            unseen = rng.normal(size=(30, 6)).astype(np.float32)
            probe = LinearProbe(train, labels)
            said, sure = probe.answers(unseen)
            assert (said == probe.predict(unseen)).all()
            shares = probe.model.predict_proba(probe._prepare(unit(unseen), probe.mean))
            np.testing.assert_allclose(sure, shares.max(axis=1), rtol=1e-5)
            said, sure = knn_answers(train, labels, unseen, 5)
            vote = KNeighborsClassifier(5, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07))
            vote.fit(unit(train), labels)
            assert (said == vote.predict(unit(unseen))).all()
            assert (said == knn_predictions(train, labels, unseen, 5)).all()
            np.testing.assert_allclose(sure, vote.predict_proba(unit(unseen)).max(axis=1))


def bed(shared: bool = True) -> tuple[EvaluationSet, RowVectors, Subject]:
    """Four classes; a teacher's and a student's vectors of 48 training and 24 test pairs, two targets of a source."""
    rng = np.random.default_rng(0)
    rows, vectors = [], {"s": [], "t": []}  # type: ignore[var-annotated]
    for split, count in (("train", 48), ("test", 24)):
        for number in range(count):
            label = number // 2 % 4
            centre = np.eye(4, 12)[label] + 0.4 * np.random.default_rng(number // 2).normal(size=12)
            vectors["s"].append(centre)
            vectors["t"].append(centre + 0.3 * rng.normal(size=12) + 0.5)  # the modalities' means differ
            name = f"{split}-{number}"
            rows.append(Pair(source=Path(f"s/{name}"), target=Path(f"t/{name}"), label=str(label), split=split))  # type: ignore[arg-type]
    ids = np.array([number // 2 for number in range(72)], dtype=np.int64)
    data = EvaluationSet(Pairs(tuple(rows)), ids)
    everything = np.arange(72)
    made = {side: RowVectors(everything, *(2 * (np.array(each, dtype=np.float32),))) for side, each in vectors.items()}
    subject = Subject(name="cmcd", role="objective", description="", side="target", shared=shared, vectors=made["t"])
    return data, made["s"], subject


class TestMeasure:
    def test_every_classifier_has_its_three_scores_and_its_confusions(self) -> None:
        data, teacher, subject = bed()
        config = EvaluateConfig(shots=[1, 3], draws=3)
        outcome = measure(subject, data, teacher, config, seed=0)
        names = ["knn", "linear", "linear_1_shot", "linear_3_shot", "zero_shot", "both", "both_1_shot", "both_3_shot"]
        for name in names:
            assert {name, f"{name}_macro_f1", f"{name}_ece"} <= set(outcome.metrics)
            draws = 3 if name.endswith("_shot") and name != "zero_shot" else 1
            assert sum(cell[2] for cell in outcome.confusions[name]) == 24 * draws
            assert outcome.metrics[f"{name}_ece"].draws == draws
        for estimate in outcome.metrics.values():
            assert estimate.low <= estimate.value <= estimate.high
        again = measure(subject, data, teacher, config, seed=0)
        assert {n: e.to_json() for n, e in again.metrics.items()} == {
            n: e.to_json() for n, e in outcome.metrics.items()
        }
        assert set(outcome.metrics) >= {
            "clustering_nmi",
            "clustering_ari",
            "target_to_source_mrr",
            "target_to_target_r@1",
        }

    def test_what_is_compared_with_nobody_is_skipped(self) -> None:
        data, teacher, subject = bed(shared=False)
        outcome = measure(subject, data, teacher, EvaluateConfig(), seed=0)
        assert set(outcome.skipped) == {"retrieval", "zero_shot", "both"}

    def test_features_are_probed_and_labels_of_both_kinds_see_the_common_space(self) -> None:
        data, teacher, subject = bed()
        noise = np.random.default_rng(1).normal(size=(72, 5)).astype(np.float32)
        features = RowVectors(subject.vectors.rows, subject.vectors.embeddings, noise)
        other = Subject(**{**vars(subject), "vectors": features})
        config = EvaluateConfig(representation="features", protocols=["linear", "both"], shots=[3], controls=[])
        usual = measure(subject, data, teacher, config, seed=0).metrics
        found = measure(other, data, teacher, config, seed=0).metrics
        assert found["linear"].value < 0.6 < usual["linear"].value
        assert found["both_3_shot"].value == usual["both_3_shot"].value


class TestBothLabels:
    def test_is_a_weighted_mean_of_log_probabilities(self) -> None:
        rng = np.random.default_rng(0)
        one, other = (np.log(rng.dirichlet(np.ones(3), 6)) for _ in range(2))
        said, sure = pooled(one, other, 2 / 3, 1.0)
        mixed = np.exp(one) ** (1 / 1.5) * np.exp(other) ** (0.5 / 1.5)
        mixed /= mixed.sum(axis=1, keepdims=True)
        assert (said == mixed.argmax(axis=1)).all()
        np.testing.assert_allclose(sure, mixed.max(axis=1))

    def test_a_class_that_one_kind_has_no_label_of_can_still_be_named(self) -> None:
        source = log_probabilities(np.array([[2.0, 0.0]]), np.array([0, 2]), 4)
        np.testing.assert_allclose(np.exp(source[0]), [0.8808, 0.25, 0.1192, 0.25], atol=1e-4)
        target = log_probabilities(np.array([[0.0, 9.0, 0.0, 0.0]]), np.arange(4), 4)
        assert pooled(source, target, 0.5, 1.0)[0].tolist() == [1]

    @pytest.mark.parametrize(("right", "least", "most"), [(0.0, 0.0, 0.4), (1.0, 0.6, 1.0)])
    def test_a_source_that_misleads_is_given_no_say(self, right: float, least: float, most: float) -> None:
        rng = np.random.default_rng(0)
        labels = np.arange(40) % 4
        vectors = (np.eye(4, 8)[labels] + 0.7 * rng.normal(size=(40, 8))).astype(np.float32)
        named = np.where(rng.random(40) < right, labels, rng.integers(0, 4, 40))
        source = log_probabilities(4 * np.eye(4)[named], np.arange(4), 4)
        assert least <= choose_pool(source, vectors, labels, np.arange(40))[0] <= most

    @pytest.mark.parametrize(("each", "parts"), [(2, 2), (3, 3), (20, 5)])
    def test_a_probe_is_judged_with_nearly_as_many_labels_as_it_will_have(
        self, each: int, parts: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fitted: list[int] = []

        class Counting(LinearProbe):
            def __init__(self, train: np.ndarray, labels: np.ndarray) -> None:
                fitted.append(len(labels))
                super().__init__(train, labels)

        monkeypatch.setattr("crossdistill.evaluation.both_labels.LinearProbe", Counting)
        rng = np.random.default_rng(0)
        labels = np.repeat(np.arange(4), each)
        vectors = (np.eye(4, 8)[labels] + rng.normal(size=(len(labels), 8))).astype(np.float32)
        choose_pool(np.full((len(labels), 4), -np.log(4)), vectors, labels, np.arange(len(labels)))
        assert fitted == parts * [len(labels) * (parts - 1) // parts]

    def test_the_usual_share_where_nothing_can_be_tried(self) -> None:
        source, vectors = np.zeros((3, 3)), np.eye(3, dtype=np.float32)
        assert choose_pool(source, vectors, np.arange(3), np.arange(3)) == USUAL
        assert choose_pool(np.zeros((4, 2)), np.eye(4, dtype=np.float32), np.arange(4) % 2, np.zeros(4)) == USUAL

    def test_items_of_one_group_do_not_judge_each_other(self) -> None:
        """Ten copies of each of eight items whose vectors say nothing of the class: only the source is of any use."""
        rng = np.random.default_rng(1)
        items = np.repeat(np.arange(8), 10)
        labels, vectors = items % 2, rng.normal(size=(8, 8)).astype(np.float32)[items]
        source = log_probabilities(np.eye(2)[labels], np.arange(2), 2)
        assert choose_pool(source, vectors, labels, items)[0] == 1.0
        assert choose_pool(source, vectors, labels, np.arange(80))[0] < 0.5

    def test_labels_of_the_source_help_where_labels_of_the_target_are_few(self) -> None:
        data, teacher, subject = bed()
        config = EvaluateConfig(protocols=["linear", "zero_shot", "both"], shots=[1], draws=5)
        metrics = measure(subject, data, teacher, config, seed=0).metrics
        assert metrics["both_1_shot"].value > metrics["linear_1_shot"].value + 0.05

    def test_items_that_the_student_was_not_trained_on_judge_where_all_labels_are_used(self) -> None:
        """A student that matches its teacher on the training pairs alone: what the source's classifier says of new
        items is wrong, and only the val split shows it."""
        rng = np.random.default_rng(0)
        rows, source, target = [], [], []
        for split, count in (("train", 80), ("val", 40), ("test", 80)):
            for number in range(count):
                label = number % 4
                seen = np.eye(4)[label] + 0.3 * rng.normal(size=4)
                own = 1.5 * np.eye(4)[label] + 0.5 * rng.normal(size=4)
                source.append(np.concatenate([seen, np.zeros(4)]))
                target.append(np.concatenate([seen if split == "train" else np.roll(seen, 1), own]))
                name = f"{split}-{number}"
                rows.append(Pair(source=Path(f"s/{name}"), target=Path(f"t/{name}"), label=str(label), split=split))  # type: ignore[arg-type]
        made = [RowVectors(np.arange(200), *(2 * (np.array(each, dtype=np.float32),))) for each in (source, target)]
        subject = Subject(name="x", role="objective", description="", side="target", shared=True, vectors=made[1])
        config = EvaluateConfig(protocols=["linear", "zero_shot", "both"], shots=[], draws=1)
        data = EvaluationSet(Pairs(tuple(rows)), np.arange(200))
        metrics = measure(subject, data, made[0], config, seed=0).metrics
        assert metrics["zero_shot"].value < 0.2
        assert metrics["both"].value >= metrics["linear"].value > 0.5
        without = EvaluationSet(Pairs(tuple(row for row in rows if row.split != "val")), np.arange(160))
        made = [
            RowVectors(np.arange(160), *(2 * (np.delete(each.embeddings, range(80, 120), axis=0),))) for each in made
        ]
        subject = Subject(name="x", role="objective", description="", side="target", shared=True, vectors=made[1])
        judged_by_train = measure(subject, without, made[0], config, seed=0).metrics
        assert judged_by_train["both"].value < judged_by_train["linear"].value


class TestRetrieval:
    def test_the_mean_reciprocal_rank(self) -> None:
        found = recall(np.array([1, 2, 4]), np.arange(3), "target_to_source")
        assert found["target_to_source_mrr"].value == pytest.approx((1 + 0.5 + 0.25) / 3)

    def test_among_targets_equals_plain_loops(self) -> None:
        rng = np.random.default_rng(0)
        vectors, ids, groups = rng.normal(size=(14, 4)), rng.integers(0, 6, 14), rng.integers(0, 5, 14)
        long = unit(vectors.astype(np.float32))
        expected = {}
        for i in range(14):
            partners = [j for j in range(14) if j != i and ids[j] == ids[i]]
            if partners:
                best = max(float(long[i] @ long[j]) for j in partners)
                strangers = [j for j in range(14) if ids[j] != ids[i] and groups[j] != groups[i]]
                expected[i] = 1 + sum(float(long[i] @ long[j]) >= best for j in strangers)
        found = same_side(vectors.astype(np.float32), ids, groups)
        assert found is not None
        assert dict(zip(found[0].tolist(), found[1].tolist(), strict=True)) == expected
        assert same_side(vectors.astype(np.float32), np.arange(14), groups) is None


def test_shots_of_the_fine_tuning_are_checked() -> None:
    with pytest.raises(ValueError, match="positive"):
        FineTuneConfig(shots=[0])
    with pytest.raises(ValueError, match="twice"):
        FineTuneConfig(shots=[2, 2])


def test_confidences_of_several_draws_stand_in_rows() -> None:
    found = stacked([(np.array([0, 1]), np.array([0.5, 0.6]))] * 3, np.array([0, 1]), np.arange(2), 2)
    assert found.confidence.shape == (3, 2)
    assert proportion(found.predicted == found.truth, found.groups).value == 1.0
