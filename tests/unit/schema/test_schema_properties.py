"""Whatever JSON is thrown at the readers, they read it, refuse it with a ManifestError, and lose nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifests import IMAGE_EXAMPLE, IMAGE_ID, KEYS, POD_EXAMPLE, app, image_with_app, isolator, mutated, pod, pod_app

import appc
from appc.errors import ManifestError
from appc.schema.image import ImageManifest
from appc.schema.isolators import KNOWN
from appc.schema.pod import PodManifest
from appc.schema.record import Record

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 70000)
    | st.sampled_from([2**63, -(2**63) - 1, 1.5, 1e300])
    | st.sampled_from(
        ["", "a", "a--b", "/a", "1G", "-1", "tcp", "host", "empty", "pre-start", "linux", "0755", IMAGE_ID]
    )
    | st.sampled_from(["ImageManifest", "PodManifest", "0.8.11", "created", "os", "::1", "10.0.0.1", *KNOWN])
    | st.sampled_from(["\x1b[3m\n", "\0", "K", "\u017f"])
    | st.text(max_size=4)
)
ANY = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner),
    max_leaves=25,
)


def read(cls: type[Record], raw: object, strict: bool) -> Record | None:
    try:
        return cls.parse(raw if isinstance(raw, dict) else json.dumps(raw), strict=strict)
    except ManifestError as error:
        assert error.faults
        assert all("\n" not in path + message for path, message in error.faults)
        return None


@given(ANY, st.booleans())
def test_random_json_is_read_or_refused(raw, strict):
    read(ImageManifest, raw, strict)
    read(PodManifest, raw, strict)


@settings(max_examples=300)
@given(ANY, st.randoms(use_true_random=False), st.sampled_from([ImageManifest, PodManifest]))
def test_damaged_manifests_are_read_or_refused_and_strict_is_narrower(replacement, choose, cls):
    raw = mutated(IMAGE_EXAMPLE if cls is ImageManifest else POD_EXAMPLE, choose, replacement)
    loose, strict = read(cls, raw, False), read(cls, raw, True)
    if strict is not None:
        assert loose == strict
    if loose is None:
        return
    assert json.loads(loose.to_json()) == json.loads(json.dumps(raw))
    assert cls.parse(loose.to_json()) == loose
    assert loose.replace() == loose
    assert isinstance(repr(loose), str)
    if isinstance(loose, PodManifest):
        try:
            loose.check_executable()
        except ManifestError as error:
            assert error.faults


@given(ANY)
def test_isolators_of_any_value_are_read_or_refused(value):
    for name in (*KNOWN, "example.com/other"):
        for strict in (False, True):
            read(ImageManifest, image_with_app(isolators=[isolator(name, value)]), strict)
            read(PodManifest, pod(pod_app(app=app()), isolators=[isolator(name, value)]), strict)


def test_reading_a_manifest_takes_work_in_proportion_to_it():
    small, large = (
        json.dumps({**IMAGE_EXAMPLE, "pathWhitelist": [f"/path/{number}" for number in range(count)]})
        for count in (100, 1000)
    )
    assert calls(large) < 10.5 * calls(small)


def calls(document: str) -> int:
    """How many functions are called to read a manifest."""
    count = 0

    def counted(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(counted)
    try:
        ImageManifest.parse(document)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("module", ["appc.values", "appc.schema.image", "appc.schema.pod", "appc.schema.oci_runtime"])
def test_schemas_import_nothing_heavy(module):
    path = str(Path(appc.__file__).parent.parent)
    program = (
        f"import sys; sys.path.insert(0, {path!r}); before = set(sys.modules); import {module}\n"
        "print(sorted(n for n in set(sys.modules) - before if not n.startswith('appc')))"
    )
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    allowed = {"_json", "os", "stat", "_stat", "posixpath", "genericpath", "_collections_abc", "os.path", "__future__"}
    loaded = set(ran.stdout.strip("[]\n").replace("'", "").split(", "))
    assert loaded <= allowed, loaded - allowed
