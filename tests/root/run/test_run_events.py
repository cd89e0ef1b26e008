"""Events as they are told, by the command and from Python."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pod_kit import PATIENCE, PROBE, Appc, wait_for

import appc as api


class Listener:
    """`appc events --format json` beside the test."""

    def __init__(self, appc: Appc, *words: str) -> None:
        self.seen: list[dict[str, Any]] = []
        self.process = appc.start("events", "--format", "json", *words)
        self.thread = threading.Thread(target=self._read)
        self.thread.start()
        # It listens when it has something to be told by.
        wait_for(lambda: any("inotify" in target for target in self._descriptors()))

    def _descriptors(self) -> Iterator[str]:
        for entry in Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                yield os.readlink(entry)
            except FileNotFoundError:
                continue  # closed since

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.seen.append(json.loads(line))

    def kinds(self) -> list[str]:
        return [" ".join(filter(None, (event["event"], event["app"]))) for event in self.seen]

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=PATIENCE)
        self.thread.join()


def test_the_life_of_a_pod(appc: Appc) -> None:
    listener = Listener(appc)
    uuid = appc.run(PROBE, "--", "exit", "3").status
    wait_for(lambda: "exited" in listener.kinds())
    (pod,) = appc.pods()
    assert appc("rm", pod.uuid).status == 0
    wait_for(lambda: "removed" in listener.kinds())
    listener.end()
    assert uuid == 3
    assert [kind for kind in listener.kinds() if kind not in ("prepared", "ready", "app-ready probe")] == [
        "started",
        "app-started probe",
        "app-exited probe",
        "exited",
        "removed",
    ]
    assert {event["pod"] for event in listener.seen} == {pod.uuid}
    assert listener.seen[listener.kinds().index("app-exited probe")]["status"] == 3
    assert all(event["time"].endswith("Z") for event in listener.seen)


def test_those_of_some_pods_until_they_are_over(appc: Appc) -> None:
    first = appc.detached(PROBE, "--name", "one", "--", "wait")
    other = appc.detached(PROBE, "--name", "two", "--", "wait")
    listener = Listener(appc, first[:13])
    assert appc("stop", other).status == 0
    assert appc("stop", first).status == 0
    listener.process.wait(timeout=PATIENCE)
    listener.thread.join()
    assert listener.kinds() == ["app-exited one", "exited"]
    assert listener.seen[0]["signal"] == signal.SIGTERM


def test_a_keeper_that_was_killed_is_missed(appc: Appc) -> None:
    uuid = appc.detached(PROBE, "--", "wait")
    listener = Listener(appc, uuid)
    os.kill(appc.status(uuid)["keeper"], signal.SIGKILL)
    listener.process.wait(timeout=PATIENCE)
    listener.thread.join()
    assert listener.kinds() == ["exited"]


def test_from_python(appc: Appc) -> None:
    where = api.Directories(str(appc.root), str(appc.state), [str(appc.config)])
    uuid = appc.detached(PROBE, "--", "trap", "10", "0", "wait")
    events = api.events(uuid, directories=where)
    threading.Timer(0.3, lambda: appc("kill", "-s", "USR1", uuid)).start()
    found = [(event.kind, event.pod, event.app) for event in events]
    assert found[-2:] == [("app-exited", uuid, "probe"), ("exited", uuid, "")]
