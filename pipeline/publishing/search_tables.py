"""What a search for settings has found, for people: the best trials, whether they beat today's, and lines for the settings."""

from pipeline.backtesting.scores import Gain
from pipeline.publishing.text_table import text_table
from pipeline.settings import SETTINGS_FILE
from pipeline.training.search_space import SEARCHED, snippet
from pipeline.training.search_trials import Found, Trial

BEST = 10
"""Trials that are shown."""


def print_search(found: Found, gain: Gain | None) -> None:
    """Print a search.

    Args:
        found: its trials.
        gain: of the best trial over today's settings; None where nothing was better.
    """
    origins = ", ".join(map(str, found.origins))
    networks = ", ".join(found.networks)
    ended = [one.state for one in found.trials]
    print(
        f"{len(ended)} trials of {networks} ({found.made} now): {ended.count('complete')} complete, "
        f"{ended.count('given up')} given up, {ended.count('failed')} failed. Study {found.study}."
    )
    print(f"Judged by the {found.horizon} days after {origins}, none of which a backtest scores.\n")
    print(_table(found) + "\n")
    for one in found.trials:
        if one.why:
            print(f"Trial {one.number} failed: {one.why}")
    print("\n".join(_verdict(found, gain)))


def _table(found: Found) -> str:
    shown = [one for one in found.trials if one.state == "complete"][:BEST]
    if not any(one.is_today for one in shown):
        shown[-1:] = [found.today]
    searched = [name for name in SEARCHED if any(name in one.changed for one in shown)]
    columns = ("trial", "wql", "gain", "minutes", *(name.rpartition(".")[2] for name in searched))
    return text_table(columns, [_row(one, found.today, searched) for one in shown])


def _row(one: Trial, today: Trial, searched: list[str]) -> list[object]:
    name = f"{one.number} (today)" if one.is_today else str(one.number)
    gain = "" if one.is_today else f"{1 - one.wql / today.wql:+.1%}"
    return [name, one.wql, gain, one.seconds / 60, *(f"{one.values[setting]:g}" for setting in searched)]


def _verdict(found: Found, gain: Gain | None) -> list[str]:
    others = len(found.trials) - 1
    if not others:
        each = found.today.seconds / 60
        return [
            f"Only today's settings were tried: one trial takes about {each:.2g} minutes here; give more --minutes."
        ]
    if gain is None:
        return [f"Nothing beat today's settings (WQL {found.today.wql:.4f}) in {others} other trials: leave them."]
    best = found.best
    told = f"WQL {best.wql:.4f} against {found.today.wql:.4f}: {gain.gain:+.1%}, 95 % interval {gain.low:+.1%} to {gain.high:+.1%}"
    sure = (
        f"Trial {best.number} beat today's settings, beyond chance: {told}."
        if gain.low > 0
        else f"Trial {best.number} was better than today's settings, but not beyond chance: {told}."
    )
    return [
        sure,
        f"It was chosen as the best of {len(found.trials)} on these very days, which flatters it; `almanac backtest` with its "
        "settings scores days that it has not seen.",
        f"\nIn {SETTINGS_FILE}, which stays as it is:\n",
        snippet(best.changed),
    ]
