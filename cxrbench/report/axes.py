"""Where a chart's axes end, and where they have ticks: the same on the page and in the figures for papers."""

import math
from collections.abc import Sequence

from cxrbench.report.charts import Axis, Chart, Series, known

Ends = tuple[float, float]
NUM_TICKS = 5
NEAR = 1e-9  # of a step: what rounding may have moved


def ends_of(chart: Chart) -> tuple[Ends, Ends]:
    """Of x and of y; names go from the top down, a whole number each."""
    names = chart.y.names
    across = outer(chart.x, reached(chart.series, "x", with_ends=bool(names)))
    if names:
        return across, (len(names) - 0.5, -0.5)
    return across, outer(chart.y, reached(chart.series, "y", with_ends=True))


def reached(series: Sequence[Series], axis: str, with_ends: bool) -> list[float]:
    """What must be seen along an axis: values, and their intervals where these go along it."""
    return [
        value
        for each in series
        for values in (getattr(each, axis), *((each.low, each.high) if with_ends else ()))
        for value in known(values)
    ]


def outer(axis: Axis, values: list[float]) -> Ends:
    """From a round number to a round number, where the axis does not say."""
    if axis.is_log:
        positive = [value for value in values if value > 0] or [1.0]
        first, last = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)) - NEAR)
        return 10.0**first, 10.0 ** max(last, first + 1)
    low = min(values, default=0.0) if axis.low is None else axis.low
    high = max(values, default=1.0) if axis.high is None else axis.high
    if high - low < NEAR:
        low, high = low - 0.5 * (axis.low is None), low + 0.5
    step = step_of(low, high, axis.is_whole)
    return (
        math.floor(low / step + NEAR) * step if axis.low is None else low,
        math.ceil(high / step - NEAR) * step if axis.high is None else high,
    )


def step_of(low: float, high: float, is_whole: bool = False) -> float:
    """1, 2 or 5 times a power of ten."""
    rough = (high - low) / NUM_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((factor * power for factor in (1, 2, 5) if factor * power >= rough * (1 - NEAR)), 10 * power)
    return max(1.0, step) if is_whole else step


def ticks(ends: Ends, is_log: bool = False, is_whole: bool = False) -> list[float]:
    low, high = ends
    if is_log:
        return [10.0**power for power in range(round(math.log10(low)), round(math.log10(high)) + 1)]
    step = step_of(low, high, is_whole)
    first, last = math.ceil(low / step - NEAR), math.floor(high / step + NEAR)
    return [round(step * number, 12) for number in range(first, last + 1)]


def tick_text(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
