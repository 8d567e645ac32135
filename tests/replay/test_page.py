"""The report's page in a real browser: what it says, on a screen, a phone and paper."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import get_args

import pytest

from replay.page import SAME
from replay.report import cell
from replay.runs import Run
from replay.stream import Ties
from tests.browser import Browser
from tests.replay.reports import HOSTILE, manifest, replayed, written


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("report"), replayed())


def test_the_page_loads_nothing_and_complains_of_nothing(browser: Browser, folder: Path) -> None:
    browser.open(folder / "report.html")
    asked = [event["request"]["url"] for event in browser.happened("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith("data:")] == [
        (folder / "report.html").resolve().as_uri()
    ]
    assert browser.happened("Runtime.exceptionThrown", "Runtime.consoleAPICalled") == []
    assert browser.happened("Log.entryAdded") == []


def test_the_headline_table_has_the_numbers_of_metrics_json(browser: Browser, folder: Path) -> None:
    browser.open(folder / "report.html")
    shown = browser.evaluate(
        "[...document.querySelectorAll('#headline tbody tr')]"
        ".map(row => [...row.cells].map(cell => cell.innerText))"
    )
    models = json.loads((folder / "metrics.json").read_text())["models"]
    assert shown == [
        [name, *(cell(value) for metric, value in values.items() if metric != SAME)]
        for name, values in models.items()
    ]
    marked = browser.evaluate("document.querySelector('#headline .best').innerText")
    assert marked == cell(max(values["recall@1"] for values in models.values()))


def test_the_name_of_a_stream_is_text_and_nothing_else(browser: Browser, folder: Path) -> None:
    browser.open(folder / "report.html")
    assert browser.evaluate("document.querySelector('h1').innerText") == HOSTILE
    assert browser.evaluate("document.scripts.length") == 0


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_the_page_is_never_wider_than_its_window(
    browser: Browser, folder: Path, width: int
) -> None:
    browser.open(folder / "report.html", width)
    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    too_wide = browser.evaluate(
        "[...document.querySelectorAll('svg, figure, p, dl')]"
        f".filter(e => e.getBoundingClientRect().right > {width}).length"
    )
    assert too_wide == 0


def test_the_tables_of_both_orders_fit_side_by_side(browser: Browser, tmp_path: Path) -> None:
    replay = replayed()
    several = [Run(ties, replay.results, manifest()) for ties in get_args(Ties) for _ in range(2)]
    browser.open(written(tmp_path, replay, others=several[1:]) / "report.html")
    tables = "[...document.querySelectorAll('#runs .scroll')]"
    assert browser.evaluate(f"new Set({tables}.map(e => e.getBoundingClientRect().top)).size") == 1
    assert browser.evaluate(f"{tables}.map(e => e.scrollWidth <= e.clientWidth)") == [True, True]


def test_every_figure_has_a_name_and_no_two_elements_share_an_id(
    browser: Browser, folder: Path
) -> None:
    browser.open(folder / "report.html")
    labels = browser.evaluate(
        "[...document.querySelectorAll('svg')].map(e => e.getAttribute('aria-label'))"
    )
    assert len(labels) == 9
    assert all(labels)
    assert browser.evaluate(
        "(ids => ids.length === new Set(ids).size)"
        "([...document.querySelectorAll('[id]')].map(e => e.id))"
    )


def test_a_line_below_a_row_is_the_same_under_all_its_cells(browser: Browser, folder: Path) -> None:
    browser.open(folder / "report.html")
    assert browser.evaluate(
        "[...document.querySelectorAll('tr')].every(row => new Set("
        "[...row.cells].map(cell => getComputedStyle(cell).borderBottomWidth)).size === 1)"
    )


def test_no_heading_of_a_column_is_broken_within_a_word(browser: Browser, folder: Path) -> None:
    browser.open(folder / "report.html")
    assert browser.evaluate(
        "[...document.querySelectorAll('#segments thead th')].flatMap(cell => [...cell.childNodes])"
        ".filter(node => node.nodeType === Node.TEXT_NODE).every(text => {"
        "const range = document.createRange(); range.selectNode(text);"
        "return range.getClientRects().length === 1; })"
    )


def test_the_page_can_be_printed_and_no_table_is_cut(browser: Browser, folder: Path) -> None:
    browser.open(folder / "report.html", width=688)  # A4 without its margins
    browser.ask("Emulation.setEmulatedMedia", media="print")
    cut = browser.evaluate(
        "[...document.querySelectorAll('table')]"
        ".filter(e => e.checkVisibility() && e.getBoundingClientRect().right > 688).length"
    )
    printed = base64.b64decode(browser.ask("Page.printToPDF", preferCSSPageSize=True)["data"])
    browser.ask("Emulation.setEmulatedMedia", media="")
    assert cut == 0
    assert printed.startswith(b"%PDF-")
    assert 2 <= printed.count(b"/Type /Page\n") <= 8
