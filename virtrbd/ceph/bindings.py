"""The Python bindings rados and rbd; the error names the packages where they are missing."""

from virtrbd.errors import UnavailableError

try:
    import rados
    import rbd
except ImportError as missing:
    raise UnavailableError(
        f"the Python module {missing.name} is missing; apt install python3-rados python3-rbd, and use the "
        f"distribution's own Python (a venv: /usr/bin/python3 -m venv --system-site-packages)"
    ) from missing

__all__ = ["rados", "rbd"]
