"""The state of an image that is not ready, as its mark says it; a ready image has none."""

from typing import Final

from msgspec import Struct

# What fills an image, before the nonce of the run that does.
IMPORTING: Final = "importing"
COPYING: Final = "copying"
_ROLLING_BACK = "rolling back to "


class Filling(Struct, frozen=True):
    """A run fills it, or was interrupted; the image was never whole. `word` says how it is filled."""

    word: str
    nonce: str

    def __str__(self) -> str:
        return f"{self.word} {self.nonce}".rstrip()


class RollingBack(Struct, frozen=True):
    """It is being rolled back: a mix of old and new until that ends."""

    snapshot: str

    def __str__(self) -> str:
        return f"{_ROLLING_BACK}{self.snapshot}"


class HalfMade(Struct, frozen=True):
    """A run was interrupted while it made the image; an intent shows it, no mark says it."""

    def __str__(self) -> str:
        return "half-made"


class OtherState(Struct, frozen=True):
    """What another client, or another version, wrote: it does not count as ready."""

    text: str

    def __str__(self) -> str:
        return self.text


ImageState = Filling | RollingBack | HalfMade | OtherState


def state_from(text: str) -> ImageState | None:
    """Return the state that a mark says, None for an image that is ready."""
    if not text:
        return None
    if text.startswith(_ROLLING_BACK):
        return RollingBack(text.removeprefix(_ROLLING_BACK))
    word, _, nonce = text.partition(" ")
    return Filling(word, nonce) if word in (IMPORTING, COPYING) else OtherState(text)
