"""What the docs say of the code is what the code says."""

import subprocess
import sys
from pathlib import Path

import pytest

from cxrbench import cli

ROOT = Path(__file__).parents[2]


def test_generated_texts_are_current():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "docs", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_is_in_the_readme_and_the_command_line_page(verb: str):
    assert f"cxrbench {verb}" in (ROOT / "README.md").read_text()
    assert f"## cxrbench {verb}" in (ROOT / "docs" / "cli.md").read_text()


def test_links_between_the_pages_lead_somewhere():
    import re

    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
