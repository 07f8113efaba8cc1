"""First words of headers, by which columns belong together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_SEPARATOR = re.compile(r"[_.:/ ]")


def first_word(label: str) -> str | None:
    """The word before the first separator, such as ``blood`` of ``blood_iron``; None without a separator."""
    parts = _SEPARATOR.split(label, maxsplit=1)
    return parts[0] if len(parts) > 1 and parts[0] else None


def shared_words(labels: Sequence[str]) -> list[str | None]:
    """The first word of each label where another one begins with it too, else None."""
    words = [first_word(label) for label in labels]
    uses = Counter(words)
    return [word if word is not None and uses[word] > 1 else None for word in words]
