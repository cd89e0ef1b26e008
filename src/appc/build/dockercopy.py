"""COPY and ADD: files from one directory into another that is a root file system, whose links lead nowhere else."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat

from appc.build.dockerignore import Ignore, expression
from appc.build.rootfs import extract
from appc.build.tree import Tree
from appc.errors import AppcError, InvalidValue, UsageError
from appc.formats import compress
from appc.formats.layout import read_small
from appc.formats.limits import DEFAULT
from appc.images.view import TreeView

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_IGNORE = ".dockerignore"
_CHUNK = 1 << 20
_LONGEST_SHOWN = 200


class Source:
    """A directory to copy from: the context, another stage's root, or an image's. Links never lead out of it."""

    def __init__(self, root: str, what: str, ignore: Ignore | None = None) -> None:
        self._view = TreeView((root,))
        self._root = root
        self._what = what
        self._ignore = ignore

    def find(self, pattern: str) -> list[tuple[str, str]]:
        """The (path, host path) of what `pattern` means, links followed for a path without wildcards."""
        plain = os.path.normpath("/" + pattern).lstrip("/")
        if not any(letter in plain for letter in "*?["):
            try:
                path, hosts = self._view.lookup("/" + plain)
            except OSError:
                raise InvalidValue(f"{_short(pattern)} is not in {self._what}") from None
            if plain and self.leaves_out(plain):
                raise InvalidValue(f"{_short(pattern)} is left out by {_IGNORE}")
            return [(path.lstrip("/"), hosts[0])]
        rule, found = expression(plain), []
        for directory, directories, files in os.walk(self._root):
            directories.sort()
            for name in sorted((*directories, *files)):
                path = os.path.relpath(f"{directory}/{name}", self._root)
                if path.count("/") == plain.count("/") and rule.fullmatch(path) and not self.leaves_out(path):
                    found.append((path, f"{directory}/{name}"))
            if os.path.relpath(directory, self._root).count("/") >= plain.count("/"):
                directories.clear()
        if not found:
            raise InvalidValue(f"nothing in {self._what} matches {_short(pattern)}")
        return found

    def leaves_out(self, path: str) -> bool:
        """Whether the context leaves this path out."""
        return self._ignore is not None and self._ignore.leaves_out(path)


def _short(pattern: str) -> str:
    return pattern if len(pattern) <= _LONGEST_SHOWN else f"{pattern[:_LONGEST_SHOWN]}…"


class HostPath(Source):
    """One file or directory of the host to copy from, whatever it is called and wherever links to it lead."""

    def __init__(self, path: str) -> None:
        super().__init__(os.path.dirname(os.path.realpath(path)), "this host")
        self._path = path

    def find(self, pattern: str) -> list[tuple[str, str]]:
        """The path itself, under its own name."""
        if not os.path.exists(self._path):
            raise InvalidValue("there is no such file or directory", self._path)
        return [(os.path.basename(os.path.abspath(self._path)), os.path.realpath(self._path))]


def context(directory: str, dockerfile: str, exclude: Sequence[str] = ()) -> Source:
    """The build context: a directory without what its `.dockerignore` and `exclude` leave out."""
    rules = "\n".join(exclude)
    for path in (f"{dockerfile}{_IGNORE}", f"{directory}/{_IGNORE}"):
        if os.path.lexists(path):
            text = read_small(None, inside(directory, path), path).decode("utf-8", "replace")
            return Source(directory, "the context", Ignore(f"{text}\n{rules}"))
    return Source(directory, "the context", Ignore(rules) if rules else None)


def inside(directory: str, path: str) -> str:
    """The host path of a file that is read of a context: if it lies there, links on the way do not lead out of it.

    Raises UsageError when there is none.
    """
    if not path.startswith(f"{directory}/"):
        return path
    try:
        return TreeView((directory,)).lookup(path.removeprefix(directory))[1][0]
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", path) from None


def digest(source: Source, patterns: Sequence[str]) -> str:
    """A digest of all that copying `patterns` of `source` would bring: names, kinds, modes, links and contents."""
    hashed = hashlib.sha256()
    for pattern in patterns:
        for path, host in source.find(pattern):
            _digest(hashed, source, path, host, os.path.basename(path))
    return hashed.hexdigest()


def _digest(hashed: hashlib._Hash, source: Source, path: str, host: str, name: str) -> None:
    _check_depth(path)
    status = os.lstat(host)
    kept = not source.leaves_out(path)
    line = f"{name}\0{stat.S_IFMT(status.st_mode)}\0"
    if stat.S_ISDIR(status.st_mode):
        # A rule may take back something below a directory that it leaves out.
        hashed.update(f"{line}{stat.S_IMODE(status.st_mode) if kept else '-'}\0".encode("utf-8", "surrogateescape"))
        for below in sorted(os.listdir(host)):
            _digest(hashed, source, f"{path}/{below}" if path else below, f"{host}/{below}", f"{name}/{below}")
        hashed.update(b"/\0")
    elif kept and stat.S_ISLNK(status.st_mode):
        hashed.update(f"{line}{os.readlink(host)}\0".encode("utf-8", "surrogateescape"))
    elif kept and stat.S_ISREG(status.st_mode):
        content = hashlib.sha256()
        with open(host, "rb", buffering=0) as file:
            while data := file.read(_CHUNK):
                content.update(data)
        hashed.update(f"{line}{stat.S_IMODE(status.st_mode)}\0".encode("utf-8", "surrogateescape"))
        hashed.update(content.digest())
    elif kept:
        raise InvalidValue(f"{path} in the context is neither a file, a directory nor a link")


def _check_depth(path: str) -> None:
    """Refuse what no image could hold, before it is descended into."""
    if path.count("/") > DEFAULT.depth or len(path) > DEFAULT.name:
        raise InvalidValue(f"{path[:60]}… lies more than {DEFAULT.depth} directories deep, or its name is too long")


class Copier:
    """Copies into the root file system `root`: everything new belongs to `owner` and has the time 0.

    Without an `owner` copies keep theirs, and what is made on the way is root's.
    """

    def __init__(self, root: str, owner: tuple[int, int] | None = (0, 0), mode: int | None = None) -> None:
        self._tree = Tree(root)
        self._root = root
        self._owner = owner
        self._mode = mode

    def copy(self, source: Source, patterns: Sequence[str], target: str, *, unpack: bool = False) -> None:
        """Copy what the patterns mean to `target`, an absolute path; archives are unpacked if so asked."""
        found = [one for pattern in patterns for one in source.find(pattern)]
        into = target.endswith("/") or len(found) > 1 or self.is_directory(target)
        if len(found) > 1 and not target.endswith("/"):
            raise InvalidValue(f"several sources need a target that ends with /, not {target}")
        for path, host in found:
            if os.path.isdir(host) and not os.path.islink(host):
                self.make_directory(target)
                self._directory(source, path, host, target.rstrip("/"))
            elif unpack and _is_archive(host):
                self.make_directory(target)
                self._unpack(host, target)
            else:
                self._file(host, f"{target.rstrip('/')}/{os.path.basename(path)}" if into else target)

    def make_directory(self, place: str) -> str:
        """Make a directory and those above it; return its host path."""
        _check_depth(place)
        done = ""
        for part in place.strip("/").split("/"):
            done = f"{done}/{part}"
            if part and not self.is_directory(done):
                # A link to nowhere, or a file, is in the way.
                inside = self._tree.inside(done)
                if os.path.lexists(inside):
                    raise InvalidValue(f"{done} is not a directory")
                os.mkdir(inside)
                os.chmod(inside, 0o755)
                if os.geteuid() == 0:
                    os.chown(inside, *(self._owner or (0, 0)))
        return self._tree.inside(f"{place.rstrip('/')}/x").rpartition("/")[0]

    def own(self, place: str, like: str | int) -> None:
        """Give what was made at the host path `place` its owner and mode: those asked for, else those of `like`.

        That is a host path, or the mode of what is root's unless somebody else was asked for.
        """
        status = None if isinstance(like, int) else os.lstat(like)
        uid, gid = self._owner or ((status.st_uid, status.st_gid) if status is not None else (0, 0))
        if os.geteuid() == 0:
            os.chown(place, uid, gid, follow_symlinks=False)
        if not os.path.islink(place):
            own = like if isinstance(like, int) else stat.S_IMODE(os.lstat(like).st_mode)
            os.chmod(place, own if self._mode is None else self._mode)

    def _directory(self, source: Source, path: str, host: str, place: str) -> None:
        _check_depth(place)
        for name in sorted(os.listdir(host)):
            inner = f"{path}/{name}" if path else name
            below = f"{host}/{name}"
            is_directory = stat.S_ISDIR(os.lstat(below).st_mode)
            if source.leaves_out(inner) and not is_directory:
                continue
            if not is_directory:
                self._file(below, f"{place}/{name}")
                continue
            if not source.leaves_out(inner):
                self.own(self.make_directory(f"{place}/{name}"), below)
            # A rule may take back something below what it leaves out.
            self._directory(source, inner, below, f"{place}/{name}")

    def _file(self, host: str, place: str) -> None:
        status = os.lstat(host)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
            raise InvalidValue(f"{place} would be neither a file nor a link")
        directory, _, name = place.rpartition("/")
        target = f"{self.make_directory(directory)}/{name}"
        if os.path.isdir(target) and not os.path.islink(target):
            raise InvalidValue(f"{place} is a directory")
        if os.path.lexists(target):
            os.unlink(target)
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(host), target)
        else:
            shutil.copyfile(host, target)
        self.own(target, host)
        os.utime(target, ns=(0, 0), follow_symlinks=False)

    def _unpack(self, archive: str, target: str) -> None:
        warnings: list[str] = []
        try:
            extract(archive, self.make_directory(target), warnings)
        except AppcError as error:
            raise InvalidValue(f"{os.path.basename(archive)} cannot be unpacked: {error.what}") from None

    def is_directory(self, place: str) -> bool:
        """Whether a path in the root file system means a directory."""
        try:
            return stat.S_ISDIR(TreeView((self._root,)).stat(place).st_mode)
        except OSError:
            return False


def _is_archive(path: str) -> bool:
    if os.path.islink(path) or not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        try:
            stream = compress.reader(file, where=path)
            return stream.kind == "tar" or compress.detect(stream.read(512).ljust(512, b"\0")) == "tar"
        except AppcError:
            return False
