"""Plans as text, compared with the ones kept here; GOLDEN_UPDATE=1 writes them anew, for review in the diff."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from appc.formats.convert import enter_config
from appc.plan.compile_pod import compile_enter
from appc.plan.ops import Plan
from appc.plan.show import show
from appc.plan.wire import encode
from appc.plan.wire_read import decode
from appc.schema.image import App
from golden import examples
from golden.examples import PROGRAM, busybox, demo, facts, pod_app

HERE = Path(__file__).parent


def enter() -> Plan:
    host = facts()
    app = pod_app(App(exec=("/bin/app",), user="1000", group="1000"), "web", host, uid=1000, gid=1000)
    config = enter_config(dict(app.config), ["sh", "-l"], terminal=True)
    return compile_enter(
        config,
        name="web",
        pid=4242,
        facts=host,
        cgroups=app.cgroups,
        seccomp=PROGRAM,
        streams=("tty", "tty", "tty"),
    )


def terminal() -> Plan:
    return busybox(facts(), app={"streams": ("tty", "tty", "tty")})


PLANS: dict[str, Callable[[], Plan]] = {
    "busybox": lambda: busybox(facts()),
    "busybox-v1": lambda: busybox(facts("v1")),
    "busybox-hybrid": lambda: busybox(facts("hybrid")),
    "busybox-no-mknod": lambda: busybox(
        facts(caps=examples.ALL_CAPS & ~(1 << 27), bounding=examples.ALL_CAPS & ~(1 << 27))
    ),
    "busybox-read-only": lambda: busybox(facts(), app={"read_only_rootfs": True}),
    "busybox-net-host": lambda: busybox(
        facts(),
        app={"namespaces": ("pid", "ipc", "uts", "mount", "cgroup")},
        namespaces=("pid", "ipc", "uts", "mount", "cgroup"),
    ),
    "busybox-terminal": terminal,
    "demo": lambda: demo(facts()),
    "enter": enter,
}


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_reads_as_reviewed(name: str) -> None:
    text = show(PLANS[name]())
    file = HERE / f"{name}.txt"
    if os.environ.get("GOLDEN_UPDATE"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def test_the_short_form_of_the_demo_reads_as_reviewed() -> None:
    text = show(demo(facts()), short=True)
    file = HERE / "demo-short.txt"
    if os.environ.get("GOLDEN_UPDATE"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_survives_the_wire(name: str) -> None:
    plan = PLANS[name]()
    assert show(decode(encode(plan))) == show(plan)
