"""Hostile images: each with what appc must say when it refuses it, or what there must be when it does not."""

from __future__ import annotations

import bz2
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO

from appc.formats.limits import Limits
from hostile.tarbuild import (
    END,
    MANIFEST,
    directory,
    extended,
    file,
    gz,
    hardlink,
    header,
    image,
    long_name,
    pax,
    record,
    sparse,
    symlink,
    tar,
)

KIB = 1024
MIB = 1024 * KIB


class Case:
    """One image. `refusal` is part of the message; "" means that it is accepted and gives the files in `tree`.

    `usual` says that this happens under the limits that users have.
    """

    def __init__(
        self,
        name: str,
        data: bytes,
        refusal: str = "",
        tree: dict[str, bytes | str] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.name = name
        self.data = data
        self.refusal = refusal
        self.tree = tree
        self.limits = limits or Limits()
        self.usual = limits is None


def cases() -> list[Case]:
    """All of them, each under a name of its own."""
    found = [*names(), *links(), *structure(), *headers(), *extensions(), *sparse_files(), *streams(), *odd_but_fine()]
    assert len({case.name for case in found}) == len(found)
    return found


def names() -> Iterator[Case]:
    """Names that lead out of the image, or to where another entry is."""
    yield Case("parent", image(file(b"../evil")), 'name contains ".."')
    yield Case("parent-below-rootfs", image(file(b"rootfs/../../evil")), 'name contains ".."')
    yield Case("parent-that-stays", image(file(b"rootfs/a/../b")), 'name contains ".."')
    yield Case("parent-at-the-end", image(directory(b"rootfs/..")), 'name contains ".."')
    yield Case("parent-in-prefix", image(file(b"evil", prefix=b"rootfs/../..")), 'name contains ".."')
    yield Case("absolute", image(file(b"/tmp/evil")), "name is absolute")
    yield Case("absolute-rootfs", image(file(b"/rootfs/evil")), "name is absolute")
    yield Case("absolute-by-prefix", image(file(b"evil", prefix=b"/rootfs")), "name is absolute")
    yield Case("rootfs-with-a-tail", image(file(b"rootfsX/evil")), 'neither "manifest" nor below "rootfs"')
    yield Case("other-top-level", image(file(b"evil")), 'neither "manifest" nor below "rootfs"')
    yield Case("below-the-manifest", image(file(b"manifest/evil")), "manifest must be a regular file")
    yield Case("long-component", image(file_named(b"rootfs/" + b"a" * 300)), "component longer than 255")
    yield Case("long-name", image(file_named(b"rootfs/" + b"a/" * 2500 + b"b")), "longer than 4096")
    yield Case("deep", image(file_named(b"rootfs/" + b"a/" * 1000 + b"b")), "more than 256 directories deep")
    yield Case("terminal-escape", image(file(b"\x1b]0;evil\x07/../x")), 'name contains ".."')
    yield Case("newline", image(file(b"rootfsX/a\nappc: all is well")), 'neither "manifest" nor below')
    yield Case("file-with-a-slash", image(header(b"rootfs/evil/", b"0")), 'name that ends with "/"')
    yield Case("no-name", image(header(b"", b"0")), "entry has no name")
    yield Case("file-as-archive-root", image(header(b".", b"0")), "where the archive's root directory would be")


def links() -> Iterator[Case]:
    """Symbolic and hard links that lead astray, and entries that would go through them."""
    evil = file(b"rootfs/a/evil")
    yield Case("through-absolute-symlink", image(symlink(b"rootfs/a", b"/tmp"), evil), "which is a symlink")
    yield Case("through-relative-symlink", image(symlink(b"rootfs/a", b"../.."), evil), "which is a symlink")
    yield Case("through-symlink-inside", image(directory(b"rootfs/b"), symlink(b"rootfs/a", b"b"), evil), "a symlink")
    yield Case(
        "through-two-symlinks",
        image(symlink(b"rootfs/b", b"/tmp"), symlink(b"rootfs/a", b"b"), evil),
        "which is a symlink",
    )
    yield Case(
        "directory-through-symlink", image(symlink(b"rootfs/a", b"/tmp"), directory(b"rootfs/a/evil")), "a symlink"
    )
    yield Case(
        "symlink-through-symlink", image(symlink(b"rootfs/a", b"/tmp"), symlink(b"rootfs/a/evil", b"x")), "a symlink"
    )
    yield Case(
        "link-through-symlink",
        image(symlink(b"rootfs/a", b"/"), hardlink(b"rootfs/b", b"rootfs/a/etc/passwd")),
        "not in the archive before it",
    )
    yield Case(
        "through-hard-link-to-symlink",
        image(symlink(b"rootfs/b", b"/tmp"), hardlink(b"rootfs/a", b"rootfs/b"), evil),
        "which is a hardlink",
    )
    yield Case("below-a-file", image(file(b"rootfs/a"), evil), "which is a file")
    yield Case("below-a-fifo", image(header(b"rootfs/a", b"6"), evil), "which is a fifo")
    yield Case("symlink-over-directory", image(evil, symlink(b"rootfs/a", b"/tmp")), "an earlier entry lies below it")
    yield Case("file-over-directory", image(evil, file(b"rootfs/a")), "an earlier entry lies below it")
    yield Case("hard-link-up", image(hardlink(b"rootfs/a", b"../../etc/passwd")), 'contains ".."')
    yield Case("hard-link-absolute", image(hardlink(b"rootfs/a", b"/etc/passwd")), "is absolute")
    yield Case("hard-link-to-manifest", image(hardlink(b"rootfs/a", b"manifest")), 'not below "rootfs"')
    yield Case("hard-link-to-rootfs", image(hardlink(b"rootfs/a", b"rootfs")), 'not below "rootfs"')
    yield Case("hard-link-to-nothing", image(hardlink(b"rootfs/a", b"rootfs/b")), "not in the archive before it")
    yield Case(
        "hard-link-forward", image(hardlink(b"rootfs/a", b"rootfs/b"), file(b"rootfs/b")), "not in the archive before"
    )
    yield Case("hard-link-to-itself", image(hardlink(b"rootfs/a", b"rootfs/a")), "not in the archive before it")
    yield Case(
        "hard-link-to-directory",
        image(directory(b"rootfs/b"), hardlink(b"rootfs/a", b"rootfs/b")),
        "which is a directory",
    )
    yield Case(
        "hard-link-to-implied", image(file(b"rootfs/b/c"), hardlink(b"rootfs/a", b"rootfs/b")), "which is a directory"
    )
    yield Case("symlink-to-nothing", image(symlink(b"rootfs/a", b"")), "link has no target")
    yield Case("symlink-too-long", image(pax(linkpath="a" * 5000), symlink(b"rootfs/a", b"x")), "longer than 4096")
    yield Case("symlink-with-nul", image(pax(linkpath="a\0b"), symlink(b"rootfs/a", b"x")), "NUL")
    # Whoever takes the size for real reads the next header from within the content, or the other way round.
    hidden = file(b"rootfs/hidden")
    yield Case(
        "symlink-with-content", image(header(b"rootfs/a", b"2", 1024, b"x"), hidden), tree={"hidden": b"content\n"}
    )


def structure() -> Iterator[Case]:
    """What an image must have, and what it must not have twice."""
    manifest, rootfs = file(b"manifest", MANIFEST), directory(b"rootfs")
    yield Case("duplicate", image(file(b"rootfs/a"), file(b"rootfs/a", b"evil")), "in the archive twice")
    yield Case("duplicate-dot", image(file(b"rootfs/a"), file(b"./rootfs//./a")), "in the archive twice")
    yield Case("duplicate-directory", image(directory(b"rootfs/a"), directory(b"rootfs/a/")), "in the archive twice")
    yield Case("duplicate-link-over-file", image(file(b"rootfs/a"), symlink(b"rootfs/a", b"/etc/passwd")), "twice")
    yield Case("duplicate-link-over-directory", image(directory(b"rootfs/a"), symlink(b"rootfs/a", b"/tmp")), "twice")
    yield Case("duplicate-rootfs", image(directory(b"rootfs/")), "in the archive twice")
    yield Case("two-manifests", image(file(b"manifest", MANIFEST)), "in the archive twice")
    yield Case("two-manifests-dot", image(file(b"./manifest", MANIFEST)), "in the archive twice")
    yield Case("no-manifest", tar(rootfs), 'no "manifest"')
    yield Case("no-rootfs", tar(manifest), 'no entry for the directory "rootfs"')
    yield Case("implied-rootfs", tar(manifest, file(b"rootfs/a")), 'no entry for the directory "rootfs"')
    yield Case("rootfs-is-a-file", tar(manifest, file(b"rootfs")), "where a directory belongs")
    yield Case("rootfs-is-a-symlink", tar(manifest, symlink(b"rootfs", b"/")), "where a directory belongs")
    yield Case("manifest-is-a-symlink", tar(symlink(b"manifest", b"/etc/passwd"), rootfs), "must be a regular file")
    yield Case("manifest-is-a-directory", tar(directory(b"manifest"), rootfs), "must be a regular file")
    yield Case("manifest-is-a-fifo", tar(header(b"manifest", b"6"), rootfs), "must be a regular file")
    yield Case("long-manifest", tar(file(b"manifest", b" " * 5 * MIB), rootfs), "more than the 4194304 allowed")
    yield Case("sparse-manifest", tar(sparse(b"manifest", [], 1 << 32, b""), rootfs), "more than the 4194304 allowed")
    yield Case(
        "many-entries",
        image(*(file(b"rootfs/%d" % n, b"") for n in range(60))),
        "more than 50 entries",
        limits=Limits(entries=50),
    )
    yield Case("empty-archive", gz(END), 'no "manifest"')


def headers() -> Iterator[Case]:
    """Header blocks that are wrong, or that readers disagree about."""
    yield Case("bad-checksum", image(header(b"rootfs/a", checksum=b"000000\0 ")), "checksum does not match")
    yield Case("unknown-type", image(header(b"rootfs/a", b"Z")), "which is no file type")
    for flag in b"VMDN":
        kind = bytes([flag])
        yield Case(f"type-{kind.decode()}", image(header(b"rootfs/a", kind)), "which is no file type")
    yield Case("size-negative", image(header(b"rootfs/a", size=b"\xff" * 11 + b"\xf0")), "negative size")
    yield Case(
        "size-astronomic", image(header(b"rootfs/a", size=b"\x80" + b"\xff" * 11)), "more than 274877906944 bytes"
    )
    yield Case("size-hexadecimal", image(header(b"rootfs/a", size=b"0x10")), "where a number belongs")
    yield Case("size-underscore", image(header(b"rootfs/a", size=b"1_0")), "where a number belongs")
    yield Case("size-minus", image(header(b"rootfs/a", size=b"-1")), "where a number belongs")
    yield Case("size-decimal", image(header(b"rootfs/a", size=b"00000000009")), "where a number belongs")
    yield Case("owner-minus-one", image(header(b"rootfs/a", uid=b"\xff" * 8)), "out of range")
    yield Case("owner-nobody-can-be", image(header(b"rootfs/a", gid=b"\x80\0\0\0\xff\xff\xff\xff")), "out of range")
    yield Case("time-beyond-time", image(header(b"rootfs/a", mtime=b"\x80" + b"\x7f" * 11)), "time is out of range")


def extensions() -> Iterator[Case]:
    """Extended headers: pax records and GNU's long names."""
    one = file(b"rootfs/a")
    yield Case("pax-length-zero", image(extended(b"0 a=b\n"), one), "impossible length 0")
    yield Case("pax-length-beyond", image(extended(b"99 a=b\n"), one), "impossible length 99")
    yield Case("pax-length-short", image(extended(b"2 a=b\n"), one), "impossible length 2")
    yield Case("pax-length-huge", image(extended(b"9" * 400 + b" a=b\n"), one), "without a length")
    yield Case("pax-length-sign", image(extended(b"+6 a=b\n"), one), "without a length")
    yield Case("pax-no-newline", image(extended(b"6 a=bc"), one), "does not end with a newline")
    yield Case("pax-no-key", image(extended(b"5 =b\n"), one), "without a key")
    yield Case("pax-no-equals", image(extended(b"5 ab\n"), one), "without a key")
    yield Case("pax-zeros", image(extended(bytes(100)), one), "without a length")
    yield Case("pax-too-long", image(header(b"pax", b"x", 1 << 32)), "more than the 2097152 allowed")
    yield Case("pax-negative", image(header(b"pax", b"x", b"\xff" * 12)), "more than the 2097152 allowed")
    yield Case("pax-path-up", image(pax(path="rootfs/../../evil"), one), 'contains ".."')
    yield Case("pax-path-absolute", image(pax(path="/etc/evil"), one), "is absolute")
    yield Case("pax-path-nul", image(pax(path="rootfs/a\0b"), one), "NUL")
    yield Case(
        "pax-link-up", image(pax(linkpath="../../etc/passwd"), hardlink(b"rootfs/b", b"rootfs/a")), 'contains ".."'
    )
    yield Case("pax-size-word", image(pax(size="many"), one), "no sensible size")
    yield Case("pax-size-negative", image(pax(size="-1"), one), "no sensible size")
    yield Case("pax-size-too-large", image(pax(size="1000000"), one), "truncated")
    yield Case("pax-owner-huge", image(pax(uid="4294967295"), one), "out of range")
    yield Case("pax-owner-digits", image(pax(uid="9" * 5000), one), "no sensible uid")
    yield Case("pax-time-word", image(pax(mtime="1e3"), one), "no sensible time")
    yield Case("pax-time-huge", image(pax(mtime="9" * 19), one), "time is out of range")
    yield Case("pax-global-path", image(extended(record(b"path", b"rootfs/b"), b"g"), one), "for every entry")
    yield Case("pax-global-size", image(extended(record(b"size", b"0"), b"g"), one), "for every entry")
    yield Case(
        "pax-global-again",
        image(*(extended(record(b"k%d" % n, bytes(MIB)), b"g") for n in range(3)), one),
        "longer than 2097152",
    )
    yield Case("pax-twice", image(pax(path="rootfs/b"), pax(path="rootfs/c"), one), "two extended headers")
    yield Case("pax-at-the-end", image(pax(path="rootfs/b")), "belongs to no entry")
    yield Case("pax-cut-off", image()[:-1024] + header(b"pax", b"x", 2000) + bytes(512), "truncated")
    yield Case("xattr-no-name", image(pax(SCHILY_xattr_="x"), one), "impossible name")
    yield Case(
        "xattr-long-name", image(extended(record(b"SCHILY.xattr.user." + b"x" * 300, b"")), one), "impossible name"
    )
    yield Case(
        "xattr-long-value", image(extended(record(b"SCHILY.xattr.user.x", bytes(70 * KIB))), one), "longer than 65536"
    )
    yield Case(
        "xattr-bad-base64", image(extended(record(b"LIBARCHIVE.xattr.user.x", b"a")), one), "not of libarchive's form"
    )
    yield Case("gnu-name-up", image(long_name(b"rootfs/" + b"a/" * 60 + b"../" * 70 + b"evil"), one), 'contains ".."')
    yield Case("gnu-name-twice", image(long_name(b"rootfs/b"), long_name(b"rootfs/c"), one), "two long names")
    yield Case("gnu-link-twice", image(long_name(b"b", b"K"), long_name(b"c", b"K"), one), "two long link names")
    yield Case("gnu-name-too-long", image(header(b"L", b"L", 1 << 40)), "more than the 2097152 allowed")
    yield Case("gnu-name-at-the-end", image(long_name(b"rootfs/b")), "belongs to no entry")
    yield Case("gnu-name-empty", image(long_name(b""), one), "entry has no name")


def sparse_files() -> Iterator[Case]:
    """Sparse maps that lie."""
    data = b"x" * 512
    backwards, overlapping = [(1024, 256), (0, 256)], [(0, 512), (256, 512)]
    yield Case("sparse-backwards", image(sparse(b"rootfs/a", backwards, 2048, data)), "ascending order")
    yield Case("sparse-overlapping", image(sparse(b"rootfs/a", overlapping, 2048, data * 2)), "ascending order")
    yield Case("sparse-beyond-end", image(sparse(b"rootfs/a", [(4096, 512)], 2048, data)), "beyond the end")
    yield Case("sparse-too-little", image(sparse(b"rootfs/a", [(0, 1024)], 2048, data)), "where 512 are stored")
    yield Case(
        "sparse-exabyte",
        image(sparse(b"rootfs/a", [], 1 << 32, b""), sparse(b"rootfs/b", [], 1 << 32, b"")),
        "more than 5368709120 bytes",
        limits=Limits(size=5 << 30),
    )
    yield Case("sparse-map-cut", image(sparse_pax("1.0", b"3\n0\n")), "not complete")
    yield Case("sparse-map-words", image(sparse_pax("1.0", b"one\n")), "no sensible sparse map")
    yield Case("sparse-map-long", image(sparse_pax("1.0", b"99999999\n" + b"0\n" * 5000)), "not complete")
    yield Case(
        "sparse-map-odd",
        image(pax(GNU_sparse_map="0,512,1024", GNU_sparse_size="2048"), file(b"rootfs/a", data)),
        "without a length",
    )
    yield Case("sparse-no-size", image(pax(GNU_sparse_map="0,512"), file(b"rootfs/a", data)), "without its size")
    yield Case(
        "sparse-future",
        image(pax(GNU_sparse_major="2", GNU_sparse_size="1"), file(b"rootfs/a", data)),
        "unknown version",
    )
    yield Case(
        "sparse-directory",
        image(pax(GNU_sparse_map="0,0", GNU_sparse_size="1"), directory(b"rootfs/a")),
        "sparse map on a dir",
    )
    yield Case("sparse-name-up", image(sparse_pax("1.0", b"0\n", name="../evil")), 'contains ".."')


def streams() -> Iterator[Case]:
    """Truncated, corrupt and inflated streams, and what is no image at all."""
    good = image(file(b"rootfs/a", b"x" * 2000))
    yield Case("cut-in-header", good[:1700], "truncated")
    yield Case("cut-in-content", good[:3000], "truncated")
    yield Case("no-end-marker", good[: -len(END)], "truncated")
    yield Case("gzip-cut", gz(good)[:-20], "gzip stream is truncated")
    yield Case("gzip-cut-in-trailer", gz(good)[:-3], "gzip stream is truncated")
    yield Case("gzip-bad-checksum", gz(good)[:-8] + b"evil" + gz(good)[-4:], "gzip stream is corrupt")
    yield Case("gzip-corrupt", gz(good)[:20] + b"\xff" * 40 + gz(good)[60:], "gzip stream is corrupt")
    yield Case("gzip-second-cut", gz(good[:1024]) + gz(good[1024:])[:-9], "gzip stream is truncated")
    yield Case("bzip2-cut", bz2.compress(good)[:-10], "bzip2 stream is truncated")
    yield Case("bzip2-corrupt", bz2.compress(good)[:40] + b"evil" + bz2.compress(good)[44:], "bzip2 stream is corrupt")
    yield Case("xz-cut", lzma.compress(good)[:-10], "xz stream is truncated")
    yield Case("xz-corrupt", lzma.compress(good)[:40] + b"evil" + lzma.compress(good)[44:], "xz stream is corrupt")
    yield Case("xz-needs-gigabytes", _xz_with_dictionary(good), "more memory than")
    bomb = image(file(b"rootfs/a", bytes(8 * MIB)))
    small = Limits(ratio=100, ratio_floor=MIB)
    yield Case("gzip-bomb", gz(bomb), "expands to more than 100 times", limits=small)
    yield Case("bzip2-bomb", bz2.compress(bomb), "expands to more than 100 times", limits=small)
    yield Case("xz-bomb", lzma.compress(bomb), "expands to more than 100 times", limits=small)
    yield Case("trailing-bomb", gz(good + bytes(8 * MIB)), "expands to more than 100 times", limits=small)
    yield Case("too-long", good + bytes(8 * MIB), "longer than 1048576 bytes", limits=Limits(size=MIB))
    yield Case("second-archive-behind", good + good * 500, "behind its end")
    yield Case("gzip-in-gzip", gz(gz(good) + bytes(1024)), "checksum does not match")
    yield Case("gzip-of-text", gz(b"hello\n" * 1000), "checksum does not match")
    yield Case("gzip-of-nothing", gz(b""), "truncated")
    yield Case("empty-file", b"", "is no image")
    yield Case("text", b"hello\n" * 1000, "is no image")
    yield Case("zip", _zip(), "is no image")
    yield Case("zstd", b"\x28\xb5\x2f\xfd" + bytes(100), "compressed with zstd")
    yield Case("signature", b"-----BEGIN PGP SIGNATURE-----\n\nevil\n", "is no image")


def odd_but_fine() -> Iterator[Case]:
    """What looks dangerous and is not: it stays inside."""
    tree: dict[str, bytes | str]
    one: dict[str, bytes | str] = {"a": b"content\n"}
    yield Case(
        "symlinks-out",
        image(symlink(b"rootfs/a", b"/etc/passwd"), symlink(b"rootfs/b", b"../../..")),
        tree={"a": "/etc/passwd", "b": "../../.."},
    )
    yield Case(
        "hard-link-to-symlink",
        image(symlink(b"rootfs/a", b"/etc/passwd"), hardlink(b"rootfs/b", b"rootfs/a")),
        tree={"a": "/etc/passwd", "b": "/etc/passwd"},
    )
    yield Case(
        "hard-link-dot",
        image(file(b"rootfs/a"), hardlink(b"./rootfs/b", b"./rootfs/a")),
        tree={**one, "b": b"content\n"},
    )
    yield Case(
        "dot-prefixes",
        tar(directory(b"./"), file(b"./manifest", MANIFEST), directory(b"./rootfs/"), file(b"./rootfs/a")),
        tree=one,
    )
    yield Case("manifest-last", tar(directory(b"rootfs"), file(b"rootfs/a"), file(b"manifest", MANIFEST)), tree=one)
    yield Case(
        "rootfs-after-content", tar(file(b"rootfs/a"), directory(b"rootfs"), file(b"manifest", MANIFEST)), tree=one
    )
    yield Case(
        "directory-after-content", image(file(b"rootfs/a/b"), directory(b"rootfs/a")), tree={"a/b": b"content\n"}
    )
    yield Case(
        "dots-in-names",
        image(file(b"rootfs/..a"), file(b"rootfs/b.."), file(b"rootfs/...")),
        tree=dict.fromkeys(("..a", "b..", "..."), b"content\n"),
    )
    yield Case("not-utf8", image(file(b"rootfs/\xff\xfe")), tree={"\udcff\udcfe": b"content\n"})
    yield Case("control-characters", image(file(b"rootfs/\x1b[31m\n")), tree={"\x1b[31m\n": b"content\n"})
    yield Case(
        "read-only-directory",
        image(header(b"rootfs/d", b"5", mode=0o500), file(b"rootfs/d/a")),
        tree={"d/a": b"content\n"},
    )
    yield Case("setuid", image(file(b"rootfs/a", mode=0o6755)), tree=one)
    yield Case("fifo", image(file(b"rootfs/a"), header(b"rootfs/p", b"6")), tree=one)
    yield Case("contiguous", image(header(b"rootfs/a", b"7", 8) + b"content\n".ljust(512, b"\0")), tree=one)
    yield Case(
        "old-header", image(file(b"rootfs/a", magic=bytes(8)), header(b"rootfs/d/", b"\0", magic=bytes(8))), tree=one
    )
    yield Case("signed-checksum", image(_signed(file(b"rootfs/\xe9"))), tree={"\udce9": b"content\n"})
    yield Case("solaris-header", image(extended(record(b"path", b"rootfs/a"), b"X"), file(b"rootfs/b")), tree=one)
    yield Case("pax-takes-back", image(pax(path=""), file(b"rootfs/a")), tree=one)
    tree = {"a": b"x" * 512 + bytes(1536) + b"y" * 100}
    stored = b"x" * 512 + b"y" * 100
    yield Case("sparse-gnu", image(sparse(b"rootfs/a", [(0, 512), (2048, 100)], 2148, stored)), tree=tree)
    yield Case(
        "sparse-0.1",
        image(pax(GNU_sparse_map="0,512,2048,100", GNU_sparse_size="2148"), file(b"rootfs/a", stored)),
        tree=tree,
    )
    old = b"".join(
        record(b"GNU.sparse." + key, value)
        for key, value in (
            (b"size", b"2148"),
            (b"numblocks", b"2"),
            (b"offset", b"0"),
            (b"numbytes", b"512"),
            (b"offset", b"2048"),
            (b"numbytes", b"100"),
        )
    )
    yield Case("sparse-0.0", image(extended(old), file(b"rootfs/a", stored)), tree=tree)
    yield Case("sparse-1.0", image(sparse_pax("1.0", b"2\n0\n512\n2048\n100\n", stored, 2148)), tree=tree)
    yield Case("sparse-only-hole", image(sparse(b"rootfs/a", [], 5000, b"")), tree={"a": bytes(5000)})
    good = image(file(b"rootfs/a"))
    yield Case("two-gzip-members", gz(good[:700]) + gz(good[700:]), tree=one)
    yield Case("two-xz-streams", lzma.compress(good[:700]) + bytes(8) + lzma.compress(good[700:]), tree=one)
    yield Case("junk-behind-gzip", gz(good) + b"junk", tree=one)
    yield Case("zeros-behind-gzip", gz(good) + bytes(5000), tree=one)
    yield Case("junk-behind-archive", good + b"junk", tree=one)
    yield Case("one-zero-block", good[:-512], tree=one)


def file_named(name: bytes) -> bytes:
    """A file with a name of any length."""
    return pax(path=name) + file(b"short")


def sparse_pax(version: str, map_text: bytes, data: bytes = b"", size: int = 0, name: str = "rootfs/a") -> bytes:
    """A sparse file of pax format 1.0, whose map stands before the content."""
    major, _, minor = version.partition(".")
    stored = map_text + bytes(-len(map_text) % 512) + data
    head = pax(GNU_sparse_major=major, GNU_sparse_minor=minor, GNU_sparse_name=name, GNU_sparse_realsize=str(size))
    return head + file(b"GNUSparseFile.0/a", stored)


def _signed(member: bytes) -> bytes:
    """With the checksum that old writers got from signed characters."""
    block = bytearray(member[:512])
    block[148:156] = b" " * 8
    total = sum(byte - 256 if byte > 127 else byte for byte in block)
    block[148:156] = b"%06o\0 " % total
    return bytes(block) + member[512:]


def _xz_with_dictionary(data: bytes) -> bytes:
    """An xz stream that asks for a dictionary of 3 GiB."""
    stream = bytearray(lzma.compress(data, preset=0))
    # The block's header, after the stream's 12 bytes: its length, flags, and the LZMA2 filter with its one property.
    assert stream[12:17] == b"\x02\0\x21\x01\x0c"
    stream[16] = 39
    stream[20:24] = zlib.crc32(stream[12:20]).to_bytes(4, "little")
    return bytes(stream)


def _zip() -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("manifest", MANIFEST)
    return out.getvalue()
