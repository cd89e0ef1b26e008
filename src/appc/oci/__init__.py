"""appc-oci: containers of OCI bundles, with the command line that container engines call (floor 5)."""
