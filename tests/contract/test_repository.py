"""What a stranger relies on: the top level, the README's file tree, and no path of the machine it was written on."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOP = {
    *("cxrbench", "shards", "benchmarks", "scripts", "tests", "pyproject.toml", "README.md", "docs", "CHANGELOG.md"),
    *("CONTRIBUTING.md", "LICENSE", "constraints.txt", ".ci", ".gitignore", ".pre-commit-config.yaml"),
}


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return done.stdout.splitlines()


def test_the_top_level_is_fixed(tracked: list[str]):
    assert {path.split("/")[0] for path in tracked} == TOP


def test_the_readme_names_every_module(tracked: list[str]):
    tree = re.search(r"```text\ncxrbench/\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    modules = {
        path.split("/", 1)[1] for path in tracked if re.fullmatch(r"cxrbench/.*\.py", path) and "__init__" not in path
    }
    folders, named = [], set()
    for line in tree[1].splitlines():
        match = re.match(r"( +)(\S+)", line)
        depth = len(match[1]) // 2 - 1
        folders = [*folders[:depth], match[2]]
        named.add("".join(folders))
    assert modules - named == set()
    assert {name for name in named if name.endswith(".py")} - modules == set()


def test_constraints_name_no_package_host(tracked: list[str]):
    assert "://" not in (ROOT / "constraints.txt").read_text()
    assert not {"uv.lock", "poetry.lock"} & set(tracked)


def test_no_file_names_a_path_of_the_machine_it_was_written_on(tracked: list[str]):
    """Of the first folders that such paths have; spelt in parts, so that this file does not find itself."""
    pattern = re.compile("/(" + "|".join(["wo" + "rk", "ro" + "ot", "ho" + "me"]) + r")/\w")
    texts = [path for path in tracked if not path.endswith((".jpg", ".j2c"))]
    found = [path for path in texts if pattern.search((ROOT / path).read_text(errors="replace"))]
    assert found == []
