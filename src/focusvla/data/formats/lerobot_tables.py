"""Parquet tables as LeRobot data sets have them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from focusvla.errors import DataError


def read_table(  # pyright: ignore[reportUnknownParameterType]  # pyarrow has no types
    path: Path, columns: list[str] | None = None, optional: Sequence[str] = ()
) -> pa.Table:
    """All columns but the statistics of episodes, or those that are named, with `optional` ones where they are there.

    Raises:
        DataError: the file is missing or damaged, or lacks a column.
    """
    try:
        with pq.ParquetFile(path) as file:
            present = [name for name in file.schema_arrow.names if not name.startswith("stats/")]
            missing = set(columns or []) - set(present)
            if missing:
                raise DataError(
                    f"{path}: expected the columns {', '.join(sorted(missing))}, got only {', '.join(present)}. "
                    "Restore it from its source."
                )
            return file.read(
                columns=[*columns, *(name for name in optional if name in present)] if columns else present
            )
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: expected a complete parquet file, got {error}. Restore it from its source."
        ) from error


def table_of_floats(
    column: pa.ChunkedArray,  # pyright: ignore[reportUnknownParameterType]  # pyarrow has no types
    path: Path,
    key: str,
    dtype: type[np.floating] = np.float32,
) -> np.ndarray:
    """A (rows, width) table of `dtype` from a column of numbers or of lists, all of one length.

    Raises:
        DataError: the lists differ in length, or hold no numbers.
    """
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # combine_chunks keeps more than one if they are very large
        array = pa.concat_arrays(array.chunks)
    flat = array if not hasattr(array, "flatten") or pa.types.is_primitive(array.type) else array.flatten()
    try:
        with np.errstate(over="ignore"):  # what is too large becomes infinite and is told of by its step
            values = flat.to_numpy(zero_copy_only=False).astype(dtype)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}, {key}: expected numbers, got {error}. Restore the file.") from error
    lengths = {1} if flat is array else set(array.value_lengths().to_pylist())
    if len(lengths) > 1 or len(values) != len(array) * next(iter(lengths), 0):
        raise DataError(
            f"{path}, {key}: expected vectors of one width, got a ragged column. Restore the file."
        )
    return values.reshape(len(array), -1)
