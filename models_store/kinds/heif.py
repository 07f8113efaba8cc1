"""Pictures in HEIF containers, the ``.heic`` of phones: Pillow reads them with the extra ``heic``."""

from __future__ import annotations

try:
    import pillow_heif
except ImportError:  # the extra is not installed
    FORMATS: tuple[str, ...] = ()
    SUFFIXES: tuple[str, ...] = ()
else:
    pillow_heif.register_heif_opener()
    FORMATS = ("HEIF",)
    SUFFIXES = (".heic", ".heif", ".hif")

REMEDY = "save it as .jpg or .png, or install anyview[heic]"
BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""Brands of pictures coded by HEVC (ISO/IEC 23008-12, annex B), and of those of any coding."""


def is_unread(content: bytes) -> bool:
    """Whether a file is a picture that the missing extra would read."""
    return not FORMATS and content[4:8] == b"ftyp" and content[8:12] in BRANDS
