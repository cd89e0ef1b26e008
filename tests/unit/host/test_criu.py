"""The messages that go to CRIU and come from it, and a conversation with a program that speaks them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from appc.errors import HostError
from appc.host import criu, criu_wire
from starter import SOURCE

# Answers as the bytes of images/rpc.proto, made with protoc.
RESTORED = bytes.fromhex("0802 1001 2203 08e607".replace(" ", ""))
NOTICE = bytes.fromhex("0806 1001 2a15 0a10 73657475702d6e616d65737061636573 10e707".replace(" ", ""))
REFUSED = bytes.fromhex("0801 1000 3816 4a02 6e6f".replace(" ", ""))

# Tells what it was sent in `log`, hands a file over, asks whether to go on, and says what its second word is.
FAKE = f"""#!{sys.executable} -I
import os, socket, sys
sys.path.append({SOURCE!r})
if sys.argv[1] == "check":
    print("Warn  (criu/x.c:1): so what", file=sys.stderr)
    print("Error (criu/x.c:12): vdso: unexpected area", file=sys.stderr)
    sys.exit(1)
peer = socket.socket(fileno=int(sys.argv[2]))
request = peer.recv(65536)
with open({{log!r}}, "w") as log:
    print(request.hex(), os.umask(0), *sorted(os.environ), file=log)
    links = (f"/proc/self/fd/{{{{fd}}}}" for fd in range(4, 300) if fd != log.fileno())
    print(*(os.readlink(link) for link in links if os.path.lexists(link)), file=log)
socket.send_fds(peer, [bytes.fromhex({NOTICE.hex()!r})], [os.open("/dev/zero", os.O_RDONLY)])
answer = peer.recv(65536)
peer.send(bytes.fromhex({RESTORED.hex()!r} if answer == b"\\x08\\x06\\x18\\x01" else {REFUSED.hex()!r}))
"""


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    program = tmp_path / "criu"
    program.write_text(FAKE.format(log=str(tmp_path / "log")))
    program.chmod(0o755)
    return program


def test_numbers_and_strings_and_messages_in_messages() -> None:
    options: list[criu_wire.Option] = [("pid", 300), ("root", "/r"), ("ext_mnt", ("a", "b")), ("cg_root", ("", "/g"))]
    body = bytes.fromhex("10ac02 6a022f72 ba01 06 0a0161 120162 ca01 04 12022f67".replace(" ", ""))
    assert criu_wire.request(criu_wire.DUMP, options) == b"\x08\x01\x12" + bytes([len(body)]) + body
    assert criu_wire.answer(True) == b"\x08\x06\x18\x01"
    assert criu_wire.answer(False) == b"\x08\x06\x18\x00"


def test_what_comes_back() -> None:
    restored = criu_wire.Response(RESTORED)
    assert (restored.kind, restored.success, restored.pid) == (criu_wire.RESTORE, True, 998)
    notice = criu_wire.Response(NOTICE)
    assert (notice.kind, notice.script, notice.pid) == (criu_wire.NOTIFY, "setup-namespaces", 999)
    refused = criu_wire.Response(REFUSED)
    assert (refused.success, refused.message) == (False, "no")
    assert criu_wire.Response(criu_wire.failure(1, "why")).message == "why"


@pytest.mark.parametrize("data", [b"\x08", b"\x08\xff", b"\x22\x05abc", b"\x0b", b"\x08" + b"\xff" * 11])
def test_messages_that_are_none(data: bytes) -> None:
    with pytest.raises(HostError, match="criu"):
        criu_wire.Response(data)


def test_a_conversation(fake: Path, tmp_path: Path) -> None:
    told = []
    prepared = tmp_path / "prepared"

    def notify(script: str, pid: int, fds: list[int]) -> None:
        told.append((script, pid, [os.readlink(f"/proc/self/fd/{fd}") for fd in fds]))

    before = os.listdir("/proc/self/fd")
    with open("/dev/full") as handed:
        response = criu.call(
            criu_wire.RESTORE,
            [("root", "/r")],
            images=str(tmp_path),
            work=str(tmp_path),
            program=str(fake),
            descriptors=[handed.fileno()],
            prepare=lambda: prepared.write_text(str(os.getpid())),
            notify=notify,
        )
    assert (response.success, response.pid) == (True, 998)
    assert told == [("setup-namespaces", 999, ["/dev/zero"])]
    assert prepared.read_text() != str(os.getpid())
    request, mask, *environment, descriptors = (tmp_path / "log").read_text().split()
    assert request.endswith(b"j\x02/r".hex())
    assert int(mask) == 0o077
    assert [name for name in environment if name not in ("PATH", "LC_CTYPE")] == []
    assert descriptors == "/dev/full"
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_what_fails_meanwhile_fails_the_request(fake: Path, tmp_path: Path) -> None:
    def refuse(script: str, pid: int, fds: list[int]) -> None:
        raise HostError("the hook failed", script)

    def fail() -> None:
        raise OSError(1, "not permitted", "/root")

    places = {"images": str(tmp_path), "work": str(tmp_path), "program": str(fake)}
    with pytest.raises(HostError, match="setup-namespaces: the hook failed"):
        criu.call(criu_wire.RESTORE, [], notify=refuse, **places)
    with pytest.raises(HostError, match="/root: not permitted"):
        criu.call(criu_wire.RESTORE, [], prepare=fail, **places)
    with pytest.raises(HostError, match="nowhere"):
        criu.call(criu_wire.DUMP, [], **{**places, "work": "/nowhere"})
    fake.write_text("#!/bin/sh\nexit 1\n")
    response = criu.call(criu_wire.DUMP, [], **places)
    assert (response.success, response.message) == (False, "it ended without an answer")


def test_why_it_does_not_work_here(fake: Path, tmp_path: Path) -> None:
    assert criu.obstacle(str(fake)) == "CRIU does not work here, criu check says: vdso: unexpected area"
    assert criu.obstacle(str(tmp_path / "missing")) == "CRIU (the program criu) is not installed"
    fake.write_text("#!/bin/sh\nexit 3\n")
    assert criu.obstacle(str(fake)).endswith("exit status 3")
    fake.write_text("#!/bin/sh\nexit 0\n")
    assert criu.obstacle(str(fake)) == ""


def test_the_first_error_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "dump.log"
    log.write_text(
        "(00.1) Dumping\n(00.2) Error (criu/a.c:1): Can't lookup mount=22: no\n(00.3) Error (criu/b.c:2): FAILED\n"
    )
    assert criu.first_error(str(log)) == "Can't lookup mount=22: no"
    assert criu.first_error(str(tmp_path / "none")) == ""
