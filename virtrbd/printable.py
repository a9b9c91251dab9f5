"""Untrusted text, escaped for a line on a terminal, in a mail or in a log, and quoted for a shell.

Names, titles, marks and messages of other programs may hold anything: escape sequences that repaint a terminal, line
breaks that forge a line, letters that turn the reading direction, four megabytes. `commands/output/printing.py` sends
each line through `printable`; long values are `cut` where they enter a message, and `shell_command` builds the
commands that messages name.
"""

import re
import shlex
import unicodedata
from collections.abc import Iterable, Iterator

# The longest line of output: far longer than virtrbd's own text, still readable in a mail.
LINE_LENGTH = 10_000
# One value within a line: a title, a path, a reason.
VALUE_LENGTH = 200

# Every script needs at most so many on one letter (Vietnamese 2, Hebrew and Tibetan 3 to 4).
_MOST_MARKS = 4
# Invisible characters that Python calls printable: fillers, joiners and selectors of the variants of a glyph (Unicode's
# Default_Ignorable_Code_Point), and two blanks that are not spaces.
_INVISIBLE = (
    ("\u034f", "\u034f"), ("\u115f", "\u1160"), ("\u17b4", "\u17b5"), ("\u180b", "\u180d"), ("\u180f", "\u180f"),
    ("\u2800", "\u2800"), ("\u3164", "\u3164"), ("\ufe00", "\ufe0f"), ("\uffa0", "\uffa0"),
    ("\U00016fe4", "\U00016fe4"), ("\U0001d159", "\U0001d159"), ("\U000e0100", "\U000e01ef"),
)  # fmt: skip
_LIKE_AN_ESCAPE = re.compile(r"[ntr]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}")


class Printable(str):
    """Text that went through `printable`, which leaves it as it is the next time. An f-string turns it into a `str`."""

    __slots__ = ()


def printable(text: str, limit: int = LINE_LENGTH) -> Printable:
    r"""Return the text as one line of printable characters, without its middle when it is longer than `limit`.

    Invisible characters are written as by Python's ascii(): `\n`, `\x1b`, `\u202e`, `\udcff` for the byte FF of
    a name that is not UTF-8. A backslash is doubled only where it would look like the begin of an escape: so
    plain text stays as it is, and two different texts never look alike.
    """
    if isinstance(text, Printable):
        return text
    if len(text) <= limit and text.isascii() and text.isprintable() and "\\" not in text:
        return Printable(text)
    whole = list(_doubled(text)) if len(text) <= limit else []
    if whole and sum(len(piece) for _, piece in whole) <= limit:
        return Printable("".join(piece for _, piece in whole))
    # A message ends with the way out.
    end_length = limit // 4
    head = _fitting(_doubled(text[:limit]), limit - end_length)
    tail = _fitting(reversed(list(_doubled(text[-limit:]))), end_length)
    left_out = len(text) - sum(len(source) for source, _ in (*head, *tail))
    begin, end = "".join(piece for _, piece in head), "".join(piece for _, piece in reversed(tail))
    return Printable(f"{begin}{_more(left_out)} …{end}" if end else f"{begin}{_more(left_out)}")


def _fitting(pieces: Iterable[tuple[str, str]], room: int) -> list[tuple[str, str]]:
    """Return the first pieces that fit."""
    taken = []
    for source, piece in pieces:
        room -= len(piece)
        if room < 0:
            break
        taken.append((source, piece))
    return taken


def escape_controls(document: str) -> str:
    """Return a document of several lines for a terminal: invisible characters are escaped, lines and tabs stay."""
    return "".join(char if char in "\n\t" else piece for char, piece in _escaped(document))


def first_unprintable(text: str) -> str:
    """Return the first invisible character as Unicode names it, like U+200B; empty without one."""
    return next((f"U+{ord(char):04X}" for char, piece in _escaped(text) if piece != char), "")


def is_utf8(text: str) -> bool:
    """Whether the text can be encoded: bytes that are not UTF-8 became surrogates (PEP 383)."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def cut(text: str, limit: int = VALUE_LENGTH) -> str:
    """Return the text, or its begin and the number of characters that are left out; for values in a message."""
    return text[:limit] + _more(len(text) - limit)


def quoted(value: object) -> str:
    """Return a value that the user wrote, quoted for a message."""
    return f"'{cut(value)}'" if isinstance(value, str) else cut(repr(value))


def shell_command(start: str, *names: object, options: str = "") -> str:
    """Return a command to paste: `start` as it is, then the names, each one word to a shell.

    `options` follow the names, as usual, but come before a name that begins with `-`, which must not become an
    option. What can't be printed or would look like an escape is written in octal, in the `$'…'` of bash, ksh, zsh and
    POSIX 2024: `printable` leaves that as it is.
    """
    words = [str(name) for name in names]
    is_like_an_option = any(word.startswith("-") for word in words)
    quoted_words = map(_shell_word, words)
    parts = (start, options, "--", *quoted_words) if is_like_an_option else (start, *quoted_words, options)
    return " ".join(filter(None, parts))


def _more(number: int) -> str:
    return f"… ({number} characters more)" if number > 0 else ""


def _escaped(text: str) -> Iterator[tuple[str, str]]:
    """Yield each character, and its printed form."""
    marks, is_carrier = 0, False
    for char in text:
        category = unicodedata.category(char)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        # A mark is drawn on the letter before it: at the begin of a value that would be virtrbd's own text.
        is_shown = not _is_unseen(char) and (not marks or (is_carrier and marks <= _MOST_MARKS))
        is_carrier = is_shown and category[0] in "LMN"
        yield char, char if is_shown else char.encode("unicode_escape").decode()


def _doubled(text: str) -> Iterator[tuple[str, str]]:
    """Yield as `_escaped` does, but a run of backslashes at once: doubled before an escape or its look-alike."""
    begin = 0
    for run in re.finditer(r"\\+", text):
        yield from _escaped(text[begin : run.start()])
        begin = run.end()
        following = text[begin : begin + 1]
        is_before_escape = bool(following) and next(_escaped(following))[1] != following
        is_ambiguous = is_before_escape or _LIKE_AN_ESCAPE.match(text, begin)
        yield run[0], run[0] * (2 if is_ambiguous else 1)
    yield from _escaped(text[begin:])


def _is_unseen(char: str) -> bool:
    return not char.isprintable() or (not char.isascii() and any(low <= char <= high for low, high in _INVISIBLE))


def _shell_word(word: str) -> str:
    if "\\" not in word and printable(word, len(word)) == word:
        return shlex.quote(word)
    octal = "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b"'\\" else f"\\{byte:03o}" for byte in _as_bytes(word)
    )
    return f"$'{octal}'"


def _as_bytes(word: str) -> bytes:
    # Bytes that were not UTF-8 become these bytes again; no name holds other halves of a pair of surrogates.
    return b"".join(
        char.encode("utf-8", "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass") for char in word
    )
