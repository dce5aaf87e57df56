"""Observations and actions as bytes: msgpack with numpy arrays, in openpi's encoding.

An array is a map of `b"__ndarray__"`, `b"data"`, `b"dtype"` and `b"shape"`, a numpy scalar one of `b"__npgeneric__"`,
`b"data"` and `b"dtype"`. What comes from outside is bounded: how many containers, how long each, and only numbers as
elements, so that no message costs more memory than a small multiple of its size and 10 MB.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List

import msgpack
import numpy as np

_MAX_CONTAINERS = 1024
_MAX_CONTAINER_LENGTH = 1024
_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
"""Names of the dtypes that are sent. numpy is asked about no other: its parser takes far more than names."""


class WireError(ValueError):
    """Bytes that are no message of this protocol, or a value that has no place in one."""


def pack(message: Any) -> bytes:
    """Encode dictionaries, lists, strings, numbers and numpy arrays.

    `unpack` is its inverse, with lists for tuples and Python's float for numpy's float64, which is one.

    Raises:
        WireError: an array's elements are not numbers, or a value is of another type.
    """
    try:
        return msgpack.Packer(default=_encoded).pack(message)
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError("message: cannot be packed ({}).".format(error)) from error


def unpack(data: bytes) -> Any:
    """Decode what `pack` or an openpi client encoded. Arrays are read-only.

    Raises:
        WireError: the bytes are cut off or damaged, nested too deeply, declare more than they hold, or hold an array
            whose shape, dtype and data do not belong together.
    """
    containers = _Containers()
    try:
        return msgpack.unpackb(
            data,
            object_hook=containers.map,
            list_hook=containers.list,
            max_array_len=_MAX_CONTAINER_LENGTH,
            max_map_len=_MAX_CONTAINER_LENGTH,
            max_ext_len=0,
        )
    except WireError:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        reason = str(error) or type(error).__name__
        raise WireError("message: expected msgpack, got bytes that are not ({}).".format(reason)) from error


class _Containers:
    """Decodes a message's maps and lists, and counts them."""

    def __init__(self) -> None:
        self._count = 0

    def map(self, values: Dict[Any, Any]) -> Any:
        self._add()
        if b"__ndarray__" in values:
            return _array(values)
        if b"__npgeneric__" in values:
            return _scalar(values)
        return values

    def list(self, values: List[Any]) -> List[Any]:
        self._add()
        return values

    def _add(self) -> None:
        self._count += 1
        if self._count > _MAX_CONTAINERS:
            raise WireError("message: expected at most {} maps and lists, got more.".format(_MAX_CONTAINERS))


def _encoded(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)) and not _DTYPE.fullmatch(value.dtype.str):
        raise WireError("message: expected arrays of numbers, got dtype {}.".format(value.dtype))
    if isinstance(value, np.ndarray):
        return {
            b"__ndarray__": True,
            b"data": value.tobytes(),
            b"dtype": value.dtype.str,
            b"shape": value.shape,
        }
    if isinstance(value, np.generic):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    raise WireError(
        "message: expected dictionaries, lists, strings, numbers and arrays, got {}.".format(
            type(value).__name__
        )
    )


def _array(values: Dict[Any, Any]) -> np.ndarray:
    data, shape = values.get(b"data"), values.get(b"shape")
    dtype = _dtype(values)
    if not isinstance(data, bytes):
        raise WireError("array: expected data as bytes, got {}.".format(type(data).__name__))
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise WireError("array: expected a shape of sizes, got {}.".format(_short(shape)))
    count = 1
    for size in shape:
        count *= size
    if count * dtype.itemsize != len(data):
        raise WireError(
            "array: shape {} of {} takes {} bytes, got {}.".format(
                _short(shape), dtype, count * dtype.itemsize, len(data)
            )
        )
    try:
        return np.frombuffer(data, dtype).reshape(shape)
    except (ValueError, OverflowError) as error:  # numpy holds at most 32 or 64 axes
        raise WireError("array: shape {} is not one of numpy's ({}).".format(_short(shape), error)) from error


def _scalar(values: Dict[Any, Any]) -> np.generic:
    dtype, item = _dtype(values), values.get(b"data")
    if dtype.kind == "b":
        fits = type(item) is bool
    elif dtype.kind == "f":
        fits = type(item) in (int, float)
    else:
        limits = np.iinfo(dtype)
        fits = type(item) is int and limits.min <= item <= limits.max
    if not fits:
        raise WireError("number: expected one that fits {}, got {}.".format(dtype, _short(item)))
    with np.errstate(over="ignore"):
        return dtype.type(item)


def _dtype(values: Dict[Any, Any]) -> np.dtype:
    name = values.get(b"dtype")
    if not isinstance(name, str) or not _DTYPE.fullmatch(name):
        raise WireError(
            "array: expected a dtype of numbers such as '|u1' or '<f4', got {}.".format(_short(name))
        )
    return np.dtype(name)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
