"""NIH's CSV files as they really are: brackets with commas in the header, trailing commas, BOM, CRLF, gzip."""

import io
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv

from cxrbench.errors import DataError
from cxrbench.storage import read_text

SEPARATORS = {";": "semicolons", "\t": "tabs"}
MAX_SHOWN = 200
FIRST_ROW = 2  # of the data, counted as an editor counts: the header is line 1


def expand_header(line: str) -> list[str]:
    """`A[x,y],B,,` names the columns A[x], A[y] and B: the comma inside the brackets is not quoted in NIH's files."""

    def expand(match: re.Match[str]) -> str:
        return ",".join(f"{match[1].strip()}[{part.strip()}]" for part in match[2].split(","))

    names = re.sub(r"([^,\[\]]+)\[([^\]]*)\]", expand, line.replace('"', "")).split(",")
    while names and not names[-1].strip():
        names.pop()
    return [name.strip() for name in names]


def read_csv(path: Path, needed: Sequence[str], what: str) -> pd.DataFrame:
    """Every value as text, one column a name of the header; `needed` columns are there, or it is not `what` we want."""
    text = read_text(path).replace("\r\n", "\n").replace("\r", "\n")
    header, _, body = text.rstrip("\n").partition("\n")
    if not header.strip():
        raise DataError("the CSV is empty", got=path)
    for separator, name in SEPARATORS.items():
        if "," not in header and separator in header:
            raise DataError(
                f"the CSV is separated by {name}", got=path, allowed="commas", do="export it again with commas"
            )
    names = expand_header(header)
    missing = [name for name in needed if name not in names]
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)}", got=", ".join(names)[:MAX_SHOWN], do=f"give {what}"
        )
    if len(set(names)) < len(names):
        raise DataError(f"{path} names a column twice", got=", ".join(names))
    first_row = body.split("\n", 1)[0]
    if not first_row:
        raise DataError("the CSV has a header and no rows", got=path)
    # Kaggle's original ends header and rows with a comma: one more column, always empty.
    columns = [*names, ""] if first_row.endswith(",") and first_row.count(",") == len(names) else names
    return parse(body, columns, path).loc[:, names]


def parse(body: str, columns: list[str], path: Path) -> pd.DataFrame:
    ragged: list[str] = []

    def refuse(row: arrow_csv.InvalidRow) -> str:
        ragged.append(f"{row.actual_columns} values instead of {row.expected_columns} in {row.text[:80]!r}")
        return "skip"

    try:
        table = arrow_csv.read_csv(
            io.BytesIO(body.encode()),
            read_options=arrow_csv.ReadOptions(column_names=columns),
            parse_options=arrow_csv.ParseOptions(invalid_row_handler=refuse, ignore_empty_lines=False),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise DataError("cannot parse the CSV", got=f"{path}: {error}") from None
    if ragged:
        raise DataError(
            f"{len(ragged)} rows of {path} have the wrong number of values", got=ragged[0], do="repair the CSV"
        )
    frame: pd.DataFrame = table.to_pandas()
    for column in columns:
        frame[column] = frame[column].str.strip()
    return frame
