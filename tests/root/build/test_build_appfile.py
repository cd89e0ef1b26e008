"""Build files performed: what steps leave, what is not run again, thin and flat images, and steps that fail."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from podkit import appc, own_network, run, start

import image_kit
from capabilities import need

BUSYBOX = next((path for path in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(path)), "")
APPLETS = (
    "sh",
    "ash",
    "arping",
    "awk",
    "cat",
    "chmod",
    "echo",
    "grep",
    "id",
    "ip",
    "ln",
    "ls",
    "mkdir",
    "pwd",
    "rm",
    "sleep",
    "test",
)


def make_box(path: Path) -> None:
    """An image with a shell, to build on."""
    files: dict[str, image_kit.Entry] = {
        "bin/busybox": ("file", Path(BUSYBOX).read_bytes(), {"mode": 0o755, "uid": 0, "gid": 0}),
        **{f"bin/{name}": ("link", "busybox") for name in APPLETS},
        "etc/passwd": "app:x:5:6::/:/bin/sh\n",
        "srv/old/file": "old",
        "tmp": ("dir", 0o1777),
    }
    app = {"exec": ["/bin/sh"], "user": "0", "group": "0", "environment": [{"name": "BASE", "value": "yes"}]}
    image_kit.aci(path, files, "example.com/box", "1", compress="none", app=app)


@pytest.fixture
def place(sandbox: Path) -> Path:
    need("native", "overlay", "busybox")
    made = sandbox / "context"
    made.mkdir()
    (made / "busybox").write_bytes(Path(BUSYBOX).read_bytes())
    (made / "busybox").chmod(0o755)
    return made


@pytest.fixture
def base(sandbox: Path, place: Path) -> Path:
    """The context, when the image example.com/box is in the store."""
    make_box(sandbox / "box.aci")
    assert appc(sandbox, "fetch", "--insecure", "image", sandbox / "box.aci").returncode == 0
    return place


def perform(sandbox: Path, text: str, *words: str | Path, out: str = "out.aci") -> subprocess.CompletedProcess[str]:
    (sandbox / "context/Appfile.toml").write_text(text)
    file = sandbox / "context/Appfile.toml"
    return appc(sandbox, "image", "build", "--file", file, "--offline", "--overwrite", *words, sandbox / out)


def build(sandbox: Path, text: str, out: str = "out.aci", *words: str | Path) -> str:
    done = perform(sandbox, text, *words, out=out)
    assert done.returncode == 0, done.stderr
    assert left(sandbox) == []
    return done.stdout.strip()


def refused(sandbox: Path, text: str, *words: str | Path) -> str:
    done = perform(sandbox, text, *words, out="refused.aci")
    assert done.returncode in (1, 2, 125), done.stderr
    assert "internal error" not in done.stderr
    assert not (sandbox / "refused.aci").exists()
    assert left(sandbox) == []
    return done.stderr


def left(sandbox: Path) -> list[str]:
    """What builds leave behind when they should not."""
    places = ("staging", "pods/run", "pods/exited", "pods/prepared", "pods/prepare")
    roots = [sandbox / "store" / "store" / "staging", *(sandbox / "store" / place for place in places)]
    return [f"{root}/{name}" for root in roots if root.exists() for name in os.listdir(root)]


def kept(sandbox: Path, kind: str) -> list[str]:
    directory = sandbox / "store/store" / kind
    return sorted(os.listdir(directory)) if directory.exists() else []


def members(aci: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(aci) as archive:
        return {member.name.removeprefix("rootfs/"): member for member in archive}


def manifest(aci: Path) -> dict[str, Any]:
    with tarfile.open(aci) as archive:
        file = archive.extractfile("manifest")
        assert file is not None
        return dict(json.load(file))


STEPS = """
[[steps]]
copy = { from = "site", to = "/srv/site", owner = "app:7", mode = "0750" }
[[steps]]
run = "echo ran; test $BASE = yes && test $A = 1 && cat /srv/site/page > /srv/built && rm -r /srv/old /bin/awk"
[[steps]]
run = { command = ["id", "-u"], user = "app", working-dir = "/srv", env = { X = "1" } }
[[steps]]
mkdir = { path = "/var/lib/app", owner = "app", mode = "0700" }
[[steps]]
mkdir = "/tmp"
[[steps]]
symlink = { path = "/srv/link", to = "built" }
[[steps]]
remove = ["/bin/a[rs]*", "/srv/site/tmp"]
[[steps]]
set = { exec = ["/bin/cat", "/srv/built"], user = "app" }
"""


def test_thin_and_flat_come_to_the_same(sandbox: Path, base: Path) -> None:
    (base / "site/tmp").mkdir(parents=True)
    (base / "site/page").write_text("hello\n")
    ids = {}
    for output in ("thin", "flat"):
        head = f'name = "example.com/web"\nbase = "example.com/box"\noutput = "{output}"\nset.env.A = "1"\n'
        ids[output] = build(sandbox, head + STEPS, f"{output}.aci")
        os.utime(base / "site/page")
        assert build(sandbox, head + STEPS, f"{output}.aci", "--no-cache") == ids[output]
        done = run(sandbox, sandbox / f"{output}.aci")
        assert done.stdout == "hello\n", done.stderr
        where = sandbox / f"rendered-{output}"
        assert appc(sandbox, "image", "render", "--rootfs-only", ids[output], where).returncode == 0
    different = appc(sandbox, "image", "diff", sandbox / "rendered-thin", sandbox / "rendered-flat")
    assert different.stdout == ""
    thin = manifest(sandbox / "thin.aci")
    (dependency,) = thin["dependencies"]
    assert dependency["imageName"] == "example.com/box"
    assert {"name": "version", "value": "1"} in dependency["labels"]
    assert "/bin/cat" in thin["pathWhitelist"]
    assert not {"/bin/awk", "/srv/old", "/bin/ash"} & set(thin["pathWhitelist"])
    found = members(sandbox / "thin.aci")
    assert "bin/busybox" not in found
    assert not any(member.ischr() for member in found.values())
    assert (found["srv/site/page"].uid, found["srv/site/page"].gid, found["srv/site/page"].mode) == (5, 7, 0o750)
    assert (found["var/lib/app"].uid, found["var/lib/app"].mode) == (5, 0o700)
    assert found["tmp"].mode == 0o1777 if "tmp" in found else True
    assert "dependencies" not in manifest(sandbox / "flat.aci")


def test_a_thin_image_that_deletes_nothing_has_no_whitelist(sandbox: Path, base: Path) -> None:
    build(sandbox, 'base = "example.com/box"\noutput = "thin"\n[[steps]]\nmkdir = "/srv/new/x"\n')
    assert "pathWhitelist" not in manifest(sandbox / "out.aci")
    assert set(members(sandbox / "out.aci")) == {"manifest", "rootfs", "srv", "srv/new", "srv/new/x"}
    build(sandbox, 'base = "example.com/box"\noutput = "thin"\n')
    assert set(members(sandbox / "out.aci")) == {"manifest", "rootfs"}


def test_dependencies_without_a_base(sandbox: Path, base: Path) -> None:
    text = 'name = "example.com/more"\ndependencies = ["example.com/box:1"]\noutput = "thin"\n'
    build(sandbox, f'{text}[[steps]]\nrun = "echo more > /more"\n[[steps]]\nset = {{ exec = "/bin/cat /more" }}\n')
    assert manifest(sandbox / "out.aci")["dependencies"][0]["imageName"] == "example.com/box"
    assert run(sandbox, sandbox / "out.aci").stdout == "more\n"
    assert "dependencies: its dependency example.com/none" in refused(sandbox, text.replace("box:1", "none"))


def test_unchanged_steps_are_not_run_again(sandbox: Path, base: Path) -> None:
    (base / "data").write_text("1")
    steps = ['run = "echo ran one"', 'copy = { from = "data", to = "/data" }', 'run = "echo ran two"']

    def ran(*changed: str, words: tuple[str, ...] = ()) -> list[str]:
        text = 'base = "example.com/box"\n' + "".join(f"[[steps]]\n{step}\n" for step in changed or steps)
        done = perform(sandbox, text, *words)
        assert done.returncode == 0, done.stderr
        return [line.removeprefix("ran ") for line in done.stderr.splitlines() if line.startswith("ran ")]

    assert ran() == ["one", "two"]
    assert ran() == []
    assert ran(*steps, 'env = { LATE = "1" }') == []
    assert ran(words=("--no-cache",)) == ["one", "two"]
    (base / "data").write_text("2")
    assert ran() == ["two"]
    assert ran('env = { EARLY = "1" }', *steps) == ["one", "two"]
    assert ran(words=("--network", "host")) == ["one", "two"]
    assert ran(*steps[1:]) == ["two"]
    assert ran() == []


NETWORKED = """
base = "example.com/box"
network = "default"
[[steps]]
write = { path = "/etc/resolv.conf", text = "the image's own", mode = "0640" }
[[steps]]
run = "ip -4 addr show eth0; grep -v own /etc/resolv.conf && echo 1 > /etc/resolv.conf"
[[steps]]
run = { command = "ip -4 addr show; test ! -e /sys/class/net/eth0", network = "none" }
"""


def test_commands_have_the_network_that_is_said(sandbox: Path, base: Path) -> None:
    """What a network puts into the root of a command is not of the image."""
    need("resolver")
    with own_network():
        done = perform(sandbox, NETWORKED)
        assert done.returncode == 0, done.stderr
        assert "inet 172.16." in done.stderr
        with tarfile.open(sandbox / "out.aci") as archive:
            file = archive.extractfile("rootfs/etc/resolv.conf")
            assert file is not None
            assert file.read() == b"the image's own"
        found = members(sandbox / "out.aci")["etc/resolv.conf"]
        assert (found.mode, found.mtime) == (0o640, 0)
        assert "etc/hosts" not in members(sandbox / "out.aci")
        again = perform(sandbox, NETWORKED, "--network", "default", "--no-cache")
        assert "steps[2].run: 'ip -4 addr show; test ! -e /sys/class/net/eth0' ended with status 1" in again.stderr
        (name,) = kept(sandbox, "builds")
        done = appc(sandbox, "build", "enter", name, "--net", "default", "--", "cat", "/sys/class/net/eth0/mtu")
        assert (done.returncode, done.stdout.strip().isdigit()) == (0, True), done.stderr
        assert left(sandbox) == []
        assert os.listdir(sandbox / "state/netns") == []
        assert "no such network" in refused(sandbox, NETWORKED, "--network", "absent")
        wrong = refused(sandbox, NETWORKED.replace('"none"', '"host,default"'))
        assert "steps[2].run.network: 'host,default' is not none, host, or a list of networks" in wrong


def test_what_steps_made_is_limited_and_collected(sandbox: Path, base: Path) -> None:
    text = 'base = "example.com/box"\n[[steps]]\nrun = "echo 1 > /{}"\n'
    (sandbox / "config/config.json").write_text('{"build": {"cacheSize": 0}}')
    build(sandbox, text.format("a"))
    assert kept(sandbox, "layers") == []
    (sandbox / "config/config.json").unlink()
    build(sandbox, text.format("b"))
    assert len(kept(sandbox, "layers")) == 1
    assert "layer " in appc(sandbox, "image", "gc", "--grace-period", "0", "--dry-run").stdout
    assert appc(sandbox, "image", "gc").stdout == ""
    assert appc(sandbox, "image", "gc", "--grace-period", "0").returncode == 0
    assert kept(sandbox, "layers") == []


def test_a_failed_step_can_be_entered(sandbox: Path, base: Path) -> None:
    text = (
        'base = "example.com/box"\n[[steps]]\nrun = "echo first > /first"\n'
        '[[steps]]\nrun = { command = "echo said; echo left > /left; exit 3", env = { X = "here" } }\n'
    )
    for words in ((), ("--no-cache",)):
        said = refused(sandbox, text, *words)
        assert "said\n" in said
        assert "Appfile.toml: steps[1].run: 'echo said; echo left > /left; exit 3' ended with status 3\n" in said
        (name,) = kept(sandbox, "builds")
        assert f"hint: `appc build enter {name}`" in said
        done = appc(sandbox, "build", "enter", name, "--", "sh", "-c", "cat /first /left; echo $X $BASE; exit 7")
        assert (done.stdout, done.returncode) == ("first\nleft\nhere yes\n", 7), done.stderr
    done = appc(sandbox, "build", "enter", "nope")
    assert (done.returncode, "there are " + name in done.stderr) == (1, True)
    build(sandbox, text.replace("exit 3", "exit 0"))
    assert kept(sandbox, "builds") == []
    refused(sandbox, text.replace("exit 3", "exit 4"))
    appc(sandbox, "image", "gc", "--grace-period", "0")
    assert kept(sandbox, "builds") == []
    assert appc(sandbox, "build", "enter").stderr == "appc: no failed build is kept\n"


WRONG = (
    ('copy = { from = "absent", to = "/x" }', "steps[0].copy: absent is not in the context"),
    ('copy = { from = "../../etc/hostname", to = "/x" }', "is not in the context"),
    ('copy = { from = "out", to = "/x" }', "steps[0].copy: out is not in the context"),
    ('copy = { from = "left.out", to = "/x" }', "is left out"),
    ('copy = { from = "dir", to = "/x" }', "dir/socket in the context is neither"),
    ('copy = { from = "busybox", to = "/bin/cat/x" }', "steps[0].copy: /bin/cat is not a directory"),
    ('copy = { from = "busybox", to = "/x", owner = "nobody-here" }', "steps[0].copy: "),
    ('run = ["/bin/absent"]', "/bin/absent"),
    ('remove = "/absent"', "steps[0].remove: /absent is not there"),
    ('write = { path = "/bin", text = "x" }', "steps[0].write: /bin is a directory"),
    ("set = { remove-port = 80 }", "steps[0].set: app.ports: there is no port"),
)


def test_faults_name_the_step(sandbox: Path, base: Path) -> None:
    (base / "out").symlink_to("/etc/hostname")
    (base / "left.out").write_text("x")
    (base / "dir").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(base / "dir", os.O_PATH)
        server.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
    for step, reason in WRONG:
        text = f'base = "example.com/box"\nexclude = ["*.out"]\n[[steps]]\n{step}\n'
        assert reason in refused(sandbox, text), step


FROM_NOTHING = """
shell = ["/bin/busybox", "sh", "-c"]
steps = [
  { copy = { from = "busybox", to = "/bin/busybox" } },
  { run = "/bin/busybox --install -s /bin" },
  { set = { exec = "/bin/echo made of nothing" } },
]
"""


def test_a_build_from_nothing(sandbox: Path, place: Path) -> None:
    build(sandbox, FROM_NOTHING)
    assert manifest(sandbox / "out.aci")["name"] == "context"
    assert run(sandbox, sandbox / "out.aci").stdout == "made of nothing\n"
    # An image that lies among what is copied is not part of the next.
    whole = '[[steps]]\ncopy = { from = ".", to = "/" }\n'
    first = build(sandbox, whole, "context/out.aci")
    assert build(sandbox, whole, "context/out.aci") == first
    assert set(members(place / "out.aci")) == {"manifest", "rootfs", "Appfile.toml", "busybox"}


def test_bases_that_are_refused(sandbox: Path, base: Path) -> None:
    assert "signature" in refused(sandbox, f'base = "{sandbox}/box.aci"\n')
    build(sandbox, f'base = "{sandbox}/box.aci"\n', "out.aci", "--insecure", "image")
    assert "not in the store" in refused(sandbox, 'base = "absent.example/x"\n')
    assert "goes with" not in refused(sandbox, "", "--manifest", "x")
    done = appc(sandbox, "image", "build", "--no-cache", base, sandbox / "refused.aci")
    assert (done.returncode, "--file alone" in done.stderr) == (2, True)


def test_links_in_the_image_lead_nowhere_else(sandbox: Path, base: Path) -> None:
    victim = sandbox / "victim"
    victim.mkdir()
    (victim / "file").write_text("mine")
    build(
        sandbox,
        f'base = "example.com/box"\n[[steps]]\nrun = "mkdir -p {victim}; ln -s {victim} /way; ln -s / /up"\n'
        '[[steps]]\ncopy = { from = "busybox", to = "/way/file" }\n'
        '[[steps]]\nwrite = { path = "/up/../../way/other", text = "x" }\n'
        '[[steps]]\nremove = "/way/file"\n',
    )
    assert (os.listdir(victim), (victim / "file").read_text()) == (["file"], "mine")
    assert f"{str(victim).lstrip('/')}/other" in members(sandbox / "out.aci")


def _begun(sandbox: Path, text: str) -> subprocess.Popen[str]:
    (sandbox / "context/Appfile.toml").write_text(text)
    process = start(sandbox, "image", "build", "-f", sandbox / "context/Appfile.toml", sandbox / "out.aci")
    assert process.stderr is not None
    for line in process.stderr:
        if line == "begun\n":
            break
    return process


def test_an_interrupted_step_leaves_nothing(sandbox: Path, base: Path) -> None:
    process = _begun(sandbox, 'base = "example.com/box"\n[[steps]]\nrun = "echo begun; sleep 1000"\n')
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert left(sandbox) == []
    assert not (sandbox / "out.aci").exists()


def test_what_a_killed_build_leaves_is_collected(sandbox: Path, base: Path) -> None:
    process = _begun(sandbox, 'base = "example.com/box"\n[[steps]]\nrun = "echo begun; exec sleep 1000"\n')
    process.kill()
    # Its pipes are closed when the pod is gone, too.
    process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while left(sandbox) and time.monotonic() < deadline:
        assert appc(sandbox, "gc", "--grace-period", "0").returncode == 0
    assert left(sandbox) == []
    assert not (sandbox / "out.aci").exists()


def test_a_full_disk_is_one_line(sandbox: Path, base: Path) -> None:
    small = sandbox / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
    try:
        (base / "Appfile.toml").write_text('[[steps]]\ncopy = { from = "busybox", to = "/busybox" }\n')
        out = sandbox / "refused.aci"
        done = appc(sandbox, "--root", small, "image", "build", "-f", base / "Appfile.toml", out)
        assert done.returncode == 125
        assert "steps[0].copy: No space left on device" in done.stderr
        assert done.stderr.count("\n") == 3
        assert "hint: free some space" in done.stderr
        assert os.listdir(small / "store/staging") == []
        assert not out.exists()
    finally:
        subprocess.run(["umount", small], check=True)
