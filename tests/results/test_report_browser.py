"""A report opened in Chromium, from its file: it works, asks for nothing, and runs nothing that the data hold."""

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import job_values, write
from hostile import EVIL, EVIL_VALUES, evil_columns

from orchestrator import job as jobs
from orchestrator import runs
from orchestrator.results import report

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed; on Debian: apt-get install chromium"),
]
MOST_BYTES, MOST_SECONDS = 8_000_000, 20.0
PHONE = 390


@pytest.fixture(scope="module")
def page_path(tmp_path_factory) -> Path:
    """Return the report of 1,040 trials over data with hostile names and values."""
    folder = tmp_path_factory.mktemp("browser")
    write(folder / "data.parquet", evil_columns(200))
    space = {
        "n_neighbors": {"low": 1, "high": 65},
        "weights": ["uniform", "distance"],
        "metric": ["euclidean", "manhattan"],
        "scaler": ["standard", "none", "minmax", "robust"],
    }
    values = job_values(
        data__path=str(folder / "data.parquet"), data__sensitive=[EVIL], searches__0__space=space, metric="neg_log_loss"
    )
    path = runs.run(jobs.from_dict(values), folder / "run", executor="inline").path
    started = time.monotonic()
    found = report.write(path)
    assert time.monotonic() - started < MOST_SECONDS
    assert found.stat().st_size < MOST_BYTES
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as engine:
        started = engine.chromium.launch(executable_path=CHROMIUM, args=options)
        yield started
        started.close()


class Opened:
    """A report in a window, with all that it asked for and complained about."""

    def __init__(self, browser, path, *, width=1280, scheme="light"):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.requests, self.complaints = [], []
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(path.as_uri())

    def rows(self):
        return self.page.locator(".board tbody tr:visible")

    def column(self, name):
        names = self.page.locator(".board thead th").all_inner_texts()
        at = next(i for i, one in enumerate(names) if one.strip("↑↓ ") == name)
        return [row.locator("td").nth(at).inner_text() for row in self.rows().all()]

    def sort_by(self, name):
        self.page.locator(".board thead th button", has_text=re.compile(f"^{re.escape(name)}$")).click()


@pytest.fixture
def opened(browser, page_path) -> Iterator[Opened]:
    one = Opened(browser, page_path)
    yield one
    assert one.complaints == []
    assert {url for url in one.requests if not url.startswith("data:")} == {page_path.as_uri()}
    one.context.close()


def test_the_leaderboard_sorts_by_any_column(opened):
    opened.sort_by("n_neighbors")
    ascending = [int(text) for text in opened.column("n_neighbors") if text != "–"]
    assert ascending == sorted(ascending)
    assert ascending[0] == 1
    opened.sort_by("n_neighbors")
    assert opened.column("n_neighbors")[:16] == ["65"] * 16
    opened.sort_by("trial")
    assert opened.column("trial")[0] == "dummy/0"


def test_the_leaderboard_filters_by_words_and_shows_all_when_asked(opened):
    assert opened.rows().count() == 50
    opened.page.fill(".board input", "manhattan minmax distance")
    assert opened.rows().count() == 50
    assert "65 found" in opened.page.inner_text(".board output")
    opened.page.click(".board .more")
    assert opened.rows().count() == 65
    assert set(opened.column("metric")) == {"manhattan"}
    opened.page.fill(".board input", "")
    assert opened.rows().count() == 1041
    opened.page.fill(".board input", "no such value")
    assert opened.rows().count() == 0


def test_hostile_names_and_values_are_shown_and_do_not_run(opened):
    page = opened.page
    for mark in page.locator("[data-tip]").all()[:20]:
        mark.dispatch_event("pointermove")
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.scripts.length") == 1
    assert page.evaluate("document.images.length") == 0
    text = page.inner_text("main")
    assert EVIL in text
    assert EVIL_VALUES[0] in text


def test_without_its_policy_too_nothing_hostile_runs(browser, page_path, tmp_path):
    bare = tmp_path / "bare.html"
    bare.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page_path.read_text()))
    one = Opened(browser, bare)
    assert one.page.evaluate("window.hacked") is None
    assert one.complaints == []
    assert one.requests == [bare.as_uri()]
    one.context.close()


def test_marks_say_what_they_are_when_they_are_pointed_at(opened):
    mark = opened.page.locator("#hyperparameters circle[data-tip]").last
    mark.scroll_into_view_if_needed()
    mark.hover(force=True)
    assert opened.page.inner_text("#tip").startswith("knn/")


def test_the_theme_follows_the_system_and_the_button(browser, page_path, tmp_path):
    papers = {}
    for scheme in ("light", "dark"):
        one = Opened(browser, page_path, scheme=scheme)
        papers[scheme] = one.page.evaluate("getComputedStyle(document.body).backgroundColor")
        one.page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
        one.page.click(".theme")
        papers[f"{scheme}, other"] = one.page.evaluate("getComputedStyle(document.body).backgroundColor")
        one.context.close()
    assert papers["light"] == papers["dark, other"] != papers["dark"] == papers["light, other"]


def test_on_a_phone_nothing_is_wider_than_the_page(browser, page_path, tmp_path):
    one = Opened(browser, page_path, width=PHONE)
    one.page.screenshot(path=tmp_path / "phone.png", full_page=True)
    assert one.page.evaluate("document.documentElement.scrollWidth") <= PHONE
    too_wide = one.page.locator("main *").evaluate_all(
        "all => all.filter(one => !one.closest('.scroll, pre, svg'))"
        ".filter(one => one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 200))"
    )
    assert too_wide == []
    one.context.close()


def test_on_paper_it_is_white_and_without_controls(browser, page_path, tmp_path):
    one = Opened(browser, page_path, scheme="dark")
    one.page.emulate_media(media="print")
    assert one.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert one.page.locator("nav:visible, .controls:visible").count() == 0
    assert one.rows().count() == 30
    one.page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert (tmp_path / "report.pdf").stat().st_size > 0
    one.context.close()
