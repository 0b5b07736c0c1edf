"""How figures look: colours that everyone can tell apart, on light and on dark, and no global state.

Colours are from Okabe and Ito (2008), which stay apart under the common colour vision deficiencies. An SVG carries its own
background and a rule for ``prefers-color-scheme: dark`` that turns both, so that it is readable wherever it is shown.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER, INK, FAINT, ON_COLOUR = "#ffffff", "#333333", "#8a8a8a", "#fefefe"
TRAIN, VAL, RATE, MARK, OTHER = "#d55e00", "#0072b2", "#009e73", "#b2558c", "#6b5b00"
DARK: Mapping[str, str] = {
    PAPER: "#0d1117", INK: "#d6dce2", FAINT: "#8b949e",
    TRAIN: "#e69f00", VAL: "#56b4e9", RATE: "#2fc79a", MARK: "#e39ac4", OTHER: "#f0e442",
}  # fmt: skip
"""Light colour to the one that takes its place on a dark page (contrast of at least 4.5 : 1 for text, on either)."""

WIDTH = 7.6
"""Inches; at 100 pixels per inch the width of a column of a rendered Markdown page."""
SMALL, NORMAL = 7.5, 9.0
"""Font sizes in points."""
LABEL_GAP = 11.0
"""Smallest distance between two labels, in points."""
POINTS = 400
"""Points of a line; more do not show at this width. Longer series are averaged into so many."""

PIXELS = 1200
"""At least so many on the longer side of a picture of cells, so that the cells have sharp edges in every viewer."""

_SETTINGS = {
    "font.size": NORMAL, "font.family": "DejaVu Sans", "text.parse_math": False, "text.usetex": False, "svg.fonttype": "none",
    "text.color": INK, "axes.edgecolor": FAINT, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.facecolor": "none", "figure.facecolor": PAPER,
    "axes.titlesize": NORMAL, "axes.titlelocation": "left", "xtick.labelsize": SMALL, "ytick.labelsize": SMALL,
    "axes.grid": True, "grid.color": FAINT, "grid.alpha": 0.25, "grid.linewidth": 0.6, "axes.axisbelow": True,
    "lines.linewidth": 1.6, "lines.solid_capstyle": "round", "axes.unicode_minus": True,
}  # fmt: skip


@contextmanager
def drawing(name: str) -> Iterator[None]:
    """The style of this library over matplotlib's defaults, whatever style the user has set; restored on leaving.

    A run may hold any value. What matplotlib and numpy warn of then (limits beyond a logarithmic axis, labels of 1e30 that
    leave no room, sums that overflow, scripts that the font lacks) is nothing that the reader of a training log could mend.
    """
    import numpy as np
    from matplotlib import style

    with (
        style.context(["default", {**_SETTINGS, "svg.hashsalt": name}]),
        np.errstate(all="ignore"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", UserWarning)
        yield


def figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure that no pyplot knows of; sizes in inches."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained", dpi=72)  # what an SVG is written with
    FigureCanvasSVG(made)  # whose measures of text the layout takes
    return made


def lay_out(made: Figure) -> None:
    """Give the axes their places, so that positions in points can be asked for."""
    engine = made.get_layout_engine()
    if engine is not None:
        engine.execute(made)


def save(made: Figure, file_format: str) -> bytes:
    """The figure as bytes: SVG with a dark variant, or PNG at 200 pixels per inch.

    The text is the same for the same run: no date, no random identifiers.
    """
    buffer = io.BytesIO()
    if file_format == "svg":
        lay_out(made)
        made.set_layout_engine(None)  # with one, matplotlib draws everything twice, to lay it out in the first pass
        made.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, dpi=150)
        return _with_dark(buffer.getvalue().decode()).encode()
    made.savefig(buffer, format=file_format, dpi=200)
    return buffer.getvalue()


def _with_dark(svg: str) -> str:
    rules = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
        for light, dark in DARK.items()
        for kind in ("fill", "stroke")
    )
    block = f"<style>@media (prefers-color-scheme:dark){{{rules}}}</style>"
    head = svg.index(">", svg.index("<svg")) + 1
    return f"{svg[:head]}\n {block}{svg[head:]}"


def reduced(epochs: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """At most :data:`POINTS` points: means over equal stretches."""
    size = len(values)
    if size <= POINTS:
        return list(map(float, epochs)), list(values)
    edges = [round(i * size / POINTS) for i in range(POINTS + 1)]
    spans = list(pairwise(edges))
    return [_mean(epochs[a:b]) for a, b in spans], [_mean(values[a:b]) for a, b in spans]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write each line's name right of its last point, moved apart where they would touch.

    Args:
        axes: limits must be final.
        ends: (x, y, text, colour) in data units.
    """
    height = axes.bbox.height * 72 / axes.figure.dpi
    to_axes = axes.transData + axes.transAxes.inverted()
    ordered = sorted(ends, key=lambda end: end[1])
    wanted = [float(to_axes.transform((x, y))[1]) * height for x, y, _, _ in ordered]
    for (x, y, text, colour), at, placed in zip(ordered, wanted, apart(wanted, LABEL_GAP, LABEL_GAP / 2), strict=True):
        axes.annotate(
            text, (x, y), xytext=(6, placed - at), textcoords="offset points", color=colour, va="center",
            fontsize=SMALL + 0.5, annotation_clip=False,
        )  # fmt: skip


def apart(places: Sequence[float], gap: float, floor: float = -math.inf) -> list[float]:
    """Ascending places moved until neighbours are ``gap`` apart, each pair by half of what it lacks; none below ``floor``."""
    moved = list(places)
    for _ in range(50):
        for i in range(1, len(moved)):
            lack = gap - (moved[i] - moved[i - 1])
            if lack > 0:
                moved[i - 1], moved[i] = moved[i - 1] - lack / 2, moved[i] + lack / 2
    for i, place in enumerate(moved):
        moved[i] = max(place, floor + i * gap)
    return moved


def whole_epochs(axes: Axes) -> None:
    """Ticks at whole epochs only."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))


def alpha_image(axes: Axes, shares: Sequence[Sequence[float]], colour: str = VAL) -> None:
    """A matrix of shares (0..1) as cells of one colour whose opacity is the share: it fits light and dark; NaN is grey.

    Args:
        axes: filled so that cell (row, column) is centred at (column, row), the first row at the top.
        shares: rows of equal length.
        colour: of a share of 1.
    """
    import numpy as np
    from matplotlib.colors import to_rgba_array

    values = np.asarray(shares, dtype=float)
    image = np.empty((*values.shape, 4), dtype=np.uint8)
    image[:] = np.rint(255 * to_rgba_array(colour)[0])
    image[..., 3] = np.rint(255 * np.clip(np.nan_to_num(values), 0, 1))
    image[np.isnan(values)] = np.rint(255 * to_rgba_array(FAINT, 0.3)[0])
    rows, columns = values.shape
    cell = -(-PIXELS // max(rows, columns))
    image = image.repeat(cell, 0).repeat(cell, 1)  # not by matplotlib, whose resampling takes longer than all the rest
    axes.imshow(image, interpolation="none", aspect="auto", extent=(-0.5, columns - 0.5, rows - 0.5, -0.5))
    axes.grid(visible=False)


def bare(axes: Axes) -> None:
    """No frame, no ticks."""
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(visible=False)
