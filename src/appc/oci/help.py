"""What `appc-oci --help` says, from the tables the parser reads."""

from __future__ import annotations

from appc.oci.options import FLAG, GLOBAL, VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def overview() -> str:
    """Return the help of the program."""
    rows = "".join(f"  {name:10}{VERBS[name][4]}\n" for name in VERBS)
    return (
        "appc-oci runs containers of OCI bundles, as container engines ask for it.\n\n"
        "Usage: appc-oci [OPTIONS] COMMAND [COMMAND OPTIONS] ARGUMENTS\n\n"
        f"Commands:\n{rows}\nOptions:\n{_options(GLOBAL, {})}"
    )


def verb_help(verb: str) -> str:
    """Return the help of one verb."""
    options, short, operands, _, summary = VERBS[verb]
    usage = f"Usage: appc-oci {verb} [OPTIONS] {operands}".rstrip()
    return f"{usage}\n\n{summary}\n\nOptions:\n{_options(options, short)}"


def _options(options: Mapping[str, str], short: Mapping[str, str]) -> str:
    letters = {name: letter for letter, name in short.items()}
    rows = []
    for name, kind in {**options, "help": FLAG}.items():
        letter = f"-{letters[name]}, " if name in letters else ""
        rows.append(f"  {letter}--{name}{'' if kind == FLAG else ' VALUE'}\n")
    return "".join(rows)
