"""What an app finds itself to be: arguments, environment, user, directory, privileges, limits, descriptors."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from pod_kit import PROBE, Appc, Done, one_app, pod_manifest

from appc.abi import CAPABILITY_BITS
from capabilities import need

DEFAULT = {
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
GETPPID, GETPRIORITY = 110, 140  # system calls that nothing here needs, on x86-64


def capabilities(report: dict[str, str], which: str) -> set[str]:
    mask = int(report[f"status.Cap{which}"], 16)
    return {name for name, bit in CAPABILITY_BITS.items() if mask >> bit & 1}


@pytest.fixture(scope="module")
def plain(shared: Appc) -> Done:
    """A report of an app about which nobody said anything."""
    done = shared.run(PROBE, "--", "report", env={"SECRET": "of the caller", "TERM": "vt100"})
    shared.clear()
    assert done.status == 0, done
    return done


def test_the_environment_is_exactly_the_specified_one(plain: Done) -> None:
    environment = plain.environment
    url = environment.pop("AC_METADATA_URL")
    assert environment == {"PATH": PATH, "AC_APP_NAME": "probe", "container": "appc", "HOME": "/root"}
    assert re.fullmatch(r"http://169\.254\.169\.255:\d+/[0-9a-f]{32}", url)


def test_an_app_that_is_told_nothing(plain: Done) -> None:
    report = plain.report
    assert report["cwd"] == "/"
    assert report["umask"] == "0022"
    assert report["uid"] == "0 0 0"
    assert report["gid"] == "0 0 0"
    assert report["groups"] == ""
    assert report["status.NoNewPrivs"] == "0"
    assert report["status.Seccomp"] == "2"
    assert report["sid"] == report["pid"] == "2"
    assert report["ppid"] == "0"
    assert [report[f"status.Sig{kind}"] for kind in ("Blk", "Ign", "Cgt")] == ["0" * 16] * 3


def test_capabilities_are_the_default_set(plain: Done) -> None:
    report = plain.report
    for which in ("Bnd", "Eff", "Prm"):
        assert capabilities(report, which) == DEFAULT, which
    for which in ("Inh", "Amb"):
        assert capabilities(report, which) == set(), which


def test_no_descriptor_but_the_streams_reaches_an_app(plain: Done) -> None:
    descriptors = {key for key in plain.report if key.startswith("fd.")}
    assert descriptors == {"fd.0", "fd.1", "fd.2"}
    assert plain.report["fd.0"] == "/dev/null"


def test_limits_of_the_caller_are_kept(plain: Done) -> None:
    import resource

    soft, hard = (value % 2**64 for value in resource.getrlimit(resource.RLIMIT_NOFILE))
    assert plain.report["rlimit.7"] == f"{soft} {hard}"


def test_the_first_process_is_not_the_hosts_python(plain: Done) -> None:
    assert plain.report["init.comm"] == "appc-init"
    assert plain.report["init.exe"] == "/proc/1/exe: errno 13 (Permission denied)"


def test_a_pod_finds_its_own_cgroups_at_the_root(plain: Done) -> None:
    groups = {line.rpartition(":")[2] for line in plain.out.splitlines() if line.startswith("cgroup=")}
    assert groups == {"/"}


def test_environment_precedence(appc: Appc, sandbox: Path) -> None:
    appc.add(
        sandbox / "env.aci",
        name="example.com/env",
        app=one_app(environment=[{"name": name, "value": "image"} for name in ("A", "B", "C", "D")]),
        dependencies=[{"imageName": PROBE}],
    )
    listed = sandbox / "listed"
    listed.write_text("# comment\n\nB=file\nC=file\n; another\nE=a = b\n")
    done = appc.run(
        *("--inherit-env", "--set-env-file", str(listed), "--set-env", "C=pod", "--set-env", "D=pod"),
        *("example.com/env", "--env", "D=app", "--env", "AC_APP_NAME=other", "--", "report"),
        # What a shell exports of its functions is no variable an app could have.
        env={"A": "caller", "F": "caller", "BASH_FUNC_f%%": "() { :; }"},
    )
    assert done.status == 0, done
    environment = done.environment
    assert {name: environment[name] for name in "ABCDF"} == {
        "A": "image",
        "B": "file",
        "C": "pod",
        "D": "app",
        "F": "caller",
    }
    assert environment["E"] == "a = b"
    assert environment["AC_APP_NAME"] == "env"


def test_arguments_reach_the_app_byte_for_byte(appc: Appc) -> None:
    done = appc.probe("report", "echo", "-- ", "echo", "", "echo", "ünï\ncode", "echo", "$HOME `id` *")
    words = ["/probe", "report", "echo", "-- ", "echo", "", "echo", "ünï", "echo", "$HOME `id` *"]
    assert [done.report[f"argv.{index}"] for index in range(len(words))] == words
    assert "code" in done.out.splitlines()


@pytest.mark.parametrize(
    ("flags", "uid", "gid", "home"),
    [
        (("--user", "alice", "--group", "staff"), 1000, 50, "/home/alice"),
        (("--user", "1000", "--group", "7"), 1000, 7, "/home/alice"),
        (("--user", "4000", "--group", "5000"), 4001, 5001, "/"),
        (("--user", "4242", "--group", "4243"), 4242, 4243, None),
        (("--user", "/owned", "--group", "/owned"), 1234, 4321, None),
    ],
)
def test_users_and_groups(appc: Appc, flags: tuple[str, ...], uid: int, gid: int, home: str | None) -> None:
    done = appc.probe("report", flags=flags)
    assert done.report["uid"] == f"{uid} {uid} {uid}"
    assert done.report["gid"] == f"{gid} {gid} {gid}"
    assert done.report["groups"] == ""
    assert done.environment.get("HOME") == home
    # Nothing is held, and nothing can be had but what the bounding set allows to setuid programs.
    assert capabilities(done.report, "Eff") == capabilities(done.report, "Prm") == set()
    assert capabilities(done.report, "Bnd") == DEFAULT


def test_supplementary_groups(appc: Appc) -> None:
    report = appc.probe("report", flags=("--supplementary-gids", "10,20,4000000000")).report
    assert report["groups"] == "10 20 4000000000"


def test_the_working_directory(appc: Appc) -> None:
    done = appc.probe("report", "read", "file", flags=("--working-dir", "/work"))
    assert done.report["cwd"] == "/work"
    assert done.out.endswith("here\n")


def test_a_working_directory_closed_to_the_user_is_still_entered(appc: Appc) -> None:
    done = appc.probe("report", flags=("--working-dir", "/closed", "--user", "1000", "--group", "1000"))
    assert done.report["cwd"] == "/closed"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--caps-retain", "NET_ADMIN,cap_chown"), {"CAP_NET_ADMIN", "CAP_CHOWN"}),
        (("--caps-remove", "CAP_CHOWN,SYS_ADMIN"), DEFAULT - {"CAP_CHOWN"}),
        (("--caps-retain", "CAP_SYS_ADMIN", "--no-new-privileges"), {"CAP_SYS_ADMIN"}),
    ],
)
def test_capability_sets(appc: Appc, flags: tuple[str, ...], expected: set[str]) -> None:
    report = appc.probe("report", flags=flags).report
    for which in ("Bnd", "Eff", "Prm"):
        assert capabilities(report, which) == expected, which


def test_setuid_programs_gain_privileges_only_when_they_may(appc: Appc) -> None:
    user = ("--exec", "/suid", "--user", "1000", "--group", "1000")
    free = appc.probe("report", flags=user).report
    assert free["uid"] == "1000 0 0"
    assert capabilities(free, "Eff") == DEFAULT
    bound = appc.probe("report", flags=(*user, "--no-new-privileges")).report
    assert bound["uid"] == "1000 1000 1000"
    assert bound["status.NoNewPrivs"] == "1"
    assert capabilities(bound, "Eff") == set()


@pytest.mark.parametrize("flags", [(), ("--user", "1000", "--group", "1000"), ("--no-new-privileges",)])
def test_seccomp(appc: Appc, flags: tuple[str, ...]) -> None:
    need("seccomp", "libseccomp")
    if os.uname().machine != "x86_64":
        pytest.skip("numbers of system calls are those of x86-64")
    refused = appc.probe(
        "syscall", str(GETPPID), "echo", "on", flags=(*flags, "--seccomp", "mode=remove,errno=EDOM,getppid")
    )
    assert "syscall: errno 33" in refused.out
    assert refused.out.endswith("on\n")
    killed = appc.run(PROBE, *flags, "--seccomp", "mode=remove,getppid", "--", "syscall", str(GETPPID), "echo", "on")
    assert (killed.status, killed.out) == (128 + 31, "")
    retained = appc.probe(
        "echo",
        "on",
        "syscall",
        str(GETPRIORITY),
        flags=(*flags, "--seccomp", "mode=retain,errno=EPERM,@systemd/default,@systemd/basic-io,ioctl,fstat"),
    )
    assert "syscall: errno 1 " in retained.out, retained


def test_the_default_filter_blocks_what_no_app_needs(appc: Appc) -> None:
    need("seccomp")
    if os.uname().machine != "x86_64":
        pytest.skip("numbers of system calls are those of x86-64")
    swapon, reboot = "167", "169"
    done = appc.probe("syscall", swapon, "syscall", reboot, flags=("--caps-retain", "CAP_SYS_ADMIN,CAP_SYS_BOOT"))
    assert done.status == 0
    assert done.out.count("errno 1 ") + done.out.count("errno 22 ") + done.out.count("errno 14 ") == 2


def test_a_program_is_searched_in_the_apps_path(appc: Appc) -> None:
    assert appc.run(PROBE, "--exec", "echo", "--", "found").out == "found\n"
    assert appc.run(PROBE, "--exec", "probe", "--env", "PATH=/nowhere:/", "--", "echo", "found").out == "found\n"
    assert appc.run(PROBE, "--exec", "probe", "--env", "PATH=:/bin", "--", "echo", "found").out == "found\n"
    assert appc.run(PROBE, "--exec", "./probe", "--", "echo", "found").out == "found\n"


def test_isolators_of_the_image_and_what_became_of_them(appc: Appc, sandbox: Path) -> None:
    appc.add(
        sandbox / "isolated.aci",
        name="example.com/isolated",
        app=one_app(
            isolators=[
                {"name": "os/linux/oom-score-adj", "value": 77},
                {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_CHOWN"]}},
                {"name": "resource/network-bandwidth", "value": {"default": True, "limit": "1G"}},
                {"name": "example.com/unknown", "value": 1},
            ]
        ),
        dependencies=[{"imageName": PROBE}],
    )
    done = appc.run("example.com/isolated", "--", "report")
    assert done.report["oom-score-adj"] == "77"
    assert capabilities(done.report, "Bnd") == {"CAP_CHOWN"}
    rows = {row["name"]: row["outcome"] for row in appc.status(appc.the_pod().uuid)["isolators"]}
    assert rows == {
        "os/linux/oom-score-adj": "enforced",
        "os/linux/capabilities-retain-set": "enforced",
        "resource/network-bandwidth": "enforced",
        "example.com/unknown": "ignored",
    }
    assert "warning: app isolated: isolator example.com/unknown is ignored" in done.err
    shown = appc("status", appc.the_pod().uuid).out
    assert "isolator-isolated-os/linux/oom-score-adj=enforced\n" in shown


def test_sysctls_of_the_pod(appc: Appc, sandbox: Path) -> None:
    image = json.loads(appc("image", "list", "--format", "json").out)
    image_id = next(entry["id"] for entry in image if entry["name"] == PROBE)
    manifest = pod_manifest(
        sandbox / "pod.json",
        [
            {
                "name": "main",
                "image": {"id": image_id},
                "app": one_app(["/probe", "read", "/proc/sys/net/core/somaxconn"]),
            }
        ],
        isolators=[{"name": "os/unix/sysctl", "value": {"net.core.somaxconn": "99"}}],
    )
    assert appc.run("--pod-manifest", manifest).out == "99\n"
