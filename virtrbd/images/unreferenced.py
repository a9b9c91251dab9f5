"""Images that nothing here uses: looked for over domains, watchers, clones, marks and the trash."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.details import read_details
from virtrbd.ceph.listing import list_images
from virtrbd.ceph.trash import list_trash
from virtrbd.ceph.unread import image_or_failure
from virtrbd.model.failure import Failure
from virtrbd.model.image_details import ImageDetails, ListedImage, TrashEntry, UnreadImage
from virtrbd.model.image_use import DomainUse
from virtrbd.planning.unreferenced import Unreferenced, candidates, judge, judge_trashed

_AT_A_TIME = 8


def find_unreferenced(
    cluster: Cluster, rooms: Sequence[tuple[str, str]], uses: Sequence[DomainUse], host_uuid: str
) -> tuple[tuple[Unreferenced, ...], tuple[UnreadImage, ...]]:
    """Return the report on the pools' namespaces by name, and the images that could not be read: these are not
    reported as unused. Raises ConfigError, UnavailableError.
    """
    listings = [list_images(cluster, pool, space) for pool, space in rooms]
    listed = [image for listing in listings for image in listing.images]
    # Mirroring or a migration uses what it moved there.
    everything = [entry for pool, space in rooms for entry in list_trash(cluster, pool, space)]
    trashed = [entry for entry in everything if entry.source == "USER"]
    with ThreadPoolExecutor(_AT_A_TIME) as threads:
        details = list(threads.map(partial(_details, cluster), candidates(listed, uses)))
        in_trash = list(threads.map(partial(_details, cluster), trashed))
    found = [judge(each, host_uuid) for each in details if isinstance(each, ImageDetails)]
    for each, entry in zip(in_trash, trashed, strict=True):
        found += [judge_trashed(each, entry.expires_at)] if isinstance(each, ImageDetails) else []
    unread = [image for listing in listings for image in listing.unread]
    unread += [each for each in (*details, *in_trash) if isinstance(each, UnreadImage)]
    return (
        tuple(sorted((each for each in found if each), key=lambda each: (each.ref, each.image_id))),
        tuple(sorted(unread, key=lambda each: (each.ref, each.image_id))),
    )


def _details(cluster: Cluster, found: ListedImage | TrashEntry) -> ImageDetails | UnreadImage | None:
    ref, image_id = found.ref, found.image_id
    by_id = image_id if isinstance(found, TrashEntry) else ""
    details = image_or_failure(cluster, ref, lambda: read_details(cluster, ref, by_id), by_id)
    return UnreadImage(ref=ref, image_id=image_id, failure=details) if isinstance(details, Failure) else details
