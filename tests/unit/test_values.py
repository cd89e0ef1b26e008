"""Scalars accept what the specification's text says (strict) or what the Go tools accept (compatible), and no more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appc.errors import InvalidValue
from appc.values import ACIdentifier, ACName, Digest, ImageHash, ImageID, ImageReference, Labels, PodUUID, SemVer

HEX = "0123456789abcdef" * 8


def refuses(parse, text, reason="", **options):
    with pytest.raises(InvalidValue) as caught:
        parse(text, **options)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a", "0", "web", "foo-bar-baz", "database", "a1-2b", "x" * 300])
def test_ac_names(text):
    assert ACName.parse(text) == text
    assert ACName.parse(text, strict=True) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-app",
        "app-",
        "-",
        "Web",
        "foo#",
        "a.b",
        "a_b",
        "a/b",
        "a b",
        "web\n",
        "\nweb",
        "wéb",
        "ａ",
        "a\0",
        "a~b",
        "٣",
    ],
)
def test_not_ac_names(text):
    refuses(ACName.parse, text)
    refuses(ACName.parse, text, strict=True)


@pytest.mark.parametrize(
    "text",
    [
        "asdf",
        "zab_rab_oof",
        "my~database",
        "example.com/~bob/database",
        "example.com/ourapp-1.0.0",
        "sub-domain.example.com/org/product/release-1.0.0",
        "0/0",
    ],
)
def test_ac_identifiers(text):
    assert ACIdentifier.parse(text) == text
    if "/~" not in text:
        assert ACIdentifier.parse(text, strict=True) == text


@pytest.mark.parametrize("text", ["", "BAR", "foo#", "foo.com/BAR", "a\n", "a:b", "a,b", "a=b", "é"])
@pytest.mark.parametrize("strict", [False, True])
def test_not_ac_identifiers(text, strict):
    refuses(ACIdentifier.parse, text, strict=strict)


@pytest.mark.parametrize("edge", "-._~/")
def test_identifiers_begin_and_end_with_a_letter_or_digit(edge):
    refuses(ACIdentifier.parse, edge + "app", "begin and end")
    refuses(ACIdentifier.parse, "app" + edge, "begin and end")
    refuses(ACIdentifier.parse, edge, "begin and end")


def test_separators_in_a_row_pass_the_go_tools_but_not_the_text():
    for parse, text in [(ACName.parse, "a--b"), (ACIdentifier.parse, "a--b"), (ACIdentifier.parse, "e..com//a")]:
        assert parse(text) == text
        refuses(parse, text, "side by side", strict=True)
    # The text's own example example.com/~user/app_v1 breaks the text's own expression.
    refuses(ACIdentifier.parse, "example.com/~user/app_v1", "side by side", strict=True)


@pytest.mark.parametrize(
    ("text", "identifier", "name"),
    [
        ("foo#", "foo", "foo"),
        ("EXAMPLE.com", "example.com", "example-com"),
        ("foo.com/BAR", "foo.com/bar", "foo-com-bar"),
        ("-/app.name-test/-/", "app.name-test", "app-name-test"),
        ("example.com/app_1", "example.com/app_1", "example-com-app-1"),
        ("a b", "a_b", "a-b"),
    ],
)
def test_sanitized_names(text, identifier, name):
    assert ACIdentifier.sanitized(text) == identifier
    assert ACName.sanitized(text) == name


@pytest.mark.parametrize("text", ["", "__", "..", "//", ".//-", "###"])
def test_nothing_to_make_a_name_of(text):
    refuses(ACIdentifier.sanitized, text, "no character")
    refuses(ACName.sanitized, text, "no character")


@given(st.text(max_size=12))
def test_what_is_sanitized_is_valid(text):
    for cls in (ACName, ACIdentifier):
        try:
            made = cls.sanitized(text)
        except InvalidValue:
            continue
        assert cls.parse(made) == made


@given(st.text(alphabet="aB9-._~/ \n", max_size=8))
def test_strict_names_are_those_of_the_texts_expressions(text):
    import re

    for cls, expression in (
        (ACName, r"[a-z0-9]+([-][a-z0-9]+)*"),
        (ACIdentifier, r"[a-z0-9]+([-._~/][a-z0-9]+)*"),
    ):
        try:
            cls.parse(text, strict=True)
            accepted = True
        except InvalidValue:
            accepted = False
        assert accepted == bool(re.fullmatch(expression, text))


def test_image_ids():
    image_id = ImageID.parse("sha512-" + HEX)
    assert image_id.complete
    assert image_id.short == "sha512-0123456789abcdef0123456789abcdef"
    assert isinstance(ImageHash.parse("sha512-" + HEX), ImageID)


@pytest.mark.parametrize("value", ["...", "abcdefghi", HEX[:64], HEX.upper(), "../../etc", HEX + "0", "/"])
def test_incomplete_hashes_are_kept_but_never_ids(value):
    text = "sha512-" + value
    loose = ImageHash.parse(text)
    assert loose == text
    assert not loose.complete
    refuses(ImageHash.parse, text, "128 digits", strict=True)
    refuses(ImageID.parse, text, "128 digits")
    refuses(ImageID.parse, text, "128 digits", strict=False)


@pytest.mark.parametrize("text", ["", "sha512", "sha512-", "sha1-abcdef", "-abcdef", "-", "sha512-ab-cd", "SHA512-ab"])
def test_not_image_hashes(text):
    refuses(ImageHash.parse, text)
    refuses(ImageID.parse, text)


def test_digests():
    digest = Digest.parse("sha256:" + HEX[:64])
    assert (digest.algorithm, digest.hex) == ("sha256", HEX[:64])
    assert Digest.parse("sha512:" + HEX).algorithm == "sha512"


@pytest.mark.parametrize(
    "text",
    ["", "sha256", "sha256:", "sha256:" + HEX, "sha256:" + HEX[:63] + "G", "md5:" + HEX[:32], "sha256-" + HEX[:64]],
)
def test_not_digests(text):
    refuses(Digest.parse, text, "not a digest")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1.0.0", (1, 0, 0)),
        ("0.8.11+git", (0, 8, 11)),
        ("3.2.1-foo", (3, 2, 1)),
        ("1.2.3-alpha+git", (1, 2, 3)),
        ("0.0.0-alpha", (0, 0, 0)),
        ("9.9.9", (9, 9, 9)),
        ("1.0.0--1", (1, 0, 0)),
    ],
)
def test_versions(text, parts):
    for strict in (False, True):
        version = SemVer.parse(text, strict)
        assert str(version) == text
        assert (version.major, version.minor, version.patch) == parts


@pytest.mark.parametrize("text", ["01.2.3", "1.2.3-", "1.2.3+", "1.2.3-a_b", "1.2.3-01", "1.2.3-a..b", "1.2.3+a+b"])
def test_versions_only_the_go_tools_accept(text):
    assert SemVer.parse(text) == text
    refuses(SemVer.parse, text, strict=True)


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", "1.2", "1.2.3.4", "v1.2.3", "-1.2.3", " 1.2.3", "1.2.3 ", "1.+2.3", "1..3", "1.2.", "a.b.c"),
        *("0.0.0", "0.0.0-", "000.0.0", "1.2.9223372036854775808", "1.2." + "9" * 5000, "1.2.٣"),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_not_versions(text, strict):
    refuses(SemVer.parse, text, "not a version", strict=strict)


def test_versions_are_ordered_by_precedence():
    # The chain of semver.org, section 11.
    chain = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11"]
    chain += ["1.0.0-rc.1", "1.0.0", "2.0.0", "2.1.0", "2.1.1", "2.10.0"]
    keys = [SemVer.parse(text).precedence for text in chain]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
    assert SemVer.parse("1.0.0+a").precedence == SemVer.parse("1.0.0+b").precedence


def test_uuids():
    canonical = "6733c088-a507-4694-aabf-edbe4fc5266f"
    for text in (canonical, canonical.upper()):
        assert PodUUID.parse(text) == PodUUID.parse(text, strict=True) == canonical
    for text in (canonical.replace("-", ""), "6-733c088a5074694aabfedbe4fc5266f-"):
        assert PodUUID.parse(text) == canonical
        refuses(PodUUID.parse, text, "hyphens", strict=True)


@pytest.mark.parametrize("text", ["", "asdf", "0" * 32, "0aaf0a79-1a39-4d59-abbf-1bebca8209d2abc", "g" * 32, " " * 32])
def test_not_uuids(text):
    refuses(PodUUID.parse, text, "not a UUID")


def test_new_uuids_are_random_and_of_version_4():
    made = {PodUUID.new() for _ in range(50)}
    assert len(made) == 50
    for uuid in made:
        assert uuid[14] == "4"
        assert uuid[19] in "89ab"
        assert PodUUID.parse(uuid, strict=True) == uuid


def test_labels_keep_their_order_and_match():
    labels = Labels.parse("version=1.0.0,os=linux,note=")
    assert [name for name, _ in labels] == ["version", "os", "note"]
    assert labels.get("os") == "linux"
    assert labels.get("note") == ""
    assert labels.get("arch") is None
    assert str(labels) == "version=1.0.0,os=linux,note="
    assert Labels.parse("os=linux").matches(labels)
    assert Labels().matches(labels)
    assert not Labels.parse("os=linux,arch=amd64").matches(labels)
    assert not Labels.parse("os=freebsd").matches(labels)
    assert Labels.of({"os": "linux"}) == Labels.of([("os", "linux")])


def test_a_label_is_set_in_its_place():
    labels = Labels.parse("version=1,os=linux")
    assert str(labels.with_label("version", "2")) == "version=2,os=linux"
    assert str(labels.with_label("arch", "amd64")) == "version=1,os=linux,arch=amd64"


@pytest.mark.parametrize("text", ["os", "os=linux,os=linux", "name=x", "Os=x", "=x", "os=linux,", ",os=linux"])
def test_not_labels(text):
    refuses(Labels.parse, text)


@pytest.mark.parametrize(
    ("text", "name", "labels"),
    [
        ("example.com/reduce-worker", "example.com/reduce-worker", {}),
        ("example.com/reduce-worker:1.0.0", "example.com/reduce-worker", {"version": "1.0.0"}),
        ("example.com/app,channel=alpha,label=value", "example.com/app", {"channel": "alpha", "label": "value"}),
        (
            "example.com/app:1.2.3,special=!*'();@&+$/?#[],channel=beta",
            "example.com/app",
            {"version": "1.2.3", "special": "!*'();@&+$/?#[]", "channel": "beta"},
        ),
        ("a,escaped=%20+x=y", "a", {"escaped": "%20+x=y"}),
        ("a,version=1", "a", {"version": "1"}),
        ("a:", "a", {"version": ""}),
    ],
)
def test_image_references(text, name, labels):
    reference = ImageReference.parse(text)
    assert reference.name == name
    assert dict(reference.labels) == labels
    assert ImageReference.parse(str(reference)) == reference


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not an app name",
        "example.com/garbage%8 939",
        "foo.com/bar,channel=alpha,dog=woof,channel=beta",
        "example.com/app,channel=beta:1.2.3",
        "example.com/app:3.2.1,channel=beta:1.2.3",
        "example.com/app:1:2",
        "example.com/app:3.2.1,version=1.2.3",
        "example.com/app,",
        "example.com/app,os",
        "example.com/app,name=x",
        ":1",
        ",os=linux",
    ],
)
def test_not_image_references(text):
    refuses(ImageReference.parse, text)


def test_references_are_compared_without_regard_to_the_order_of_labels():
    one, other = ImageReference.parse("a,x=1,y=2"), ImageReference.parse("a,y=2,x=1")
    assert one == other
    assert hash(one) == hash(other)
    assert one != ImageReference.parse("a,x=1")
    with pytest.raises(AttributeError):
        one.name = "b"  # type: ignore[misc]


def test_a_hostile_value_stays_on_one_short_line():
    for parse in (ACName.parse, ACIdentifier.parse, ImageID.parse, SemVer.parse, ImageReference.parse, PodUUID.parse):
        with pytest.raises(InvalidValue) as caught:
            parse("\x1b[31m\n" + "A" * 10000)
        assert len(str(caught.value)) < 250
        assert str(caught.value).isprintable()
