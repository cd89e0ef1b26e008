"""Where things lie in the store, and the few facts every part of it shares.

    <root>/store/                     0700: rootfs trees hold setuid files and device nodes
      images/<image ID>/              appears by one rename, whole or not at all
        manifest                      the image manifest, byte for byte
        rootfs/                       the tree
        entries                       one record per tar entry (see records.py)
        tar                           what the entries do not say of the tar stream, for exact export
        meta                          JSON: labels, sizes, signer, what rendering has to know (see StoredImage)
        original, original.asc        the file as distributed and its signature, when kept
        used                          empty; its mtime is when the image was last used
      names/<name, "/" as ",">/<image ID>   empty: an index, so that looking a name up does not scan all images
      sources/<dev>-<inode>           which image a file on this host was, when it was imported
      trees/<key>/rootfs/             rendered trees, for images that overlay alone cannot give
      layers/<key>/diff/              what a step of a build made, for the next build (see layers.py)
      builds/<name>/                  a step that failed, to be looked at
      staging/<random>/               work in progress; the worker holds a flock on the directory
      downloads/<hash of URL>/        what has arrived of a download (data), and what resuming it needs (about)
      remotes/<hash of URL>           which image came from a URL, and its validators
      locks/                          flock files of importers, one per source file

The file system is the index: a lookup is one or two system calls, and there is nothing to repair after a crash
but directories in `staging` whose lock nobody holds.
"""

from __future__ import annotations

import os

META_VERSION = 1
ID_PREFIX = "sha512-"
ID_LENGTH = len(ID_PREFIX) + 128

_LONGEST = 200  # bytes of a name that are sure to be a file name


def store_path(root: str, *parts: str) -> str:
    """The path of something in the store that lies below the data directory `root`."""
    return "/".join((root, "store", *parts))


def name_directory(name: str) -> str:
    """The file name that stands for an image name (and for itself). AC Identifiers hold neither commas nor capitals."""
    flat = name.replace("/", ",")
    if len(flat) <= _LONGEST:
        return flat
    from hashlib import sha384

    return f"{flat[:100]}H{sha384(flat.encode()).hexdigest()}"


def gives_owners() -> bool:
    """Tell whether files can be given to any user: by root, but not where nobody is besides."""
    if os.geteuid() != 0:
        return False
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return sum(int(line.split()[2]) for line in file) > 1


def make_directory(path: str) -> str:
    """Make a private directory, and its parents where they are missing, and return its path."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        make_directory(os.path.dirname(path))
        make_directory(path)
    return path
