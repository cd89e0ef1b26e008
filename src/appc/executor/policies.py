"""What an app's policies (schema/policies.py) are to its keeper."""

from __future__ import annotations

from appc.errors import UsageError
from appc.formats import convert
from appc.plan.compile_pod import HealthCheck
from appc.schema.policies import Policies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.schema.pod import RuntimeApp


def keeper_policies(entry: RuntimeApp, config: dict[str, Any], *, terminal: bool) -> dict[str, Any]:
    """Return what the annotations of an app ask of its keeper, as arguments of PodApp; `config` is the app's.

    Raises UsageError for what an app with a terminal cannot have.
    """
    wanted = Policies(entry.annotations)
    found: dict[str, Any] = {"timeouts": (wanted.handler_timeout, wanted.handler_timeout)}
    if wanted.restart:
        if terminal:
            hint = "run it without one"
            raise UsageError("cannot run again: its terminal ends with it", f"app {entry.name}", hint)
        found["restart"] = (wanted.restart.when, wanted.restart.most)
    health = wanted.health
    if health:
        times = (health.interval, health.timeout, health.most, health.start)
        if health.command:
            found["health"] = HealthCheck(times, config=convert.enter_config(config, health.command, terminal=False))
        else:
            ports = entry.app.ports if entry.app else ()
            found["health"] = HealthCheck(times, port=health.port_number(ports), path=health.path)
    return found
