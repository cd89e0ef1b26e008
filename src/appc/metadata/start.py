"""The program a keeper starts as the metadata service: `python -I -S start.py ROOT STATE`.

It is started by path, without `site`, because that halves the time to the first answer, and it hurries
until that is given: clients wait for a tenth of a second only, however busy the host is.
"""

import os
import sys

HURRIED = -10


def calm_down() -> None:
    """Go back to the priority of everybody: what pods ask for is to cost them no more than others."""
    if os.getpriority(os.PRIO_PROCESS, 0) < 0:
        os.setpriority(os.PRIO_PROCESS, 0, 0)


def main(root: str, state: str) -> None:
    """Serve; a crash leaves its trace in `state`. The keeper has set up session and descriptors."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, HURRIED)
    except PermissionError:  # not root
        pass
    os.chdir("/")
    with open("/proc/self/comm", "w") as name:
        name.write("appc-metadata")
    os.makedirs(state, 0o700, exist_ok=True)
    log = os.open(f"{state}/metadata.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    os.dup2(log, 2)
    os.close(log)

    packages = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.path.insert(0, packages)
    from appc.startup import hasten

    hasten(packages)
    from appc.metadata.service import serve

    serve(root, state, first_answer=calm_down)


if __name__ == "__main__":
    main(*sys.argv[1:])
