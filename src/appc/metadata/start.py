"""The program a keeper starts as the metadata service: `python -I -S start.py ROOT STATE`.

It is started by path, without `site`, because that halves the time to the first answer.
"""

import os
import sys


def main(root: str, state: str) -> None:
    """Serve, cut off from the keeper: its session, directory and output. A crash leaves its trace in `state`."""
    if os.getpid() != os.getsid(0):
        try:
            os.setsid()
        except PermissionError:  # a process group's leader: its session is its starter's choice
            pass
    os.chdir("/")
    with open("/proc/self/comm", "w") as name:
        name.write("appc-metadata")
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(f"{state}/metadata.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    for descriptor, target in enumerate((null, null, log)):
        os.dup2(target, descriptor)

    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from appc.metadata.service import serve

    serve(root, state)


if __name__ == "__main__":
    main(*sys.argv[1:])
