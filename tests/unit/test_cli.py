import argparse
import os
import subprocess
import sys

import pytest

from cxrbench import __version__, cli
from cxrbench.errors import DataError, UsageError
from tests.conftest import Run


def test_the_verbs_are_frozen():
    """Scripts depend on them; a change belongs in the changelog."""
    before_training = ["doctor", "synth", "audit", "split", "shard", "verify", "info"]
    after = ["eval", "score", "predict", "explain", "localize", "report", "bench"]
    assert list(cli.VERBS) == [*before_training, "train", *after]


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_help_with_all_its_options(verb: str):
    text = cli.verb_parser(verb).format_help()
    for action in cli.verb_parser(verb)._actions:
        assert all(option in text for option in action.option_strings)
        assert action.help, f"{action.dest} has no help"


@pytest.mark.parametrize("args", [["--help"], *([verb, "--help"] for verb in cli.VERBS), ["--version"]])
def test_help_needs_nothing_but_python(args: list[str]):
    """Neither torch nor pandas is imported: help answers at once, and where they are broken."""
    code = (
        f"import sys; from cxrbench.cli import main\ntry: main({args})\nexcept SystemExit: pass\n"
        "print(sorted(set(sys.modules) & {'torch', 'pandas', 'numpy', 'nvidia'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def test_version(cli: Run):
    assert cli("--version").stdout == f"cxrbench {__version__}\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "usage: cxrbench"),
        (("shrad",), "invalid choice: 'shrad'"),
        (("audit",), "the following arguments are required: --labels"),
        (("audit", "--labels", "x.csv", "--polcy", "image"), "unrecognized arguments: --polcy"),
        (("audit", "--labels", "x.csv", "--workers", "0"), "--workers: must be a whole number of at least 1; got '0'"),
        (
            ("audit", "--labels", "x.csv", "--policy", "image", "--splits", "y"),
            "--policy and --splits exclude each other",
        ),
    ],
)
def test_wrong_usage_exits_2(cli: Run, args: tuple[str, ...], message: str):
    done = cli(*args)
    assert done.returncode == 2
    assert message in done.stderr + done.stdout


def fails(error: BaseException):
    def run(_: argparse.Namespace) -> int:
        raise error

    return argparse.Namespace(run=run, debug=False)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DataError("broken", got="x"), 1, "cxrbench: error: broken; got x\n"),
        (UsageError("nonsense"), 2, "cxrbench: error: nonsense\n"),
        (
            OSError(28, "No space left on device", "a.png"),
            1,
            "cxrbench: error: No space left on device; got a.png\n",
        ),
        (OSError(28, "No space left on device"), 1, "cxrbench: error: No space left on device; got the output\n"),
        (ModuleNotFoundError("no", name="numpy"), 1, "cxrbench: error: a package is missing; got no numpy; cxrbench "),
        (KeyboardInterrupt(), 130, "cxrbench: interrupted\n"),
        (cli.Terminated(), 143, "cxrbench: terminated\n"),
    ],
)
def test_a_failure_is_one_line_and_a_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
):
    assert cli.run_verb(fails(error)) == code
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1


def test_debug_shows_the_traceback():
    args = fails(DataError("broken"))
    args.debug = True
    with pytest.raises(DataError):
        cli.run_verb(args)


def test_a_closed_pipe_is_no_error():
    command = f"{sys.executable} -m cxrbench audit --help | head -0; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert "Traceback" not in done.stderr


def test_wrong_usage_is_one_line(cli: Run):
    done = cli("audit", "--labels", "x.csv", "--seed", "x")
    assert done.stderr == (
        "cxrbench: error: argument --seed: must be a whole number of at least 0; got 'x'; see cxrbench audit --help\n"
    )


def test_a_closed_stdout_is_no_error():
    command = f"{sys.executable} -m cxrbench doctor --quick >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
