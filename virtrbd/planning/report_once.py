"""Report once: which findings a cron run has not reported yet. Pure."""

from collections.abc import Container, Iterable, Mapping

from msgspec import Struct

from virtrbd.errors import ExitCode
from virtrbd.model.plan import Finding, Outcome, Result


class Message(Struct, frozen=True, kw_only=True):
    """A message to be reported once. `key` identifies its subject, `text` is the message."""

    key: str
    text: str


def message_of(item: Finding | Outcome | str) -> Message:
    """Return the message of a finding, of an outcome that waits for the operator, or of a problem in a spec."""
    match item:
        case Finding():
            return Message(key=f"{item.domain}|{item.kind}|{item.subject}", text=str(item))
        case Outcome():
            return Message(key=f"{item.domain}|{item.result}|{item.text}", text=f"{item.text}: {item.detail}")
        case _:
            return Message(key=f"|problem|{item}", text=item)


def is_reported_once(outcome: Outcome) -> bool:
    """Whether an outcome stays the same until the operator acts, so that reporting it every time is noise."""
    is_spec = outcome.result is Result.FAILED and outcome.exit_code is ExitCode.SPEC and not outcome.detail
    return outcome.result in (Result.BLOCKED, Result.PENDING) or is_spec


def news(
    messages: Iterable[Message], reported: Mapping[str, str], about: Container[str] | None = None
) -> tuple[frozenset[str], dict[str, str]]:
    """Return the keys of what is new or changed, and what counts as reported from now on: what is gone may come again.

    `about` are the domains that the run looked at, None for all: what was reported of others stays reported.
    """
    now = {message.key: message.text for message in messages}
    fresh = frozenset(key for key, text in now.items() if reported.get(key) != text)
    kept = {key: text for key, text in reported.items() if about is not None and key.split("|")[0] not in about}
    return fresh, kept | now
