"""Whatever a stranger wrote comes out as one line of characters that can be seen, and as one word to a shell."""

import subprocess
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from virtrbd.printable import (
    LINE_LENGTH,
    VALUE_LENGTH,
    Printable,
    cut,
    escape_controls,
    first_unprintable,
    is_utf8,
    printable,
    quoted,
    shell_command,
)

# Every character there is, lone surrogates included: such a name comes from a file system, or from a JSON document.
CHARACTERS = st.characters(min_codepoint=0, max_codepoint=0x10FFFF, categories=None)
ANYTHING = st.text(
    st.one_of(CHARACTERS, st.sampled_from("\\nrtxuU0a1 \n\x1b\x85\x9b\u202e\u200b\u2028\u0301\u3164\ufe0f\udcff'\"-$")),
    max_size=40,
)
# What people write: letters of several scripts with their marks, digits, punctuation.
PLAIN = st.text(st.sampled_from("abzAZ059 .,:;/@-_'\"<>|`$é\u0101ßжא漢\U0001f600€"), max_size=60)
ESCAPES = {
    "\n": r"\n",
    "\t": r"\t",
    "\r": r"\r",
    "\0": r"\x00",
    "\x1b": r"\x1b",
    "\x7f": r"\x7f",
    "\x85": r"\x85",
    "\x9b": r"\x9b",
    "\xa0": r"\xa0",
    "\xad": r"\xad",
    "\u200b": r"\u200b",
    "\u2028": r"\u2028",
    "\u2029": r"\u2029",
    "\u202e": r"\u202e",
    "\u2066": r"\u2066",
    "\u3164": r"\u3164",
    "\u2800": r"\u2800",
    "\ufe0f": r"\ufe0f",
    "\ufeff": r"\ufeff",
    "\ue000": r"\ue000",
    "\U000e0041": r"\U000e0041",
    "\udcff": r"\udcff",
}


@pytest.mark.parametrize("char", ESCAPES)
def test_what_cannot_be_seen_is_written_as_ascii_writes_it(char: str) -> None:
    assert printable(f"web{char}01") == f"web{ESCAPES[char]}01"


@settings(max_examples=500, deadline=None)
@given(text=ANYTHING)
def test_a_line_holds_only_what_can_be_seen(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert not first_unprintable(shown)


@given(text=PLAIN)
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@settings(max_examples=1000, deadline=None)
@given(one=ANYTHING, other=ANYTHING)
@example(one="a\\x1b", other="a\x1b")
@example(one="a\\\\x1b", other="a\\\x1b")
@example(one="\\n", other="\n")
@example(one="a\\\u0301", other="a\\\\u0301")
@example(one="\\\\", other="\\")
def test_two_texts_never_look_alike(one: str, other: str) -> None:
    assert (printable(one) == printable(other)) == (one == other)


@given(text=ANYTHING)
def test_an_escape_says_what_it_is_for(text: str) -> None:
    """A reader who undoes it has the text again."""
    assert unescaped(printable(text)) == text


def unescaped(shown: str) -> str:
    found, at = "", 0
    lengths = {"x": 2, "u": 4, "U": 8}
    while at < len(shown):
        run = len(shown[at:]) - len(shown[at:].lstrip("\\"))
        kind = shown[at + run : at + run + 1]
        digits = shown[at + run + 1 : at + run + 1 + lengths.get(kind, 0)]
        is_hex = len(digits) == lengths.get(kind) and all(digit in "0123456789abcdef" for digit in digits)
        if run and (kind in ("n", "r", "t") or is_hex) and kind:
            found += "\\" * (run // 2)
            at += run
            if run % 2:
                found += {"n": "\n", "r": "\r", "t": "\t"}.get(kind) or chr(int(digits, 16))
                at += 1 + len(digits)
        else:
            found += "\\" * run or shown[at]
            at += run or 1
    return found


@settings(max_examples=300, deadline=None)
@given(text=ANYTHING, factor=st.sampled_from([1, 7, 1_000, 100_000]), limit=st.sampled_from([1, 20, 200, LINE_LENGTH]))
def test_a_line_has_a_bounded_length(text: str, factor: int, limit: int) -> None:
    assert len(printable(text * factor, limit)) <= limit + len("… (99999999 characters more) …")


def test_four_megabytes_are_cut_with_a_word_about_it() -> None:
    shown = printable("web-01: " + "x" * 4_000_000 + "; write less")
    assert shown.startswith("web-01: xxx")
    assert "x… (3990020 characters more) …x" in shown
    assert shown.endswith("xxx; write less")
    assert len(shown) < LINE_LENGTH + 40
    assert cut("x" * 4_000_000) == "x" * VALUE_LENGTH + "… (3999800 characters more)"
    assert cut("x" * VALUE_LENGTH) == "x" * VALUE_LENGTH


def test_an_escape_is_never_cut_in_two() -> None:
    assert printable("\x1b" * 10, 20) == "\\x1b\\x1b\\x1b… (6 characters more) …\\x1b"


@given(text=ANYTHING)
def test_what_is_printable_stays_so_the_next_time(text: str) -> None:
    once = printable(text)
    assert printable(once) is once
    # Laid into another text it is text like any other.
    assert not isinstance(f"{once}", Printable)


@pytest.mark.parametrize("word", ["e\u0301", "q\u0323\u0307", "\u05e9\u05c1\u05b0", "\u0915\u094d\u0937\u0903"])
def test_letters_keep_their_marks(word: str) -> None:
    assert printable(word) == word


def test_a_flood_of_marks_is_bounded() -> None:
    shown = printable("a" + "\u0301" * 50 + "b")
    assert sum(unicodedata.category(char) == "Mn" for char in shown) == 4
    assert shown.endswith("\\u0301b")


@pytest.mark.parametrize("before", ["", "web-01: ", "'", "vms/"])
def test_a_mark_is_not_laid_on_what_stands_before_a_value(before: str) -> None:
    assert printable(f"{before}\u0338x") == f"{before}\\u0338x"


@given(text=ANYTHING)
def test_a_document_keeps_its_lines_on_a_terminal(text: str) -> None:
    shown = escape_controls(text)
    assert shown.count("\n") == text.count("\n")
    assert shown.replace("\n", "").replace("\t", "").isprintable()


@given(text=PLAIN)
def test_a_plain_document_stays_as_it_is_on_a_terminal(text: str) -> None:
    assert escape_controls(f"<a>\n\t{text}\\n</a>\n") == f"<a>\n\t{text}\\n</a>\n"


@pytest.mark.parametrize("text", ["web-01", "a\\x1b", "é", "\U0001f600", "שלום", "a b"])
def test_what_can_be_seen_is_named_as_nothing(text: str) -> None:
    assert first_unprintable(text) == ""


def test_the_first_that_cannot_be_seen_is_named() -> None:
    assert first_unprintable("a\u200b\x1b") == "U+200B"


def test_what_a_person_wrote_is_repeated_in_short() -> None:
    assert quoted("20GB") == "'20GB'"
    assert quoted(["a"] * 1000).startswith("['a', 'a'")
    assert len(quoted("x" * 4_000_000)) < 250
    assert len(quoted(["x"] * 1_000_000)) < 250


def test_bytes_that_are_no_utf8_are_known() -> None:
    assert is_utf8("é\U0001f600")
    assert not is_utf8(b"caf\xe9".decode(errors="surrogateescape"))


WORDS = st.text(st.one_of(CHARACTERS, st.sampled_from("\\'\"$`!~ #;&|<>*\n\x1b\u202eé-")), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(names=st.lists(WORDS.filter(lambda word: "\0" not in word), min_size=1, max_size=4))
def test_a_command_to_paste_means_the_names_that_it_was_made_of(names: list[str]) -> None:
    # What is pasted is what was printed.
    command = printable(shell_command("printf '%s\\0'", *names))
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=True)
    expected = [part for name in names for part in as_bytes(name)]
    assert done.stdout.split(b"\0")[:-1] == expected


def as_bytes(name: str) -> list[bytes]:
    return [b"".join(char.encode("utf-8", handler_of(char)) for char in name)]


def handler_of(char: str) -> str:
    return "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass"


@pytest.mark.parametrize(
    ("names", "command"),
    [
        (("web-01",), "virtrbd start web-01"),
        (("my web",), "virtrbd start 'my web'"),
        (("a;reboot",), "virtrbd start 'a;reboot'"),
        (("--all",), "virtrbd start -- --all"),
        (("a", "-b"), "virtrbd start -- a -b"),
        (("a\nb",), "virtrbd start $'a\\012b'"),
        (("a\\nb",), "virtrbd start $'a\\134nb'"),
        (("caf\udce9",), "virtrbd start $'caf\\351'"),
        (("é",), "virtrbd start 'é'"),
    ],
)
def test_a_command_names_what_it_is_about_as_one_word(names: tuple[str, ...], command: str) -> None:
    assert printable(shell_command("virtrbd start", *names)) == command


def test_options_stand_behind_a_name_unless_it_looks_like_one() -> None:
    assert (
        shell_command("virtrbd destroy", "web", options="--allow loses-data")
        == "virtrbd destroy web --allow loses-data"
    )
    assert (
        shell_command("virtrbd destroy", "-x", options="--allow loses-data")
        == "virtrbd destroy --allow loses-data -- -x"
    )
