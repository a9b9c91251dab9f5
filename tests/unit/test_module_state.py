"""A run's state is in its `Run` and its `Host`: what a module holds is the process's, and there is little of it."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent.parent / "virtrbd"
# Signals, calls that were abandoned, what replaces `__import__`, the process of a site's templates.
OF_THE_PROCESS = {"deadline._process", "ending._came", "ending._here", "lazily._lock", "domainxml.renderer._renderer"}


def state_of(source: str) -> Iterator[str]:
    """Yield the variables of a module: by convention their names are in lower case, those of constants are not."""
    tree = ast.parse(source)
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names = (each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name))
        yield from (name for name in names if name.islower() and not name.startswith("__"))
    yield from (f"global {name}" for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names)


def test_modules_hold_no_state_but_the_processs() -> None:
    files = {".".join(file.relative_to(PACKAGE).with_suffix("").parts): file for file in PACKAGE.rglob("*.py")}
    found = {f"{module}.{name}" for module, file in files.items() for name in state_of(file.read_text())}
    assert found == OF_THE_PROCESS


def test_what_counts_as_state() -> None:
    source = "_done: list[str] = []\nsaid, LIMIT = {}, 3\n__all__ = ['x']\ndef f():\n    global said\n    inner = 1\n"
    assert list(state_of(source)) == ["_done", "said", "global said"]
