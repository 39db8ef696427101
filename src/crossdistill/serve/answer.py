"""What a query is told: a typed answer, made from a vector alone."""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote

import numpy as np
from pydantic import BaseModel, Field

from crossdistill.evaluation.probes import Vectors
from crossdistill.pairs import Side
from crossdistill.serve.certainty import (
    LOOKED_AT,
    Calibration,
    Familiarity,
    Floats,
    label_features,
    percent,
    retrieval_features,
)
from crossdistill.serve.gallery import Shelf
from crossdistill.serve.student import Student, other

_LABELS = 5  # likeliest ones that are told
_SURE = 0.7  # from which probability on an answer counts as sure


class Found(BaseModel):
    """One item that was found."""

    id: str = Field(description="As the run's pairs, the gallery's folder or the index name it.")
    position: int = Field(description="Its place in what is searched, for its picture and sound.")
    similarity: float = Field(description="Cosine of the angle between its embedding and the query's, -1 to 1.")
    label: str | None = Field(description="Its class, where it is known.")
    split: str | None = Field(description="The split of one of the run's own items: train, val or test.")
    picture: str = Field(description="Address of a small WebP picture; it holds until the server is started anew.")
    sound: str | None = Field(description="Address of an OGG file, for what can be heard.")


class LabelGuess(BaseModel):
    """A class and what the classifier gives for it."""

    label: str
    probability: float = Field(description="The classifier's own, not calibrated; see `certainty.label`.")


class Place(BaseModel):
    """A place on the map of the source items, 0 to 1 from its left and its top."""

    x: float
    y: float


class Sure(BaseModel):
    """A probability that was measured on held-out items, or the reason why there is none."""

    probability: float | None = Field(description="Of being right; null where it cannot be said.")
    cases: int = Field(description="Held-out items that it was measured on.")
    informative: bool = Field(
        description="Whether scores told right from wrong on items left out; if not, this is the plain rate."
    )
    error: float | None = Field(
        description="Mean distance between probability and frequency on items left out; null of the plain rate."
    )
    meaning: str = Field(description="One sentence.")


class Certainty(BaseModel):
    """How sure the model is, by what such scores were worth on the run's own held-out items."""

    verdict: Literal["sure", "unsure", "strange", "unknown"] = Field(
        description="strange: the query is unlike all of training, so that the rest says little."
    )
    summary: str = Field(description="One sentence.")
    label: Sure = Field(description="That the likeliest label is right.")
    partner: Sure = Field(description="That the query's own partner is among the nearest of the other modality.")
    familiarity: float | None = Field(
        description="Share of held-out items of its modality that are no nearer to a training item than the query."
    )


class Answer(BaseModel):
    """All that is told about a query."""

    run: str = Field(description="Id of the run's student that was asked.")
    objective: str = Field(description="What it was distilled with.")
    modality: Side = Field(description="What the query was: source or target.")
    nearest: list[Found] = Field(description="Of the other modality: source items, where the query is a target.")
    nearest_own: list[Found] = Field(description="Of the query's own modality, among the run's own items.")
    labels: list[LabelGuess] = Field(description="The likeliest, best first; empty where the run has no labels.")
    certainty: Certainty
    place: Place | None = Field(description="On the map of source items; null where these are too few for a map.")
    anchors: list[Place] = Field(description="The nearest items on the map, which decide the place.")


def answer(student: Student, vector: Vectors, side: Side, k: int) -> Answer:
    """What a student says about a query.

    Args:
        student: of a run.
        vector: the query's embedding, ``(d,)``, unit length.
        side: the query's modality.
        k: how many of the nearest of each modality.
    """
    query = vector[None].astype(np.float32)
    across, own = student.shelf(other(side)), student.own[side]
    rows, similarity = across.nearest(query, max(k, LOOKED_AT))
    weights = None if student.labeller is None else student.labeller.probabilities(query, side)
    placed = student.map.place(query[0])
    return Answer(
        run=student.id, objective=student.objective, modality=side,
        nearest=_found(student, across, rows[0, :k], similarity[0, :k]),
        nearest_own=_found(student, own, *(each[0] for each in own.nearest(query, k))),
        labels=_labels(student, weights),
        certainty=_certainty(student, query, weights, side, k, similarity),
        place=None if placed is None else Place(x=round(placed[0].x, 4), y=round(placed[0].y, 4)),
        anchors=[] if placed is None else [Place(x=round(each.x, 4), y=round(each.y, 4)) for each in placed[1]],
    )  # fmt: skip


def address(student: Student, shelf: Shelf, position: int, what: str) -> str:
    """Where the picture or the sound of an item is, on this server, as long as it is not started anew."""
    side = shelf.gallery.side
    own = "" if shelf is student.shelf(side) else "own/"
    return f"/api/v1/runs/{quote(student.id)}/{own}{side}/{position}/{what}?v={student.version}"


def map_address(student: Student) -> str:
    """Where the map is, likewise."""
    return f"/api/v1/runs/{quote(student.id)}/map?v={student.version}"


def _found(student: Student, shelf: Shelf, rows: np.ndarray, similarity: np.ndarray) -> list[Found]:
    found = []
    audible = shelf.gallery.modality.modality == "audio"
    for row, score in zip(rows.tolist(), similarity.tolist(), strict=True):
        entry = shelf.gallery.entries[row]
        found.append(
            Found(
                id=entry.id,
                position=row,
                similarity=round(score, 5),
                label=entry.label,
                split=entry.split,
                picture=address(student, shelf, row, "picture"),
                sound=address(student, shelf, row, "sound") if audible else None,
            )
        )
    return found


def _labels(student: Student, weights: Floats | None) -> list[LabelGuess]:
    if student.labeller is None or weights is None:
        return []
    order = np.argsort(-weights[0], kind="stable")[:_LABELS]
    return [LabelGuess(label=student.labeller.classes[i], probability=round(float(weights[0, i]), 5)) for i in order]


def _certainty(
    student: Student, query: Vectors, weights: Floats | None, side: Side, k: int, similarity: Vectors
) -> Certainty:
    label, partner = _label_sure(student, weights, side), _partner_sure(student, side, k, similarity)
    trained = student.trained[side]
    nearest = float((student.own[side].vectors @ query[0])[trained].max()) if trained.any() else None
    share = None if nearest is None else student.familiarity[side].share(nearest)
    main = label if label.probability is not None else partner
    if Familiarity.strange(share):
        verdict = "strange"
        farther = percent(1 - (share or 0))
        summary = f"Unlike all of training: {farther} of held-out items are nearer to it. The rest says little."
    elif main.probability is None:
        verdict, summary = "unknown", main.meaning
    else:
        verdict = "sure" if main.probability >= _SURE else "unsure"
        of_partner = f"the {k} nearest, with scores like these, hold the partner"
        what = "labels with scores like these are right" if main is label else of_partner
        summary = f"{verdict.capitalize()}: {what} {percent(main.probability)} of the time."
    return Certainty(
        verdict=verdict, summary=summary, label=label, partner=partner,
        familiarity=None if share is None else round(share, 4),
    )  # fmt: skip


def _label_sure(student: Student, weights: Floats | None, side: Side) -> Sure:
    if student.labeller is None or weights is None:
        return _unknown("The run has no labelled source items of two classes.")
    calibration = student.labeller.calibrations[side]
    if calibration is None:
        return _unknown("Too few labelled items are held out in this run to say.")
    probability = calibration.probability(label_features(weights)[0])
    return Sure(
        probability=round(probability, 4), cases=calibration.cases, informative=calibration.informative,
        error=None if calibration.error is None else round(calibration.error, 4),
        meaning=(
            f"Of the run's {calibration.cases} labelled held-out items, those with class probabilities like these had "
            "the right label this often."
            if calibration.informative else
            f"So many of the run's {calibration.cases} labelled held-out items had the right label; "
            f"{_untold(calibration, 'class probabilities')}."
        ),
    )  # fmt: skip


def _partner_sure(student: Student, side: Side, k: int, similarity: Vectors) -> Sure:
    if not student.shelf(other(side)).gallery.own:
        return _unknown("In a gallery of your own no partners are known, so nothing was measured.")
    calibration = student.partners[side].within(k)
    if calibration is None:
        return _unknown("Too few pairs are held out in this run to say.")
    probability = calibration.probability(retrieval_features(similarity[:, :LOOKED_AT])[0])
    among = f"among the {k} nearest of {len(student.shelf(other(side)).gallery):,}"
    return Sure(
        probability=round(probability, 4), cases=calibration.cases, informative=calibration.informative,
        error=None if calibration.error is None else round(calibration.error, 4),
        meaning=(
            f"Of the run's {calibration.cases} held-out pairs, those with similarities like these had their partner "
            f"{among} this often."
            if calibration.informative else
            f"So many of the run's {calibration.cases} held-out pairs had their partner {among}; "
            f"{_untold(calibration, 'similarities')}."
        ),
    )  # fmt: skip


def _untold(calibration: Calibration, scores: str) -> str:
    """Why the plain rate is told."""
    if not calibration.one_sided:
        return f"{scores} did not tell which"
    few = "wrong" if calibration.rate > 0.5 else "right"
    return f"too few were {few} to tell whether {scores} say which"


def _unknown(reason: str) -> Sure:
    return Sure(probability=None, cases=0, informative=False, error=None, meaning=reason)
