"""How much reading specs may build: a few bytes of YAML can mean gigabytes, so what they become is counted.

Each number is far beyond any spec; together they bound a file's time (seconds) and memory (about 100 MB).
"""

# libyaml's composer and PyYAML's constructors recurse.
MAX_DEPTH = 50
# A document's keys and values, with every alias written out.
MAX_VALUES = 40_000
MAX_CHARACTERS = 2 * 1024**2
MAX_DOCUMENTS = 1_000
# All documents of a file, and what is laid under them.
MAX_FILE_VALUES = 400_000
MAX_PROFILES = 1_000
# By one spec.
MAX_USES = 50
# In the length of a word that is looked for among known ones.
MAX_WORD = 100
# A person mends these first; a file that is no spec at all would have thousands.
MAX_PROBLEMS = 50


class TooMuchError(Exception):
    """A file would become more than the limits allow; the message says which."""


class Budget:
    """What one file may still become."""

    def __init__(self) -> None:
        self._left = MAX_FILE_VALUES

    def spend(self, values: int) -> None:
        """Count values before they are built. Raises TooMuchError."""
        if values > self._left:
            raise TooMuchError(
                f"its documents and what is laid under them are more than {MAX_FILE_VALUES} values; "
                f"write fewer domains into one file, or smaller profiles"
            )
        self._left -= values
