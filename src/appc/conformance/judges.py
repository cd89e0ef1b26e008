"""How a demand of the specification is seen: functions of what came of a pod that return what is wrong, "" for nothing.

Those that are given something first return such a function.
"""

from __future__ import annotations

import json

from appc.conformance import scenarios
from appc.conformance.scenarios import answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from appc.conformance.runner import Evidence
    from appc.conformance.scenarios import Answer

    Judge = Callable[[Evidence], str]

STAGES = ("pre-start", "main", "post-stop", "sidekick")
FEWEST_TOKEN = 22  # characters that hold 128 bits, at six bits each
_DEVICE_NUMBERS = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}


def differs(seen: object, wanted: object, what: str = "") -> str:
    """What `seen` is instead of `wanted`; `what` says of what."""
    return "" if seen == wanted else f"{what + ' ' if what else ''}is {seen!r}, not {wanted!r}"


def has_ended(evidence: Evidence) -> str:
    """The pod ran, and its executor says that all went well."""
    if evidence.status is None:
        return "the pod did not end"
    if not evidence.ran:
        return f"no app was executed: {evidence.said[-400:].strip()}"
    return "" if evidence.status == 0 else f"the executor ended with {evidence.status}: {evidence.said[-400:].strip()}"


def refused(evidence: Evidence) -> str:
    """The executor ran no app, and says so by its exit status."""
    if evidence.ran:
        return "the app was executed"
    return "" if evidence.status else "the executor said that all went well"


def profile_refused(evidence: Evidence) -> str:
    """A host without AppArmor has no profiles; there the isolator may be ignored, if that is made known."""
    try:
        with open("/sys/module/apparmor/parameters/enabled") as stream:
            there = stream.read(1) == "Y"
    except OSError:
        there = False
    if there or not evidence.ran:
        return refused(evidence)
    return told("apparmor")(evidence)


def variable(name: str, wanted: Callable[[str, str], bool]) -> Judge:
    """Each app and handler has the variable `name`, with a value that `wanted` (of stage and value) takes."""

    def judge(evidence: Evidence) -> str:
        for stage in STAGES:
            value = evidence.values(f"{stage}.report").get(f"env.{name}")
            if value is None:
                return f"{stage} has none"
            if not wanted(stage, value):
                return f"{stage} has {value!r}"
        return ""

    return judge


def app_of(stage: str) -> str:
    """The app that a stage belongs to."""
    return "sidekick" if stage == "sidekick" else "main"


def has(file: str, key: str, wanted: str) -> Judge:
    """The line KEY=VALUE for `key` in `file` is `wanted`."""
    return lambda evidence: differs(evidence.values(file).get(key), wanted, key)


def order(evidence: Evidence) -> str:
    """Each handler looked for what the app writes last."""
    before, after = evidence.text("pre-start.end"), evidence.text("post-stop.end")
    if not before or not after:
        return f"{'post-stop' if before else 'pre-start'} was not executed"
    if "errno" not in before:
        return "pre-start was executed after the app"
    return "post-stop was executed before the app had ended" if "errno" in after else ""


def shared(kind: str, same: bool) -> Judge:
    """Whether the apps have one namespace of this `kind`, as it should be."""
    at = scenarios.NAMESPACES.index(kind)

    def judge(evidence: Evidence) -> str:
        main, sidekick = evidence.lines("main.namespaces"), evidence.lines("sidekick.namespaces")
        if len(main) <= at or len(sidekick) <= at:
            return "it could not be seen"
        return "" if (main[at] == sidekick[at]) is same else f"{main[at]} and {sidekick[at]}"

    return judge


def device(name: str) -> Judge:
    """There is /dev/`name`, the device of that name."""

    def judge(evidence: Evidence) -> str:
        line = next((line for line in evidence.lines("main.devices") if line.startswith(f"/dev/{name} ")), "")
        words = line.split()
        if len(words) < 4:
            return line or "it could not be seen"
        if name == "ptmx":
            return "" if words[1][:2] in ("02", "12") else f"is of another type: {words[1]}"
        if words[1][:2] != "02":
            return f"is no character device: {words[1]}"
        return differs(words[3], _DEVICE_NUMBERS[name]) if name in _DEVICE_NUMBERS else ""

    return judge


def mounted(path: str, kinds: tuple[str, ...]) -> Judge:
    """What is mounted at `path` is of one of these `kinds`."""

    def judge(evidence: Evidence) -> str:
        found = ""
        for line in evidence.lines("main.mounts"):
            before, _, after = line.partition(" - ")
            words = before.split(" ")
            if len(words) > 4 and words[4] == path:
                found = after.split(" ")[0]
        return "" if found in kinds else f"is {found or 'not mounted'}, not {' or '.join(kinds)}"

    return judge


def stands(path: str, mode: str, owner: str) -> Judge:
    """What is at `path` of the app has this mode, type included, and owner (UID:GID)."""

    def judge(evidence: Evidence) -> str:
        line = next((line for line in evidence.lines("main.volumes") if line.startswith(path + " ")), "")
        words = line.split()
        return differs(words[1:3], [mode, owner]) if len(words) > 2 else line or "it could not be seen"

    return judge


def answered(file: str, kind: str, judge: Callable[[Answer, Evidence], str], status: int = 200) -> Judge:
    """The answer kept in `file` has this status and media type ("" = any), and nothing is wrong in it by `judge`."""

    def whole(evidence: Evidence) -> str:
        got = answer(evidence.text(file))
        if got.status != status:
            return f"the status is {got.status or 'not there'}, not {status}"
        if kind and got.kind.replace(" ", "").lower() != kind.replace(" ", ""):
            return f"the media type is {got.kind!r}, not {kind!r}"
        return judge(got, evidence)

    return whole


def document(judge: Callable[[Any], str]) -> Callable[[Answer, Evidence], str]:
    """A judge of answers whose body, as JSON, is for `judge`."""

    def whole(got: Answer, evidence: Evidence) -> str:
        try:
            return judge(json.loads(got.body))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            return f"the body is not what it has to be: {error}"

    return whole


def fine(*_: object) -> str:
    """Whatever it is."""
    return ""


def canonical_uuid(got: Answer, evidence: Evidence) -> str:
    """It is a UUID in its canonical form."""
    groups = [len(part) for part in got.body.strip().split("-")]
    return differs(groups, [8, 4, 4, 4, 12], "the lengths of its groups")


def reified(document: Any) -> str:
    """It is the manifest of the pod of main and sidekick, with the IDs of their images."""
    apps = {entry["name"]: entry for entry in document["apps"]}
    if document["acKind"] != "PodManifest" or set(apps) != {"main", "sidekick"}:
        return "it is not this pod's"
    return "" if all(entry["image"]["id"].startswith("sha512-") for entry in apps.values()) else "an image has no ID"


def image_id(got: Answer, evidence: Evidence) -> str:
    """It is a whole image ID."""
    kind, _, digits = got.body.strip().partition("-")
    return "" if kind == "sha512" and len(digits) == 128 else f"{got.body.strip()[:40]!r} is no image ID"


def signature(got: Answer, evidence: Evidence) -> str:
    """It is an HMAC of SHA-512, in base64."""
    from base64 import b64decode

    try:
        length = len(b64decode(got.body.strip(), validate=True))
    except ValueError:
        return "it is not base64"
    return differs(length, 64, "its length in bytes")


def token(evidence: Evidence) -> str:
    """The URL of the metadata service holds 128 bits that are not the pod's UUID."""
    url = evidence.values("main.report").get("env.AC_METADATA_URL", "")
    token = url.partition("://")[2].partition("/")[2].strip("/")
    if len(token) < FEWEST_TOKEN:
        return f"{len(token)} characters hold less than 128 bits"
    return "it is the pod's UUID" if token in answer(evidence.text("uuid")).body else ""


def other_uuid(evidence: Evidence) -> str:
    """A second pod has another UUID."""
    one, other = (answer(evidence.text(name)).body.strip() for name in ("uuid", "again.uuid"))
    return "" if one and other and one != other else f"the pods are called {one!r} and {other!r}"


def clean(evidence: Evidence) -> str:
    """A second pod does not find what the first wrote into its root."""
    for name in ("main.root", "again.root"):
        if "errno 2" not in evidence.text(name):
            return "what an earlier execution wrote is there"
    return "" if "written" in evidence.text("left") else "the root could not be written to"


def killed(evidence: Evidence) -> str:
    """The app ran, and did not get beyond what it must not do."""
    if not evidence.ran:
        return f"the app was not executed: {evidence.said[-200:].strip()}"
    return "" if evidence.status and not evidence.text("call") and not evidence.text("had") else "the app went on"


def returns(number: int) -> Judge:
    """The call of the app failed with this errno."""

    def judge(evidence: Evidence) -> str:
        return "" if f"errno {number} " in evidence.text("call") else f"the call gave {evidence.text('call').strip()!r}"

    return judge


def capabilities(has: int, lacks: int) -> Judge:
    """The app can have and has the capabilities of the mask `has`, and none of `lacks`."""

    def judge(evidence: Evidence) -> str:
        masks = {name: evidence.values("report").get(f"status.Cap{name}", "") for name in ("Bnd", "Eff")}
        if not masks["Eff"]:
            return f"the app was not executed: {evidence.said[-200:].strip()}"
        wrong = [name for name, mask in masks.items() if int(mask, 16) & has != has or int(mask, 16) & lacks]
        return f"{wrong[0]} is {masks[wrong[0]]}" if wrong else ""

    return judge


def rendered(evidence: Evidence) -> str:
    """Of two dependencies with the same file the later one gave it."""
    if not evidence.ran:
        return f"the app was not executed: {evidence.said[-200:].strip()}"
    return differs(evidence.text("both"), "beside", "/data/both")


def not_followed(evidence: Evidence) -> str:
    """A directory that takes the place of a link stands beside what the link led to."""
    return differs(evidence.lines("listed"), ["below", "beside", "both", "own"], "what is in /data and /link")


def hosts(evidence: Evidence) -> str:
    """A given /etc/hosts names localhost."""
    text = evidence.text("main.hosts")
    return "" if "errno 2" in text or "localhost" in text else "it names no localhost"


def told(word: str) -> Judge:
    """The executor said something in which `word` is."""
    return lambda evidence: "" if word in evidence.said else f"nothing that the executor said names {word}"
