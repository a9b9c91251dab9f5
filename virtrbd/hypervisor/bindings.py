"""libvirt's Python bindings; the error names the package where they are missing."""

from virtrbd.errors import UnavailableError

try:
    import libvirt
except ImportError as missing:
    raise UnavailableError(
        "the Python module libvirt is missing; apt install python3-libvirt, and use the distribution's own "
        "Python (a venv: /usr/bin/python3 -m venv --system-site-packages)"
    ) from missing

__all__ = ["libvirt"]
