"""Images and pools that could not be read, as every list of images shows them."""

from collections.abc import Mapping, Sequence
from typing import Any

from virtrbd.commands.frame.run import Run
from virtrbd.model.failure import Failure
from virtrbd.model.image_details import UnreadImage


def show_unread(run: Run, unread: Sequence[UnreadImage]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the images for programs and as lines; the run's exit code and the log say why each could not be read."""
    for image in unread:
        run.end(image.failure.exit_code)
        for line in image.failure.trace:
            run.say(f"{image.ref}: trace: {line}")
    data = [
        {
            "name": str(image.ref),
            "id": image.image_id or None,
            "error": image.failure.text,
            "exit_code": int(image.failure.exit_code),
        }
        for image in unread
    ]
    return data, [f"{image.ref}: cannot be read: {image.failure.text}" for image in unread]


def show_unread_pools(run: Run, unread: Mapping[str, Failure]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the pools whose images could not be listed, for programs and as lines, as `show_unread` does."""
    for room, failure in unread.items():
        run.end(failure.exit_code)
        for line in failure.trace:
            run.say(f"{room}: trace: {line}")
    data = [
        {"name": room, "error": failure.text, "exit_code": int(failure.exit_code)} for room, failure in unread.items()
    ]
    return data, [f"{room}: cannot be read: {failure.text}" for room, failure in unread.items()]
