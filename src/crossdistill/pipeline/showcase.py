"""What a report shows of single items: examples, retrieved neighbours and a map, with small pictures of them."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from crossdistill.errors import PairsError
from crossdistill.evaluation import EvaluationSet, RowVectors, top
from crossdistill.evaluation.probes import unit
from crossdistill.files import write_bytes
from crossdistill.pairs import Pairs, Side
from crossdistill.pairs.patience import time_limit
from crossdistill.pipeline.work import Run

_EXAMPLES = 12
_QUERIES = 12
_NEIGHBOURS = 5
_MAPPED = 250  # pairs
_PICTURE_SIDE = 96  # pixels


def describe_pairs(pairs: Pairs) -> dict[str, Any]:
    """Name, licence, classes and sizes of a data set."""
    licence = None
    if pairs.licence is not None:
        licence = {"name": pairs.licence.name, "attribution": pairs.licence.attribution, "url": pairs.licence.url}
    return {"name": pairs.name, "licence": licence, "classes": len(pairs.classes), "splits": pairs.counts()}


def example_pairs(run: Run) -> list[dict[str, Any]]:
    """Some training pairs, chosen by the seed."""
    rows = np.array(run.pairs.where("train", has=("source", "target")))
    rng = np.random.default_rng(run.config.train.seed)
    chosen = np.sort(rng.permutation(rows)[:_EXAMPLES])
    return [
        {
            "source": _picture(run, int(row), "source"),
            "target": _picture(run, int(row), "target"),
            "label": run.pairs[int(row)].label,
            "sound": _sound(run, int(row), "target") or _sound(run, int(row), "source"),
        }
        for row in chosen
    ]


def retrieval_gallery(run: Run, data: EvaluationSet, student: RowVectors, teacher: RowVectors) -> list[dict[str, Any]]:
    """Random test queries with their nearest source items. Chosen by the seed, not by how well they do."""
    rows = data.paired("test")
    if "retrieval" not in run.evaluate.protocols or len(rows) == 0:
        return []
    ids = data.source_ids[rows]
    _, first = np.unique(ids, return_index=True)
    gallery = rows[np.sort(first)]
    queries = np.random.default_rng(run.config.train.seed + 1).permutation(rows)[:_QUERIES]
    order, similarity = top(student.take(queries), teacher.take(gallery), _NEIGHBOURS)
    return [
        {
            "query": _picture(run, int(query), "target"),
            "label": run.pairs[int(query)].label,
            "sound": _sound(run, int(query), "target"),
            "found": [
                {
                    "source": _picture(run, int(gallery[place]), "source"),
                    "label": run.pairs[int(gallery[place])].label,
                    "sound": _sound(run, int(gallery[place]), "source"),
                    "similarity": round(float(score), 4),
                    "right": bool(data.source_ids[gallery[place]] == data.source_ids[query]),
                }
                for place, score in zip(places, scores, strict=True)
            ],
        }
        for query, places, scores in zip(queries, order, similarity, strict=True)
    ]


def embedding_map(run: Run, data: EvaluationSet, student: RowVectors, teacher: RowVectors) -> dict[str, Any]:
    """A t-SNE map (van der Maaten and Hinton, 2008) of test pairs in both modalities, in the common space."""
    rows = np.random.default_rng(run.config.train.seed + 2).permutation(data.paired("test"))[:_MAPPED]
    if len(rows) < 10:
        return {"points": [], "classes": []}
    vectors = np.concatenate([unit(teacher.take(rows)), unit(student.take(rows))])
    with threadpool_limits(limits=1):  # the order of parallel sums would change the last digits
        places = TSNE(
            perplexity=min(30.0, len(vectors) / 4), init="pca", metric="cosine", random_state=run.config.train.seed
        ).fit_transform(vectors)
    sizes = Counter(label for row in rows if (label := run.pairs[int(row)].label) is not None)
    shown = [name for name, _ in sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:8]]
    count = len(rows)
    points = [
        {
            "modality": "source" if index < count else "target",
            "pair": int(index % count),
            "label": run.pairs[int(rows[index % count])].label,
            "x": round(float(place[0]), 3),
            "y": round(float(place[1]), 3),
        }
        for index, place in enumerate(places)
    ]
    return {"points": points, "classes": shown}


def _picture(run: Run, row: int, side: Side) -> str:
    """Writes a small picture of an item into the run folder; returns its name there."""
    file = run.pairs[row].item(side)
    assert file is not None
    name = f"{side}-{row}.png"
    path = run.folder.pictures / name
    if not path.is_file():
        modality = run.config.source if side == "source" else run.config.target
        stream = io.BytesIO()
        with _reading(run, row, side):
            picture = modality.picture(file, _PICTURE_SIDE)
        picture.save(stream, format="PNG", optimize=True)
        write_bytes(path, stream.getvalue())
    return name


@contextmanager
def _reading(run: Run, row: int, side: Side) -> Iterator[None]:
    """Around reading an item: it has its time, and errors name it."""
    try:
        with time_limit(run.config.train.read_timeout):
            yield
    except PairsError as error:
        raise error.at(f"{run.pairs[row].where}, column {side}: {run.pairs[row].item(side)}") from error


def _sound(run: Run, row: int, side: Side) -> str | None:
    """Writes an item's sound into the run folder, where it can be heard; returns its name there."""
    item = run.pairs[row].item(side)
    assert item is not None
    modality = run.config.source if side == "source" else run.config.target
    name = f"{side}-{row}.ogg"
    if not (run.folder.pictures / name).is_file():
        with _reading(run, row, side):
            sound = modality.sound(item)
        if sound is None:
            return None
        write_bytes(run.folder.pictures / name, sound)
    return name
