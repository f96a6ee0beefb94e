"""What makes a page fast on a slow phone, and what it looks like on a narrow one.

`make lighthouse` prints the scores; they swing with the machine, so that the tests hold their causes.
"""

import gzip
import json
import re
from dataclasses import dataclass
from functools import lru_cache

import pytest
from test_pages import PAGES, READY

KILOBYTE = 1000
CHAPTER, OTHER = 900, 300  # kilobytes, compressed, without the weights of the lab's networks
WEIGHTS = re.compile(r"/_static/lab/(weights|images)-")

# Every move of something that the reader did not cause, from the very first.
WATCH_SHIFTS = """
  globalThis.shifts = [];
  new PerformanceObserver((list) => list.getEntries().filter((e) => !e.hadRecentInput).forEach((e) =>
    shifts.push([e.value, e.sources.map((s) => s.node && (s.node.nodeName + '.' + s.node.className)).join(' ')])))
    .observe({type: 'layout-shift', buffered: true});
"""

# Scrolls through the page as a reader does, so that what waits to come near comes.
SCROLL = """async () => {
  for (let y = 0; y < document.documentElement.scrollHeight; y += innerHeight * 0.8) {
    scrollTo({top: y, behavior: 'instant'});
    await new Promise((done) => setTimeout(done, 30));
  }
  scrollTo({top: 0, behavior: 'instant'});
}"""

# What sticks out of the screen and does not scroll in a box of its own; figures and widgets must not scroll either.
TOO_WIDE = """() => {
  const wide = document.documentElement.clientWidth;
  const cuts = (e) => /auto|scroll|hidden|clip/.test(getComputedStyle(e).overflowX);
  const boxed = (e) => e.parentElement !== null && (cuts(e.parentElement) || boxed(e.parentElement));
  const drawn = 'figure, .lens-picture, [data-lens]';
  const out = (e) => e.getBoundingClientRect().right > wide + 1;
  const drawer = (e) => e.closest('.bd-sidebar-secondary');  // slides in when it is asked for
  return [...document.querySelectorAll('main *')].filter((e) => e.checkVisibility() && !drawer(e) && (out(e)
      && (!boxed(e) || (e.closest(drawn) && !e.closest('.lens-unseen')))
      || (e.matches(drawn) && e.scrollWidth > e.clientWidth + 1 && cuts(e))))
    .slice(0, 5).map((e) => `${e.tagName}.${e.getAttribute('class')} in ${e.closest('[id]')?.id}`)
    .concat(document.documentElement.scrollWidth > wide ? [`page: ${document.documentElement.scrollWidth} px`] : []);
}"""

# Photographs and drawings in pixels need two for each of the screen's; images whose pixels are the subject do not.
BLURRED = """() => [...document.querySelectorAll('main img')].filter((i) => i.checkVisibility() && i.naturalWidth
      && !/\\.svg|data:image\\/svg/.test(i.currentSrc) && getComputedStyle(i).imageRendering !== 'pixelated'
      && i.naturalWidth < 2 * i.clientWidth - 1)
    .map((i) => `${i.naturalWidth} px on ${i.clientWidth}: ${i.alt.slice(0, 50)}`)"""


@dataclass
class Phone:
    kilobytes: float
    nodes: int
    shifts: list
    wide: list
    blurred: list


@pytest.fixture(scope="session")
def phone(new_page, address):
    @lru_cache(maxsize=None)
    def phone(name: str) -> Phone:
        page = new_page(360)
        page.add_init_script(WATCH_SHIFTS)
        answers = []
        page.on("requestfinished", lambda request: answers.append(request))
        page.goto(f"{address}/{name}.html")
        page.evaluate(READY)
        page.evaluate(SCROLL)
        page.wait_for_load_state("networkidle")
        report = Phone(
            kilobytes=sum(request.sizes()["responseBodySize"] for request in answers
                          if request.url.startswith(address) and not WEIGHTS.search(request.url)) / KILOBYTE,
            nodes=page.evaluate("() => document.querySelectorAll('*').length"),
            shifts=page.evaluate("() => shifts"), wide=page.evaluate(TOO_WIDE), blurred=page.evaluate(BLURRED))
        page.context.close()
        return report

    return phone


@pytest.mark.parametrize("name", PAGES)
class TestPhone:
    def test_is_light(self, phone, name):
        assert phone(name).kilobytes <= (CHAPTER if name.startswith("chapters/") else OTHER)

    def test_has_few_elements(self, phone, name):
        assert phone(name).nodes < 6000

    def test_stands_still(self, phone, name):
        shifts = phone(name).shifts
        assert sum(value for value, _ in shifts) < 0.05, sorted(shifts)[-3:]

    def test_is_as_wide_as_the_screen(self, phone, name):
        assert phone(name).wide == []

    def test_is_sharp(self, phone, name):
        assert phone(name).blurred == []

    def test_shows_its_text_before_any_script(self, site, name):
        """One stylesheet, and no script that the parser waits for but the few lines that choose the theme."""
        html = (site / f"{name}.html").read_text()
        assert len(re.findall(r'<link[^>]*rel="stylesheet"', html)) == 1
        scripts = re.findall(r"<script\b[^>]*\bsrc=[^>]*>", html)
        assert [tag for tag in scripts if not re.search(r"\b(defer|async)\b", tag)] == []


@pytest.mark.parametrize("name", [name for name in PAGES if name.startswith("chapters/")])
def test_no_script_lays_the_page_out_while_it_loads(browser, address, name):
    """A script that asks for a size gets it laid out on the spot, again after each change: seconds, on a phone."""
    page = browser.new_page(viewport={"width": 360, "height": 780})
    browser.start_tracing(page=page, categories=["devtools.timeline", "disabled-by-default-devtools.timeline.stack"])
    page.goto(f"{address}/{name}.html", wait_until="networkidle")
    events = json.loads(browser.stop_tracing())["traceEvents"]
    page.close()
    layouts = [event["args"]["beginData"] for event in events if event["name"] == "Layout" and event["ph"] == "X"]
    assert layouts
    forced = [begin["stackTrace"][0]["url"] for begin in layouts if begin.get("stackTrace")]
    forced = sorted(url for url in forced if url.startswith(address))  # the browser's own scripts are in the trace too
    assert len(forced) <= 6, forced


def test_the_stylesheet_is_small(site):
    assert len(gzip.compress((site / "_static" / "book.css").read_bytes(), 6)) <= 50 * KILOBYTE


@pytest.mark.parametrize("name", [name for name in PAGES if name != "search"])
def test_reads_well_without_javascript(browser, address, name):
    """All of the text is there, dark on white, with its formulas; nothing stays covered.

    What a widget is without its script is for its own tests to say.
    """
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(f"{address}/{name}.html")
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    article = page.locator(".bd-article")
    assert article.locator("h1").first.is_visible()
    hidden = article.evaluate("""(a) => [...a.querySelectorAll('p, li, figcaption')]
        .filter((e) => !e.checkVisibility() && !e.closest('details:not([open]), [data-lens]')
            && getComputedStyle(e).display !== 'contents').map((e) => e.textContent)""")
    assert hidden == []
    context.close()
