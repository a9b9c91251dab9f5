"""What a domain's cloud-init seed needs."""

from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.lazily import lazily
from virtrbd.model.actions import Action
from virtrbd.model.domain import Domain
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import Image
from virtrbd.model.image_actions import MarkImage, WriteSeed
from virtrbd.model.record import replace
from virtrbd.model.seed import MAX_DOCUMENT_BYTES, META_DATA, SEED_BYTES, USER_DATA, Seed, SeedDocument, seed_digest
from virtrbd.planning.images import ImagePlan, plan_half_made, plan_mark
from virtrbd.planning.unready import not_ready_message
from virtrbd.planning.world import World

# A run that makes no seed reads no YAML.
with lazily():
    from virtrbd.specs.document import laid_over

# The beginnings of every kind of user data that cloud-init (type_from_starts_with, convert_string) or, on Windows,
# cloudbase-init knows: a line with a sign, a tag, a gzip. They report anything else only in the guest's own log.
_BEGINNINGS = (b"#", b"<", b"rem ", b"\x1f\x8b")


def plan_seed(domain: Domain, defined: DefinedDomain | None, actual: World) -> ImagePlan:
    """Return the actions that make the seed as the spec and its files want it."""
    seed = domain.seed
    if seed is None:
        return ImagePlan()
    contents, problems = _contents(seed, actual)
    image = actual.images.get(seed.image)
    if image and (problem := _not_a_seed(image)):
        problems.append(f"{seed.where}: cloud_init: {problem}")
    if problems:
        return ImagePlan(problems=problems)
    digest = seed_digest(domain.uuid, domain.name, contents)
    if image and image.seed == digest:
        return ImagePlan(actions=plan_mark(domain, image, actual))
    documents, problems = _documents(domain, seed, contents)
    if problems:
        return ImagePlan(problems=problems)
    write = WriteSeed(
        ref=seed.image,
        domain_uuid=domain.uuid,
        digest=digest,
        documents=tuple(sorted(documents.items())),
        is_new=image is None,
        is_read_later=bool(defined and defined.state.is_active),
    )
    before = plan_half_made(seed.image, actual)
    if image:
        before = [_overwriting(action, domain, image) for action in plan_mark(domain, image, actual)]
    return ImagePlan(actions=[*before, write])


def _not_a_seed(image: Image) -> str:
    """Return why the image can't hold a seed, or ""."""
    if image.state:
        return not_ready_message(image)
    if image.parent or image.size_bytes < SEED_BYTES or image.object_bytes < SEED_BYTES:
        return f"image {image.ref} cannot hold a seed (it needs 4 MiB in one object, not a clone); rename or remove it"
    return ""


def _overwriting(action: Action, domain: Domain, image: Image) -> Action:
    """Taking over an image of others for a seed also loses its content."""
    if isinstance(action, MarkImage) and action.hazards and not image.is_of(domain.uuid):
        return replace(action, hazards=(*action.hazards, Hazard.LOSES_DATA))
    return action


def _contents(seed: Seed, actual: World) -> tuple[dict[str, bytes], list[str]]:
    """Return the contents, by the documents' names, and the problems with the files."""
    contents, problems = {}, []
    for name, document in seed.documents.items():
        raw = document.text.encode()
        if document.file:
            file = actual.seed_files[document.file]
            raw = file.raw
            if file.problem:
                problems.append(_at(document, name, f"{document.file}: {file.problem}; check the path"))
        if len(raw) > MAX_DOCUMENT_BYTES:
            problems.append(_at(document, name, "larger than 1 MiB; let the guest fetch the rest (#include)"))
        if name == USER_DATA and not _is_user_data(raw):
            problem = "does not begin with a #cloud-config or #! line, so cloud-init would ignore it; add one"
            problems.append(_at(document, name, f"{document.file}: {problem}" if document.file else problem))
        contents[name] = raw
    return contents, problems


def _is_user_data(raw: bytes) -> bool:
    text = raw.lstrip()
    # A comment is not a kind.
    is_known = text.startswith(_BEGINNINGS) and not text.startswith(b"# ")
    return not raw or is_known or b"mime-version:" in raw[:4096].lower()


def _documents(domain: Domain, seed: Seed, contents: dict[str, bytes]) -> tuple[dict[str, bytes], list[str]]:
    """Return the files of the disc: NoCloud ignores a disc without user-data and meta-data."""
    defaults = {"instance-id": domain.uuid, "local-hostname": domain.name}
    try:
        meta_data = laid_over(defaults, contents.get(META_DATA, b""))
    except ValueError as error:
        document = seed.documents[META_DATA]
        problem = f"{error}; write `key: value` lines"
        return {}, [_at(document, META_DATA, f"{document.file}: {problem}" if document.file else problem)]
    return {USER_DATA: b"", **contents, META_DATA: meta_data.encode()}, []


def _at(document: SeedDocument, name: str, problem: str) -> str:
    return f"{document.where}: cloud_init.{name.replace('-', '_')}: {problem}"
