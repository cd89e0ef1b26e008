"""Ask the pod's metadata service, as any app of a pod can: metadata.py PATH [FIELD=VALUE...]."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.parse
import urllib.request


def main(path: str, *fields: str) -> None:
    """Print the answer to a GET of `path`, or to a POST of the fields as a form."""
    url = f"{os.environ['AC_METADATA_URL']}/acMetadata/v1/{path}"
    form = urllib.parse.urlencode(dict(field.split("=", 1) for field in fields)).encode() or None
    try:
        with urllib.request.urlopen(urllib.request.Request(url, form), timeout=30) as answer:
            print(answer.read().decode() or answer.reason)
    except urllib.error.HTTPError as error:
        sys.exit(f"{error.code} {error.reason}")


if __name__ == "__main__":
    main(*sys.argv[1:])
