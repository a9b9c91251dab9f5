"""The parts of `tools/stack`: the roots of Debian's releases, and what runs in them."""


class StackError(Exception):
    """A root can't be made or entered; the message says what is missing and where it comes from."""
