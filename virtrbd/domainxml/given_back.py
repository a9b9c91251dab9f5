"""The forms in which libvirt gave back a document that it was just given, for the mark."""

from virtrbd.domainxml.document import Definition, Rendered
from virtrbd.domainxml.edit import edit_definition
from virtrbd.model.mark import DomainMark
from virtrbd.model.record import replace

# Further ones are not recorded, and differ: libvirt sends no XML larger than 4 MiB.
_MOST_FORMS = 2000
# The content of an element counts only when its own form is known: another kind of it has other children.
_MOST_ROUNDS = 4


def forms_of(held: Definition, rendered: Rendered, mark: DomainMark) -> tuple[str, ...]:
    """Return the forms (domainxml/forms) in which a definition holds what the document states."""
    forms: tuple[str, ...] = ()
    for _ in range(_MOST_ROUNDS):
        edit = edit_definition(held, rendered, replace(mark, forms=forms), mark)
        forms = edit.forms[:_MOST_FORMS]
        if not edit.differences:
            break
    return forms
