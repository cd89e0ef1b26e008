"""`python -m appc`, and `python -I -S …/appc/__main__.py`: the command line, started without the starter."""

import sys

packages = __file__.rpartition("/")[0].rpartition("/")[0]
if not __package__:
    # Run by its path, as keepers do: the package is found where this file lies.
    sys.path.insert(0, packages)

from appc.startup import hasten  # noqa: E402 – found where it was just said

hasten(packages)

from appc.cli.main import main  # noqa: E402 – everything after is imported the fast way

sys.exit(main())
