"""Layers of overlays as the kernel writes them: whiteouts that are links to each other, and opaque directories."""

from __future__ import annotations

import os
from pathlib import Path

from appc.images.layers import hides, link_layers, paths
from appc.images.snapshot import Snapshot, of_directory


def _layer(path: Path, whiteouts: tuple[str, ...] = (), opaque: tuple[str, ...] = (), **files: str) -> str:
    for name, text in files.items():
        place = path / name.replace("_", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    first = ""
    for name in whiteouts:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        if first:
            os.link(first, path / name)
        else:
            first = str(path / name)
            os.mknod(first, 0o020000, 0)
    for name in opaque:
        os.setxattr(path / name, "trusted.overlay.opaque", b"y")
    return str(path)


def test_layers_hide_what_is_below(tmp_path: Path) -> None:
    lowest = _layer(tmp_path / "1", a="1", b="1", d_x="1", e_x="1", f="1")
    middle = _layer(tmp_path / "2", ("a", "b", "e/x"), ("d",), d_y="2", f_z="2")
    top = _layer(tmp_path / "3", a="3", e_y="3")
    assert [hides(layer) for layer in (lowest, middle, top)] == [False, True, False]
    made = tmp_path / "made"
    made.mkdir()
    link_layers((top, middle, lowest), str(made), [])
    assert paths(str(made)) == {"/a", "/d", "/d/y", "/e", "/e/y", "/f", "/f/z"}
    assert (made / "a").read_text() == "3"
    assert os.path.samefile(made / "a", tmp_path / "3/a")
    # What a pod's app removed is seen in the same way.
    seen: Snapshot = of_directory(lowest)
    seen.cover(middle)
    assert set(seen.entries) == {"", "d", "d/y", "e", "f", "f/z"}
