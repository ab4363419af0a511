"""What the compiler of the wheel (mypyc) makes something else of than Python does: it stays out of compiled files."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOOK = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]
COMPILED: list[str] = HOOK["mypyc"]["include"]
WAITS = (ast.Await, ast.AsyncFor, ast.AsyncWith)


def waits(body: Iterable[ast.AST]) -> Iterator[int]:
    """The lines where these statements wait."""
    for node in body:
        if isinstance(node, WAITS):
            yield node.lineno
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from waits(ast.iter_child_nodes(node))


@pytest.mark.parametrize("file", COMPILED)
def test_nothing_waits_in_a_handler(file: str) -> None:
    """What ``sys.exc_info`` says there is not put back: every task after it has the exception, a bare ``raise`` in any
    of them raises it, and tasks that wait there at once raise each other's. So: out of the handler first, then wait,
    then ``raise``. ``asyncio.timeout`` waits for nothing as it is left."""
    found: list[int] = []
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Try):
            found += waits(node.finalbody)
            found += (line for handler in node.handlers for line in waits(handler.body))
        elif isinstance(node, ast.AsyncWith):
            managers = [ast.unparse(item.context_expr).partition("(")[0] for item in node.items]
            found += [node.lineno] * (managers != ["asyncio.timeout"])
    assert found == []
