"""Graphs from strangers, looked through before anything runs them: what may read files, run foreign code, never end, or
unfold to more than memory holds is refused. It reads the bytes themselves, since the core install has no `onnx`."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

#: Sets of operators that come with ONNX Runtime and stand in the standard.
_STANDARD = ("", "ai.onnx", "ai.onnx.ml")
#: Operators that may run without an end.
_ENDLESS = ("Loop", "Scan")
#: Which input is the shape of the output.
_SHAPES = {"ConstantOfShape": 0, "Expand": 1}
#: Values of the largest constant: as many as a part of a model file has bytes, as float32.
_MOST_VALUES = 1 << 29
#: Graphs within graphs.
_DEEPEST = 8
#: Of a message of ONNX's protocol buffers, the fields that are messages, and which.
_MESSAGES = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
}
_INT64, _EXTERNAL = 7, 1


@dataclass
class _Found:
    """What a graph holds, as far as it matters."""

    used: set[tuple[str, str]] = field(default_factory=set)
    own: set[tuple[str, str]] = field(default_factory=set)
    operators: set[str] = field(default_factory=set)
    shaped: list[str] = field(default_factory=list)
    constants: dict[str, list[list[int]]] = field(default_factory=dict)  # names may come again, in functions


def check_graph(graph: bytes) -> None:
    """Look through a serialized ONNX model.

    Raises:
        ValueError: it is none, or holds weights in files outside, operators that are not of the standard, loops, or
            constants that unfold to more than 2 GiB; in words.
    """
    found = _Found()
    try:
        _walk("model", memoryview(graph), found, 0)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise ValueError("it is no ONNX model") from error
    foreign = sorted(domain for domain, operator in found.used - found.own if domain not in _STANDARD)
    if foreign:
        raise ValueError(f"it uses operators of {foreign[0]!r}, which are not of the standard")
    endless = sorted(found.operators.intersection(_ENDLESS))
    if endless:
        raise ValueError(f"it uses {endless[0]}, which may never end")
    for name in found.shaped:
        values = max(map(math.prod, found.constants.get(name, ())), default=1)
        if values > _MOST_VALUES:
            raise ValueError(f"a constant in it unfolds to {values:.3g} values")


def _walk(kind: str, message: memoryview, found: _Found, depth: int) -> None:
    if depth > _DEEPEST * 3:  # a graph within a graph is three messages further
        raise ValueError("graphs in it lie too deep in each other")
    fields = list(_fields(message))
    below = _MESSAGES.get(kind, {})
    for number, value in fields:
        if number in below:
            _walk(below[number], _bytes(value), found, depth + 1)
    if kind == "tensor":
        _tensor(fields, found)
    elif kind == "function":
        found.own.update((domain, name) for domain in _texts(fields, 10) for name in _texts(fields, 1))
    elif kind == "node":
        _node(fields, found)


def _node(fields: list[tuple[int, int | memoryview]], found: _Found) -> None:
    (operator,) = _texts(fields, 4)[-1:] or [""]
    found.used.update((domain, operator) for domain in _texts(fields, 7))
    found.operators.add(operator)
    inputs, outputs = _texts(fields, 1), _texts(fields, 2)
    if operator in _SHAPES and len(inputs) > _SHAPES[operator]:
        found.shaped.append(inputs[_SHAPES[operator]])
    if operator == "Constant" and outputs:
        for number, attribute in fields:
            if number == 5:
                values = _constant(list(_fields(_bytes(attribute))))
                found.constants.setdefault(outputs[0], []).append(values)


def _constant(fields: list[tuple[int, int | memoryview]]) -> list[int]:
    """The whole numbers that an attribute of a Constant holds."""
    for number, value in fields:
        if number == 5:
            return _whole_numbers(list(_fields(_bytes(value))))
    return _packed(fields, 8) or [value for number, value in fields if number == 3 and isinstance(value, int)]


def _tensor(fields: list[tuple[int, int | memoryview]], found: _Found) -> None:
    if any(number == 13 or (number == 14 and value == _EXTERNAL) for number, value in fields):
        raise ValueError("it takes values from a file outside")
    values = math.prod(_packed(fields, 1))
    if values > _MOST_VALUES:
        raise ValueError(f"a constant in it claims {values:.3g} values")
    for name in _texts(fields, 8):
        found.constants.setdefault(name, []).append(_whole_numbers(fields))


def _whole_numbers(fields: list[tuple[int, int | memoryview]]) -> list[int]:
    """Those of a tensor; none where it holds others, or more than a shape has."""
    if (2, _INT64) not in fields:
        return []
    for number, value in fields:
        if number == 9 and not isinstance(value, int) and len(value) <= 8 * 64:
            return list(struct.unpack(f"<{len(value) // 8}q", value[: len(value) // 8 * 8]))
    return _packed(fields, 7)[:64]


def _packed(fields: list[tuple[int, int | memoryview]], wanted: int) -> list[int]:
    """Whole numbers of a repeated field, one by one or in one piece."""
    values: list[int] = []
    for number, value in fields:
        if number == wanted and isinstance(value, int):
            values.append(value)
        elif number == wanted and not isinstance(value, int):
            at = 0
            while at < len(value):
                one, at = _varint(value, at)
                values.append(one)
    return values


def _texts(fields: list[tuple[int, int | memoryview]], wanted: int) -> list[str]:
    return [str(_bytes(value), "utf-8") for number, value in fields if number == wanted]


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise IndexError("a number where a message should be")
    return value


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Numbers and values of the fields of a protocol-buffer message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise IndexError("a field of no known kind")
        if length > len(message) - at:
            raise IndexError("a field longer than its message")
        yield number, message[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise IndexError("a number without end")
