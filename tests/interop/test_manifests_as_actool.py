"""The compatible level accepts what actool accepts: seeded manifests, damaged in every place, read by both."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from appc.errors import ManifestError
from appc.schema.image import ImageManifest
from appc.schema.isolators import KNOWN
from appc.schema.pod import PodManifest
from interop.actool import find
from unit.schema.manifests import IMAGE_EXAMPLE, IMAGE_ID, POD_EXAMPLE, app, mutated

MANIFESTS = 4000
BATCH = 200

# What appc refuses on purpose though actool accepts it (docs/manifests.md, "Where appc differs").
REFUSED_ON_PURPOSE = (
    "is given twice, in different spellings",
    "is not a quantity: it should begin with a decimal number",
    "is not a quantity: its exponent is beyond",
    "isolators[0].name: is required",
)

REPLACEMENTS: tuple[Any, ...] = (
    *(
        True,
        False,
        0,
        -1,
        1,
        2,
        80,
        65535,
        65536,
        2**63 - 1,
        2**63,
        2**64,
        1.5,
        80.0,
        "",
        "a",
        "A",
        "a--b",
        "/a",
        "a/b",
    ),
    *("1G", "-1", "host", "empty", "pre-start", "0755", "created", "homepage", "http://a", "os", "arch", "linux"),
    *("amd64", "freebsd", "::1", "10.0.0.1", "10.0.0.256", "::ffff:1.2.3.4", "EPERM", "E", "/", "name", IMAGE_ID),
    *("sha512-a", "sha512-a-b", [], {}, [{}], ["a"], {"a": "b"}, {"a": 1}, {"name": "a", "value": "b"}, {"set": ["a"]}),
    *({"name": "a", "path": "/b"}, {"port": 80}, {"port": 80, "count": 0}, {"name": "v", "kind": "empty"}),
    *({"name": name, "value": {"limit": "1"}} for name in KNOWN),
    *({"name": name, "value": {"default": True, "limit": 3}} for name in KNOWN),
    *({"name": name, "value": {"set": ["a"], "errno": "E1"}} for name in KNOWN),
    *({"name": name, "value": value} for name in KNOWN for value in (True, 5, {"a": "b"}, {"profile": "x"})),
)
DATES = ("2014-10-27T9:32:27,5Z", "2014-10-27T19:32:27.5-23:59", "2014-02-30T00:00:00Z", "2014-10-27t19:32:27Z")
URLS = ("http://a:80/%41", "http://[::1", "http://a/%4", "http://a?%zz", "http://a#%zz", "http://u:p@h/", "https:a b")


def manifest(choose: random.Random) -> dict[str, Any]:
    """A valid manifest with one or two parts replaced, or one with a random quantity, date or URL."""
    image = choose.random() < 0.5
    raw: Any = IMAGE_EXAMPLE if image else POD_EXAMPLE
    kind = choose.random()
    if kind < 0.15:
        letters = "".join(choose.choice("0123456789.eEinumkMGTP+- ") for _ in range(choose.randrange(1, 7)))
        isolators = [{"name": "resource/cpu", "value": {"limit": letters}}]
        return {**raw, "app": app(isolators=isolators)} if image else {**raw, "isolators": isolators}
    if kind < 0.3:
        name, texts = choose.choice((("created", DATES), ("homepage", URLS), ("documentation", URLS)))
        letters = "".join(choose.choice("0123456789TZ:-+.,ht p/%x?#[]") for _ in range(choose.randrange(12)))
        return {**raw, "annotations": [{"name": name, "value": choose.choice((*texts, letters, "http:" + letters))}]}
    for _ in range(choose.randrange(1, 3)):
        changed = mutated(raw, choose, choose.choice(REPLACEMENTS))
        raw = changed if isinstance(changed, dict) else raw
    # A missing kind or version makes actool panic, not answer.
    return {**raw, "acKind": "ImageManifest" if image else "PodManifest", "acVersion": "0.8.11"}


def verdicts(actool: str, files: list[Path]) -> dict[Path, bool | None]:
    """Which files actool calls valid; None for one that makes it panic."""
    ran = subprocess.run(
        [actool, "--debug", "validate", "--type=manifest", *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line.split(": ") for line in (ran.stdout + ran.stderr).splitlines()]
    found: dict[Path, bool | None] = {
        Path(words[0]): words[1].startswith("valid") for words in said if len(words) > 1 and Path(words[0]) in files
    }
    if len(found) == len(files):
        return found
    if len(files) == 1:
        return {files[0]: None}
    middle = len(files) // 2
    return verdicts(actool, files[:middle]) | verdicts(actool, files[middle:])


def fault(raw: dict[str, Any]) -> str:
    """What appc has against a manifest, or ""."""
    try:
        (ImageManifest if raw["acKind"] == "ImageManifest" else PodManifest).parse(raw)
    except ManifestError as error:
        return str(error)
    return ""


def test_what_actool_accepts_is_accepted(tmp_path: Path) -> None:
    actool, reason = find()
    if not actool:
        pytest.skip(reason)
    choose = random.Random(2014)
    accepted = refused = 0
    for start in range(0, MANIFESTS, BATCH):
        written = {tmp_path / f"{number}.json": manifest(choose) for number in range(start, start + BATCH)}
        for path, raw in written.items():
            path.write_text(json.dumps(raw))
        for path, valid in verdicts(actool, list(written)).items():
            own = fault(written[path])
            if valid and not any(reason in own for reason in REFUSED_ON_PURPOSE):
                assert own == "", path.read_text()
            accepted += bool(valid)
            refused += valid is False and bool(own)
    # Both verdicts were really compared.
    assert accepted > MANIFESTS // 10
    assert refused > MANIFESTS // 4
