"""Frames of an AVIF: its decoder allocates them by their own size, which the container may not state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from models_store.kinds import av1

CODED = b"av01"
"""Type of items and tracks that AV1 codes."""
MAX_UNITS = 10_000
"""Boxes in a box, and units of all streams, of which a grid has three or four for each of its pictures."""
MAX_TRACKS = 8
"""Tracks of an animation: colour, alpha, and few others."""
COLOUR_AND_ALPHA = 2
"""Frames of a picture, which are priced as one."""

Box = tuple[bytes, memoryview]
"""Type and content."""
Extent = tuple[int, int]
"""Start and length."""


def pixels(content: bytes) -> int:
    """Pixels that decoding the first picture takes at most: half of those of all frames of colour and alpha.

    Raises:
        ValueError: The frames cannot be read before they are decoded.
    """
    file = memoryview(content)
    boxes = [*_boxes(file)]
    items = _total(_items(file, _only(boxes, b"meta")[4:]))
    tracks = [box for kind, box in _boxes(_only(boxes, b"moov")) if kind == b"trak"]
    if len(tracks) > MAX_TRACKS:
        raise ValueError(f"it has more than the {MAX_TRACKS} tracks that an AVIF may have")
    total = max(items, _total(chain.from_iterable(_first_sample(file, track) for track in tracks)))
    if not total:
        raise ValueError("it has no frame of AV1")
    return -(-total // COLOUR_AND_ALPHA)


def _total(streams: Iterable[memoryview]) -> int:
    total = units = 0
    for stream in streams:
        for size in av1.frames(stream):
            total += size
            units += 1
            _check_count(units)
    return total


def _check_count(count: int) -> None:
    if count > MAX_UNITS:
        raise ValueError(f"it has more than the {MAX_UNITS} boxes or units that an AVIF may have")


def _boxes(content: memoryview) -> Iterator[Box]:
    """Yields each box (ISO/IEC 14496-12, section 4.2)."""
    start = count = 0
    while start + 8 <= len(content):
        size, kind, head = _number(content, start, 4), bytes(content[start + 4 : start + 8]), 8
        if size == 1:
            size, head = _number(content, start + 8, 8), 16
        elif size == 0:  # to the end
            size = len(content) - start
        if size < head:
            raise ValueError("a box is smaller than its header")
        yield kind, content[start + head : start + size]
        start += size
        count += 1
        _check_count(count)


def _number(content: memoryview, start: int, size: int) -> int:
    if start + size > len(content):
        raise ValueError("a box is incomplete")
    return int.from_bytes(content[start : start + size])


class _Numbers:
    """Numbers of a box with a version, one after the other."""

    def __init__(self, box: memoryview) -> None:
        self.version = _number(box, 0, 1)
        self._box, self._start = box, 4

    def next(self, size: int) -> int:
        """The next number, of so many bytes; 0 where it has none."""
        self._start += size
        return _number(self._box, self._start - size, size)

    @property
    def rest(self) -> memoryview:
        """The box behind the numbers read."""
        return self._box[self._start :]


def _only(boxes: Sequence[Box], kind: bytes) -> memoryview:
    """The content of the box of this type; empty if there is none."""
    contents = [content for name, content in boxes if name == kind]
    if len(contents) > 1:
        raise ValueError(f"it has {len(contents)} boxes {kind.decode()}")
    return contents[0] if contents else memoryview(b"")


# --- items (ISO/IEC 14496-12, section 8.11) ----------------------------------------------------------


def _items(content: memoryview, meta: memoryview) -> Iterator[memoryview]:
    """Yields the stream of each coded item."""
    boxes = [*_boxes(meta)]
    names, places = _only(boxes, b"iinf"), _only(boxes, b"iloc")
    if not names or not places:
        return
    coded = {*_coded_items(_Numbers(names))}
    sources = {0: content, 1: _only(boxes, b"idat")}
    for item, source, extents in _places(_Numbers(places)):
        if item in coded:
            yield _joined(sources.get(source, memoryview(b"")), extents)


def _coded_items(names: _Numbers) -> Iterator[int]:
    """Yields the numbers of coded items."""
    names.next(4 if names.version else 2)
    for kind, box in _boxes(names.rest):
        entry = _Numbers(box)
        if kind == b"infe" and entry.version in (2, 3):
            item = entry.next(2 if entry.version == 2 else 4)
            entry.next(2)  # protection
            if entry.rest[:4] == CODED:
                yield item


def _places(places: _Numbers) -> Iterator[tuple[int, int, list[Extent]]]:
    """Yields the number of each item, the index of its source, and its extents there."""
    sizes = places.next(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if places.version else 0
    wide = 4 if places.version == 2 else 2
    for number in range(places.next(wide)):
        _check_count(number)
        item = places.next(wide)
        source = places.next(2) & 15 if places.version else 0
        places.next(2)  # file: this one
        base, extents = places.next(base_size), []
        for index in range(places.next(2)):
            _check_count(index)
            places.next(index_size)
            extents.append((base + places.next(offset_size), places.next(length_size)))
        yield item, source, extents


def _joined(source: memoryview, extents: Sequence[Extent]) -> memoryview:
    """The stream of some extents, which may not repeat a part of the file many times."""
    pieces = [source[start : start + length] for start, length in extents]
    if not pieces or not all(pieces):
        raise ValueError("an item is empty")
    if len(pieces) == 1:
        return pieces[0]
    if sum(map(len, pieces)) > len(source):
        raise ValueError("the parts of an item overlap")
    return memoryview(b"".join(pieces))


# --- tracks (ISO/IEC 14496-12, section 8.3) ----------------------------------------------------------


def _first_sample(content: memoryview, track: memoryview) -> Iterator[memoryview]:
    """Yields the stream of the first sample of a track that AV1 codes."""
    for kind in (b"mdia", b"minf", b"stbl"):
        track = _only([*_boxes(track)], kind)
    boxes = [*_boxes(track)]
    kinds = _only(boxes, b"stsd")
    if not any(kind == CODED for kind, _ in _boxes(kinds[8:])):
        return
    places, place_size = _only(boxes, b"stco"), 4
    if not places:
        places, place_size = _only(boxes, b"co64"), 8
    start = _Numbers(places)
    sizes = _Numbers(_only(boxes, b"stsz"))
    start.next(4)
    size = sizes.next(4)  # of all samples, or 0
    if not size:
        sizes.next(4)
        size = sizes.next(4)
    yield _joined(content, [(start.next(place_size), size)])
