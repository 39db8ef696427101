"""Evaluation: ranks against brute force, probes on known answers, intervals that cover, and the checks beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from crossdistill.errors import EncoderError, PairsError
from crossdistill.evaluation import EvaluateConfig, applicable, difference, ranks, top
from crossdistill.evaluation.intervals import Estimate, mean_of_ratios, median, proportion
from crossdistill.evaluation.probes import LinearProbe, few_shot_rows, knn_predictions, unit
from crossdistill.pairs import Pair, Pairs


class TestRanks:
    @given(seed=st.integers(0, 1000), queries=st.integers(1, 8), extra=st.integers(0, 5))
    @settings(max_examples=40, deadline=None)
    def test_equal_the_brute_force(self, seed: int, queries: int, extra: int) -> None:
        rng = np.random.default_rng(seed)
        gallery_ids = np.concatenate([np.arange(queries), rng.integers(0, queries, extra)]).astype(np.int64)
        query_ids = rng.integers(0, queries, queries).astype(np.int64)
        q = rng.normal(size=(queries, 3)).astype(np.float32)
        g = rng.normal(size=(len(gallery_ids), 3)).astype(np.float32)
        expected = []
        for i in range(queries):
            order = sorted(
                range(len(g)), key=lambda j: -float(q[i] @ g[j] / np.linalg.norm(q[i]) / np.linalg.norm(g[j]))
            )
            strangers = 0
            for j in order:
                if gallery_ids[j] == query_ids[i]:
                    break
                strangers += 1
            expected.append(1 + strangers)
        assert ranks(q, g, query_ids, gallery_ids).tolist() == expected

    def test_a_constant_embedding_ranks_last(self) -> None:
        ids = np.arange(5)
        assert ranks(np.ones((5, 3), np.float32), np.ones((5, 3), np.float32), ids, ids).tolist() == [5] * 5

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    @pytest.mark.parametrize("side", [0, 1])
    def test_vectors_that_are_not_finite_are_refused_and_not_ranked_first(self, value: float, side: int) -> None:
        ids = np.arange(4)
        vectors = [np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32)]
        vectors[side][0, 1] = value
        with pytest.raises(EncoderError, match="not finite") as caught:
            ranks(vectors[0], vectors[1], ids, ids)
        assert "1 of 4" in caught.value.details["received"]
        with pytest.raises(EncoderError, match="not finite"):
            top(vectors[0], vectors[1], 2)

    def test_top_is_sorted_and_scored(self) -> None:
        gallery = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
        order, scores = top(np.array([[1, 0.1]], np.float32), gallery, 2)
        assert order.tolist() == [[0, 2]]
        assert scores[0, 0] > scores[0, 1]


class TestProbes:
    def separable(self, count: int, width: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
        rng = np.random.default_rng(0)
        labels = np.repeat(np.arange(3), count)
        centres = rng.normal(size=(3, width)) * 2
        return (centres[labels] + rng.normal(size=(3 * count, width))).astype(np.float32), labels

    def test_solve_what_is_easy_and_not_what_is_noise(self) -> None:
        train, labels = self.separable(20, 16)
        rng = np.random.default_rng(1)
        assert (LinearProbe(train, labels).predict(train) == labels).mean() > 0.95
        assert (knn_predictions(train, labels, train, 5) == labels).mean() > 0.95
        shuffled = rng.permutation(labels)
        fresh = rng.normal(size=train.shape).astype(np.float32)
        assert (LinearProbe(fresh, shuffled).predict(train) == labels).mean() < 0.6

    def test_the_rotation_for_few_items_does_not_change_the_result(self) -> None:
        train, labels = self.separable(4, 100)
        unseen = self.separable(50, 100)[0]
        rotated = LinearProbe(train, labels)
        assert rotated.basis is not None
        plain = LinearProbe(train, labels)
        plain.basis = None
        plain.model.set_params(tol=1e-8).fit(
            plain._prepare(train / np.linalg.norm(train, axis=1, keepdims=True), plain.mean), labels
        )
        assert (plain.predict(unseen) == rotated.predict(unseen)).mean() > 0.99

    @pytest.mark.parametrize(("count", "width", "classes"), [(4, 100, 3), (40, 8, 3), (40, 8, 2)])
    def test_the_linear_map_is_the_same_classifier(self, count: int, width: int, classes: int) -> None:
        train, labels = self.separable(count, width)
        labels = labels % classes
        probe = LinearProbe(train, labels)
        weights, bias = probe.linear_map()
        assert weights.shape == (classes, width)
        unseen = unit(self.separable(50, width)[0])
        assert (probe.classes[(unseen @ weights.T + bias).argmax(axis=1)] == probe.predict(unseen)).mean() > 0.99

    def test_one_label_of_each_of_many_classes_is_no_reason_to_warn(self) -> None:
        vectors = np.eye(30, 40, dtype=np.float32)
        assert LinearProbe(vectors, np.arange(30)).predict(vectors).tolist() == list(range(30))

    def test_few_shot_rows_are_balanced_seeded_and_refuse_small_classes(self) -> None:
        labels = np.array([0] * 5 + [1] * 9)
        rows = few_shot_rows(labels, 3, 0, 7)
        assert np.bincount(labels[rows]).tolist() == [3, 3]
        assert len(set(rows.tolist())) == 6
        assert few_shot_rows(labels, 3, 0, 7).tolist() == rows.tolist()
        assert few_shot_rows(labels, 3, 1, 7).tolist() != rows.tolist()
        with pytest.raises(ValueError, match="fewer than 6"):
            few_shot_rows(labels, 6, 0, 7)

    def test_k_may_exceed_the_number_of_items(self) -> None:
        assert knn_predictions(
            np.eye(2, dtype=np.float32), np.array([0, 1]), np.eye(2, dtype=np.float32), 10
        ).tolist() == [
            0,
            1,
        ]


class TestIntervals:
    def test_cover_the_truth_about_95_times_in_100_with_and_without_groups(self) -> None:
        rng = np.random.default_rng(0)
        for size_of_group in (1, 5):
            covered = 0
            for _ in range(400):
                groups = np.repeat(np.arange(60), size_of_group)
                success = rng.random(60) < rng.beta(3, 7, 60) if size_of_group == 1 else None
                chances = np.repeat(rng.beta(3, 7, 60), size_of_group)
                outcomes = success if success is not None else rng.random(len(groups)) < chances
                estimate = proportion(outcomes.astype(float), groups)
                covered += estimate.low <= 0.3 <= estimate.high
            assert 0.92 <= covered / 400 <= 0.985

    def test_ignoring_groups_would_be_too_narrow(self) -> None:
        outcomes = np.repeat(np.random.default_rng(0).random(20) < 0.5, 10).astype(float)  # ten copies of each
        grouped = proportion(outcomes, np.repeat(np.arange(20), 10))
        single = proportion(outcomes, np.arange(200))
        assert grouped.high - grouped.low > 2.5 * (single.high - single.low)

    def test_extreme_rates_keep_a_width(self) -> None:
        for value in (0.0, 1.0):
            estimate = proportion(np.full(50, value), np.arange(50))
            assert estimate.value == value
            assert estimate.high - estimate.low == pytest.approx(3.84 / 53.84, abs=0.001)  # Wilson for n = 50

    def test_equal_the_wilson_interval_for_independent_items(self) -> None:
        outcomes = np.array([1.0] * 30 + [0.0] * 70)
        estimate = proportion(outcomes, np.arange(100))
        assert (estimate.low, estimate.high) == (pytest.approx(0.2189, abs=0.002), pytest.approx(0.3958, abs=0.002))

    def test_draws_widen(self) -> None:
        rng = np.random.default_rng(0)
        steady = (rng.random(100) < 0.5).astype(float)
        same = proportion(np.stack([steady] * 3), np.arange(100))
        varied = proportion(np.stack([np.r_[np.ones(k), np.zeros(100 - k)] for k in (20, 50, 80)]), np.arange(100))
        assert same.draws == 3
        assert varied.high - varied.low > same.high - same.low

    def test_median_is_an_order_statistic_interval(self) -> None:
        estimate = median(np.arange(1, 102, dtype=float), np.arange(101))
        assert estimate.value == 51
        assert 38 <= estimate.low < 51 < estimate.high <= 64

    def test_paired_differences_are_tighter_than_separate_ones(self) -> None:
        rng = np.random.default_rng(0)
        base = (rng.random(300) < 0.5).astype(float)
        better = np.maximum(base, (rng.random(300) < 0.1).astype(float))
        change = difference(proportion(better, np.arange(300)), proportion(base, np.arange(300)))
        assert change.low > 0
        with pytest.raises(ValueError, match="same items"):
            difference(proportion(better, np.arange(300)), proportion(base[:10], np.arange(10)))

    def test_a_mean_of_ratios_is_macro_f1_and_its_interval_covers(self) -> None:
        rng = np.random.default_rng(0)

        def drawn(count: int, each: int) -> tuple[Estimate, float]:
            truth = np.repeat(rng.integers(0, 3, count), each)
            wrong = np.repeat(rng.random(count) < 0.4, each)  # whole groups are wrong together
            guess = np.where(wrong, (truth + 1) % 3, truth)
            one, other = np.eye(3)[truth], np.eye(3)[guess]
            found = mean_of_ratios(2 * one * other, one + other, np.repeat(np.arange(count), each))
            return found, float(f1_score(truth, guess, average="macro"))

        covered = 0
        for _ in range(150):
            found, reference = drawn(60, 3)
            assert found.value == pytest.approx(reference)
            covered += found.low <= 0.6 <= found.high
        assert 0.88 <= covered / 150 <= 0.99

    def test_differences_of_means_of_ratios_are_paired(self) -> None:
        rng = np.random.default_rng(1)
        truth, groups = np.eye(4)[rng.integers(0, 4, 200)], np.arange(200)
        guess = np.eye(4)[np.where(rng.random(200) < 0.5, truth.argmax(axis=1), rng.integers(0, 4, 200))]
        better = np.where((rng.random(200) < 0.1)[:, None], truth, guess)
        one, other = (mean_of_ratios(2 * truth * each, truth + each, groups) for each in (better, guess))
        change = difference(one, other)
        assert change.value == pytest.approx(one.value - other.value)
        assert change.high - change.low < 0.6 * (one.high - one.low)
        with pytest.raises(ValueError, match="no items"):
            mean_of_ratios(np.empty((0, 2)), np.empty((0, 2)), np.empty(0, dtype=np.int64))


def labelled_pairs(train: dict[str, int], test: dict[str, int]) -> Pairs:
    rows = []
    for split, sizes in (("train", train), ("test", test)):
        for label, size in sizes.items():
            for i in range(size):
                name = f"{split}-{label}-{i}"
                rows.append(
                    Pair(source=Path(f"s/{name}"), target=Path(f"t/{name}"), label=label or None, split=split)  # type: ignore[arg-type]
                )
    return Pairs(tuple(rows))


class TestPreflight:
    def test_without_labels_says_what_is_left_out(self) -> None:
        config, left_out = applicable(labelled_pairs({"": 5}, {"": 5}), EvaluateConfig())
        assert config.protocols == ["retrieval"]
        assert set(left_out) == {"knn", "linear", "zero_shot", "both", "clustering"}
        assert "supervised" not in config.controls

    @pytest.mark.parametrize(
        ("train", "test", "message"),
        [
            ({"a": 9, "b": 3}, {"a": 2, "b": 2}, r"too small for the shots(.|\n)*b \(3\)"),
            ({"a": 9, "b": 9}, {"a": 2, "c": 2}, r"c \(0\)"),
            ({"a": 9}, {"a": 2}, "only one class"),
            ({"a": 9, "b": 9}, {"": 4}, "no labelled target item"),
        ],
    )
    def test_refuses(self, train: dict[str, int], test: dict[str, int], message: str) -> None:
        with pytest.raises(PairsError, match=message):
            applicable(labelled_pairs(train, test), EvaluateConfig(shots=[5]))

    def test_an_empty_test_split_is_refused(self) -> None:
        with pytest.raises(PairsError, match="'test' has no rows for retrieval"):
            applicable(labelled_pairs({"a": 9, "b": 9}, {}), EvaluateConfig())
