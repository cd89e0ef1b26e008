"""Building a Dockerfile: each stage is layers over its base, in a mount namespace that ends with the build.

Every instruction that changes files makes a layer, whose key is the instruction with all that it reads. What the stages
leave is one flat image.
"""

from __future__ import annotations

import os
import re

from appc.build import dockerfile, dockerplatform
from appc.build.dockercopy import Copier, Source, context, digest, inside
from appc.build.dockerfile import Instruction
from appc.build.failed import StepFailed, failure, keep
from appc.build.layered import Cache, Layered
from appc.build.manifest import name_from
from appc.build.stage import Config, Stage
from appc.errors import AppcError, ArchiveError, InvalidValue, ManifestError, UsageError
from appc.formats.layout import read_small
from appc.images.view import TreeView
from appc.schema.json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from appc.schema.image import App

    Run = Callable[[str, App], int]
    Base = Callable[[str, str], tuple[tuple[str, ...], str, bytes]]

SCRATCH = "scratch"
DOCKERFILE = "Dockerfile"
# Characters that all variables, or all labels, of a stage may come to: references to them multiply.
_MOST_TEXT = 1 << 20
_LONGEST_TITLE = 200
# What --build-arg may give to commands without an ARG, and what their result is taken not to depend on.
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")


class Builder:
    """One build. `directory` is its own, on a file system that can hold an overlay's upper layer.

    `run(root, app)` runs a command in `network` and returns its exit status; `base(reference, directory)` gives the
    trees of an image, topmost first, what they are in short, and its manifest; `say` is told each step. Layers are
    kept in the store `root`; unless `cached` every step is performed. The caller's mount namespace must be private.
    """

    def __init__(
        self,
        source: str,
        file: str,
        directory: str,
        *,
        root: str,
        network: str,
        cached: bool,
        run: Run,
        base: Base,
        say: Callable[[str], None],
        arguments: Mapping[str, str],
        warnings: list[str],
    ) -> None:
        self._file = file or f"{source}/{DOCKERFILE}"
        self._source = source
        parsed = dockerfile.parse(_read(file, source), self._file)
        self._instructions = parsed.instructions
        self._escape = parsed.escape
        directory_of = os.path.realpath(source)
        self._context = context(directory_of, os.path.realpath(file) if file else f"{directory_of}/{DOCKERFILE}")
        self._directory = directory
        self._run = run
        self._base = base
        self._say = say
        self._given = dict(arguments)
        self._global = dockerplatform.arguments()
        self._proxies = {name: value for name, value in arguments.items() if name.lower() in _PROXIES}
        self._used = set(self._proxies)
        self._cache = Cache(root, cached)
        self._network = network
        self._stages: list[Stage] = []
        self._images: list[Stage] = []
        self._warnings = warnings

    def build(self, target: str = "") -> tuple[str, bytes]:
        """Perform the instructions up to the end of stage `target` (all when empty); return the root and manifest."""
        stage: Stage | None = None
        try:
            for one in self._instructions:
                if one.name == "FROM" and stage is not None and target and target in (stage.name, str(stage.number)):
                    break
                stage = self._step(one, stage)
            assert stage is not None
            if target and target not in (stage.name, str(stage.number)):
                raise UsageError("has no stage of that name", f"{self._file}: {target}")
            for name in sorted(set(self._given) - self._used):
                self._warnings.append(f"--build-arg {name}: no ARG has this name")
            return stage.root(), stage.config.manifest(name_from(os.path.basename(os.path.realpath(self._source))))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unmount everything, and let go of the layers."""
        for stage in (*self._stages, *self._images):
            stage.unmount()
        self._cache.close()

    def _tell(self, one: Instruction, unchanged: bool = False) -> None:
        text = one.text if len(one.text) <= _LONGEST_TITLE else f"{one.text[:_LONGEST_TITLE]}..."
        self._say(f"line {one.line}: {one.name} {text}{' (unchanged)' if unchanged else ''}")

    def _step(self, one: Instruction, stage: Stage | None) -> Stage | None:
        where = f"{self._file}: line {one.line}: {one.name}"
        try:
            if one.name == "FROM":
                return self._from(one)
            if stage is None:
                self._global.update(self._argument(one, self._global))
                _check_length(self._global)
            else:
                self._perform(one, stage)
        except (InvalidValue, ManifestError) as error:
            raise ManifestError([(f"line {one.line}", f"{one.name}: {error}")], self._file) from None
        except AppcError as error:
            if isinstance(error, StepFailed):
                self.close()
                error.hint = keep(self._cache.root, self._directory, self._file, error)
            raise type(error)(str(error), where, error.hint) from None
        except OSError as error:
            raise failure(error, where) from None
        return stage

    def _from(self, one: Instruction) -> Stage:
        self._tell(one)
        if platform := dockerfile.one_word(one.flags.get("platform", ""), self._global, self._escape):
            dockerplatform.check(platform)
        words = dockerfile.words(one.text, self._global, self._escape)
        if len(words) == 3 and words[1].lower() == "as":
            name = words[2].lower()
        elif len(words) == 1:
            name = ""
        else:
            raise InvalidValue("the form is FROM IMAGE [AS NAME]")
        if name and (not re.fullmatch(r"[a-z][a-z0-9-_.]*", name) or any(stage.name == name for stage in self._stages)):
            raise InvalidValue(f"{name!r} cannot be the name of this stage, or is another's")
        number = len(self._stages)
        place = f"{self._directory}/{number}"
        os.mkdir(place)
        earlier = next((stage for stage in self._stages if stage.name and stage.name == words[0].lower()), None)
        if earlier is not None:
            files, config = earlier.files.branch(place), earlier.config.copy()
        elif words[0] == SCRATCH:
            os.mkdir(f"{place}/empty", 0o755)
            files, config = Layered(place, (f"{place}/empty",), "", self._cache), Config()
        else:
            lowers, key, manifest = self._base(words[0], place)
            files, config = Layered(place, lowers, key, self._cache), Config.of(manifest)
        self._stages.append(Stage(number, name, files, config))
        return self._stages[-1]

    def _argument(self, one: Instruction, variables: Mapping[str, str]) -> dict[str, str]:
        """The variables that an ARG declares, those of them that have a value."""
        found = {}
        for word in dockerfile.words(one.text, variables, self._escape):
            name, sign, value = word.partition("=")
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise InvalidValue(f"{name!r} is no name of a variable")
            self._used.add(name)
            if name in self._given:
                found[name] = self._given[name]
            elif sign:
                found[name] = value
            elif name in self._global:
                found[name] = self._global[name]
        return found

    def _perform(self, one: Instruction, stage: Stage) -> None:
        config = stage.config
        variables = {**stage.arguments, **config.environment}
        if one.name not in ("COPY", "ADD", "RUN", "WORKDIR"):
            self._tell(one)

        def words() -> list[str]:
            return dockerfile.words(one.text, variables, self._escape)

        if one.name == "ARG":
            stage.arguments.update(self._argument(one, variables))
            _check_length(stage.arguments)
        elif one.name == "ENV":
            config.environment.update(dockerfile.pairs(one.text, variables, self._escape))
            _check_length(config.environment)
        elif one.name == "LABEL":
            config.labels.update(dockerfile.pairs(one.text, variables, self._escape))
            _check_length(config.labels)
        elif one.name == "MAINTAINER":
            config.authors = one.text
        elif one.name == "WORKDIR":
            path = os.path.normpath(os.path.join(config.working_directory or "/", " ".join(words())))
            config.working_directory = path
            self._layer(one, stage, path, lambda root: Copier(root).make_directory(path))
        elif one.name == "USER":
            config.set_user(" ".join(words()))
        elif one.name == "EXPOSE":
            for text in words():
                config.expose(text)
        elif one.name == "VOLUME":
            config.volumes += [path for path in (one.items or words()) if path not in config.volumes]
        elif one.name == "SHELL":
            config.shell = one.items or ()
        elif one.name == "CMD":
            config.command = self._words(one, config)
        elif one.name == "ENTRYPOINT":
            config.entrypoint, config.command = self._words(one, config), ()
        elif one.name in ("COPY", "ADD"):
            self._copy(one, stage, list(one.items or ()) or words())
        elif one.name == "RUN":
            self._execute(one, stage)
        elif one.name == "STOPSIGNAL":
            config.stop_signal = " ".join(words())
        else:
            self._warnings.append(f"{self._file}: line {one.line}: {one.name} has no counterpart in an image here")

    @staticmethod
    def _words(one: Instruction, config: Config) -> tuple[str, ...]:
        return one.items if one.items is not None else (*config.shell, one.text)

    def _layer(self, one: Instruction, stage: Stage, text: str, work: Callable[[str], object]) -> None:
        """Perform an instruction that changes files, and whose result `text` determines, unless its layer is kept."""
        unchanged = stage.files.find(f"{one.name} {text}")
        self._tell(one, unchanged)
        if not unchanged:
            stage.files.add(work)

    def _execute(self, one: Instruction, stage: Stage) -> None:
        words = self._words(one, stage.config)
        app = stage.config.step(words, stage.arguments)

        def work(root: str) -> None:
            status = self._run(root, stage.config.step(words, {**self._proxies, **stage.arguments}))
            if status:
                hint = "--net default gives commands a network" if self._network == "none" else ""
                error = StepFailed(f"{one.text[:60]!r} ended with status {status}", "", hint)
                error.app = app
                raise error

        self._layer(one, stage, dumps([self._network, app.to_dict()]), work)

    def _copy(self, one: Instruction, stage: Stage, found: list[str]) -> None:
        if len(found) < 2:
            raise InvalidValue("needs a source and a target")
        *patterns, target = found
        unpack = one.name == "ADD"
        if unpack and any(re.match(r"(https?|git|ftp)://|git@", pattern) for pattern in patterns):
            raise InvalidValue("nothing is downloaded: put the file into the context")
        if not target.startswith("/"):
            end = "/" if target.endswith(("/", "/.")) or target == "." else ""
            target = os.path.normpath(os.path.join(stage.config.working_directory or "/", target)) + end
        mode = one.flags.get("chmod")
        if mode is not None and not re.fullmatch(r"[0-7]{3,4}", mode):
            raise InvalidValue(f"--chmod={mode} is not octal")
        chown = one.flags.get("chown", "")
        source, key = self._source_of(one.flags["from"]) if "from" in one.flags else (self._context, "")
        content = key or digest(source, patterns)

        def work(root: str) -> None:
            owner = stage.config.owner(TreeView((root,)), chown)
            copier = Copier(root, owner, None if mode is None else int(mode, 8))
            copier.copy(source, patterns, target, unpack=unpack)
            if not key and digest(source, patterns) != content:
                # What is kept for the next build must be what its key says.
                raise InvalidValue("what was copied changed meanwhile")

        self._layer(one, stage, dumps([patterns, target, chown, mode, content]), work)

    def _source_of(self, name: str) -> tuple[Source, str]:
        """The stage or image that --from means, and what its files are in short."""
        for stage in self._stages[:-1]:
            if name.lower() == stage.name or name == str(stage.number):
                return Source(stage.root(), f"stage {name}"), stage.files.key
        place = f"{self._directory}/from-{len(self._images)}"
        os.mkdir(place)
        lowers, key, _ = self._base(name, place)
        image = Stage(-1, "", Layered(place, lowers, key, self._cache), Config())
        self._images.append(image)
        return Source(image.root(), name), image.files.key


def _check_length(variables: Mapping[str, str]) -> None:
    if sum(map(len, variables)) + sum(map(len, variables.values())) > _MOST_TEXT:
        raise InvalidValue(f"with those before come to more than {_MOST_TEXT} characters")


def _read(path: str, source: str) -> bytes:
    """The Dockerfile that the user names, or else the one in the context `source`, which may come from anywhere."""
    try:
        if not path:
            directory = os.path.realpath(source)
            return read_small(None, inside(directory, f"{directory}/{DOCKERFILE}"), f"{source}/{DOCKERFILE}")
        with open(path, "rb") as stream:
            return stream.read(dockerfile.MAX_SIZE + 1)
    except ArchiveError as error:
        raise UsageError(error.what, error.where) from None
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", path) from None
