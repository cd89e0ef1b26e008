"""A root file system of Debian packages: what apt chooses and verifies, unpacked without running anything of it.

apt resolves against a system on which nothing is installed, with the sources and keys of this host or with sources of
its own, so versions, alternatives and signatures are judged by apt alone. The tree has a merged /usr.
"""

from __future__ import annotations

import os
import re
import subprocess
import time

from appc.build.manifest import manifest, name_from
from appc.build.times import settle
from appc.build.tree import Tree
from appc.errors import AppcError, ArchiveError, HostError, UsageError
from appc.formats.extract import Extractor
from appc.formats.tar import DIRECTORY, HARDLINK, Reader, safe_name
from appc.formats.tarnames import SYMLINK
from appc.images.view import TreeView
from appc.values import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import IO

    from appc.formats.tar import Entry

ANNOTATION = "debian.org/deb/"
_MERGED = ("bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin")
_STANDARD = {"dev": 0o755, "proc": 0o755, "run": 0o755, "sys": 0o755, "tmp": 0o1777, "var/tmp": 0o1777}
_DOCS = ("doc", "doc-base", "gtk-doc", "help", "info", "linda", "lintian", "man")
_SCRIPTS = ("preinst", "postinst")
_PASSWORDS = "/usr/share/base-passwd"
_RECORDS = "/var/lib/dpkg/status.d"
_MAX_CONTROL = 1 << 20
_MAX_PASSWORDS = 1 << 20
_MERGED_VERSION = "9999"
# Debian Policy, section 5.6.7
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")


class Package:
    """One package of the closure: its file, what its control file says, whether it has maintainer scripts."""

    __slots__ = ("architecture", "control", "file", "name", "scripts", "version")

    def __init__(self, file: str, control: bytes, scripts: bool) -> None:
        fields = dict(
            line.split(": ", 1) for line in control.decode("utf-8", "replace").split("\n") if ": " in line[1:]
        )
        self.file = file
        self.control = control
        self.scripts = scripts
        self.name = fields.get("Package", "")
        self.version = fields.get("Version", "")
        self.architecture = fields.get("Architecture", "")
        if not (self.name and self.version and self.architecture):
            raise ArchiveError("its control file names no package, version or architecture", os.path.basename(file))
        if not _NAME.fullmatch(self.name):
            raise ArchiveError(f"its control file calls it {quoted(self.name)}", os.path.basename(file))


def make_deb(
    directory: str,
    packages: Sequence[str],
    *,
    docs: bool = True,
    locales: bool = True,
    recommends: bool = False,
    assumed: Sequence[str] = (),
    sources: str = "",
    warnings: list[str],
) -> tuple[str, bytes]:
    """Make a root file system of `packages` and all they depend on below `directory`; return its path and a manifest.

    Packages are words as apt-get takes them (NAME, NAME=VERSION, NAME/SUITE). `assumed` are taken for installed and
    so left out; `sources` is a sources.list file to use in place of the host's. Raises AppcError, HostError.
    """
    began = time.time_ns()
    for package in (*packages, *assumed):
        if not package[:1].isalnum():
            raise UsageError("is no name of a package", package)
    rootfs = f"{directory}/rootfs"
    os.mkdir(rootfs, 0o755)
    files = _download(f"{directory}/apt", (*packages, "base-passwd"), recommends, assumed, sources)
    closure = [_read_control(file) for file in files]
    for name in ("bin", "lib", "sbin"):
        os.makedirs(f"{rootfs}/usr/{name}", exist_ok=True)
    _unpack(rootfs, closure, _filter(docs, locales), warnings)
    complete(rootfs, closure)
    settle(rootfs, began)
    scripts = [package.name for package in closure if package.scripts]
    if scripts:
        warnings.append(f"maintainer scripts were not run, those of {', '.join(scripts)}")
    first = packages[0].partition("=")[0].partition("/")[0].partition(":")[0]
    version = next((package.version for package in closure if package.name == first), "")
    program = next((path for path in (f"/usr/sbin/{first}", f"/usr/bin/{first}") if _executable(rootfs, path)), "")
    return rootfs, manifest(
        name_from(first),
        (program,) if program else (),
        labels=(("version", version),) if version else (),
        annotations=[
            (ANNOTATION + package.name.replace("+", "plus"), f"{package.architecture}/{package.version}")
            for package in closure
        ],
    )


def _download(
    directory: str, packages: Sequence[str], recommends: bool, assumed: Sequence[str], sources: str
) -> list[str]:
    """Have apt resolve, download and verify; return the package files, sorted."""
    for name in ("archives/partial", "lists/partial"):
        os.makedirs(f"{directory}/{name}")
    # The tree has a merged /usr from the start, which packages ask for by this name.
    with open(f"{directory}/status", "w", encoding="ascii") as file:
        for name in ("usr-is-merged", *assumed):
            name, _, version = name.partition("=")
            version = version or _MERGED_VERSION
            fields = (f"Package: {name}", "Status: install ok installed", f"Version: {version}", "Multi-Arch: foreign")
            file.write("\n".join((*fields, "Architecture: all", "Maintainer: none", "Description: assumed", "", "")))
    options = {
        "Dir::State::status": f"{directory}/status",
        "Dir::State::extended_states": f"{directory}/extended_states",
        "Dir::Cache::archives": f"{directory}/archives",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "",
        "APT::Install-Recommends": "1" if recommends else "0",
        "APT::Install-Suggests": "0",
        "APT::Get::AllowUnauthenticated": "0",
        "Acquire::AllowInsecureRepositories": "0",
    }
    if sources:
        if not os.path.isfile(sources):
            raise UsageError("no such file", sources)
        options["Dir::Etc::sourcelist"] = os.path.abspath(sources)
        options["Dir::Etc::sourceparts"] = "/dev/null"
        options["Dir::State::lists"] = f"{directory}/lists"
        _apt(options, ("update",))
    _apt(options, ("--yes", "--download-only", "--no-remove", "install", *packages))
    archives = f"{directory}/archives"
    files = sorted(f"{archives}/{name}" for name in os.listdir(archives) if name.endswith(".deb"))
    if not files:
        raise AppcError("apt-get found nothing to download", packages[0])
    return files


def _apt(options: dict[str, str], words: Sequence[str]) -> None:
    command = ["apt-get", "-q", *(word for key, value in options.items() for word in ("-o", f"{key}={value}")), *words]
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, check=False, text=True
        )
    except FileNotFoundError:
        raise HostError("is not installed", "apt-get", "packages can be resolved only where apt is") from None
    # What apt-get update could not fetch or verify is only a warning to it.
    faults = [line[2:].strip() for line in done.stderr.splitlines() if line.startswith("E:")]
    if words[0] == "update":
        faults += [line[2:].strip() for line in done.stderr.splitlines() if line.startswith("W:")]
    if done.returncode or (faults and words[0] == "update"):
        lines = [line.strip() for line in done.stdout.splitlines() if " Depends: " in line]
        hint = "`apt-get update` brings the lists of packages up to date" if words[0] != "update" else ""
        raise AppcError("; ".join((*faults, *lines)) or f"ended with status {done.returncode}", "apt-get", hint)


def _read_control(file: str) -> Package:
    control, scripts = b"", False
    with _dpkg_deb("--ctrl-tarfile", file) as stream:
        for entry in Reader(stream, where=os.path.basename(file)):
            name = safe_name(entry.name)
            if name == "control":
                control = entry.read(_MAX_CONTROL)
            scripts = scripts or name in _SCRIPTS
    return Package(file, control, scripts)


class _dpkg_deb:
    """What dpkg-deb prints of a package file, as a stream."""

    def __init__(self, word: str, file: str) -> None:
        self._name = os.path.basename(file)
        try:
            self._process = subprocess.Popen(
                ["dpkg-deb", word, file], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except FileNotFoundError:
            raise HostError("is not installed", "dpkg-deb") from None

    def __enter__(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        process = self._process
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read().decode("utf-8", "replace").strip()
        process.stderr.close()
        if process.wait() and (kind is None or isinstance(error, ArchiveError)):
            raise ArchiveError(said.split("\n")[-1] or "cannot be unpacked", self._name) from None


def _unpack(rootfs: str, closure: Sequence[Package], wanted: Callable[[str], bool], warnings: list[str]) -> None:
    root = os.open(rootfs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with Extractor(root, owners=os.geteuid() == 0) as extractor:
            for package in closure:
                with _dpkg_deb("--fsys-tarfile", package.file) as stream:
                    for entry in _entries(stream, package.file):
                        if wanted(entry.path) and not (entry.type == HARDLINK and not wanted(entry.link_path)):
                            extractor.entry(entry)
            extractor.finish()
            warnings += extractor.notes()
    finally:
        os.close(root)
    for name in _MERGED:
        if os.path.isdir(f"{rootfs}/usr/{name}"):
            os.symlink(f"usr/{name}", f"{rootfs}/{name}")


def _entries(stream: IO[bytes], file: str) -> Iterator[Entry]:
    where = os.path.basename(file)
    for entry in Reader(stream, where=where):
        entry.path = _merge(safe_name(entry.name))
        if entry.type == HARDLINK:
            entry.link_path = _merge(safe_name(entry.linkname))
        if entry.type == SYMLINK and entry.path in tuple(f"usr/{name}" for name in _MERGED):
            # A package that ships the link itself.
            continue
        if entry.type == DIRECTORY and not entry.path:
            entry.mode = 0o755
        yield entry


def _merge(path: str) -> str:
    return f"usr/{path}" if path.partition("/")[0] in _MERGED else path


def _filter(docs: bool, locales: bool) -> Callable[[str], bool]:
    """Say which paths are unpacked; licences are, always."""

    def wanted(path: str) -> bool:
        parts = path.split("/")
        if parts[:2] != ["usr", "share"] or len(parts) < 4:
            return True
        if not docs and parts[2] in _DOCS:
            return parts[2] == "doc" and (len(parts) == 4 or parts[-1] == "copyright")
        return locales or not (parts[2] == "locale" or (parts[2] == "man" and not parts[3].startswith("man")))

    return wanted


def complete(rootfs: str, closure: Sequence[Package]) -> None:
    """What the packages' scripts would have made and every program may rely on, and the record of the packages.

    Links in the tree, which a package brought, lead nowhere else.
    """
    tree, view = Tree(rootfs), TreeView((rootfs,))
    for name, mode in _STANDARD.items():
        if not _there(view, f"/{name}"):
            tree.directory(f"/{name}", mode)
    for name in ("passwd", "group"):
        if not _there(view, f"/etc/{name}"):
            try:
                accounts = view.read(f"{_PASSWORDS}/{name}.master", _MAX_PASSWORDS)
            except OSError as error:
                raise ArchiveError(f"has no {name}.master ({error.strerror})", "base-passwd") from None
            tree.write(f"/etc/{name}", accounts)
    for package in closure:
        tree.write(f"{_RECORDS}/{package.name}", package.control)


def _there(view: TreeView, path: str) -> bool:
    try:
        view.lookup(path, follow=False)
    except OSError:
        return False
    return True


def _executable(rootfs: str, path: str) -> bool:
    try:
        return bool(TreeView((rootfs,)).stat(path).st_mode & 0o111)
    except OSError:
        return False
