#!/usr/bin/python3
"""The check of virtrbd's English: phrases that README, docs, CHANGELOG, messages and docstrings do not use.

Prints `file:line: phrase: what to write instead` for each and exits 1. `--comments` reads the comments of virtrbd too.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent.parent

BANNED = (
    (r"(?<!there\s)\b(?:is|are|was|were|be|becomes?|became) no (?!longer\b)\w+", "is not a …"),
    (r"\bnames? no\b", "does not name a …"),
    (r"\b(?:told|tells?|telling)\b", "report, say, show; distinguish"),
    (
        r"\b(?:somebody|nobody|anybody|everybody|someone|whoever|whomever)\b",
        "the actor by name: another client, the operator",
    ),
    (r"\b(?:of|is|are) ours\b", "virtrbd's, an owned image"),
    (r"\b(?:stands?|stood)\b", "is, is written, applies"),
    (r"\b(?:such a one|none such|the like)\b", "repeat the noun"),
    (r"\banew\b", "again"),
    (r"\ball the same\b", "still"),
    (r"\bat hand\b", "this host's, available"),
    (r"\b(?:goes?|going|went) along\b", "go with it, is removed too"),
    (r"\b(?:lets?|letting) (?:\w+ )?go\b", "release"),
    (r"\bparts (?:a|the|it|them)\b", "flattens"),
    (r"\bno more(?! than\b)", "no longer"),
    (r"\bmanieth\b", "index"),
)

# Uses that are right, by file and the words around the phrase.
ALLOWED: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    file: str
    line: int
    phrase: str
    instead: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.phrase!r}: write: {self.instead}"


def find(file: str, line: int, text: str) -> Iterator[Found]:
    """Yield the banned phrases of a text that begins in this line of the file."""
    for pattern, instead in BANNED:
        for match in re.finditer(pattern.replace(" ", r"\s+"), text, re.IGNORECASE):
            if not is_allowed(file, text, match):
                yield Found(
                    file=file,
                    line=line + text.count("\n", 0, match.start()),
                    phrase=" ".join(match[0].split()),
                    instead=instead,
                )


def is_allowed(file: str, text: str, match: re.Match[str]) -> bool:
    around = " ".join(text[max(0, match.start() - 80) : match.end() + 80].split())
    phrase = " ".join(match[0].split())
    return any(file == name and phrase in words and words in around for name, words in ALLOWED)


def strings(code: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of every string literal, docstrings too; what an f-string fills in is `{}`."""
    tree = ast.parse(code)
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            filled = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield node.lineno, "".join(str(part) for part in filled)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.lineno, node.value


def comments(code: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def check(top: Path, *, with_comments: bool = False) -> list[Found]:
    found: list[Found] = []
    for path in [top / "README.md", top / "CHANGELOG.md", *sorted((top / "docs").glob("*.md"))]:
        found += find(str(path.relative_to(top)), 1, path.read_text())
    for path in sorted((top / "virtrbd").rglob("*.py")):
        code = path.read_text()
        for line, text in [*strings(code), *(comments(code) if with_comments else ())]:
            found += find(str(path.relative_to(top)), line, text)
    return found


def main(arguments: Sequence[str]) -> int:
    found = check(CHECKOUT, with_comments="--comments" in arguments)
    for each in found:
        print(each)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
