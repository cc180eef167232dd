"""The parts of a split side by side, as text."""

from typing import Any


def parts_text(parts: dict[str, Any]) -> str:
    """A column a part: how many images and patients, who they are, and each finding's share."""
    rows = [["", *parts], ["images"], ["patients"], ["median age"], ["female %"], ["AP %"], ["no finding %"]]
    findings = list(next(iter(parts.values()))["findings"])
    rows += [[f"{name} %"] for name in findings]
    for part in parts.values():
        shares = [part["sex"].get("F", 0), part["view"].get("AP", 0), part["no_finding"], *part["findings"].values()]
        age = "-" if part["median_age"] is None else f"{part['median_age']:.0f}"
        values = [f"{part['images']:,}", f"{part['patients']:,}", age]
        values += [f"{100 * share / max(part['images'], 1):.2f}" for share in shares]
        for row, value in zip(rows[1:], values, strict=True):
            row.append(value)
    return "\n".join(f"{row[0]:<22}" + "".join(f"{value:>10}" for value in row[1:]) for row in rows)
