import json

import pytest

from cxrbench.errors import DataError, UsageError
from cxrbench.throughput.record import against, new_record, read_record, save_record
from cxrbench.throughput.spread import spread


def record(**rates):
    rows = [
        {"case": {"loader": name, "view": "center"}, "images_per_s": spread(turns)} for name, turns in rates.items()
    ]
    return new_record("loaders", {"turns": 2}, rows, {})


def test_a_record_says_what_it_ran_on_and_comes_back_as_it_was(tmp_path):
    made = record(dali=[1.0, 2.0])
    save_record(made, tmp_path / "r.json")
    back = read_record(tmp_path / "r.json", "loaders")
    assert back == json.loads(json.dumps(made))
    assert back["environment"]["python"]
    assert back["rows"][0]["images_per_s"]["median"] == 1.5


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"format": 1}', '{"format": 2, "rows": [], "bench": "loaders"}', '"x"']
)
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(DataError, match="not a benchmark's record; got .*r.json; give a file that --out wrote"):
        read_record(tmp_path / "r.json", "loaders")


def test_another_benchmarks_record_is_refused(tmp_path):
    save_record(record(dali=[1.0]), tmp_path / "r.json")
    with pytest.raises(UsageError, match="another benchmark; got .*loaders; allowed: stall"):
        read_record(tmp_path / "r.json", "stall")


def test_a_comparison_gives_ratios_and_says_where_they_are_noise():
    then = record(dali=[100.0, 110.0], resident=[100.0, 120.0])
    lines = against(record(dali=[200.0, 220.0], resident=[110.0, 130.0], folder=[1.0]), then)
    assert lines == [
        "dali center: 2.00 times",
        "resident center: 1.09 times, within the spread",
        "folder center: not measured then",
    ]


def test_a_comparison_with_another_machine_says_so():
    then = record(dali=[100.0])
    then["environment"]["cpu"] = "an abacus"
    assert against(record(dali=[100.0]), then)[0] == "another cpu then: an abacus"


def test_a_comparison_with_other_settings_says_so():
    then = record(dali=[100.0])
    then["settings"] = {"turns": 9, "run": {"arch": "resnet18", "batch": 8}}
    now = record(dali=[100.0])
    now["settings"] = {"turns": 2, "run": {"arch": "densenet121", "batch": 8}}
    assert against(now, then)[:2] == ["another turns then: 9", "another run.arch then: resnet18"]
    assert len(against(now, then)) == 3
