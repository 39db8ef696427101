"""One call for everything: its numbers against the parts, on related and unrelated modalities."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from theory_loops import Floats

from crossdistill.evaluation.retrieval import ranks
from crossdistill.theory import PairedVectors, compare_similarities, hoeffding, measure_theory, theory_curve_point


def modalities(distance: float, count: int = 120, width: int = 16) -> tuple[Floats, Floats, np.ndarray]:  # type: ignore[type-arg]
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 5
    source = 2 * rng.normal(size=(5, width))[labels] + rng.normal(size=(count, width))
    return source, source + distance * rng.normal(size=source.shape), labels


class TestMeasure:
    @pytest.mark.parametrize("distance", [0.0, 0.3, 100.0])
    def test_every_bound_bounds(self, distance: float) -> None:
        source, target, labels = modalities(distance)
        found = measure_theory(source, target, temperature=0.1, labels=labels)
        for form in found.forms.values():
            assert all(form.tv.mean <= value + 1e-12 for value in form.certificates.values()), form
            assert form.certificates["best"] == min(
                form.certificates["pinsker"], form.certificates["bretagnolle_huber"]
            )
            assert form.slack is not None
            assert form.slack >= -1e-12
            assert form.slack == pytest.approx(form.source_risk + form.tv.mean - form.target_risk)  # type: ignore[operator]
            assert form.kl == pytest.approx(form.cmd - form.entropy_source, abs=1e-12)
            assert form.target_vote_risk <= form.vote_certificate  # type: ignore[operator]
            assert [chain.name for chain in form.chains] == ["held out", "held out, from the loss"]
            assert list(form.tv.quantiles.values()) == sorted(form.tv.quantiles.values())
        assert found.partners is not None
        assert found.partners.tv <= found.partners.certificate + 1e-12
        assert found.partners.retrieval_error <= found.partners.retrieval_bound + 1e-12

    def test_equals_its_parts(self) -> None:
        source, target, labels = modalities(0.5)
        groups = np.arange(120) // 3
        found = measure_theory(
            source, target, temperature=0.2, groups=groups, labels=labels, students=4, delta=0.1, seed=5
        )
        pairs = PairedVectors.of(source, target, labels=labels)
        for name, form in found.forms.items():
            parts = compare_similarities(pairs, temperature=0.2, form=name)  # type: ignore[arg-type]
            assert form.tv.mean == pytest.approx(float(parts.tv.mean()))
            assert form.tv.quantiles["0.5"] == pytest.approx(float(np.median(parts.tv)))
            assert form.target_risk == pytest.approx(float(parts.error_target.mean()))  # type: ignore[union-attr]
            errors = pairs.errors()
            both = errors + (errors.max() if name == "within" else 0.0)
            assert form.certificates["l2"] == pytest.approx(float(np.tanh(both / (2 * 0.2)).mean()))
            chain = form.chains[0]
            assert chain.term("pair sample").value == pytest.approx(hoeffding(20, 0.1, log_choices=math.log(4)))
            assert chain.chance == pytest.approx(0.8)
        assert found.groups == 40
        ids = np.arange(120)
        rank = ranks(target.astype(np.float32), source.astype(np.float32), ids, ids)
        assert found.partners is not None
        assert found.partners.retrieval_error == pytest.approx(float((rank > 1).mean()))
        assert found.partners.l2 == pytest.approx(float((pairs.errors() ** 2).mean()))
        assert found.partners.information == pytest.approx(math.log(120) - found.partners.cmc)

    def test_anchors_and_candidates_of_a_chain_share_no_group(self) -> None:
        """All items of a group are copies, labels are its own: only a copy could vote for an anchor."""
        rng = np.random.default_rng(1)
        groups = np.repeat(np.arange(10), 4)
        rows = np.eye(10)[groups]
        found = measure_theory(rows, rows, temperature=0.05, groups=groups, labels=groups).forms["within"]
        assert found.source_risk < 0.1  # type: ignore[operator]  # among all others there are copies
        assert found.chains[0].term("source risk").value == pytest.approx(1.0)
        assert found.chains[0].vacuous
        again = measure_theory(rows, rows, temperature=0.05, groups=groups, labels=groups)
        assert again.forms["within"].to_json() == found.to_json()
        del rng

    def test_is_json(self) -> None:
        source, target, labels = modalities(0.5)
        for given in (labels, None):
            text = json.dumps(measure_theory(source, target, temperature=0.1, labels=given).to_json(), allow_nan=False)
            plain: dict[str, Any] = json.loads(text)
            assert set(plain["forms"]) == {"within", "to_teacher"}
            assert (plain["classes"] is None) == (given is None)

    def test_without_labels_or_a_common_space(self) -> None:
        source, target, _ = modalities(0.5)
        found = measure_theory(source, target[:, :9], temperature=0.1)
        assert list(found.forms) == ["within"]
        form = found.forms["within"]
        assert found.partners is None
        assert form.source_risk is form.target_risk is form.slack is form.vote_certificate is None
        assert form.chains == ()
        assert form.tv_limit is not None
        assert form.tv.mean < form.tv_limit
        assert "l2" not in form.certificates

    def test_one_group_has_no_chain(self) -> None:
        source, target, labels = modalities(0.5)
        form = measure_theory(source, target, temperature=0.1, groups=np.zeros(120, int), labels=labels).forms["within"]
        assert form.chains == ()
        assert form.tv_limit is None

    def test_refuses_what_cannot_be_meant(self) -> None:
        source, target, labels = modalities(0.5)
        for wrong in (
            {"temperature": 0.0},
            {"temperature": math.nan},
            {"temperature": 0.1, "groups": labels[:3]},
            {"temperature": 0.1, "labels": labels / 2},
            {"temperature": 0.1, "ids": np.zeros(120, int)},
            {"temperature": 0.1, "delta": 0.0},
            {"temperature": 0.1, "students": 0},
        ):
            with pytest.raises(ValueError, match=r"expected|no candidate"):
                measure_theory(source, target, **{"labels": labels, **wrong})
        with pytest.raises(ValueError, match="finite"):
            measure_theory(source, target * math.nan, temperature=0.1)


class TestCurvePoint:
    def test_agrees_with_the_full_measurement(self) -> None:
        source, target, labels = modalities(0.5)
        for form in ("within", "to_teacher"):
            point = theory_curve_point(source, target, temperature=0.1, labels=labels, form=form)  # type: ignore[arg-type]
            full = measure_theory(source, target, temperature=0.1, labels=labels).forms[form]
            assert point == {
                "theory_tv": pytest.approx(full.tv.mean),
                "theory_certificate": pytest.approx(full.certificates["best"]),
                "theory_source_risk": pytest.approx(full.source_risk),
                "theory_target_risk": pytest.approx(full.target_risk),
                "theory_bound": pytest.approx(full.source_risk + full.tv.mean),  # type: ignore[operator]
            }
            assert point["theory_target_risk"] <= point["theory_bound"]
        assert set(theory_curve_point(source, target, temperature=0.1)) == {"theory_tv", "theory_certificate"}

    def test_ids_are_left_out(self) -> None:
        source, target, _ = modalities(0.5)
        ids = np.arange(120) // 2
        point = theory_curve_point(source, target, temperature=0.1, ids=ids)
        expected = compare_similarities(PairedVectors.of(source, target, ids=ids), temperature=0.1)
        assert point["theory_tv"] == pytest.approx(float(expected.tv.mean()))
        assert point["theory_tv"] != pytest.approx(theory_curve_point(source, target, temperature=0.1)["theory_tv"])
