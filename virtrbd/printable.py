"""Text from strangers, made fit for a line on a terminal, in a mail, in a log, and for a shell.

Names, titles, marks and messages of other programs hold whatever their makers liked: escape sequences that repaint a
terminal, line breaks that forge a line, letters that turn the reading direction, four megabytes.
`commands/output/printing.py` sends each line through `printable`; long values are `cut` where they enter a message, and
what a person is told to type is put together by `shell_command`.
"""

import re
import shlex
import unicodedata
from collections.abc import Iterable, Iterator

# One line of output, whatever went into it: far more than virtrbd itself ever says, still readable in a mail.
LINE_LENGTH = 10_000
# One value within a line: a title, a path, a reason.
VALUE_LENGTH = 200

# The letters of every script get along with fewer on one letter (Vietnamese 2, Hebrew and Tibetan 3 to 4).
_MOST_MARKS = 4
# What Python calls printable and nobody sees: fillers, joiners and selectors of the variants of a glyph (Unicode's
# Default_Ignorable_Code_Point), and two blanks that are no spaces.
_INVISIBLE = (
    ("\u034f", "\u034f"), ("\u115f", "\u1160"), ("\u17b4", "\u17b5"), ("\u180b", "\u180d"), ("\u180f", "\u180f"),
    ("\u2800", "\u2800"), ("\u3164", "\u3164"), ("\ufe00", "\ufe0f"), ("\uffa0", "\uffa0"),
    ("\U00016fe4", "\U00016fe4"), ("\U0001d159", "\U0001d159"), ("\U000e0100", "\U000e01ef"),
)  # fmt: skip
_LIKE_AN_ESCAPE = re.compile(r"[ntr]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}")


class Printable(str):
    """Text that went through `printable`, which leaves it as it is the next time. An f-string makes a `str` of it."""

    __slots__ = ()


def printable(text: str, limit: int = LINE_LENGTH) -> Printable:
    r"""Return the text as one line of printable characters, without its middle when it is longer than `limit`.

    What can't be seen is written as Python's ascii() writes it: `\n`, `\x1b`, `\u202e`, `\udcff` for the byte FF of a
    name that is no UTF-8. A backslash is doubled where it would look like the begin of an escape, and nowhere else: so
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
    """Return the first pieces, as many as the room is for."""
    taken = []
    for source, piece in pieces:
        room -= len(piece)
        if room < 0:
            break
        taken.append((source, piece))
    return taken


def escape_controls(document: str) -> str:
    """Return a document of several lines for a terminal: what can't be seen is escaped, lines and tabs stay."""
    return "".join(char if char in "\n\t" else piece for char, piece in _escaped(document))


def first_unprintable(text: str) -> str:
    """Return the first character that can't be seen as Unicode names it, like U+200B; empty where all can."""
    return next((f"U+{ord(char):04X}" for char, piece in _escaped(text) if piece != char), "")


def is_utf8(text: str) -> bool:
    """Whether the text can be encoded: what came as other bytes has surrogates for them (PEP 383)."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def cut(text: str, limit: int = VALUE_LENGTH) -> str:
    """Return the text, or its begin and how much more there is of it; for values that go into a message."""
    return text[:limit] + _more(len(text) - limit)


def quoted(value: object) -> str:
    """Return a value that a person wrote, as a message repeats it."""
    return f"'{cut(value)}'" if isinstance(value, str) else cut(repr(value))


def shell_command(start: str, *names: object, options: str = "") -> str:
    """Return a command for a person to paste: `start` as it is, then the names, each one word to a shell.

    `options` stand behind the names as people write them, but before a name that begins with `-`: it must not become an
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
    """Yield each character, and what is shown of it."""
    marks, is_carrier = 0, False
    for char in text:
        category = unicodedata.category(char)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        # A mark is drawn on what stands before it: at the begin of a value that is virtrbd's own text.
        is_shown = not _is_unseen(char) and (not marks or (is_carrier and marks <= _MOST_MARKS))
        is_carrier = is_shown and category[0] in "LMN"
        yield char, char if is_shown else char.encode("unicode_escape").decode()


def _doubled(text: str) -> Iterator[tuple[str, str]]:
    """Yield as `_escaped` does, but runs of backslashes as one: doubled where an escape, or what looks so, follows."""
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
    # What came as no UTF-8 goes as the bytes that it was; other halves of a pair of surrogates are in no name at all.
    return b"".join(
        char.encode("utf-8", "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass") for char in word
    )
