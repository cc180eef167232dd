"""The verbs as a user runs them, on phantoms and on the real sample."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import HEADER, Run, row, write_csv

LABELS = "Data_Entry_2017_v2020.csv"


def test_audit_of_phantoms_finds_nothing_wrong(cli: Run, phantoms: Path):
    done = cli("audit", "--labels", phantoms / LABELS, "--images", phantoms / "images", "--strict", "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert "no patient is in two parts" in done.stdout
    assert "200 read, 64x64 pixels: 200 8-bit gray\n  nothing wrong with them" in done.stdout
    assert done.stderr == ""


def test_strict_refuses_an_image_split(cli: Run, phantoms: Path):
    usual, strict = (
        cli("audit", "--labels", phantoms / LABELS, "--policy", "image", *extra) for extra in ((), ("--strict",))
    )
    assert (usual.returncode, strict.returncode) == (0, 1)
    assert usual.stdout == strict.stdout
    assert strict.stderr.startswith("cxrbench: error: the split leaks; got ")
    assert "show a patient of the training set" in usual.stdout


def test_split_then_audit_of_its_file(cli: Run, phantoms: Path, tmp_path: Path):
    out = tmp_path / "split.csv"
    made = cli(
        "split",
        "--labels",
        phantoms / LABELS,
        "--policy",
        "patient",
        "--fractions",
        "60/20/20",
        "--limit-train",
        50,
        "--out",
        out,
        "--json",
    )
    assert made.returncode == 0, made.stderr
    summary = json.loads(made.stdout)
    assert summary["parts"]["train"]["images"] == 50
    audited = cli("audit", "--labels", phantoms / LABELS, "--splits", out, "--json")
    report = json.loads(audited.stdout)
    assert report["parts"] == summary["parts"]
    assert report["leakage"]["patients_in_several_parts"] == 0


def test_an_image_split_is_written_with_a_warning(cli: Run, phantoms: Path, tmp_path: Path):
    done = cli("split", "--labels", phantoms / LABELS, "--policy", "image", "--out", tmp_path / "s.parquet")
    assert done.returncode == 0
    assert "cxrbench: warning:" in done.stderr
    assert "so scores will be too good" in done.stderr


def test_planted_trouble_is_found(cli: Run, phantoms: Path, tmp_path: Path):
    images = tmp_path / "images"
    shutil.copytree(phantoms / "images", images)
    first, second, third, *_ = sorted(path.name for path in images.iterdir())
    (images / first).write_bytes((images / first).read_bytes()[:-20])
    (images / second).rename(images / "stray.png")
    done = cli("audit", "--labels", phantoms / LABELS, "--images", images, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert f"unreadable: 1, such as {first} (bad PNG; got a file cut short)" in done.stdout
    assert f"rows without an image: 1, such as {second}" in done.stdout
    assert "images without a row: 1, such as stray.png" in done.stdout
    assert third not in done.stdout


def bad_inputs(tmp_path: Path) -> dict[str, tuple[list[object], str]]:
    good = write_csv(tmp_path / "good.csv", [row(f"{patient:08d}_000.png") for patient in range(1, 60)])
    semicolons = write_csv(tmp_path / "semicolons.csv", ["a;b"], HEADER.replace(",", ";"))
    unknown = write_csv(tmp_path / "unknown.csv", [row("00000001_000.png", "Flu")])
    (tmp_path / "none").mkdir()
    (tmp_path / "bad.zip").write_text("x")
    lists = tmp_path / "with_lists"
    lists.mkdir()
    listed = write_csv(lists / "labels.csv", [row(f"{patient:08d}_000.png") for patient in range(1, 60)])
    (lists / "test_list.txt").write_text("00099999_000.png\n")
    return {
        "no CSV": (["audit", "--labels", tmp_path / "no.csv"], "no such file"),
        "semicolons": (["audit", "--labels", semicolons], "separated by semicolons"),
        "unknown finding": (["audit", "--labels", unknown], "line 2 of the CSV: unknown finding; got 'Flu'"),
        "no PNG": (["audit", "--labels", good, "--images", tmp_path / "none"], "no PNG in the folder"),
        "archive": (["audit", "--labels", good, "--images", tmp_path / "bad.zip"], "corrupt archive"),
        "lists": (["split", "--labels", listed, "--out", tmp_path / "s.csv"], "names images that the table lacks"),
        "fractions": (
            ["split", "--labels", good, "--policy", "patient", "--fractions", "70/20/20", "--out", tmp_path / "s.csv"],
            "add up to 100",
        ),
    }


@pytest.mark.parametrize("kind", ["no CSV", "semicolons", "unknown finding", "no PNG", "archive", "lists", "fractions"])
def test_bad_input_is_one_line_exit_1_and_nothing_written(cli: Run, tmp_path: Path, kind: str):
    args, message = bad_inputs(tmp_path)[kind]
    before = sorted(tmp_path.rglob("*"))
    done = cli(*args)
    assert done.returncode == 1
    assert done.stderr.startswith("cxrbench: error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_the_real_sample(cli: Run, nih: Path):
    done = cli("audit", "--labels", nih / f"{LABELS}.gz", "--images", nih / "images", "--json")
    report = json.loads(done.stdout)
    assert (report["images"], report["patients"]) == (112_120, 30_805)
    files = report["files"]
    assert (files["images"], len(files["rows_without_image"])) == (128, 111_992)
    assert files["usual_size"] == "1024x1024"
    assert not any(
        files[kind]
        for kind in (
            "images_without_row",
            "unreadable",
            "other_sizes",
            "same_bytes",
            "same_pixels",
            "alike_across_parts",
        )
    )


def test_a_split_of_shards_is_that_of_their_table(cli: Run, phantoms: Path, tmp_path: Path):
    made = cli("shard", "--images", phantoms / "images", "--labels", phantoms / LABELS, "--out", tmp_path / "shards")
    assert made.returncode == 0, made.stderr
    outs = [tmp_path / "of_table.csv", tmp_path / "of_shards.csv"]
    sources = [("--labels", phantoms / LABELS), ("--data", tmp_path / "shards")]
    for out, source in zip(outs, sources, strict=True):
        assert cli("split", *source, "--out", out).returncode == 0
    of_table, of_shards = (sorted(out.read_text().splitlines()) for out in outs)
    assert of_table == of_shards


def test_a_split_of_an_unfinished_folder_is_refused(cli: Run, tmp_path: Path):
    done = cli("split", "--data", tmp_path, "--out", tmp_path / "s.csv")
    assert done.returncode == 1
    assert "not a finished data set" in done.stderr
