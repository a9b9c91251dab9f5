"""What an image verb refuses before it asks anybody: the command line makes no sense."""

import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from virtrbd.commands.options.layout import layout_of
from virtrbd.errors import UsageError
from virtrbd.model.image import ImageLayout

pytestmark = pytest.mark.slow

NOTHING = {"object_size": "", "features": "", "data_pool": "", "stripe_unit": "", "stripe_count": ""}
MIB = 1024**2

REFUSED = (
    (("image", "create", "vms/a@s", "1G"), "vms/a@s is a snapshot; write vms/a"),
    (("image", "create", "a", "1G"), "'a' is not the name of an image; write pool/image"),
    (("image", "create", "vms/a:id=b", "1G"), "'a:id=b': QEMU's old file names have options behind `:`"),
    (("image", "info", "vms/a\tb"), "holds U+0009, which libvirt's XML cannot hold"),
    (("image", "snapshot", "create", "vms/a@b@c"), "'b@c': rbd takes no `/` and no `@` in a new name"),
    (("image", "create", "vms/a", "20"), "'20' is not a size; write a number with K, M, G or T"),
    (("image", "create", "vms/a", "1G", "--object-size", "3M"), "--object-size: write a power of two"),
    (("image", "resize", "vms/a@s", "1G"), "vms/a@s is a snapshot"),
    (("image", "flatten", "vms/a@s"), "vms/a@s is a snapshot"),
    (("image", "copy", "vms/a", "vms/b@s"), "vms/b@s is a snapshot"),
    (("image", "clone", "vms/a", "vms/b"), "vms/a is not a snapshot; write vms/a@NAME"),
    (("image", "clone", "vms/a@s", "vms/b@s"), "vms/b@s is a snapshot"),
    (("image", "clone", "vms/a@s", "vms/b", "vms/b"), "the same name twice"),
    (("image", "import", "disk.raw", "vms/a@s"), "import into vms/a, or write --as-base"),
    (("image", "import", "--as-base", "disk.raw", "vms/ a@s"), "begins or ends with a space"),
    (("image", "remove", "vms/a@s"), "vms/a@s is a snapshot"),
    (("image", "remove", "vms/a", "--delay", "14"), "'14' is not a span of time"),
    (("image", "remove", "vms/a", "--allow", "everything"), "everything"),
    (("image", "restore", "vms/a@s"), "vms/a@s is a snapshot"),
    (("image", "restore", "vms/a", "--as", "x/y/z"), "--as: 'x/y/z' cannot be the name of an image"),
    (("image", "restore", "vms/a", "--as", "golden/b"), "--as: 'golden/b' cannot be the name of an image"),
    (("image", "restore", "vms/a", "--as", "b@s"), "--as: 'b@s' cannot be the name of an image"),
    (("image", "snapshot", "create", "vms/a"), "vms/a is not a snapshot"),
    (("image", "snapshot", "remove", "vms/a"), "vms/a is not a snapshot"),
    (("image", "snapshot", "rollback", "vms/a"), "vms/a is not a snapshot"),
    (("image", "snapshot", "protect", "vms/a"), "vms/a is not a snapshot"),
    (("image", "snapshot", "list", "vms/a@s"), "vms/a@s is a snapshot"),
    (("image", "rename", "vms/a", "vms/b"), "No such command 'rename'"),
)


def test_a_wrong_command_line_is_refused_before_ceph_is_asked(
    virtrbd: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(lambda refused: virtrbd(*refused[0]), REFUSED))
    for (words, message), done in zip(REFUSED, ended, strict=True):
        assert (done.returncode, done.stdout) == (64, ""), (words, done)
        assert message in done.stderr, (words, done)


def test_a_usage_error_is_a_document_too(virtrbd: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = virtrbd("image", "clone", "vms/a", "vms/b", "--output", "json")
    assert json.loads(done.stdout) == {
        "schema": 1, "errors": ["vms/a is not a snapshot; write vms/a@NAME"], "exit_code": 64
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "layout"),
    [
        ({}, ImageLayout()),
        ({"object_size": "8M"}, ImageLayout(object_bytes=8 * MIB)),
        ({"features": "layering,exclusive-lock"}, ImageLayout(features=("layering", "exclusive-lock"))),
        ({"stripe_unit": "1M", "stripe_count": "4"}, ImageLayout(stripe_unit_bytes=MIB, stripe_count=4)),
        ({"data_pool": "ec"}, ImageLayout(data_pool="ec")),
    ],
)
def test_reads_how_an_image_is_to_lie(values: dict[str, str], layout: ImageLayout) -> None:
    assert layout_of({**NOTHING, **values}) == layout


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"object_size": "3M"}, "a power of two from 4K to 32M"),
        ({"object_size": "2K"}, "a power of two from 4K to 32M"),
        ({"object_size": "64M"}, "a power of two from 4K to 32M"),
        ({"object_size": "4194304"}, "--object-size: '4194304' is not a size"),
        ({"stripe_unit": "64K"}, "need each other"),
        ({"stripe_count": "4"}, "need each other"),
        ({"stripe_unit": "64K", "stripe_count": "0"}, "need each other"),
        ({"stripe_unit": "64K", "stripe_count": "-1"}, "need each other"),
        ({"stripe_unit": "3M", "stripe_count": "4"}, "must divide the object size"),
        ({"stripe_unit": "64K", "stripe_count": "4", "object_size": "32K"}, "must divide the object size"),
        ({"features": "layering,speed"}, "--features: speed: no such feature; write some of layering,striping,"),
        ({"features": "data-pool"}, "--features: data-pool: no such feature"),
    ],
)
def test_refuses_a_layout_that_no_image_can_have(values: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        layout_of({**NOTHING, **values})
