"""libvirt's hook, for people and for programs."""

from typing import Any

from virtrbd.hook.installed import Hook, State


def is_at_work(hook: Hook) -> bool:
    """Whether libvirt's starts pass the gate as this virtrbd would have them do."""
    return hook.state is State.INSTALLED and not hook.reload


def hook_lines(hook: Hook) -> list[str]:
    """Return the hook for people: what it is, and the way out."""
    match hook.state:
        case State.ABSENT:
            return [f"{hook.file}: not installed; `virtrbd hook install` lets starts by virsh pass the start gate"]
        case State.FOREIGN:
            return [f"{hook.file}: is not virtrbd's, so starts by virsh pass no gate; move it to another name"]
        case State.DIFFERS:
            reasons = ", ".join(hook.differences)
            lines = [f"{hook.file}: not as it should be: {reasons}; `virtrbd hook install` writes it again"]
        case State.INSTALLED:
            lines = [f"{hook.file}: installed, of virtrbd {hook.version}"]
    if hook.reload:
        lines.append(
            f"libvirt started before it was installed, and has not called it yet; `{hook.reload}` lets it look again, "
            f"and no guest is stopped"
        )
    return lines


def hook_data(hook: Hook) -> dict[str, Any]:
    """Return the hook for programs; `known_to_libvirt` is null where no libvirt runs."""
    return {
        "file": hook.file,
        "state": hook.state.value,
        "version": hook.version or None,
        "differences": list(hook.differences),
        "known_to_libvirt": None if hook.reload is None else not hook.reload,
    }
