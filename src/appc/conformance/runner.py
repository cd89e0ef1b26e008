"""Runs pods with an executor's command line, and keeps what came of them.

An executor is two commands, in the words of rkt: one that runs images as a pod (`rkt run --insecure-options=image`),
followed by `--volume NAME,kind=…` and the images, and one that puts an image into its store. What the pod's apps find
out they write into files of a volume, so how an executor shows their output does not matter, and a second run over
the same directory finds files of the first.
"""

from __future__ import annotations

import os
import subprocess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from appc.conformance.scenarios import Scenario

SHARED = "/shared"
PATIENCE = 120.0  # seconds for one pod
_MOST = 1 << 20  # bytes of one answer


class Evidence:
    """What came of one pod: the executor's exit status (None: it did not end), what it said, what the apps wrote."""

    def __init__(self, status: int | None, said: str, directory: str) -> None:
        self.status = status
        self.said = said
        self._directory = directory

    def text(self, name: str) -> str:
        """What an app wrote to the file `name` of the shared volume, "" when there is no such file."""
        try:
            with open(os.path.join(self._directory, name), encoding="utf-8", errors="replace") as stream:
                return stream.read(_MOST)
        except OSError:
            return ""

    def lines(self, name: str) -> list[str]:
        """The lines of `text`."""
        return self.text(name).splitlines()

    def values(self, name: str) -> dict[str, str]:
        """The lines KEY=VALUE of `text`."""
        return dict(line.split("=", 1) for line in self.lines(name) if "=" in line)

    @property
    def ran(self) -> bool:
        """Whether an app of the pod was executed."""
        return bool(self.text("ran"))


class Executor:
    """The commands of an executor under test, as words."""

    def __init__(self, run: Sequence[str], fetch: Sequence[str]) -> None:
        self.run = list(run)
        self.fetch = list(fetch)


class Runner:
    """Runs scenarios, each at most once, in directories below `base`."""

    def __init__(self, executor: Executor, base: str) -> None:
        self.executor = executor
        self.base = base
        self._done: dict[str, Evidence] = {}

    def evidence(self, scenario: Scenario) -> Evidence:
        """What came of a scenario, which is run first if it was not yet. Raises OSError when there is no executor."""
        if scenario.name not in self._done:
            self._done[scenario.name] = self._run(scenario)
        return self._done[scenario.name]

    def _run(self, scenario: Scenario) -> Evidence:
        place = os.path.join(self.base, scenario.name)
        os.mkdir(place)
        shared = os.path.join(self.base, scenario.over or scenario.name, "shared")
        os.makedirs(shared, exist_ok=True)
        # Apps of any user write there.
        os.chmod(shared, 0o777)
        # Whether an app of this pod ran is told by a file; the rest may be there from a pod before.
        try:
            os.unlink(os.path.join(shared, "ran"))
        except FileNotFoundError:
            pass
        wanted = scenario.make(self, place)
        for image in wanted.fetched:
            _call([*self.executor.fetch, image])
        volumes = {"shared": f"kind=host,source={shared}", **wanted.volumes}
        words = [*self.executor.run, *_volumes(volumes)]
        if wanted.pod_manifest:
            words = [*self.executor.run, "--pod-manifest", wanted.pod_manifest]
        for index, image in enumerate(wanted.images):
            words += ["---"] * (index > 0) + [image]
        status, said = _call(words)
        return Evidence(status, said, shared)


def _volumes(volumes: Mapping[str, str]) -> list[str]:
    return [word for name, rest in volumes.items() for word in ("--volume", f"{name},{rest}")]


def _call(words: Sequence[str]) -> tuple[int | None, str]:
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return None, (error.stdout or b"").decode(errors="replace")
    return done.returncode, done.stdout.decode(errors="replace")
