"""Every command in a document runs, in order, with the shipped models."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup as Group

from benchmarks.servers import free_port
from tests.docs.blocks import DOCUMENTS, FENCE, ROOT, Block, at_free_ports, blocks, in_bash
from tests.page.conftest import service_at
from training import cli
from training.ablation import __main__ as ablation

RUNNABLE = {"sh", "bash", "python"}
SHOWN = {"text", "json", "toml", "yaml", "promql", "csv", ""}
LISTS = [ROOT / "training" / "README.md", ROOT / "benchmarks" / "README.md"]
PROGRAMS = r"make|python -m|anyview-train|anyview-serve"
WITH_COMMANDS = [
    document for document in DOCUMENTS if any(block.language in RUNNABLE for block in blocks(document))
]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    free = free_port()
    with service_at(free):
        yield free


def script(document: Path, folder: Path, port: int) -> str:
    """Joins all blocks of a document to one program: a block can use the files of those before."""
    ports = {"8000": port}
    lines = []
    for block in blocks(document):
        if block.language in RUNNABLE and not (block.skip or block.elsewhere):
            code = _command(block, at_free_ports(block.code, ports), folder)
            lines += [f"echo '--- {document.name}, line {block.line}' >&2", code]
    return "\n".join(lines)


def _command(block: Block, code: str, folder: Path) -> str:
    if block.language == "python":
        program = folder / f".line{block.line}.py"
        program.write_text(code)
        return f"python {shlex.quote(program.name)}"
    if block.fails:
        return f"if (\n{code}\n); then echo 'this was to be refused' >&2; exit 1; fi"
    return code


@pytest.mark.parametrize("document", WITH_COMMANDS, ids=lambda document: document.name)
def test_every_command_of_the_document_runs(document: Path, port: int, tmp_path: Path) -> None:
    in_bash(script(document, tmp_path, port), tmp_path)


def within_prose() -> list[str]:
    """Commands in sentences and lists, some of which take hours."""
    text = "\n".join(FENCE.sub("", document.read_text()) for document in [*DOCUMENTS, *LISTS])
    quoted = re.findall(rf"`((?:{PROGRAMS}) [^`]+)`", text)
    listed = re.findall(rf"^    ((?:{PROGRAMS}) .+?)(?:  .*)?$", text, re.MULTILINE)
    return sorted({" ".join(command.split()) for command in [*quoted, *listed]})  # prose breaks lines


@pytest.mark.parametrize("command", within_prose())
def test_a_command_within_prose_is_understood(command: str, tmp_path: Path) -> None:
    program, *words = shlex.split(command.removeprefix("python -m "))
    apps = {"anyview-train": cli.app, "training.ablation": ablation.app}
    if program not in apps:  # make prints what it would do
        in_bash(command if program == "make" else f"{command} --help", tmp_path)
        return
    group = typer.main.get_command(apps[program])
    assert isinstance(group, Group)
    with pytest.raises(typer.Exit):
        group.commands[words[0]].make_context(command, [*words[1:], "--help"])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_what_is_not_run_says_why(document: Path) -> None:
    for block in blocks(document):
        assert block.language in RUNNABLE | SHOWN, f"line {block.line}: who runs '{block.language}'?"
        assert block.skip is None or len(block.skip) > 10
        if block.elsewhere:
            assert f'elsewhere("{document.relative_to(ROOT)}"' in (ROOT / block.elsewhere).read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_no_line_of_prose_is_wider_than_120_letters(document: Path) -> None:
    prose = FENCE.sub("", document.read_text()).splitlines()
    assert [line for line in prose if len(line) > 120 and not line.startswith(("|", "!["))] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_link_within_the_project_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", document.read_text()):
        assert (document.parent / target).exists(), target


def test_what_follows_from_types_is_current() -> None:
    for name, text in runpy.run_path(str(ROOT / "docs" / "generate.py"))["contents"]().items():
        assert (ROOT / "docs" / name).read_text() == text, f"run: make docs ({name})"
