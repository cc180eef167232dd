"""The tables of docs/performance.md, each made of one result file: benchmarks/results/BENCHMARK-MACHINE.json.

`scripts/docs` puts a file's table where a page says `<!-- generated: BENCHMARK-MACHINE -->`. A benchmark that keeps
records (`cxrbench.throughput.record`) needs a line in COLUMNS; one of another shape a function in SHAPES.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.loader_rates import TARGETS, ratios
from benchmarks.markdown import asked, cell, table
from benchmarks.older import OLDER
from benchmarks.steps import STEPS

Record = Mapping[str, Any]
Column = tuple[str, str, int]  # title, key of the row, digits behind the point
RESULTS = Path(__file__).parent / "results"
COMMIT_DIGITS = 7
RATE: Column = ("images/s", "images_per_s", 0)
CPU: Column = ("CPU ms an image", "cpu_ms_per_image", 2)
MEMORY: Column = ("MiB", "peak_mib", 0)
CURED = ("loader", "encoding", "size")
CURE: Sequence[Column] = (("AU", "au", 3), ("expected", "expected", 3))
ENCODED: Sequence[Column] = (
    ("bytes an image", "bytes", 0),
    ("dB, if lossy", "psnr_db", 1),
    ("decoded/s", "images_per_s", 0),
    ("a CPU second", "decoded_per_cpu_s", 0),
    ("encoded/s", "encoded_per_s", 0),
    ("a CPU second", "encoded_per_cpu_s", 0),
)
# What tells the cases apart stands before these; a column that no row has a figure for is left out.
COLUMNS: Mapping[str, Sequence[Column]] = {
    "data-layer": (("seconds", "seconds", 2),),
    "encodings": ENCODED,
    "loaders": (RATE, ("MB/s", "mb_per_s", 0), CPU, MEMORY, ("first batch s", "first_batch_s", 2)),
    "peers": (RATE, CPU, ("first batch s", "first_batch_s", 2), ("mean off by", "deviation", 3), ("of", "packages", 0)),
    "scaling": (
        RATE,
        ("seconds", "seconds", 4),
        MEMORY,
        ("MiB grown by", "grown_mib", 1),
        ("MiB, shared ones shared out", "pss_mib", 0),
    ),
    "shard": (
        RATE,
        ("MB/s read", "read_mb_per_s", 0),
        ("written", "written_mb_per_s", 0),
        CPU,
        MEMORY,
        ("held back by", "bottleneck", 0),
    ),
    "stall": (("images/s", "images_per_s", 1), ("AU", "au", 3), ("of the time waiting", "waiting", 3), CPU),
    "train": (
        ("images/s", "images_per_s", 1),
        ("ms a step", "step_ms", 1),
        CPU,
        MEMORY,
        ("GFLOP an image", "gflop_per_image", 2),
        ("TFLOP/s", "tflop_per_s", 3),
        ("of the best", "of_best", 2),
        ("J an image", "joules_per_image", 3),
        ("first step s", "first_step_s", 1),
    ),
}


def of_record(record: Record) -> list[str]:
    """With what there is beside the rows: ratios, and what failed or was left out, by name."""
    ratios, left_out = record.get("ratios", ()), record.get("skipped", {})
    return [
        *of_rows(rows_of(record), COLUMNS[record["bench"]]),
        *(of_ratios(ratios, record.get("targets", {})) if isinstance(ratios, Mapping) else of_rows(ratios, ())),
        *of_rows([{"case": pick(cure, CURED), **cure} for cure in record.get("cures", ())], CURE),
        *(f"- {line}" for line in (*record.get("notes", ()), *record.get("verdict", ()))),
        *(f"- {name}: time grows as rows to the {each:.2f}" for name, each in record.get("growth", {}).items() if each),
        *(f"- failed: {name}: {reason}" for name, reason in record["problems"].items()),
        *(f"- left out: {name}: {reason}" for name, reason in left_out.items()),
    ]


def rows_of(record: Record) -> list[Record]:
    """A stall's with the accelerator's utilisation, which is one of the record's own figures."""
    au = record.get("au", {})
    return [{**row, "au": au.get(row["case"].get("way"))} for row in record["rows"]]


def pick(mapping: Record, names: Sequence[str]) -> dict[str, Any]:
    return {name: mapping[name] for name in names}


def of_rows(rows: Sequence[Record], columns: Sequence[Column]) -> list[str]:
    """What is the same for all cases is said once; without columns, every figure has one."""
    if not rows:
        return []
    names = list(dict.fromkeys(name for row in rows for name in row["case"]))
    values = {name: [row["case"].get(name) for row in rows] for name in names}
    same = {name: each[0] for name, each in values.items() if len(rows) > 1 and len(set(map(str, each))) == 1}
    telling = [name for name in names if name not in same]
    shown = [each for each in columns or every(rows) if any(row.get(each[1]) is not None for row in rows)]
    lines = [
        [*(cell(row["case"].get(name)) for name in telling), *(cell(row.get(key), digits) for _, key, digits in shown)]
        for row in rows
    ]
    common = ", ".join(f"{name} {value}" for name, value in same.items())
    return [*table([*telling, *(title for title, *_ in shown)], lines), *([f"All: {common}.", ""] if common else [])]


def every(rows: Sequence[Record]) -> list[Column]:
    keys = dict.fromkeys(key for row in rows for key in row if key != "case")
    return [(key.replace("_", " "), key, 2) for key in keys]


def of_ratios(ratios: Record, targets: Record) -> list[str]:
    """Ours to others, and whether what was aimed at was reached."""
    lines = [[name, cell(ratio, 2), asked(ratio, targets.get(name))] for name, ratio in ratios.items()]
    return table(["", "times", "asked"], lines)


def of_peers(record: Record) -> list[str]:
    return of_record({**record, "ratios": ratios(record["rows"]), "targets": TARGETS})


def of_cases(record: Record) -> list[str]:
    """What pytest-benchmark wrote."""
    lines = [
        [each["group"], each["name"], *(cell(1000 * each["stats"][key], 3) for key in ("median", "min"))]
        for each in record["benchmarks"]
    ]
    return table(["group", "case", "ms, median", "least"], sorted(lines))


SHAPES: Mapping[str, Callable[[Record], list[str]]] = {
    **dict.fromkeys(COLUMNS, of_record),
    **OLDER,
    "peers": of_peers,
    "cases": of_cases,
    "encodings-real": of_record,
    "loaders-encodings": of_record,
    "stall-npy": of_record,
}


def benchmark_of(name: str) -> str:
    """Of a file NAME-MACHINE; the machine's name may have dashes too."""
    return max((each for each in SHAPES if name.startswith(f"{each}-")), key=len)


def measured_on(record: Record, benchmark: str) -> str:
    told = record.get("environment") or {**record["machine_info"], "commit": committed(**record["commit_info"])}
    gpus = ", ".join(gpu["name"] for gpu in told["gpus"]) or "no GPU"
    commit = told["commit"]
    version = f"commit {commit[:COMMIT_DIGITS]}{'-dirty' * commit.endswith('-dirty')}" if commit else "no checkout"
    date = (record.get("ended") or record.get("datetime") or "")[:10]
    parts = (
        f"{told['cpu']}, {told['cores_usable']} cores, {gpus}",
        f"Python {told['python']}, torch {told['packages']['torch']}",
        f"{version}{', ' * bool(date)}{date}",
    )
    return f"*{'; '.join(parts)}. `scripts/bench --only {benchmark}` measures it again.*"


def committed(id: str, dirty: bool, **_: Any) -> str:  # noqa: A002 - pytest-benchmark's names
    return f"{id}{'-dirty' * dirty}"


def of_file(path: Path) -> str:
    record, benchmark = json.loads(path.read_text()), benchmark_of(path.stem)
    text = "\n".join(SHAPES[benchmark](record)).strip()
    return f"{text}\n\n{measured_on(record, benchmark)}"


def of_steps() -> str:
    """All benchmarks, and where there are results of them."""
    machines: dict[str, list[str]] = {}
    for path in sorted(RESULTS.glob("*.json")):
        benchmark = benchmark_of(path.stem)
        machines.setdefault(benchmark, []).append(path.stem.removeprefix(f"{benchmark}-"))
    lines = [
        [step.name, f"`python {' '.join(step.argv)}`", ", ".join(machines.get(step.name, []))]
        for step in STEPS
        if step.name in SHAPES
    ]
    return "\n".join(table(["step", "what it runs", "measured on"], lines))


def generated(name: str) -> str:
    """For a page's block of this name."""
    return of_steps() if name == "steps" else of_file(RESULTS / f"{name}.json")
