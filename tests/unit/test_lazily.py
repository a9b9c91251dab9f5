"""Imports that wait until a verb runs."""

import builtins
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from virtrbd.lazily import Waiting, import_waiting, lazily


def test_a_name_waits_until_it_is_asked_for() -> None:
    with lazily():
        from json import dumps as written

        from no.such.module import anything  # type: ignore[import-not-found]
    assert (written, anything) == (Waiting("json", "dumps"), Waiting("no.such.module", "anything"))
    names: dict[str, object] = {"written": written, "other": 1}
    import_waiting(names)
    assert (names["written"], names["other"]) == (json.dumps, 1)


def test_a_function_that_waits_is_imported_when_it_is_called() -> None:
    with lazily():
        from json import dumps as written
    assert written({}) == "{}"


def test_what_another_thread_imports_meanwhile_is_imported() -> None:
    found = []

    def look() -> None:
        from json import dumps

        found.append(dumps)

    with lazily():
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert found == [json.dumps]


def test_what_is_missing_is_said_when_the_verb_runs() -> None:
    with pytest.raises(ModuleNotFoundError, match="no"):
        import_waiting({"anything": Waiting("no.such.module", "anything")})


def test_behind_the_block_imports_are_made_at_once() -> None:
    whole = builtins.__import__
    with pytest.raises(ZeroDivisionError), lazily():
        1 / 0  # noqa: B018
    assert builtins.__import__ is whole


@pytest.mark.parametrize("verb", ["define", "list"])
def test_the_file_of_a_verb_imports_nothing_that_only_the_run_needs(verb: str, tmp_path: Path) -> None:
    program = f"import sys, virtrbd.commands.{verb}; print('virtrbd.hypervisor' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "False\n"
