"""The version of appc and of the specifications it implements."""

VERSION = "0.1.0"
APPC_SPEC = "0.8.11"
OCI_RUNTIME_SPEC = "1.3.0"
