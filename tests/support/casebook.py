"""The cases of tests/cases, run on the lab: a spec, what changes, and what plan, apply and a second plan say."""

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from support.checkout import CHECKOUT

FOLDER = CHECKOUT / "tests/cases"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One case. `spec` None: as it was. `plan`: all lines but the last, which counts; `left`: of the second plan."""

    name: str
    spec: dict[str, Any] | None = None
    virsh: tuple[str, ...] = ()
    virtrbd: tuple[str, ...] = ()
    allow: str = ""
    plan: tuple[str, ...] = ()
    exit: int = 0
    apply: int = 0
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Cases on one domain, one after the other. `guest`: off, idle (it sits in its firmware) or system."""

    domain: str
    guest: str
    spec: dict[str, Any]
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What came of a step, with the names of this run taken out."""

    plan: tuple[str, ...]
    exit: int
    apply: int
    left: tuple[str, ...]
    actions_left: tuple[str, ...]
    log: str = field(repr=False)


def read_chains() -> tuple[Chain, ...]:
    """Return all cases."""
    found = []
    for file in sorted(FOLDER.glob("*.yaml")):
        for item in yaml.safe_load(file.read_text()):
            steps = tuple(_step(step) for step in item.pop("steps"))
            found.append(Chain(**item, steps=steps))
    return tuple(found)


def _step(data: dict[str, Any]) -> Step:
    """`left: same` stands for all lines of the plan."""
    left = data.get("plan", []) if data.get("left") == "same" else data.get("left", [])
    values = {**data, "left": left}
    facts: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return Step(**facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Casebook:
    """Runs chains, each with a domain and a folder of its own. `words` stand in the data for names of this run."""

    env: Mapping[str, str]
    folder: Path
    words: Mapping[str, str]

    def file_of(self, name: str) -> Path:
        return self.folder / name / "spec.yaml"

    def write_spec(self, name: str, spec: dict[str, Any]) -> str:
        """Write the spec and return its file."""
        file = self.file_of(name)
        file.parent.mkdir(exist_ok=True)
        file.write_text(self._filled(json.dumps({"name": name, "memory": "64M", **spec}), name))
        return str(file)

    def run_step(self, name: str, step: Step) -> Said:
        """Change what is to be changed, then plan, apply, and plan again."""
        if step.spec is not None:
            self.write_spec(name, step.spec)
        if step.virsh:
            commands = "; ".join(self._filled(command, name) for command in step.virsh)
            self.call("virsh", commands, must=True)
        for command in step.virtrbd:
            self.call("virtrbd", *self._filled(command, name).split(" ", 4), must=True)
        file, allow = str(self.file_of(name)), ["--allow", step.allow] if step.allow else []
        first = self.call("virtrbd", "plan", file, *allow)
        applied = self.call("virtrbd", "apply", file, *allow)
        again = self.call("virtrbd", "plan", file, *allow)
        left = self._lines(again.stdout, name)
        return Said(
            plan=self._lines(first.stdout, name),
            exit=first.returncode,
            apply=applied.returncode,
            left=left,
            actions_left=tuple(line for line in left if line.startswith("NAME: would ")),
            log=self._plain(
                f"{first.stdout}{first.stderr}---\n{applied.stdout}{applied.stderr}---\n{again.stdout}", name
            ),
        )

    def call(self, *words: str, must: bool = False) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(words, env=self.env, capture_output=True, text=True, check=False, timeout=120)
        assert not must or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def _lines(self, text: str, name: str) -> tuple[str, ...]:
        """The lines but the count at the end."""
        return tuple(self._plain(text, name).splitlines()[:-1])

    def _filled(self, text: str, name: str) -> str:
        for word, value in {**self.words, "NAME": name}.items():
            text = text.replace(word, value)
        return text

    def _plain(self, text: str, name: str) -> str:
        text = text.replace(str(self.file_of(name)), "spec.yaml")
        for word, value in {"NAME": name, **self.words}.items():
            text = text.replace(value, word)
        # Derived from the name.
        return re.sub(r"52:54:(?!00:00:00)[0-9a-f:]{11}", "MAC", text)
