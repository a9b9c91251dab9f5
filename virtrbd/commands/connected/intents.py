"""The intent of what a verb on images made, which is kept until its answer is out."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from virtrbd.ending import EndedError
from virtrbd.model.image import ImageRef

if TYPE_CHECKING:
    from virtrbd.local.state_dir import StateDir

# What an answer says of an image that an earlier run of the same made, and was ended before it could say so.
ALREADY_THERE = "already there, "


@contextmanager
def until_answered(state: "StateDir", ref: ImageRef) -> Iterator[None]:
    """Forget the intent of what was made when its answer is out, or cannot be written.

    Only a run that is ended before leaves it: run again, it says that there is nothing left to do.
    """
    try:
        yield
    except EndedError:
        raise
    except BaseException:
        state.drop_intent(ref)
        raise
    state.drop_intent(ref)
