"""`python -m appc`: the command line, started without the starter."""

import sys

from appc.cli.main import main

sys.exit(main())
