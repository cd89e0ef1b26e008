"""Building a Dockerfile: each stage is an overlay on its base, in a mount namespace that ends with the build.

Commands are run by whoever calls (`Run`), for pods are not this floor's. What the steps leave is one flat image.
"""

from __future__ import annotations

import os
import re
import time

from appc.build import dockerfile
from appc.build.dockercopy import Copier, Source, context
from appc.build.dockerfile import Instruction
from appc.build.manifest import name_from
from appc.build.stage import Config, Stage
from appc.errors import AppcError, InvalidValue, ManifestError, UsageError
from appc.images.view import TreeView

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from appc.schema.image import App

    Run = Callable[[str, App], int]
    Base = Callable[[str, str], tuple[tuple[str, ...], bytes]]

SCRATCH = "scratch"


class Builder:
    """One build. `directory` is its own, on a file system that can hold an overlay's upper layer.

    `run(root, app)` runs a command and returns its exit status; `base(reference, directory)` gives the trees of an
    image, topmost first, and its manifest; `say` is told each step. The caller's mount namespace must be private.
    """

    def __init__(
        self,
        source: str,
        file: str,
        directory: str,
        *,
        run: Run,
        base: Base,
        say: Callable[[str], None],
        arguments: Mapping[str, str],
        warnings: list[str],
    ) -> None:
        self._file = file or f"{source}/Dockerfile"
        self._source = source
        try:
            with open(self._file, "rb") as stream:
                data = stream.read()
        except OSError as error:
            raise UsageError(f"cannot be read: {error.strerror}", self._file) from None
        parsed = dockerfile.parse(data, self._file)
        self._instructions = parsed.instructions
        self._escape = parsed.escape
        self._context = context(os.path.realpath(source), self._file)
        self._directory = directory
        self._run = run
        self._base = base
        self._say = say
        self._given = dict(arguments)
        self._global: dict[str, str] = {}
        self._stages: list[Stage] = []
        self._images: list[Stage] = []
        self._used: set[str] = set()
        self._warnings = warnings
        self._began = time.time_ns()

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
            stage.finish(self._began)
            return stage.root, stage.config.manifest(name_from(os.path.basename(os.path.realpath(self._source))))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unmount everything."""
        for stage in (*self._stages, *self._images):
            stage.unmount()

    def _step(self, one: Instruction, stage: Stage | None) -> Stage | None:
        self._say(f"line {one.line}: {one.name} {one.text}")
        try:
            if one.name == "FROM":
                return self._from(one)
            if stage is None:
                self._global.update(self._argument(one, self._global))
            else:
                self._perform(one, stage)
        except (InvalidValue, ManifestError) as error:
            raise ManifestError([(f"line {one.line}", f"{one.name}: {error}")], self._file) from None
        except AppcError as error:
            raise type(error)(str(error), f"{self._file}: line {one.line}: {one.name}", error.hint) from None
        except OSError as error:
            raise AppcError(
                f"{error.strerror}: {error.filename}", f"{self._file}: line {one.line}: {one.name}"
            ) from None
        return stage

    def _from(self, one: Instruction) -> Stage:
        words = dockerfile.words(one.text, self._global, self._escape)
        if len(words) == 3 and words[1].lower() == "as":
            name = words[2].lower()
        elif len(words) == 1:
            name = ""
        else:
            raise InvalidValue("the form is FROM IMAGE [AS NAME]")
        if name and (not re.fullmatch(r"[a-z][a-z0-9-_.]*", name) or any(stage.name == name for stage in self._stages)):
            raise InvalidValue(f"{name!r} cannot be the name of this stage, or is another's")
        if self._stages:
            self._stages[-1].finish(self._began)
        number = len(self._stages)
        place = f"{self._directory}/{number}"
        os.mkdir(place)
        earlier = next((stage for stage in self._stages if stage.name and stage.name == words[0].lower()), None)
        if earlier is not None:
            lowers, config = (earlier.upper, *earlier.lowers), earlier.config.copy()
        elif words[0] == SCRATCH:
            os.mkdir(f"{place}/empty", 0o755)
            lowers, config = (f"{place}/empty",), Config()
        else:
            lowers, manifest = self._base(words[0], place)
            config = Config.of(manifest)
        stage = Stage(place, number, name, lowers, config)
        self._stages.append(stage)
        stage.mount()
        return stage

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
        variables = {**stage.arguments, **dict(config.environment)}

        def words() -> list[str]:
            return dockerfile.words(one.text, variables, self._escape)

        if one.name == "ARG":
            stage.arguments.update(self._argument(one, variables))
        elif one.name == "ENV":
            config.environment.update(dockerfile.pairs(one.text, variables, self._escape))
        elif one.name == "LABEL":
            config.labels.update(dockerfile.pairs(one.text, variables, self._escape))
        elif one.name == "MAINTAINER":
            config.authors = one.text
        elif one.name == "WORKDIR":
            config.working_directory = os.path.normpath(
                os.path.join(config.working_directory or "/", " ".join(words()))
            )
            Copier(stage.root).make_directory(config.working_directory)
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
            self._copy(one, stage, list(one.items or ()), words)
        elif one.name == "RUN":
            self._execute(one, stage)
        else:
            self._warnings.append(f"{self._file}: line {one.line}: {one.name} has no counterpart in an image here")

    @staticmethod
    def _words(one: Instruction, config: Config) -> tuple[str, ...]:
        return one.items if one.items is not None else (*config.shell, one.text)

    def _execute(self, one: Instruction, stage: Stage) -> None:
        status = self._run(stage.root, stage.config.step(self._words(one, stage.config), stage.arguments))
        if status:
            hint = "--net host gives commands the host's network" if status != 125 else ""
            raise AppcError(f"{one.text[:60]!r} ended with status {status}", "", hint)

    def _copy(self, one: Instruction, stage: Stage, items: list[str], words: Callable[[], list[str]]) -> None:
        found = items or words()
        if len(found) < 2:
            raise InvalidValue("needs a source and a target")
        *patterns, target = found
        if one.name == "ADD" and any(re.match(r"(https?|git|ftp)://|git@", pattern) for pattern in patterns):
            raise InvalidValue("nothing is downloaded: put the file into the context")
        if not target.startswith("/"):
            end = "/" if target.endswith(("/", "/.")) or target == "." else ""
            target = os.path.normpath(os.path.join(stage.config.working_directory or "/", target)) + end
        mode = one.flags.get("chmod")
        if mode is not None and not re.fullmatch(r"[0-7]{3,4}", mode):
            raise InvalidValue(f"--chmod={mode} is not octal")
        owner = stage.config.owner(TreeView((stage.root,)), one.flags.get("chown", ""))
        source = self._source_of(one.flags["from"]) if "from" in one.flags else self._context
        copier = Copier(stage.root, owner, None if mode is None else int(mode, 8))
        copier.copy(source, patterns, target, unpack=one.name == "ADD")

    def _source_of(self, name: str) -> Source:
        for stage in self._stages[:-1]:
            if name.lower() == stage.name or name == str(stage.number):
                return Source(stage.root, f"stage {name}")
        place = f"{self._directory}/from-{len(self._images)}"
        os.mkdir(place)
        lowers, _ = self._base(name, place)
        stage = Stage(place, -1, "", lowers, Config())
        self._images.append(stage)
        stage.finish(self._began)
        return Source(stage.root, name)
