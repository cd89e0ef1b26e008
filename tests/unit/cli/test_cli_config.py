"""The configuration: merge order, checks, and `appc config`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from appc.config import TABLE, Settings, load
from appc.errors import ManifestError
from starter import run

ROOT = Path(__file__).parent.parent.parent.parent


def write(directory: Path, name: str, document: object) -> None:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))


def test_nothing_configured_means_the_defaults(tmp_path: Path) -> None:
    settings = load((str(tmp_path), str(tmp_path / "absent")))
    assert settings.__dict__ == Settings().__dict__
    assert settings.origin == {}


def test_later_files_and_later_directories_win_key_by_key(tmp_path: Path) -> None:
    vendor, local = tmp_path / "vendor", tmp_path / "local"
    write(vendor, "config.json", {"logs": {"size": 5000, "files": 2}, "stop": {"grace": 1}})
    write(vendor, "config.d/20-b.json", {"logs": {"size": 7000}})
    write(vendor, "config.d/10-a.json", {"logs": {"size": 6000, "files": 9}})
    write(local, "config.json", {"stop": {"grace": 2.5}})
    settings = load((str(vendor), str(local)))
    assert (settings.logs_size, settings.logs_files, settings.stop_grace) == (7000, 9, 2.5)
    assert settings.origin == {
        "logs.size": str(vendor / "config.d/20-b.json"),
        "logs.files": str(vendor / "config.d/10-a.json"),
        "stop.grace": str(local / "config.json"),
    }


def test_null_brings_defaults_back(tmp_path: Path) -> None:
    write(tmp_path, "config.json", {"logs": {"size": 5000, "files": 2}, "stop": {"grace": 1}})
    write(tmp_path, "config.d/a.json", {"logs": {"size": None}, "stop": None})
    settings = load((str(tmp_path),))
    assert (settings.logs_size, settings.logs_files, settings.stop_grace) == (
        Settings().logs_size,
        2,
        Settings().stop_grace,
    )
    assert list(settings.origin) == ["logs.files"]


def test_only_json_files_count(tmp_path: Path) -> None:
    for name in ("config.d/a.json.bak", "config.d/.hidden.json", "other.json", "config.d/b.conf"):
        write(tmp_path, name, "not JSON")
    assert load((str(tmp_path),)).origin == {}


def test_all_faults_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, "config.json", {"logs": {"sise": 1, "size": "big", "files": True}, "lgs": {}, "stop": 3})
    write(tmp_path, "config.d/a.json", "{")
    write(tmp_path, "config.d/b.json", [1])
    write(tmp_path, "config.d/c.json", {"paths": {"root": "relative"}, "images": {"keepOriginal": "all"}})
    with pytest.raises(ManifestError) as caught:
        load((str(tmp_path),))
    first = str(tmp_path / "config.json")
    assert [line.replace(first, "F").replace(str(tmp_path), "D") for line in str(caught.value).splitlines()] == [
        "F: logs.sise: no such setting; did you mean logs.size?",
        "F: logs.size: is not a whole number from 4096 to 1099511627776",
        "F: logs.files: is not a whole number from 1 to 100",
        "F: lgs: no such setting; did you mean logs?",
        "F: stop: is not an object",
        "D/config.d/a.json: line 1, column 2: expecting property name enclosed in double quotes",
        "D/config.d/b.json: is not a JSON object",
        "D/config.d/c.json: paths.root: is not an absolute path",
        "D/config.d/c.json: images.keepOriginal: is not one of signed, never, always",
    ]


def test_a_file_too_large_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "config.json", " " * (2 << 20))
    with pytest.raises(ManifestError, match="more than the limit"):
        load((str(tmp_path),))


def test_the_verb_shows_what_is_in_force_and_why(tmp_path: Path) -> None:
    write(tmp_path, "config.json", {"logs": {"files": 7}})
    result = run("--config", str(tmp_path), "--root", "/elsewhere", "config", "--format", "json")
    assert result.returncode == 0, result.stderr
    rows = {row["key"]: row for row in json.loads(result.stdout)}
    assert rows["logs.files"]["value"] == 7
    assert rows["logs.files"]["origin"] == str(tmp_path / "config.json")
    assert rows["paths.root"]["value"] == "/elsewhere"
    assert rows["stop.grace"]["origin"] is None


def test_a_faulty_configuration_is_an_error_of_input(tmp_path: Path) -> None:
    write(tmp_path, "config.json", {"logs": {"files": 0}})
    result = run("--config", str(tmp_path), "config")
    assert result.returncode == 1
    assert "logs.files: is not a whole number from 1 to 100" in result.stderr


def test_every_setting_is_explained(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    for row in TABLE:
        assert f"`{row.key}`" in page, row.key
