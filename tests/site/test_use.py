"""Using the site: sliders by keyboard, questions, search, buttons, other places to put it."""

import re
from pathlib import Path
from urllib.parse import unquote, urljoin

import pytest
import yaml
from test_pages import CONTENTS, READY, ROOT, watch

CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
REPOSITORY, BRANCH = CONFIG["repository"]["url"], CONFIG["repository"]["branch"]
NOTEBOOKS = [name for name in CONTENTS if (ROOT / f"{name}.ipynb").is_file()]
WITH_WIDGETS = [name for name in NOTEBOOKS if "widget-view+json" in (ROOT / f"{name}.ipynb").read_text()]

VISIBLE = """(box) => [...box.querySelectorAll('.advlens-frame')]
    .filter((f) => f.offsetParent !== null).map((f) => f.alt)"""


@pytest.fixture
def page(new_page):
    page = new_page()
    yield page
    page.context.close()


def tab_stops(page, box) -> list[int]:
    """Press Tab from just before the widget to just behind it.

    Returns what it met inside: the number of a slider, or -1 for any other control.
    """
    box.evaluate("""(box) => {
        for (const where of ['beforebegin', 'afterend']) box.insertAdjacentHTML(where, '<span tabindex="0">.</span>');
        box.previousElementSibling.focus(); }""")
    met = []
    for _ in range(20):
        page.keyboard.press("Tab")
        here = box.evaluate("""(box) => { const e = document.activeElement;
            return box.contains(e) ? [...box.querySelectorAll('.noUi-handle')].indexOf(e) : null; }""")
        if here is None:
            break
        met.append(here)
    return met


@pytest.mark.parametrize("name", WITH_WIDGETS)
def test_sliders_and_questions_work(page, address, name):
    page.goto(f"{address}/{name}.html")
    page.evaluate(READY)
    boxes = page.locator(".advlens-explore, .advlens-predict")
    for box in boxes.all():
        stops = tab_stops(page, box)
        if "advlens-predict" in box.get_attribute("class"):
            assert stops, "the question cannot be reached with Tab"
            answers_back(box)
        else:
            handles = box.locator(".noUi-handle").all()
            assert handles and set(range(len(handles))) <= set(stops), "a slider cannot be reached with Tab"
            for handle in handles:
                slides(page, box, handle)


def slides(page, box, handle):
    """One arrow key shows another frame, the other arrow brings the first one back."""
    before = box.evaluate(VISIBLE)
    assert len(before) == 1 and before[0], f"one frame with an alternative text should be visible, not {before}"
    at_the_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
    there, back = ("ArrowLeft", "ArrowRight") if at_the_end else ("ArrowRight", "ArrowLeft")
    handle.focus()
    page.keyboard.press(there)
    after = box.evaluate(VISIBLE)
    assert len(after) == 1 and after != before, "the arrow key does not change the figure"
    page.keyboard.press(back)
    assert box.evaluate(VISIBLE) == before
    assert handle.get_attribute("aria-label"), "the slider has no name"
    size = handle.evaluate("""(h) => { h.scrollIntoView({block: 'center', behavior: 'instant'});
        const s = h.getBoundingClientRect(), x = s.left + s.width / 2, y = s.top + s.height / 2;
        const mine = (dx, dy) => { const e = document.elementFromPoint(x + dx, y + dy); return !!e && h.contains(e); };
        return [mine(-21, 0), mine(21, 0), mine(0, -21), mine(0, 21)]; }""")
    assert all(size), "a finger needs 44 pixels to hold the slider"


def answers_back(box):
    """Nothing is said at first; each answer gets a reply, and exactly one is right."""
    replies = """(box) => [...box.querySelectorAll('.advlens-feedback')].filter((f) => f.offsetParent !== null)
        .map((f) => [f.innerText, f.classList.contains('advlens-right')])"""
    assert box.evaluate(replies) == []
    options = box.locator("input[type=radio]")
    met = []
    for k in range(options.count()):
        options.nth(k).check()
        shown = box.evaluate(replies)
        assert len(shown) == 1, f"answer {k} has {len(shown)} replies"
        met += shown
    assert len(met) >= 2 and sum(right for _, right in met) == 1


def test_search_finds_a_word(page, address):
    page.goto(f"{address}/search.html?q=epsilon")
    page.wait_for_selector("#search-results ul.search li a")
    links = page.locator("#search-results ul.search li a")
    assert links.count() >= 3
    links.first.click()
    assert ("epsilon" in page.locator("article").inner_text().lower()
            or "eps" in page.locator("article").inner_text().lower())


def test_a_dark_theme_can_be_chosen(page, address):
    page.goto(f"{address}/book/notation.html")
    theme = "() => document.documentElement.dataset.theme"
    seen = set()
    for _ in range(3):
        page.locator(".theme-switch-button:visible").first.click()
        seen.add(page.evaluate(theme))
    assert seen == {"light", "dark"}


@pytest.mark.parametrize("name", [name for name in CONTENTS])
def test_buttons_lead_to_the_right_place(page, address, site, name):
    html = (site / f"{name}.html").read_text()
    links = re.findall(r'<a\s+href="([^"]+)"[^>]*class="[^"]*dropdown-item[^"]*"', html)
    written = ROOT / f"{name}.py"
    if "student" in name:
        written = ROOT / "exercises" / f"{Path(name).name}.py"
    if not written.is_file():
        written = ROOT / f"{name}.md"
    assert f"{REPOSITORY}/edit/{BRANCH}/{written.relative_to(ROOT).as_posix()}" in links
    assert any(link.startswith(f"{REPOSITORY}/issues/new?") for link in links)
    assert REPOSITORY in links
    downloads = [urljoin(f"{address}/{name}.html", link) for link in links if "_sources/" in link]
    if name in NOTEBOOKS:
        colab = REPOSITORY.replace("https://github.com", "https://colab.research.google.com/github")
        assert f"{colab}/blob/{BRANCH}/{name}.ipynb" in links
        wanted = [f"{name}.ipynb"] + ([f"{name}.py"] if "student" not in name else [])
    else:
        wanted = [f"{name}.md"]
    for file in wanted:
        assert f"{address}/_sources/{file}" in downloads
        assert (site / "_sources" / unquote(file)).read_bytes() == (ROOT / file).read_bytes()
    # Solutions are not offered for download.
    assert not list((site / "_sources" / "exercises").rglob("*.py"))


@pytest.mark.parametrize("name", [CONTENTS[0], "book/notation"] + WITH_WIDGETS[-1:])
def test_opens_as_a_file_and_at_a_subpath(new_page, site, subpath, name):
    for start in (site.as_uri(), subpath):
        page = new_page()
        report = watch(page, start)
        page.goto(f"{start}/{name}.html")
        widgets = page.evaluate(READY)
        assert report.outside == report.missing == report.errors == []
        assert page.locator(".advlens-explore, .advlens-predict").count() == widgets
        page.context.close()


def test_the_first_page_is_the_landing_page(page, address):
    page.goto(address)
    page.wait_for_url("**/book/index.html")
    assert page.locator("article h1:visible").inner_text().strip("#\n ") == CONFIG["title"]


def test_the_address_of_the_repository_stands_in_one_place():
    owner = REPOSITORY.removeprefix("https://github.com/")
    for folder, ending in (("book", "*.md"), ("book", "*.py"), ("book/_ext", "*.py"), ("book/_templates", "*.html")):
        for file in (ROOT / folder).glob(ending):
            text = file.read_text()
            assert owner not in text or file.name == "index.py", f"{file} names the repository: write @repository@"
