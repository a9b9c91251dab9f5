"""Images that two guests have open at once: started past the gate, on two hosts. Pure.

RBD's exclusive lock does not prevent it: the lock moves back and forth, and both write (measured). So watchers
count; the image's marks say which hosts they are on.
"""

from collections.abc import Iterator, Mapping, Sequence

from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.document import LiveDocument
from virtrbd.errors import ExitCode
from virtrbd.lazily import lazily
from virtrbd.model.domain import Domain
from virtrbd.model.failure import Failure
from virtrbd.model.image import Image, ImageRef, Watcher
from virtrbd.planning.world import World
from virtrbd.printable import shell_command

# Usually nothing is open twice, and a run that finds everything in sync parses nothing.
with lazily():
    from virtrbd.domainxml.image_uses import times_open


def images_of_guests(desired: Sequence[Domain], held: Sequence[DefinedDomain]) -> tuple[ImageRef, ...]:
    """Return the images that guests of this host have open for themselves, sorted."""
    live = {key: found.live for found in held if found.state.is_active for key in (found.uuid, found.name)}
    return tuple(sorted({ref for domain in desired for ref in _open(domain, live)}))


def beyond_guests(
    watchers: Mapping[ImageRef, tuple[Watcher, ...]], held: Sequence[DefinedDomain]
) -> dict[ImageRef, tuple[Watcher, ...]]:
    """Return the images that are open by more clients than the guests of this host."""

    def of_guests(ref: ImageRef) -> int:
        lives = (found.live for found in held if found.state.is_active and found.live)
        return sum(_times_open(live, ref) for live in lives if live.names(ref))

    return {ref: found for ref, found in watchers.items() if len(found) > of_guests(ref)}


def two_writers(domain: Domain, held: DefinedDomain, actual: World, host_name: str) -> Iterator[Failure]:
    """Yield the images of the domain's guest that another client has open too, with the message about it."""
    for ref in _open(domain, {domain.uuid: held.live}):
        image, watchers = actual.images.get(ref), actual.open_twice.get(ref, ())
        # A second guest on this host is named by its domain, as another writer of the image.
        here = [use for use in actual.uses if use.uuid != held.uuid and use.state.is_active and use.writes(ref)]
        if image and watchers and len(watchers) > _times_open(held.live, ref) + len(here):
            text = two_writers_text(held.name, image, watchers, actual.host_uuid, host_name)
            yield Failure(text=text, exit_code=ExitCode.FAILED)


def two_writers_text(name: str, image: Image, watchers: Sequence[Watcher], host_uuid: str, host_name: str) -> str:
    """Return the message that other clients than the domain's guest have its image open, and the way out."""
    who = ", ".join(f"{watcher} (this host)" if watcher.is_here else str(watcher) for watcher in watchers)
    others = [label for host, label in image.host_labels.items() if host != host_uuid]
    destroy = shell_command("virtrbd destroy", name, options="--allow interrupts-guest")
    if others:
        return (
            f"two guests have image {image.ref} open: {who}; one runs here, on host {host_name}, the other, by the "
            f"image's marks, on host {' or '.join(others)}. Where it is being migrated "
            f"({shell_command('virsh domjobinfo', name)}), wait until that ends. Otherwise both destroy the data on "
            f"it: end one of them now ({destroy} there or here), then check its file system"
        )
    return (
        f"another client has image {image.ref} open beside the guest of this host, {host_name}: {who}; where that is a "
        f"second guest, both destroy the data on it. Look who it is ({shell_command('rbd status', image.ref)}), and "
        f"end it, or this guest ({destroy})"
    )


def _open(domain: Domain, live: Mapping[str, LiveDocument | None]) -> Iterator[ImageRef]:
    running = live.get(domain.uuid) or live.get(domain.name)
    refs = (disk.image.image for disk in domain.disks if disk.is_written)
    return (ref for ref in refs if running and running.names(ref))


def _times_open(live: LiveDocument | None, ref: ImageRef) -> int:
    return times_open(live.tree, ref) if live else 0
