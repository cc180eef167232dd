"""Facts of reports, made up, for the tests of what is drawn of them: of any size, and with hostile strings."""

import base64
import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cxrbench.labels import NIH14
from cxrbench.metrics.compare import compare_all
from cxrbench.metrics.summary import summarise
from cxrbench.metrics.text import RESEARCH
from cxrbench.predictions import Predictions

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
REPLICATES, GRID = 40, 51
KINDS = ("hit", "miss", "false alarm", "correct rejection")
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "\"'><svg onload=alert(3)>",
    "{{ 7 * 7 }}{% raw %}",
    "x" * 5000,
    "\u202e\u0627\u0644\u0642\u0644\u0628 \u05dc\u05d1 abc",
    "🫁 \x1b[31m\x07\x0bred $\\frac{1}{2}$ $",
    "--></style><style>*{display:none}",
)
ENVIRONMENT = {"machine": "Linux", "cpu": "AMD EPYC", "cores_usable": 2, "gpus": [], "packages": {"torch": "2.15.0"}}
CONFIG = '[data]\nsplit = "official"\n\n[model]\narch = "densenet121"\n\n[optimizer]\nlr = 0.001\n'


@cache
def predicted(seed: int, num_findings: int, num_images: int = 500) -> Predictions:
    """Labels and patients are the same whatever the seed; the later, the better. Of Hernia there is none."""
    generator = np.random.default_rng(0)
    patients = generator.integers(1, 181, num_images)
    labels = (generator.random((num_images, num_findings)) < np.linspace(0.25, 0.04, num_findings)).astype(np.uint8)
    labels[:, [name == "Hernia" for name in NIH14[:num_findings]]] = 0
    noise = np.random.default_rng(100 + seed).normal(size=labels.shape) + generator.normal(size=labels.shape)
    gain = (0.4 + 0.2 * seed) * np.linspace(1.4, 0.8, num_findings)
    traits = {
        "sex": np.where(patients % 2, "F", "M").astype(object),
        "age": (patients * 7 % 90).astype(float),
        "view": np.where(generator.random(num_images) < 0.4, "AP", "PA").astype(object),
        "follow_up": np.arange(num_images) % 3,
    }
    return Predictions(
        names=np.array([f"{number:08d}_000.png" for number in range(num_images)], dtype=object),
        patients=patients,
        labels=labels,
        scores=1 / (1 + np.exp(2.2 - gain * 1.5 * labels - 0.7 * noise)),
        findings=NIH14[:num_findings],
        data_sha256="0" * 64,
        split="official",
        part="test",
        view="center",
        traits=traits,
    )


@cache
def table_of(seed: int, num_findings: int) -> str:
    run = predicted(seed, num_findings)
    table = summarise(run, REPLICATES, thresholds=np.full(num_findings, 0.3))
    for each in table["findings"].values():
        each |= {"calibrated_brier": 0.9 * each["brier"], "calibrated_ece": 0.3 * each["ece"]}
    return json.dumps(table | {"thresholds_by": "F1 on val", "calibrated_by": "temperature on val"})


def curves_of(run: Predictions) -> dict[str, Any]:
    defined = [name for name, column in zip(run.findings, run.labels.T, strict=True) if column.any()]
    return {name: curve_of(run, run.findings.index(name)) for name in defined}


def curve_of(run: Predictions, finding: int) -> dict[str, Any]:
    """Roughly right, which is all that drawing needs."""
    truth = run.labels[np.argsort(-run.scores[:, finding]), finding].astype(float)
    tpr, fpr = np.cumsum(truth) / truth.sum(), np.cumsum(1 - truth) / (1 - truth).sum()
    precision, grid = np.cumsum(truth) / np.arange(1, len(truth) + 1), np.linspace(0, 1, GRID)
    rows = np.linspace(0, len(truth) - 1, 120).astype(int)
    bins = np.array_split(np.argsort(run.scores[:, finding]), 10)
    shares = [float(run.labels[each, finding].mean()) for each in bins]
    return {
        "roc": {"x": [0.0, *fpr[rows]], "y": [0.0, *tpr[rows]], "band": band(grid, np.interp(grid, fpr, tpr))},
        "pr": {
            "x": list(tpr[rows]),
            "y": list(precision[rows]),
            "band": band(grid, np.interp(grid, tpr, precision)),
            "chance": float(truth.mean()),
        },
        "calibration": {
            "x": [float(run.scores[each, finding].mean()) for each in bins],
            "y": shares,
            "low": [max(0.0, share - 0.05) for share in shares],
            "high": [share + 0.06 for share in shares],
            "count": [len(each) for each in bins],
        },
    }


def band(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    return {"x": x.tolist(), "low": np.clip(y - 0.07, 0, 1).tolist(), "high": np.clip(y + 0.05, 0, 1).tolist()}


def run_of(seed: int, num_findings: int) -> dict[str, Any]:
    run = predicted(seed, num_findings)
    name = ("baseline", "head", "full", "full-2", "deeper", "wider")[seed]
    epochs = [
        {
            "epoch": n,
            "train_loss": 0.5 / n + 0.1,
            "val_loss": 0.4 / n + 0.2 / seed,
            "val_auroc": 0.7 - 0.3 / n + seed / 50,
        }
        for n in range(1, 9)
        if seed
    ]
    return {
        "name": f"all/{name}",
        "folder": f"runs/all/{name}",
        "group": 0,
        "regime": name,
        "seed": 0,
        "arch": "densenet121",
        "recipe": "quick",
        "weights": "imagenet",
        "split": "official",
        "part": "test",
        "view": "center",
        "data_sha256": "0" * 64,
        "weights_sha256": f"{seed}" * 64,
        "findings": list(run.findings),
        "table": json.loads(table_of(seed, num_findings)),
        "curves": curves_of(run),
        "epochs": epochs,
        "best_epoch": 6 if seed else None,
        "config": CONFIG,
        "environment": ENVIRONMENT,
        "command": f"cxrbench train --data shards --regime {name} --out runs/all/{name}",
        "localization": None,
    }


@cache
def picture(seed: int, size_px: int = 128, is_map: bool = False) -> str:
    generator = np.random.default_rng(seed)
    coarse = generator.integers(40, 200, (8, 8), dtype=np.uint8)
    gray = Image.fromarray(coarse).resize((size_px, size_px), Image.Resampling.BICUBIC)
    noisy = np.clip(np.asarray(gray) + generator.normal(0, 6, (size_px, size_px)), 0, 255).astype(np.uint8)
    pixels = np.stack([noisy, noisy // 2, 255 - noisy], -1) if is_map else noisy
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def example_of(number: int, runs: list[dict[str, Any]], findings: list[str], size_px: int) -> dict[str, Any]:
    kind, finding = KINDS[number % 4], findings[number % len(findings)]
    is_there = kind in ("hit", "miss")
    return {
        "run": runs[number % len(runs)]["name"],
        "name": f"{number:08d}_000.png",
        "patient": number,
        "kind": kind,
        "finding": finding,
        "score": 0.93 if kind in ("hit", "false alarm") else 0.04,
        "threshold": 0.3,
        "why": f"the most confident {kind} of {finding}",
        "truth": [finding] * is_there,
        "scores": {name: round(0.9 - 0.05 * i, 2) for i, name in enumerate(findings)},
        "image": picture(number, size_px),
        "overlay": picture(number, size_px, is_map=True),
        "method": "gradcam",
        "boxes": [[0.55, 0.4, 0.3, 0.25]] * is_there,
    }


def localized(findings: list[str]) -> dict[str, Any]:
    """As `cxrbench localize` writes it, as far as it is drawn."""
    overlaps = (0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.9)

    def figure(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.04, "high": value + 0.05, "discarded": 0}

    def figures(height: float) -> dict[str, Any]:
        falling = {f"{at}": figure(height * (1 - at)) for at in overlaps}
        found = {"pointing": figure(height), "mean_iou": figure(height / 2)}
        return found | {
            "accuracy_iou": falling,
            "accuracy_iobb": {at: figure(each["value"] * 0.9) for at, each in falling.items()},
        }

    def table(height: float) -> dict[str, Any]:
        own = {name: {"boxes": 20, "images": 18, "patients": 15, **figures(height)} for name in findings[:8]}
        return {"mean": {"over": len(own), **figures(height)}, "findings": own}

    heights = {"network": 0.8, "centre": 0.5, "average_box": 0.4}
    return {
        "format": 1,
        "network": "all/full",
        "method": "gradcam",
        "view": "center",
        "boxes": {"used": 160, "images": 144, "patients": 120},
        "maps": {who: table(height) for who, height in heights.items()},
        "differences": {"centre": {"pointing": {"difference": 0.3, "low": 0.2, "high": 0.4}, "mean_iou": None}},
        "verdict": {"pointing": {"beats": ["centre", "average_box"], "behind": [], "undecided": []}},
        "published": {
            "name": "Wang et al. 2017",
            "note": "means over 8 findings",
            "accuracy_iobb": {"0.1": 0.629, "0.5": 0.33},
        },
        "warnings": ["the boxes are of images of the test part"],
    }


def data_of(findings: list[str]) -> dict[str, Any]:
    sizes = {"train": 4051, "val": 449, "test": 1500}
    shares = np.linspace(0.2, 0.01, len(findings))
    counts = np.random.default_rng(2).integers(0, 90, (len(findings), len(findings)))
    counts = np.triu(counts) + np.triu(counts, 1).T + np.diag(np.full(len(findings), 120))
    return {
        "folder": "shards",
        "sha256": "0" * 64,
        "images": 6000,
        "patients": 1700,
        "encoding": "npy",
        "size_px": 256,
        "manifest": {"format": 1, "encoding": "npy"},
        "parts": {
            part: {
                "images": size,
                "patients": size // 4,
                "findings": {name: int(size * share) for name, share in zip(findings, shares, strict=True)},
                "no_finding": size // 2,
            }
            for part, size in sizes.items()
        },
        "together": {"part": "test", "findings": findings, "counts": counts.tolist()},
        "leakage": {
            "patients_in_several_parts": 0,
            "examples": [],
            "test_images_of_training_patients": 0,
            "share_of_test": 0.0,
        },
        "audit": None,
        "quarantine": {"count": 1, "images": [{"name": "00000007_000.png", "reason": "not a PNG"}]},
    }


def published_of(findings: list[str]) -> list[dict[str, Any]]:
    areas = dict(zip(findings, np.linspace(0.72, 0.87, len(findings)).round(3).tolist(), strict=True))
    named = {"name": "Wang et al. 2017", "url": "https://arxiv.org/abs/1705.02315", "split": "their own"}
    return [{**named, "macro": 0.738, "findings": areas, "note": "before the official split was published"}]


def benches() -> list[dict[str, Any]]:
    """All that this project keeps, and one that nobody knows."""
    records = {path.name: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    known = {name: record for name, record in records.items() if "bench" in record}
    known["new.json"] = {"format": 1, "bench": "new", "rows": [{"case": {"way": "a"}, "apples": 3, "median": None}]}
    return [{"file": name, "bench": record["bench"], "record": record} for name, record in known.items()]


def facts(
    num_findings: int = 14, num_runs: int = 3, num_examples: int = 8, size_px: int = 128, with_benches: bool = False
) -> dict[str, Any]:
    findings = list(NIH14[:num_findings])
    runs = [run_of(seed, num_findings) for seed in range(num_runs)]
    runs[-1]["localization"] = localized(findings)
    pairs = compare_all({run["name"]: predicted(i, num_findings) for i, run in enumerate(runs)}, REPLICATES)
    made = {
        "report": 1,
        "cxrbench": "0.1.0",
        "made": "2026-11-21T20:30:00+0000",
        "command": "cxrbench report runs/all --out report.html",
        "use": RESEARCH,
        "title": f"{num_runs} runs on 500 test images of 173 patients",
        "part": "test",
        "problems": ["runs/x: no predictions of the part test; cxrbench eval runs/x"],
        "warnings": ["all/full: 3 epochs on 4,051 images: a demonstration, no benchmark"],
        "findings": findings,
        "undefined": [name for name in findings if name == "Hernia"],
        "runs": runs,
        "paired": pairs,
        "published": published_of(findings),
        "data": data_of(findings),
        "examples": [example_of(number, runs, findings, size_px) for number in range(num_examples)],
        "benches": benches() if with_benches else [],
    }
    # As it comes from a file: copies, and no numpy
    return json.loads(json.dumps(made, default=float))  # type: ignore[no-any-return]


def many(num_runs: int = 15) -> dict[str, Any]:
    """As many as one may compare, with long names, made by one command."""
    made = facts(4, 2, 0)
    runs = [made["runs"][i % 2] | {"name": f"seed-{i}/regularised-more-than-the-rest/full"} for i in range(num_runs)]
    command = {"command": "cxrbench train --seeds 15 --out runs/many", "localization": None}
    pairs = [made["paired"][0] | {"run": run["name"], "against": runs[0]["name"]} for run in runs[1:]]
    seeds = [
        {"recipe": "full", "group": 0, "runs": 15, "mean": 0.7, "deviation": 0.01, "lowest": 0.68, "highest": 0.72}
    ]
    return made | {"runs": [run | command for run in runs], "paired": pairs, "seeds": seeds}


def alone() -> dict[str, Any]:
    """One run, whose settings are all columns; one of them is long."""
    made = facts(2, 1, 0)
    made["runs"][0]["split"] = "official, train/val 87.5/12.5 by patient, seed 0"
    return made


def empty() -> dict[str, Any]:
    """A report of nothing at all, which must still say so."""
    lists = ("problems", "warnings", "findings", "undefined", "runs", "paired", "published", "examples", "benches")
    return facts(2, 1, 0) | {name: [] for name in lists} | {"data": None, "command": None}


def hostile() -> dict[str, Any]:
    """Every string that is a name, a reason or a text is one that would break a careless page."""
    made = facts(3, 2, 4)
    names = {run["name"]: f"{HOSTILE[i]}{i}" for i, run in enumerate(made["runs"])}
    names |= {name: HOSTILE[2 + i] for i, name in enumerate(made["findings"])}
    made = renamed(made, names)
    texts = {"title": HOSTILE[0], "command": HOSTILE[1], "cxrbench": HOSTILE[2], "made": HOSTILE[4]}
    lists = {"problems": list(HOSTILE), "warnings": list(HOSTILE)}
    for i, run in enumerate(made["runs"]):
        run |= dict.fromkeys(("folder", "recipe", "weights", "config", "command", "split", "view"), HOSTILE[i])
        run["environment"] = {HOSTILE[5]: HOSTILE[4], "packages": {HOSTILE[1]: HOSTILE[6]}}
    for i, each in enumerate(made["examples"]):
        each |= {"name": HOSTILE[i], "why": HOSTILE[i + 1], "truth": list(HOSTILE[:3]), "method": HOSTILE[7]}
    made["data"]["quarantine"]["images"] = [{"name": each, "reason": each} for each in HOSTILE]
    made["published"][0] |= {"name": HOSTILE[6], "url": "javascript:alert(4)", "note": HOSTILE[0], "split": HOSTILE[7]}
    row = {"case": {HOSTILE[0]: HOSTILE[1]}, HOSTILE[2]: 1.0}
    record = {"format": 1, "bench": HOSTILE[0], "rows": [row], "verdict": [HOSTILE[1]], "problems": {HOSTILE[2]: "x"}}
    return made | texts | lists | {"benches": [{"file": HOSTILE[7], "bench": HOSTILE[0], "record": record}]}


def renamed(value: Any, names: dict[str, str]) -> Any:
    """Keys and values."""
    if isinstance(value, dict):
        return {names.get(key, key): renamed(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [renamed(each, names) for each in value]
    return names.get(value, value) if isinstance(value, str) else value
