"""Lints: what a person should know of a value that works all the same."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Lint:
    """One remark. `where` is `file:line`, `subject` what it is about (`disk vda`), `code` what silences it."""

    code: str
    where: str
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.subject}: {self.text} (silence: [{self.code}])"
