"""The template of a domain that holds what its spec has no word for."""

from virtrbd.domainxml.leftover import Leftover


def template_text(rest: Leftover, base: str) -> str:
    """Return a template that lays the elements over what `base` renders."""
    parts = [f'{{% extends "{base}" %}}\n']
    parts += [
        f"{{% block {name} %}}\n{{{{ super() }}}}\n{''.join(map(_escaped, elements))}{{% endblock %}}\n"
        for name, elements in rest.blocks.items()
    ]
    return "".join(parts)


def _escaped(xml: str) -> str:
    """To Jinja2 a brace may begin something; in XML it is a letter like any other."""
    return xml.replace("{", '{{ "{" }}')
