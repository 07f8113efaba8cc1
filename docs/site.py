"""Hooks of mkdocs: pages from outside docs/, and links that leave the site."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "training/README.md": "training.md",
    "benchmarks/README.md": "benchmarks.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
"""Page of the site by file of the repository."""
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")
PICTURE = re.compile(r"!\[([^\]]*)\]\((?!https?:)([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)[^\n]*$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of PAGES."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - mkdocs passes it
    """Points links at pages of the site; a link to a file that is no page becomes its text."""
    path = page.file.src_uri
    source = next((source for source, name in PAGES.items() if name == path), f"docs/{path}")

    def target(address: str) -> str | None:
        file = posixpath.normpath(posixpath.join(posixpath.dirname(source), address))
        name = PAGES.get(file, file.removeprefix("docs/") if file.startswith("docs/") else None)
        return name if name and files.get_file_from_path(name) else None

    def link(match: re.Match[str]) -> str:
        name = target(match[2])
        return f"[{match[1]}]({name}{match[3] or ''})" if name else match[1]

    def picture(match: re.Match[str]) -> str:
        name = target(match[2])
        return f"![{match[1]}]({name})" if name else match[1]

    # The words after the language are for the tests of the documents.
    return FENCE.sub(r"```\1", PICTURE.sub(picture, LINK.sub(link, markdown)))
