"""Plots: scatter, error versus discard, breakdown and worst faces of an evaluation; the ablation;
score against cost.

Matplotlib without pyplot: no window, no global state. Loaded only where plots are wanted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter

from fiqa.contract import PreprocessSpec, load_picture
from fiqa.decisions import DiscardCurve
from fiqa.labels import Row
from train.evaluation import (
    FEWEST_FOR_SRCC,
    Group,
    Misranked,
    Scored,
    SplitEvaluation,
    worst_rows,
)

if TYPE_CHECKING:
    from train.ablation import Row as AblationRow

INK, GRID = "#333333", "#e4e4e4"
BLUE, GREEN, GREY, RED = "#2a6fb0", "#3a8f4d", "#8a8a8a", "#c0492f"
PALETTE = (BLUE, RED, GREEN, "#d9902f", "#7a4fa3", "#2f9e9e", "#b0508a", "#6b5b3e")
STYLE: Any = {  # keys of matplotlib
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}
DPI = 130
PANEL_IN = 3.3
MOST_REACH = 5.0  # times the median row: what reaches further stands in figures
MOST_COLUMNS = 3


def draw_scatter(path: Path, parts: Sequence[tuple[Scored, SplitEvaluation]]) -> None:
    """Score against label, one panel a split; on the grey line they agree."""
    with matplotlib.rc_context(STYLE):
        figure, panels = _panels(len(parts))
        values = [v for scored, _ in parts for v in (scored.scores, scored.labels.scores)]
        low = min(0.0, *(float(v.min()) for v in values))
        high = max(1.0, *(float(v.max()) for v in values))
        room = 0.03 * (high - low)
        for axes, (scored, found) in zip(panels, parts, strict=True):
            axes.plot([low, high], [low, high], color=GREY, linewidth=1)
            alpha = min(0.8, max(0.06, 6 / len(scored.scores) ** 0.5))  # dense sets stay legible
            axes.scatter(
                scored.labels.scores, scored.scores, s=11, color=BLUE, alpha=alpha, linewidths=0
            )
            axes.set_xlim(low - room, high + room)
            axes.set_ylim(low - room, high + room)
            axes.set_aspect("equal")
            axes.set_title(f"{found.split}: {found.count} pictures{_srcc(found)}", loc="left")
            axes.set_xlabel("label (0 to 1)")
            axes.set_ylabel("score (0 to 1)")
        _save(figure, path)


def draw_discard(path: Path, parts: Sequence[SplitEvaluation]) -> None:
    """Bad pictures among those kept as the lowest-scored are discarded, one panel a split.

    gain: 1 for the oracle, which discards by the label itself, 0 for discarding at random.
    """
    with matplotlib.rc_context(STYLE):
        figure, panels = _panels(len(parts), height=0.85)
        for axes, found in zip(panels, parts, strict=True):
            axes.set_xlabel("discarded, lowest scores first (%)")
            axes.set_ylabel("bad pictures among those kept (%)")
            axes.set_title(_discard_title(found), loc="left")
            axes.set_xlim(0, 95)
            if found.discard is None:
                axes.text(0.5, 0.5, "not defined", ha="center", transform=axes.transAxes)
                continue
            _draw_curve(axes, found.discard)
        drawn = next((axes for axes, one in zip(panels, parts, strict=True) if one.discard), None)
        if drawn is not None:
            figure.legend(*drawn.get_legend_handles_labels(), loc="outside upper left", ncols=3)
        _save(figure, path)


def draw_breakdown(path: Path, parts: Sequence[SplitEvaluation]) -> None:
    """Bias and mean absolute error per degradation, or per range of label where none is known."""
    with matplotlib.rc_context(STYLE):
        shown = [_shown_groups(found) for found in parts]
        rows = max(len(groups) for groups in shown)
        columns = _columns(len(parts))
        size = (columns * 4.2, -(-len(parts) // columns) * (0.2 * rows + 0.9) + 0.3)
        figure, panels = _panels(len(parts), size=size)
        reach = 1.08 * max(group.mae or 0.0 for groups in shown for group in groups) or 1.0
        for axes, found, groups in zip(panels, parts, shown, strict=True):
            _draw_groups(axes, groups, rows)
            axes.set_xlim(-reach, reach)
            what = "degradation" if found.by_degradation else "range of label"
            axes.set_title(f"{found.split}, by {what} (pictures)", loc="left")
            axes.set_xlabel("score units (labels run from 0 to 1)")
        handles = panels[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper left", ncols=2)
        _save(figure, path)


def draw_worst(
    path: Path, parts: Sequence[tuple[Scored, SplitEvaluation]], spec: PreprocessSpec
) -> None:
    """The faces farthest from their place in the ranking, as the model saw them; a row a split."""
    with matplotlib.rc_context(STYLE):
        columns = max(len(found.worst) for _, found in parts)
        figure = Figure(figsize=(1.35 * columns, 1.95 * len(parts)), layout="constrained")
        bands = figure.subfigures(len(parts), 1, squeeze=False)[:, 0]
        for band, (scored, found) in zip(bands, parts, strict=True):
            band.suptitle(f"{found.split}: farthest from their rank", x=0.01, ha="left", size=10)
            rows = [scored.labels.rows[row] for row in worst_rows(scored)]  # a photo may hold many
            for place, (one, row) in enumerate(zip(found.worst, rows, strict=True), 1):
                axes = band.add_subplot(1, columns, place)
                axes.imshow(_face(scored.labels.root, row, spec))
                axes.set_axis_off()
                axes.set_title(_caption(one), fontsize=7, pad=2)
        _save(figure, path)


def draw_ablation(path: Path, rows: Sequence[AblationRow]) -> None:
    """What each change moves the score by, with its interval; a panel a split."""
    splits = list(rows[0].splits)
    changes = rows[1:]  # the first is what they are compared with
    places = list(range(len(changes)))[::-1]
    with matplotlib.rc_context(STYLE):
        size = (3.0 + 3.4 * len(splits), 0.9 + 0.3 * len(changes))
        figure, panels = _panels(len(splits), size=size)
        for axes, split in zip(panels, splits, strict=True):
            found = [row.splits[split].difference for row in changes]
            edge = _edge([max(abs(one.low), abs(one.high)) for one in found])
            for place, one in zip(places, found, strict=True):
                if abs(one.value) > edge:  # told in figures: it would press the others flat
                    side = math.copysign(edge, one.value)
                    text = f"{one.value:+.2f} [{one.low:+.2f}, {one.high:+.2f}]"
                    align = "left" if side < 0 else "right"
                    axes.text(side, place, text, color=BLUE, va="center", ha=align)
                    continue
                axes.plot([one.low, one.high], [place, place], color=BLUE, lw=2)
                axes.plot([one.value], [place], "o", ms=5, color=BLUE)
            axes.set_xlim(-edge, edge)
            axes.set_ylim(-0.6, len(changes) - 0.4)
            axes.axvline(0, color=INK, linewidth=0.8)
            axes.set_yticks(places, [row.name for row in changes])
            axes.set_title(f"{split}: against {rows[0].name}", loc="left")
            axes.set_xlabel("difference of the score (SRCC + PLCC) / 2")
        for axes in panels[1:]:
            axes.tick_params(labelleft=False)
        _save(figure, path)


@dataclass(frozen=True)
class Cost:
    """A point of a Pareto plot: what it costs, in millions of instructions, and what it gives."""

    name: str  # points of one name share a colour
    instructions: float
    score: float
    is_filled: bool
    is_reference: bool


def draw_pareto(
    path: Path, panels: Mapping[str, Sequence[Cost]], score: str, marks: tuple[str, str]
) -> None:
    """Score against instructions, a panel a processor; up and to the left is better.

    `marks`: what open and filled points are. References are diamonds.
    """
    names = list(dict.fromkeys(one.name for points in panels.values() for one in points))
    colours = {name: PALETTE[place % len(PALETTE)] for place, name in enumerate(names)}
    with matplotlib.rc_context(STYLE):
        figure, all_axes = _panels(len(panels), size=(4.4 * len(panels), 4.8))
        for axes, (title, points) in zip(all_axes, panels.items(), strict=True):
            for one in points:
                colour = colours[one.name]
                axes.plot(
                    [one.instructions], [one.score], "D" if one.is_reference else "o", ms=7,
                    mew=1.6, mec=colour, mfc=colour if one.is_filled else "none",
                )  # fmt: skip
            axes.set_xscale("log")
            axes.margins(x=0.1, y=0.1)
            for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
                axis(FormatStrFormatter("%g"))
            axes.tick_params(which="minor", labelsize=7)
            axes.set_title(title, loc="left")
            axes.set_xlabel("millions of instructions a face")
            axes.set_ylabel(score)
        keys = [Line2D([], [], color=colour, lw=5, label=name) for name, colour in colours.items()]
        keys += [
            Line2D([], [], ls="", marker="o", mec=GREY, mfc=GREY if filled else "none", label=mark)
            for filled, mark in enumerate(marks)
        ]
        figure.legend(handles=keys, loc="outside lower center", ncols=4, frameon=False)
        _save(figure, path)


def draw_bars(path: Path, bars: Sequence[tuple[str, float]], label: str) -> None:
    """Named lengths, the first on top."""
    places = list(range(len(bars)))[::-1]
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = _panels(1, size=(6.4, 0.8 + 0.22 * len(bars)))
        axes.barh(places, [length for _, length in bars], color=BLUE)
        axes.set_yticks(places, [name for name, _ in bars])
        axes.set_xlabel(label)
        _save(figure, path)


def _edge(reaches: Sequence[float]) -> float:
    """Where the axis ends: at what most rows reach, however far single ones lie."""
    usual = MOST_REACH * sorted(reaches)[len(reaches) // 2]
    return 1.1 * max((one for one in reaches if one <= usual), default=max(reaches)) or 1.0


def _columns(count: int) -> int:
    return 2 if count == 4 else min(count, MOST_COLUMNS)


def _panels(
    count: int, height: float = 1.0, size: tuple[float, float] | None = None
) -> tuple[Figure, list[Axes]]:
    columns = _columns(count)
    lines = -(-count // columns)
    room = 0.3  # inches for titles and labels
    size = size or ((PANEL_IN + room) * columns, (PANEL_IN * height + room) * lines)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    return figure, [figure.add_subplot(lines, columns, place + 1) for place in range(count)]


def _discard_title(found: SplitEvaluation) -> str:
    if found.discard is None:
        return found.split
    bad, gain = found.discard.bad_below, found.discard.gain
    return f"{found.split}: bad is below {bad:.2f}; gain {gain:.2f}"


def _draw_curve(axes: Axes, curve: DiscardCurve) -> None:
    discarded = _percent(curve.fractions)
    axes.plot(discarded, _percent(curve.errors), color=BLUE, lw=2, label="this model")
    axes.plot(discarded, _percent(curve.oracle), color=GREEN, ls=":", label="oracle")
    axes.plot(discarded, _percent(curve.random), color=GREY, ls="--", label="random")
    axes.set_ylim(0, 110 * max(*curve.random, *curve.errors))


def _draw_groups(axes: Axes, groups: Sequence[Group], rows: int) -> None:
    places = [rows - 1 - place for place in range(len(groups))]  # the first on top
    mae, bias = [group.mae or 0.0 for group in groups], [group.bias or 0.0 for group in groups]
    axes.barh(places, mae, height=0.62, color=BLUE, alpha=0.35, label="mean absolute error")
    axes.plot(bias, places, "o", ms=4, color=RED, label="bias: score - label")
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(places, [f"{group.name} ({group.count})" for group in groups], fontsize=7.5)
    axes.set_ylim(-0.6, rows - 0.4)
    axes.grid(axis="y", visible=False)


def _shown_groups(found: SplitEvaluation) -> list[Group]:
    """Kinds with enough pictures, the largest error first; ranges of label keep their order."""
    if not found.by_degradation:
        return list(found.by_label)
    common = [group for group in found.by_degradation if group.count >= FEWEST_FOR_SRCC]
    return sorted(common or found.by_degradation, key=lambda group: -(group.mae or 0.0))


def _face(root: Path, row: Row, spec: PreprocessSpec) -> object:
    return spec.to_bytes(load_picture(root / row.image), row.box, row.crop)


def _caption(one: Misranked) -> str:
    direction = "too high" if one.rank_error > 0 else "too low"
    rank = f"{100 * abs(one.rank_error):.0f} % {direction}"
    return f"label {one.label:.2f}  score {one.score:.2f}\n{rank}"


def _srcc(found: SplitEvaluation) -> str:
    value = found.figures["srcc"].value
    return "" if value is None else f", SRCC {value:.3f}"


def _percent(shares: Sequence[float]) -> list[float]:
    return [100 * share for share in shares]


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
