"""ace.md, "Filesystem Setup", and aci.md, `pathWhitelist`, sentence by sentence, and against a renderer of the letter.

Complements test_images_render.py, which tests what rendering makes on disk.
"""

from __future__ import annotations

import itertools
import posixpath
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import image_kit
from appc.images.closure import Pass, closure
from appc.images.merge import Node, merge
from appc.store.images import ImageStore, StoredImage

Files = dict[str, image_kit.Entry]


class Images:
    """Images of one store by short names, each added after those it needs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = ImageStore(str(directory / "data"))

    def add(
        self, name: str, files: Files, needs: tuple[str, ...] = (), only: tuple[str, ...] = (), parents: bool = True
    ) -> StoredImage:
        """Add an image that needs others and whitelists `only` these paths."""
        fields: dict[str, Any] = {"dependencies": [{"imageName": one} for one in needs], "pathWhitelist": list(only)}
        path = self.directory / f"{name}.aci"
        image_kit.aci(path, files, name, compress="none", parents=parents, **{k: v for k, v in fields.items() if v})
        with path.open("rb") as stream:
            return self.store.import_file(stream, where=name)

    def passes(self, image: StoredImage) -> list[Pass]:
        return closure(self.store, image)

    def render(self, image: StoredImage) -> dict[str, str]:
        """What the root holds: contents of files, "dir", "-> target"."""
        return flat(merge(self.passes(image)))


def flat(node: Node, path: str = "") -> dict[str, str]:
    """A merged tree by path."""
    found = {}
    for name, child in (node.children or {}).items():
        below = f"{path}/{name}" if path else name
        if child.children is not None:
            found[below] = "dir"
            found.update(flat(child, below))
        elif child.record.type == "symlink":
            found[below] = f"-> {child.record.linkname}"
        else:
            assert child.image is not None
            found[below] = Path(child.image.tree, child.record.path).read_text()
    return dict(sorted(found.items()))


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(tmp_path)


# -- order ----------------------------------------------------------------------------------------


def test_dependencies_are_extracted_in_the_order_in_which_they_are_listed(images: Images) -> None:
    for name in ("b", "c", "d"):
        images.add(name, {"x": name, name: name})
    assert images.render(images.add("a1", {}, ("b", "c", "d")))["x"] == "d"
    assert images.render(images.add("a2", {}, ("d", "c", "b")))["x"] == "b"


def test_the_image_itself_comes_last(images: Images) -> None:
    images.add("b", {"x": "b"})
    assert images.render(images.add("a", {"x": "a"}, ("b",))) == {"x": "a"}


def test_files_from_c_and_d_override_files_from_b(images: Images) -> None:
    """A -> [B, C], C -> [D]: "The order of override is: B, D, C, A"."""
    every = ("only-b", "b-and-d", "b-and-c", "all")
    images.add("d", {"b-and-d": "d", "all": "d"})
    images.add("b", dict.fromkeys(every, "b"))
    images.add("c", {"b-and-c": "c", "all": "c"}, ("d",))
    a = images.add("a", {}, ("b", "c"))
    assert images.render(a) == {"only-b": "b", "b-and-d": "d", "b-and-c": "c", "all": "c"}


def test_a_dependency_in_two_places_is_examined_twice(images: Images) -> None:
    """A -> [B, C], B -> [D], C -> [D]: D, B, D, C, A; "each pass will have a different pathWhitelist"."""
    images.add("d", {"one": "d", "two": "d", "three": "d"})
    images.add("b", {"one": "b", "two": "b"}, ("d",), ("/one", "/two"))
    images.add("c", {"c": "c"}, ("d",), ("/two", "/c"))
    a = images.add("a", {}, ("b", "c"))
    order = [(str(one.image.name), [str(above.name) for above in one.filters]) for one in reversed(images.passes(a))]
    assert order == [("d", ["b"]), ("b", ["b"]), ("d", ["c"]), ("c", ["c"]), ("a", [])]
    # The second pass of D overrides B, but only in what C lists.
    assert images.render(a) == {"one": "b", "two": "d", "c": "c"}


# -- override -------------------------------------------------------------------------------------

KINDS: dict[str, Files] = {
    "file": {"x": "file"},
    "dir": {"x": ("dir", 0o755), "x/in": "in"},
    "link": {"x": ("link", "real")},
}


@pytest.mark.parametrize(("first", "second", "third"), list(itertools.product(KINDS, repeat=3)))
def test_the_path_of_a_later_image_is_the_one_that_is_there(
    images: Images, first: str, second: str, third: str
) -> None:
    """Any type over any type, twice: what a later type hid of an earlier directory does not come back."""
    images.add(
        "one", {"real": ("dir", 0o755), "real/y": "y", **KINDS[first], **({"x/old": "o"} if first == "dir" else {})}
    )
    images.add("two", KINDS[second], ("one",))
    found = images.render(images.add("three", KINDS[third], ("two",)))
    expected = {"file": {"x": "file"}, "link": {"x": "-> real"}, "dir": {"x": "dir", "x/in": "in"}}[third]
    if first == second == third == "dir":
        expected["x/old"] = "o"
    assert found == {"real": "dir", "real/y": "y", **expected}


@pytest.mark.parametrize("target", ["real", "/real", "../real", "/etc"])
def test_a_link_to_a_directory_is_removed_and_not_followed(images: Images, target: str) -> None:
    """ "the link MUST NOT be followed and it MUST be removed and replaced with the new path"."""
    images.add("b", {"real/old": "old", "x": ("link", target)})
    a = images.add("a", {"x/new": "new"}, ("b",), parents=False)
    assert images.render(a) == {"real": "dir", "real/old": "old", "x": "dir", "x/new": "new"}


def test_a_link_to_a_link_and_one_in_the_middle_of_a_path_are_replaced_too(images: Images) -> None:
    images.add("b", {"real/deep/old": "o", "one": ("link", "two"), "two": ("link", "real"), "m/l": ("link", "../real")})
    a = images.add("a", {"one/deep/new": "1", "m/l/deep/new": "2"}, ("b",), parents=False)
    found = images.render(a)
    assert {path: kind for path, kind in found.items() if path.startswith(("one", "m"))} == {
        "one": "dir", "one/deep": "dir", "one/deep/new": "1", "m": "dir", "m/l": "dir", "m/l/deep": "dir",
        "m/l/deep/new": "2",
    }  # fmt: skip
    assert found["two"] == "-> real"
    assert "real/deep/new" not in found


# -- whitelists -----------------------------------------------------------------------------------


def test_all_paths_not_in_the_whitelist_are_removed(images: Images) -> None:
    """Whoever brought them; directories above what is listed are all that comes in addition."""
    images.add(
        "b", {"a/file01": "b", "a/file02": "b", "b/link": ("link", "file01"), "c/file": "b", "e": ("dir", 0o700)}
    )
    a = images.add("a", {"a/file01": "a", "a/file03": "a"}, ("b",), ("/a/file01", "/a/file02", "/b/link", "/c/", "/d/"))
    assert images.render(a) == {
        "a": "dir", "a/file01": "a", "a/file02": "b", "b": "dir", "b/link": "-> file01", "c": "dir",
    }  # fmt: skip


def test_a_directory_is_not_there_for_the_sake_of_a_path_that_is_not(images: Images) -> None:
    a = images.add("a", {"etc/here": "x", "var/lib/x": "y"}, (), ("/etc/here", "/var/lib/absent"))
    assert images.render(a) == {"etc": "dir", "etc/here": "x"}


def test_a_dependencys_whitelist_filters_itself_and_what_it_needs_only(images: Images) -> None:
    """A -> B(list): what A and other dependencies of A have is not affected (acirenderer has this case)."""
    images.add("c", {"a/file01": "c", "a/file04": "c"})
    images.add("b", {"a/file01": "b", "a/file02": "b", "a/file03": "b"}, (), ("/a/file01", "/a/file02"))
    a = images.add("a", {"a/file02": "a", "a/own": "a"}, ("b", "c"))
    assert images.render(a) == {
        "a": "dir", "a/file01": "c", "a/file02": "a", "a/file04": "c", "a/own": "a",
    }  # fmt: skip


def test_lists_two_levels_up_apply(images: Images) -> None:
    """A(list) -> B -> C -> D(list): "filtered by any of the pathWhitelist of the image itself and the images depending
    on the image", not only by the nearest or the topmost."""
    images.add("d", {"one": "d", "two": "d", "three": "d"}, (), ("/one", "/two"))
    images.add("c", {"two": "c", "three": "c", "four": "c"}, ("d",))
    images.add("b", {"four": "b", "five": "b"}, ("c",))
    a = images.add("a", {"six": "a", "seven": "a"}, ("b",), ("/two", "/three", "/five", "/six"))
    assert images.render(a) == {"two": "c", "three": "c", "five": "b", "six": "a"}


def test_three_lists_above_each_other_leave_what_is_in_all(images: Images) -> None:
    paths = [f"{a}{b}{c}" for a in "01" for b in "01" for c in "01"]
    images.add("d", dict.fromkeys(paths, "d"))
    images.add("c", {}, ("d",), tuple(f"/{path}" for path in paths if path[0] == "1"))
    images.add("b", {}, ("c",), tuple(f"/{path}" for path in paths if path[1] == "1"))
    a = images.add("a", {}, ("b",), tuple(f"/{path}" for path in paths if path[2] == "1"))
    assert images.render(a) == {"111": "d"}
    assert images.render(images.store.find("b")) == {"110": "d", "111": "d"}


def test_a_list_does_not_leak_to_siblings_nor_from_a_siblings_child(images: Images) -> None:
    """A -> [B -> [D(list)], C -> [E]]: D's list binds D alone."""
    images.add("d", {"d1": "d", "d2": "d"}, (), ("/d1",))
    images.add("e", {"e1": "e", "d2": "e"})
    images.add("b", {"b": "b"}, ("d",))
    images.add("c", {"c": "c"}, ("e",))
    assert images.render(images.add("a", {}, ("b", "c"))) == {"b": "b", "c": "c", "d1": "d", "d2": "e", "e1": "e"}


def test_what_a_list_removes_hides_nothing(images: Images) -> None:
    """A file that a list leaves out does not replace what an earlier image put there."""
    images.add("early", {"x": "early", "dir/y": "early"})
    images.add("late", {"x": "late", "dir": "a file", "z": "late"}, (), ("/z",))
    assert images.render(images.add("a", {}, ("early", "late"))) == {
        "x": "early", "dir": "dir", "dir/y": "early", "z": "late",
    }  # fmt: skip


def test_an_empty_list_is_equivalent_to_an_absent_one(images: Images) -> None:
    images.add("b", {"b": "b"})
    assert images.render(images.add("a", {"a": "a"}, ("b",), ())) == {"a": "a", "b": "b"}


def test_the_order_of_the_list_and_doubled_entries_do_not_matter(images: Images) -> None:
    files: Files = {"x/1": "1", "x/2": "2", "y": "3"}
    one = images.add("one", files, (), ("/x/1", "/y"))
    other = images.add("other", files, (), ("y/", "/x//1", "/y", "/x/./1"))
    assert images.render(one) == images.render(other) == {"x": "dir", "x/1": "1", "y": "3"}


# -- by the letter --------------------------------------------------------------------------------

PATHS = ("p", "p/q", "p/r", "s", "s/q", "s/q/t")
NAMES = ("a", "b", "c", "d")


def extract(root: dict[str, str], path: str, kind: str) -> None:
    """One entry over what is there."""
    above = posixpath.dirname(path)
    while above:
        if root.get(above, "dir") != "dir":
            del root[above]
        root.setdefault(above, "dir")
        above = posixpath.dirname(above)
    if kind != "dir" or root.get(path, "dir") != "dir":
        for below in [one for one in root if one == path or one.startswith(path + "/")]:
            del root[below]
    root[path] = kind


def by_the_letter(
    graph: dict[str, tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]], top: str
) -> dict[str, str]:
    """Extract every dependency every time it occurs, and remove what lists leave out."""
    root: dict[str, str] = {}
    listed: set[str] = set()

    def visit(name: str, lists: list[set[str]]) -> None:
        files, needs, only = graph[name]
        lists = [*lists, set(only)] if only else lists
        for below in needs:
            visit(below, lists)
        for path, kind in sorted(files.items()):
            wanted = all(path in one for one in lists)
            above = all(any(other == path or other.startswith(path + "/") for other in one) for one in lists)
            if wanted or (kind == "dir" and above):
                extract(root, path, kind)
            if wanted:
                listed.add(path)

    visit(top, [])
    if any(only for _, _, only in graph.values()):
        for path in sorted(root, reverse=True):
            if root[path] == "dir" and path not in listed and not any(one.startswith(path + "/") for one in root):
                del root[path]
    return dict(sorted(root.items()))


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]]:
    """Four images that need later ones, with files, directories, links and lists over a few paths."""
    graph = {}
    for index, name in enumerate(NAMES):
        files: dict[str, str] = {}
        for path in draw(st.sets(st.sampled_from(PATHS))):
            parent = posixpath.dirname(path)
            while parent:
                files[parent] = "dir"
                parent = posixpath.dirname(parent)
            kind = draw(st.sampled_from((name, "dir", "-> s")))
            files.setdefault(path, kind)
        for path in [path for path in files if files.get(posixpath.dirname(path), "dir") != "dir"]:
            del files[path]
        later = NAMES[index + 1 :]
        needs = tuple(draw(st.lists(st.sampled_from(later), max_size=3))) if later else ()
        only = tuple(draw(st.sets(st.sampled_from(PATHS), max_size=4))) if draw(st.booleans()) else ()
        graph[name] = (files, needs, only)
    return graph


@settings(max_examples=40)
@given(graphs())
def test_every_graph_renders_as_the_text_says(
    tmp_path_factory: pytest.TempPathFactory,
    graph: dict[str, tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]],
) -> None:
    images = Images(tmp_path_factory.mktemp("graph"))
    for name in reversed(NAMES):
        files, needs, only = graph[name]
        entries: Files = {
            path: ("dir", 0o755) if kind == "dir" else ("link", "s") if kind == "-> s" else kind
            for path, kind in sorted(files.items())
        }
        image = images.add(name, entries, needs, only)
    assert images.render(image) == by_the_letter(graph, "a")
