"""Images of Debian packages: the closure, what is unpacked and what is not."""

from __future__ import annotations

import json
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from debkit import Repository
from podkit import appc, build

from capabilities import need


@pytest.fixture
def repository(sandbox: Path) -> Repository:
    need("apt-get", "dpkg-deb")
    made = Repository(sandbox / "repository")
    made.add(
        "hello",
        "1.0-1",
        {
            "bin/hello": "#!/bin/sh\n",
            "usr/share/doc/hello/README": "read",
            "usr/share/doc/hello/copyright": "free",
            "usr/share/man/man1/hello.1": "man",
            "usr/share/man/de/man1/hello.1": "mann",
            "usr/share/locale/de/LC_MESSAGES/hello.mo": "hallo",
        },
        depends="nowhere | lib-c++ (>= 2)",
        postinst="#!/bin/sh\ntouch /ran\n",
    )
    made.add("lib-c++", "1.0", {"lib/old": ""})
    made.add("lib-c++", "2.0", {"lib/new": ""}, links={"lib/newer": "new"})
    made.index()
    return made


def _members(aci: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(aci) as archive:
        return {member.name.removeprefix("rootfs/"): member for member in archive}


def _read(aci: Path, name: str) -> bytes:
    with tarfile.open(aci) as archive:
        file = archive.extractfile(name)
        assert file is not None
        return file.read()


def _manifest(aci: Path) -> dict[str, Any]:
    return dict(json.loads(_read(aci, "manifest")))


def test_the_closure_is_unpacked_on_a_merged_usr(sandbox: Path, repository: Repository) -> None:
    out = sandbox / "out.aci"
    done = appc(sandbox, "image", "build", "from-deb", "--sources", repository.sources, "hello", out)
    assert done.returncode == 0, done.stderr
    assert "maintainer scripts were not run, those of hello" in done.stderr
    members = _members(out)
    assert {"usr/bin/hello", "usr/lib/new", "usr/lib/newer", "usr/share/doc/hello/README"} <= set(members)
    assert not {"usr/lib/old", "ran"} & set(members)
    assert members["bin"].linkname == "usr/bin"
    assert members["tmp"].mode == 0o1777
    assert _read(out, "rootfs/etc/passwd").startswith(b"root:*:0:0:")
    manifest = _manifest(out)
    assert manifest["app"]["exec"] == ["/usr/bin/hello"]
    assert {"name": "version", "value": "1.0-1"} in manifest["labels"]
    assert {"name": "debian.org/deb/hello", "value": "all/1.0-1"} in manifest["annotations"]
    assert {"name": "debian.org/deb/lib-cplusplus", "value": "all/2.0"} in manifest["annotations"]


def test_documentation_and_translations_stay_behind_if_asked(sandbox: Path, repository: Repository) -> None:
    options = ("--sources", repository.sources, "--no-docs", "--no-locales")
    build(sandbox, "from-deb", *options, "hello", sandbox / "out.aci")
    names = set(_members(sandbox / "out.aci"))
    assert "usr/share/doc/hello/copyright" in names
    assert not {name for name in names if name.endswith(("README", "hello.1", ".mo"))}


def test_the_same_packages_give_the_same_image(sandbox: Path, repository: Repository) -> None:
    first = build(sandbox, "from-deb", "--sources", repository.sources, "hello", sandbox / "one.aci")
    time.sleep(1.1)
    assert build(sandbox, "from-deb", "--sources", repository.sources, "hello", sandbox / "two.aci") == first


def test_packages_taken_for_installed_are_left_out(sandbox: Path, repository: Repository) -> None:
    build(sandbox, "from-deb", "--sources", repository.sources, "--assume", "lib-c++", "hello", sandbox / "out.aci")
    assert "usr/lib/new" not in _members(sandbox / "out.aci")


def test_what_apt_refuses_is_refused(sandbox: Path, repository: Repository) -> None:
    repository.add("broken", "1", {"usr/share/x": ""}, depends="nowhere")
    sources = repository.index()
    for package, reason in (
        ("unknown", "Unable to locate package unknown"),
        ("broken", "nowhere"),
        ("hello=9", "Version '9' for 'hello' was not found"),
        ("./x.deb", "is no name of a package"),
        ("apt;reboot", "Unable to locate"),
    ):
        words = ("--sources", sources, package, sandbox / "out.aci")
        done = appc(sandbox, "image", "build", "from-deb", *words)
        assert done.returncode in (1, 2)
        assert reason in done.stderr
        assert "internal error" not in done.stderr
    sources = repository.index(trusted=False)
    done = appc(sandbox, "image", "build", "from-deb", "--sources", sources, "hello", sandbox / "out.aci")
    assert done.returncode == 1
    assert "not signed" in done.stderr or "does not have a Release file" in done.stderr
    assert not (sandbox / "out.aci").exists()


def test_a_damaged_package_is_refused(sandbox: Path, repository: Repository) -> None:
    deb = repository.directory / "hello_1.0-1_all.deb"
    deb.write_bytes(deb.read_bytes().replace(b"hallo", b"hullo"))
    words = ("--sources", repository.sources, "hello", sandbox / "out.aci")
    done = appc(sandbox, "image", "build", "from-deb", *words)
    assert done.returncode == 1
    assert "apt-get" in done.stderr
    assert not (sandbox / "out.aci").exists()
