"""The search for the spec that expresses most of a definition and changes nothing: it adds each value that helps, then
removes each that is not needed."""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct, field

from virtrbd.adoption.trial import LISTED, Circumstances, Trial, try_spec
from virtrbd.adoption.word import Path, Word, Words
from virtrbd.errors import SpecError
from virtrbd.model.difference import Difference
from virtrbd.model.element_path import ElementPath
from virtrbd.model.live_actions import device_words

# libvirt's newest version of a machine changes, so the spec states the version even where it is today's newest.
# A spec's own XML replaces a profile's: the search uses no profile's XML.
_KEPT = (("name",), ("machine",), ("xml",))


class Search(Struct):
    """A search for the spec of one domain; `why`: the reasons of each refused device; `general`: the domain's."""

    here: Circumstances
    words: Words
    why: dict[ElementPath, str] = field(default_factory=dict)
    general: dict[str, str] = field(default_factory=dict)

    def run(self) -> Trial | None:
        """Return the best spec, None where no disk can be expressed: a spec needs one."""
        self.why = {unknown.path: unknown.why for unknown in self.words.unknown}
        best = self._begin()
        if best is None:
            return None
        for word in self.words.more:
            best = self._try(word, best)
        return self._shortened(self._taken_back(best))

    def refusals(self) -> tuple[str, ...]:
        """Return why no spec, or no disk, is possible."""
        if self.general:
            return tuple(self.general.values())
        reasons = [f"{device_words(path.device)}: {why}" for path, why in self.why.items() if path.kind == "disk"]
        return tuple(reasons) or ("it has no disk on RBD, and virtrbd only manages domains with disks on RBD",)

    def _begin(self) -> Trial | None:
        base = {**self.words.base, "autostart": self.here.autostart, "host": self.here.settings.host, "xml": None}
        for word in self.words.more:
            if word.path[:1] == ("disks",) and word.device:
                trial = self._judge({**base, "disks": {word.path[1]: word.value}}, word)
                if trial is None:
                    continue
                trial = self._taken_back(trial)
                changes = [each for each in trial.differences if each.path.is_within(word.device)]
                if not changes:
                    return trial
                self._note(word, changes)
        return None

    def _try(self, word: Word, best: Trial) -> Trial:
        """Keep the value where less of the definition is left then."""
        if len(word.path) > 2 and word.path[0] in LISTED and word.path[1] not in _mapping(best.spec.get(word.path[0])):
            return best
        trial = self._judge(_with(best.spec, word.path, word.value), word)
        if trial is None:
            return best
        trial = self._taken_back(trial) if word.device else trial
        if trial.score < best.score:
            return trial
        self._note(word, [each for each in trial.differences if each not in best.differences])
        return best

    def _taken_back(self, best: Trial) -> Trial:
        """Take back what settings or profiles state and the definition does not have."""
        for path in sorted(best.elsewhere, key=lambda path: (len(path), str(path))) if best.differences else ():
            trial = self._judge(_with(best.spec, _named(best.spec, path), None))
            if trial and trial.score < best.score:
                best = trial
        return best

    def _shortened(self, best: Trial) -> Trial:
        """Leave out what is true without being stated."""
        for path in [path for path in _leaves(best.spec) if path not in _KEPT]:
            trial = self._judge(_without(best.spec, path))
            if trial and trial.score <= best.score and trial.beside_the_document == best.beside_the_document:
                best = trial
        return best

    def _judge(self, spec: Mapping[str, object], word: Word | None = None) -> Trial | None:
        try:
            return try_spec(spec, self.here)
        except SpecError as error:
            if word and word.device:
                place, _, reason = error.messages[0].partition(": ")
                said = reason.partition(":")[0].partition(".")[0]
                if said in spec and said not in LISTED:
                    self.general.setdefault(said, reason)
                else:
                    self.why.setdefault(word.device, reason or place)
            return None

    def _note(self, word: Word, changes: Sequence[Difference]) -> None:
        if word.device and changes:
            self.why.setdefault(word.device, f"a spec would change {'; '.join(map(str, changes))}")


def _named(spec: Mapping[str, object], path: tuple[object, ...]) -> Path:
    """Return a path with targets and MACs where a written spec has numbers."""
    if len(path) > 1 and isinstance(path[1], int):
        path = (path[0], list(_mapping(spec[str(path[0])]))[path[1]], *path[2:])
    return tuple(map(str, path))


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _with(spec: Mapping[str, object], path: Path, value: object) -> dict[str, object]:
    if not path:
        return {**spec, **_mapping(value)}
    name, *rest = path
    return {**spec, name: _with(_mapping(spec.get(name)), tuple(rest), value) if rest else value}


def _without(spec: Mapping[str, object], path: Path) -> dict[str, object]:
    """Return the spec without the value at the path, and without mappings that hold nothing else."""
    name, *rest = path
    inner = _without(_mapping(spec[name]), tuple(rest)) if rest else {}
    # The order stays the definition's.
    return {key: inner if key == name else value for key, value in spec.items() if inner or key != name}


def _leaves(value: object, path: Path = ()) -> Iterator[Path]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, (*path, name))
    else:
        yield path
