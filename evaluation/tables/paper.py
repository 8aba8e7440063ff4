"""What the paper reports (MiLP, arXiv 2404.03565), as far as it is known here, and which of its sets ours stand in for.

Only figures read in the paper stand here. What is not known is absent, and shown as not known.
"""

from __future__ import annotations

from typing import Final

NOT_KNOWN: Final = "not known here"

STANDS_FOR = {"ubuntu_irc": "Reddit", "meddialogue_simulated": "MedDialogue"}
"""Set measured here: the paper's set in whose place it stands. AmazonQA has nothing in its place."""

IMPROVEMENTS = {
    ("Reddit", "rouge_l"): 26.96,
    ("MedDialogue", "rouge_l"): 36.85,
    ("Reddit", "persona_f1"): 42.65,
    ("MedDialogue", "persona_f1"): 23.61,
}
"""MiLP over the best baseline, relative, percent."""


def improvement(set_name: str, metric: str) -> str:
    """The paper's relative improvement of a metric on the set that ours stands in for."""
    known = IMPROVEMENTS.get((STANDS_FOR.get(set_name, ""), metric))
    return NOT_KNOWN if known is None else f"{known:+.2f} %"
