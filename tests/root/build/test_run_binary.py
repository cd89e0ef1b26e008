"""Programs and nothing else, as pods."""

from __future__ import annotations

import subprocess
from pathlib import Path

from podkit import build, run

from capabilities import need


def test_a_c_program_runs_with_just_its_libraries(sandbox: Path) -> None:
    need("native", "overlay", "gcc")
    source = sandbox / "main.c"
    source.write_text(
        "#include <math.h>\n#include <stdio.h>\n"
        'int main(int n, char **words) { printf("%s %.0f\\n", words[n - 1], cbrt(27.0 * n)); return 3; }'
    )
    subprocess.run(["gcc", "-fno-builtin", source, "-lm", "-o", sandbox / "cube"], check=True)
    build(sandbox, "from-binary", sandbox / "cube", sandbox / "out.aci", "--", "root")
    done = run(sandbox, sandbox / "out.aci")
    assert done.returncode == 3, done.stderr
    assert done.stdout == "root 4\n"  # the cube root of 54


def test_an_installed_shell_runs_where_it_is_installed(sandbox: Path) -> None:
    need("native", "overlay")
    build(sandbox, "from-binary", "/bin/sh", sandbox / "out.aci", "--", "-c", "echo $0 $((6 * 7))")
    done = run(sandbox, sandbox / "out.aci")
    assert done.stdout == "/bin/sh 42\n", done.stderr
