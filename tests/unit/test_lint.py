"""Lints: each is documented, and can be silenced for all disks or for one."""

from pathlib import Path

from virtrbd.model.lint import REASONS, Lint

DOCS = Path(__file__).parent.parent.parent / "docs/cache-and-discard.md"


def test_every_lint_is_documented_word_for_word() -> None:
    text = DOCS.read_text()
    assert [code for code, why in REASONS.items() if f"| `{code}` | {why} |" not in text] == []


def test_a_lint_is_silenced_for_all_or_for_one_disk() -> None:
    lint = Lint(code="cache-none", where="a.yaml:3", subject="disk vda", text="…")
    assert lint.is_silenced(["cache-none"])
    assert lint.is_silenced(["cache-none:vda"])
    assert not lint.is_silenced(["cache-none:vdb", "cache-unsafe"])
