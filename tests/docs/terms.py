"""Finds coined words where the field has a term: ``python -m tests.docs.terms [PATH …]`` prints them.

Prose (Markdown, docstrings, comments, messages) is searched for phrases, code for the names of variables,
parameters, functions and classes. CONTRIBUTING.md explains the list.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

PHRASES = {
    r"numbers? that (?:is|are) none|is none of the numbers": "NaN or infinity; not finite",
    r"turns? of (?:the|its|their) (?:event )?loop": "event-loop iteration",
    r"(?:this|that|one|each|a|the same|the next) turn\b": "event-loop iteration",
    r"hangs? up|hung up|(?:client|caller)s? (?:that |who )?(?:has |have )?left": "client disconnected",
    r"at hand": "current",
    r"meanwhile": "in the meantime, or nothing",
    r"(?:goes|go|went|going) on\b": "resumes, continues",
    r"examinees?": "evaluated model",
    r"the reference library": "MultiVae",
    r"falls? free": "is idle",
    r"whoever|of whom|nobody|whatever|somebody|anybody": "the caller, the client, no task, any",
    r"\btold\b|\btells\b": "returns, logs, reports, shows",
    r"is wanted|are wanted|was wanted|were wanted|is asked of|are asked of": "is requested, is expected",
    r"(?:is|are|be) let in\b|lets? in\b": "admitted",
    r"stopwatch|\blaps?\b": "phase timer",
    r"by hand as it were|so to speak": "nothing",
}
NAMES = frozenset(
    {"found", "told", "asked", "wanted", "own", "known", "chosen", "these", "those", "said", "meanwhile"}
    | {"lap", "stopwatch", "examinee", "whoever"}
)
CLASSES = frozenset(
    {"Lifetimes", "Lifetime", "Together", "Turn", "Turns", "Fusing", "Fused", "Exchange", "Examinee"}
    | {"Pace", "Arrival", "Asked", "Wanted", "Origin"}
)
_PHRASE = {re.compile(rf"\b(?:{pattern})", re.I): term for pattern, term in PHRASES.items()}


def findings(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yields (line, coined word, the field's term) of a file."""
    text = path.read_text()
    if path.suffix != ".py":
        yield from _in_prose(enumerate(text.splitlines(), 1))
        return
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    prose = {tokenize.COMMENT, tokenize.STRING, vars(tokenize).get("FSTRING_MIDDLE")}
    for token in tokens:
        if token.type in prose:
            yield from _in_prose(enumerate(token.string.splitlines(), token.start[0]))
    yield from _in_names(ast.parse(text))


def _in_prose(lines: Iterator[tuple[int, str]] | enumerate[str]) -> Iterator[tuple[int, str, str]]:
    for number, line in lines:
        for pattern, term in _PHRASE.items():
            for match in pattern.finditer(line):
                yield number, match.group(), term


def _in_names(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) if name.strip("_") in NAMES:
                yield node.lineno, name, "a specific noun"
            case ast.Attribute(attr=name, ctx=ast.Store()) if name.strip("_") in NAMES:
                yield node.lineno, name, "a specific noun"
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name.strip("_") in NAMES:
                yield node.lineno, name, "a verb or a specific noun"
            case ast.ClassDef(name=name) if name.strip("_") in CLASSES:
                yield node.lineno, name, "the field's term"
            case _:
                pass


def checked_files(places: list[str]) -> list[Path]:
    """Returns the Python, Markdown, JavaScript and TOML files that git tracks below these places."""
    command = ["git", "ls-files", "--", *(places or ["."])]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()  # noqa: S603
    lists = {Path("tests/docs/terms.py"), Path("tests/docs/test_terms.py")}
    files = [Path(name) for name in listed if name.endswith((".py", ".md", ".js", ".toml", ".html"))]
    return [file for file in files if file not in lists and "bundles" not in file.parts]


def main(places: list[str]) -> int:
    """Prints each finding as ``file:line: word -> term``; returns how many there are."""
    count = 0
    for file in checked_files(places):
        for line, word, term in findings(file):
            print(f"{file}:{line}: '{word}' -> {term}")
            count += 1
    return count


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Find coined words where the field has a term.")
    parser.add_argument("places", nargs="*", metavar="PATH", help="file or folder; default: all")
    print(main(parser.parse_args().places))
