"""The limits of reading specs: a few bytes of YAML can expand to gigabytes, so the result is counted.

Each number is far beyond any spec; together they bound a file's time (seconds) and memory (about 100 MB).
"""

# libyaml's composer and PyYAML's constructors recurse.
MAX_DEPTH = 50
# A document's keys and values, with every alias written out.
MAX_VALUES = 40_000
MAX_CHARACTERS = 2 * 1024**2
MAX_DOCUMENTS = 1_000
# All documents of a file, with the values of profiles and defaults.
MAX_FILE_VALUES = 400_000
MAX_PROFILES = 1_000
# By one spec.
MAX_USES = 50
# In the length of a word that is compared with known words.
MAX_WORD = 100
# The operator mends these first; a file that is not a spec would have thousands.
MAX_PROBLEMS = 50


class TooMuchError(Exception):
    """A file would exceed the limits; the message says which."""


class Budget:
    """The number of values that a file may still have."""

    def __init__(self) -> None:
        self._left = MAX_FILE_VALUES

    def spend(self, values: int) -> None:
        """Count values before they are built. Raises TooMuchError."""
        if values > self._left:
            raise TooMuchError(
                f"its documents, with the values of profiles and defaults, have more than {MAX_FILE_VALUES} values; "
                f"write fewer domains into one file, or smaller profiles"
            )
        self._left -= values
