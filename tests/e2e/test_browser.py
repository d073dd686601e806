"""The report in a real browser: no errors, no requests, readable on a phone, usable by keyboard."""

import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from holdfast.report import html
from tests.report import samples

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = [
    "--no-sandbox",  # tests may run as root in a container
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless Chromium that was installed by the system; nothing is downloaded."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the sample assessments."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    both = [samples.assessment(), samples.assessment(hard=True)]
    path.write_text(html.render(both, samples.tensor, "today"), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on a model whose every name is an attack."""
    path = tmp_path_factory.mktemp("report") / "hostile.html"
    path.write_text(html.render([samples.hostile()], samples.tensor, "today"), encoding="utf-8")
    return path


class Visit:
    """A page with all that went wrong or was asked for while it was open."""

    def __init__(self, browser: Any, path: Path, width: int = 1280, **context: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **context)
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.said: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append("dialog"), dialog.dismiss()))
        self.page.goto(path.as_uri())

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *error: object) -> None:
        self.context.close()


def outside(asked: list[str], path: Path) -> list[str]:
    return [url for url in asked if not url.startswith((path.as_uri(), "data:"))]


def test_the_report_opens_without_errors_and_asks_for_nothing(chromium: Any, file: Path) -> None:
    with Visit(chromium, file) as visit:
        visit.page.wait_for_load_state("networkidle")
        assert visit.said == []
        assert visit.asked
        assert outside(visit.asked, file) == []
        answers = visit.page.locator(".verdict .answer").all_inner_texts()
        assert [answer.split()[-1] for answer in answers] == ["Blocked", "Allowed"]


def test_hostile_names_run_nothing(chromium: Any, hostile: Path) -> None:
    with Visit(chromium, hostile) as visit:
        visit.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        visit.page.wait_for_load_state("networkidle")
        assert visit.said == []
        assert outside(visit.asked, hostile) == []
        assert visit.page.locator("script, iframe, img[onerror], svg[onload]").count() == 0


def test_every_link_inside_the_page_leads_to_an_element(chromium: Any, file: Path) -> None:
    with Visit(chromium, file) as visit:
        lost = visit.page.evaluate(
            """() => [...document.querySelectorAll('a[href^="#"]')]
                .map(a => a.getAttribute('href').slice(1)).filter(id => !document.getElementById(id))"""
        )
        assert lost == []
        assert visit.page.locator('a[href^="#"]').count() > 50


@pytest.mark.parametrize(("name", "width"), [("file", 390), ("file", 1280), ("hostile", 320)])
def test_nothing_sticks_out_sideways(
    chromium: Any, request: pytest.FixtureRequest, name: str, width: int
) -> None:
    with Visit(chromium, request.getfixturevalue(name), width) as visit:
        for state in ("false", "true"):
            visit.page.evaluate(
                f"document.querySelectorAll('details').forEach(d => d.open = {state})"
            )
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


def test_details_open_and_close_by_keyboard(chromium: Any, file: Path) -> None:
    with Visit(chromium, file) as visit:
        check = visit.page.locator("details.check").first
        content = check.locator("p, table").first
        assert not content.is_visible()
        check.locator("summary").focus()
        visit.page.keyboard.press("Enter")
        assert content.is_visible()
        visit.page.keyboard.press("Enter")
        assert not content.is_visible()


def test_a_link_to_a_closed_record_shows_its_place(chromium: Any, file: Path) -> None:
    with Visit(chromium, file) as visit:
        visit.page.locator(".finding .sources a[href$='-record']").first.click()
        assert visit.page.locator("details.record").first.is_visible()
        box = visit.page.locator(":target").bounding_box()
        assert box is not None
        assert -1 <= box["y"] < 900


def test_the_report_can_be_read_without_scripts_and_in_the_dark(chromium: Any, file: Path) -> None:
    with Visit(chromium, file, color_scheme="dark", java_script_enabled=False) as visit:
        assert visit.page.locator(".verdict").first.is_visible()
        shade = visit.page.screenshot(clip={"x": 0, "y": 0, "width": 8, "height": 8})
    assert max(Image.open(BytesIO(shade)).convert("L").getextrema()) < 60


def test_contents_stay_in_sight_on_a_desk_and_fold_on_a_phone(chromium: Any, file: Path) -> None:
    with Visit(chromium, file) as visit:
        visit.page.mouse.wheel(0, 4000)
        visit.page.wait_for_function("window.scrollY > 3000")
        box = visit.page.locator(".contents.wide").bounding_box()
        assert box is not None
        assert 0 <= box["y"] < 200
    with Visit(chromium, file, 390) as visit:
        assert not visit.page.locator(".contents.wide").is_visible()
        assert not visit.page.locator(".contents.narrow ol").first.is_visible()
        verdict = visit.page.locator(".verdict .answer").first.bounding_box()
        assert verdict is not None
        assert verdict["y"] < 500  # the answer is on the first screen


def test_in_print_everything_is_open_and_nothing_is_dark(chromium: Any, file: Path) -> None:
    with Visit(chromium, file, color_scheme="dark") as visit:
        assert not visit.page.locator("details.check table").first.is_visible()
        visit.page.emulate_media(media="print", color_scheme="dark")
        assert not visit.page.locator(".contents.wide").is_visible()
        assert visit.page.locator("details.check table").first.is_visible()
        ink = visit.page.evaluate(
            "getComputedStyle(document.documentElement).getPropertyValue('--paper')"
        )
        assert ink.strip() == "#fff"
        assert visit.page.pdf(format="A4")[:5] == b"%PDF-"
