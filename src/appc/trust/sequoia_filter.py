"""The program that encrypts or decrypts with pysequoia: PACKAGES encrypt|decrypt PASSPHRASE-FILE.

From standard input to standard output. Run by symmetric.py as a script, so it imports nothing of appc. The first line
on standard error is the reason of a failure.
"""

from __future__ import annotations

import sys


def main(packages: str, mode: str, passphrase_file: str) -> int:
    """Filter the stream; the exit status is 0 when all of it is authentic and was written."""
    sys.path.insert(0, packages)
    import pysequoia

    with open(passphrase_file, encoding="utf-8", errors="surrogateescape") as stream:
        passphrase = stream.read()
    try:
        if mode == "encrypt":
            pysequoia.encrypt_file("/dev/fd/0", "/dev/fd/1", passwords=[passphrase], armor=False)
        else:
            pysequoia.decrypt_file("/dev/fd/0", "/dev/fd/1", passwords=[passphrase])
    except (RuntimeError, OSError, UnicodeError) as error:
        sys.stderr.write(f"{str(error).splitlines()[0]}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
