"""The verbs of `cxrbench`. A verb's module is imported only when it is called, so that help needs only Python."""

import argparse
import importlib
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from cxrbench import __version__
from cxrbench.errors import CxrError, UsageError

VERBS = {
    "doctor": "what works on this machine, and what to do about the rest",
    "synth": "synthetic chest X-rays in NIH's layout, with a known best possible AUROC",
    "audit": "leakage, duplicates and oddities, before they reach a score",
    "split": "which image is for training, validation and test, as a file",
    "shard": "PNGs to verified WebDataset shards, resumable, the same bytes every time",
    "verify": "every byte of a data set against its manifest",
    "info": "what a data set holds and where it comes from",
    "train": "a network on shards: baseline, head, partial, full, or all of them; on one or many GPUs",
    "eval": "trained networks on a part: AUROC with intervals, thresholds, subgroups, paired tests",
    "score": "the same figures for scores made anywhere",
    "predict": "what a trained network makes of images: PNG or JPEG files, with findings over their thresholds",
    "explain": "where in an image a trained network looks for a finding: maps over PNG or JPEG files",
    "localize": "these maps against NIH's boxes, beside maps that know nothing",
    "report": "runs, benchmarks and examples as one page that needs no network: HTML, Markdown or JSON",
    "bench": "where every millisecond goes: loaders, stalls, conversion, training steps, encodings",
}
EPILOG = "For research, not for diagnosis. `cxrbench VERB --help` says more."


class Help(argparse.RawDescriptionHelpFormatter):
    """The same width everywhere, since the docs hold these texts."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=110)


class Parser(argparse.ArgumentParser):
    """Wrong usage is one line too."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, do=f"see {self.prog} --help")


def new_parser(prog: str, description: str | None, epilog: str | None = None) -> Parser:
    parser = Parser(prog=prog, description=description, epilog=epilog, formatter_class=Help, allow_abbrev=False)
    if sys.version_info >= (3, 14):
        parser.color = False
    return parser


class Terminated(KeyboardInterrupt):
    """SIGTERM, as clusters and containers send it, ends a run as Ctrl-C does."""


def terminate(*_: object) -> NoReturn:
    raise Terminated


def overview() -> Parser:
    verbs = "\n".join(f"  {name:<10}{text}" for name, text in VERBS.items())
    description = f"From the PNGs of NIH ChestX-ray14 to an AUROC table that can be trusted.\n\nverbs:\n{verbs}"
    parser = new_parser("cxrbench", description, EPILOG)
    parser.add_argument("--version", action="version", version=f"cxrbench {__version__}")
    parser.add_argument("verb", choices=VERBS, metavar="VERB", help="one of the above")
    return parser


def verb_parser(verb: str) -> Parser:
    module = importlib.import_module(f"cxrbench.commands.{verb}")
    parser = new_parser(f"cxrbench {verb}", module.__doc__)
    module.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=module.run)
    return parser


def run_verb(args: argparse.Namespace) -> int:
    """Run one verb and turn what can go wrong into one line and an exit code."""
    try:
        code: int = args.run(args)
        if sys.stdout is not None:  # closed, as by >&-
            sys.stdout.flush()
        return code
    except Terminated:
        return say("terminated", 128 + signal.SIGTERM)
    except KeyboardInterrupt:
        return say("interrupted", 128 + signal.SIGINT)
    except BrokenPipeError:  # the reader of the pipe went away, as in `cxrbench audit .. | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (CxrError, OSError, ModuleNotFoundError) as error:
        if args.debug:
            raise
        if not isinstance(error, CxrError):
            return say(f"error: {in_a_line(error)}", 1)
        return say(f"{error.prefix}{error}", error.exit_code) if error.is_said else error.exit_code


def say(line: str, code: int) -> int:
    ranks = int(os.environ.get("WORLD_SIZE", "1") or 1)  # torchrun's
    who = f"rank {os.environ.get('RANK')}: " if ranks > 1 else ""
    print(f"cxrbench: {who}{line}", file=sys.stderr)
    return code


def in_a_line(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"a package is missing; got no {error.name}; cxrbench doctor says what to install"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}; got {error.filename or 'the output'}"
    return str(error)


def main(argv: Sequence[str] | None = None) -> int:
    signal.signal(signal.SIGTERM, terminate)
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv:
        overview().print_help()
        return 2
    try:
        args = verb_parser(overview().parse_args(argv[:1]).verb).parse_args(argv[1:])
    except UsageError as error:
        return say(f"error: {error}", error.exit_code)
    args.command = shlex.join(["cxrbench", *argv])  # as it can be typed again: kept with what comes of it
    return run_verb(args)
