"""Users and groups in the order of the text: the image's databases, then numbers; paths mean their owner."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pod_fixtures import tree

from appc.errors import AppcError
from appc.images.view import TreeView
from appc.pods import users

PASSWD = """root:x:0:0:root:/root:/bin/sh
alice:x:1000:1001:Alice,,,:/home/alice:/bin/sh
2000:x:2001:2001::/digits:/bin/sh
alias:x:1000:1::/other:/bin/sh
short:x:5
bad:x:minus:0::/:
\x0bodd:x:77:0::/:
"""
GROUP = """root:x:0:
staff:x:50:alice
3000:x:3001:
nomembers:x:60
"""


@pytest.fixture
def view(tmp_path: Path) -> TreeView:
    return tree(tmp_path, {"etc/passwd": PASSWD, "etc/group": GROUP, "opt/file": "x"})


def resolve(view: TreeView, user: str = "0", group: str = "0", more: tuple[int, ...] = ()) -> tuple[int, int]:
    identity = users.resolve(view, user, group, more, "app web")
    assert identity.groups == more
    return identity.uid, identity.gid


@pytest.mark.parametrize(
    ("user", "group", "expected"),
    [
        ("root", "root", (0, 0)),
        ("alice", "staff", (1000, 50)),
        # A name of digits goes before the number; without such a name it is the number.
        ("2000", "3000", (2001, 3001)),
        ("2001", "3001", (2001, 3001)),
        ("4242", "4243", (4242, 4243)),
        ("0", "nomembers", (0, 60)),
        ("4294967294", "0", (4294967294, 0)),
        ("00012", "007", (12, 7)),
    ],
)
def test_names_then_numbers(view: TreeView, user: str, group: str, expected: tuple[int, int]) -> None:
    assert resolve(view, user, group) == expected


def test_the_owner_of_a_path(view: TreeView, tmp_path: Path) -> None:
    status = os.stat(tmp_path / "opt/file")
    assert resolve(view, "/opt/file", "/opt/file") == (status.st_uid, status.st_gid)


def test_what_the_database_says_of_the_user(view: TreeView) -> None:
    by_name = users.resolve(view, "alice", "0", (10, 20), "app web")
    assert (by_name.name, by_name.home, by_name.groups) == ("alice", "/home/alice", (10, 20))
    by_number = users.resolve(view, "1000", "0", (), "app web")
    assert (by_number.name, by_number.home) == ("alice", "/home/alice")
    unknown = users.resolve(view, "4242", "0", (), "app web")
    assert (unknown.name, unknown.home) == ("", "")


@pytest.mark.parametrize(
    ("user", "group", "message"),
    [
        ("mallory", "0", "app web.user: 'mallory' is neither in the image's /etc/passwd nor a number"),
        ("0", "cabal", "app web.group: 'cabal' is neither in the image's /etc/group nor a number"),
        ("/absent", "0", "app web.user: /absent does not exist in the image, so its owner cannot be taken"),
        ("0", "/opt/file/x", "app web.group: /opt/file/x does not exist in the image"),
        ("4294967295", "0", "app web.user: 4294967295 is not a valid ID"),
        ("0", "9" * 5000, "app web.group: 99999999999999999999 is not a valid ID"),
        ("-1", "0", "app web.user: '-1' is neither"),
        ("١٢", "0", "app web.user: '١٢' is neither"),
        ("", "0", "app web.user: '' is neither"),
        ("short", "0", "app web.user: 'short' is neither"),
        ("bad", "0", "app web.user: 'bad' is neither"),
        ("odd", "0", "app web.user: 'odd' is neither"),
    ],
)
def test_what_cannot_be_resolved(view: TreeView, user: str, group: str, message: str) -> None:
    with pytest.raises(AppcError) as caught:
        resolve(view, user, group)
    assert str(caught.value).startswith(message)


def test_an_image_without_databases(tmp_path: Path) -> None:
    bare = tree(tmp_path, {"x": "x"})
    assert resolve(bare, "5", "6") == (5, 6)
    with pytest.raises(AppcError, match="neither"):
        resolve(bare, "root", "0")


@pytest.mark.parametrize("content", [b"x" * (users.DATABASE_LIMIT + 1), None])
def test_databases_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    view = tree(tmp_path, {"etc": None} if content is None else {"etc/passwd": content})
    if content is None:
        os.mkfifo(tmp_path / "etc/passwd")
    with pytest.raises(AppcError, match=r"app web\.user: the image's /etc/passwd cannot be read"):
        resolve(view, "root")


def test_hostile_entries(tmp_path: Path) -> None:
    lines = b"root:x:" + b"9" * 10000 + b":0::/:\n\xff\xfe:x:7:7::/:\n::::::\n:x:8:8::/:\nroot:x:0:0::/:\n"
    view = tree(tmp_path, {"etc/passwd": lines})
    assert resolve(view, os.fsdecode(b"\xff\xfe"), "0") == (7, 0)
    with pytest.raises(AppcError, match="is not a valid ID"):
        resolve(view, "root")


def test_a_link_in_the_image_does_not_lead_to_the_hosts_users(tmp_path: Path) -> None:
    view = tree(tmp_path / "image", {"etc": None})
    (tmp_path / "image/etc/passwd").symlink_to("/../../../etc/passwd")
    with pytest.raises(AppcError):
        resolve(view, "root")
