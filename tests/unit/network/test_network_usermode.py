"""What connects pods of ordinary users is started with nothing open that was not asked for."""

from __future__ import annotations

from appc.network.mapping import PortMapping
from appc.network.usermode import pasta_words, slirp_words


def values(words: list[str], option: str) -> list[str]:
    return [words[at + 1] for at, word in enumerate(words) if word == option]


def test_pasta_opens_what_was_asked_for_and_nothing_else() -> None:
    words = pasta_words("/ns", "/pid", [PortMapping("tcp", "::1", 8080, 80, 2), PortMapping("udp", "", 5353, 53)])
    assert values(words, "--tcp-ports") == ["::1/8080:80", "::1/8081:81"]
    assert values(words, "--udp-ports") == ["5353:53"]
    words = pasta_words("/ns", "/pid", [])
    # Without these words all ports there are would be open, in both directions.
    assert {option: values(words, option) for option in ("--tcp-ports", "--udp-ports", "--tcp-ns", "--udp-ns")} == {
        "--tcp-ports": ["none"],
        "--udp-ports": ["none"],
        "--tcp-ns": ["none"],
        "--udp-ns": ["none"],
    }
    assert "--no-map-gw" in words
    assert "--dns-forward" not in words


def test_slirp4netns_is_confined() -> None:
    words = slirp_words("/ns", 3)
    assert {"--disable-host-loopback", "--enable-sandbox", "--enable-seccomp"} <= set(words)
    assert not [word for word in words if word.startswith("--api-socket")]
