"""A run's folder: which runs are to be done, whose the folder is, and that a run goes on as it began."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cxrbench import runs
from cxrbench.config import SETTINGS, RunConfig, override
from cxrbench.errors import ConfigError, DataError, UsageError

CONFIG = RunConfig()


def begun(folder: Path, config: RunConfig = CONFIG) -> Path:
    folder.mkdir(exist_ok=True)
    runs.write_config(folder, config)
    return folder


def test_one_run_has_the_folder_to_itself(tmp_path: Path):
    (plan,) = runs.plans(CONFIG, tmp_path, 1)
    assert (plan.folder, plan.config, plan.regime) == (tmp_path, CONFIG, "full")


@pytest.mark.parametrize(
    ("regime", "seeds", "expected"),
    [
        ("all", 1, ["baseline", "head", "full"]),
        ("head", 2, ["seed-5", "seed-6"]),
        ("all", 2, [f"seed-{seed}/{regime}" for seed in (5, 6) for regime in ("baseline", "head", "full")]),
    ],
)
def test_several_have_a_folder_each_and_differ_in_nothing_else(regime: str, seeds: int, expected: list[str]):
    config = override(CONFIG, {"regime.name": regime, "train.seed": 5, "optimizer.lr": 0.5})
    plans = runs.plans(config, Path("out"), seeds)
    assert [plan.folder.as_posix() for plan in plans] == [f"out/{name}" for name in expected]
    for plan in plans:
        seed = int(plan.folder.parts[1].removeprefix("seed-")) if seeds > 1 else 5
        own = plan.folder.name if regime == "all" else regime
        assert plan.regime == own
        assert plan.config == override(config, {"regime.name": own, "train.seed": seed})


def test_a_new_folder_is_made_and_freed(tmp_path: Path):
    out = tmp_path / "runs" / "first"
    for _ in range(2):
        with runs.claimed(out, resume=False):
            assert out.is_dir()
    begun(out)
    with runs.claimed(out, resume=True):
        pass


def test_a_folder_with_anything_in_it_is_refused(tmp_path: Path):
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(UsageError, match=r"--out is there already; .*; give another --out$"), claimed(tmp_path, False):
        pass


def test_a_run_is_never_written_over(tmp_path: Path):
    begun(tmp_path)
    with pytest.raises(UsageError, match="--resume goes on with it"), claimed(tmp_path, False):
        pass


@pytest.mark.parametrize("exists", [True, False])
def test_nothing_is_resumed_where_nothing_began(tmp_path: Path, exists: bool):
    folder = tmp_path if exists else tmp_path / "nowhere"
    with pytest.raises(UsageError, match="no run to go on with"), claimed(folder, True):
        pass
    assert folder.exists() == exists


claimed = runs.claimed
OTHER = """
import sys
from pathlib import Path
from cxrbench import runs
with runs.claimed(Path(sys.argv[1]), resume=True):
    print("mine", flush=True)
    sys.stdin.read()
"""


def test_two_processes_are_never_at_one_run(tmp_path: Path):
    """And however the first ends, the folder is free."""
    begun(tmp_path)
    command = [sys.executable, "-c", OTHER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(UsageError, match="another process is at this run"), claimed(tmp_path, True):
            pass
        other.kill()
    with claimed(tmp_path, True):
        pass


def test_a_run_goes_on_with_the_settings_it_began_with(tmp_path: Path):
    runs.refuse_others(CONFIG, begun(tmp_path))


CHANGES = {
    "loader.threads": 3,
    "loader.prefetch": 7,
    "train.keep": 5,
    "train.checkpoint_steps": 100,
    "about": "for the paper",
}


def test_what_changes_no_result_may_change(tmp_path: Path):
    assert set(CHANGES) == runs.FREE
    assert set(SETTINGS) > runs.FREE
    runs.refuse_others(override(CONFIG, CHANGES), begun(tmp_path))


def test_all_else_may_not_and_each_is_named(tmp_path: Path):
    other = override(CONFIG, {"optimizer.lr": 0.5, "train.batch": 32, **CHANGES})
    with pytest.raises(ConfigError) as caught:
        runs.refuse_others(other, begun(tmp_path))
    assert "began with other settings; got optimizer.lr = 0.5, train.batch = 32;" in str(caught.value)
    assert "allowed: optimizer.lr = 0.0001, train.batch = 64" in str(caught.value)


def test_every_setting_is_compared():
    assert list(runs.settings(CONFIG)) == list(SETTINGS)
    other = replace(CONFIG, eval=replace(CONFIG.eval, batch=1))
    differing = {name for name, value in runs.settings(other).items() if value != runs.settings(CONFIG)[name]}
    assert differing == {"eval.batch"}


def test_a_config_comes_back(tmp_path: Path):
    config = override(CONFIG, {"about": 'the "first" \\ run', "model.arch": "resnet50"})
    assert runs.read_config(begun(tmp_path, config)) == config


def test_other_data_are_refused(tmp_path: Path):
    runs.write_json(tmp_path / runs.ENVIRONMENT, {"data": {"sha256": "a" * 64, "folder": "/shards/nih"}})
    runs.refuse_other_data(tmp_path, "a" * 64)
    with pytest.raises(DataError, match="began on other data; got bbbb.*; allowed: aaaa.*/shards/nih"):
        runs.refuse_other_data(tmp_path, "b" * 64)


def test_json_that_is_none_is_named(tmp_path: Path):
    path = tmp_path / runs.METRICS
    path.write_text(json.dumps({"a": 1})[:-1])
    with pytest.raises(DataError, match=r"not JSON; got .*metrics\.json"):
        runs.read_json(path)


def test_what_was_killed_before_it_began_is_no_run(tmp_path: Path):
    """Neither a run to go on with, nor in the way of one."""
    out = tmp_path / "run"
    out.mkdir()
    (out / runs.ENVIRONMENT).write_text("{}")
    with pytest.raises(UsageError, match="no run to go on with"), runs.claimed(out, resume=True):
        pass
    with runs.claimed(out, resume=False):
        assert out.is_dir()
