"""Build files: what they may say, all faults at once, and what makes a step another one."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appc.build import appfile
from appc.build.appsteps import inputs, remove
from appc.build.dockercopy import context, digest
from appc.cli.manifest_edits import from_table
from appc.errors import AppcError, InvalidValue, ManifestError
from appc.schema.image import App, EnvVar
from appc.schema.json import loads

WHOLE = """
name = "example.com/web"
base = "example.com/debian:12"
output = "thin"
network = "host"
labels = { version = "${args.VERSION}" }
dependencies = ["example.com/tools:2,os=linux"]
exclude = ["*.pyc"]

[args]
VERSION = "1.0"

[set]
user = "33"
port = ["http,protocol=tcp,port=80"]
handler = { pre-start = ["/bin/check", "a b"] }

[[steps]]
copy = { from = ["a", "b"], to = "/srv/", owner = 33, mode = "0640" }

[[steps]]
run = "echo ${args.VERSION} ${HOME}"

[[steps]]
run = { command = ["/bin/true"], network = "none", env = { N = 1 }, working-dir = "/srv", user = "a:b" }

[[steps]]
env = { A = "1" }

[[steps]]
remove = "/tmp/*"
"""


def _read(tmp_path: Path, text: str, name: str = "Appfile.toml", **arguments: str) -> appfile.Appfile:
    (tmp_path / name).write_text(text)
    return appfile.read(str(tmp_path / name), arguments, from_table)


def _faults(tmp_path: Path, text: str, **arguments: str) -> dict[str, str]:
    with pytest.raises(ManifestError) as caught:
        _read(tmp_path, text, **arguments)
    return dict(caught.value.faults)


def test_everything_a_file_may_say(tmp_path: Path) -> None:
    file = _read(tmp_path, WHOLE, VERSION="2")
    assert (file.base, file.output, file.exclude) == ("example.com/debian:12", "thin", ["*.pyc"])
    assert [str(one.image_name) for one in file.dependencies] == ["example.com/tools"]
    first, copy, run, other, env, gone = file.steps
    assert copy.fields == {"from": ["a", "b"], "to": "/srv/", "owner": "33", "mode": 0o640}
    assert run.fields == {"command": ["/bin/sh", "-c", "echo 2 ${HOME}"], "network": "host"}
    assert other.fields["network"] == "none"
    assert (other.fields["env"], other.fields["working-dir"], other.fields["user"]) == ({"N": "1"}, "/srv", "a:b")
    assert gone.fields == {"paths": ["/tmp/*"]}
    manifest = b'{"acKind":"ImageManifest","acVersion":"0.8.11","name":"x","app":{"exec":[],"user":"0","group":"0"}}'
    assert first.edit is not None
    assert env.edit is not None
    document = loads(env.edit(first.edit(file.start(manifest))))
    assert document["name"] == "example.com/web"
    assert document["labels"] == [{"name": "version", "value": "2"}]
    assert document["app"]["user"] == "33"
    assert document["app"]["eventHandlers"] == [{"name": "pre-start", "exec": ["/bin/check", "a b"]}]
    assert document["app"]["environment"] == [{"name": "A", "value": "1"}]


def test_the_same_in_yaml_and_json(tmp_path: Path) -> None:
    said = {"name": "example.com/x", "steps": [{"mkdir": {"path": "/a", "mode": "0700"}}, {"run": ["/bin/true"]}]}
    texts = [step.text for step in _read(tmp_path, json.dumps(said), "a.json").steps]
    assert [step.text for step in _read(tmp_path, json.dumps(said), "a.yaml").steps] == texts
    assert len(texts) == 2


def test_the_example_of_the_documentation_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/building.md").read_text()
    lines = page[page.index("    # Appfile.toml") :].splitlines()
    end = next(index for index, line in enumerate(lines) if line and not line.startswith("    "))
    file = _read(tmp_path, "\n".join(lines[:end]))
    assert [step.action for step in file.steps] == ["run", "copy", "write", "remove", "set"]


def test_all_faults_are_told_at_once_with_their_paths(tmp_path: Path) -> None:
    text = """
nam = "x"
base = 5
labels = { "Bad Name" = "x" }
[args]
A = "1"
[[steps]]
copy = { from = 5, to = "srv", mode = "999", owner = "a b" }
[[steps]]
runn = "x"
[[steps]]
run = { network = "host,bridge" }
[[steps]]
run = "echo ${args.B}"
[[steps]]
copy = { from = "x", to = "/x" }
run = "x"
[[steps]]
set = { exec = "unfinished '", isolator = "resource/memory,limit=x", name = "y", user = {}, execc = "z" }
[[steps]]
env = { "A B" = "1" }
[[steps]]
symlink = "/a"
"""
    faults = _faults(tmp_path, text, C="1")
    assert set(faults) == {
        "nam", "base", "labels[0].name", "args",
        "steps[0].copy.from", "steps[0].copy.to", "steps[0].copy.mode", "steps[0].copy.owner",
        "steps[1].runn", "steps[2].run.network", "steps[2].run.command", "steps[3].run", "steps[4]",
        "steps[5].set.exec", "steps[5].set.isolator", "steps[5].set.name", "steps[5].set.user", "steps[5].set.execc",
        "steps[6]: app.environment[0].name", "steps[7].symlink",
    }  # fmt: skip
    assert faults["nam"].endswith("did you mean name?")
    assert "list of networks" in faults["steps[2].run.network"]


@pytest.mark.parametrize(
    "text",
    ["steps = 5", "steps = [5]", "args = 5", "set = 5", "name = ", "a = 1\na = 2", "[[steps]]\n", "\0", "base = ''"],
)
def test_a_file_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    assert _faults(tmp_path, text)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.toml"):
        with pytest.raises(AppcError, match=r"cannot be read|not a regular file"):
            appfile.read(str(path), {}, from_table)


def test_a_copy_is_another_when_what_it_brings_is(tmp_path: Path) -> None:
    made = tmp_path / "context"
    (made / "tree/inner").mkdir(parents=True)
    (made / "tree/inner/file").write_text("one")
    (made / "tree/link").symlink_to("inner")
    (made / ".dockerignore").write_text("*.log\n")
    source = context(str(made), str(made / "Appfile.toml"), ["**/*.pyc"])
    seen = [digest(source, ["tree"])]

    os.utime(made / "tree/inner/file", (1, 1))
    (made / "tree/x.pyc").write_text("left out")
    (made / "other.log").write_text("left out")
    assert digest(source, ["tree"]) == seen[0]

    (made / "tree/inner/file").write_text("two")
    seen.append(digest(source, ["tree"]))
    (made / "tree/inner/file").chmod(0o755)
    seen.append(digest(source, ["tree"]))
    (made / "tree/link").unlink()
    (made / "tree/link").symlink_to("/etc")
    seen.append(digest(source, ["tree"]))
    (made / "tree/empty").mkdir()
    seen.append(digest(source, ["tree"]))
    (made / "tree/inner/file").rename(made / "tree/inner/name")
    seen.append(digest(source, ["tree"]))
    assert len(set(seen)) == len(seen)


def test_a_command_is_another_when_its_environment_is(tmp_path: Path) -> None:
    step = _read(tmp_path, '[[steps]]\nrun = { command = "x", env = { A = "1" } }\n').steps[0]
    source = context(str(tmp_path), "Appfile.toml")

    def app(*variables: tuple[str, str]) -> App:
        found = tuple(EnvVar(name=name, value=value) for name, value in variables)
        return App(exec=(), user="0", group="0", environment=found)

    assert inputs(step, source, app(("B", "1"))) != inputs(step, source, app(("B", "2")))
    assert inputs(step, source, app(("A", "5"))) == inputs(step, source, None)
    assert inputs(step, source, app(("B", "1"), ("C", "2"))) == inputs(step, source, app(("C", "2"), ("B", "1")))


def test_sockets_and_links_out_of_the_context_are_refused(tmp_path: Path) -> None:
    made = tmp_path / "context"
    made.mkdir()
    (tmp_path / "secret").write_text("x")
    (made / "out").symlink_to("../secret")
    (made / "absolute").symlink_to(tmp_path / "secret")
    source = context(str(made), "Appfile.toml")
    for pattern in ("out", "absolute", "../secret", str(tmp_path / "secret"), "absent"):
        with pytest.raises(InvalidValue, match="is not in the context"):
            digest(source, [pattern])
    (made / "sub").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(made / "sub")
        server.bind("socket")
        os.chdir(here)
        with pytest.raises(InvalidValue, match="sub/socket in the context is neither"):
            digest(source, ["sub"])


def test_remove_takes_links_and_not_what_they_lead_to(tmp_path: Path) -> None:
    root, victim = tmp_path / "root", tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("mine")
    (root / "tmp/a").mkdir(parents=True)
    (root / "tmp/b").symlink_to(victim)
    (root / "way").symlink_to(victim)
    (root / "inside").symlink_to("/tmp")
    (root / "tmp/keep").write_text("x")
    remove(str(root), "/inside/[ab]")
    remove(str(root), "/way")
    assert sorted(os.listdir(root / "tmp")) == ["keep"]
    assert (victim / "file").exists()
    (root / "way").symlink_to(victim)
    for pattern in ("/way/file", "/way/*", "/*/file", "/absent", "/absent/*", "/"):
        with pytest.raises(InvalidValue):
            remove(str(root), pattern)
    assert (victim / "file").exists()


_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8),
    st.sampled_from(["/a", "x=y", "${args.A}", "http,protocol=tcp,port=80", "resource/memory,limit=1", "0644", "none"]),
)  # fmt: skip
_KEYS = st.sampled_from(
    ["name", "base", "output", "labels", "annotations", "dependencies", "exclude", "network", "shell", "args", "steps",
     "set", "copy", "run", "remove", "mkdir", "symlink", "write", "env", "from", "to", "path", "mode", "owner", "text",
     "command", "exec", "port", "mount", "isolator", "handler", "user", "caps-retain", "supplementary-gids", "seccomp",
     "remove-env", "A", ""]
)  # fmt: skip
_VALUES = st.recursive(
    _LEAVES,
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(_KEYS, below, max_size=4)),
    max_leaves=12,
)


@given(st.dictionaries(_KEYS, _VALUES, max_size=5))
def test_whatever_a_file_says_it_is_taken_or_its_faults_are_told(
    tmp_path_factory: pytest.TempPathFactory, said: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "said.json"
    path.write_text(json.dumps(said))
    try:
        appfile.read(str(path), {}, from_table)
    except ManifestError as error:
        assert error.faults
