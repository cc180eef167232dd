"""One page of HTML that holds a whole report: no request to anywhere, complete without JavaScript, inert whatever names
it is given.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from itertools import count
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cxrbench.metrics.text import counted
from cxrbench.report.charts import Chart
from cxrbench.report.sections import sections
from cxrbench.report.svg import shape_of, svg, swatch
from cxrbench.report.values import clean, decimal, short

PICTURE = re.compile(r"data:image/(?:jpeg|png|webp);base64,[A-Za-z0-9+/=]*\Z")
LOADER = PackageLoader("cxrbench.report")
NO_PICTURE = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="


def page(facts: Mapping[str, Any]) -> str:
    cleaned = clean(facts)
    style, script = (source(name) for name in ("style.css", "page.js"))
    numbers = count(1)

    def draw(chart: Chart) -> Markup:
        return Markup(svg(chart, f"chart{next(numbers)}"))

    return (
        templates()
        .get_template("page.html")
        .render(
            facts=cleaned,
            sections=sections(cleaned),
            size=size_of(cleaned),
            style=Markup(style),
            script=Markup(script),
            policy=policy(style, script),
            draw=draw,
        )
    )


@cache
def templates() -> Environment:
    environment = Environment(
        loader=LOADER,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "capitalize_first": lambda text: text[:1].upper() + text[1:],
        "decimal": decimal,
        "exact": lambda value: "" if value is None else f"{value:.6g}",
        "picture_only": picture_only,
        "shape": shape_of,
        "short": short,
        "slug": lambda text: re.sub(r"[^a-z]+", "-", text.lower()),
        "spaced": lambda text: text.replace("_", " "),
    }
    environment.globals["swatch"] = lambda style, kind="line": Markup(swatch(style, kind))
    return environment


def source(name: str) -> str:
    """As it is: no template."""
    return LOADER.get_source(templates(), name)[0]


def policy(style: str, script: str) -> str:
    """This style and this script, pictures in the page itself, and nothing else."""
    return (
        f"default-src 'none'; img-src data:; style-src '{sha256(style)}'; script-src '{sha256(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def sha256(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def picture_only(address: object) -> str:
    """A picture in the page: an address of anything else is not followed."""
    return address if isinstance(address, str) and PICTURE.match(address) else NO_PICTURE


def size_of(facts: Mapping[str, Any]) -> str:
    """Of what was scored, where it is the same of all runs."""
    sizes = {(run["table"]["images"], run["table"]["patients"]) for run in facts["runs"]}
    if len(sizes) != 1:
        return ""
    images, patients = sizes.pop()
    return f"{counted(images, 'image')} of {counted(patients, 'patient')}"
