from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cxrbench.dataset import manifest
from cxrbench.dataset.encodings import ENCODINGS
from cxrbench.errors import DataError
from cxrbench.labels import NIH14


def sample(number: int, **others: Any) -> dict[str, Any]:
    about = {"id": number, "name": f"{number:08d}_000.png", "patient": number, "follow_up": 0, "age": 50, "sex": "F"}
    about |= {"view": "PA", "labels": ["Mass"], "official": "none", "sha256": f"{number:064x}", "width": 8, "height": 8}
    return about | {"source_width": 8, "source_height": 8, "kept": False, "shard": 0, "offset": 512, "size": 1} | others


def test_the_table_comes_back_in_the_order_of_the_shards_with_a_column_a_finding(tmp_path: Path):
    samples = [sample(0, labels=["Mass", "Hernia"], age=None, sex=None), sample(1), sample(2, labels=[])]
    manifest.write_samples([samples[:2], [], samples[2:]], tmp_path)
    table = manifest.read_samples(tmp_path)
    assert table["id"].tolist() == [0, 1, 2]
    assert table.columns[-14:].tolist() == list(NIH14)
    assert table["Mass"].tolist() == [1, 1, 0]
    assert table["Hernia"].tolist() == [1, 0, 0]
    assert table[list(NIH14)].to_numpy().sum() == 3
    assert pd.isna(table["age"][0])
    assert pd.isna(table["sex"][0])
    assert "labels" not in table


def test_types_in_the_file_do_not_depend_on_the_values(tmp_path: Path):
    """Readers in other languages see the same columns whether or not an age or a sex is missing."""
    schemas = []
    for age, sex in ((50, "F"), (None, None)):
        manifest.write_samples([[sample(0, age=age, sex=sex)]], tmp_path)
        schemas.append(pq.read_schema(tmp_path / manifest.SAMPLES))
    assert schemas[0] == schemas[1]
    assert {str(schemas[0].field(name).type) for name in NIH14} == {"uint8"}
    assert str(schemas[0].field("age").type) == "int16"
    assert schemas[0].metadata is None, "pandas' own notes hold its version"


def test_the_same_samples_give_the_same_bytes_however_they_are_cut_into_shards(tmp_path: Path):
    samples = [sample(number) for number in range(20)]
    manifest.write_samples([samples], tmp_path)
    first = (tmp_path / manifest.SAMPLES).read_bytes()
    manifest.write_samples([samples[:1], samples[1:7], samples[7:]], tmp_path)
    assert (tmp_path / manifest.SAMPLES).read_bytes() == first


def test_samples_of_nothing_but_healthy_people(tmp_path: Path):
    manifest.write_samples([[sample(0, labels=[])]], tmp_path)
    assert manifest.read_samples(tmp_path)[list(NIH14)].to_numpy().tolist() == [[0] * 14]


def test_the_manifest_comes_back(tmp_path: Path):
    about = {"schema_version": manifest.SCHEMA_VERSION, "images": 3, "shards": []}
    manifest.write_manifest(about, tmp_path)
    assert manifest.read_manifest(tmp_path).items() >= about.items()


def test_a_folder_that_is_no_data_set_is_refused_with_what_to_do(tmp_path: Path):
    with pytest.raises(DataError, match="not a finished data set.*make one with `cxrbench shard`"):
        manifest.read_manifest(tmp_path)
    (tmp_path / ".work").mkdir()
    with pytest.raises(DataError, match="not a finished data set.*again"):
        manifest.read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"text"', "\x00"])
def test_broken_manifests_are_refused_by_name(tmp_path: Path, text: str):
    (tmp_path / manifest.MANIFEST).write_text(text)
    with pytest.raises(DataError, match=r"manifest.*dataset\.json"):
        manifest.read_manifest(tmp_path)


def test_another_versions_manifest_is_refused(tmp_path: Path):
    manifest.write_manifest({"schema_version": manifest.SCHEMA_VERSION + 1}, tmp_path)
    with pytest.raises(DataError, match="another version.*schema 2.*allowed: 1"):
        manifest.read_manifest(tmp_path)


def test_a_table_of_other_columns_is_refused_by_name(tmp_path: Path):
    pq.write_table(pa.table({"id": [1]}), tmp_path / manifest.SAMPLES)
    with pytest.raises(DataError, match=r"cannot read the table; got .*samples\.parquet.*name"):
        manifest.read_samples(tmp_path)


def test_a_broken_table_is_refused_by_name(tmp_path: Path):
    manifest.write_samples([[sample(0)]], tmp_path)
    path = tmp_path / manifest.SAMPLES
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"table.*samples\.parquet"):
        manifest.read_samples(tmp_path)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_versions_name_every_library_that_decides_the_bytes(encoding: str):
    found = manifest.versions(encoding)
    expected = {"cxrbench", "numpy", "pillow", "pyarrow", "imagecodecs", "numba", ENCODINGS[encoding].library}
    assert expected == set(found)
    assert all(version(name) == number for name, number in found.items())
