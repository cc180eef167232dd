"""A report's page in a browser: what it does, what it never asks for, and that all can use it."""

import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cxrbench.report.page import page as draw
from tests import report_facts

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine to show pages in")

Open = Callable[..., Any]
A4_PX = 688  # less the margins
TEXTS = "all => all.map(each => each.firstChild.textContent)"
AS_WIDE_AS_THE_SCREEN = "document.documentElement.scrollWidth <= innerWidth"
VIOLATIONS = {"resultTypes": ["violations"]}  # the rest need not be told of in full
UNDRAWN = "all => all.filter(each => each.getClientRects().length === 0).length"
OPEN_ALL = "document.querySelectorAll('details').forEach(each => { each.open = true; })"
PAGES = {
    "usual": lambda: report_facts.facts(14, 3, 8, with_benches=True),
    "small": lambda: report_facts.facts(2, 2, 4, size_px=32),
    "many": report_facts.many,
    "alone": report_facts.alone,
    "hostile": report_facts.hostile,
    "empty": report_facts.empty,
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name, facts in PAGES.items():
        (folder / f"{name}.html").write_text(draw(facts()), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in PAGES}


@pytest.fixture
def opened(browser: Any, files: dict[str, Path]) -> Iterator[Open]:
    """Opens a page; at the end, nothing may have gone wrong, and nothing have been asked for but the page itself."""
    contexts, wrong = [], []

    def open_page(name: str = "usual", width: int = 1280, **how: Any) -> Any:
        contexts.append(context := browser.new_context(viewport={"width": width, "height": 900}, **how))
        page, address = context.new_page(), files[name].as_uri()

        def route(request: Any) -> None:
            if request.request.url == address:
                request.continue_()
            else:
                wrong.append(f"asked for {request.request.url}")
                request.abort()

        context.route("**/*", route)
        page.on("console", lambda message: wrong.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def test_a_table_is_sorted_by_number_and_back_with_the_undefined_last(opened: Open):
    table = opened().locator("#auroc table").first
    head, cells = table.locator("thead tr").last.locator("th").nth(2), table.locator("tbody td:nth-child(3)")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    *rising, last = cells.evaluate_all(TEXTS)
    assert last == "none"
    assert list(map(float, rising)) == sorted(map(float, rising))
    head.locator("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert cells.evaluate_all(TEXTS) == [*rising[::-1], "none"]
    assert table.locator("tfoot th").evaluate_all(TEXTS) == ["macro", "weighted", "micro"]


def test_sorting_is_stable_and_by_name_too(opened: Open):
    table = opened().locator("#runs table")
    heads, names = table.locator("thead th"), table.locator("tbody th")
    heads.first.locator("button").click()
    by_name = names.evaluate_all(TEXTS)
    assert by_name == sorted(by_name)
    heads.nth(3).locator("button").click()  # all have as many images
    assert names.evaluate_all(TEXTS) == by_name
    assert [each.get_attribute("aria-sort") for each in heads.all()].count("ascending") == 1


def test_runs_that_are_not_chosen_are_hidden_everywhere(opened: Open):
    page = opened()
    page.get_by_role("checkbox", name="all/head").uncheck()
    assert page.locator('main [data-run="1"]').count() > 50
    assert page.locator('main [data-run="1"]:visible').count() == 0
    assert page.locator("#auroc table").first.locator('tbody td[data-run="2"]').first.is_visible()
    page.get_by_role("checkbox", name="all/head").check()
    assert page.locator('#auroc .scroll [data-run="1"]').first.is_visible()


def test_one_finding_or_all(opened: Open):
    page = opened()
    page.locator(".choose select").select_option(label="Effusion")
    assert page.locator("#roc figure:visible figcaption").all_inner_texts() == ["Effusion"]
    rows = page.locator("#auroc table").first.locator("tbody tr:visible th")
    assert rows.all_inner_texts() == ["Effusion"]
    page.locator(".choose select").select_option(label="all")
    assert page.locator("#roc figure:visible").count() == 13  # of Hernia there is none


def test_examples_are_chosen_by_kind_and_finding_and_run(opened: Open):
    page = opened()
    choose, shown = page.locator(".filter"), page.locator(".example:visible")
    assert shown.count() == 8
    choose.locator("select[name=kind]").select_option("miss")
    assert shown.count() == 2
    assert choose.locator("output").inner_text() == "2 of 8"
    choose.locator("select[name=finding]").select_option("Nodule")
    assert shown.locator("h3").all_inner_texts() == ["miss Nodule"]
    choose.locator("select[name=run]").select_option("all/baseline")
    assert shown.count() == 0


def test_a_chart_says_its_nearest_point_to_pointer_and_keyboard(opened: Open):
    page = opened()
    chart, tip = page.locator("#auroc svg.chart").first, page.locator("#tip")
    assert tip.is_hidden()
    chart.scroll_into_view_if_needed()
    chart.hover(position={"x": 300, "y": 40})
    assert "all/" in tip.inner_text()
    page.mouse.move(2, 2)
    assert tip.is_hidden()
    chart.focus()
    page.keyboard.press("Home")
    assert tip.inner_text().startswith("Atelectasis, all/baseline: 0.")
    page.keyboard.press("ArrowRight")
    assert tip.inner_text().startswith("Cardiomegaly, all/baseline: 0.")
    page.keyboard.press("Escape")
    assert tip.is_hidden()
    curve = page.locator("#roc svg.chart").first
    curve.focus()
    page.keyboard.press("Home")
    assert tip.inner_text() == "all/baseline: 1 - specificity 0, sensitivity 0"


def test_a_command_is_copied(opened: Open):
    page = opened(permissions=["clipboard-read", "clipboard-write"])
    page.locator("#made .code button").first.click()
    page.locator("#made .code button", has_text="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "cxrbench report runs/all --out report.html"


def test_dark_as_the_system_is_or_by_the_button(opened: Open):
    paper = "getComputedStyle(document.body).backgroundColor"
    light, dark = (opened("small", color_scheme=scheme).evaluate(paper) for scheme in ("light", "dark"))
    assert light != dark
    page = opened("small", color_scheme="light")
    page.locator(".theme").click()
    assert page.evaluate(paper) == dark
    page.reload()
    assert page.evaluate(paper) == light  # it remembers nothing


@pytest.mark.parametrize("name", ["usual", "many", "hostile", "empty"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_itself_never_scrolls_sideways(opened: Open, name: str, width: int):
    page = opened(name, width=width)
    page.evaluate(OPEN_ALL)
    assert page.evaluate(AS_WIDE_AS_THE_SCREEN)


def test_on_a_telephone_wide_tables_scroll_and_their_first_column_stays(opened: Open):
    page = opened(width=360)
    box = page.locator("#auroc .scroll").first
    assert box.evaluate("each => each.scrollWidth > each.clientWidth")
    name = box.locator("tbody th").first
    before = name.bounding_box()
    box.evaluate("each => { each.scrollLeft = 300; }")
    assert name.bounding_box() == before


@pytest.mark.parametrize("with_scripts", [True, False])
def test_on_paper_everything_is_open_and_no_button_is_left(opened: Open, with_scripts: bool):
    page = opened(java_script_enabled=with_scripts)
    page.emulate_media(media="print")
    for what in (".scroll:not(.on-screen) tbody td", ".on-paper tbody td", "svg.chart", ".example img", "pre"):
        assert page.locator(what).evaluate_all(UNDRAWN) == 0, what
    assert page.locator("button:visible:not(th button), select:visible").count() == 0
    assert with_scripts or page.pdf(format="A4").startswith(b"%PDF")


@pytest.mark.parametrize("name", ["usual", "many", "hostile"])
def test_tables_fit_on_the_paper(opened: Open, name: str):
    page = opened(name, width=A4_PX)
    page.emulate_media(media="print")
    assert page.evaluate(AS_WIDE_AS_THE_SCREEN)
    widths = page.locator("table").evaluate_all("all => all.map(each => each.getBoundingClientRect().right)")
    assert max(widths) <= A4_PX
    wide, pieces = page.locator("#auroc .on-screen"), page.locator("#auroc .on-paper")
    assert (wide.count() > 0) == (pieces.count() > 0) == (name == "many")
    assert wide.locator(":visible").count() == 0
    page.emulate_media(media="screen")
    assert pieces.locator(":visible").count() == 0


@pytest.mark.parametrize("width", [360, 1280])
def test_a_heading_that_a_link_leads_to_is_not_covered(opened: Open, width: int):
    page = opened("many", width=width)
    for key in ("auroc", "groups", "made"):
        page.locator(f"nav a[href='#{key}']").click()
        page.wait_for_function("key => location.hash === `#${key}`", arg=key)
        bar, head = page.locator(".choose").bounding_box(), page.locator(f"#{key}-h").bounding_box()
        assert 0 <= head["y"] < 600
        assert head["y"] >= bar["y"] + bar["height"] or bar["y"] > head["y"] + head["height"]


@pytest.mark.parametrize("name", ["usual", "alone"])
def test_a_telephone_shows_figures_first(opened: Open, name: str):
    page = opened(name, width=360)
    assert page.locator("#runs thead th").nth(1).inner_text().startswith("macro AUROC")
    cell = page.locator("#runs tbody td").first.bounding_box()
    assert cell["x"] + cell["width"] <= 360
    assert cell["height"] < 60
    area = page.locator("#auroc tbody td").first
    assert area.bounding_box()["x"] + area.bounding_box()["width"] <= 360
    assert area.get_attribute("data-run") == "0"


def test_what_was_not_chosen_is_on_paper_all_the_same(opened: Open):
    page = opened("small")
    page.get_by_role("checkbox", name="all/head").uncheck()
    page.emulate_media(media="print")
    assert page.locator('#auroc td[data-run="1"]').first.is_visible()


def test_without_scripts_all_tables_and_charts_are_there_and_no_dead_control(opened: Open):
    page = opened(java_script_enabled=False)
    assert page.locator("table").count() > 20
    assert page.locator("svg.chart").count() > 40
    assert page.locator("#roc svg.chart").first.is_visible()
    assert page.locator("button:visible, select:visible, input:visible").count() == 0
    assert page.locator("#auroc svg .p title").first.text_content().startswith("Atelectasis, all/baseline: 0.")
    page.locator("summary").first.click()
    assert page.locator("details[open] table").first.is_visible()


def test_hostile_facts_stay_text(opened: Open):
    page = opened("hostile")
    assert page.locator("script").count() == page.locator("style").count() == 1
    assert page.locator("[onerror], [onload], iframe, object, a[href^=javascript]").count() == 0
    assert "<script>alert(1)</script>" in page.locator("h1").inner_text()
    images = page.locator("img").evaluate_all("all => all.filter(each => !each.src.startsWith('data:image/')).length")
    assert images == 0
    for head in page.locator("#auroc thead button:visible").all():
        head.click()
    for box in page.locator(".choose input").all():
        box.uncheck()
    page.locator(".filter select").nth(1).select_option(index=1)


def test_a_report_of_nothing_is_a_page_all_the_same(opened: Open):
    page = opened("empty")
    assert page.locator("h1").count() == 1
    assert "There is no run in this report." in page.locator("main").inner_text()


def test_headings_go_down_one_at_a_time_and_each_image_says_what_it_is(opened: Open):
    page = opened()
    levels = page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(each => Number(each.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    alts = page.locator("img").evaluate_all("all => all.map(each => each.alt)")
    assert len(alts) == 16
    assert alts[1] == "The same X-ray under the gradcam map for Atelectasis"
    ids = page.locator("[id]").evaluate_all("all => all.map(each => each.id)")
    assert len(ids) == len(set(ids))
    links = page.locator("nav a").evaluate_all("all => all.map(each => each.hash.slice(1))")
    assert set(links) <= set(ids)


def test_axe_finds_nothing_serious_and_enough_contrast_in_the_dark_too(opened: Open):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is missing")
    page = opened("small", color_scheme="light")
    page.evaluate(OPEN_ALL)
    assert serious(axe.Axe().run(page, options=VIOLATIONS)) == []
    page.emulate_media(color_scheme="dark")
    assert serious(axe.Axe().run(page, options=VIOLATIONS | {"runOnly": ["color-contrast"]})) == []


def serious(results: Any) -> list[tuple[str, str]]:
    found = [each for each in results.response["violations"] if each["impact"] in ("serious", "critical")]
    return [(each["id"], each["nodes"][0]["html"]) for each in found]
