"""Isolators: known ones are checked, unknown ones are kept, and none makes the reader fail."""

from __future__ import annotations

import pytest
from manifests import app, faults, image_with_isolators, isolator, pod, pod_app

from appc.errors import InvalidValue
from appc.schema.image import ImageManifest
from appc.schema.isolators import (
    KNOWN,
    AppArmorValue,
    Isolator,
    RateValue,
    ResourceValue,
    SeccompValue,
    SelinuxValue,
    SetValue,
    find,
)
from appc.schema.pod import PodManifest
from appc.values import Quantity

CONTEXT = {"user": "system_u", "role": "system_r", "type": "dhcpc_t", "level": "s0-s0:c0"}
RATES = ("resource/block-bandwidth", "resource/block-iops", "resource/network-bandwidth")
RESOURCES = ("resource/cpu", "resource/memory")
CAPABILITIES = ("os/linux/capabilities-retain-set", "os/linux/capabilities-remove-set")
SECCOMP = ("os/linux/seccomp-retain-set", "os/linux/seccomp-remove-set")

GOOD = [
    ("resource/pids", {"limit": "100"}),
    ("resource/pids", {"limit": 100, "default": False}),
    *((name, {"request": "250m", "limit": "500m"}) for name in RESOURCES),
    *((name, {"limit": "1G"}) for name in RESOURCES),
    *((name, {"default": False, "request": "30", "limit": "1"}) for name in RESOURCES),
    *((name, {"limit": 1000}) for name in RESOURCES),
    *((name, {"limit": 0.3}) for name in RESOURCES),
    *((name, {"default": True, "limit": "2M"}) for name in RATES),
    *((name, {"set": ["CAP_KILL", "CAP_PONIES"]}) for name in CAPABILITIES),
    *((name, {"set": ["read", "@appc.io/all"], "errno": "ENOTSUP"}) for name in SECCOMP),
    *((name, {"set": ["read"], "errno": ""}) for name in SECCOMP),
    *((name, {"set": ["read"], "errno": "E2BIG"}) for name in SECCOMP),
    ("os/linux/no-new-privileges", True),
    ("os/linux/no-new-privileges", False),
    ("os/linux/selinux-context", CONTEXT),
    ("os/linux/apparmor-profile", {"profile": "rkt-default"}),
    ("os/linux/cpu-shares", 2),
    ("os/linux/cpu-shares", 262144),
    ("os/linux/oom-score-adj", -1000),
    ("os/linux/oom-score-adj", 1000),
    ("example.com/ponies", None),
    ("example.com/ponies", {"any": ["thing"]}),
]

BAD = [
    *((name, None, "value") for name in KNOWN),
    *((name, [], "value") for name in KNOWN),
    *((name, "pants", "value") for name in KNOWN),
    *((name, {"limit": "such garbage"}, "value.limit") for name in RESOURCES),
    *((name, {"limit": ""}, "value.limit") for name in RESOURCES),
    *((name, {"limit": True}, "value.limit") for name in RESOURCES),
    *((name, {"request": []}, "value.request") for name in RESOURCES),
    *((name, {"default": True, "limit": "1G"}, "value.default") for name in RESOURCES),
    *((name, {"default": False, "limit": "1G"}, "value.default") for name in RATES),
    *((name, {"limit": "1G"}, "value.default") for name in RATES),
    *((name, {"default": True, "request": "1G", "limit": "1G"}, "value.request") for name in RATES),
    *((name, {"set": []}, "value.set") for name in CAPABILITIES + SECCOMP),
    *((name, {}, "value.set") for name in CAPABILITIES + SECCOMP),
    *((name, {"set": "CAP_KILL"}, "value.set") for name in CAPABILITIES + SECCOMP),
    *((name, {"set": [1]}, "value.set[0]") for name in CAPABILITIES + SECCOMP),
    *((name, {"set": ["read"], "errno": "-EPERM"}, "value.errno") for name in SECCOMP),
    *((name, {"set": ["read"], "errno": "eperm"}, "value.errno") for name in SECCOMP),
    *((name, {"set": ["read"], "errno": "E PERM"}, "value.errno") for name in SECCOMP),
    *((name, {"set": ["read"], "errno": 1}, "value.errno") for name in SECCOMP),
    ("os/linux/no-new-privileges", 123, "value"),
    ("os/linux/no-new-privileges", {"set": ["CAP_KILL"]}, "value"),
    *(("os/linux/selinux-context", {**CONTEXT, key: ""}, f"value.{key}") for key in CONTEXT),
    *(("os/linux/selinux-context", {**CONTEXT, key: "a:b"}, f"value.{key}") for key in ("user", "role", "type")),
    *(("os/linux/selinux-context", {**CONTEXT, key: None}, f"value.{key}") for key in CONTEXT),
    ("os/linux/apparmor-profile", {"profile": ""}, "value.profile"),
    *(("os/linux/cpu-shares", value, "value") for value in (1, 262145, -1, 2.0, "2048")),
    *(("os/linux/oom-score-adj", value, "value") for value in (-1001, 1001, "250", 2.5)),
]


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_accepted(name, value):
    strict = value is not None
    assert faults(ImageManifest, image_with_isolators(isolator(name, value)), strict) == {}


@pytest.mark.parametrize(("name", "value", "path"), BAD)
def test_refused(name, value, path):
    # sysctl belongs to pods; its value is checked the same way in an app.
    for strict in (False, True):
        found = faults(ImageManifest, image_with_isolators(isolator(name, value)), strict)
        assert any(at.startswith(f"app.isolators[0].{path}") for at in found)


def test_values_are_records():
    def value(name, raw):
        return Isolator.parse(isolator(name, raw)).value

    memory = value("resource/memory", {"request": "1G", "limit": "2Gi"})
    assert isinstance(memory, ResourceValue)
    assert (memory.request, memory.limit) == (Quantity.parse("1G"), Quantity.parse("2Gi"))
    rate = value("resource/block-iops", {"default": True, "limit": "1000"})
    assert isinstance(rate, RateValue)
    assert rate.limit.value == 1000
    capabilities = value("os/linux/capabilities-retain-set", {"set": ["CAP_KILL"]})
    assert isinstance(capabilities, SetValue)
    assert capabilities.set == ("CAP_KILL",)
    seccomp = value("os/linux/seccomp-remove-set", {"set": ["reboot"], "errno": "EPERM"})
    assert isinstance(seccomp, SeccompValue)
    assert (seccomp.set, seccomp.errno) == (("reboot",), "EPERM")
    selinux = value("os/linux/selinux-context", CONTEXT)
    assert isinstance(selinux, SelinuxValue)
    assert selinux.context == "system_u:system_r:dhcpc_t:s0-s0:c0"
    profile = value("os/linux/apparmor-profile", {"profile": "p"})
    assert isinstance(profile, AppArmorValue)
    assert profile.profile == "p"
    assert value("os/linux/no-new-privileges", True) is True
    assert value("os/linux/cpu-shares", 512) == 512
    assert dict(value("os/unix/sysctl", {"net.core.somaxconn": "9"})) == {"net.core.somaxconn": "9"}


def test_unknown_isolators_keep_their_value():
    raw = isolator("example.com/ponies", {"Set": [1, None], "x": {}})
    own = Isolator.parse(raw)
    assert not own.known
    assert own.value == {"Set": [1, None], "x": {}}
    assert own.to_dict() == raw
    # actool refuses a manifest for this; the text lets an executor ignore what it does not know.
    assert faults(ImageManifest, image_with_isolators(raw), strict=True) == {}


def test_a_value_keeps_what_the_schema_does_not_know():
    raw = isolator("resource/memory", {"Limit": "1G", "swap": "2G"})
    assert Isolator.parse(raw).to_dict() == raw
    assert Isolator.parse(raw).value.extra == {"swap": "2G"}


@pytest.mark.parametrize(
    "name", [*SECCOMP, "os/linux/cpu-shares", "os/linux/oom-score-adj", "os/linux/selinux-context", "os/unix/sysctl"]
)
def test_some_isolators_stand_alone(name):
    value = dict(GOOD).get(name, {"a": "b"})
    twice = image_with_isolators(isolator(name, value), isolator("resource/cpu", {}), isolator(name, value))
    assert faults(ImageManifest, twice) == {"app.isolators[2]": f"is the second {name}; the first is [0]"}


@pytest.mark.parametrize("name", [*RESOURCES, *RATES, *CAPABILITIES, "os/linux/no-new-privileges"])
def test_others_may_be_repeated_and_the_last_counts(name):
    value = dict(GOOD)[name]
    raw = image_with_isolators(isolator(name, value), isolator(name, value))
    assert faults(ImageManifest, raw, strict=True) == {}
    manifest = ImageManifest.parse(raw)
    assert manifest.app is not None
    assert find(manifest.app.isolators, name) is manifest.app.isolators[1]
    assert find(manifest.app.isolators, "resource/none") is None


def test_seccomp_sets_exclude_each_other():
    raw = image_with_isolators(isolator(SECCOMP[0], {"set": ["a"]}), isolator(SECCOMP[1], {"set": ["a"]}))
    for strict in (False, True):
        assert list(faults(ImageManifest, raw, strict)) == ["app.isolators[1]"]


def test_capability_sets_exclude_each_other_in_the_text_only():
    raw = image_with_isolators(isolator(CAPABILITIES[0], {"set": ["A"]}), isolator(CAPABILITIES[1], {"set": ["A"]}))
    assert faults(ImageManifest, raw) == {}
    assert list(faults(ImageManifest, raw, strict=True)) == ["app.isolators[1]"]


def test_scopes_are_the_texts():
    in_app = image_with_isolators(isolator("os/unix/sysctl", {"a": "b"}))
    in_pod = pod(isolators=[isolator("os/linux/no-new-privileges", True), isolator(SECCOMP[0], {"set": ["a"]})])
    assert faults(ImageManifest, in_app) == faults(PodManifest, in_pod) == {}
    assert "pods only" in faults(ImageManifest, in_app, strict=True)["app.isolators[0]"]
    found = faults(PodManifest, in_pod, strict=True)
    assert list(found) == ["isolators[0]", "isolators[1]"]
    assert "apps only" in found["isolators[0]"]


def test_pod_isolators_are_compared_only_when_strict():
    raw = pod(isolators=[isolator("os/unix/sysctl", {"a": "b"})] * 2)
    assert faults(PodManifest, raw) == {}
    assert list(faults(PodManifest, raw, strict=True)) == ["isolators[1]"]


def test_isolators_of_a_pods_apps_are_checked():
    raw = pod(pod_app(app=app(isolators=[isolator("resource/cpu", {"limit": "x"})])))
    assert list(faults(PodManifest, raw)) == ["apps[0].app.isolators[0].value.limit"]


def test_negative_amounts_are_refused_when_strict():
    raw = image_with_isolators(isolator("resource/memory", {"limit": "-1G"}))
    assert faults(ImageManifest, raw) == {}
    assert list(faults(ImageManifest, raw, strict=True)) == ["app.isolators[0].value.limit"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("resource/cpu,request=100m,limit=1", {"request": "100m", "limit": "1"}),
        ("resource/memory,limit=1Gi", {"limit": "1Gi"}),
        ("resource/block-bandwidth,limit=2M", {"limit": "2M", "default": True}),
        ("resource/block-iops,default=true,limit=2k", {"default": True, "limit": "2k"}),
        ("os/linux/no-new-privileges,true", True),
        ("os/linux/oom-score-adj,-500", -500),
        ("os/linux/cpu-shares,512", 512),
        ("os/linux/capabilities-retain-set,CAP_KILL,CAP_CHOWN", {"set": ["CAP_KILL", "CAP_CHOWN"]}),
        ("os/linux/seccomp-remove-set,errno=EPERM,reboot,mount", {"errno": "EPERM", "set": ["reboot", "mount"]}),
        ("os/linux/seccomp-retain-set,@appc.io/all", {"set": ["@appc.io/all"]}),
        ("os/linux/apparmor-profile,profile=p", {"profile": "p"}),
        ("os/unix/sysctl,net.core.somaxconn=9,a=b=c", {"net.core.somaxconn": "9", "a": "b=c"}),
    ],
)
def test_isolators_in_one_line(text, value):
    assert Isolator.parse_string(text).to_dict() == {"name": text.partition(",")[0], "value": value}


@pytest.mark.parametrize(
    "text",
    [
        *("", "resource/ponies,limit=1", "resource/cpu,limit", "resource/cpu,limit=x", "resource/cpu,limits=1"),
        *("resource/cpu,limit=1,limit=2", "os/linux/no-new-privileges", "os/linux/no-new-privileges,perhaps"),
        *("os/linux/oom-score-adj,5000", "os/linux/oom-score-adj,x", "os/linux/capabilities-retain-set"),
        *("os/linux/seccomp-remove-set,errno=EPERM", "resource/block-iops,limit=1,default=false"),
    ],
)
def test_not_isolators(text):
    with pytest.raises(InvalidValue) as caught:
        Isolator.parse_string(text)
    assert "\n" not in str(caught.value)
