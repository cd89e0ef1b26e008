"""Dates, URLs and platforms, at the compatible and the strict level."""

from __future__ import annotations

import pytest

from appc.errors import InvalidValue
from appc.schema.common import OS_ARCH
from appc.schema.platforms import from_go, from_machine, to_go
from appc.schema.texts import check_date, check_url


@pytest.mark.parametrize(
    "text",
    [
        "2004-05-14T23:11:14+00:00",
        "2001-02-03T04:05:06Z",
        "2014-11-14T17:36:54-08:00",
        "2015-05-18T13:49:28.351729952-04:00",
        "2024-02-29T00:00:00Z",
        "2000-02-29T23:59:59.5Z",
    ],
)
def test_dates(text):
    check_date(text, False)
    check_date(text, True)


@pytest.mark.parametrize(
    "text", ["2014-10-27T9:32:27Z", "2014-10-27T19:32:27,67Z", "2014-10-27T19:32:27+25:00", "2014-10-27T19:32:27+00:99"]
)
def test_dates_only_go_accepts(text):
    check_date(text, False)
    with pytest.raises(InvalidValue):
        check_date(text, True)


@pytest.mark.parametrize(
    "text",
    [
        *("", "garbage", "1416015188", "Fri Nov 14 17:53:02 PST 2014", "2014-11-1417:36:54", "2014-11-14T17:36:54"),
        *("2014-11-14 17:36:54Z", "2014-11-14t17:36:54Z", "2014-11-14T17:36:54z", "2014-13-14T17:36:54Z"),
        *("2014-00-14T17:36:54Z", "2014-02-29T17:36:54Z", "1900-02-29T17:36:54Z", "2014-04-31T17:36:54Z"),
        *("2014-11-14T24:00:00Z", "2014-11-14T17:60:54Z", "2014-11-14T17:36:60Z", "2014-11-14T17:36Z"),
        *("2014-11-14T17:36:54.Z", "2014-11-14T17:36:54.xZ", "2014-11-14T17:36:54+0000", "2014-11-14T17:36:54+00"),
        *("2014-11-14T17:36:54 00:00", "14-11-14T17:36:54Z", "2014-11-14T17:36:54ZZ", "2014-11-14T:36:54Z"),
        *("٢٠١٤-11-14T17:36:54Z", "2014-11-00T17:36:54Z", "T", "TZ", "2014-11-14T", "2014-11-14TZ"),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_not_dates(text, strict):
    with pytest.raises(InvalidValue, match="is not a date"):
        check_date(text, strict)


@pytest.mark.parametrize(
    "text",
    [
        "http://foo.com",
        "HTTPS://example.com/bar",
        "http://yis.com/hello?goodbye=yes&x=%zz#a%20b",
        "http://[::1]:80/",
        "http://user:pw@h:/x",
    ],
)
def test_urls(text):
    check_url(text, False)
    check_url(text, True)


@pytest.mark.parametrize("text", ["http:", "https:relative", "http:x%", "http:///path", "http://?q"])
def test_urls_only_go_accepts(text):
    check_url(text, False)
    with pytest.raises(InvalidValue):
        check_url(text, True)


@pytest.mark.parametrize(
    "text",
    [
        *("", "not a url", "ftp://example.com", "unix:///hello", "//example.com", "http", "http://a b/", "http://a/\n"),
        *("http://a/%zz", "http://a/#%2", "http://a#?%", "http:/%", " http://a", "javascript:http://a"),
        *("http://[::1", "http://[::1]x", "http://a:b/", "http://a:80:80/", "http://a\\b", "http://a%20b/"),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_not_urls(text, strict):
    with pytest.raises(InvalidValue, match="is not a URL"):
        check_url(text, strict)


def test_every_platform_has_a_go_name_and_back():
    for system, architectures in OS_ARCH.items():
        for arch in architectures:
            assert from_go(*to_go(system, arch)) == (system, arch)


@pytest.mark.parametrize(
    ("platform", "arch"),
    [
        (("linux", "amd64"), "amd64"),
        (("linux", "386"), "i386"),
        (("linux", "arm64"), "aarch64"),
        (("linux", "arm64", "v8"), "aarch64"),
        (("linux", "arm"), "armv6l"),
        (("linux", "arm", "6"), "armv6l"),
        (("linux", "arm", "v7"), "armv7l"),
        (("linux", "s390x"), "s390x"),
        (("freebsd", "386"), "i386"),
        (("freebsd", "arm", "5"), "arm"),
        (("freebsd", "arm", "7"), "arm"),
        (("darwin", "amd64"), "x86_64"),
        (("darwin", "386"), "i386"),
    ],
)
def test_go_platforms(platform, arch):
    assert from_go(*platform) == (platform[0], arch)


@pytest.mark.parametrize(
    "platform", [("linux", "x86_64"), ("linux", "arm", "5"), ("plan9", "386"), ("darwin", "arm64")]
)
def test_unknown_go_platforms(platform):
    with pytest.raises(InvalidValue, match="no os and arch labels"):
        from_go(*platform)


def test_unknown_labels_have_no_go_name():
    with pytest.raises(InvalidValue, match="no Go or OCI platform"):
        to_go("linux", "arm64")


def test_machines():
    names = {"x86_64": "amd64", "i686": "i386", "aarch64": "aarch64", "armv8l": "armv7l", "riscv64": "riscv64"}
    assert {machine: from_machine(machine) for machine in names} == names
