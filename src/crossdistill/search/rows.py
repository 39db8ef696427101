"""Ids and metadata of an index's rows, as Arrow tables: a column ``_id``, one ``_content``, and those of the user."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crossdistill.errors import ConfigError

ID, CONTENT = "_id", "_content"
_OURS = pa.schema([(ID, pa.string()), (CONTENT, pa.string())])


def no_rows() -> pa.Table:
    """The table of an index without rows."""
    return _OURS.empty_table()


def require_text(ids: Sequence[str]) -> None:
    """Refuses ids that no table can hold: names of files in bytes that are no UTF-8.

    Raises:
        ConfigError: there is one.
    """
    for each in ids:
        try:
            each.encode()
        except UnicodeEncodeError:
            raise ConfigError(
                "The name of a file is no text.", where=os.fsencode(each), expected="a name in UTF-8",
                fix="rename the file",
            ) from None  # fmt: skip


def make_table(ids: Sequence[str], contents: Sequence[str], metadata: pa.Table | None) -> pa.Table:
    """The table of some rows.

    Args:
        ids: of the rows.
        contents: by what another content under the same id is told; empty where nobody knows.
        metadata: as many rows; any columns but ``_id`` and ``_content``.

    Raises:
        ConfigError: the lengths differ, an id stands there twice, is empty or no text, or a column has a name of ours
            or a type that Parquet and JSON do not share.
    """
    seen: set[str] = set()
    for each in ids:
        if not each or each in seen:
            raise ConfigError(
                "An id is empty." if not each else "An id stands there twice.", where="ids", received=repr(each),
                expected="one id for each item, each another",
            )  # fmt: skip
        seen.add(each)
    require_text(ids)
    if len(contents) != len(ids) or (metadata is not None and len(metadata) != len(ids)):
        received = len(contents) if metadata is None or len(metadata) == len(ids) else len(metadata)
        raise ConfigError("Ids and metadata are not of the same length.", expected=len(ids), received=received)
    table = pa.table([pa.array(ids, pa.string()), pa.array(contents, pa.string())], schema=_OURS)
    for name, column in () if metadata is None else zip(metadata.column_names, metadata.columns, strict=True):
        if name in table.column_names:
            raise ConfigError(
                "A column of the metadata cannot have this name.", where="metadata", received=name,
                expected=f"any but {ID} and {CONTENT}, and each once", fix="rename the column",
            )  # fmt: skip
        if pa.types.is_dictionary(column.type):  # parts would each have their own
            column = column.cast(column.type.value_type)
        table = table.append_column(name, column)
    return table.replace_schema_metadata(None)


def joined(first: pa.Table, second: pa.Table) -> pa.Table:
    """Two tables below each other; a column that one of them lacks is empty there.

    Raises:
        ConfigError: they have a column of two types that have no type in common.
    """
    try:
        return pa.concat_tables([first, second], promote_options="permissive")
    except pa.ArrowException as error:
        # Told of a type by its number inside of Arrow: find out which column it is.
        for name in set(first.column_names) & set(second.column_names):
            types = first.schema.field(name).type, second.schema.field(name).type
            try:
                pa.unify_schemas([pa.schema([(name, kind)]) for kind in types], promote_options="permissive")
            except pa.ArrowException:
                raise ConfigError(
                    "A column of the metadata has another type than in the index.", where=f"metadata, column {name}",
                    expected=types[0], received=types[1], fix="give the column that type, or another name",
                ) from error  # fmt: skip
        raise


def replaced(table: pa.Table, rows: NDArray[np.int64], others: pa.Table) -> pa.Table:
    """The table with other content in some rows: row ``rows[i]`` becomes row ``i`` of ``others``."""
    everything = joined(table, others)
    order = np.arange(len(table))
    order[rows] = len(table) + np.arange(len(others))
    return everything.take(pa.array(order))


def metadata_of(table: pa.Table, rows: Sequence[int]) -> list[tuple[str, dict[str, Any]]]:
    """Id and metadata of some rows, as Python's own values."""
    return [
        (record.pop(ID), {name: value for name, value in record.items() if name != CONTENT})
        for record in table.take(pa.array(rows, pa.int64())).to_pylist()
    ]


def known(table: pa.Table, ids: Sequence[str], contents: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """For each id its row, -1 without one, and whether its content is the same, ``(n,)`` each."""
    places = pc.index_in(pa.array(ids, pa.string()), value_set=table[ID].combine_chunks())
    there = table[CONTENT].take(places).to_pylist()  # None without a place
    same = [old is not None and old == new for old, new in zip(there, contents, strict=True)]
    rows = pc.fill_null(places, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return rows, np.array(same, dtype=bool)
