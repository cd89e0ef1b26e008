"""JSON reading is strict about what two readers could understand differently, and says where it stopped."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appc.errors import ManifestError
from appc.schema.json import MAX_BYTES, MAX_DEPTH, dumps, loads

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_what_is_written_is_read_back(value):
    assert loads(dumps(value)) == value
    assert loads(dumps(value, indent=2).encode()) == value


@given(JSON_VALUES)
def test_writes_what_the_standard_library_writes(value):
    assert dumps(value) == json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert dumps(value, indent=4) == json.dumps(value, ensure_ascii=False, indent=4)


@given(
    st.binary(max_size=40) | st.text(alphabet='[]{}",:0123456789.eE+-truefalsn\\ud8 \n', max_size=30).map(str.encode)
)
def test_any_bytes_give_a_value_or_a_manifest_error(data):
    try:
        value = loads(data)
    except ManifestError:
        return
    assert loads(dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "where", "reason"),
    [
        (b"", "line 1, column 1", "text ends"),
        (b" \n ", "line 2, column 2", "text ends"),
        (b'{"a": 1,}', "line 1, column 9", "property name"),
        (b'{"a": 1}\n{}', "line 2, column 1", "after the end"),
        (b"[1,\n  2,\n  ,]", "line 3, column 3", "value should be here"),
        (b"\xef\xbb\xbf{}", "line 1, column 1", "byte order mark"),
        ("\ufeff{}", "line 1, column 1", "byte order mark"),
        (b'{"a":\n"\xc3("}', "line 2, column 2", "byte 0xc3 is not UTF-8"),
        (b'["\xc3\xa9", NaN]', "line 1, column 7", "NaN is not a JSON number"),
        (b'{"Infinity": -Infinity}', "line 1, column 14", "-Infinity is not a JSON number"),
        (b"[1e999]", "line 1, column 2", "too large"),
        (b"[" + b"9" * 500 + b"]", "line 1, column 2", "too large"),
        (b'["\\ud800"]', "line 1, column 3", "half of a character"),
        (b'["\\\\", "\\udc00\\ud800"]', "line 1, column 9", "half of a character"),
        ('["\udc80"]', "line 1, column 3", "half of a character"),
        (b"/* no */ {}", "line 1, column 1", "value should be here"),
        (b'["a\nb"]', "line 1, column 4", "control character"),
        (b'["a', "line 1, column 2", "unterminated string"),
    ],
)
def test_refusals_say_where_and_why(text, where, reason):
    with pytest.raises(ManifestError) as caught:
        loads(text)
    assert str(caught.value).startswith(where + ": ")
    assert reason in str(caught.value)


def test_the_last_of_duplicate_keys_counts():
    assert loads('{"a": 1, "b": 2, "a": 3}') == {"a": 3, "b": 2}


def test_surrogate_pairs_and_escaped_backslashes_are_fine():
    assert loads(rb'["\ud83d\ude00", "\\ud800", "\u00e9\ud834\udd1e"]') == ["😀", r"\ud800", "é𝄞"]


def test_depth_is_bounded_exactly():
    def nested(depth):
        return b"[" * depth + b"]" * depth

    assert loads(nested(MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 5000, 200_000):
        with pytest.raises(ManifestError, match="nested more than"):
            loads(nested(depth))
    assert loads(b"[" + b",".join([b"{}"] * 1000) + b"]") == [{}] * 1000


def test_size_is_bounded():
    with pytest.raises(ManifestError, match="limit of 10"):
        loads(b'"0123456789"', limit=10)
    with pytest.raises(ManifestError, match="more than the limit"):
        loads(b" " * (MAX_BYTES + 1))


def test_text_stays_readable_when_written():
    assert dumps({"author": "Zoë <z@example.com>"}) == '{"author":"Zoë <z@example.com>"}'
    with pytest.raises(ValueError, match="JSON"):
        dumps(float("nan"))
    with pytest.raises(ValueError, match="JSON"):
        dumps([float("inf")], indent=1)


def test_reading_and_writing_need_neither_json_nor_re():
    program = (
        "import sys; from appc.schema.json import loads, dumps\n"
        "loads(b'{\"a\": [1, 2.5, null]}'); dumps({'a': (1, True)}); dumps({'a': 1}, 2)\n"
        "print([name for name in ('json', 're', 'enum', 'collections', 'typing') if name in sys.modules])"
    )
    path = next(path for path in sys.path if path.endswith("src"))
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {path!r})\n{program}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "[]\n"


def test_works_where_the_c_accelerators_are_missing(monkeypatch):
    module = sys.modules["appc.schema.json"]
    scanner, encoder = json.scanner, json.encoder
    monkeypatch.setitem(sys.modules, "_json", None)
    monkeypatch.setattr(scanner, "make_scanner", scanner.py_make_scanner)
    monkeypatch.setattr(encoder, "encode_basestring", encoder.py_encode_basestring)
    try:
        plain = importlib.reload(module)
        assert plain.loads('{"a": [1, 2.5, "x", {"b": null}]}') == {"a": [1, 2.5, "x", {"b": None}]}
        assert plain.dumps({"a": [1, True, "é\n"]}) == '{"a":[1,true,"é\\n"]}'
        for bad in ('{"a": NaN}', "[1,]", '{"a" 1}', "[" * 3000, "[1e999]"):
            with pytest.raises(ManifestError):
                plain.loads(bad)
    finally:
        monkeypatch.undo()
        importlib.reload(module)
