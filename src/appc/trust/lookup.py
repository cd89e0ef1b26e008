"""Is a key still trusted for a name? Answered by file names alone: asked before every start of a known image file.

Layout and precedence are those of keystore.py, which reads what is in the files.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def is_trusted(directories: Sequence[str], fingerprint: str, name: str) -> bool:
    """Tell whether the key is trusted for the image `name` by `directories`, lowest precedence first."""
    places = ["root.d"]
    prefix = name
    while prefix:
        # An image's name may have parts that mean something else in a path; no prefix has.
        if all(part.strip(".") for part in prefix.split("/")):
            places.append(f"prefix.d/{prefix}")
        prefix = prefix.rpartition("/")[0]
    return any(_last_word(directories, f"trustedkeys/{place}/{fingerprint}") for place in places)


def _last_word(directories: Sequence[str], file: str) -> bool:
    for directory in reversed(directories):
        try:
            found = os.stat(f"{directory}/{file}")
        except OSError:
            continue
        # A directory of that name belongs to a prefix that ends like the key's fingerprint.
        if stat.S_ISREG(found.st_mode):
            return found.st_size > 0
    return False
