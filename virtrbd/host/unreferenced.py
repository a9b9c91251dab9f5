"""Images that nothing here uses: looked for over domains, watchers, clones, marks and the trash."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.details import read_details
from virtrbd.ceph.listing import list_images
from virtrbd.ceph.trash import list_trash
from virtrbd.planning.unreferenced import Unreferenced, candidates, judge, judge_trashed
from virtrbd.planning.use import DomainUse

_AT_A_TIME = 8


def find_unreferenced(
    cluster: Cluster, rooms: Sequence[tuple[str, str]], uses: Sequence[DomainUse], host_uuid: str
) -> tuple[Unreferenced, ...]:
    """Return the report on the pools' namespaces, by name. Raises ConfigError, UnavailableError."""
    listed = [image for pool, space in rooms for image in list_images(cluster, pool, space)]
    trashed = [entry for pool, space in rooms for entry in list_trash(cluster, pool, space)]
    with ThreadPoolExecutor(_AT_A_TIME) as threads:
        details = list(threads.map(lambda image: read_details(cluster, image.ref), candidates(listed, uses)))
        in_trash = list(threads.map(lambda entry: read_details(cluster, entry.ref, entry.image_id), trashed))
    found = [judge(each, host_uuid) for each in details if each]
    found += [judge_trashed(each, entry.expires_at) for each, entry in zip(in_trash, trashed, strict=True) if each]
    return tuple(sorted((each for each in found if each), key=lambda each: (each.ref, each.image_id)))
