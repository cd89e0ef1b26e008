"""From a name to a running pod over several hosts, most of which are broken in one way or another."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from netns_hosts import HOSTS, Hosts
from pod_kit import Appc, Done, base_files, one_app

from capabilities import need
from fetch_kit import Signer, aci, meta

NAME = "example.com/app"
# Seconds without a byte before a host counts as silent; an emulated processor takes some to say anything.
PATIENCE = 10 if os.environ.get("APPC_EMULATED") else 1
# In the order of the page's tags.
TRIED = (
    "dead",
    "closed",
    "missing",
    "garbage",
    "slow",
    "expired",
    "impostor",
    "portal",
    "loop",
    "good",
)


class Client:
    """appc in the client's namespace."""

    def __init__(self, appc: Appc, hosts: Hosts) -> None:
        self.appc = appc
        self.hosts = hosts

    def __call__(self, *words: str) -> Done:
        process = self.start(*words)
        out, err = process.communicate()
        return Done(process.returncode, out, err)

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [*self.hosts.in_client, *self.appc.words(*words)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Iterator[Hosts]:
    need("root", "mount", "openssl", "unshare", "nsenter", "ip", "busybox", "native")
    directory = tmp_path_factory.mktemp("hosts")
    image = aci(directory, NAME, files=base_files(), app=one_app())
    pages = directory / "pages"
    for name in HOSTS:
        (pages / name).mkdir(parents=True)
        if not name.startswith(("missing", "portal")):
            (pages / name / "app.aci").write_bytes(image)
            (pages / name / "app.aci.asc").write_bytes(signer.sign(image))
    (pages / "garbage.example.com" / "app.aci").write_bytes(image[:1000] + b"garbage" + image[1007:])
    (directory / "page.html").write_bytes(
        b"".join(meta(f"example.com https://{host}.example.com/app.{{ext}}") for host in TRIED)
    )
    made = Hosts(directory)
    yield made
    made.close()


@pytest.fixture
def client(tmp_path: Path, hosts: Hosts, signer: Signer) -> Client:
    appc = Appc(tmp_path)
    settings = {"net": {"caFile": str(hosts.directory / "ca" / "ca.pem"), "timeout": PATIENCE, "offline": False}}
    (appc.config / "config.d").mkdir(parents=True, exist_ok=True)
    (appc.config / "config.d" / "test.json").write_text(json.dumps(settings))
    (tmp_path / "key").write_bytes(signer.public)
    assert appc("trust", "add", "--prefix", "example.com", str(tmp_path / "key")).status == 0
    return Client(appc, hosts)


def test_the_one_good_mirror_of_ten_is_found_and_its_image_runs(client: Client, sandbox: Path) -> None:
    fetched = client("fetch", f"{NAME}:1.0.0")
    assert fetched.status == 0, fetched
    warned = [line.split("/")[2].partition(".")[0] for line in fetched.err.splitlines()]
    assert warned == [host for host in TRIED if host not in ("missing", "good")]
    shown = json.loads(client("image", "list", "--format", "json").out)
    assert [image["name"] for image in shown] == [NAME]
    ran = client("run", "--rm", "https://good.example.com/app.aci", "--exec", "/bin/busybox", "--", "echo", "it runs")
    assert (ran.status, ran.out) == (0, "it runs\n"), ran
    ran = client.appc("run", "--rm", f"{NAME}:1.0.0", "--exec", "/bin/busybox", "--", "echo", "it runs")
    assert (ran.status, ran.out) == (0, "it runs\n"), ran
    client.appc.clear()


REASONS = {
    "dead": f"dead.example.com does not answer (waited {PATIENCE} s)",
    "closed": "closed.example.com refuses connections",
    "missing": "the server says 404 Not Found",
    "garbage": "gzip stream is corrupt",
    "slow": "bytes a second, less than 1024",
    "expired": "expired.example.com is not who it should be: its certificate has expired",
    "impostor": "impostor.example.com is not who it should be: its certificate is for another name",
    "portal": "its signature is neither armored nor binary OpenPGP data",
    "loop": "redirects more than 10 times",
    "nowhere": "the name nowhere.example.com cannot be looked up",
}


def test_each_way_to_fail_is_one_clear_line(client: Client) -> None:
    running = {host: client.start("fetch", f"https://{host}.example.com/app.aci") for host in REASONS}
    for host, process in running.items():
        _, err = process.communicate()
        lines = [line for line in err.splitlines() if not line.startswith("hint: ")]
        assert len(lines) == 1, err
        assert lines[0].startswith(f"appc: https://{host}.example.com/app.aci")
        assert REASONS[host] in lines[0]
        assert process.returncode in (1, 125)
    assert client("image", "list", "--no-legend").out == ""
