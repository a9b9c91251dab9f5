"""Domain XML rendered from a fitted domain. The only place that knows Jinja2."""

import io
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import TracebackType

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    FileSystemLoader,
    PackageLoader,
    PrefixLoader,
    StrictUndefined,
    TemplateNotFound,
    TemplatesNotFound,
    TemplateSyntaxError,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment

from virtrbd.domainxml.document import Rendered
from virtrbd.domainxml.duplicates import lay_parts
from virtrbd.domainxml.overlay import lay_over
from virtrbd.domainxml.parsing import parse
from virtrbd.domainxml.tree import to_text
from virtrbd.errors import DocumentError, SpecError
from virtrbd.model.attributes import xml_attributes, xml_elements
from virtrbd.model.cluster import ClusterFacts
from virtrbd.model.domain import Domain
from virtrbd.model.fitted import Fitted

STOCK = "domain.xml.j2"

# libvirt takes no longer text (REMOTE_STRING_MAX in its protocol).
_MAX_CHARACTERS = 4 * 1024**2


class EndlessError(Exception):
    """A template did not end in time, or rendered more than libvirt takes."""


@lru_cache(maxsize=8)
def _environment(template_dir: str) -> ImmutableSandboxedEnvironment:
    # The empty path: PackageLoader("virtrbd", "templates") finds nothing in an editable install.
    package = PackageLoader("virtrbd.templates", "")
    # `virtrbd/…` is always the packaged one: a site's domain.xml.j2 extends it without finding itself.
    loaders: list[BaseLoader] = [PrefixLoader({"virtrbd": package})]
    if template_dir:
        loaders.append(FileSystemLoader(template_dir))
    # autoescape=True: select_autoescape() does not know *.xml.j2, and an image's name may hold `&`.
    # Immutable: a template can't change the domain that other code goes on with.
    environment = ImmutableSandboxedEnvironment(
        loader=ChoiceLoader([*loaders, package]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"attributes_of": xml_attributes, "elements_beside": xml_elements}
    return environment


def render(fitted: Fitted, cluster: ClusterFacts, secret_uuid: str, template_dir: str = "") -> Rendered:
    """Return the domain's document, without addresses: libvirt gives those at the first define.

    The site's `template_dir` is searched before the packaged templates; with one, the work is done under limits in a
    process of its own. Raises SpecError naming template and line.
    """
    beneath = Rendered(_render_beneath(fitted, cluster, secret_uuid, template_dir))
    return lay_over(beneath, fitted.domain.xml.text) if fitted.domain.xml else beneath


def _render_beneath(fitted: Fitted, cluster: ClusterFacts, secret_uuid: str, template_dir: str) -> str:
    """Return what the templates make of the domain, without the spec's own XML."""
    if not template_dir:
        return render_here(fitted, cluster, secret_uuid)
    # Here, not above: it starts a process.
    from virtrbd.domainxml import renderer

    return renderer.render_apart(
        renderer.RenderRequest(
            fitted=fitted,
            cluster=cluster,
            secret_uuid=secret_uuid,
            template_dir=template_dir,
            limit_s=renderer.RENDER_S,
        )
    )


def render_here(fitted: Fitted, cluster: ClusterFacts, secret_uuid: str, template_dir: str = "") -> str:
    """Return what templates make of the domain; a site's has no limit but that of its text. Raises SpecError."""
    domain = fitted.domain
    try:
        template = _environment(template_dir).get_template(domain.template)
        xml = _bounded(template.generate(domain=domain, fitted=fitted, cluster=cluster, secret_uuid=secret_uuid))
    except Exception as error:  # A template is a program of the site's: any error is its own.
        raise SpecError(_message(error, domain, template_dir)) from error
    try:
        return _tidy(xml)
    except (EndlessError, MemoryError) as error:
        raise SpecError(_message(error, domain, template_dir)) from error
    except DocumentError as error:
        raise SpecError(f"template {domain.template}: domain {domain.name}: {error}") from error


def _bounded(pieces: Iterator[str]) -> str:
    """Return the text that a template yields. Raises EndlessError as soon as it is longer than libvirt takes."""
    text = io.StringIO()
    for piece in pieces:
        text.write(piece)
        if text.tell() > _MAX_CHARACTERS:
            raise EndlessError(f"renders more than {_MAX_CHARACTERS // 1024**2} MiB; look for a loop that does not end")
    return text.getvalue()


def _tidy(xml: str) -> str:
    """Return the document with even indentation, for any blocks and parts.

    Raises DocumentError: text of others may not be XML, but a rendered document must be.
    """
    parsed = parse(xml.strip())
    if parsed.flaw:
        raise DocumentError(f"its XML cannot be parsed: it holds {parsed.flaw}")
    root = parsed.root
    for element in root.iter():
        if len(element) == 0 and not (element.text or "").strip():
            element.text = None
    lay_parts(root)
    return to_text(root)


def _message(error: Exception, domain: Domain, template_dir: str) -> str:
    where = f"template {_place(error, domain.template, template_dir)}: domain {domain.name}: "
    match error:
        case TemplatesNotFound() | TemplateNotFound():
            searched = f"{template_dir} or the packaged templates" if template_dir else "the packaged templates"
            return (
                f"{where}template {error.name} is not in {searched}; "
                f"put it into the template_dir of the settings, or correct its name"
            )
        case TemplateSyntaxError():
            return f"{where}{error.message}"
        case RecursionError():
            return f"{where}it includes or calls itself without end"
        case EndlessError():
            return f"{where}{error}"
        case MemoryError():
            return f"{where}needs too much memory; look for a loop or a text that grows without end"
        case UnicodeDecodeError(encoding="utf-8"):
            return f"{where}it, or a template that it includes, is not UTF-8; save it as UTF-8"
        case OSError():
            return f"{where}{error.filename or template_dir}: {error.strerror}"
        case _:
            return f"{where}{type(error).__name__}: {error}" if _is_bare(error) else f"{where}{error}"


def _is_bare(error: Exception) -> bool:
    """Whether the text alone is too short: Python's own errors, not Jinja's."""
    return not type(error).__module__.startswith("jinja2")


def _place(error: Exception, template: str, template_dir: str) -> str:
    """Return `template:line` of where it went wrong, just the template where that is not known."""
    if isinstance(error, TemplateSyntaxError):
        return f"{_short(error.filename or error.name or template, template_dir)}:{error.lineno}"
    places = list(_template_lines(error.__traceback__))
    if not places:
        return template
    file, line = places[-1]
    return f"{_short(file, template_dir)}:{line}"


def _template_lines(traceback: TracebackType | None) -> Iterator[tuple[str, int]]:
    """Yield file and line of each template in a traceback, which Jinja rewrites to show them."""
    while traceback is not None:
        if "__jinja_exception__" in traceback.tb_frame.f_globals:
            yield traceback.tb_frame.f_code.co_filename, traceback.tb_lineno
        traceback = traceback.tb_next


def _short(file: str, template_dir: str) -> str:
    """Return a template's path from the site's folder, the name alone for a packaged one."""
    path = Path(file)
    if template_dir and path.is_relative_to(template_dir):
        return str(path.relative_to(template_dir))
    return path.name
