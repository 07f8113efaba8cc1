"""Reads fields of protobuf messages before a library parses them: their sizes, and references of ONNX files.

A tensor of an ONNX file may name another file that holds its numbers. Only the fields on the path to a tensor
are read, so that serving needs no ONNX package.

References:
    | onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
    | https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

# Message -> field number -> message of that field, as in onnx.proto.
CHILDREN: Mapping[str, Mapping[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "Sparse", 23: "Sparse"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
}
MOST_BITS = 70
"""Bits of a number in a message: ten bytes of seven."""
EXTERNAL_DATA = 13
"""Field of a Tensor that names the location of its numbers."""


def has_external_data(content: bytes) -> bool:
    """Whether any tensor of the model keeps its numbers in another file.

    Raises:
        ValueError: The bytes are no protobuf message.
    """
    waiting = [("Model", memoryview(content))]
    while waiting:
        message, data = waiting.pop()
        for number, value in fields(data):
            if message == "Tensor" and number == EXTERNAL_DATA:
                return True
            child = CHILDREN.get(message, {}).get(number)
            if child is not None:
                waiting.append((child, value))
    return False


def fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the fields of one message, with no content where they are not length-delimited.

    Raises:
        ValueError: The bytes are no protobuf message.
    """
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        if not 8 <= key < 2**32:  # a runtime would truncate it to 32 bits and read another field
            raise ValueError(f"impossible field number {key >> 3}")
        start = stop = position
        match key & 7:
            case 0:
                _, position = _varint(data, position)
            case 1:
                position += 8
            case 5:
                position += 4
            case 2:
                size, start = _varint(data, position)
                stop = position = start + size
            case kind:
                raise ValueError(f"unknown wire type {kind}")
        yield key >> 3, data[start:stop]
    if position != len(data):
        raise ValueError("a field ends beyond its message")


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data) and shift < MOST_BITS:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, position
    raise ValueError("a number ends beyond its message, or has more than 10 bytes")
