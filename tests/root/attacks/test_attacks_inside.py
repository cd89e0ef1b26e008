"""What an app with the default privileges, run as root, tries from inside its pod."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest
from pod_kit import PACKAGE, PROBE, Appc, one_app, pod_manifest, wait_for

REFUSED = {errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOSYS, errno.EAFNOSUPPORT, errno.ENOTTY, errno.ENOENT}


def attack(appc: Appc, *words: str, options: tuple[str, ...] = ()) -> dict[str, int]:
    """Run the attacker; return what it tried and the errno that met it, 0 for success."""
    done = appc.run(PROBE, "--exec", "/attack", *options, "--", *words)
    assert done.status == 0, done
    return {name: int(number) for name, number in (line.rsplit(" ", 1) for line in done.out.splitlines())}


def test_system_calls_beyond_the_pod_are_refused(appc: Appc) -> None:
    tried = attack(appc, "calls")
    assert len(tried) >= 20
    assert {name: number for name, number in tried.items() if number not in REFUSED} == {}


@pytest.mark.parametrize(
    "device", [("c", 1, 1), ("c", 1, 2), ("c", 1, 11), ("b", 7, 0), ("b", 254, 0), ("c", 10, 229), ("c", 10, 232)]
)
def test_devices_that_were_made_by_hand_do_not_open(appc: Appc, device: tuple[str, int, int]) -> None:
    tried = attack(appc, "device", *map(str, device))
    assert set(tried.values()) == {errno.EPERM}


def test_switches_of_the_kernel_cannot_be_written(appc: Appc) -> None:
    tried = attack(
        appc,
        "write",
        *("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/net/ipv4/ip_forward"),
        *("/proc/sysrq-trigger", "/proc/irq/default_smp_affinity", "/sys/kernel/uevent_helper", "/sys/power/state"),
        *("/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/unified/cgroup.procs"),
        *("/sys/fs/cgroup/devices/devices.allow", "/sys/fs/cgroup/devices/release_agent"),
    )
    assert {name: number for name, number in tried.items() if number not in REFUSED} == {}


def test_memory_and_keys_of_the_kernel_cannot_be_read(appc: Appc) -> None:
    hidden = ("kcore", "keys", "kallsyms", "timer_list", "config.gz", "sched_debug")
    done = appc.run(PROBE, "--exec", "/bin/cat", "--", *(f"/proc/{name}" for name in hidden))
    assert done.out == ""


def test_pid_1_shows_nothing_and_survives(appc: Appc) -> None:
    uuid = appc.detached(PROBE, "--exec", "/bin/sh", "--", "-c", "/attack signal-init; echo done; sleep 60")
    wait_for(lambda: "done" in appc("logs", uuid).out)
    assert appc.status(uuid)["state"] == "running"
    closed = appc("enter", uuid, "/attack", "read", *(f"/proc/1/{name}" for name in ("root", "exe", "mem", "environ")))
    assert [line.split(" ")[1] for line in closed.out.splitlines()] == [str(errno.EACCES)] * 4


def test_an_app_that_may_trace_finds_neither_the_hosts_files_nor_a_program_to_change(appc: Appc) -> None:
    script = "ls /proc/1/root/; cat /proc/1/environ; readlink /proc/1/exe; ls -l /proc/1/fd; /attack write /proc/1/exe"
    capabilities = ("--caps-retain", "CAP_SYS_PTRACE,CAP_DAC_OVERRIDE")
    done = appc.run(PROBE, "--exec", "/bin/busybox", *capabilities, "--", "sh", "-c", script)
    *_, written = done.out.splitlines()
    assert written in (f"/proc/1/exe {errno.ETXTBSY}", f"/proc/1/exe {errno.EPERM}")
    assert "memfd:appc-init" in done.out
    # Its socket to the keeper and the lock: no directory, no plan.
    assert "appc-plan" not in done.out
    links = [line.rsplit(" -> ", 1)[1] for line in done.out.splitlines() if " -> " in line]
    assert all(link == "/dev/null" or link.startswith("socket:") or link.endswith("/lock") for link in links)


def test_the_callers_descriptors_and_directory_stay_outside(appc: Appc, sandbox: Path) -> None:
    secret = os.open("/etc", os.O_RDONLY)
    os.set_inheritable(secret, True)
    look = ("--exec", "/bin/ls", "--", "-l", "/proc/self/fd", "/proc/self/cwd")
    shown = ["/bin/ls", "-l", "/proc/self/fd", "/proc/self/cwd"]
    handler = one_app(["/bin/true"], eventHandlers=[{"name": "pre-start", "exec": shown}])
    image = appc.add(sandbox / "handler.aci", {"bin/busybox": _busybox(), **_links("ls", "true")}, "a/b", app=handler)
    manifest = pod_manifest(sandbox / "pod", [{"name": "app", "image": {"id": image}}])
    try:
        outputs = [_inheriting(appc, "run", PROBE, *look), _inheriting(appc, "run", "--pod-manifest", manifest)]
        uuid = appc.detached(PROBE, "--exec", "/bin/sleep", "--", "60")
        outputs.append(_inheriting(appc, "enter", uuid, *shown))
    finally:
        os.close(secret)
    for output in outputs:
        links = dict(line.split(" ")[-3::2] for line in output.splitlines() if " -> " in line)
        assert links.pop("/proc/self/cwd") == "/"
        # 3 is how ls reads the directory.
        assert set(links) <= {"0", "1", "2", "3"}
        assert "/etc" not in links.values()


def test_a_working_directory_by_way_of_a_descriptor_is_refused(appc: Appc) -> None:
    for path in ("/proc/self/fd/5", "/proc/self/fd/8", "/dev/fd/5", "/proc/self/cwd", "/proc/self/root"):
        done = appc.run(PROBE, "--working-dir", path, "--exec", "/bin/ls")
        assert (done.status, done.out) == (1, ""), path


def test_an_image_does_not_give_itself_power_over_the_host_in_silence(appc: Appc, sandbox: Path) -> None:
    asked = [{"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_SYS_ADMIN", "CAP_KILL"]}}]
    files = {"bin/busybox": _busybox(), **_links("true")}
    image = appc.add(sandbox / "greedy.aci", files, "example.com/greedy", app=one_app(["/bin/true"], isolators=asked))
    manifest = pod_manifest(sandbox / "pod", [{"name": "greedy", "image": {"id": image}}])
    for words in (("example.com/greedy",), ("--pod-manifest", manifest)):
        assert "it keep CAP_SYS_ADMIN, with which it can take over the host" in appc.run(*words).err
    for words in (("--caps-retain", "CAP_KILL"), ("--caps-retain", "CAP_SYS_ADMIN")):
        assert appc.run("example.com/greedy", *words).err == ""


def test_programs_that_lead_back_to_ours_change_nothing(appc: Appc) -> None:
    """Who enters a pod runs what the pod says; were that our own program, it could be written to while it runs."""
    ours = [*(PACKAGE / "_native").glob("appc-*"), Path("/usr/bin/python3")]
    before = [path.read_bytes() for path in ours]
    trap = """
        ln -sf /proc/self/exe /bin/sh; echo set
        while true; do for p in /proc/[0-9]*/exe; do echo x > $p; done; done 2> /dev/null
    """.replace("ln -sf", "/bin/busybox ln -sf")
    uuid = appc.detached(PROBE, "--exec", "/bin/busybox", "--", "sh", "-c", trap)
    wait_for(lambda: "set" in appc("logs", uuid).out)
    for _ in range(5):
        assert appc("enter", uuid, "/bin/sh").status == 127
        assert appc("enter", uuid).status == 127
    assert [path.read_bytes() for path in ours] == before


def test_a_line_cannot_pass_for_an_entry_of_the_log(appc: Appc) -> None:
    forged = "1999-01-01T00:00:00.000000000Z stderr F the keeper says"
    done = appc.run(PROBE, "--exec", "/bin/echo", "--", forged)
    assert done.status == 0
    document = appc("logs", "--format", "json", appc.the_pod().uuid).out
    assert f'"text":"{forged}"' in document.replace('": "', '":"')
    assert '"stream":"stdout"' in document.replace('": "', '":"')


def _inheriting(appc: Appc, *words: str) -> str:
    done = subprocess.run(appc.words(*words), capture_output=True, text=True, close_fds=False, cwd="/etc", check=True)
    return done.stdout


def _busybox() -> tuple[str, bytes, dict[str, int]]:
    from pod_kit import base_files

    content: tuple[str, bytes, dict[str, int]] = base_files()["bin/busybox"]  # type: ignore[assignment]
    return content


def _links(*names: str) -> dict[str, tuple[str, str]]:
    return {f"bin/{name}": ("link", "busybox") for name in names}
