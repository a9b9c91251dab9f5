"""The cloud-init seed of a spec: the file or the content of each document."""

from virtrbd.model.image import ImageRef
from virtrbd.model.seed import Seed, SeedDocument
from virtrbd.model.settings import Settings
from virtrbd.specs.cloud_init_schema import CloudInitSpec, Content, is_text
from virtrbd.specs.document import dump
from virtrbd.specs.load import LoadedSpec
from virtrbd.specs.named_files import named_file

_FIRST_LINES = {"user_data": "#cloud-config\n"}


def resolve_seed(item: LoadedSpec, settings: Settings) -> Seed | None:
    """Return the domain's seed, None without one."""
    spec = item.spec.cloud_init
    if spec is None:
        return None
    return Seed(
        image=seed_image(item, settings),
        user_data=_document(item, spec, "user_data", settings),
        meta_data=_document(item, spec, "meta_data", settings),
        network_config=_document(item, spec, "network_config", settings),
        where=str(item.document.place(("cloud_init",))),
    )


def seed_image(item: LoadedSpec, settings: Settings) -> ImageRef:
    """Return the image of the seed."""
    return ImageRef(pool=settings.ceph.pool, name=f"{item.spec.name}.seed")


def _document(item: LoadedSpec, spec: CloudInitSpec, field: str, settings: Settings) -> SeedDocument | None:
    content: Content = getattr(spec, field)
    if content is None:
        return None
    place = item.document.place(("cloud_init", field))
    if isinstance(content, dict):
        return SeedDocument(text=_FIRST_LINES.get(field, "") + dump(content), where=str(place))
    if is_text(content):
        return SeedDocument(text=content, where=str(place))
    file = named_file(item.document, ("cloud_init", field), content, settings)
    return SeedDocument(file=file.path, beneath=file.beneath, where=str(place))
