"""The trash: images wait there to be restored, until their delay is over."""

from typing import Any

from virtrbd.ceph import class_calls
from virtrbd.ceph.bindings import rbd
from virtrbd.ceph.cluster import Cluster, refuse_missing_namespace
from virtrbd.ceph.images import require_id
from virtrbd.ceph.opening import open_image
from virtrbd.ceph.texts import as_bytes
from virtrbd.ceph.watchers import refuse_watched
from virtrbd.errors import ClusterError
from virtrbd.lazily import lazily
from virtrbd.model.image import ImageRef
from virtrbd.printable import shell_command

# Who trashes an image lists none.
with lazily():
    from virtrbd.model.image_details import TrashEntry

# The source of an image that rbd migration prepare set aside.
_MIGRATION = "MIGRATION"


def trash_image(cluster: Cluster, ref: ImageRef, image_id: str, delay_s: float, *, past_watchers: bool = False) -> None:
    """Move an image that no client has open to the trash; the id makes sure that it is the same image.

    Raises ImageBusyError, ClusterError. `past_watchers`: for an image that a killed client of virtrbd left open.
    """

    def trash() -> None:
        with cluster.ioctx(ref) as ioctx:
            # On a full pool everything without this flag would wait for ever.
            ioctx.set_osdmap_full_try()
            with open_image(ioctx, ref, read_only=True) as image:
                require_id(ref, image, image_id)
                if not past_watchers:
                    refuse_watched(cluster, ref, image)
            rbd.RBD().trash_move(ioctx, as_bytes(ref.name), int(delay_s))

    cluster.call(f"moving image {ref} to the trash", trash, changes=True)


def list_trash(cluster: Cluster, pool: str, namespace: str = "") -> "tuple[TrashEntry, ...]":
    """Return what is in the trash of a pool's namespace, by name."""
    where = ImageRef(pool=pool, namespace=namespace, name="")

    def read() -> "tuple[TrashEntry, ...]":
        with cluster.ioctx(where) as ioctx:
            found = [
                TrashEntry(
                    ref=ImageRef(pool=pool, namespace=namespace, name=entry["name"]),
                    image_id=entry["id"],
                    source=entry["source"],
                    deleted_at=entry["deleted_at"],
                    expires_at=entry["expires_at"],
                )
                for entry in class_calls.list_in_trash(ioctx)
            ]
            if not found:
                refuse_missing_namespace(ioctx, where)
        return tuple(sorted(found, key=lambda entry: (entry.ref, entry.deleted_at)))

    return cluster.call(f"listing the trash of pool {pool}", read)


def missing_image_error(cluster: Cluster, ref: ImageRef) -> ClusterError:
    """Return the error for a missing image, which says where it is in the trash."""
    found = [entry for entry in list_trash(cluster, ref.pool, ref.namespace) if entry.ref == ref.image]
    if found and all(entry.source == _MIGRATION for entry in found):
        return _migrating(cluster, ref.image)
    if found:
        way_out = (
            f"bring it back with {shell_command('virtrbd image restore', ref.image)}, or see "
            f"{shell_command('virtrbd image trash list', ref.pool_spec)}"
        )
        return ClusterError(f"image {ref.image} is in the trash; {way_out}")
    return ClusterError(f"image {ref.image} does not exist; see {shell_command('virtrbd image list', ref.pool_spec)}")


def _migrating(cluster: Cluster, ref: ImageRef) -> ClusterError:
    """Return the error that says where the source of a migration is now."""

    def read() -> dict[str, Any]:
        with cluster.ioctx(ref) as ioctx:
            found: dict[str, Any] = rbd.RBD().migration_status(ioctx, as_bytes(ref.name))
            return {**found, "pool": cluster.name_of_pool(found["dest_pool_id"])}

    found = cluster.call(f"reading the migration of {ref}", read)
    to = ImageRef(pool=found["pool"], namespace=found["dest_pool_namespace"], name=found["dest_image_name"])
    return ClusterError(
        f"image {ref} is being migrated to {to}, which holds its data now; end that with "
        f"{shell_command('rbd migration execute', to)} and {shell_command('rbd migration commit', to)}, or bring it "
        f"back with {shell_command('rbd migration abort', to)}"
    )


def refuse_unsettled(ioctx: Any, ref: ImageRef, image_id: str) -> None:
    """Raise ClusterError for an image on its way into the trash or out of it, for use within one `call`.

    librbd says that it is busy, or nothing at all.
    """
    state = class_calls.trash_state(ioctx, image_id)
    if state and not state.is_settled:
        repair = shell_command("virtrbd image repair", ref.image, options="--plan")
        raise ClusterError(
            f"image {ref.image} (id {image_id}) was interrupted on its way into the trash or out of it; `{repair}` "
            f"shows what is left of it"
        )


def restore_image(cluster: Cluster, entry: "TrashEntry", name: str) -> None:
    """Restore an image from the trash, under that name. Raises ClusterError when the name is taken."""
    ref = ImageRef(pool=entry.ref.pool, namespace=entry.ref.namespace, name=name)

    def restore() -> None:
        with cluster.ioctx(ref) as ioctx:
            refuse_unsettled(ioctx, entry.ref, entry.image_id)
            try:
                rbd.RBD().trash_restore(ioctx, as_bytes(entry.image_id), as_bytes(name))
            except rbd.ImageExists:
                raise ClusterError(f"image {ref} exists; restore under another name with --as NAME") from None

    cluster.call(f"restoring image {ref}", restore, changes=True)
