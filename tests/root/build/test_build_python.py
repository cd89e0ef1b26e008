"""Python projects as images: dependencies, locks, and an interpreter of their own."""

from __future__ import annotations

import hashlib
import json
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from podkit import appc, build, run

from capabilities import missing, need

APP = """
import greeting, os, ssl, sqlite3, sys
print(greeting.TEXT, sys.argv[1:], os.environ["PORT"], os.getcwd(), greeting.__cached__ is not None)
"""


@pytest.fixture(autouse=True)
def python() -> None:
    need("/usr/bin/python3")
    if missing("pip3"):
        pytest.skip("pip is not installed")


def _wheel(directory: Path, name: str = "greeting", version: str = "1.0") -> Path:
    """Write a wheel with one module and one command."""
    information = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": 'TEXT = "hello"\ndef main():\n    print(TEXT, "from a command")\n',
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{information}/entry_points.txt": f"[console_scripts]\ngreet = {name}:main\n",
    }
    files[f"{information}/RECORD"] = "".join(f"{path},,\n" for path in (*files, f"{information}/RECORD"))
    directory.mkdir(exist_ok=True)
    wheel = directory / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), content)
    return wheel


@pytest.fixture
def project(sandbox: Path) -> Path:
    """An application with a dependency, locked with its hash."""
    wheel = _wheel(sandbox / "wheels")
    made = sandbox / "project"
    (made / "__pycache__").mkdir(parents=True)
    (made / "__pycache__/app.cpython-311.pyc").write_text("old")
    (made / ".git").mkdir()
    (made / ".git/config").write_text("secret")
    (made / "app.py").write_text(APP)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (made / "requirements.txt").write_text(f"greeting==1.0 --hash=sha256:{digest}\n")
    (made / "pyproject.toml").write_text('[project]\nname = "My_App"\nversion = "2.5"\ndependencies = ["greeting"]\n')
    return made


def test_a_project_runs_with_its_locked_dependencies(sandbox: Path, project: Path) -> None:
    need("native", "overlay", "own-speed")
    options = ("--no-index", "--find-links", sandbox / "wheels", "--port", "8080")
    first = build(sandbox, "from-python", *options, project, sandbox / "one.aci", "--", "a b")
    time.sleep(1.1)
    assert build(sandbox, "from-python", *options, project, sandbox / "two.aci", "--", "a b") == first
    done = run(sandbox, sandbox / "one.aci")
    assert done.stdout == "hello ['a b'] 8080 /app True\n", done.stderr
    done = run(sandbox, sandbox / "one.aci", "--exec", "/usr/local/bin/greet")
    assert done.stdout == "hello from a command\n", done.stderr
    with tarfile.open(sandbox / "one.aci") as archive:
        names = archive.getnames()
        file = archive.extractfile("manifest")
        assert file is not None
        manifest = json.load(file)
    assert manifest["name"] == "my_app"
    assert {"name": "version", "value": "2.5"} in manifest["labels"]
    assert manifest["app"]["ports"] == [{"name": "http", "protocol": "tcp", "port": 8080}]
    assert not [name for name in names if ".git" in name or "/tkinter" in name or name.endswith("direct_url.json")]


def test_what_pip_refuses_is_refused(sandbox: Path, project: Path) -> None:
    options = ("--no-index", "--find-links", sandbox / "wheels")
    locked = (project / "requirements.txt").read_text()
    for requirements, reason in (
        (locked.replace("sha256:", "sha256:0")[:-2] + "\n", "DO NOT MATCH"),
        ("absent==1\n", "No matching distribution found for absent==1"),
        ("greeting ==== 1\n", "Invalid requirement"),
    ):
        (project / "requirements.txt").write_text(requirements)
        done = appc(sandbox, "image", "build", "from-python", *options, project, sandbox / "out.aci")
        assert done.returncode == 1
        assert done.stderr.startswith("appc: pip: ")
        assert reason in done.stderr
        assert not (sandbox / "out.aci").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--python", "/bin/true"), "is no Python interpreter"),
        (("--python", "/none"), "there is no such program"),
        (("--module", "a;b"), "is no name of a module"),
        (("--script", "absent"), "no package installs such a command"),
    ],
)
def test_options_that_cannot_be_are_refused(words: tuple[str, ...], reason: str, sandbox: Path, project: Path) -> None:
    options = ("--no-index", "--find-links", sandbox / "wheels")
    done = appc(sandbox, "image", "build", "from-python", *options, *words, project, sandbox / "out.aci")
    assert done.returncode in (1, 2, 125)
    assert reason in done.stderr
    assert not (sandbox / "out.aci").exists()
