"""The one computation behind the contrastive and the similarity-distribution objectives, exact at any size.

For an anchor i and its candidates j, with logits ``l_ij = scale <anchor_i, column_j>``,

    entropy_i = log sum_j exp(l_ij) - sum_j target_ij l_ij

where the target is the anchor's own column (InfoNCE) or another similarity distribution (CMD, SEED). Candidates are
the columns of other source items, and the anchor's own column where it is given.
"""

from __future__ import annotations

from torch import Tensor

from crossdistill.objectives.core.batch import Batch
from crossdistill.objectives.core.column_tiles import ColumnTiles
from crossdistill.objectives.core.columns import TeacherColumns
from crossdistill.objectives.core.ranks import reduce_
from crossdistill.objectives.core.row_blocks import RowBlocks, Target
from crossdistill.objectives.core.same_item import SameItem

MEMORY_MB = 64
"""Default budget for the tiles of one loss, in MiB. More of it brings no speed."""


def similarity_loss(
    batch: Batch,
    anchors: Tensor,
    columns: Tensor | TeacherColumns,
    scale: Tensor,
    *,
    own: bool,
    target: Target | None = None,
    bias: Tensor | None = None,
    power: float = 0.0,
    memory_mb: float = MEMORY_MB,
    views: int = 1,
) -> Tensor:
    """Mean over the batch of the cross-entropy, a scalar. It has first derivatives only.

    Args:
        batch: whose rows are the anchors.
        anchors: unit rows ``(B, d)`` of the whole batch.
        columns: unit rows ``(B, d)`` of the whole batch, which may need a gradient; or the bank, which has none.
        scale: 1/tau, a scalar tensor.
        own: whether an anchor's own column is a candidate: the column of its number, or against the bank the teacher's
            embedding of its pair.
        target: the distribution to match; all on the own column without one. It gets no gradient.
        bias: a scalar tensor; with it each cell is classified on its own, ``sum_j log(1 + exp(-z_ij (l_ij + bias)))``
            with z = 1 for the own column and -1 for the others (SigLIP). Not against the bank.
        power: softens each anchor's entropy to ``(1 - exp(-power * entropy)) / power``; 0 leaves it.
        memory_mb: budget for the tiles in MiB.
        views: how many views of the batch stand in ``anchors`` and ``columns``, one after the other; the own column is
            then that of the next view.

    Raises:
        ValueError: neither an own column nor a target is given, or the bank needs ids and the batch has none.
    """
    if not own and target is None:
        raise ValueError("similarity_loss needs an own column or a target distribution")
    memory = int(memory_mb * 2**20)
    total: Tensor
    if isinstance(columns, TeacherColumns):
        if bias is not None:
            raise ValueError("similarity_loss takes a bias within the batch only")
        if not batch.named:
            raise ValueError("Compared with the bank, rows need the ids of their source items: pass ids (B,).")
        # Where the columns are spread over the ranks, every rank sees to all rows; otherwise to its own.
        part = slice(None) if columns.sharded else batch.mine
        same = columns.same_item(batch.ids[part])
        _check_known(same, columns)
        paired = batch.unit_teacher.detach()[part] if own else None
        chosen = None if target is None else _rows(target, part)
        total = ColumnTiles.apply(anchors[part], columns, scale, paired, chosen, same, power, memory)
        return (total if columns.sharded else batch.total(total)) / len(batch)

    count, total = len(batch), anchors.new_zeros(())
    ids = batch.ids.repeat(views)
    for view in range(views):
        part = slice(view * count + batch.mine.start, view * count + batch.mine.stop)
        own_first = (view + 1) % views * count + batch.mine.start if own else None
        chosen = None if target is None else _rows(target, part)
        same = SameItem(ids[part], ids)
        rows = None if anchors is columns else anchors  # one gradient instead of two where they are the same
        total = total + RowBlocks.apply(rows, columns, scale, bias, part, own_first, chosen, same, power, memory)
    return batch.total(total) / (count * views)


def _check_known(same: SameItem, columns: TeacherColumns) -> None:
    found = same.found.long()
    if not bool(((reduce_(found) if columns.sharded else found) > 0).all()):
        raise ValueError(
            "Some ids of the batch are not among those of the bank, so that an anchor's own column would be its own "
            "negative. The bank holds the whole pair set: give it the same ids as the batch's rows."
        )


def _rows(target: Target, part: slice) -> Target:
    columns = None if target.columns is None else target.columns.detach()
    return Target(target.anchors.detach()[part], columns, target.scale.detach())
