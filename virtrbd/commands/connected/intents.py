"""The intent of what a verb on images made, which is kept until its answer is out."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from virtrbd.ending import EndedError
from virtrbd.model.image import ImageRef

if TYPE_CHECKING:
    from virtrbd.local.state_dir import StateDir

# For an image that an earlier run of the same command made, which ended before it could report that.
ALREADY_THERE = "already there, "


@contextmanager
def until_answered(state: "StateDir", ref: ImageRef) -> Iterator[None]:
    """Forget the intent of what was made when its answer is out, or cannot be written.

    Only a run that ends before leaves it: run again, the verb reports that there is nothing left to do.
    """
    try:
        yield
    except EndedError:
        raise
    except BaseException:
        state.drop_intent(ref)
        raise
    state.drop_intent(ref)
