"""The command line: its tree of verbs, and the run of one of them."""

import resource
import sys
import threading
from typing import Any

import click

from virtrbd import __version__
from virtrbd.commands.frame.ends import complain_of_lost, ended
from virtrbd.commands.frame.environment import drop_foreign
from virtrbd.commands.frame.groups import Group, Verbs
from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import GLOBAL_OPTIONS, require_text
from virtrbd.commands.output.printing import prepare_streams
from virtrbd.deadline import leave
from virtrbd.ending import heed_signals
from virtrbd.errors import ExitCode, worst
from virtrbd.model.record import replace

# The summaries are here too, so that the help need not import all verbs; each begins its verb's own help.
_SNAPSHOT = Group(
    summary="Snapshots of images, named pool[/namespace]/image@snapshot.",
    headings={
        "Commands": {
            "create": "Create the snapshot; one that exists is left as it is.",
            "list": "List the snapshots of an image.",
            "protect": "Protect a snapshot from removal; clones v1 need that.",
            "rollback": "Take an image back to its state at a snapshot.",
            "remove": "Remove a snapshot, or show what keeps it.",
        }
    },
)
_TRASH = Group(
    summary="Images that were moved to the trash.",
    headings={
        "Commands": {
            "list": "List the trash of pools.",
            "purge": "Remove the images in the trash whose delay is over.",
        }
    },
)
_IMAGE = Group(
    summary="Images in RBD, named pool[/namespace]/image[@snapshot].",
    headings={
        "Make": {
            "create": "Create an empty image of SIZE, like 20G.",
            "import": "Import FILE into a new image.",
            "clone": "Clone a snapshot to each of the names.",
            "copy": "Copy an image or a snapshot into a new image.",
        },
        "Look": {
            "list": "List the images of pools, with size and parent.",
            "info": "Show everything about an image, or about one snapshot.",
            "usage": "Show how much space images and their snapshots take.",
            "tree": "Show images with their snapshots, clones and domains as a tree.",
            "unreferenced": "Report images that no domain of this host uses.",
        },
        "Change": {
            "resize": "Grow an image to SIZE, also under a running guest.",
            "flatten": "Copy into a clone what it shares with its parent.",
            "snapshot": _SNAPSHOT,
            "repair": "Repair what a crash left of an image.",
        },
        "Take out": {
            "export": "Export an image or a snapshot into a new FILE.",
            "remove": "Move an image to the trash, or show what keeps it.",
            "restore": "Bring an image back from the trash.",
            "trash": _TRASH,
        },
    },
)
_HOOK = Group(
    summary="The start gate behind libvirt's own starts, by its hook.",
    headings={
        "Commands": {
            "install": "Let starts by virsh and autostart pass the start gate.",
            "status": "Show whether starts by virsh and autostart pass the gate.",
            "remove": "Let starts by virsh and autostart pass no gate.",
        }
    },
)
_TREE = Group(
    summary="Manage libvirt domains whose disks are Ceph RBD images.",
    headings={
        "Specs": {
            "new": "Print a commented spec to start from.",
            "validate": "Check spec files; needs neither libvirt nor Ceph.",
            "render": "Print the XML or the QEMU command that specs become.",
            "adopt": "Write specs for domains that virsh or virt-install made.",
        },
        "Fleet of this host": {
            "list": "List the domains of this host.",
            "inspect": "Show a domain and its images on one screen.",
            "report": "Report this host and its pools on one page.",
            "plan": "Show what differs from the specs; change nothing.",
            "apply": "Do what plan shows, or what a saved plan FILE says.",
            "define": "Make images, secret and definition as specs say.",
            "reconcile": "Bring this host into line with its specs, from cron.",
            "hold": "Keep reconcile, apply, define and start off a domain.",
            "release": "End a hold.",
            "ignore": "Leave one PATH of a domain to virsh; without one, list them.",
            "undefine": "Forget a domain that is shut off; keep its images.",
            "remove": "Retire a domain, and move its images to the trash.",
        },
        "Power": {
            "start": "Start a domain, if no other client has its images open.",
            "shutdown": "Ask the guest to shut down, and wait for it.",
            "reboot": "Ask the guest to reboot.",
            "destroy": "End the guest at once, like a power cut.",
            "console": "Open the guest's serial console; leave it with Ctrl-].",
            "hook": _HOOK,
        },
        "Images": {
            "image": _IMAGE,
        },
        "Other": {
            "schema": "Print the JSON Schema of specs, for editors.",
        },
    },
)


@click.group(cls=Verbs, tree=_TREE, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="virtrbd")
@click.pass_context
def app(context: click.Context, /, **values: Any) -> None:
    """Take the global options that come before the verb."""
    require_text(context, values)
    context.obj = replace(context.obj, **{name: value for name, value in values.items() if value})


for _option in GLOBAL_OPTIONS:
    _option(app)


def run_app() -> None:
    """Run the command line and leave with its exit code; every way out of a run goes through here."""
    run = Run(dropped=drop_foreign())
    # Keys pass through this process: a core dump would hold them.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    heed_signals()
    prepare_streams()
    sys.unraisablehook = threading.excepthook = complain_of_lost
    leave(ended(invoke, run))


def invoke(run: Run) -> ExitCode:
    """Run what the command line says, and return the exit code that the verb set."""
    with app.make_context("virtrbd", sys.argv[1:], obj=run) as root:
        app.invoke(root)
        return worst(*run.ended)
