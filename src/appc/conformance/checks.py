"""What the specification demands of an executor, one row each, and how it is seen.

A row's `judge` looks at what came of a pod and returns what is wrong, "" when nothing is.
"""

from __future__ import annotations

import json

from appc.conformance import scenarios
from appc.conformance.scenarios import Answer, answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from appc.conformance.runner import Evidence
    from appc.conformance.scenarios import Scenario

    Judge = Callable[[Evidence], str]

MUST, SHOULD = "MUST", "SHOULD"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STAGES = ("pre-start", "main", "post-stop", "sidekick")
FEWEST_TOKEN = 22  # characters that hold 128 bits, at six bits each
_KILL, _CHOWN = 1 << 5, 1 << 0
_SIGSYS, _SIGKILL = 31, 9
_DEVICE_NUMBERS = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}


class Check:
    """One demand: where the specification makes it, how strongly, in short, in which pod it is seen, and how."""

    def __init__(self, page: str, level: str, demand: str, scenario: Scenario, judge: Judge) -> None:
        self.page = page
        self.level = level
        self.demand = demand
        self.scenario = scenario
        self.judge = judge


def _is(seen: object, wanted: object, what: str = "") -> str:
    return "" if seen == wanted else f"{what + ' ' if what else ''}is {seen!r}, not {wanted!r}"


def _has_ended(evidence: Evidence) -> str:
    if evidence.status is None:
        return "the pod did not end"
    if not evidence.ran:
        return f"no app was executed: {evidence.said[-400:].strip()}"
    return "" if evidence.status == 0 else f"the executor ended with {evidence.status}: {evidence.said[-400:].strip()}"


def _refused(evidence: Evidence) -> str:
    if evidence.ran:
        return "the app was executed"
    return "" if evidence.status else "the executor said that all went well"


def _profile_refused(evidence: Evidence) -> str:
    """A host without AppArmor has no profiles; there the isolator may be ignored, if that is made known."""
    try:
        with open("/sys/module/apparmor/parameters/enabled") as stream:
            there = stream.read(1) == "Y"
    except OSError:
        there = False
    if there or not evidence.ran:
        return _refused(evidence)
    return _told("apparmor")(evidence)


def _variable(name: str, wanted: Callable[[str, str], bool]) -> Judge:
    def judge(evidence: Evidence) -> str:
        for stage in STAGES:
            value = evidence.values(f"{stage}.report").get(f"env.{name}")
            if value is None:
                return f"{stage} has none"
            if not wanted(stage, value):
                return f"{stage} has {value!r}"
        return ""

    return judge


def _app_of(stage: str) -> str:
    return "sidekick" if stage == "sidekick" else "main"


def _value(file: str, key: str, wanted: str) -> Judge:
    return lambda evidence: _is(evidence.values(file).get(key), wanted, key)


def _order(evidence: Evidence) -> str:
    """Each handler looked for what the app writes last."""
    before, after = evidence.text("pre-start.end"), evidence.text("post-stop.end")
    if not before or not after:
        return f"{'post-stop' if before else 'pre-start'} was not executed"
    if "errno" not in before:
        return "pre-start was executed after the app"
    return "post-stop was executed before the app had ended" if "errno" in after else ""


def _shared(kind: str, same: bool) -> Judge:
    at = scenarios.NAMESPACES.index(kind)

    def judge(evidence: Evidence) -> str:
        main, sidekick = evidence.lines("main.namespaces"), evidence.lines("sidekick.namespaces")
        if len(main) <= at or len(sidekick) <= at:
            return "it could not be seen"
        return "" if (main[at] == sidekick[at]) is same else f"{main[at]} and {sidekick[at]}"

    return judge


def _device(name: str) -> Judge:
    def judge(evidence: Evidence) -> str:
        line = next((line for line in evidence.lines("main.devices") if line.startswith(f"/dev/{name} ")), "")
        words = line.split()
        if len(words) < 4:
            return line or "it could not be seen"
        if name == "ptmx":
            return "" if words[1][:2] in ("02", "12") else f"is of another type: {words[1]}"
        if words[1][:2] != "02":
            return f"is no character device: {words[1]}"
        return _is(words[3], _DEVICE_NUMBERS[name]) if name in _DEVICE_NUMBERS else ""

    return judge


def _mounted(path: str, kinds: tuple[str, ...]) -> Judge:
    def judge(evidence: Evidence) -> str:
        found = ""
        for line in evidence.lines("main.mounts"):
            before, _, after = line.partition(" - ")
            words = before.split(" ")
            if len(words) > 4 and words[4] == path:
                found = after.split(" ")[0]
        return "" if found in kinds else f"is {found or 'not mounted'}, not {' or '.join(kinds)}"

    return judge


def _status(path: str, mode: str, owner: str) -> Judge:
    def judge(evidence: Evidence) -> str:
        line = next((line for line in evidence.lines("main.volumes") if line.startswith(path + " ")), "")
        words = line.split()
        return _is(words[1:3], [mode, owner]) if len(words) > 2 else line or "it could not be seen"

    return judge


def _answered(file: str, kind: str, judge: Callable[[Answer, Evidence], str], status: int = 200) -> Judge:
    def whole(evidence: Evidence) -> str:
        got = answer(evidence.text(file))
        if got.status != status:
            return f"the status is {got.status or 'not there'}, not {status}"
        if kind and got.kind.replace(" ", "").lower() != kind.replace(" ", ""):
            return f"the media type is {got.kind!r}, not {kind!r}"
        return judge(got, evidence)

    return whole


def _json(judge: Callable[[Any], str]) -> Callable[[Answer, Evidence], str]:
    def whole(got: Answer, evidence: Evidence) -> str:
        try:
            return judge(json.loads(got.body))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            return f"the body is not what it has to be: {error}"

    return whole


def _fine(*_: object) -> str:
    return ""


def _uuid(got: Answer, evidence: Evidence) -> str:
    groups = [len(part) for part in got.body.strip().split("-")]
    return _is(groups, [8, 4, 4, 4, 12], "the lengths of its groups")


def _reified(document: Any) -> str:
    apps = {entry["name"]: entry for entry in document["apps"]}
    if document["acKind"] != "PodManifest" or set(apps) != {"main", "sidekick"}:
        return "it is not this pod's"
    return "" if all(entry["image"]["id"].startswith("sha512-") for entry in apps.values()) else "an image has no ID"


def _image_id(got: Answer, evidence: Evidence) -> str:
    kind, _, digits = got.body.strip().partition("-")
    return "" if kind == "sha512" and len(digits) == 128 else f"{got.body.strip()[:40]!r} is no image ID"


def _signature(got: Answer, evidence: Evidence) -> str:
    from base64 import b64decode

    try:
        length = len(b64decode(got.body.strip(), validate=True))
    except ValueError:
        return "it is not base64"
    return _is(length, 64, "its length in bytes")


def _token(evidence: Evidence) -> str:
    url = evidence.values("main.report").get("env.AC_METADATA_URL", "")
    token = url.partition("://")[2].partition("/")[2].strip("/")
    if len(token) < FEWEST_TOKEN:
        return f"{len(token)} characters hold less than 128 bits"
    return "it is the pod's UUID" if token in answer(evidence.text("uuid")).body else ""


def _other_uuid(evidence: Evidence) -> str:
    one, other = (answer(evidence.text(name)).body.strip() for name in ("uuid", "again.uuid"))
    return "" if one and other and one != other else f"the pods are called {one!r} and {other!r}"


def _clean(evidence: Evidence) -> str:
    for name in ("main.root", "again.root"):
        if "errno 2" not in evidence.text(name):
            return "what an earlier execution wrote is there"
    return "" if "written" in evidence.text("left") else "the root could not be written to"


def _killed(signal: int) -> Judge:
    def judge(evidence: Evidence) -> str:
        if not evidence.ran:
            return f"the app was not executed: {evidence.said[-200:].strip()}"
        return "" if evidence.status and not evidence.text("call") and not evidence.text("had") else "the app went on"

    return judge


def _returns(number: int) -> Judge:
    def judge(evidence: Evidence) -> str:
        return "" if f"errno {number} " in evidence.text("call") else f"the call gave {evidence.text('call').strip()!r}"

    return judge


def _capabilities(has: int, lacks: int) -> Judge:
    def judge(evidence: Evidence) -> str:
        masks = {name: evidence.values("report").get(f"status.Cap{name}", "") for name in ("Bnd", "Eff")}
        if not masks["Eff"]:
            return f"the app was not executed: {evidence.said[-200:].strip()}"
        wrong = [name for name, mask in masks.items() if int(mask, 16) & has != has or int(mask, 16) & lacks]
        return f"{wrong[0]} is {masks[wrong[0]]}" if wrong else ""

    return judge


def _rendered(evidence: Evidence) -> str:
    if not evidence.ran:
        return f"the app was not executed: {evidence.said[-200:].strip()}"
    return _is(evidence.text("both"), "beside", "/data/both")


def _not_followed(evidence: Evidence) -> str:
    return _is(evidence.lines("listed"), ["below", "beside", "both", "own"], "what is in /data and /link")


def _hosts(evidence: Evidence) -> str:
    text = evidence.text("main.hosts")
    return "" if "errno 2" in text or "localhost" in text else "it names no localhost"


def _told(word: str) -> Judge:
    return lambda evidence: "" if word in evidence.said else f"nothing that the executor said names {word}"


_TEXT, _JSON = "text/plain;charset=us-ascii", "application/json"
_E = scenarios.ENVIRONMENT

CHECKS = (
    Check("ace.md", MUST, "a pod of two apps with handlers runs to its end", _E, _has_ended),
    Check("ace.md", MUST, "every execution starts from a clean copy of the rendered files", scenarios.AGAIN, _clean),
    Check("ace.md", MUST, "a later dependency overwrites an earlier one", scenarios.DEPENDENCIES, _rendered),
    Check("ace.md", MUST, "a link to a directory is replaced, not followed", scenarios.DEPENDENCIES, _not_followed),
    Check(
        "ace.md",
        MUST,
        "what no whitelist names is left out",
        scenarios.DEPENDENCIES,
        lambda e: "" if "errno 2" in e.text("hidden") else "it is there",
    ),
    Check("ace.md", MUST, "a host volume without its source is an error", scenarios.MISSING, _refused),
    Check("ace.md", SHOULD, "a host volume whose source is a link is an error", scenarios.LINK, _refused),
    Check("ace.md", SHOULD, "so is one with a link on the way to its source", scenarios.LINK_WITHIN, _refused),
    Check("ace.md", SHOULD, "overlapping targets are an error", scenarios.OVERLAPPING, _refused),
    Check(
        "ace.md",
        SHOULD,
        "a target that is missing is made, with its parents",
        _E,
        _status("/made/deep", "040755", "0:0"),
    ),
    Check("ace.md", SHOULD, "its parents belong to root with mode 0755", _E, _status("/made", "040755", "0:0")),
    Check(
        "ace.md",
        SHOULD,
        "what was in a target is discarded",
        _E,
        lambda e: _is(e.text("main.covered"), "", "it") if e.ran else "no app was executed",
    ),
    Check(
        "ace.md",
        SHOULD,
        "a file in the place of a target is replaced by a directory",
        _E,
        _status("/file", "040755", "0:0"),
    ),
    Check("ace.md", SHOULD, "the user is warned of what a volume masks", _E, _told("/full")),
    Check(
        "ace.md", MUST, "PATH is set in apps and handlers", _E, _variable("PATH", lambda stage, value: value == PATH)
    ),
    Check("ace.md", MUST, "AC_APP_NAME is", _E, _variable("AC_APP_NAME", lambda stage, value: value == _app_of(stage))),
    Check("ace.md", MUST, "AC_METADATA_URL is", _E, _variable("AC_METADATA_URL", lambda stage, value: "://" in value)),
    Check("ace.md", MUST, "container is", _E, _variable("container", lambda stage, value: bool(value))),
    Check("ace.md", MUST, "the working directory is the app's", _E, _value("main.report", "cwd", "/work")),
    Check("ace.md", MUST, "it is / where an app has none", _E, _value("sidekick.report", "cwd", "/")),
    Check("ace.md", MUST, "handlers run before and after their app", _E, _order),
    Check(
        "ace.md", MUST, "isolators that are not enforced are made known", _E, _told("conformance.example.com/unknown")
    ),
    Check(
        "ace.md", MUST, "a call in a seccomp remove set ends the app with SIGSYS", scenarios.REMOVED, _killed(_SIGSYS)
    ),
    Check("ace.md", MUST, "or gives the set's errno", scenarios.REMOVED_ERRNO, _returns(95)),
    Check(
        "ace.md",
        MUST,
        "calls of a wildcard are not blocked by a retain set",
        scenarios.RETAINED_ERRNO,
        lambda e: "" if e.ran and e.status == 0 else e.said[-200:].strip() or "the app did not end well",
    ),
    Check(
        "ace.md",
        MUST,
        "a capability retain set leaves these alone",
        scenarios.CAPS_RETAINED,
        _capabilities(_KILL | _CHOWN, ~(_KILL | _CHOWN) & ((1 << 38) - 1)),
    ),
    Check(
        "ace.md",
        MUST,
        "a capability remove set takes these",
        scenarios.CAPS_REMOVED,
        _capabilities(1 << 3, _KILL | _CHOWN),
    ),
    Check(
        "ace.md",
        MUST,
        "no-new-privileges is set where asked for",
        scenarios.NO_NEW_PRIVILEGES,
        _value("report", "status.NoNewPrivs", "1"),
    ),
    Check("ace.md", MUST, "and not where it is not", _E, _value("main.report", "status.NoNewPrivs", "0")),
    Check("ace.md", MUST, "an AppArmor profile that is not there is refused", scenarios.PROFILE, _profile_refused),
    Check("ace.md", MUST, "an app gets no more memory than its limit", scenarios.TOO_MUCH_MEMORY, _killed(_SIGKILL)),
    Check("ace.md", SHOULD, "there is a metadata service", _E, _answered("uuid", "", _fine)),
    Check("ace.md", MUST, "pod/uuid is the UUID in canonical form", _E, _answered("uuid", _TEXT, _uuid)),
    Check(
        "ace.md", MUST, "pod/manifest is the reified manifest", _E, _answered("pod-manifest", _JSON, _json(_reified))
    ),
    Check(
        "ace.md",
        MUST,
        "pod/annotations are a list",
        _E,
        _answered("pod-annotations", _JSON, _json(lambda d: "" if isinstance(d, list) else "it is no list")),
    ),
    Check(
        "ace.md",
        MUST,
        "an app's annotations are its image's and its own",
        _E,
        _answered(
            "app-annotations",
            _JSON,
            _json(lambda d: "" if {"name": "authors", "value": "Conformance"} in d else "the image's are missing"),
        ),
    ),
    Check(
        "ace.md",
        MUST,
        "image/manifest is the image's",
        _E,
        _answered("image-manifest", _JSON, _json(lambda d: _is(d["name"], "conformance.example.com/main", "the name"))),
    ),
    Check("ace.md", MUST, "image/id is the image ID", _E, _answered("image-id", _TEXT, _image_id)),
    Check("ace.md", MUST, "an app that is not there has no metadata", _E, _answered("nobody", "", _fine, 404)),
    Check(
        "ace.md", MUST, "pod/hmac/sign gives an HMAC-SHA512 in base64", _E, _answered("signature", _TEXT, _signature)
    ),
    Check(
        "ace.md",
        MUST,
        "pod/hmac/verify accepts another pod's signature",
        scenarios.AGAIN,
        _answered("again.verify", "", _fine),
    ),
    Check(
        "ace.md",
        MUST,
        "and answers 403 to what nobody signed",
        scenarios.AGAIN,
        _answered("again.forged", "", _fine, 403),
    ),
    Check("ace.md", SHOULD, "the token has 128 bits and is not the UUID", _E, _token),
    Check("ace.md", MUST, "two pods have different UUIDs", scenarios.AGAIN, _other_uuid),
    Check(
        "aci.md",
        MUST,
        "user and group are looked up in the image",
        scenarios.IDENTITY,
        lambda e: _is(
            (e.values("report").get("uid"), e.values("report").get("gid")), ("1000 1000 1000", "1002 1002 1002")
        ),
    ),
    Check(
        "aci.md",
        MUST,
        "supplementary groups are set",
        _E,
        lambda e: _is(
            {"1234", "2345"} - set(e.values("main.report").get("groups", "").split()), set(), "what is missing"
        ),
    ),
    Check("aci.md", MUST, "the image's environment is set", _E, _value("main.report", "env.CONFORMANCE", "main")),
    Check(
        "aci.md",
        MUST,
        "a mount point that is read-only cannot be written",
        _E,
        lambda e: (
            "" if "errno 30" in e.text("main.readonly") else e.text("main.readonly").strip() or "it was not tried"
        ),
    ),
    Check("pods.md", MUST, "the names of a pod's apps are unique", scenarios.SAME_NAMES, _refused),
    Check("pods.md", MUST, "an empty volume has its mode and owner", _E, _status("/owned", "040750", "12:34")),
    *(
        Check("ace.md", MUST, f"apps of a pod share their {kind} namespace", _E, _shared(kind, True))
        for kind in ("pid", "net", "ipc", "uts")
    ),
    Check("ace.md", MUST, "but not their files", _E, _shared("mnt", False)),
    Check("OS-SPEC.md", MUST, "/proc is there", _E, _mounted("/proc", ("proc",))),
    Check("OS-SPEC.md", MUST, "/sys is there", _E, _mounted("/sys", ("sysfs",))),
    *(Check("OS-SPEC.md", MUST, f"/dev/{name} is there", _E, _device(name)) for name in scenarios.DEVICES),
    Check("OS-SPEC.md", MUST, "/dev/pts is there", _E, _mounted("/dev/pts", ("devpts",))),
    Check("OS-SPEC.md", MUST, "/dev/shm is there", _E, _mounted("/dev/shm", ("tmpfs",))),
    Check("OS-SPEC.md", SHOULD, "a given /etc/hosts names localhost", _E, _hosts),
    Check(
        "OS-SPEC.md",
        SHOULD,
        "an image's own /etc/hosts stays as it is",
        _E,
        lambda e: _is(e.text("sidekick.hosts"), scenarios.HOSTS.decode()),
    ),
)
