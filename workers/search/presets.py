"""Search budgets by name. Plain numbers; loads nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Preset:
    """How long a search goes on.

    Args:
        name: what a job's options call it.
        trials: most trials, the base's included.
        initial: trained trials of the initial design, the default LoRA included, the base not.
        patience: trials proposed since the initial design without a larger hypervolume, after which the search stops.
    """

    name: str
    trials: int
    initial: int
    patience: int


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("quick", trials=14, initial=8, patience=8),
        Preset("standard", trials=40, initial=20, patience=12),
        # 100 initial points as in the paper (MiLP, section 4.1); it leaves the number after them open.
        Preset("paper", trials=150, initial=100, patience=24),
    )
}


def budget(preset_name: str, trials_override: int | None = None) -> Preset:
    """The preset of this name, with another number of trials if one is given.

    A smaller budget keeps a third of its trained trials for the surrogate to propose; a larger one leaves the initial
    design as it is.

    Raises:
        ValueError: unknown name, or fewer than two trials (the base and one more).
    """
    if preset_name not in PRESETS:
        raise ValueError(f"unknown preset {preset_name!r}: choose one of {', '.join(PRESETS)}")
    preset = PRESETS[preset_name]
    if trials_override is None:
        return preset
    if trials_override < 2:
        raise ValueError(f"a search needs at least 2 trials, the base and one more, got {trials_override}")
    initial = min(preset.initial, max(1, (trials_override - 1) * 2 // 3))
    return replace(preset, trials=trials_override, initial=initial)
