"""What the model says of its keys, read from its source by whoever asks: at every start it would cost 35 ms."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from typing import TYPE_CHECKING

from gatewayd.config import model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel


def description(section: type[BaseModel], key: str) -> str:
    """Return the docstring below a key of a section; empty where it has none."""
    return _descriptions().get((section.__name__, key), "")


@cache
def _descriptions() -> Mapping[tuple[str, str], str]:
    tree = ast.parse(inspect.getsource(model))
    return {
        (node.name, key): inspect.cleandoc(text)
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for key, text in _documented(node)
    }


def _documented(section: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for statement, below in zip(section.body, section.body[1:], strict=False):
        match statement, below:
            case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
                yield key, text
            case _:
                pass
