"""Plots of a few items: what was known, what was forecast, what came.

Drawn without a display (the Agg canvas is used directly, pyplot's global state is never touched), so that it works in
the night's subprocess and beside other threads.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.models.base import Array
from pipeline.models.panel import Floats
from pipeline.settings import QUANTILES

_HISTORY_DAYS = 84
_BANDS = ((0.05, 0.95, "90 %"), (0.2, 0.8, "60 %"))
_CJK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "Hiragino Sans GB",
    "Arial Unicode MS",
    "Microsoft YaHei",
    "SimHei",
)


@dataclass(frozen=True)
class ItemPlot:
    """One item's history, forecast fan and, where they are known, actuals.

    Attributes:
        title: item and text.
        as_of: the night; history ends on it.
        history: (T,) units per day.
        mean: (H,) expected units of the days after the night.
        quantiles: (H, Q) quantiles at `pipeline.settings.QUANTILES`.
        actuals: (A,) units that came, from the day after the night; A ≤ H.
    """

    title: str
    as_of: date
    history: Floats | Array
    mean: Array
    quantiles: Array
    actuals: Floats | Array | None = None


def draw(plot: ItemPlot, file: Path) -> None:
    """Draw one item into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot()
    history = np.asarray(plot.history)[-_HISTORY_DAYS:]
    before = [plot.as_of - timedelta(days=len(history) - 1 - day) for day in range(len(history))]
    after = [plot.as_of + timedelta(days=1 + day) for day in range(len(plot.mean))]
    axes.plot(before, history, color="0.35", linewidth=1, label="known")
    for shade, (low, high, name) in enumerate(_BANDS):
        bounds = [plot.quantiles[:, QUANTILES.index(level)] for level in (low, high)]
        axes.fill_between(after, *bounds, color="tab:blue", alpha=0.15 + 0.15 * shade, linewidth=0, label=name)
    axes.plot(after, plot.mean, color="tab:blue", linewidth=1.5, label="mean")
    if plot.actuals is not None and len(plot.actuals):
        axes.plot(after[: len(plot.actuals)], plot.actuals, color="tab:red", linewidth=1, label="came")
    axes.axvline(plot.as_of, color="0.6", linewidth=0.8, linestyle=":")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("units per day")
    axes.set_title(drawable(plot.title), **_font())
    axes.legend(loc="upper left", frameon=False, ncols=5, fontsize="small")
    # no Software/date metadata: the same plot gives the same bytes
    figure.savefig(file, metadata={"Software": None})


def drawable(text: str) -> str:
    """The text as this machine's fonts can draw it.

    Where no font with Chinese, Japanese or Korean characters is installed, those are left out rather than drawn as
    boxes: the item id in every title still names the item.
    """
    if cjk_font() is not None:
        return text
    return " ".join("".join(char if ord(char) < 0x2E80 else " " for char in text).split()).strip("· ") or "item"


@cache
def cjk_font() -> str | None:
    """Name of an installed font with Chinese characters, if there is one."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return next((name for name in _CJK_FONTS if name in installed), None)


def _font() -> dict[str, Any]:
    found = cjk_font()
    return {"fontfamily": ["DejaVu Sans", found]} if found else {}
