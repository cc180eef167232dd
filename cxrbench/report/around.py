"""Tables of the images behind the scores, and of how the runs were made."""

from collections.abc import Sequence

from cxrbench.report.cells import Cell, Column, Facts, Row, Table, count, figure, flat, name, pairs, text
from cxrbench.report.scored import place_of
from cxrbench.report.values import share

NUM_HEATS = 10
MOST_FOUND = 20  # of each kind of trouble in an audit
HASHES = {"data": "data_sha256", "weights": "weights_sha256"}


def parts(facts: Facts) -> Table | None:
    """Images, patients, and how many have each finding."""
    found = {part: each for part, each in ((facts["data"] or {}).get("parts") or {}).items() if each}
    if not found:
        return None
    columns = [Column("images with"), *(Column(part) for part in found)]
    head = [
        Row((text(title), *(count(each[key]) if each.get(key) is not None else text("") for each in found.values())))
        for title, key in (("images", "images"), ("patients", "patients"), ("no finding", "no_finding"))
    ]
    names = dict.fromkeys(finding for each in found.values() for finding in each.get("findings") or ())
    rows = [
        Row((name(finding), *(of_part(each, finding) for each in found.values())), finding=place_of(facts, finding))
        for finding in names
    ]
    return Table("parts-table", "Images by part and finding", columns, rows, head)


def of_part(part: Facts, finding: str) -> Cell:
    value = (part.get("findings") or {}).get(finding)
    if value is None:
        return figure(None, "")
    return figure(value, f"{value:,}", share(value / part["images"]) if part["images"] else "")


def together(facts: Facts) -> Table | None:
    """Which findings occur with which; the darker, the larger the share of the row's images."""
    found = (facts["data"] or {}).get("together")
    if not found or not found["findings"]:
        return None
    names, counts = found["findings"], found["counts"]
    rows = [
        Row(
            (name(one), *(shaded(counts[i][j], counts[i][i], one, other) for j, other in enumerate(names))),
            finding=place_of(facts, one),
        )
        for i, one in enumerate(names)
    ]
    caption = f"Findings that occur together in the part {found['part']}: images with the row's and the column's"
    columns = [Column("finding"), *(Column(each.replace("_", " ")) for each in names)]
    notes = ["The darker, the larger the share of the images with the row's finding; the diagonal counts these images."]
    return Table("together-table", caption, columns, rows, notes=notes, kind="upright")


def shaded(number: int, of: int, one: str, other: str) -> Cell:
    part = number / of if of else 0.0
    about = f"{number:,} of {of:,} images with {one} also have {other} ({part:.1%})" if one != other else ""
    kind = f"heat heat{min(NUM_HEATS - 1, int(part * NUM_HEATS))}" if number and one != other else "heat"
    return figure(number, f"{number:,}", about=about, kind=kind)


def quarantine(facts: Facts) -> Table | None:
    found = (facts["data"] or {}).get("quarantine")
    if not found or not found["count"]:
        return None
    rows = [Row((text(each["name"]), text(each["reason"], 300))) for each in found["images"]]
    left = found["count"] - len(rows)
    notes = [f"And {left:,} more."] if left > 0 else []
    caption = f"{found['count']:,} images put aside at conversion, and why"
    return Table("quarantine-table", caption, (Column("image"), Column("reason")), rows, notes=notes)


def about_data(facts: Facts) -> Table | None:
    data = facts["data"] or {}
    keys = ("folder", "split", "images", "patients", "encoding", "size_px", "sha256")
    rows = [(key.replace("_", " "), data.get(key)) for key in keys]
    return pairs(rows, "about-data", "The data set") if any(value is not None for _, value in rows) else None


def leakage(facts: Facts) -> list[str]:
    """In sentences."""
    found = (facts["data"] or {}).get("leakage")
    if not found:
        return []
    if not found.get("patients_in_several_parts"):
        return ["No patient is in two parts of the split."]
    examples = ", ".join(str(each) for each in found.get("examples", ())[:5])
    lines = [f"{found['patients_in_several_parts']:,} patients are in several parts, such as {examples}."]
    if touched := found.get("test_images_of_training_patients"):
        part = share(found.get("share_of_test"))
        lines.append(f"{touched:,} test images ({part}) show a patient of the training part: scores are too good.")
    return lines


def audit(facts: Facts) -> list[Table]:
    """Whatever an audit found, kind by kind."""
    found = (facts["data"] or {}).get("audit")
    if not found:
        return []
    oddities = [
        (kind.replace("_", " "), f"{each['images']:,} images, such as {', '.join(map(str, each['examples']))}")
        for kind, each in (found.get("oddities") or {}).items()
        if each.get("images")
    ]
    files = [(key.replace("_", " "), told(each)) for key, each in (found.get("files") or {}).items()]
    tables = [
        pairs(flat({key: found.get(key) for key in ("labels", "policy", "images", "patients")}), "audit", "Audit"),
        pairs(oddities, "audit-oddities", "Oddities of the table"),
        pairs(files, "audit-files", "The image files"),
    ]
    return [table for table in tables if table.rows]


def told(value: object) -> object:
    """A count and the first of many."""
    if isinstance(value, list | dict) and value:
        some = list(value.items() if isinstance(value, dict) else value)[:MOST_FOUND]
        return f"{len(value):,}: " + "; ".join(one(each) for each in some)
    return value


def one(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {one(each)}" for key, each in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(one(each) for each in value)
    return str(value)


def made(run: Facts, number: int) -> Table:
    """Where it ran, with what, and of which bytes."""
    rows = [("folder", run.get("folder")), ("predictions", run.get("predictions"))]
    rows += [(f"{title} SHA-256", run.get(key)) for title, key in HASHES.items()]
    rows += [(title, value) for title, value in flat(run.get("environment") or {}) if title != "command"]
    return pairs(rows, f"made-{number}", f"{run['name']}: where and of what")
