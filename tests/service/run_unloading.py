"""Prints the resident bytes before a model is loaded, with it, and after: ``run_unloading STORE NAME``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from service.models.catalog import Catalog
from service.settings import Settings


def resident_without(catalog: Catalog, name: str) -> int:
    """Unloads the model, which gives its memory back."""
    catalog.unload(name)
    return resident()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(store: str, name: str) -> None:
    catalog = Catalog(Settings(store=store))
    catalog.refresh()  # what the first model takes once and for all is not to be counted
    before = resident_without(catalog, name)
    catalog.load(name)
    between = resident()
    print(before, between, resident_without(catalog, name))
    catalog.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
