"""Building and converting images from Python."""

from __future__ import annotations

from pathlib import Path

import pytest

import appc
from appc.errors import ArchiveError, HostError, ManifestError, UsageError
from oci_kit import layer, simple


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    made = tmp_path / "layout"
    (made / "rootfs").mkdir(parents=True)
    (made / "rootfs/file").write_text("x")
    (made / "manifest").write_text('{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/x"}')
    return made


def test_an_image_there_and_back(layout: Path, tmp_path: Path) -> None:
    places = appc.Directories(root=str(tmp_path / "root"), state=str(tmp_path / "state"))
    first = appc.build_image(str(layout), f"{tmp_path}/a.aci", mtime=0, compression="none")
    assert first.startswith("sha512-")
    assert appc.build_image(str(layout), f"{tmp_path}/b.aci", mtime=0) == first
    (digest,) = appc.convert_image(f"{tmp_path}/b.aci", f"oci:{tmp_path}/oci:1", directories=places)
    assert digest.startswith("sha256:")
    assert appc.convert_image(f"oci:{tmp_path}/oci", f"{tmp_path}/c.aci", directories=places) == [first]
    simple(tmp_path / "two", layer(("a", "1")), layer(("b", "1")))
    warnings: list[str] = []
    ids = appc.convert_image(
        f"oci:{tmp_path}/two",
        f"{tmp_path}/d.aci",
        layered=True,
        name="example.com/d",
        warnings=warnings,
        directories=places,
    )
    assert len(ids) == 2


def test_errors_are_those_of_the_command_line(layout: Path, tmp_path: Path) -> None:
    out = f"{tmp_path}/a.aci"
    with pytest.raises(HostError):
        appc.build_image(str(layout), f"{tmp_path}/absent/a.aci")
    with pytest.raises(UsageError):
        appc.build_image(str(layout), f"{tmp_path}/a.tar")
    (layout / "manifest").write_text("{}")
    with pytest.raises(ManifestError):
        appc.build_image(str(layout), out)
    with pytest.raises(ArchiveError):
        appc.convert_image(f"oci:{layout}", out)
    assert not Path(out).exists()
