"""Throughput: what benchmarks recorded, as tables and charts; of a kind that nobody knows, every figure there is."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cxrbench.report.cells import Cell, Column, Facts, Row, Table, figure, flat, pairs, text
from cxrbench.report.charts import Axis, Chart, Series
from cxrbench.report.values import between, decimal, significant

Rows = Sequence[Facts]
TITLES = {
    "images_per_s": "images/s",
    "mb_per_s": "MB/s",
    "cpu_ms_per_image": "CPU ms an image",
    "peak_mib": "MiB at most",
    "first_batch_s": "first batch, s",
    "bytes": "bytes an image",
    "psnr_db": "dB, if lossy",
    "decoded_per_cpu_s": "decoded a CPU second",
    "encoded_per_s": "encoded/s",
    "encoded_per_cpu_s": "encoded a CPU second",
    "step_ms": "ms a step",
    "waiting": "of the time waiting",
    "read_mb_per_s": "MB/s read",
    "written_mb_per_s": "MB/s written",
    "bottleneck": "held back by",
    "gflop_per_image": "GFLOP an image",
    "tflop_per_s": "TFLOP/s",
    "of_best": "of the best",
    "joules_per_image": "J an image",
    "grown_mib": "MiB grown by",
    "first_step_s": "first step, s",
}
KINDS = {
    "encodings": "Encodings",
    "loaders": "Loaders",
    "peers": "Beside other packages",
    "scaling": "Growth with the number of images",
    "shard": "Conversion",
    "stall": "What training waits for",
    "train": "Training steps",
}
SHOWN = {
    "encodings": ("bytes", "psnr_db", "images_per_s", "decoded_per_cpu_s", "encoded_per_s", "encoded_per_cpu_s"),
    "loaders": ("images_per_s", "mb_per_s", "cpu_ms_per_image", "peak_mib", "first_batch_s"),
    "peers": ("images_per_s", "cpu_ms_per_image", "first_batch_s", "deviation"),
    "scaling": ("images_per_s", "seconds", "peak_mib", "grown_mib"),
    "shard": ("images_per_s", "read_mb_per_s", "written_mb_per_s", "cpu_ms_per_image", "peak_mib", "bottleneck"),
    "stall": ("images_per_s", "waiting", "cpu_ms_per_image"),
    "train": (
        *("images_per_s", "step_ms", "cpu_ms_per_image", "peak_mib", "gflop_per_image", "tflop_per_s", "of_best"),
        *("joules_per_image", "first_step_s"),
    ),
}
MAIN = "images_per_s"  # what is drawn, where there is one
SHARES = {"compute": "computing", "copy": "copying", "fetch": "reading", "prepare": "decoding and preparing"}
MOST_DRAWN = 40
WIDE_APART = 20  # times: from there on, an axis of powers of ten


def rows_of(record: Facts, key: str = "rows") -> Rows:
    rows = record.get(key)
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def case_of(row: Facts) -> Facts:
    case = row.get("case")
    return case if isinstance(case, Mapping) else {}


def telling(rows: Rows) -> tuple[list[str], dict[str, object]]:
    """What tells the cases apart, and what is the same of all."""
    names = list(dict.fromkeys(name for row in rows for name in case_of(row)))
    same = {
        name: case_of(rows[0]).get(name) for name in names if len({str(case_of(row).get(name)) for row in rows}) == 1
    }
    return [name for name in names if name not in same or len(rows) == 1], same if len(rows) > 1 else {}


def middle(value: Any) -> float | None:
    value = value.get("median") if isinstance(value, Mapping) else value
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def cell(value: Any) -> Cell:
    """A median over its spread, a number, or whatever else it is."""
    number = middle(value)
    if number is not None:
        low, high = (value.get("low"), value.get("high")) if isinstance(value, Mapping) else (None, None)
        ends = "" if low is None or high is None or low == high else f"{significant(low)} to {significant(high)}"
        return figure(number, significant(number), ends)
    if value is None or isinstance(value, Mapping):
        return figure(None, "")
    return text(value if isinstance(value, str | bool) else json.dumps(value))


def columns_of(rows: Rows, bench: str) -> list[str]:
    """Those known for this kind that have a figure; of another kind, all."""
    there = dict.fromkeys(key for row in rows for key, value in row.items() if key != "case" and said(value))
    wanted = [key for key in SHOWN.get(bench, ()) if key in there]
    return wanted or list(there)


def said(value: Any) -> bool:
    return middle(value) is not None or isinstance(value, str | bool)


def table(rows: Rows, bench: str, key: str, caption: str) -> Table | None:
    names, same = telling(rows) if rows else ([], {})
    keys = columns_of(rows, bench)
    if not keys:
        return None
    columns = [*map(Column, names or ["case"]), *(Column(TITLES.get(each, each.replace("_", " "))) for each in keys)]
    lines = [
        Row((*(text(case_of(row).get(each)) for each in names or ["case"]), *(cell(row.get(each)) for each in keys)))
        for row in rows
    ]
    notes = [f"All: {', '.join(f'{name} {value}' for name, value in same.items())}."] if same else []
    return Table(key, caption, columns, lines, notes=notes)


def tables(record: Facts, bench: str, key: str) -> list[Table]:
    """The rows, and what was made of them."""
    cures = [
        {"case": {each: cure.get(each) for each in CURE}, **without(cure, CURE)} for cure in rows_of(record, "cures")
    ]
    found = [
        table(rows_of(record), bench, key, f"{bench}: medians, with the lowest and the highest turn below"),
        utilisation(record.get("au"), f"{key}-au"),
        table(cures, "", f"{key}-cures", "What would help: accelerator utilisation"),
        ratios(record, f"{key}-ratios"),
    ]
    return [each for each in found if each]


CURE = ("loader", "encoding", "size")


def without(record: Facts, keys: Iterable[str]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in keys}


def utilisation(ways: Any, key: str) -> Table | None:
    """AU: the share of a step that the network computes."""
    if not isinstance(ways, Mapping) or not ways:
        return None
    rows = [Row((text(way), utilised(each))) for way, each in ways.items() if isinstance(each, Mapping)]
    return Table(key, "Accelerator utilisation (AU)", (Column("input"), Column("AU, 95% interval")), rows)


def utilised(each: Facts) -> Cell:
    value, ends = middle(each.get("mean", each.get("median"))), each.get("interval")
    low, high = ends if isinstance(ends, list) and len(ends) == 2 else (None, None)
    return figure(value, decimal(value), between(low, high))


def ratios(record: Facts, key: str) -> Table | None:
    found = record.get("ratios")
    if not isinstance(found, Mapping):
        return table(rows_of(record, "ratios"), "", key, "Ratios, paired turn by turn")
    targets = record.get("targets")
    targets = targets if isinstance(targets, Mapping) else {}
    rows = [
        Row((text(name, 90), cell(value), *([cell(targets.get(name))] if targets else [])))
        for name, value in found.items()
    ]
    columns = [Column("ratio"), Column("times"), *([Column("asked")] if targets else [])]
    return Table(key, "Ratios", columns, rows) if rows else None


def measured_on(record: Facts, key: str) -> Table:
    """The machine and the settings."""
    told = [("ended", record.get("ended")), *flat(record.get("environment") or {}), *flat(record.get("settings") or {})]
    return pairs(told, key, "Measured on")


def lines(record: Facts) -> list[str]:
    """Its verdict and notes, and what failed or was left out."""
    told = [record.get(key) for key in ("verdict", "notes")]
    found = [str(line) for some in told if isinstance(some, list) for line in some]
    for key, title in (("problems", "failed"), ("skipped", "left out")):
        reasons = record.get(key)
        if isinstance(reasons, Mapping):
            found += [f"{title}: {name}: {reason}" for name, reason in reasons.items()]
    return found


def charts(record: Facts, bench: str, key: str) -> list[Chart]:
    return [each for each in (shares(record, key), rates(record, bench, key)) if each]


def shares(record: Facts, key: str) -> Chart | None:
    """Where each second of training goes, as one bar in parts."""
    found = record.get("shares")
    if not isinstance(found, Mapping) or not any(middle(found.get(each)) for each in SHARES):
        return None
    series, begin = [], 0.0
    for number, (name, title) in enumerate(SHARES.items()):
        if part := middle(found.get(name)):
            texts = [f"{title}: {part:.2f} s of each second"]
            bar = ([begin + part], [0.0], number, "bars", [begin])
            series.append(Series(title, *bar, about=f"{part:.2f} s", texts=texts))  # type: ignore[arg-type]
            begin += part
    about = "; ".join(f"{each.name} {each.about}" for each in series)
    axis = Axis("seconds", 0.0, 1.0 if begin <= 1 else None)
    title = "Where each second of training goes"
    return Chart(f"{key}-shares", title, axis, Axis("", names=("training",)), series, about, has_own_key=True)


def rates(record: Facts, bench: str, key: str) -> Chart | None:
    """The main figure of each case with its spread."""
    rows = rows_of(record)
    keys = [each for each in columns_of(rows, bench) if any(isinstance(row.get(each), Mapping) for row in rows)]
    if not keys:
        return None
    main = MAIN if MAIN in keys else keys[0]
    names, _ = telling(rows)
    there = [(row, value) for row in rows if (value := middle(row.get(main))) is not None][:MOST_DRAWN]
    labels = [" ".join(str(case_of(row).get(each)) for each in names) for row, _ in there]
    values = [value for _, value in there]
    if not values:
        return None
    title = TITLES.get(main, main.replace("_", " "))
    is_log = min(values) > 0 and max(values) / min(values) > WIDE_APART
    low, high = ([end_of(row[main], end, value) for row, value in there] for end in ("low", "high"))
    texts = [
        f"{label}: {significant(value)} ({significant(least)} to {significant(most)}) {title}"
        for label, value, least, most in zip(labels, values, low, high, strict=True)
    ]
    series = Series(bench, values, list(map(float, range(len(values)))), 0, "points", low, high, texts=texts)
    axis = Axis(f"{title}: median, lowest and highest", None if is_log else 0.0, is_log=is_log)
    about = f"{title} of each case; the same figures are in the table"
    return Chart(f"{key}-{main}", f"{bench}: {title}", axis, Axis("", names=labels), [series], about)


def end_of(value: Any, end: str, otherwise: float) -> float:
    found = value.get(end) if isinstance(value, Mapping) else None
    return otherwise if found is None else float(found)
