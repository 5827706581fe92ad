"""Mutants of what mutmut leaves alone: tables and numbers of a module, decorated functions, functions called at import.

mutmut switches between variants of a function when it is called. A table is made when its module is imported, a
property is decorated then, and a guard that another function returns was made then: no switch reaches them. Here each
mutant is a source of its own, read by a fresh interpreter.
"""

from __future__ import annotations

import ast
import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

AT_IMPORT: Final = frozenset({"_refusing", "_counting", "_each"})
"""Undecorated functions that are called while their module is imported."""
IGNORED: Final = frozenset({"__all__", "S", "T", "Guard", "Verdict"})
"""Names that only type checkers read."""
COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One changed source."""

    name: str
    """File, what is changed and how: stable while the place is."""
    source: str


def mutants(source: str, file: str) -> Iterator[Mutant]:
    """Yield every mutant of one module."""
    tree = ast.parse(source)
    for owner, part in _parts(tree):
        for number, node in enumerate(ast.walk(part)):
            for how in _changes(node):
                changed = copy.deepcopy(tree)
                twin = dict(_parts(changed))[owner]
                _apply(list(ast.walk(twin))[number], how)
                text = ast.unparse(ast.fix_missing_locations(changed))
                if text != ast.unparse(tree):
                    yield Mutant(name=f"{file}:{owner}:{_shown(node)}:{how}", source=text)


def _parts(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Yield what mutmut does not reach, by name."""
    for node in tree.body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if name not in IGNORED:
                yield name, value
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name not in IGNORED:
                yield name, value
            case ast.FunctionDef(name=name) if name in AT_IMPORT:
                yield from _body(name, node)
            case ast.ClassDef(name=name):
                yield from _of_class(name, node)
            case _:
                pass  # imports, and functions that mutmut reaches


def _of_class(name: str, node: ast.ClassDef) -> Iterator[tuple[str, ast.AST]]:
    for member in node.body:
        match member:
            case ast.AnnAssign(target=ast.Name(id=field), value=ast.expr() as value):
                yield f"{name}.{field}", value
            case ast.FunctionDef(name=method, decorator_list=[_, *_]):
                yield from _body(f"{name}.{method}", member)
            case _:
                pass  # docstrings, and methods that mutmut reaches


def _body(name: str, node: ast.FunctionDef) -> Iterator[tuple[str, ast.AST]]:
    for number, statement in enumerate(node.body):
        if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            yield f"{name}[{number}]", statement


def _changes(node: ast.AST) -> Iterator[str]:  # noqa: C901 - a table, one case a kind of node
    match node:
        case ast.Constant(value=bool()):
            yield "flip"
        case ast.Constant(value=int()):
            yield from ("more", "less")
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
            yield from (f"drop {number}" for number in range(len(parts)))
            if len(parts) > 2 and all(isinstance(part, ast.Tuple) for part in parts):
                yield from (f"swap {number}" for number in range(len(parts) - 1))
        case ast.Dict(keys=keys):
            yield from (f"drop {number}" for number in range(len(keys)))
        case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
            yield "compare"
        case ast.BoolOp():
            yield "and/or"
        case ast.UnaryOp(op=ast.Not()):
            yield "not"
        case ast.BinOp(op=op) if type(op) in OPERATORS:
            yield "operator"
        case ast.IfExp():
            yield "turn"
        case ast.Call(func=ast.Name(id="min" | "max")):
            yield "min/max"
        case _:
            pass


def _apply(node: ast.AST, how: str) -> None:  # noqa: C901 - the same table
    kind, _, place = how.partition(" ")
    match node, kind:
        case ast.Constant(value=bool(value)), "flip":
            node.value = not value
        case ast.Constant(value=int(value)), "more" | "less":
            node.value = value + (1 if kind == "more" else -1)
        case ast.Tuple() | ast.List() | ast.Set(), "drop":
            del node.elts[int(place)]
        case ast.Tuple() | ast.List(), "swap":
            first = int(place)
            node.elts[first : first + 2] = node.elts[first + 1], node.elts[first]
        case ast.Dict(), "drop":
            del node.keys[int(place)], node.values[int(place)]
        case ast.Compare(), _:
            node.ops = [COMPARISONS[type(node.ops[0])]()]
        case ast.BoolOp(), _:
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        case ast.UnaryOp(), _:
            node.op, node.operand = ast.Not(), ast.UnaryOp(op=ast.Not(), operand=node.operand)
        case ast.BinOp(), _:
            node.op = OPERATORS[type(node.op)]()
        case ast.IfExp(), _:
            node.body, node.orelse = node.orelse, node.body
        case ast.Call(func=ast.Name() as function), _:
            function.id = "max" if function.id == "min" else "min"
        case _:
            raise ValueError(how)


def _shown(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 70 else f"{text[:67]}..."
