"""Actions on a domain: its secret, its definition, its power."""

from typing import ClassVar

from virtrbd.model.base_action import BaseAction
from virtrbd.model.difference import Difference
from virtrbd.model.element_path import ElementPath
from virtrbd.model.image import ImageRef
from virtrbd.model.mark import ForeignChange
from virtrbd.model.retirement import RetiredImage, Retirement


class DefineSecret(BaseAction, frozen=True, kw_only=True):
    uuid: str
    usage: str

    @property
    def text(self) -> str:
        return f"define secret {self.uuid} for {self.usage.split('@')[0]}"


class DefineDomain(BaseAction, frozen=True, kw_only=True):
    """Define `xml`: the rendered document for a new domain, else libvirt's own `based_on`, edited to match
    `rendered`.

    `was_undefined`: another program undefined it while its guest runs; only the definition is gone.
    """

    domain_uuid: str
    xml: str
    inputs: str
    rendered: str = ""
    based_on: str = ""
    was_undefined: bool = False
    differences: tuple[Difference, ...] = ()
    pending: bool = False

    @property
    def text(self) -> str:
        if not self.based_on:
            return "define domain"
        changes = "; ".join(map(str, self.differences))
        if self.was_undefined:
            return "define again; it was undefined while its guest runs" + (f" ({changes})" if changes else "")
        changes = changes or "mark as owned"
        return f"edit definition ({changes})" + (", takes effect at the next boot" if self.pending else "")


class RenewMark(BaseAction, frozen=True, kw_only=True):
    """Record the digests of `based_on`, a definition that is as desired, and what it states; changes nothing for
    the guest."""

    domain_uuid: str
    inputs: str
    based_on: str = ""
    stated: tuple[ElementPath, ...] = ()
    foreign: tuple[ForeignChange, ...] = ()
    places: tuple[tuple[str, str], ...] = ()
    forms: tuple[str, ...] = ()
    quiet: ClassVar[bool] = True
    wording: ClassVar[str] = "renew digests"


class SetAutostart(BaseAction, frozen=True, kw_only=True):
    domain_uuid: str
    autostart: bool

    @property
    def text(self) -> str:
        return f"set autostart {'on' if self.autostart else 'off'}"


class StartDomain(BaseAction, frozen=True, kw_only=True):
    """Start a domain; `elsewhere` is the host of the last start, where that host has not released its images."""

    domain_uuid: str
    elsewhere: str = ""
    separable: ClassVar[bool] = True

    @property
    def text(self) -> str:
        if self.elsewhere:
            return (
                f"start domain (it was last started on host {self.elsewhere}, which may still run it or hold its "
                f"managed save)"
            )
        return "start domain"


class ShutDownDomain(BaseAction, frozen=True, kw_only=True):
    domain_uuid: str
    wording: ClassVar[str] = "shut down domain"


class DropManagedSave(BaseAction, frozen=True, kw_only=True):
    domain_uuid: str
    wording: ClassVar[str] = "drop the managed save: the memory of the guest"


class UndefineDomain(BaseAction, frozen=True, kw_only=True):
    """Release the images, and forget the definition. `retirement`: what the next run finishes where this run ends in
    between.

    `owned`: the domain's images, for which the definition is a proof that they were made here. `unread`: images that
    do not answer, and are left as they are.
    """

    domain_uuid: str
    forget_snapshots: bool = False
    owned: tuple[RetiredImage, ...] = ()
    unread: tuple[ImageRef, ...] = ()
    retirement: Retirement | None = None

    @property
    def text(self) -> str:
        return "undefine domain" + (" and forget its snapshots and checkpoints" if self.forget_snapshots else "")


DomainAction = (
    DefineSecret
    | DefineDomain
    | RenewMark
    | SetAutostart
    | StartDomain
    | ShutDownDomain
    | DropManagedSave
    | UndefineDomain
)
