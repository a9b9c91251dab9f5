"""libvirt's errors, turned into ours."""

from collections.abc import Iterator
from contextlib import contextmanager

from virtrbd.errors import DeniedError, HypervisorError, UnavailableError
from virtrbd.hypervisor.bindings import libvirt

_UNREACHABLE = {
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_INVALID_CONN,
    libvirt.VIR_ERR_SYSTEM_ERROR,
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_OPERATION_TIMEOUT,
    # "client socket is closed", when libvirtd went away under us
    libvirt.VIR_ERR_INTERNAL_ERROR,
}
_DENIED = {libvirt.VIR_ERR_AUTH_FAILED, libvirt.VIR_ERR_AUTH_CANCELLED, libvirt.VIR_ERR_ACCESS_DENIED}


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn libvirt's errors into ours, with what was being done."""
    try:
        yield
    except libvirt.libvirtError as error:
        message = f"libvirt: {what}: {str(error).strip()}"
        code, domain = error.get_error_code(), error.get_error_domain()
        if code in _DENIED:
            raise DeniedError(f"{message}; run as root, or as a member of the group libvirt") from error
        if code in _UNREACHABLE and domain in (libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE):
            raise UnavailableError(f"{message}; is libvirtd running?") from error
        raise HypervisorError(message) from error
