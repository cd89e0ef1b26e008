"""From apps and pods to OCI configurations (ace.md, OS-SPEC.md, pods.md)."""

from __future__ import annotations

from typing import Any

import pytest

from appc.errors import AppcError
from appc.formats.convert import app_to_oci, as_user, enter_config, handler_config, pod_to_oci
from appc.formats.enforce import DEFAULT_CAPABILITIES
from appc.pods.volumes import ResolvedMount
from appc.schema.image import App, EnvVar
from appc.schema.isolators import Isolator
from golden.examples import facts

HOST = facts()


def isolator(name: str, value: Any) -> Isolator:
    return Isolator(name=name, value=value)


def converted(
    *isolators: Isolator, host: Any = HOST, **options: Any
) -> tuple[dict[str, Any], dict[str, tuple[str, str]]]:
    """The configuration of an app with `isolators`, and their outcomes by name."""
    fields = {key: options.pop(key) for key in ("environment", "working_directory") if key in options}
    if "extra" in options:
        options["environment"] = options.pop("extra")
    app = App(exec=("/bin/app", "-v"), user="0", group="0", isolators=isolators, **fields)
    config, outcome = app_to_oci(app, **{"name": "web", "facts": host, "uid": 0, "gid": 0, **options})
    return config, {name: (state, reason) for name, state, reason in outcome}


def resources(*isolators: Isolator, **options: Any) -> dict[str, Any]:
    config, _ = converted(*isolators, **options)
    return {key: value for key, value in config["linux"]["resources"].items() if key != "devices"}


class TestEnvironment:
    def env(self, **options: Any) -> dict[str, str]:
        config, _ = converted(**options)
        return dict(entry.split("=", 1) for entry in config["process"]["env"])

    def test_what_every_process_is_promised(self) -> None:
        assert self.env(metadata_url="http://m/t") == {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "container": "appc",
            "AC_APP_NAME": "web",
            "AC_METADATA_URL": "http://m/t",
        }

    def test_the_apps_own_override_the_defaults_and_the_callers_override_them(self) -> None:
        own = (EnvVar(name="PATH", value="/own"), EnvVar(name="A", value="1"), EnvVar(name="HOME", value="/srv"))
        env = self.env(environment=own, extra=(("A", "2"),), home="/root")
        assert env["PATH"] == "/own"
        assert env["A"] == "2"
        assert env["HOME"] == "/srv"

    def test_nobody_overrides_who_the_app_is(self) -> None:
        own = (EnvVar(name="AC_APP_NAME", value="other"), EnvVar(name="AC_METADATA_URL", value="http://evil"))
        env = self.env(environment=own, metadata_url="http://m/t")
        assert env["AC_APP_NAME"] == "web"
        assert env["AC_METADATA_URL"] == "http://m/t"

    def test_home_is_the_users(self) -> None:
        assert self.env(home="/home/u")["HOME"] == "/home/u"


class TestProcess:
    def test_identity_and_place(self) -> None:
        config, _ = converted(uid=7, gid=8, groups=(9, 10), working_directory="/srv", terminal=True)
        process = config["process"]
        assert process["user"] == {"uid": 7, "gid": 8, "umask": 0o022, "additionalGids": [9, 10]}
        assert (process["cwd"], process["args"], process["terminal"]) == ("/srv", ["/bin/app", "-v"], True)

    def test_the_working_directory_is_the_root_by_default(self) -> None:
        assert converted()[0]["process"]["cwd"] == "/"

    def test_a_handler_is_the_app_run_by_root(self) -> None:
        config, _ = converted(uid=7, gid=8, groups=(9,))
        handler = handler_config(config, ["/bin/prepare"])
        assert handler["process"]["args"] == ["/bin/prepare"]
        assert (handler["process"]["user"]["uid"], handler["process"]["user"]["additionalGids"]) == (0, [])
        assert handler["process"]["capabilities"]["effective"] == config["process"]["capabilities"]["bounding"]
        assert handler["process"]["env"] == config["process"]["env"]
        assert handler["linux"] == config["linux"]
        assert config["process"]["user"]["uid"] == 7

    def test_a_command_that_enters_is_the_apps_user(self) -> None:
        config, _ = converted(uid=7, gid=8)
        entered = enter_config(config, ["sh"], terminal=True)["process"]
        assert (entered["args"], entered["user"]["uid"], entered["terminal"]) == (["sh"], 7, True)

    def test_a_command_of_another_user_has_that_users_groups_home_and_capabilities(self) -> None:
        config, _ = converted(uid=7, gid=8, groups=(9,), home="/seven")
        bounding = config["process"]["capabilities"]["bounding"]
        root = as_user(config, 0, 0, "/root")["process"]
        assert (root["user"]["uid"], root["user"]["gid"], root["user"]["additionalGids"]) == (0, 0, [])
        assert root["capabilities"]["effective"] == root["capabilities"]["bounding"] == bounding != []
        assert [entry for entry in root["env"] if entry.startswith("HOME=")] == ["HOME=/root"]
        other = as_user(as_user(config, 0, 0, "/root"), 5, 6, "")["process"]
        assert (other["capabilities"]["effective"], other["capabilities"]["bounding"]) == ([], bounding)
        assert not [entry for entry in other["env"] if entry.startswith("HOME=")]
        assert "HOME=/seven" in as_user(config, 7, 6, None)["process"]["env"]
        assert config["process"]["user"] == {"uid": 7, "gid": 8, "umask": 0o022, "additionalGids": [9]}


class TestRoot:
    def test_the_file_systems_of_the_os_specification(self) -> None:
        config, _ = converted()
        kinds = {mount["destination"]: mount["type"] for mount in config["mounts"]}
        expected = {
            "/proc": "proc",
            "/sys": "sysfs",
            "/dev/pts": "devpts",
            "/dev/shm": "tmpfs",
            "/dev/mqueue": "mqueue",
        }
        assert expected.items() <= kinds.items()
        assert [device["path"] for device in config["linux"]["devices"]] == ["/dev/console"]

    def test_the_console_is_the_terminal_when_there_is_one(self) -> None:
        assert converted(terminal=True)[0]["linux"]["devices"] == []

    def test_the_pods_shared_memory_is_bound(self) -> None:
        mounts = converted(shm="/pod/shm")[0]["mounts"]
        shm = next(mount for mount in mounts if mount["destination"] == "/dev/shm")
        assert (shm["source"], shm["options"][0]) == ("/pod/shm", "bind")

    def test_a_volume_takes_the_place_of_what_has_its_target(self) -> None:
        volume = ResolvedMount("v", "/h", "/dev/shm", True, True, True, False)
        mounts = [mount for mount in converted(volumes=(volume,))[0]["mounts"] if mount["destination"] == "/dev/shm"]
        expected = {"destination": "/dev/shm", "type": "bind", "source": "/h", "options": ["rbind", "ro", "rro"]}
        assert mounts == [expected]

    def test_volumes_are_recursive_and_writable_unless_they_say_otherwise(self) -> None:
        volumes = (
            ResolvedMount("a", "/h", "/a", False, True, True, False),
            ResolvedMount("b", "/h", "/b", True, False, True, False),
        )
        mounts = converted(volumes=volumes)[0]["mounts"][-2:]
        assert [mount["options"] for mount in mounts] == [["rbind"], ["bind", "ro"]]

    def test_read_only(self) -> None:
        assert converted(read_only_rootfs=True)[0]["root"] == {"path": "rootfs", "readonly": True}

    def test_no_cgroup_is_shown_where_the_host_has_none(self) -> None:
        host = facts()
        host.cgroup = "none"
        assert all(mount["type"] != "cgroup" for mount in converted(host=host)[0]["mounts"])

    def test_devices_are_refused_but_for_the_harmless_ones(self) -> None:
        rules = converted()[0]["linux"]["resources"]["devices"]
        assert rules[0] == {"allow": False, "access": "rwm"}
        assert {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"} in rules
        assert not any(rule.get("type") == "b" and "r" in rule["access"] for rule in rules[1:])


class TestCapabilities:
    def sets(self, *isolators: Isolator, **options: Any) -> dict[str, list[str]]:
        return dict(converted(*isolators, **options)[0]["process"]["capabilities"])

    def test_fourteen_by_default(self) -> None:
        sets = self.sets()
        assert set(sets["bounding"]) == DEFAULT_CAPABILITIES
        assert len(sets["bounding"]) == 14
        assert sets["permitted"] == sets["effective"] == sets["bounding"]
        assert sets["inheritable"] == sets["ambient"] == []

    def test_other_users_have_them_in_the_bounding_set_alone(self) -> None:
        sets = self.sets(uid=1)
        assert set(sets["bounding"]) == DEFAULT_CAPABILITIES
        assert sets["permitted"] == sets["effective"] == []

    def test_retain_and_remove(self) -> None:
        retain = isolator("os/linux/capabilities-retain-set", {"set": ["CAP_NET_ADMIN", "CAP_KILL"]})
        assert self.sets(retain)["bounding"] == ["CAP_KILL", "CAP_NET_ADMIN"]
        remove = isolator("os/linux/capabilities-remove-set", {"set": ["CAP_MKNOD", "CAP_SYS_ADMIN"]})
        assert set(self.sets(remove)["bounding"]) == DEFAULT_CAPABILITIES - {"CAP_MKNOD"}

    def test_several_sets_bound_each_other(self) -> None:
        sets = [{"set": ["CAP_KILL", "CAP_CHOWN"]}, {"set": ["CAP_KILL", "CAP_FOWNER"]}]
        retains = [isolator("os/linux/capabilities-retain-set", value) for value in sets]
        assert self.sets(*retains)["bounding"] == ["CAP_KILL"]

    def test_retain_and_remove_together_are_refused(self) -> None:
        both = [isolator(f"os/linux/capabilities-{kind}-set", {"set": ["CAP_KILL"]}) for kind in ("retain", "remove")]
        with pytest.raises(AppcError) as caught:
            converted(*both)
        assert caught.value.where == "app web.isolators"

    def test_what_the_host_lacks_is_left_out_and_told(self) -> None:
        host = facts(caps=1 << 5, bounding=1 << 5)
        retain = isolator("os/linux/capabilities-retain-set", {"set": ["CAP_KILL", "CAP_CHOWN", "CAP_NONE"]})
        config, outcome = converted(retain, host=host)
        assert config["process"]["capabilities"]["bounding"] == ["CAP_KILL"]
        state, reason = outcome["os/linux/capabilities-retain-set"]
        assert state == "modified"
        assert "CAP_CHOWN, CAP_NONE" in reason

    def test_a_default_set_cut_short_is_told_as_well(self) -> None:
        _, outcome = converted(host=facts(caps=1 << 5, bounding=1 << 5))
        assert outcome["os/linux/capabilities-retain-set"][0] == "modified"


class TestResources:
    def test_memory(self) -> None:
        assert resources(isolator("resource/memory", {"limit": "64Mi"})) == {"memory": {"limit": 64 << 20}}
        both = isolator("resource/memory", {"limit": "64Mi", "request": "32Mi"})
        assert resources(both)["memory"] == {"limit": 64 << 20, "reservation": 32 << 20}
        assert resources(isolator("resource/memory", {"request": "1k"}))["memory"] == {"reservation": 1000}

    def test_a_request_above_the_limit_is_lowered_and_told(self) -> None:
        config, outcome = converted(isolator("resource/memory", {"limit": "1Mi", "request": "2Mi"}))
        assert config["linux"]["resources"]["memory"] == {"limit": 1 << 20}
        assert outcome["resource/memory"][0] == "modified"

    def test_what_is_beyond_the_limit_is_not_swapped_out(self) -> None:
        limit = isolator("resource/memory", {"limit": "64Mi"})
        assert resources(limit, host=facts(swap=True))["memory"] == {"limit": 64 << 20, "swap": 64 << 20}
        request = isolator("resource/memory", {"request": "64Mi"})
        assert "swap" not in resources(request, host=facts(swap=True))["memory"]

    def test_the_smallest_of_several_limits_holds(self) -> None:
        several = [isolator("resource/memory", {"limit": limit}) for limit in ("2Mi", "1Mi", "3Mi")]
        assert resources(*several)["memory"] == {"limit": 1 << 20}

    def test_cpu(self) -> None:
        cpu = resources(isolator("resource/cpu", {"request": "250m", "limit": "500m"}))["cpu"]
        assert cpu == {"quota": 50_000, "period": 100_000, "shares": 256}
        # A request left out is the limit.
        assert resources(isolator("resource/cpu", {"limit": "2"}))["cpu"]["shares"] == 2048

    def test_shares_given_as_such_win(self) -> None:
        for order in ((0, 1), (1, 0)):
            both = [isolator("os/linux/cpu-shares", 77), isolator("resource/cpu", {"request": "1"})]
            assert resources(*[both[index] for index in order])["cpu"]["shares"] == 77

    def test_a_quota_the_kernel_refuses_is_raised_and_told(self) -> None:
        config, outcome = converted(isolator("resource/cpu", {"limit": "1m"}))
        assert config["linux"]["resources"]["cpu"]["quota"] == 1000
        assert outcome["resource/cpu"][0] == "modified"

    @pytest.mark.parametrize("amount", ["0", "-1"])
    def test_no_amount_at_all_is_refused_with_its_path(self, amount: str) -> None:
        with pytest.raises(AppcError) as caught:
            converted(isolator("resource/memory", {"limit": amount}))
        assert caught.value.where == "app web.isolators[0].value.limit"

    def test_block_limits_hold_for_every_disk(self) -> None:
        rate = isolator("resource/block-bandwidth", {"default": True, "limit": "2M"})
        entry = {"major": 8, "minor": 0, "rate": 2_000_000}
        found = resources(rate, block_devices=((8, 0),))["blockIO"]
        assert found == {"throttleReadBpsDevice": [entry], "throttleWriteBpsDevice": [entry]}
        assert converted(rate)[1]["resource/block-bandwidth"][0] == "ignored"

    def test_block_limits_of_v1_are_told_to_be_less_than_they_say(self) -> None:
        rate = isolator("resource/block-iops", {"default": True, "limit": "100"})
        v1, v2 = (facts(controllers={name: "/cg"}) for name in ("blkio", "io"))
        assert converted(rate, host=v1, block_devices=((8, 0),))[1]["resource/block-iops"][0] == "modified"
        assert converted(rate, host=v2, block_devices=((8, 0),))[1]["resource/block-iops"] == ("enforced", "")

    @pytest.mark.parametrize(("own", "rate"), [("2M", 1_000_000), ("500k", 500_000)])
    def test_the_pods_block_limit_bounds_the_apps(self, own: str, rate: int) -> None:
        """Which groups of cgroup v1 do not."""
        pod, app = (isolator("resource/block-bandwidth", {"default": True, "limit": limit}) for limit in ("1M", own))
        config, outcome = converted(app, pod_isolators=[pod], block_devices=((8, 0),))
        assert config["linux"]["resources"]["blockIO"]["throttleReadBpsDevice"][0]["rate"] == rate
        assert outcome["resource/block-bandwidth"][0] == ("modified" if rate == 1_000_000 else "enforced")

    def test_bandwidth_of_an_app_needs_groups_by_which_its_packets_are_known(self) -> None:
        name = "resource/network-bandwidth"
        rate = isolator(name, {"default": True, "limit": "1G"})
        host_network = converted(rate, namespaces=("pid", "mount"))[1][name]
        assert host_network == ("ignored", "the network is not the pod's own")
        writable = facts(bases={"/sys/fs/cgroup": "/sys/fs/cgroup"})
        assert converted(rate, host=writable)[1][name] == ("enforced", "")
        for host in (facts("v1"), HOST, facts(bases=writable.bases, initial_userns=False)):
            state, reason = converted(rate, host=host)[1][name]
            assert (state, reason.partition(":")[0]) == ("modified", "applied to the pod")
            assert converted(rate, host=host, alone=True)[1][name] == ("enforced", "")
        assert pod_to_oci([rate], facts=HOST, hostname="h")[1] == [(name, "enforced", "")]

    def test_pids(self) -> None:
        limits = [isolator("resource/pids", {"limit": limit}) for limit in (100, 50, 200)]
        assert resources(*limits) == {"pids": {"limit": 50}}
        # PID 1 of the pod is not one of its apps' processes.
        assert pod_to_oci(limits[1:2], facts=HOST, hostname="h")[0]["linux"]["resources"] == {"pids": {"limit": 51}}

    @pytest.mark.parametrize(
        ("pod", "app", "score", "state"),
        [(300, None, 300, ""), (300, 500, 500, "enforced"), (300, 100, 300, "modified"), (None, -5, -5, "enforced")],
    )
    def test_the_pods_oom_score_is_the_least_an_app_has(
        self, pod: int | None, app: int | None, score: int, state: str
    ) -> None:
        name = "os/linux/oom-score-adj"
        own = [isolator(name, app)] if app is not None else []
        config, outcome = converted(*own, pod_isolators=[isolator(name, pod)] if pod is not None else [])
        assert config["process"]["oomScoreAdj"] == score
        assert outcome.get(name, ("",))[0] == state


class TestAccount:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("example.com/unknown", {"x": 1}),
            ("os/unix/sysctl", {"net.core.somaxconn": "1"}),
            ("os/linux/selinux-context", {"user": "u", "role": "r", "type": "t", "level": "s0"}),
            ("os/linux/apparmor-profile", {"profile": "p"}),
        ],
    )
    def test_what_is_ignored_is_told_with_a_reason(self, name: str, value: Any) -> None:
        state, reason = converted(isolator(name, value))[1][name]
        assert state == "ignored"
        assert reason

    def test_every_isolator_is_accounted_for(self) -> None:
        given = [
            isolator("resource/memory", {"limit": "1Mi"}),
            isolator("os/linux/no-new-privileges", True),
            isolator("os/linux/oom-score-adj", -10),
            isolator("os/linux/seccomp-retain-set", {"set": ["read"]}),
            isolator("os/linux/capabilities-retain-set", {"set": ["CAP_KILL"]}),
        ]
        config, outcome = converted(*given)
        assert outcome == {entry.name: ("enforced", "") for entry in given}
        assert config["process"]["noNewPrivileges"] is True
        assert config["process"]["oomScoreAdj"] == -10

    def test_labels_of_the_app_override_the_pods(self) -> None:
        host = facts(selinux=True, apparmor=True)
        pod = (
            isolator("os/linux/selinux-context", {"user": "u", "role": "r", "type": "pod", "level": "s0"}),
            isolator("os/linux/apparmor-profile", {"profile": "pod"}),
        )
        own = isolator("os/linux/selinux-context", {"user": "u", "role": "r", "type": "app", "level": "s0"})
        config, outcome = converted(own, host=host, pod_isolators=pod)
        assert config["process"]["selinuxLabel"] == "u:r:app:s0"
        assert config["process"]["apparmorProfile"] == "pod"
        assert list(outcome) == ["os/linux/selinux-context"]


class TestPod:
    def sandbox(self, *isolators: Isolator, **options: Any) -> tuple[dict[str, Any], dict[str, tuple[str, str]]]:
        config, outcome = pod_to_oci(isolators, facts=HOST, hostname="h", **options)
        return config, {name: (state, reason) for name, state, reason in outcome}

    def test_limits_and_name(self) -> None:
        config, outcome = self.sandbox(isolator("resource/memory", {"limit": "1Mi"}))
        assert config["hostname"] == "h"
        assert config["linux"]["resources"] == {"memory": {"limit": 1 << 20}}
        assert outcome == {"resource/memory": ("enforced", "")}

    @pytest.mark.parametrize(
        ("key", "own"),
        [
            ("net.ipv4.tcp_mtu_probing", True),
            ("kernel.shmmax", True),
            ("fs.mqueue.msg_max", True),
            ("kernel.domainname", True),
            ("kernel.hostname", False),
            ("kernel.core_pattern", False),
            ("vm.swappiness", False),
            ("net..x", False),
            ("net.ipv4/../../kernel/core_pattern", False),
            ("net", False),
        ],
    )
    def test_only_parameters_of_the_pods_own_namespaces_are_set(self, key: str, own: bool) -> None:
        config, outcome = self.sandbox(isolator("os/unix/sysctl", {key: "1"}))
        assert config["linux"]["sysctl"] == ({key: "1"} if own else {})
        assert outcome["os/unix/sysctl"][0] == ("enforced" if own else "ignored")

    def test_the_hosts_network_is_not_a_pods_to_tune(self) -> None:
        keys = {"net.core.somaxconn": "1", "kernel.sem": "1 1 1 1"}
        config, outcome = self.sandbox(isolator("os/unix/sysctl", keys), namespaces=("ipc", "pid"))
        assert config["linux"]["sysctl"] == {"kernel.sem": "1 1 1 1"}
        assert outcome["os/unix/sysctl"][0] == "modified"
        assert "hostname" not in config

    def test_isolators_of_apps_mean_nothing_here(self) -> None:
        _, outcome = self.sandbox(isolator("os/linux/no-new-privileges", True))
        assert outcome["os/linux/no-new-privileges"][0] == "ignored"
