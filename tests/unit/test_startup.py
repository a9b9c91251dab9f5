"""What starts quickly stays quick: each path imports only what it uses."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HEAVY = ("pydantic", "jinja2", "lxml", "yaml", "libvirt", "rbd", "rados", "pycdlib")
PROBE = """
import json, os, sys
sys.argv = ["virtrbd", *sys.argv[1:]]
from virtrbd.__main__ import main
os._exit = sys.exit
try:
    main()
except SystemExit as end:
    sys.stderr.write("\\n" + json.dumps({"code": end.code, "modules": sorted(sys.modules)}))
"""
Imports = Callable[..., set[str]]


@pytest.fixture
def imports(tmp_path: Path) -> Imports:
    """Run a verb in a process of its own and return which of the heavy modules it imported."""
    config = tmp_path / "settings.yaml"
    config.write_text(f"host: kvm-1\nstate_dir: {tmp_path}/state\n")

    def run(*words: str, code: int = 0) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", PROBE, *words],
            cwd=tmp_path, env={**os.environ, "VIRTRBD_CONFIG": str(config)},
            capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        facts = json.loads(done.stderr.splitlines()[-1])
        assert facts["code"] == code, done.stderr
        return set(facts["modules"]) & set(HEAVY)

    return run


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["define", "--help"], ["image", "snapshot", "create", "--help"]]
)
def test_help_imports_nothing_heavy(words: list[str], imports: Imports) -> None:
    assert imports(*words) == set()


def test_validate_and_render_need_neither_libvirt_nor_ceph(imports: Imports, tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text("name: web\nmemory: 128M\ndisks:\n  - size: 1G\n")
    for words in (
        ["validate"],
        ["render", "--for", "libvirt=9.0,qemu=7.2"],
        ["render", "--explain", "--for", "qemu=10.0"],
    ):
        assert imports(*words, "web.yaml") & {"libvirt", "rbd", "rados"} == set()


def test_render_goes_on_without_libvirt(imports: Imports, tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text("name: web\nmemory: 128M\ndisks:\n  - size: 1G\n")
    assert imports("--connect", "qemu:///system?socket=/nowhere", "render", "web.yaml") & {"rbd", "rados"} == set()


def test_settings_that_were_checked_before_need_no_pydantic(imports: Imports) -> None:
    # Without a libvirtd this ends with 69, behind the settings.
    words = ["--connect", "qemu:///system?socket=/nowhere", "list"]
    assert {"pydantic", "yaml"} <= imports(*words, code=69)
    assert {"pydantic", "yaml"} & imports(*words, code=69) == set()


def test_specs_that_were_checked_before_need_neither_pydantic_nor_yaml_nor_jinja2(
    imports: Imports, tmp_path: Path
) -> None:
    (tmp_path / "web.yaml").write_text("name: web\nmemory: 128M\ndisks:\n  - size: 1G\n")
    words = ["--connect", "qemu:///system?socket=/nowhere", "define", "web.yaml"]
    assert {"pydantic", "yaml"} <= imports(*words, code=69)
    assert {"pydantic", "yaml", "jinja2", "pycdlib"} & imports(*words, code=69) == set()


def modules_of(program: str, *words: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False, timeout=30
    )
    return set(json.loads(done.stderr.splitlines()[-1])["modules"])


ALL_VERBS = """
import json, sys
import click
from virtrbd.commands.app import app
def make(group):
    context = click.Context(group)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        make(command) if isinstance(command, click.Group) else command.get_help(click.Context(command))
make(app)
sys.stderr.write(json.dumps({"modules": sorted(sys.modules)}))
"""


def test_the_help_of_no_verb_imports_anything_heavy() -> None:
    modules = modules_of(ALL_VERBS)
    assert {"virtrbd.commands.adopt", "virtrbd.commands.image.import_"} <= modules
    assert modules & {*HEAVY, "virtrbd.planning", "virtrbd.specs", "virtrbd.domainxml"} == set()


RUN_OF_ALL_VERBS_ON_IMAGES = """
import json, pkgutil, sys
from importlib import import_module
import virtrbd.commands.image as image
from virtrbd.lazily import import_waiting
for found in pkgutil.iter_modules(image.__path__, f"{image.__name__}."):
    import_waiting(vars(import_module(found.name)))
sys.stderr.write(json.dumps({"modules": sorted(sys.modules)}))
"""


def test_the_run_of_no_verb_on_images_imports_libvirt_before_it_asks_it() -> None:
    """A machine for images alone has no bindings of libvirt."""
    modules = modules_of(RUN_OF_ALL_VERBS_ON_IMAGES)
    assert {"rbd", "virtrbd.images.change", "virtrbd.images.host"} <= modules
    assert modules & {"libvirt", "virtrbd.hypervisor.connection"} == set()


@pytest.mark.parametrize(
    ("words", "verbs"),
    [
        (["--help"], set()),
        (["image", "--help"], set()),
        (["image", "list", "--help"], {"virtrbd.commands.image", "virtrbd.commands.image.list"}),
    ],
)
def test_the_help_imports_the_file_of_its_own_verb_only(words: list[str], verbs: set[str]) -> None:
    modules = {name for name in modules_of(PROBE, *words) if name.startswith("virtrbd.commands.")}
    shared = ("app", "frame", "options", "output")
    assert {name for name in modules if name.split(".")[2] not in shared} == verbs
