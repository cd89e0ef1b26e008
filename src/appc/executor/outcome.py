"""What became of each isolator, from the two who know: the converter and the kernel's control groups.

ace.md, "Isolators": an executor must make known which isolators were ignored, enforced or modified.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from appc.schema.common import Annotation
    from appc.schema.pod import PodManifest

# Of pods and apps: a line `NAME=OUTCOME (REASON)` for each of their isolators.
ANNOTATION = "appc.io/executor/isolators"
ENFORCED, MODIFIED, IGNORED = "enforced", "modified", "ignored"
POD = "pod"
_WORSE = (ENFORCED, MODIFIED, IGNORED)

# The isolators behind the fields of OCI's linux.resources that they are turned into, and behind the pod's links.
_FIELDS = {
    "memory": ("resource/memory",),
    "cpu": ("resource/cpu", "os/linux/cpu-shares"),
    "pids": ("resource/pids",),
    "links": ("resource/network-bandwidth",),
    "blockIO": ("resource/block-bandwidth", "resource/block-iops"),
}
_DEVICES = "devices"  # the field
_SWAP = "memory.swap"
DEVICES = "appc/devices"  # stands for the devices an app may use, which come from no isolator


class Row:
    """One isolator's outcome in one scope: an app's name, or "" for the pod."""

    __slots__ = ("name", "reason", "scope", "state")

    def __init__(self, scope: str, name: str, state: str, reason: str) -> None:
        self.scope = scope
        self.name = name
        self.state = state
        self.reason = reason

    @classmethod
    def from_dict(cls, document: dict[str, str]) -> Row:
        """Return the row that `to_dict` gave."""
        scope = "" if document["scope"] == POD else document["scope"]
        return cls(scope, document["name"], document["outcome"], document["reason"])

    def __str__(self) -> str:
        return f"{self.name}={self.state}{f' ({self.reason})' if self.reason else ''}"

    @property
    def where(self) -> str:
        """The scope in words."""
        return f"app {self.scope}" if self.scope else "pod"

    def to_dict(self) -> dict[str, str]:
        """Return the row as `status --format json` shows it."""
        return {"scope": self.scope or POD, "name": self.name, "outcome": self.state, "reason": self.reason}


def combine(rows: Iterable[Row], fields: Iterable[tuple[str, str, str, str]]) -> list[Row]:
    """Return `rows` with what the control groups say of their `fields` (scope, field, state, reason) taken in.

    A field the kernel did not take worsens the isolator it came from. The device rules every app has
    come from no isolator; they get a row of their own when they could not be enforced.
    """
    combined = [Row(row.scope, row.name, row.state, row.reason) for row in rows]
    for scope, field, state, reason in fields:
        if field == _DEVICES:
            if state != ENFORCED:
                combined = [row for row in combined if (row.scope, row.name) != (scope, DEVICES)]
                combined.append(Row(scope, DEVICES, state, reason))
            continue
        if field == _SWAP and state == IGNORED:
            state, reason = MODIFIED, f"what is swapped out is not limited: {reason}"
        for row in combined:
            concerned = row.scope == scope and row.name in _FIELDS.get(field.partition(".")[0], ())
            if concerned and _WORSE.index(state) > _WORSE.index(row.state):
                row.state, row.reason = state, reason
    return combined


def annotated(manifest: PodManifest, rows: Iterable[Row]) -> PodManifest:
    """Return `manifest` with annotations that say what became of its isolators, in the place of such as were there.

    So the metadata service tells it to the apps.
    """
    told: dict[str, list[str]] = {}
    for row in rows:
        told.setdefault(row.scope, []).append(str(row))
    apps = tuple(
        entry.replace(annotations=_with(entry.annotations, told.get(str(entry.name)))) for entry in manifest.apps
    )
    return manifest.replace(apps=apps, annotations=_with(manifest.annotations, told.get("")))


def _with(annotations: Sequence[Annotation], lines: list[str] | None) -> tuple[Annotation, ...]:
    from appc.schema.common import Annotation

    others = tuple(annotation for annotation in annotations if annotation.name != ANNOTATION)
    return (*others, Annotation(name=ANNOTATION, value="\n".join(lines))) if lines else others
