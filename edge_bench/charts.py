"""Drawings for the report: SVG text with classes, coloured by the page's light or dark style."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from edge_bench.stats import percentile

Place = Callable[[float], float]  # a value's place on the axis
Edges = NDArray[np.float64]

WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 14, 40
LETTER = 6.5  # of the groups' names: its width, about
SERIES = 6  # colours in the page's style; further series repeat them
MOST_POINTS = 1500  # of a scatter: more would only be darker
BINS = 60


def interval(value: float, low: float, high: float, budget: float, name: str) -> str:
    """A drop with its interval, against zero and the budget."""
    reach = max(abs(low), abs(high), budget, 1e-6) * 1.25
    height, middle = 92, 36

    def x(number: float) -> float:
        return 40 + (number + reach) / (2 * reach) * (WIDTH - 80)

    parts = [
        _line(40, middle, WIDTH - 40, middle, "axis"),
        f'<rect class="budget" x="{x(-reach):.1f}" y="{middle - 18}" '
        f'width="{x(budget) - x(-reach):.1f}" height="36"/>',
        _line(x(0), middle - 22, x(0), middle + 22, "axis"),
        _line(x(budget), middle - 22, x(budget), middle + 22, "limit"),
        _line(x(low), middle, x(high), middle, "bar s1"),
        f'<circle class="dot s1" cx="{x(value):.1f}" cy="{middle}" r="6"/>',
        _text(x(0) - 4, middle + 40, "0", "end"),
        _text(x(budget) + 4, middle + 40, f"may cost {budget:g}", "start"),
        _text(x(value), middle - 24, f"{value:+.4f}", "middle", "strong"),
    ]
    return _svg(
        parts, height, f"{name}: drop {value:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}"
    )


def scatter(before: Sequence[float], after: Sequence[float], names: tuple[str, str]) -> str:
    """Each picture's score by the two models."""
    x, y = np.asarray(before), np.asarray(after)
    if len(x) > MOST_POINTS:
        keep = np.linspace(0, len(x) - 1, MOST_POINTS).astype(int)
        x, y = x[keep], y[keep]
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    ticks = nice_ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    size = 400

    def place(value: float, flip: bool) -> float:
        share = (value - low) / (high - low or 1)
        span = size - LEFT - BOTTOM
        return size - BOTTOM - share * span if flip else LEFT + share * span

    parts = []
    for tick in ticks:
        parts.append(
            _line(
                place(tick, False), place(low, True), place(tick, False), place(high, True), "grid"
            )
        )
        parts.append(
            _line(
                place(low, False), place(tick, True), place(high, False), place(tick, True), "grid"
            )
        )
        parts.append(_text(place(tick, False), size - BOTTOM + 16, f"{tick:g}", "middle"))
        parts.append(_text(LEFT - 6, place(tick, True) + 4, f"{tick:g}", "end"))
    parts.append(
        _line(place(low, False), place(low, True), place(high, False), place(high, True), "axis")
    )
    parts += [
        f'<circle class="point s1" cx="{place(a, False):.1f}" cy="{place(b, True):.1f}" r="2.5"/>'
        for a, b in zip(x.tolist(), y.tolist(), strict=True)
    ]
    parts.append(_text((LEFT + size - BOTTOM) / 2, size - 6, names[0], "middle", "strong"))
    parts.append(
        f'<text class="strong" text-anchor="middle" transform="translate(14 {size / 2:.0f}) '
        f'rotate(-90)">{escape(names[1])}</text>'
    )
    title = f"scores of {len(before)} pictures, {names[1]} against {names[0]}"
    return _svg(parts, size, title, size)


def distributions(samples: Sequence[tuple[str, Sequence[float]]], unit: str) -> str:
    """Histograms on one axis, one row a series, with ticks at p50, p90 and p99.

    The axis ends at the largest p99 and half as much again; what lies beyond is counted in words.
    """
    low = min(min(values) for _, values in samples)
    end = max(percentile(values, 0.99) for _, values in samples) * 1.5
    ticks = [tick for tick in nice_ticks(0.0 if low < end / 4 else low, end) if tick <= end]
    low = min(low, ticks[0])
    row = 74
    height = TOP + row * len(samples) + BOTTOM
    edges = np.linspace(low, end, BINS + 1)

    def x(value: float) -> float:
        return LEFT / 2 + (value - low) / (end - low or 1) * (WIDTH - LEFT / 2 - RIGHT)

    parts = []
    for tick in ticks:
        parts.append(_line(x(tick), TOP, x(tick), height - BOTTOM, "grid"))
        parts.append(_text(x(tick), height - BOTTOM + 16, f"{tick:g}", "middle"))
    parts.append(_text(WIDTH / 2, height - 6, f"{unit}; marks at p50, p90 and p99", "middle"))
    for number, (name, values) in enumerate(samples):
        base = TOP + row * (number + 1) - 12
        parts += _histogram(np.histogram(values, edges)[0], base, row - 40, number, x, edges)
        parts += _marks(values, base, x)
        beyond = sum(value > end for value in values)
        text = name + (f" ({beyond} of {len(values)} runs lie beyond the axis)" if beyond else "")
        parts.append(_text(LEFT / 2 + 4, base - row + 32, text, "start", "strong"))
    return _svg(parts, height, "distribution of " + ", ".join(name for name, _ in samples))


def _histogram(
    counts: NDArray[np.int64], base: float, most: float, number: int, x: Place, edges: Edges
) -> list[str]:
    top = max(1, int(counts.max()))
    series = f"s{number % SERIES}"
    return [
        f'<rect class="hist {series}" x="{x(a) + 0.5:.1f}" y="{base - most * count / top:.1f}" '
        f'width="{max(x(b) - x(a) - 1, 0.5):.1f}" height="{most * count / top:.1f}"/>'
        for count, a, b in zip(counts.tolist(), edges[:-1], edges[1:], strict=True)
        if count
    ]


def _marks(values: Sequence[float], base: float, x: Place) -> list[str]:
    parts = []
    for share, label in ((0.5, "p50"), (0.9, "p90"), (0.99, "p99")):
        value = percentile(values, share)
        parts.append(f"<g>{_line(x(value), base - 4, x(value), base + 8, 'tick')}"
                     f"<title>{label} {value:.2f}</title></g>")  # fmt: skip
    return parts


def course(blocks: Sequence[tuple[str, Sequence[float]]], unit: str) -> str:
    """Block medians in the order they were measured: warming up shows as a slope."""
    values = [value for _, series in blocks for value in series]
    ticks = nice_ticks(0.0, max(values))
    top = ticks[-1]
    most = max(len(series) for _, series in blocks)

    def x(index: int) -> float:
        return LEFT + (index + 0.5) / most * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in ticks:
        parts.append(_line(LEFT, y(tick), WIDTH - RIGHT, y(tick), "grid"))
        parts.append(_text(LEFT - 6, y(tick) + 4, f"{tick:g}", "end"))
    for index in range(most):
        parts.append(_text(x(index), HEIGHT - BOTTOM + 16, str(index + 1), "middle"))
    parts.append(_text(WIDTH / 2, HEIGHT - 6, f"round; median of each block, {unit}", "middle"))
    for number, (name, series) in enumerate(blocks):
        points = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(series))
        parts.append(f'<polyline class="course s{number % SERIES}" points="{points}"/>')
        parts += [
            f'<circle class="dot s{number % SERIES}" cx="{x(i):.1f}" cy="{y(v):.1f}" r="4">'
            f"<title>{escape(name)}: {v:.2f} {unit}</title></circle>"
            for i, v in enumerate(series)
        ]
    return _svg(parts, HEIGHT, "block medians of " + ", ".join(name for name, _ in blocks))


def bars(groups: Sequence[tuple[str, Sequence[float]]], names: Sequence[str], unit: str) -> str:
    """Horizontal bars: a group for each core, a bar for each model, the value at its end."""
    most = max(value for _, values in groups for value in values)
    bar, gap = 16, 14
    left = max(104, 14 + LETTER * max(len(group) for group, _ in groups))
    height = TOP + sum(len(values) * (bar + 2) + gap for _, values in groups) + 24
    parts, y = [], float(TOP)
    for group, values in groups:
        parts.append(_text(left - 8, y + len(values) * (bar + 2) / 2 + 4, group, "end"))
        for number, value in enumerate(values):
            width = value / most * (WIDTH - left - 90)
            parts.append(
                f'<rect class="fill s{number % SERIES}" x="{left}" y="{y:.1f}" rx="2" '
                f'width="{width:.1f}" height="{bar}"><title>{escape(names[number])}</title></rect>'
            )
            parts.append(_text(left + width + 6, y + bar - 4, f"{value:.1f}", "start"))
            y += bar + 2
        y += gap
    parts.append(_text(left, height - 6, unit, "start"))
    return _svg(parts, height, "instructions by core: " + ", ".join(names))


def legend(names: Sequence[str]) -> str:
    return '<p class="legend">' + "".join(
        f'<span><i class="key s{number % SERIES}"></i>{escape(name)}</span>'
        for number, name in enumerate(names)
    ) + "</p>"  # fmt: skip


def nice_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers that reach from below `low` to above `high`."""
    span = (high - low) or abs(high) or 1.0
    rough = span / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _svg(parts: Sequence[str], height: float, title: str, width: float = WIDTH) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" style="max-width:{width}px">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    css = f' class="{kind}"' if kind else ""
    return f'<text{css} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
