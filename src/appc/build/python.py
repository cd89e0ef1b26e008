"""An image of a Python project: its sources or what pip makes of them, its dependencies, and its own interpreter."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import tomllib

from appc.build.closure import Closure
from appc.build.interpreter import Interpreter, add_libraries
from appc.build.manifest import manifest, name_from
from appc.errors import AppcError, ArchiveError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from appc.build.tree import Tree
    from appc.schema.image import Port

APP = "/app"
_SCRIPTS = "/usr/local/bin"
_EPOCH = "315532800"  # 1980, the earliest time a wheel can hold
_LOCKS = ("requirements.lock", "requirements.txt")
_FOREIGN_LOCKS = ("poetry.lock", "uv.lock", "pdm.lock", "Pipfile.lock", "pylock.toml")
_STARTS = ("__main__.py", "app.py", "main.py", "server.py", "wsgi.py")
# What lies in a project's directory and is none of its sources.
_NOT_SOURCES = (
    *(".git", ".hg", ".svn", ".venv", "venv", ".tox", ".nox", ".cache", ".*_cache", "__pycache__", "*.pyc"),
    *("*.egg-info", "*.aci", "*.aci.asc", "node_modules", ".env", ".DS_Store"),
)


class Project:
    """A project's directory and what its pyproject.toml says. Raises ArchiveError, UsageError."""

    def __init__(self, directory: str) -> None:
        self.directory = os.path.realpath(directory)
        if not os.path.isdir(self.directory):
            raise UsageError("is not a directory", directory)
        document: dict[str, Any] = {}
        path = f"{self.directory}/pyproject.toml"
        if os.path.isfile(path):
            try:
                with open(path, "rb") as file:
                    document = tomllib.load(file)
            except (ValueError, OSError) as error:
                raise ArchiveError(f"cannot be read: {error}", f"{directory}/pyproject.toml") from None
        fields = document.get("project")
        self._fields: dict[str, Any] = fields if isinstance(fields, dict) else {}
        # Without a build system it is an application that is started where it lies.
        self.installable = bool(self._fields) and ("build-system" in document or bool(self.scripts))
        self.name = self._text("name") or os.path.basename(self.directory)
        self.version = self._text("version")
        self.lock = next((name for name in _LOCKS if os.path.isfile(f"{self.directory}/{name}")), "")

    @property
    def scripts(self) -> tuple[str, ...]:
        """The names of the commands that installing the project makes."""
        scripts = self._fields.get("scripts")
        return tuple(scripts) if isinstance(scripts, dict) else ()

    @property
    def dependencies(self) -> tuple[str, ...]:
        """What the project depends on, as requirements."""
        found = self._fields.get("dependencies")
        return tuple(str(item) for item in found) if isinstance(found, list) else ()

    def foreign_lock(self) -> str:
        """The lock file of another tool, which pip does not read."""
        return next((name for name in _FOREIGN_LOCKS if os.path.isfile(f"{self.directory}/{name}")), "")

    def _text(self, field: str) -> str:
        value = self._fields.get(field)
        return value if isinstance(value, str) else ""


def make_python(
    tree: Tree,
    project_directory: str,
    *,
    python: str,
    module: str = "",
    script: str = "",
    arguments: Sequence[str] = (),
    ports: Sequence[Port] = (),
    pip: Sequence[str] = (),
    scratch: str,
    warnings: list[str],
) -> bytes:
    """Put the project, its dependencies and the interpreter `python` into `tree`; return the image's manifest.

    The app executes `module`, the command `script`, the project's only command, or its app.py, main.py or the like;
    the variable PORT tells it the first of `ports`. `pip` are options for pip; `scratch` is a directory of the build's
    own. Raises AppcError, HostError.
    """
    project = Project(project_directory)
    interpreter = Interpreter(python)
    target = f"{scratch}/packages"
    os.mkdir(target)
    _install(project, interpreter, target, pip, scratch, warnings)
    places = _place_packages(tree, target, interpreter)
    if not project.installable:
        places += tree.copy_tree(project.directory, APP, _is_no_source)
    command = _command(tree, project, interpreter, module, script)
    closure = Closure(tree)
    interpreter.add_to(tree, closure)
    for place in places:
        add_libraries(tree, closure, place)
    tree.directory(APP)
    tree.directory("/tmp", 0o1777)
    interpreter.compile(tree, (*interpreter.libraries, interpreter.packages, APP))
    environment = [("PYTHONUNBUFFERED", "1"), ("PYTHONDONTWRITEBYTECODE", "1")]
    if not project.installable:
        environment.append(("PYTHONPATH", APP))
    app: dict[str, Any] = {"workingDirectory": APP}
    if ports:
        environment.append(("PORT", str(ports[0].port)))
    app["environment"] = [{"name": name, "value": value} for name, value in environment]
    return manifest(
        name_from(project.name),
        (*command, *arguments),
        labels=(("version", project.version),) if project.version else (),
        app=app,
    )


def _install(
    project: Project, interpreter: Interpreter, target: str, options: Sequence[str], scratch: str, warnings: list[str]
) -> None:
    """Have pip install what the lock says, or what the project depends on, and the project if it can be installed."""
    words: list[str] = []
    if project.lock:
        _pip(interpreter, target, ("-r", f"{project.directory}/{project.lock}"), options)
    else:
        words += project.dependencies
        if project.foreign_lock():
            warnings.append(f"{project.foreign_lock()} is not read: export it to requirements.txt for locked versions")
    if project.installable:
        # Builders write beside the sources, which are not ours to change.
        copy = f"{scratch}/project"
        shutil.copytree(project.directory, copy, symlinks=True, ignore=shutil.ignore_patterns(*_NOT_SOURCES))
        words = [copy, "--no-deps"] if project.lock else [copy]
    if words:
        _pip(interpreter, target, words, options)


def _pip(interpreter: Interpreter, target: str, words: Sequence[str], options: Sequence[str]) -> None:
    command = [interpreter.executable, "-m", "pip", "install", "--target", target, "--no-compile", "--no-input"]
    command += ["--disable-pip-version-check", "--no-warn-script-location", "--quiet", *options, *words]
    environment = {
        **os.environ,
        "SOURCE_DATE_EPOCH": _EPOCH,
        "PYTHONHASHSEED": "0",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, check=False
    )
    if not done.returncode:
        return
    if "No module named pip" in done.stderr:
        raise AppcError("this interpreter has no pip", interpreter.executable, "--python names another interpreter")
    faults = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in faults if line.startswith("ERROR: ")] or faults[-1:]
    raise AppcError("; ".join(errors) or f"ended with status {done.returncode}", "pip")


def _place_packages(tree: Tree, target: str, interpreter: Interpreter) -> list[str]:
    """Bring what pip installed to where the interpreter finds it; return the places of all files."""
    for name in sorted(os.listdir(target)):
        if name.endswith(".dist-info"):
            _forget_origin(f"{target}/{name}")
    places = []
    scripts = f"{target}/bin"
    if os.path.isdir(scripts):
        tree.copy_tree(scripts, _SCRIPTS, _is_bytecode)
    for name in sorted(os.listdir(target)):
        if name not in ("bin", "__pycache__"):
            places += tree.copy_tree(f"{target}/{name}", f"{interpreter.packages}/{name}", _is_bytecode)
    return places


def _forget_origin(information: str) -> None:
    """Take out where on this host a package was installed from."""
    if not os.path.exists(f"{information}/direct_url.json"):
        return
    os.unlink(f"{information}/direct_url.json")
    record = f"{information}/RECORD"
    with open(record, encoding="utf-8") as file:
        lines = [line for line in file if "/direct_url.json," not in line]
    with open(record, "w", encoding="utf-8") as file:
        file.writelines(lines)


def _command(tree: Tree, project: Project, interpreter: Interpreter, module: str, script: str) -> tuple[str, ...]:
    if module:
        if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", module):
            raise UsageError("is no name of a module", module)
        return interpreter.executable, "-m", module
    if not script and len(project.scripts) == 1:
        script = project.scripts[0]
    if script:
        path = f"{_SCRIPTS}/{script}"
        if "/" in script or not os.path.isfile(tree.root + path):
            raise UsageError("no package installs such a command", script)
        return interpreter.executable, path
    start = next((name for name in _STARTS if os.path.isfile(f"{tree.root}{APP}/{name}")), "")
    if not start:
        hint = "--module or --script says it"
        raise UsageError("what is to be executed is not clear", project.directory, hint)
    return interpreter.executable, f"{APP}/{start}"


def _is_no_source(path: str) -> bool:
    name = os.path.basename(path)
    return any(fnmatch.fnmatch(name, pattern) for pattern in _NOT_SOURCES)


def _is_bytecode(path: str) -> bool:
    return os.path.basename(path) == "__pycache__"
