"""What a report says of the images: who is in which part, leaks, what occurs together, what was put aside."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxrbench.dataset.audit import audit_leakage
from cxrbench.dataset.manifest import MANIFEST, QUARANTINE, SAMPLES, read_manifest, read_samples
from cxrbench.dataset.splits import PARTS, Split
from cxrbench.errors import CxrError, DataError
from cxrbench.labels import NIH14
from cxrbench.predictions import Predictions
from cxrbench.report.drawable import refuse_undrawable
from cxrbench.report.files import read_object
from cxrbench.report.found import Found
from cxrbench.storage import exists, read_text, regular, sha256_of

Section = dict[str, Any]
MOST_NAMED = 50  # images of the quarantine
ABOUT = ("encoding", "size_px", "images", "quarantined", "rows_without_image", "images_without_row", "labels_sha256")
AUDITED = ("images", "patients", "policy", "parts", "leakage", "oddities")  # what `cxrbench audit --json` prints


@dataclass(frozen=True, eq=False, slots=True)
class Tables:
    """A data set's tables, found and checked; its images are not touched."""

    folder: Path
    manifest: Section
    samples: pd.DataFrame


def tables_of(runs: list[Found], given: Path | None, problems: list[str]) -> Tables | None:
    """Of the folder given, or of where the first run found its data, if it is still the same."""
    shas = list(dict.fromkeys(run.predictions.data_sha256 for run in runs if run.predictions.data_sha256))
    folder = given or next(iter(folders_of(runs)), None)
    if folder is None:
        return None
    try:
        tables = read_tables(folder)
    except (CxrError, OSError) as error:
        problems.append(f"data: {error}; or give where the data is now: --data DIR")
        return None
    if not shas and (alone := names_alone(runs, tables)):
        got = f"{len(alone):,}, such as {alone[0]}"
        problems.append(f"data: {folder} lacks images that were scored ({got}), and is left aside; give --data DIR")
        return None
    if shas and tables.manifest["sha256"] not in shas:
        got = f"{tables.manifest['sha256'][:12]} instead of {shas[0][:12]}"
        problems.append(f"data: {folder} holds other data than was scored ({got}), and is left aside; give --data DIR")
        return None
    return tables


def names_alone(runs: list[Found], tables: Tables) -> list[str]:
    """Of anyone's scores, names are all that tells which data they are of."""
    known = set(tables.samples["name"])
    return [name for run in runs for name in run.predictions.names.tolist() if name not in known]


def folders_of(runs: list[Found]) -> list[Path]:
    """Where training found them."""
    abouts = [(run.environment or {}).get("data") for run in runs]
    folders = [about.get("folder") for about in abouts if isinstance(about, dict)]
    return [Path(folder) for folder in folders if isinstance(folder, str) and folder]


def read_tables(folder: Path) -> Tables:
    for name in (MANIFEST, SAMPLES):
        regular(folder / name)
    manifest = read_manifest(folder)
    if sha256_of(folder / SAMPLES) != manifest["samples_sha256"]:
        raise DataError(f"{folder / SAMPLES} is not what {MANIFEST} says", do="convert again")
    return Tables(folder, manifest, read_samples(folder))


def data_of(runs: list[Found], tables: Tables | None, audit: Section | None, problems: list[str]) -> Section:
    """Of one run's split and predictions: the first's of the data at hand, or the first's that has a split."""
    ours = [run for run in runs if tables and run.predictions.data_sha256 == tables.manifest["sha256"]]
    first = min(ours or runs, key=lambda run: run.split is None)
    split = first.split
    known: Section = {"folder": None, "manifest": None, "encoding": None, "size_px": None}
    if tables:
        about = {key: tables.manifest.get(key) for key in ABOUT}
        known = {"folder": str(tables.folder), "manifest": about, "encoding": about["encoding"]}
        known["size_px"] = about["size_px"]
    elif folders := folders_of(runs):
        known["folder"] = str(folders[0])
    whole = split.frame if split is not None else None
    own = tables.samples if tables else whole
    return {
        **known,
        "sha256": first.predictions.data_sha256 or None,
        "split": split.policy if split is not None else first.predictions.split or None,
        "images": len(first.predictions.names if own is None else own),
        "patients": len(np.unique(first.predictions.patients if own is None else own["patient"])),
        "parts": parts_of(first, split, tables),
        "together": together(first.predictions),
        "leakage": None if split is None else audit_leakage(split),
        "audit": audit,
        "quarantine": quarantine_of(tables, problems),
    }


def parts_of(run: Found, split: Split | None, tables: Tables | None) -> Section:
    """Each part as far as it is known: without the data's table, labels are known of the scored part alone.

    Counted are the findings asked for; an image without any finding has none of the others either.
    """
    scored = run.predictions
    if split is None:
        return {scored.part or "scored": of_predictions(run)}
    labels = None if tables is None else tables.samples.set_index("name")[list(NIH14)]
    found: Section = {}
    for part in PARTS:
        rows = split.part(part)
        if not len(rows):
            continue
        counts: Section = {"images": len(rows), "patients": int(rows["patient"].nunique())}
        if part == scored.part and set(rows["name"]) == set(scored.names.tolist()):
            counts = of_predictions(run)
        elif labels is not None and rows["name"].isin(labels.index).all():
            own, asked = labels.loc[rows["name"]], [name for name in scored.findings if name in labels]
            every = [name for name in run.labelled.findings if name in labels]
            counts |= {"findings": {name: int(count) for name, count in own[asked].sum().items()}}
            counts["no_finding"] = int((own[every].sum(axis=1) == 0).sum())
        found[part] = {"findings": None, "no_finding": None, **counts}
    return found


def of_predictions(run: Found) -> Section:
    own = run.predictions
    return {
        "images": len(own.names),
        "patients": len(np.unique(own.patients)),
        "findings": dict(zip(own.findings, own.labels.sum(0, dtype=np.int64).tolist(), strict=True)),
        "no_finding": int((run.labelled.labels.sum(1) == 0).sum()),
    }


def together(run: Predictions) -> Section:
    labels = run.labels.astype(np.int64)
    return {"part": run.part or "scored", "findings": list(run.findings), "counts": (labels.T @ labels).tolist()}


def quarantine_of(tables: Tables | None, problems: list[str]) -> Section | None:
    """What conversion could not read."""
    if tables is None or not exists(tables.folder / QUARANTINE):
        return None
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(regular(tables.folder / QUARANTINE)))))
    except (CxrError, csv.Error) as error:
        problems.append(f"data: {error}")
        return None
    named = [{key: str(row.get(key) or "") for key in ("name", "reason")} for row in rows[:MOST_NAMED]]
    return {"count": len(rows), "images": named}


def read_audit(path: Path) -> Section:
    """What `cxrbench audit --json` printed."""
    found = read_object(path)
    what, do = "not what cxrbench audit --json prints", "cxrbench audit .. --json > audit.json makes one"
    if any(key not in found for key in AUDITED):
        raise DataError(what, got=path, do=do)
    refuse_undrawable("audit", found, what, path, do)
    return found


def read_bench(path: Path) -> Section:
    """What `cxrbench bench .. --out` wrote."""
    found = read_object(path)
    what, do = "not a benchmark's record", "give a file that cxrbench bench .. --out wrote"
    if found.get("format") != 1 or not isinstance(found.get("rows"), list):
        raise DataError(what, got=path, do=do)
    refuse_undrawable("bench", found, what, path, do)
    return {"file": path.name, "bench": str(found.get("bench")), "record": found}
