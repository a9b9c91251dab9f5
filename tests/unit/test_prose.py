"""The check of virtrbd's English (tools/checklib/prose.py): it finds each phrase, in text and in code, by its line."""

from pathlib import Path

import pytest
from checklib.prose import ALLOWED, CHECKOUT, check, find


def checkout(path: Path, **files: str) -> Path:
    for name in ("docs", "virtrbd"):
        (path / name).mkdir()
    for name in ("README.md", "CHANGELOG.md", "docs/images.md", "virtrbd/verb.py"):
        (path / name).write_text(files.get(Path(name).stem, ""))
    return path


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("'10X' is no size", "is no size"),
        ("it names no pool", "names no"),
        ("the guest is told", "told"),
        ("somebody has it open", "somebody"),
        ("images of ours", "of ours"),
        ("what stands there", "stands"),
        ("RBD clones such a one", "such a one"),
        ("it is made anew", "anew"),
        ("done all the same", "all the same"),
        ("the libvirt at hand", "at hand"),
        ("snapshots go along", "go along"),
        ("until the guest lets it go", "lets it go"),
        ("parts a clone from its parent", "parts a"),
        ("is in the trash no more", "no more"),
    ],
)
def test_a_phrase_is_found_with_what_to_write_instead(text: str, phrase: str) -> None:
    [found] = find("README.md", 1, text)
    assert found.phrase == phrase
    assert found.instead


@pytest.mark.parametrize("text", ["it is no longer there", "there is no size", "takes no more than 1 GiB", "standard"])
def test_plain_english_is_left_alone(text: str) -> None:
    assert list(find("README.md", 1, text)) == []


def test_each_text_of_a_checkout_is_read_and_each_phrase_has_its_line(tmp_path: Path) -> None:
    code = (
        '"""Told by its first line."""\n\n\ndef fail(name: str) -> None:\n    # Whoever calls this.\n'
        '    raise ValueError(\n        f"{name} is"\n        f" no size"\n    )\n\n\nKEY = "told"\n'
    )
    found = check(checkout(tmp_path, README="One\nthing that\nstands here.\n", images="It is\nno disk.\n", verb=code))
    assert [(each.file, each.line, each.phrase) for each in found] == [
        ("README.md", 3, "stands"),
        ("docs/images.md", 1, "is no disk"),
        ("virtrbd/verb.py", 5, "Whoever"),
        ("virtrbd/verb.py", 1, "Told"),
        ("virtrbd/verb.py", 7, "is no size"),
    ]
    assert str(found[0]) == "README.md:3: 'stands': write: is, is written, applies"


def test_every_allowed_use_is_there() -> None:
    for file, words in ALLOWED:
        assert words in " ".join((CHECKOUT / file).read_text().split()), f"{file}: {words}"
