"""Small fan plots, as images inside the page: weeks sold, weeks expected.

Item texts stay out of the image, since the fonts that matplotlib carries have no Chinese; the page names the item.
"""

import io
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

_INK, _SOFT, _MARK = "#1d2733", "#8a949e", "#1f6fb2"


@dataclass(frozen=True)
class Fan:
    """A series by week.

    Attributes:
        history: (first day, units) of weeks that were sold.
        ahead: (first day, mean, q05, q20, q80, q95) of weeks to come.
    """

    history: list[tuple[Any, ...]]
    ahead: list[tuple[Any, ...]]


def inline_png(fan: Fan, *, width: float = 4.6, height: float = 1.9) -> str:
    """An HTML image of a fan; the same fan gives the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot()
    if fan.history:
        days, units = zip(*fan.history, strict=True)
        axes.plot(days, units, color=_SOFT, linewidth=1.2)
    if fan.ahead:
        days, mean, q05, q20, q80, q95 = zip(*fan.ahead, strict=True)
        axes.fill_between(days, q05, q95, color=_MARK, alpha=0.15, linewidth=0)
        axes.fill_between(days, q20, q80, color=_MARK, alpha=0.25, linewidth=0)
        axes.plot(days, mean, color=_MARK, linewidth=1.6)
    axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_SOFT)
    axes.grid(axis="y", color="#e3e7ec", linewidth=0.8)
    axes.tick_params(colors=_INK, labelsize=7, length=0)
    locator = AutoDateLocator(maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    image = io.BytesIO()
    figure.savefig(image, format="png", metadata={"Software": None})
    data = b64encode(image.getvalue()).decode()
    return f'<img alt="units by week, sold and expected" src="data:image/png;base64,{data}">'
