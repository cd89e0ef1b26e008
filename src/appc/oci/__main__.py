"""`python3 -m appc.oci`: what `appc-oci` is where its starter does not know the installation's layout."""

import sys

from appc.oci.main import main

if __name__ == "__main__":
    sys.exit(main())
