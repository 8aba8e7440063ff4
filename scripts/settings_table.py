"""Write the README's table of settings from `app.settings.Settings`, so that the two cannot drift apart.

`make docs-settings` runs it; a test compares. Must not know what any setting does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BEGIN = "<!-- settings: written by `make docs-settings` -->"
END = "<!-- settings: end -->"


def table() -> str:
    """One Markdown row per setting: its environment variable, its default, its description."""
    rows = ["| variable | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = _shown(field.get_default(call_default_factory=True))
        description = (field.description or "").replace("|", r"\|")
        rows.append(f"| `MILP_{name.upper()}` | {default} | {description} |")
    return "\n".join(rows)


def with_table(text: str) -> str:
    """`text` with the table between its two marks replaced. Raises ValueError where a mark is missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md needs the lines {BEGIN!r} and {END!r}, in this order")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def _shown(default: Any) -> str:
    if default in ("", {}):
        return "(empty)"
    # A folder of this repository is shown as a reader finds it, not as it lies on one machine.
    return f"`{str(default).replace(f'{ROOT}/', '')}`"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
