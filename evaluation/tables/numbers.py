"""Numbers as tables and sentences write them: with a sign, with an interval, in words that fit their size.

Knows numbers only. What is missing is written as a dash or left out, never as a zero.
"""

from __future__ import annotations

from evaluation.statistics import Comparison, Estimate

NONE = "–"


def signed(value: float, digits: int = 2) -> str:
    """With its sign; what rounds to nothing has none."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def span(low: float | None, high: float | None, digits: int, sign: bool = True) -> str:
    """An interval in brackets, or nothing where there is none."""
    if low is None or high is None:
        return ""
    ends = (signed(low, digits), signed(high, digits)) if sign else (f"{low:.{digits}f}", f"{high:.{digits}f}")
    return f" ({ends[0]} to {ends[1]})"


def mean(found: Estimate | None, digits: int) -> str:
    """A mean with its interval."""
    return NONE if found is None else f"{found.mean:.{digits}f}{span(found.low, found.high, digits, sign=False)}"


def difference(found: Comparison | None, digits: int = 2) -> str:
    """a - b with its interval."""
    return NONE if found is None else f"{signed(found.difference, digits)}{span(found.low, found.high, digits)}"


def relative(found: Comparison | None) -> str:
    """a against b in percent with its interval."""
    if found is None or found.relative is None:
        return NONE
    return f"{signed(found.relative, 1)} %{span(found.relative_low, found.relative_high, 1)}"


def p_value(found: Comparison | None) -> str:
    if found is None or found.p is None:
        return NONE
    return "<0.001" if found.p < 0.001 else f"{found.p:.3f}"


def record(found: Comparison | None) -> str:
    """Users won, tied and lost."""
    return NONE if found is None else f"{found.won} / {found.tied} / {found.lost}"


def large(value: float) -> str:
    """A large number in groups of three, without a fraction."""
    return f"{value:,.0f}"


def byte_size(value: float) -> str:
    """Bytes in the unit that fits, of 1,000 each."""
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def duration(seconds: float) -> str:
    """Seconds, or minutes where there are more than two."""
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def count(number: int, what: str) -> str:
    """How many of something, with an s where that is not one."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
