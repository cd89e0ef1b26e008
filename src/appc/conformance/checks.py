"""What the specification demands of an executor, one row each, and how it is seen."""

from __future__ import annotations

from appc.conformance import judges, scenarios

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.conformance.judges import Judge
    from appc.conformance.scenarios import Scenario

MUST, SHOULD = "MUST", "SHOULD"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KILL, _CHOWN = 1 << 5, 1 << 0


class Check:
    """One demand: where the specification makes it, how strongly, in short, in which pod it is seen, and how."""

    def __init__(self, page: str, level: str, demand: str, scenario: Scenario, judge: Judge) -> None:
        self.page = page
        self.level = level
        self.demand = demand
        self.scenario = scenario
        self.judge = judge


_TEXT, _JSON = "text/plain;charset=us-ascii", "application/json"
_E = scenarios.ENVIRONMENT

CHECKS = (
    Check("ace.md", MUST, "a pod of two apps with handlers runs to its end", _E, judges.has_ended),
    Check(
        "ace.md", MUST, "every execution starts from a clean copy of the rendered files", scenarios.AGAIN, judges.clean
    ),
    Check("ace.md", MUST, "a later dependency overwrites an earlier one", scenarios.DEPENDENCIES, judges.rendered),
    Check(
        "ace.md", MUST, "a link to a directory is replaced, not followed", scenarios.DEPENDENCIES, judges.not_followed
    ),
    Check(
        "ace.md",
        MUST,
        "what no whitelist names is left out",
        scenarios.DEPENDENCIES,
        lambda e: "" if "errno 2" in e.text("hidden") else "it is there",
    ),
    Check("ace.md", MUST, "a host volume without its source is an error", scenarios.MISSING, judges.refused),
    Check("ace.md", SHOULD, "a host volume whose source is a link is an error", scenarios.LINK, judges.refused),
    Check("ace.md", SHOULD, "so is one with a link on the way to its source", scenarios.LINK_WITHIN, judges.refused),
    Check("ace.md", SHOULD, "overlapping targets are an error", scenarios.OVERLAPPING, judges.refused),
    Check(
        "ace.md",
        SHOULD,
        "a target that is missing is made, with its parents",
        _E,
        judges.stands("/made/deep", "040755", "0:0"),
    ),
    Check("ace.md", SHOULD, "its parents belong to root with mode 0755", _E, judges.stands("/made", "040755", "0:0")),
    Check(
        "ace.md",
        SHOULD,
        "what was in a target is discarded",
        _E,
        lambda e: judges.differs(e.text("main.covered"), "", "it") if e.ran else "no app was executed",
    ),
    Check(
        "ace.md",
        SHOULD,
        "a file in the place of a target is replaced by a directory",
        _E,
        judges.stands("/file", "040755", "0:0"),
    ),
    Check("ace.md", SHOULD, "the user is warned of what a volume masks", _E, judges.told("/full")),
    Check(
        "ace.md",
        MUST,
        "PATH is set in apps and handlers",
        _E,
        judges.variable("PATH", lambda stage, value: value == PATH),
    ),
    Check(
        "ace.md",
        MUST,
        "AC_APP_NAME is",
        _E,
        judges.variable("AC_APP_NAME", lambda stage, value: value == judges.app_of(stage)),
    ),
    Check(
        "ace.md",
        MUST,
        "AC_METADATA_URL is",
        _E,
        judges.variable("AC_METADATA_URL", lambda stage, value: "://" in value),
    ),
    Check("ace.md", MUST, "container is", _E, judges.variable("container", lambda stage, value: bool(value))),
    Check("ace.md", MUST, "the working directory is the app's", _E, judges.has("main.report", "cwd", "/work")),
    Check("ace.md", MUST, "it is / where an app has none", _E, judges.has("sidekick.report", "cwd", "/")),
    Check("ace.md", MUST, "handlers run before and after their app", _E, judges.order),
    Check(
        "ace.md",
        MUST,
        "isolators that are not enforced are made known",
        _E,
        judges.told("conformance.example.com/unknown"),
    ),
    Check("ace.md", MUST, "a call in a seccomp remove set ends the app with SIGSYS", scenarios.REMOVED, judges.killed),
    Check("ace.md", MUST, "or gives the set's errno", scenarios.REMOVED_ERRNO, judges.returns(95)),
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
        judges.capabilities(_KILL | _CHOWN, ~(_KILL | _CHOWN) & ((1 << 38) - 1)),
    ),
    Check(
        "ace.md",
        MUST,
        "a capability remove set takes these",
        scenarios.CAPS_REMOVED,
        judges.capabilities(1 << 3, _KILL | _CHOWN),
    ),
    Check(
        "ace.md",
        MUST,
        "no-new-privileges is set where asked for",
        scenarios.NO_NEW_PRIVILEGES,
        judges.has("report", "status.NoNewPrivs", "1"),
    ),
    Check("ace.md", MUST, "and not where it is not", _E, judges.has("main.report", "status.NoNewPrivs", "0")),
    Check(
        "ace.md", MUST, "an AppArmor profile that is not there is refused", scenarios.PROFILE, judges.profile_refused
    ),
    Check("ace.md", MUST, "an app gets no more memory than its limit", scenarios.TOO_MUCH_MEMORY, judges.killed),
    Check("ace.md", SHOULD, "there is a metadata service", _E, judges.answered("uuid", "", judges.fine)),
    Check(
        "ace.md",
        MUST,
        "pod/uuid is the UUID in canonical form",
        _E,
        judges.answered("uuid", _TEXT, judges.canonical_uuid),
    ),
    Check(
        "ace.md",
        MUST,
        "pod/manifest is the reified manifest",
        _E,
        judges.answered("pod-manifest", _JSON, judges.document(judges.reified)),
    ),
    Check(
        "ace.md",
        MUST,
        "pod/annotations are a list",
        _E,
        judges.answered(
            "pod-annotations", _JSON, judges.document(lambda d: "" if isinstance(d, list) else "it is no list")
        ),
    ),
    Check(
        "ace.md",
        MUST,
        "an app's annotations are its image's and its own",
        _E,
        judges.answered(
            "app-annotations",
            _JSON,
            judges.document(
                lambda d: "" if {"name": "authors", "value": "Conformance"} in d else "the image's are missing"
            ),
        ),
    ),
    Check(
        "ace.md",
        MUST,
        "image/manifest is the image's",
        _E,
        judges.answered(
            "image-manifest",
            _JSON,
            judges.document(lambda d: judges.differs(d["name"], "conformance.example.com/main", "the name")),
        ),
    ),
    Check("ace.md", MUST, "image/id is the image ID", _E, judges.answered("image-id", _TEXT, judges.image_id)),
    Check(
        "ace.md", MUST, "an app that is not there has no metadata", _E, judges.answered("nobody", "", judges.fine, 404)
    ),
    Check(
        "ace.md",
        MUST,
        "pod/hmac/sign gives an HMAC-SHA512 in base64",
        _E,
        judges.answered("signature", _TEXT, judges.signature),
    ),
    Check(
        "ace.md",
        MUST,
        "pod/hmac/verify accepts another pod's signature",
        scenarios.AGAIN,
        judges.answered("again.verify", "", judges.fine),
    ),
    Check(
        "ace.md",
        MUST,
        "and answers 403 to what nobody signed",
        scenarios.AGAIN,
        judges.answered("again.forged", "", judges.fine, 403),
    ),
    Check("ace.md", SHOULD, "the token has 128 bits and is not the UUID", _E, judges.token),
    Check("ace.md", MUST, "two pods have different UUIDs", scenarios.AGAIN, judges.other_uuid),
    Check(
        "aci.md",
        MUST,
        "user and group are looked up in the image",
        scenarios.IDENTITY,
        lambda e: judges.differs(
            (e.values("report").get("uid"), e.values("report").get("gid")), ("1000 1000 1000", "1002 1002 1002")
        ),
    ),
    Check(
        "aci.md",
        MUST,
        "supplementary groups are set",
        _E,
        lambda e: judges.differs(
            {"1234", "2345"} - set(e.values("main.report").get("groups", "").split()), set(), "what is missing"
        ),
    ),
    Check("aci.md", MUST, "the image's environment is set", _E, judges.has("main.report", "env.CONFORMANCE", "main")),
    Check(
        "aci.md",
        MUST,
        "a mount point that is read-only cannot be written",
        _E,
        lambda e: (
            "" if "errno 30" in e.text("main.readonly") else e.text("main.readonly").strip() or "it was not tried"
        ),
    ),
    Check("pods.md", MUST, "the names of a pod's apps are unique", scenarios.SAME_NAMES, judges.refused),
    Check("pods.md", MUST, "an empty volume has its mode and owner", _E, judges.stands("/owned", "040750", "12:34")),
    *(
        Check("ace.md", MUST, f"apps of a pod share their {kind} namespace", _E, judges.shared(kind, True))
        for kind in ("pid", "net", "ipc", "uts")
    ),
    Check("ace.md", MUST, "but not their files", _E, judges.shared("mnt", False)),
    Check("OS-SPEC.md", MUST, "/proc is there", _E, judges.mounted("/proc", ("proc",))),
    Check("OS-SPEC.md", MUST, "/sys is there", _E, judges.mounted("/sys", ("sysfs",))),
    *(Check("OS-SPEC.md", MUST, f"/dev/{name} is there", _E, judges.device(name)) for name in scenarios.DEVICES),
    Check("OS-SPEC.md", MUST, "/dev/pts is there", _E, judges.mounted("/dev/pts", ("devpts",))),
    Check("OS-SPEC.md", MUST, "/dev/shm is there", _E, judges.mounted("/dev/shm", ("tmpfs",))),
    Check("OS-SPEC.md", SHOULD, "a given /etc/hosts names localhost", _E, judges.hosts),
    Check(
        "OS-SPEC.md",
        SHOULD,
        "an image's own /etc/hosts stays as it is",
        _E,
        lambda e: judges.differs(e.text("sidekick.hosts"), scenarios.HOSTS.decode()),
    ),
)
