"""What was compiled once is not compiled again, and nobody can tell but by the time it takes."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from pod_kit import PROBE, Appc, Done, base_files, one_app

from appc.cli.main import REPLAYED
from appc.executor.recording import MOST
from appc.pods.layout import Pod

SAID = f": {REPLAYED}\n"
PLAIN = (PROBE, "--exec", "/bin/true")


def run(appc: Appc, *words: str, **options: object) -> tuple[Done, bool]:
    """Run a pod; return how it ended, and whether its plan was that of an earlier pod."""
    done = appc("--log-level", "debug", "run", *words, **options)
    return done, SAID in done.err


def compiled(appc: Appc, *words: str) -> Done:
    done, replayed = run(appc, *words)
    assert not replayed, done
    return done


def replayed(appc: Appc, *words: str) -> Done:
    done, again = run(appc, *words)
    assert again, done
    return done


def contents(pod: Pod) -> dict[str, tuple[int, int, int, bytes]]:
    """What is in a pod's directory: mode, owner and content by name, the pod's own names taken out."""
    token = pod.read("token")
    found = {}
    for path in sorted(Path(pod.path).rglob("*")):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        name = str(path.relative_to(pod.path))
        if name == "hmac-key":
            data = b"%d" % len(data)
        found[name] = (
            status.st_mode,
            status.st_uid,
            status.st_gid,
            data.replace(pod.uuid.encode(), b"UUID").replace(token, b"TOKEN"),
        )
    return found


@pytest.mark.parametrize(
    "words",
    [
        PLAIN,
        (PROBE, "--exec", "/bin/sh", "--", "-c", "echo out; echo err >&2; exit 3"),
        (PROBE, "--memory", "64Mi", "--cpu=500m", "--user", "alice", "--group", "staff", "--", "exit", "0"),
        (PROBE, "--readonly-rootfs", "--caps-retain", "CAP_KILL", "--no-new-privileges", "--exec", "/bin/true"),
        ("--hostname", "here", "--grace", "1s", PROBE, "--name", "one", "--", "exit", "0", "---", PROBE, "--name=two"),
    ],
    ids=lambda words: " ".join(words),
)
def test_a_pod_that_is_replayed_is_as_if_it_was_compiled(appc: Appc, words: tuple[str, ...]) -> None:
    first = compiled(appc, *words)
    one = contents(appc.the_pod())
    appc.clear()
    second = replayed(appc, *words)
    other = contents(appc.the_pod())
    said = second.err.replace(next(line for line in second.err.splitlines(True) if line.endswith(SAID)), "")
    assert (second.status, second.out, said) == (first.status, first.out, first.err)
    # When apps began and ended is not the same.
    assert other.keys() == one.keys()
    assert {name: other[name] for name in other if not name.startswith(("status/", "logs/"))} == {
        name: one[name] for name in one if not name.startswith(("status/", "logs/"))
    }


def test_two_pods_have_a_token_and_a_name_each(appc: Appc) -> None:
    words = (PROBE, "--exec", "/bin/sh", "--", "-c", "echo $AC_METADATA_URL; cat /proc/sys/kernel/hostname")
    first, second = compiled(appc, *words), replayed(appc, *words)
    assert not set(first.out.split()) & set(second.out.split())


def test_what_is_kept_names_no_pod(appc: Appc) -> None:
    compiled(appc, *PLAIN, "--", "secretless")
    pod = appc.the_pod()
    for path in (appc.root / "cache/launch").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert not any(name in path.read_bytes() for name in (pod.uuid.encode(), pod.read("token")))


def test_rm_removes_a_pod_that_was_replayed(appc: Appc) -> None:
    compiled(appc, "--rm", *PLAIN)
    replayed(appc, "--rm", *PLAIN)
    assert appc.pods() == []


def test_a_failure_is_explained_as_ever(appc: Appc) -> None:
    words = (PROBE, "--exec", "/bad/crlf")
    first, second = compiled(appc, *words), replayed(appc, *words)
    assert first.status == second.status
    assert first.err == "".join(line for line in second.err.splitlines(True) if not line.endswith(SAID))


@pytest.mark.parametrize(
    "words",
    [
        ("--set-env", "A=b", *PLAIN),
        (*PLAIN, "--env", "A=b"),
        ("--inherit-env", *PLAIN),
        ("--net", "host", *PLAIN),
        ("--volume", "v,kind=empty", "--mount", "volume=v,target=/v", *PLAIN),
        ("--uuid-file-save", "/dev/null", *PLAIN),
        ("--verify", *PLAIN),
        (*PLAIN, "--isolator", "resource/block-iops,limit=1000"),
    ],
    ids=lambda words: " ".join(words),
)
def test_what_depends_on_more_is_compiled_each_time(appc: Appc, words: tuple[str, ...]) -> None:
    compiled(appc, *words)
    compiled(appc, *words)


def test_an_image_with_a_mount_point_is_compiled_each_time(appc: Appc, tmp_path: Path) -> None:
    app = one_app(("/bin/true",), mountPoints=[{"name": "data", "path": "/data"}])
    appc.add(tmp_path / "points.aci", base_files(), "example.com/points", app=app)
    compiled(appc, "example.com/points")
    compiled(appc, "example.com/points")


def test_a_newer_image_of_the_same_name_is_what_runs(appc: Appc, tmp_path: Path) -> None:
    say = ("/bin/sh", "-c")
    appc.add(tmp_path / "1.aci", base_files(), "example.com/grows", app=one_app((*say, "echo one")))
    compiled(appc, "example.com/grows")
    assert replayed(appc, "example.com/grows").out == "one\n"
    labels = [("os", "linux"), ("version", "9")]
    appc.add(tmp_path / "2.aci", base_files(), "example.com/grows", app=one_app((*say, "echo two")), labels=labels)
    assert compiled(appc, "example.com/grows").out == "two\n"


def test_an_image_that_was_removed_does_not_run(appc: Appc, tmp_path: Path) -> None:
    image = appc.add(tmp_path / "gone.aci", base_files(), "example.com/gone", app=one_app(("/bin/true",)))
    compiled(appc, "example.com/gone")
    appc.clear()
    assert appc("image", "rm", image).status == 0
    done = compiled(appc, "example.com/gone")
    assert done.status != 0
    assert "is not in the store" in done.err


def test_another_configuration_is_not_that_of_before(appc: Appc) -> None:
    compiled(appc, *PLAIN, "--", "configured")
    file = appc.config / "config.d/logs.json"
    file.write_text('{"logs": {"files": 7}}')
    try:
        compiled(appc, *PLAIN, "--", "configured")
    finally:
        file.unlink()


def test_another_limit_of_the_caller_is_not_that_of_before(appc: Appc) -> None:
    compiled(appc, *PLAIN, "--", "limited")
    lower = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2

    def lowered() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lower, lower))

    done, again = run(appc, *PLAIN, "--", "limited", preexec_fn=lowered)
    assert not again, done
    assert done.status == 0, done


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"{}",
        lambda data: b"[1]",
        lambda data: data.replace(b'"plan":"', b'"plan":"!'),
        lambda data: data.replace(b'"resources":{', b'"resources":7,"x":{'),
        lambda data: data.replace(b'"names":[', b'"names":[1,'),
    ],
)
def test_what_was_damaged_is_as_if_it_was_never_kept(appc: Appc, damage: Callable[[bytes], bytes]) -> None:
    kept = appc.root / "cache/launch"
    for path in kept.glob("*"):
        path.unlink()
    compiled(appc, *PLAIN)
    (path,) = kept.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    appc.clear()
    done = compiled(appc, *PLAIN)
    assert done.status == 0, done
    assert len(appc.pods()) == 1


def test_no_more_is_kept_than_some(appc: Appc) -> None:
    kept = appc.root / "cache/launch"
    compiled(appc, *PLAIN, "--", "one")
    for number in range(MOST):
        (kept / f"old{number}").touch()
    compiled(appc, *PLAIN, "--", "another")
    assert len(list(kept.iterdir())) == MOST
