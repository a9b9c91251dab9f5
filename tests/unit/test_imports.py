"""Imports are on top of their files: one inside a function is for a rare branch, or for what may be missing."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent.parent / "virtrbd"
MOST = 60


def inner_imports(file: Path) -> Iterator[str]:
    """Yield the place of each import that is inside a function."""
    functions = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)]
    inner = [node for function in functions for node in ast.walk(function)]
    for line in sorted({node.lineno for node in inner if isinstance(node, ast.Import | ast.ImportFrom)}):
        yield f"{file.relative_to(PACKAGE)}:{line}"


def test_few_imports_are_inside_functions() -> None:
    found = [place for file in sorted(PACKAGE.rglob("*.py")) for place in inner_imports(file)]
    assert len(found) <= MOST, f"{len(found)} imports are inside functions, more than {MOST}: {', '.join(found)}"


def test_what_waits_is_only_called() -> None:
    """It cannot be caught, compared or looked into before it is imported, as all that waits in a verb's file is."""
    wrong = []
    for file in sorted(PACKAGE.rglob("*.py")):
        if file.parent not in (PACKAGE / "commands", PACKAGE / "commands/hook", PACKAGE / "commands/image"):
            tree = ast.parse(file.read_text())
            wrong += [f"{file.relative_to(PACKAGE)}: {name}" for name in sorted(looked_into(tree) & waiting(tree))]
    assert wrong == []


def waiting(tree: ast.Module) -> set[str]:
    """Return the names that blocks on top of a module import."""
    imports = [node for block in tree.body if isinstance(block, ast.With) for node in block.body]
    return {name.asname or name.name for node in imports if isinstance(node, ast.ImportFrom) for name in node.names}


def looked_into(tree: ast.Module) -> set[str]:
    """Return the names of which more is asked than to be called."""
    parts: list[ast.AST | None] = []
    for node in ast.walk(tree):
        match node:
            case ast.Attribute():
                parts.append(node.value)
            case ast.ExceptHandler():
                parts.append(node.type)
            case ast.MatchClass():
                parts.append(node.cls)
            case ast.ClassDef():
                parts += node.bases
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass")):
                parts += ast.walk(node.args[1])
            case _:
                pass
    return {part.id for part in parts if isinstance(part, ast.Name)}
