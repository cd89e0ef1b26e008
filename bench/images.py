"""Image operations, appc against what else does them: build, import, extract, render, convert.

On two trees: the first 1.6 GB of /usr in the order of names, and 50,000 files of up to 8 KiB. All contenders of a
comparison take turns; figures are medians. The same policy for all: inputs are in the page cache, nothing waits to be
written when the clock starts, and it stops when `sync -f` of the output has returned. Peak memory is that of the
whole process tree. Nothing is left behind but the table on stdout and a JSON file.

    python bench/images.py [--quick] [--rounds N] [--json FILE] [--dir DIR] [--only COMPARISON,...] [--trees usr,small]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import Contender, clear, compare, table

NAME = "example.com/bench"
MANIFEST = {
    "acKind": "ImageManifest",
    "acVersion": "0.8.11",
    "name": NAME,
    "labels": [{"name": "os", "value": "linux"}, {"name": "arch", "value": "amd64"}, {"name": "version", "value": "1"}],
}


def usr_tree(target: Path, most: int) -> None:
    """Copy files of /usr, in the order of names, until they hold `most` bytes."""
    names: list[bytes] = []
    total = 0
    for directory, below, files in os.walk(b"/usr"):
        below.sort()
        names.append(directory)
        for name in sorted([*files, *(one for one in below if os.path.islink(os.path.join(directory, one)))]):
            path = os.path.join(directory, name)
            size = os.lstat(path).st_size
            if total + size <= most:
                names.append(path)
                total += size
        if total > most * 0.99:
            break
    # A pipe of two tars keeps hard links, owners and times.
    reader = subprocess.Popen(["tar", "-xC", target], stdin=subprocess.PIPE)
    writer = ["tar", "-C", "/", "-c", "--no-recursion", "--null", "--files-from=-"]
    relative = b"\0".join(name[1:] for name in names)
    subprocess.run(writer, input=relative, stdout=reader.stdin, check=True)
    assert reader.stdin is not None
    reader.stdin.close()
    if reader.wait():
        raise SystemExit("bench: /usr could not be copied")


def small_tree(target: Path, count: int) -> None:
    """Make `count` files of up to 8 KiB, a hundred in a directory: words, so that they compress as texts do."""
    chance = random.Random(8)
    words = [bytes(chance.choices(b"abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 10))) for _ in range(2000)]
    text = b" ".join(chance.choices(words, k=200_000))
    for number in range(count):
        directory = target / f"d{number // 1000:02}" / f"e{number // 100 % 10}"
        if number % 100 == 0:
            directory.mkdir(parents=True)
        start = chance.randrange(len(text) - 8192)
        (directory / f"file-{number:05}.txt").write_bytes(text[start : start + chance.randint(0, 8192)])


class Inputs:
    """One tree in every form that a contender reads, below the directory `work`."""

    def __init__(self, work: Path, make: object, size: int) -> None:
        self.work = work
        self.layout = work / "layout"
        self.rootfs = self.layout / "rootfs"
        self.rootfs.mkdir(parents=True)
        make(self.rootfs, size)  # type: ignore[operator]
        (self.layout / "manifest").write_text(json.dumps(MANIFEST))
        self.aci, self.plain, self.signed = (work / f"{name}.aci" for name in ("image", "plain", "signed"))
        self.oci = f"{work}/oci:bench"
        self.oci_archive, self.docker = work / "oci.tar", work / "docker.tar"
        self.store, self.home = work / "store", work / "gnupg"
        (work / "config").mkdir()
        self.tool = f"appc --state {work}/state --config {work}/config"
        self.appc = f"{self.tool} --root {self.store}"
        self._make()

    def _make(self) -> None:
        appc, work = self.appc, self.work
        self._do(f"{appc} image build {self.layout} {self.aci}")
        self._do(f"zcat {self.aci} > {self.plain}")
        self._do(f"{appc} image convert {self.aci} oci:{self.oci}")
        self._do(f"{appc} image convert --compress none {self.aci} docker-archive:{self.docker}:example.com/bench:1")
        self._do(f"tar -C {work}/oci -cf {self.oci_archive} .")
        self._do(f"{appc} fetch --insecure image {self.aci}")
        if shutil.which("gpg"):
            self._sign()

    def _sign(self) -> None:
        self.home.mkdir(mode=0o700)
        key = ["gpg", "--batch", "--passphrase", "", "--quick-gen-key", "bench@example.com", "ed25519", "sign"]
        subprocess.run(key, env={**os.environ, "GNUPGHOME": str(self.home)}, check=True, capture_output=True)
        os.link(self.aci, self.signed)
        self._do(f"{self.appc} image sign {self.signed}")
        self._do(f"gpg --export --armor > {self.work}/key.asc")
        self._do(f"{self.appc} trust add --skip-fingerprint-review --prefix {NAME} {self.work}/key.asc")
        self._do("gpgconf --kill all")

    def _do(self, command: str) -> None:
        done = subprocess.run(
            ["bash", "-c", command],
            env={**os.environ, "GNUPGHOME": str(self.home)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        if done.returncode:
            raise SystemExit(f"bench: {command}: {done.stderr.decode(errors='replace').strip()}")

    def warm(self) -> None:
        """Have all inputs in the page cache."""
        words = ["find", self.work, "-type", "f", "-exec", "cat", "{}", "+"]
        subprocess.run(words, stdout=subprocess.DEVNULL, check=True)


def comparisons(inputs: Inputs) -> dict[str, tuple[str, list[Contender]]]:
    """Name -> the contender the others are held against, and all of them."""
    one = inputs
    fetch = f"{one.tool} --root $OUT/store fetch"
    podman = "podman --root $OUT/podman --runroot $OUT/run --storage-driver overlay"
    storage = "containers-storage:[overlay@$OUT/skopeo+$OUT/run]example.com/bench:1"
    insecure = "--insecure image"
    # Without a signature, which appc's own row "signed" verifies in addition. It keeps the archive, decompressed.
    rkt = "rkt --dir=$OUT/rkt --local-config=$OUT --system-config=$OUT --insecure-options=image"
    found = {
        "build": [
            Contender("appc image build", f"{one.appc} image build {one.layout} $OUT/a.aci"),
            Contender("appc image build --level 1", f"{one.appc} image build --level 1 {one.layout} $OUT/a.aci"),
            Contender("actool build", f"actool build {one.layout} $OUT/a.aci"),
            Contender("tar | gzip", f"tar -C {one.layout} -c manifest rootfs | gzip -n >$OUT/a.aci"),
            Contender("tar | pigz", f"tar -C {one.layout} -c manifest rootfs | pigz -n >$OUT/a.aci"),
        ],
        "import": [
            Contender("appc fetch", f"{fetch} {insecure} {one.aci}"),
            Contender("appc image extract", f"{one.appc} image extract {one.aci} $OUT/tree"),
            Contender("tar xzf", f"tar -C $OUT -xzf {one.aci}"),
            Contender("rkt fetch", f"{rkt} fetch file://{one.aci}"),
            Contender(
                "rkt fetch, image render", f"{rkt} fetch file://{one.aci} && {rkt} image render {NAME} $OUT/tree"
            ),
            Contender("umoci unpack", f"umoci unpack --image {one.oci} $OUT/bundle"),
            Contender("podman load", f"{podman} load -i {one.oci_archive}"),
            Contender("skopeo copy to a store", f"skopeo --insecure-policy copy -q oci:{one.oci} {storage}"),
        ],
        "import uncompressed": [
            Contender("appc fetch", f"{fetch} {insecure} {one.plain}"),
            Contender("tar xf", f"tar -C $OUT -xf {one.plain}"),
        ],
        "render": [
            Contender("appc image render", f"{one.appc} image render {NAME} $OUT/tree"),
            Contender("cp -a", f"cp -a {one.layout} $OUT/tree"),
        ],
        "convert to OCI": [
            Contender("appc image convert", f"{one.appc} image convert {one.aci} oci:$OUT/oci:1"),
            Contender("skopeo copy", f"skopeo --insecure-policy copy -q docker-archive:{one.docker} oci:$OUT/oci:1"),
        ],
        "convert from OCI": [
            Contender("appc image convert", f"{one.appc} image convert oci:{one.oci} $OUT/a.aci"),
            Contender(
                "appc image convert, uncompressed", f"{one.appc} image convert --compress none oci:{one.oci} $OUT/a.aci"
            ),
            Contender(
                "skopeo copy to docker-archive",
                f"skopeo --insecure-policy copy -q oci:{one.oci} docker-archive:$OUT/a.tar:example.com/bench:1",
            ),
        ],
    }
    if one.home.exists():
        found["import"].insert(1, Contender("appc fetch, signed", f"{fetch} {one.signed}"))
    bases = {"build": "tar | pigz", "import": "tar xzf", "import uncompressed": "tar xf", "render": "cp -a"}
    bases |= {"convert to OCI": "skopeo copy", "convert from OCI": "skopeo copy to docker-archive"}
    return {name: (bases[name], [it for it in some if _there(it)]) for name, some in found.items()}


def _there(contender: Contender) -> bool:
    words = contender.command.replace("|", " ").split()
    return all(shutil.which(name) for name in ("actool", "pigz", "rkt", "umoci", "podman", "skopeo") if name in words)


def conditions(directory: Path) -> dict[str, str]:
    """What the figures depend on."""
    processor = next(
        (line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ""
    )
    file_system = subprocess.run(
        ["stat", "-f", "-c", "%T", directory], check=True, capture_output=True, text=True
    ).stdout.strip()
    return {
        "processors": f"{len(os.sched_getaffinity(0))} × {processor}",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') >> 30} GiB",
        "kernel": platform.release(),
        "file system": file_system,
        "sync": "`sync` before the clock starts, `sync -f` of the output before it stops, for everybody",
    }


def describe(rootfs: Path) -> dict[str, int]:
    """How many files there are in a tree, and their bytes."""
    files = [os.lstat(os.path.join(path, name)) for path, _, names in os.walk(rootfs) for name in names]
    return {"files": len(files), "bytes": sum(one.st_size for one in files)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100 MB of /usr, 5,000 files, one round")
    parser.add_argument("--rounds", type=int, help="3 unless --quick")
    parser.add_argument("--json", default="bench-images.json", help="where the figures go")
    parser.add_argument("--dir", help="where to work; some 20 GB are needed")
    parser.add_argument("--only", default="", help="comparisons, separated by commas")
    parser.add_argument("--trees", default="usr,small")
    parser.add_argument("--usr", type=int, help="MB of /usr")
    parser.add_argument("--small", type=int, help="small files")
    options = parser.parse_args()
    if not shutil.which("appc"):
        sys.exit("bench: appc is not on PATH: pip install it first")
    rounds = options.rounds or (1 if options.quick else 3)
    usr = (options.usr or (100 if options.quick else 1600)) * 1_000_000
    small = options.small or (5_000 if options.quick else 50_000)
    trees = {"usr": (usr_tree, usr), "small": (small_tree, small)}
    # As after Ctrl-C: what was made is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    base = Path(tempfile.mkdtemp(prefix="appc-img-", dir=options.dir))
    result: dict[str, object] = {"rounds": rounds, "conditions": conditions(base)}
    try:
        for tree in options.trees.split(","):
            inputs = Inputs(base / tree, *trees[tree])
            found = describe(inputs.rootfs)
            print(f"{tree}: {found['files']} files, {found['bytes'] / 1e6:.0f} MB\n", flush=True)
            inputs.warm()
            rows: dict[str, object] = {"tree": found}
            for name, (against, contenders) in comparisons(inputs).items():
                if options.only and name not in options.only.split(","):
                    continue
                rows[name] = compared = compare(contenders, against, rounds, inputs.work)
                print(table(name, compared, against), flush=True)
            result[tree] = rows
            clear(inputs.work)
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n")
    finally:
        clear(base)


if __name__ == "__main__":
    main()
