"""Search: items of one modality in an index, found by queries of either (docs/search.md)."""

from crossdistill.search.index import Hit, Index
from crossdistill.search.own import OwnItem, own_items

__all__ = ["Hit", "Index", "OwnItem", "own_items"]
