"""Two hosts, each with a pod: one verifies what the other's pod has signed, by the program its administrator named."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from test_metadata_life import PATIENCE, Pod, appc, services, wait_for

from capabilities import need

# What an administrator might write: it asks the metadata service of a pod on the other host, whose 403 becomes 1.
VERIFIER = """#!/bin/sh
quoted() {{ sed 's/%/%25/g; s/+/%2B/g; s|/|%2F|g; s/=/%3D/g; s/ /+/g'; }}
form="uuid=$1&signature=$(echo "$2" | quoted)&content=$(quoted)"
exec /bin/busybox wget -q -O /dev/null --post-data "$form" {url}
"""


@pytest.fixture
def hosts(sandbox: Path) -> Iterator[tuple[Pod, Pod]]:
    """The pod that signs, and that of a host whose verifier asks it."""
    need("busybox")
    for name in ("signing", "verifying"):
        (sandbox / name / "config").mkdir(parents=True)
    signing = Pod(sandbox / "signing")
    program = sandbox / "verify"
    program.write_text(VERIFIER.format(url=f"{signing.url}/acMetadata/v1/pod/hmac/verify"))
    program.chmod(0o755)
    settings = {"metadata": {"verifier": str(program)}}
    (sandbox / "verifying/config/config.json").write_text(json.dumps(settings))
    verifying = Pod(sandbox / "verifying", "--config", str(sandbox / "verifying/config"))
    yield signing, verifying
    for pod in (signing, verifying):
        appc(*pod.directories, "kill", pod.uuid)
        appc(*pod.directories, "gc", "--grace-period", "0s")
    wait_for(lambda: not services(signing.root) and not services(verifying.root), "the services' end")


def ask(pod: Pod, endpoint: str, **form: str) -> tuple[int, str]:
    try:
        url = f"{pod.url}/acMetadata/v1/pod/hmac/{endpoint}"
        with urllib.request.urlopen(url, urlencode(form).encode(), timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def test_another_hosts_pod_is_believed_what_it_signed_and_nothing_else(hosts: tuple[Pod, Pod]) -> None:
    signing, verifying = hosts
    _, signature = ask(signing, "sign", content="a statement")
    claim = {"uuid": signing.uuid, "signature": signature}
    assert ask(verifying, "verify", content="a statement", **claim)[0] == 200
    assert ask(verifying, "verify", content="another one", **claim)[0] == 403
    assert ask(verifying, "verify", content="a statement", **{**claim, "uuid": verifying.uuid})[0] == 403
    # The other host names no verifier.
    _, signature = ask(verifying, "sign", content="a statement")
    assert ask(signing, "verify", content="a statement", uuid=verifying.uuid, signature=signature)[0] == 403


def test_pods_that_are_not_compiled_again_have_the_verifier_too(hosts: tuple[Pod, Pod], sandbox: Path) -> None:
    _, verifying = hosts
    appc("image", "patch", str(sandbox / "verifying/sleep.aci"), str(sandbox / "plain.aci"), "--remove-mount", "out")
    image = appc(*verifying.directories, "fetch", "--insecure", "image", str(sandbox / "plain.aci")).strip()
    for _ in range(2):
        appc(*verifying.directories, "run", "--insecure", "image", image, "--exec", "/bin/busybox", "--", "true")
    ended = list((verifying.root / "pods/exited").iterdir())
    assert len(ended) == 2
    assert {(pod / "verifier").read_text() for pod in ended} == {str(sandbox / "verify")}
    assert list((verifying.root / "cache/launch").iterdir())


def test_a_verifier_that_is_no_path_is_named(sandbox: Path) -> None:
    (sandbox / "config.json").write_text('{"metadata": {"verifier": "verify"}}')
    words = [sys.executable, "-m", "appc", "--config", str(sandbox), "config"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "metadata.verifier: is not an absolute path" in done.stderr
