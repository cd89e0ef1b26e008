"""What of a group's files becomes of `events --stats`."""

from __future__ import annotations

from pathlib import Path

from appc.oci.usage import usage


def test_waiting_is_counted_where_the_kernel_counts_it(tmp_path: Path) -> None:
    (tmp_path / "cpu.pressure").write_text("some avg10=1.50 avg60=0.25 avg300=0.00 total=12345\n")
    some = "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
    (tmp_path / "io.pressure").write_text(some + some.replace("some", "full").replace("7", "5"))
    told = usage([str(tmp_path)])
    assert told["cpu"]["psi"] == {"some": {"avg10": 1.5, "avg60": 0.25, "avg300": 0.0, "total": 12345}}
    assert told["blkio"]["psi"]["full"]["total"] == 5
    assert "psi" not in told["memory"]


def test_processors_and_nodes_are_lists_of_numbers(tmp_path: Path) -> None:
    (tmp_path / "cpuset.cpus").write_text("0-2,5\n")
    (tmp_path / "cpuset.mems").write_text("\n")
    (tmp_path / "cpuset.sched_relax_domain_level").write_text("-1\n")
    told = usage([str(tmp_path)])["cpuset"]
    assert told["cpus"] == [0, 1, 2, 5]
    assert "mems" not in told
    assert told["sched_relax_domain_level"] == -1
