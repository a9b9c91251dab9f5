"""libvirt's errors, translated into virtrbd's."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from virtrbd.errors import DeniedError, HypervisorError, UnavailableError
from virtrbd.hypervisor.bindings import libvirt
from virtrbd.printable import cut

# libvirt repeats what it was given.
_SHOWN = 1000

_UNREACHABLE = {
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_INVALID_CONN,
    libvirt.VIR_ERR_SYSTEM_ERROR,
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_OPERATION_TIMEOUT,
    # "client socket is closed", when libvirtd stopped
    libvirt.VIR_ERR_INTERNAL_ERROR,
}
_DENIED = {
    libvirt.VIR_ERR_AUTH_FAILED,
    libvirt.VIR_ERR_AUTH_CANCELLED,
    libvirt.VIR_ERR_AUTH_UNAVAILABLE,
    libvirt.VIR_ERR_ACCESS_DENIED,
}


_CONNECTION = (libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Translate libvirt's errors into virtrbd's, with what was being done."""
    try:
        yield
    except libvirt.libvirtError as error:
        message = f"libvirt: {what}: {cut(str(error).strip(), _SHOWN)}"
        code, domain = error.get_error_code(), error.get_error_domain()
        # virReportSystemError puts errno there, also where the socket may not be opened ("Failed to connect socket").
        is_refused_by_kernel = code == libvirt.VIR_ERR_SYSTEM_ERROR and error.get_int1() in (errno.EACCES, errno.EPERM)
        if code in _DENIED or (is_refused_by_kernel and domain in _CONNECTION):
            raise DeniedError(f"{message}; run as root, or as a member of the group libvirt") from error
        if code in _UNREACHABLE and domain in _CONNECTION:
            raise UnavailableError(f"{message}; is libvirtd running?") from error
        raise HypervisorError(message) from error
