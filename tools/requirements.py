"""Prints what pyproject.toml asks pip for: dependencies, extras, and the development and build tools."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def requirements() -> list[str]:
    """Return the requirements, each once, in a stable order."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lists = [document["build-system"]["requires"], document["project"]["dependencies"]]
    lists += document["project"].get("optional-dependencies", {}).values()
    lists += document["dependency-groups"].values()
    return sorted({requirement for part in lists for requirement in part})


if __name__ == "__main__":
    print("\n".join(requirements()))
