"""Checksums as people write them, and lists of them as distributions publish them."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtrbd.model.checksum import Checksum, find_checksum, is_checksum, parse_checksum

A, B, LONG = "a" * 64, "b" * 64, "c" * 128
LISTS = {
    "Ubuntu": (f"{B} *other.img\n{A} *disk.qcow2\n", A),
    "Debian": (f"{'d' * 128}  other.qcow2\n{LONG}  disk.qcow2\n", LONG),
    "Fedora": (
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# disk.qcow2: 400 bytes\n"
        f"SHA256 (disk.qcow2) = {A}\n-----BEGIN PGP SIGNATURE-----\n\n{B}\n=abcd\n-----END PGP SIGNATURE-----\n",
        A,
    ),
    "FreeBSD": (f"SHA512 (disk.qcow2) = {LONG}\n", LONG),
    "with folders": (f"{A}  ./amd64/disk.qcow2\r\n", A),
    "several kinds": (
        f"MD5 (disk.qcow2) = {'e' * 32}\nSHA256 (disk.qcow2) = {A}\nSHA512 (disk.qcow2) = {LONG}\n",
        LONG,
    ),
    "one digest alone": (f"{A.upper()}\n", A),
    "twice the same": (f"{A}  disk.qcow2\n{A}  old/disk.qcow2\n", A),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_says_what_the_file_must_have(name: str) -> None:
    text, digest = LISTS[name]
    assert find_checksum(text, "disk.qcow2").digest == digest


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no checksum"),
        (f"{A}  disk.qcow2.sig\n{A}  mydisk.qcow2\n", "holds no checksum"),
        (f"{A}\n{B}\n", "holds no checksum"),
        (f"{'e' * 40}  disk.qcow2\n", "only MD5 or SHA-1"),
        (f"{A}  disk.qcow2\n{B}  old/disk.qcow2\n", "two different checksums"),
        (f"\\{A}  disk.qcow2\n", "holds no checksum"),
        ("<html>" + "a" * 64, "holds no checksum"),
    ],
)
def test_a_list_that_proves_nothing_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        find_checksum(text, "disk.qcow2")


def test_a_checksum_is_written_with_its_algorithm() -> None:
    assert parse_checksum(f"SHA256:{A.upper()}") == Checksum(algorithm="sha256", digest=A)
    assert str(parse_checksum(f"sha512:{LONG}")) == f"sha512:{LONG}"
    for text in (A, f"md5:{'e' * 32}", f"sha1:{'e' * 40}", f"sha256:{A}0", "sha256:", f"crc32:{A}", f"sha256: {A}"):
        with pytest.raises(ValueError, match=r"checksum|proves nothing"):
            parse_checksum(text)
    assert not is_checksum("https://host/SHA256SUMS")
    assert not is_checksum("./SHA256SUMS")


@given(st.text(), st.text(max_size=20))
def test_any_list_has_an_answer(text: str, name: str) -> None:
    for listing in (text, f"{A}  {text}\n{text}", f"SHA256 ({text}) = {A}"):
        with suppress(ValueError):
            assert find_checksum(listing, name).digest
