"""Tiers as vendors publish them, for those who come from there. Nothing is limited until an operator loads them.

Cloud Temple: the tiers of LLMaaS in its public documentation (Cloud-Temple/docs, docs/llmaas, as of 2026-08-20): output
tokens an hour and a day. What a tier costs and its monthly ceiling are no limits of this kind, and not here.
Saptiva: the page "Límites de uso (rate limits)" of its documentation: requests and tokens a minute and a day. Its
column IPM has no counterpart here, and the figures of its Enterprise tier were not to be had in full.
"""

from dataclasses import dataclass

from billing.limits.windows import Bounds


@dataclass(frozen=True, slots=True)
class PresetTier:
    name: str
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class Preset:
    """`note` is kept with each of its tiers."""

    name: str
    title: str
    note: str
    tiers: tuple[PresetTier, ...]


def _cloud_temple(number: int, hour: int, day: int) -> PresetTier:
    return PresetTier(f"Cloud Temple {number}", Bounds(output_tokens_per_hour=hour, output_tokens_per_day=day))


def _saptiva(name: str, minute: int, day: int, tokens: int, tokens_day: int) -> PresetTier:
    bounds = Bounds(
        requests_per_minute=minute, requests_per_day=day, tokens_per_minute=tokens, tokens_per_day=tokens_day
    )
    return PresetTier(f"Saptiva {name}", bounds)


PRESETS = (
    Preset(
        "cloud-temple",
        "Cloud Temple",
        "Cloud Temple LLMaaS, 2026-08",
        (
            _cloud_temple(1, 150_000, 3_600_000),
            _cloud_temple(2, 300_000, 7_200_000),
            _cloud_temple(3, 450_000, 10_800_000),
            _cloud_temple(4, 600_000, 14_400_000),
        ),
    ),
    Preset(
        "saptiva",
        "Saptiva",
        "Saptiva, límites de uso",
        (
            _saptiva("Free", 60, 20_000, 60_000, 20_000_000),
            _saptiva("Developer", 4_000, 250_000, 2_000_000, 250_000_000),
        ),
    ),
)
BY_NAME = {preset.name: preset for preset in PRESETS}
