"""The check of virtrbd's English: phrases that its documents, messages, docstrings and comments avoid.

Prints `file:line: 'phrase': write: what to write instead` for each, and exits with 1 where there is any.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent.parent

# A phrase (a space matches any blanks and line breaks), and what to write instead.
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
    (r"\b(?:go|goes|going|went) along\b", "go with it, is removed too"),
    (r"\b(?:lets?|letting) (?:\w+ )?go\b", "release"),
    (r"\bparts (?:a|the|it|them)\b", "flattens"),
    (r"\bno more(?! than\b)", "no longer"),
    (r"\bmanieth\b", "index"),
)

# The uses that are right, by file and the words around the phrase.
ALLOWED = (
    ("docs/facts.md", "No more available PCI slots"),  # libvirt's own message
    ("virtrbd/engine/hotplug.py", "No more available PCI slots"),
    ("docs/reconcile.md", "reconcile/told"),  # a file's name
)


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


def texts(code: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of messages, docstrings and comments: of string literals that have a space.

    What an f-string fills in is `{}`.
    """
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    tree = ast.parse(code)
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values=values):
                filled = (part.value if isinstance(part, ast.Constant) else "{}" for part in values)
                yield node.lineno, "".join(map(str, filled))
            case ast.Constant(value=str(text)) if " " in text and id(node) not in parts:
                yield node.lineno, text


def check(top: Path) -> list[Found]:
    """Return what is found in README, CHANGELOG, docs and the code of a checkout."""
    found: list[Found] = []
    for path in [top / "README.md", top / "CHANGELOG.md", *sorted((top / "docs").glob("*.md"))]:
        found += find(str(path.relative_to(top)), 1, path.read_text())
    for path in sorted((top / "virtrbd").rglob("*.py")):
        for line, text in texts(path.read_text()):
            found += find(str(path.relative_to(top)), line, text)
    return found


def main() -> int:
    found = check(CHECKOUT)
    for each in found:
        print(each)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
