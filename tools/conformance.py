"""Writes the table of `appc conformance` into docs/conformance.md; the tests hold the page to it.

python tools/conformance.py
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/conformance.md"
BEGIN = "<!-- what `appc conformance` checks -->\n"
END = "<!-- end -->\n"

sys.path.insert(0, str(ROOT / "src"))

from appc.conformance.checks import CHECKS  # noqa: E402


def page(text: str) -> str:
    """Return the page with the table as it has to be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = [f"| {check.page} | {check.level} | {check.demand} | {check.scenario.name} |\n" for check in CHECKS]
    head = "| page | level | demand | pod |\n|---|---|---|---|\n"
    return f"{before}{BEGIN}\n{head}{''.join(rows)}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
