"""Sizes of the frames of an AV1 stream, by its headers (AV1 bitstream specification, section 5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

SEQUENCE_HEADER, FRAME_HEADER, FRAME = 1, 3, 6
"""Types of units: settings of the frames behind them, and the two that begin a frame."""
KEY_FRAME, SWITCH_FRAME = 0, 3
SELECTED = 2
"""A setting is stated by each frame."""
HEADER_BYTES = 1024
"""Bytes of a unit that may hold its header; the longest one has 500."""


class Sequence(NamedTuple):
    """Settings of the frames behind a sequence header."""

    pixels: int
    """Pixels of a frame that states no size."""
    most_pixels: int
    """Pixels of the largest size that a frame can state."""
    reduced: bool
    """Frames have short headers, which state no size."""
    time_bits: int
    screen_tools: int
    whole_vectors: int
    id_bits: int


class _Bits:
    """Numbers of the bits of a header; raises ``ValueError`` at its end."""

    def __init__(self, content: memoryview) -> None:
        self._content = int.from_bytes(content[:HEADER_BYTES])
        self._left = 8 * len(content[:HEADER_BYTES])

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("the header of an AV1 unit is incomplete")
        return self._content >> self._left & ((1 << count) - 1)

    def skip_variable(self) -> None:
        """Skips a number that begins with as many zeros as it has further bits."""
        zeros = 0
        while not self.read(1):
            zeros += 1
        self.read(zeros)


def frames(stream: memoryview) -> Iterator[int]:
    """Yields for each unit of a stream the most pixels of the frame that it begins, or 0.

    Raises:
        ValueError: A frame comes before the settings, or a header is incomplete.
    """
    sequence = None
    for kind, unit in _units(stream):
        if kind == SEQUENCE_HEADER:
            sequence = _sequence(_Bits(unit))
            yield 0
        elif kind not in (FRAME_HEADER, FRAME):
            yield 0
        elif sequence is None:
            raise ValueError("a frame of AV1 comes before the sequence header")
        else:
            yield sequence.most_pixels if _states_size(sequence, _Bits(unit)) else sequence.pixels


def _units(stream: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yields the type and the content of each unit."""
    start = 0
    while start < len(stream):
        head = stream[start]
        start += 2 if head & 4 else 1  # a second byte states the layer
        size = len(stream) - start
        if head & 2:
            size, start = _size(stream, start)
        yield head >> 3 & 15, stream[start : start + size]
        start += size


def _size(stream: memoryview, start: int) -> tuple[int, int]:
    """The number of groups of seven bits, the lowest first, and where it ends."""
    size = 0
    for index, byte in enumerate(stream[start : start + 8]):
        size |= (byte & 127) << 7 * index
        if byte < 128:
            return size, start + index + 1
    raise ValueError("the size of an AV1 unit is incomplete")


def _sequence(bits: _Bits) -> Sequence:
    bits.read(4)  # profile, still picture
    reduced = bool(bits.read(1))
    time_bits = 0
    if reduced:
        bits.read(5)  # level
    else:
        time_bits = _operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    pixels = (bits.read(width_bits) + 1) * (bits.read(height_bits) + 1)
    id_bits, screen_tools, whole_vectors = 0, SELECTED, SELECTED
    if not reduced and bits.read(1):
        id_bits = bits.read(4) + bits.read(3) + 3
    bits.read(3)  # block size and filters
    if not reduced:
        bits.read(4)  # kinds of prediction
        if bits.read(1):
            bits.read(2)  # order of frames
        screen_tools = SELECTED if bits.read(1) else bits.read(1)
        if screen_tools:
            whole_vectors = SELECTED if bits.read(1) else bits.read(1)
    most = 1 << width_bits + height_bits
    return Sequence(pixels, most, reduced, time_bits, screen_tools, whole_vectors, id_bits)


def _operating_points(bits: _Bits) -> int:
    """Skips timing and operating points; returns the bits of the time that each shown frame states."""
    time_bits = delay_bits = 0
    if bits.read(1):  # timing
        bits.read(64)
        equal = bits.read(1)
        if equal:
            bits.skip_variable()
        if bits.read(1):  # model of the decoder
            delay_bits = bits.read(5) + 1
            bits.read(37)
            time_bits = bits.read(5) + 1
            time_bits = 0 if equal else time_bits
    delayed = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        if delay_bits and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if delayed and bits.read(1):
            bits.read(4)
    return time_bits


def _states_size(sequence: Sequence, bits: _Bits) -> bool:
    """Whether a frame has another size than the sequence header states."""
    if sequence.reduced or bits.read(1):  # or the frame is decoded already
        return False
    kind, shown = bits.read(2), bits.read(1)
    bits.read(sequence.time_bits if shown else 1)
    if kind != SWITCH_FRAME and not (kind == KEY_FRAME and shown):
        bits.read(1)  # resilience to errors
    bits.read(1)  # probabilities
    screen_tools = bits.read(1) if sequence.screen_tools == SELECTED else sequence.screen_tools
    if screen_tools and sequence.whole_vectors == SELECTED:
        bits.read(1)
    bits.read(sequence.id_bits)
    return kind == SWITCH_FRAME or bool(bits.read(1))
