"""Rendering: dependencies in their order, whitelists, and what is refused (ace.md, "Filesystem Setup"; aci.md)."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

import image_kit
from appc.errors import DependencyError, UsageError
from appc.images.closure import closure
from appc.images.render import Rootfs, copy_rootfs, rootfs_for
from appc.images.view import TreeView
from appc.store.images import ImageStore, StoredImage


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(str(tmp_path / "data"))


class Images:
    """Adds images to a store, by short names."""

    def __init__(self, store: ImageStore, directory: Path) -> None:
        self.store = store
        self.directory = directory

    def add(
        self,
        name: str,
        files: dict[str, image_kit.Entry] | None = None,
        needs: tuple[str | dict[str, Any], ...] = (),
        only: tuple[str, ...] = (),
        **how: Any,
    ) -> StoredImage:
        """An image with a file of its own name, that needs others and whitelists `only` these paths."""
        path = self.directory / f"{name}.aci"
        fields: dict[str, Any] = {}
        if needs:
            fields["dependencies"] = [{"imageName": one} if isinstance(one, str) else one for one in needs]
        if only:
            fields["pathWhitelist"] = list(only)
        image_kit.aci(path, {name: name} if files is None else files, name, **fields, **how)
        with path.open("rb") as stream:
            return self.store.import_file(stream, where=str(path))


@pytest.fixture
def images(store: ImageStore, tmp_path: Path) -> Images:
    return Images(store, tmp_path)


def order(store: ImageStore, image: StoredImage) -> list[str]:
    """The images whose trees make the root, lowest first."""
    return [str(one.image.name) for one in reversed(closure(store, image))]


def content(directory: str | Path) -> dict[str, str]:
    """Every path below a directory: the content of files, "dir", "-> target"."""
    found = {}
    for path in sorted(Path(directory).rglob("*")):
        name = str(path.relative_to(directory))
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            found[name] = f"-> {os.readlink(path)}"
        elif stat.S_ISDIR(mode):
            found[name] = "dir"
        else:
            found[name] = path.read_text() if stat.S_ISREG(mode) else "special"
    return found


def rendered(store: ImageStore, image: StoredImage, tmp_path: Path) -> dict[str, str]:
    """What the image's root holds: as a copy, and the same again as it is used by pods."""
    target = tmp_path / f"copy-{os.urandom(4).hex()}"
    target.mkdir()
    copy_rootfs(store, image, str(target))
    found = content(target)
    root = rootfs_for(store, image)
    assert merged(root) == found
    return found


def merged(root: Rootfs) -> dict[str, str]:
    """The same of trees laid over each other."""
    view = TreeView(root.lowers)
    found = {}
    waiting = [""]
    while waiting:
        directory = waiting.pop()
        for name in view.listdir("/" + directory):
            path = f"{directory}/{name}".lstrip("/")
            mode = view.stat("/" + path, follow=False).st_mode
            if stat.S_ISLNK(mode):
                found[path] = f"-> {view.readlink('/' + path)}"
            elif stat.S_ISDIR(mode):
                found[path] = "dir"
                waiting.append(path)
            else:
                found[path] = view.read("/" + path, 1 << 20).decode() if stat.S_ISREG(mode) else "special"
    return dict(sorted(found.items()))


# -- order ----------------------------------------------------------------------------------------


def test_an_image_alone_is_its_own_tree(store: ImageStore, images: Images) -> None:
    image = images.add("a")
    root = rootfs_for(store, image)
    assert (root.lowers, root.image_ids, root.overlay) == ((image.tree,), (image.id,), True)


def test_dependencies_go_depth_first_in_their_order(store: ImageStore, images: Images) -> None:
    """ace.md: A → [B, C], C → [D] is B, D, C, A."""
    images.add("d")
    images.add("c", needs=("d",))
    images.add("b")
    a = images.add("a", needs=("b", "c"))
    assert order(store, a) == ["b", "d", "c", "a"]
    root = rootfs_for(store, a)
    assert [os.listdir(lower) for lower in root.lowers] == [["a"], ["c"], ["d"], ["b"]]
    assert len(root.image_ids) == 4


def test_an_image_needed_twice_counts_where_it_comes_last(store: ImageStore, images: Images, tmp_path: Path) -> None:
    """ace.md: A → [B, C], B → [D], C → [D] is D, B, D, C, A; the second D overrides B."""
    images.add("d", {"shared": "from d", "d": "d"})
    images.add("b", {"shared": "from b", "b": "b"}, needs=("d",))
    images.add("c", {"c": "c"}, needs=("d",))
    a = images.add("a", needs=("b", "c"))
    assert order(store, a) == ["b", "d", "c", "a"]
    assert rendered(store, a, tmp_path) == {"a": "a", "b": "b", "c": "c", "d": "d", "shared": "from d"}


def test_deep_and_wide_graphs_take_no_longer_than_their_size(store: ImageStore, images: Images) -> None:
    """Each level needs the one below twice: 2^30 paths, 30 images."""
    images.add("n0")
    for level in range(1, 30):
        image = images.add(f"n{level}", needs=(f"n{level - 1}", f"n{level - 1}"))
    assert order(store, image) == [f"n{level}" for level in range(30)]


def test_only_the_top_images_manifest_counts(store: ImageStore, images: Images) -> None:
    images.add("b", app={"exec": ["/b"], "user": "0", "group": "0"})
    a = images.add("a", needs=("b",))
    assert a.manifest.app is None


# -- later over earlier ---------------------------------------------------------------------------


@pytest.mark.parametrize("above", ["file", "link", "dir", "fifo"])
@pytest.mark.parametrize("below", ["file", "link", "dir", "fifo"])
def test_any_type_replaces_any_type(store: ImageStore, images: Images, tmp_path: Path, above: str, below: str) -> None:
    def entries(kind: str, mark: str) -> dict[str, image_kit.Entry]:
        if kind == "dir":
            return {"x": ("dir", 0o755), f"x/{mark}": mark}
        return {"x": {"file": mark, "link": ("link", mark), "fifo": ("file", b"", {"type": b"6"})}[kind]}

    images.add("b", {**entries(below, "below"), "below": ("dir", 0o755)})
    a = images.add("a", {**entries(above, "above"), "above": ("dir", 0o755)}, needs=("b",))
    found = rendered(store, a, tmp_path)
    if above == "dir":
        expected = {"x": "dir", "x/above": "above"} | ({"x/below": "below"} if below == "dir" else {})
    else:
        expected = {"x": {"file": "above", "link": "-> above", "fifo": "special"}[above]}
    assert found == {**expected, "above": "dir", "below": "dir"}


@pytest.mark.parametrize("parents", [True, False])
def test_a_link_to_a_directory_is_replaced_not_followed(
    store: ImageStore, images: Images, tmp_path: Path, parents: bool
) -> None:
    images.add("b", {"real": ("dir", 0o755), "lib": ("link", "real"), "etc": ("link", "/etc")})
    a = images.add("a", {"lib/new": "new", "etc/passwd": "mine"}, needs=("b",), parents=parents)
    assert rendered(store, a, tmp_path) == {
        "real": "dir", "lib": "dir", "lib/new": "new", "etc": "dir", "etc/passwd": "mine",
    }  # fmt: skip


def test_a_file_in_the_way_hides_what_lower_images_have_below_it(
    store: ImageStore, images: Images, tmp_path: Path
) -> None:
    images.add("c", {"x/deep/file": "hidden"})
    images.add("b", {"x": "file"}, needs=("c",))
    a = images.add("a", {"x/own": "seen"}, needs=("b",))
    assert rendered(store, a, tmp_path) == {"x": "dir", "x/own": "seen"}


def test_directories_take_the_mode_of_the_last_image_that_has_them(
    store: ImageStore, images: Images, tmp_path: Path
) -> None:
    images.add("b", {"tmp": ("dir", 0o1777), "root": ("dir", 0o700), "root/x": "x"})
    a = images.add("a", {"root": ("dir", 0o750), "tmp/file": "y"}, needs=("b",), parents=False)
    target = tmp_path / "out"
    target.mkdir()
    copy_rootfs(store, a, str(target))
    root = rootfs_for(store, a)
    for tree in (str(target), root.lowers[0]):
        assert os.stat(f"{tree}/root").st_mode & 0o7777 == 0o750
        # The archive says nothing of /tmp, so extracting it leaves /tmp as it was.
        assert os.stat(f"{tree}/tmp").st_mode & 0o7777 == 0o1777
    assert len(root.lowers) == 1


def test_directories_left_out_at_the_bottom_need_no_rendering(store: ImageStore, images: Images) -> None:
    images.add("b", {"etc/conf": "x"}, parents=False)
    a = images.add("a", needs=("b",))
    assert len(rootfs_for(store, a).lowers) == 2


# -- whitelists -----------------------------------------------------------------------------------

TREE: dict[str, image_kit.Entry] = {
    "etc/a.conf": "a", "etc/b.conf": "b", "usr/bin/app": "app", "usr/bin/tool": "tool", "empty": ("dir", 0o711),
    "link": ("link", "etc"),
}  # fmt: skip


def test_a_whitelist_is_the_complete_set_of_paths(store: ImageStore, images: Images, tmp_path: Path) -> None:
    a = images.add("a", TREE, only=("/etc/a.conf", "/link"))
    assert rendered(store, a, tmp_path) == {"etc": "dir", "etc/a.conf": "a", "link": "-> etc"}


def test_listing_a_directory_does_not_list_what_is_in_it(store: ImageStore, images: Images, tmp_path: Path) -> None:
    a = images.add("a", TREE, only=("/etc/", "/empty"))
    assert rendered(store, a, tmp_path) == {"etc": "dir", "empty": "dir"}


def test_paths_are_cleaned_and_unmatched_ones_do_not_matter(store: ImageStore, images: Images, tmp_path: Path) -> None:
    a = images.add("a", TREE, only=("/usr//bin/./app/", "/absent", "/usr/bin/../../etc/b.conf", "/link/a.conf"))
    assert rendered(store, a, tmp_path) == {
        "usr": "dir", "usr/bin": "dir", "usr/bin/app": "app", "etc": "dir", "etc/b.conf": "b",
    }  # fmt: skip


def test_an_empty_whitelist_is_none(store: ImageStore, images: Images) -> None:
    a = images.add("a", TREE, pathWhitelist=[])
    assert rootfs_for(store, a).lowers == (a.tree,)


def test_a_whitelist_holds_for_all_dependencies(store: ImageStore, images: Images, tmp_path: Path) -> None:
    images.add("c", {"etc/c": "c", "etc/keep": "from c"})
    images.add("b", {"etc/b": "b", "etc/keep": "from b"}, needs=("c",))
    a = images.add("a", {"etc/a": "a"}, needs=("b",), only=("/etc/keep", "/etc/a"))
    assert rendered(store, a, tmp_path) == {"etc": "dir", "etc/a": "a", "etc/keep": "from b"}


def test_every_dependants_whitelist_applies_not_only_the_topmost(
    store: ImageStore, images: Images, tmp_path: Path
) -> None:
    images.add("c", {"one": "1", "two": "2", "three": "3"})
    images.add("b", {"b": "b"}, needs=("c",), only=("/one", "/two"))
    a = images.add("a", {"a": "a"}, needs=("b",), only=("/two", "/three", "/a", "/b"))
    assert rendered(store, a, tmp_path) == {"a": "a", "two": "2"}


def test_a_dependencys_whitelist_does_not_bind_its_siblings_or_dependants(
    store: ImageStore, images: Images, tmp_path: Path
) -> None:
    images.add("d", {"d1": "1", "d2": "2"})
    images.add("b", {"b1": "1", "b2": "2"}, needs=("d",), only=("/b1", "/d1"))
    images.add("c", {"c1": "1", "c2": "2"})
    a = images.add("a", needs=("b", "c"))
    assert rendered(store, a, tmp_path) == {"a": "a", "b1": "1", "c1": "1", "c2": "2", "d1": "1"}


def test_an_image_reached_twice_is_filtered_each_time_by_those_it_was_reached_through(
    store: ImageStore, images: Images, tmp_path: Path
) -> None:
    """ace.md: "the renderer has to examine the files from D twice and each pass will have a different ..."."""
    images.add("d", {"one": "1", "two": "2", "three": "3"})
    images.add("b", {}, needs=("d",), only=("/one",))
    images.add("c", {}, needs=("d",), only=("/two",))
    a = images.add("a", {}, needs=("b", "c"))
    assert rendered(store, a, tmp_path) == {"one": "1", "two": "2"}


def test_a_hard_link_to_a_file_that_is_left_out_keeps_its_content(
    store: ImageStore, images: Images, tmp_path: Path
) -> None:
    a = images.add(
        "a", {"first": "x", "second": ("hard", "first"), "third": ("hard", "second")}, only=("/second", "/third")
    )
    assert rendered(store, a, tmp_path) == {"second": "x", "third": "x"}
    target = tmp_path / "out"
    target.mkdir()
    copy_rootfs(store, a, str(target))
    assert os.stat(target / "second").st_ino == os.stat(target / "third").st_ino
    assert os.stat(target / "second").st_nlink == 2


def test_parents_of_listed_paths_keep_their_mode(store: ImageStore, images: Images) -> None:
    a = images.add("a", {"root": ("dir", 0o700), "root/key": "secret"}, only=("/root/key",))
    assert os.stat(f"{rootfs_for(store, a).lowers[0]}/root").st_mode & 0o777 == 0o700


# -- rendered trees -------------------------------------------------------------------------------


def test_a_tree_is_rendered_once_and_shares_the_files_of_the_store(store: ImageStore, images: Images) -> None:
    a = images.add("a", {"etc/a": "x" * 5000, "etc/b": "y"}, only=("/etc/a",))
    first, second = rootfs_for(store, a), rootfs_for(store, a)
    assert first.lowers == second.lowers != (a.tree,)
    assert os.stat(f"{first.lowers[0]}/etc/a").st_ino == os.stat(f"{a.tree}/etc/a").st_ino
    assert store.check(a) == []


def test_a_new_version_of_a_dependency_makes_a_new_tree(store: ImageStore, images: Images) -> None:
    images.add("b", {"etc/b": "old"})
    a = images.add("a", {"etc/a": "a"}, needs=("b",), only=("/etc/b",))
    old = rootfs_for(store, a)
    images.add("b", {"etc/b": "new"})
    new = rootfs_for(store, a)
    assert merged(old) == {"etc": "dir", "etc/b": "old"}
    assert merged(new) == {"etc": "dir", "etc/b": "new"}


def test_what_is_rendered_for_somebody_is_not_removed_under_them(store: ImageStore, images: Images) -> None:
    b = images.add("b", {"etc/b": "b"})
    a = images.add("a", {"etc/a": "a"}, needs=("b",), only=("/etc/b",))
    root = rootfs_for(store, a)
    store.gc(grace=-1)
    assert merged(root) == {"etc": "dir", "etc/b": "b"}
    with pytest.raises(Exception, match="another process is working with it"):
        store.remove(b)
    del root
    store.remove(b)
    assert {entry.kind for entry in store.gc(grace=-1)} == {"image", "tree"}


def test_a_copy_shares_nothing_with_the_store(store: ImageStore, images: Images, tmp_path: Path) -> None:
    a = images.add("a", {"etc/a": "x" * 5000, "etc/b": ("hard", "etc/a")})
    target = tmp_path / "out"
    target.mkdir()
    assert copy_rootfs(store, a, str(target)) == []
    (target / "etc/a").write_text("changed")
    assert (target / "etc/b").read_text() == "changed"
    assert store.check(a) == []


def test_a_copy_keeps_modes_times_and_holes(store: ImageStore, images: Images, tmp_path: Path) -> None:
    a = images.add("a", {"bin/su": ("file", b"\0" * (4 << 20) + b"end", {"mode": 0o4711}), "d": ("dir", 0o1777)})
    target = tmp_path / "out"
    target.mkdir()
    copy_rootfs(store, a, str(target))
    for path in ("bin/su", "d", "bin"):
        ours, theirs = os.stat(target / path), os.stat(f"{a.tree}/{path}")
        assert (ours.st_mode, ours.st_mtime_ns) == (theirs.st_mode, theirs.st_mtime_ns)
        assert ours.st_mtime == image_kit.MTIME
    assert (target / "bin/su").read_bytes() == b"\0" * (4 << 20) + b"end"


def test_nothing_is_rendered_over_what_is_there(store: ImageStore, images: Images, tmp_path: Path) -> None:
    a = images.add("a")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    with pytest.raises(UsageError, match="is not empty"):
        copy_rootfs(store, a, str(tmp_path / "full"))


# -- refusals -------------------------------------------------------------------------------------


def refusal(store: ImageStore, image: StoredImage) -> str:
    with pytest.raises(DependencyError) as caught:
        rootfs_for(store, image)
    assert caught.value.exit_status == 1
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_dependency_is_one_line_with_the_chain(store: ImageStore, images: Images) -> None:
    gone = {"imageName": "gone", "labels": [{"name": "version", "value": "1"}]}
    images.add("b", needs=(gone,))
    a = images.add("a", needs=("b",))
    assert refusal(store, a) == "image a → b: its dependency gone,version=1 is not in the store"


@pytest.mark.parametrize("length", [1, 2, 5])
def test_dependencies_on_oneself_are_refused_and_shown(store: ImageStore, images: Images, length: int) -> None:
    names = [f"n{number}" for number in range(length)]
    made = [images.add(name, needs=(names[(number + 1) % length],)) for number, name in enumerate(names)]
    assert refusal(store, made[0]) == f"image {' → '.join([*names, names[0]])}: depends on itself"


def test_a_dependency_must_have_the_id_it_is_given_by(store: ImageStore, images: Images) -> None:
    b = images.add("b")
    good = images.add("good", needs=({"imageName": "b", "imageID": b.id},))
    assert order(store, good) == ["b", "good"]
    bad = images.add("bad", needs=({"imageName": "b", "imageID": "sha512-" + "0" * 128},))
    assert "its dependency b is not in the store" in refusal(store, bad)
    short = images.add("short", needs=({"imageName": "b", "imageID": b.id[:40]},))
    assert "ID that is not whole" in refusal(store, short)


def test_an_id_decides_between_versions(store: ImageStore, images: Images) -> None:
    old = images.add("b", {"b": "old"})
    images.add("b", {"b": "new"})
    a = images.add("a", needs=({"imageName": "b", "imageID": old.id},))
    assert [one.image.id for one in closure(store, a)] == [a.id, old.id]


@pytest.mark.parametrize(
    "asked",
    [{"imageName": "other"}, {"imageName": "b", "labels": [{"name": "version", "value": "2"}]}],
    ids=["name", "label"],
)
def test_an_id_does_not_excuse_name_and_labels(store: ImageStore, images: Images, asked: dict[str, Any]) -> None:
    b = images.add("b", version="1")
    a = images.add("a", needs=({**asked, "imageID": b.id},))
    assert f"is given as {b.id.short}, but that is b,version=1" in refusal(store, a)


def test_labels_decide_between_dependencies(store: ImageStore, images: Images) -> None:
    one = images.add("b", {"b": "1"}, version="1")
    images.add("b", {"b": "2"}, version="2")
    a = images.add("a", needs=({"imageName": "b", "labels": [{"name": "version", "value": "1"}]},))
    assert [one.image.id for one in closure(store, a)] == [a.id, one.id]


@pytest.mark.parametrize(("kind", "good"), [("file", True), ("tar", True), ("wrong", False)])
def test_a_dependency_must_have_the_size_it_is_given_with(
    store: ImageStore, images: Images, tmp_path: Path, kind: str, good: bool
) -> None:
    b = images.add("b")
    size = {"file": (tmp_path / "b.aci").stat().st_size, "tar": b.size, "wrong": 12345}[kind]
    a = images.add("a", needs=({"imageName": "b", "size": size},))
    if good:
        assert order(store, a) == ["b", "a"]
    else:
        assert "its dependency b should have 12345 bytes, but" in refusal(store, a)


def test_whitelists_cannot_make_the_work_exponential(store: ImageStore, images: Images) -> None:
    images.add("n0-0", only=("/x",))
    images.add("n0-1", only=("/x",))
    for level in range(1, 12):
        below = (f"n{level - 1}-0", f"n{level - 1}-1")
        for side in (0, 1):
            image = images.add(f"n{level}-{side}", needs=below, only=("/x",))
    assert "come to more than 500 images" in refusal(store, image)
