import pytest
from scipy import stats

from cxrbench.errors import DataError
from cxrbench.throughput.spread import in_turn, interval, spread, together


def test_a_spread_is_median_and_range():
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "low": 1.0, "high": 3.0, "turns": [3.0, 1.0, 2.0]}


def test_the_interval_is_students():
    turns = [0.97, 0.99, 0.95, 0.98]
    low, high = interval(turns)
    expected = stats.t.interval(0.95, 3, loc=sum(turns) / 4, scale=stats.sem(turns))
    assert (low, high) == pytest.approx(expected)
    assert interval([0.9]) is None


def test_cases_run_in_turn():
    order = []
    told, problems = in_turn({name: lambda name=name: order.append(name) or {"images_per_s": 1.0} for name in "ab"}, 2)
    assert order == ["a", "b", "a", "b"]
    assert told == {"a": [{"images_per_s": 1.0}] * 2, "b": [{"images_per_s": 1.0}] * 2}
    assert problems == {}


def test_what_fails_once_is_left_out_and_named():
    calls = []

    def second_time_bad():
        calls.append(1)
        if len(calls) == 2:
            raise DataError("broken", got="that")
        return {"images_per_s": 1.0}

    told, problems = in_turn({"bad": second_time_bad, "good": lambda: {"images_per_s": 2.0}}, 3)
    assert list(told) == ["good"]
    assert problems == {"bad": "broken; got that"}
    assert len(calls) == 2


def test_a_mistake_of_ours_is_no_problem_of_a_case():
    with pytest.raises(ZeroDivisionError):
        in_turn({"a": lambda: 1 / 0}, 1)


def test_figures_are_spread_over_the_turns():
    both = together([{"images_per_s": 1.0, "ms": 5.0}, {"images_per_s": 3.0, "ms": 7.0}])
    assert both["images_per_s"]["median"] == 2.0
    assert both["ms"]["turns"] == [5.0, 7.0]
