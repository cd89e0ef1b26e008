"""Signatures of other hosts' pods: a program of the host's is asked, and nobody waits for it but who has to."""

from __future__ import annotations

import hmac
import os
import select
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from appc.metadata import server
from appc.metadata.service import serve
from keeper import Keeper, get, receive
from pod_directory import TOKEN, UUID, make_pod

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="the service needs Linux's epoll")
ELSEWHERE = "99999999-8888-7777-6666-555555555555"
SIGNATURE = bytes(range(64))
CONTENT = "what was signed, ünïcode\n & all"
PATIENCE = 60.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_pod(tmp_path / "root", key=b"k" * 64)
    return tmp_path / "root"


@pytest.fixture
def keeper(root: Path, tmp_path: Path) -> Iterator[Keeper]:
    """A pod's keeper, whose pod is served until it ends."""
    one = Keeper(root, tmp_path / "state")
    service = threading.Thread(target=serve, args=(str(root), str(tmp_path / "state"), 60), daemon=True)
    service.start()
    one.hand_over()
    yield one
    one.close()
    service.join(PATIENCE)
    assert not service.is_alive()


def verifier(root: Path, script: str) -> Path:
    """Give the pod a verifier that runs `script`; return the directory that the script is in."""
    program = root / "verify"
    program.write_text(f"#!/bin/sh\ncd {root}\n{script}\n")
    program.chmod(0o755)
    (root / "pods/run" / UUID / "verifier").write_text(str(program))
    return root


def question(uuid: str = ELSEWHERE, signature: bytes = SIGNATURE, content: str = CONTENT) -> bytes:
    form = urlencode({"content": content, "uuid": uuid, "signature": b64encode(signature).decode()})
    return (
        f"POST /{TOKEN}/acMetadata/v1/pod/hmac/verify HTTP/1.1\r\nHost: x\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\n\r\n{form}"
    ).encode()


def status(keeper: Keeper, request: bytes) -> int:
    with keeper.client(PATIENCE) as client:
        client.sendall(request)
        return int(receive(client)[0].split()[1])


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ended(pid: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


@pytest.mark.parametrize(("ends", "answer"), [("exit 0", 200), ("exit 1", 403), ("exit 2", 502), ("kill -9 $$", 502)])
def test_the_verifiers_word_is_the_answer(keeper: Keeper, root: Path, ends: str, answer: int) -> None:
    verifier(root, ends)
    assert status(keeper, question()) == answer


def test_the_verifier_is_told_who_what_and_the_signature(keeper: Keeper, root: Path) -> None:
    verifier(root, 'printf "%s\\n" "$@" >asked; cat >content; env >environment')
    assert status(keeper, question(uuid=ELSEWHERE.upper())) == 200
    assert (root / "asked").read_text().splitlines() == [ELSEWHERE, b64encode(SIGNATURE).decode()]
    assert (root / "content").read_text() == CONTENT
    assert TOKEN not in (root / "environment").read_text()


def test_pods_of_this_host_are_never_asked_about_elsewhere(keeper: Keeper, root: Path) -> None:
    verifier(root, "touch asked")
    forged = status(keeper, question(uuid=UUID))
    right = hmac.digest(b"k" * 64, bytes.fromhex(UUID.replace("-", "")) + CONTENT.encode(), "sha512")
    assert (forged, status(keeper, question(uuid=UUID, signature=right))) == (403, 200)
    # Nor is it asked about what no pod can have signed.
    assert status(keeper, question(signature=b"short")) == 403
    assert not (root / "asked").exists()


def test_without_a_verifier_nobody_vouches_for_other_hosts(keeper: Keeper) -> None:
    assert status(keeper, question()) == 403


def test_a_verifier_that_is_not_there_is_an_error_of_the_host(keeper: Keeper, root: Path) -> None:
    verifier(root, "")
    os.unlink(root / "verify")
    assert status(keeper, question()) == 502


def test_others_are_answered_while_the_verifier_thinks(keeper: Keeper, root: Path) -> None:
    verifier(root, "touch asked; until [ -e answer ]; do sleep 0.01; done")
    with keeper.client(PATIENCE) as slow:
        # What the same client asks next has to wait.
        slow.sendall(question() + get("pod/uuid"))
        until((root / "asked").exists)
        assert status(keeper, get("pod/uuid")) == 200
        (root / "answer").touch()
        data = b""
        while not data.endswith(UUID.encode()):
            piece = slow.recv(65536)
            assert piece, data
            data += piece
        assert data.startswith(b"HTTP/1.1 200 ")
        assert data.count(b"HTTP/1.1 ") == 2


def test_a_verifier_that_does_not_end_is_killed_with_what_it_started(
    keeper: Keeper, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "VERIFIER_SECONDS", 0.3)
    verifier(root, "sleep 1000 & echo $! >child; wait")
    assert status(keeper, question()) == 502
    until(lambda: ended(int((root / "child").read_text())))


def test_only_so_many_are_asked_at_once(keeper: Keeper, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_QUESTIONS", 1)
    verifier(root, "touch asked; until [ -e answer ]; do sleep 0.01; done")
    with keeper.client(PATIENCE) as first:
        first.sendall(question())
        until((root / "asked").exists)
        assert status(keeper, question()) == 503
        (root / "answer").touch()
        assert receive(first)[0].startswith(b"HTTP/1.1 200 ")


def test_a_pod_that_ends_has_its_questions_ended(root: Path, tmp_path: Path) -> None:
    verifier(root, "echo $$ >asked; exec sleep 1000")
    keeper = Keeper(root, tmp_path / "state")
    service = threading.Thread(target=serve, args=(str(root), str(tmp_path / "state"), 60), daemon=True)
    service.start()
    keeper.hand_over()
    client = keeper.client(PATIENCE)
    client.sendall(question())
    until(lambda: (root / "asked").exists() and (root / "asked").read_text().endswith("\n"))
    pid = int((root / "asked").read_text())
    keeper.close()
    client.close()
    service.join(PATIENCE)
    assert not service.is_alive()
    until(lambda: ended(pid))
