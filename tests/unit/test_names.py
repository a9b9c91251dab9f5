"""Names of domains: what libvirt holds is taken as it is, what is to be made is judged."""

import pytest
from support.strategies import EMPTY, HERE, WEB, done

from virtrbd.model.image import ImageRef
from virtrbd.model.names import check_domain_name, check_new_domain_name
from virtrbd.model.record import replace
from virtrbd.planning.plan import make_plan
from virtrbd.printable import quoted

# Measured: libvirt 9.0 defines and starts each of them.
HELD = [
    "a b",
    " lead",
    "trail ",
    "x=y",
    "x,y",
    "x:y",
    "x@y",
    ".dot",
    "-dash",
    "q'q",
    'q"q',
    "ünï",
    "n" * 200,
    "x\\y",
    "x&<>",
]


@pytest.mark.parametrize("name", HELD)
def test_a_spec_keeps_a_name_that_exists_and_makes_none_like_it(name: str) -> None:
    assert check_domain_name(name) == name
    odd = replace(WEB, name=name)
    [planned] = make_plan([odd], EMPTY, HERE).domains
    assert planned.actions == ()
    assert planned.problems[0].startswith(f"{WEB.origin}: name: {quoted(name)} is not a name for a new domain; write")
    held = done([WEB], EMPTY, HERE)
    [found] = held.domains
    [planned] = make_plan([odd], replace(held, domains=(replace(found, name=name),)), HERE).domains
    assert planned.problems == ()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\nb", "a\tb", "a\u202eb", "n" * 252])
def test_no_spec_has_a_name_that_libvirt_refuses_or_nobody_sees(name: str) -> None:
    with pytest.raises(ValueError, match=r"not a domain name|bytes that libvirt takes|invisible"):
        check_domain_name(name)
    with pytest.raises(ValueError, match="is not a name for a new domain"):
        check_new_domain_name(name)


def test_no_image_is_made_with_a_name_that_nobody_means() -> None:
    disk = replace(WEB.disks[0], image=ImageRef(pool="vms", name="web "))
    world = replace(EMPTY, images={**EMPTY.images, disk.image: None})
    [planned] = make_plan([replace(WEB, disks=(disk,))], world, HERE).domains
    assert planned.actions == ()
    assert "virtrbd does not make an image of that name: 'web ' begins or ends with a space" in planned.problems[0]
