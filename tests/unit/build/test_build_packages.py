"""Root file systems of Debian packages: what a package cannot do to the host that unpacks it."""

from __future__ import annotations

from pathlib import Path

import pytest

from appc.build.deb import Package, complete
from appc.errors import ArchiveError

CONTROL = b"Package: hello\nVersion: 1\nArchitecture: all\n"


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """A tree as packages leave it, with what base-passwd brings."""
    masters = tmp_path / "rootfs/usr/share/base-passwd"
    masters.mkdir(parents=True)
    for name in ("passwd", "group"):
        (masters / f"{name}.master").write_text(f"root of {name}\n")
    return tmp_path / "rootfs"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("the host's\n")
    return tmp_path / "outside"


def test_what_scripts_would_have_made_is_made(rootfs: Path) -> None:
    complete(str(rootfs), [Package("hello.deb", CONTROL, False)])
    assert (rootfs / "etc/passwd").read_text() == "root of passwd\n"
    assert (rootfs / "var/lib/dpkg/status.d/hello").read_bytes() == CONTROL
    assert (rootfs / "tmp").stat().st_mode & 0o7777 == 0o1777


@pytest.mark.parametrize("link", ["var", "var/lib/dpkg", "var/lib/dpkg/status.d", "etc"])
def test_a_link_to_a_directory_of_the_host_leads_nowhere(rootfs: Path, outside: Path, link: str) -> None:
    (rootfs / link).parent.mkdir(parents=True, exist_ok=True)
    (rootfs / link).symlink_to(outside)
    complete(str(rootfs), [Package("hello.deb", CONTROL, False)])
    assert [path.name for path in outside.iterdir()] == ["secret"]


def test_a_link_in_the_place_of_a_record_is_replaced(rootfs: Path, outside: Path) -> None:
    records = rootfs / "var/lib/dpkg/status.d"
    records.mkdir(parents=True)
    (records / "hello").symlink_to(outside / "secret")
    complete(str(rootfs), [Package("hello.deb", CONTROL, False)])
    assert (outside / "secret").read_text() == "the host's\n"
    assert (records / "hello").read_bytes() == CONTROL


def test_accounts_are_not_those_of_the_host(rootfs: Path, outside: Path) -> None:
    master = rootfs / "usr/share/base-passwd/passwd.master"
    master.unlink()
    master.symlink_to(outside / "secret")
    with pytest.raises(ArchiveError, match=r"has no passwd\.master"):
        complete(str(rootfs), [])


@pytest.mark.parametrize("name", [b"../../x", b"/x", b"a/b", b"..", b"a\0b"])
def test_a_package_with_the_name_of_a_path_is_refused(name: bytes) -> None:
    with pytest.raises(ArchiveError, match="its control file calls it"):
        Package("hello.deb", CONTROL.replace(b"hello", name), False)
