"""Every small change that can be made to a module: comparisons, arithmetic, conditions, constants, returns, lost statements.

What decides nothing is left alone: docstrings, annotations, sentences, what an exception says, the keywords of a decorator.
"""

from __future__ import annotations

import ast
import copy
from dataclasses import dataclass

WINDOW = 60  # characters shown on each side of a change
SWAPS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.And: ast.Or, ast.Or: ast.And,
    ast.Break: ast.Continue, ast.Continue: ast.Break,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change of one module.

    Attributes:
        key: Function, statement before and after: stays the same when lines move.
        line: Where the change is; 0: at import.
        node, choice: Which node of `ast.walk`, and which of its changes.
    """

    key: str
    line: int
    node: int
    choice: int


def mutants(source: str) -> list[Mutant]:
    """All of a module's, in the order of `ast.walk`."""
    tree = ast.parse(source)
    hidden, homes, places = _hidden(tree), _homes(tree), _places(tree)
    found, seen = [], {}
    for number, node in enumerate(list(ast.walk(tree))):
        for choice, new in enumerate([] if node in hidden else _changes(node)):
            function, statement = homes[node]
            before = _head(statement)
            _put(places[node], new)
            key = f"{function or 'module'}: {_told(before, _head(new if node is statement else statement))}"
            _put(places[node], node)
            seen[key] = seen.get(key, 0) + 1
            line = (getattr(node, "lineno", 0) or statement.lineno) if function else 0
            found.append(Mutant(key if seen[key] == 1 else f"{key} #{seen[key]}", line, number, choice))
    return found


def mutated(source: str, mutant: Mutant) -> ast.Module:
    """The module with that change."""
    tree = ast.parse(source)
    node = next(node for number, node in enumerate(ast.walk(tree)) if number == mutant.node)
    _put(_places(tree)[node], _changes(node)[mutant.choice])
    return ast.fix_missing_locations(tree)


Place = tuple[ast.AST, str, int | None]


def _places(tree: ast.Module) -> dict[ast.AST, Place]:
    """Where every node hangs: on whom, in which field, at which place of a list."""
    found: dict[ast.AST, Place] = {}
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            several = value if isinstance(value, list) else [value]
            for index, node in enumerate(several):
                if isinstance(node, ast.AST):
                    found[node] = (parent, name, index if several is value else None)
    return found


def _put(place: Place, node: ast.AST) -> None:
    parent, name, index = place
    if index is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[index] = node


def _changes(node: ast.AST) -> list[ast.AST]:
    """What may stand in its place."""
    made: list[ast.AST] = []
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            other = copy.deepcopy(node)
            other.ops[place] = SWAPS[type(operator)]()
            made.append(other)
    elif isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in SWAPS:
        other = copy.deepcopy(node)
        other.op = SWAPS[type(node.op)]()
        made.append(other)
    elif isinstance(node, ast.UnaryOp):
        made.append(copy.deepcopy(node.operand))
    elif isinstance(node, ast.If | ast.While | ast.IfExp) and not isinstance(node.test, ast.Compare | ast.UnaryOp):
        other = copy.deepcopy(node)
        other.test = ast.UnaryOp(ast.Not(), other.test)
        made.append(other)
    elif isinstance(node, ast.Constant):
        made += _constants(node.value)
    elif isinstance(node, ast.Return) and not (node.value is None or isinstance(node.value, ast.Constant)):
        made.append(ast.Return(ast.Constant(None)))
    elif isinstance(node, ast.Break | ast.Continue):
        made.append(SWAPS[type(node)]())
    if isinstance(node, ast.AugAssign | ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        made.append(ast.Pass())
    return [ast.copy_location(each, node) for each in made]


def _constants(value: object) -> list[ast.AST]:
    if isinstance(value, bool):
        return [ast.Constant(not value)]
    if isinstance(value, int | float):
        return [ast.Constant(value + 1)]
    return [ast.Constant(f"{value}?")] if isinstance(value, str) and " " not in value else []


def _hidden(tree: ast.Module) -> set[ast.AST]:
    """Nodes below something that decides nothing."""
    roots: list[ast.AST | None] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            roots.append(node)
        elif isinstance(node, ast.Raise):
            roots += [node.exc, node.cause]
        elif isinstance(node, ast.AnnAssign | ast.arg):
            roots.append(node.annotation)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            roots.append(node)
        elif isinstance(node, ast.JoinedStr):
            roots += [value for value in node.values if isinstance(value, ast.Constant)]
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            roots += [*node.decorator_list, getattr(node, "returns", None)]
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in {"TypeVar", "cast"}:
            roots += node.args
    return {below for root in roots if root is not None for below in ast.walk(root)}


def _homes(tree: ast.Module) -> dict[ast.AST, tuple[str, ast.stmt]]:
    """Of every node: the dotted name of its function and its nearest statement. Defaults belong to the module."""
    homes: dict[ast.AST, tuple[str, ast.stmt]] = {}

    def visit(node: ast.AST, name: str, statement: ast.stmt | None, inside: bool) -> None:
        if isinstance(node, ast.stmt):
            statement = node
        if statement is not None:
            homes[node] = (name if inside else "", statement)
        own = f"{name}.{node.name}".strip(".") if isinstance(node, ast.FunctionDef | ast.ClassDef) else name
        for field, value in ast.iter_fields(node):
            body = isinstance(node, ast.FunctionDef) and field == "body"
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    visit(child, own if body or not isinstance(node, ast.FunctionDef) else name, statement, inside or body)

    visit(tree, "", None, inside=False)
    return homes


def _told(before: str, after: str) -> str:
    """A statement before and after, cut to what differs."""
    start = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after)))
    first = max(0, start - WINDOW)
    return " -> ".join(f"`{text[first : start + WINDOW]}`" for text in (before, after))


def _head(node: ast.AST) -> str:
    """A statement on one line, without what it holds."""
    bare = copy.copy(node)
    for field in ("body", "orelse", "handlers", "finalbody"):
        if isinstance(getattr(bare, field, None), list):
            setattr(bare, field, [ast.Pass()] if field == "body" else [])
    return ast.unparse(bare).splitlines()[-2 if getattr(bare, "body", None) else -1].strip()
