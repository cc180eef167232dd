"""What a data set holds and where it comes from, for people."""

import argparse
import json
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", type=Path, metavar="DIR", help="a folder that cxrbench shard made")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    from cxrbench.dataset.manifest import read_manifest, read_samples
    from cxrbench.labels import NIH14

    manifest = read_manifest(args.data)
    samples = read_samples(args.data)
    sizes = samples["width"].astype(str) + "x" + samples["height"].astype(str)
    about = {
        **{key: value for key, value in manifest.items() if key != "shards"},
        "shards": len(manifest["shards"]),
        "bytes": sum(entry["bytes"] for entry in manifest["shards"]),
        "patients": int(samples["patient"].nunique()),
        "official": {str(part): int(count) for part, count in samples["official"].value_counts().items()},
        "sizes": {size: int(count) for size, count in sizes.value_counts().items()},
        "findings": {name: int(samples[name].sum()) for name in NIH14},
    }
    print(json.dumps(about, indent=2) if args.json else info_text(about, args.data))
    return 0


def info_text(about: dict[str, Any], folder: Path) -> str:
    size = f"short side {about['size_px']}" if about["size_px"] else "the source's size"
    official = ", ".join(f"{count:,} {part}" for part, count in about["official"].items())
    sizes = ", ".join(f"{name} ({count:,})" for name, count in list(about["sizes"].items())[:3])
    left_out = [
        f"{about[key]:,} {key.replace('_', ' ')}" for key in ("quarantined", "rows_without_image", "images_without_row")
    ]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return "\n".join(
        [
            f"{folder}: {about['images']:,} images of {about['patients']:,} patients",
            f"official split    {official}",
            f"left out          {', '.join(left_out)}",
            f"encoding          {about['encoding']}, {size}: {sizes}",
            f"on disk           {about['shards']} shards, {about['bytes'] / 1e9:.2f} GB",
            f"made from         a table with sha256 {about['labels_sha256'][:16]}.., seed {about['seed']}",
            f"made by           {versions}",
            "",
            *(
                f"{name:<20}{count:>8,}{100 * count / about['images']:>8.2f}%"
                for name, count in about["findings"].items()
            ),
        ]
    )
