"""`checkpoint` and `restore`: refused, since containers are not made here as CRIU would bring them back."""

from __future__ import annotations

from appc.errors import Unenforceable
from appc.oci.container import find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.oci.main import Context
    from appc.oci.options import Args


def checkpoint(args: Args, context: Context) -> int:
    """Refuse to write a container to an image; it goes on."""
    find(context.root, args.words[0])
    raise _refusal("checkpoint", args)


def restore(args: Args, context: Context) -> int:
    """Refuse to bring a container back from an image."""
    raise _refusal("restore", args)


def _refusal(verb: str, args: Args) -> Unenforceable:
    from shutil import which

    reason = "is not supported" if which("criu") else "is not supported, nor is the program criu installed"
    return Unenforceable(reason, verb, "stop the container and start it again")
