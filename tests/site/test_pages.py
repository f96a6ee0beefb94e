"""Every page in a real browser: what it asks for, how it looks, how it is used.

A page is visited once; the visit looks at everything, and the tests below read its report.
"""

import importlib.util
import sys
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
AXE = Path(__file__).with_name("axe") / "axe.min.js"
MEGABYTE = 1_000_000

_spec = importlib.util.spec_from_file_location("check_site", ROOT / "book" / "check_site.py")
check_site = sys.modules.setdefault("check_site", importlib.util.module_from_spec(_spec))
_spec.loader.exec_module(check_site)

CONTENTS = check_site.contents(ROOT / "_toc.yml")
PAGES = CONTENTS + ["search", "genindex"]

# What axe finds in the theme itself, and why it stays.
THEMES_OWN = {
    "label-content-name-mismatch": "the theme names its search button 'Search' and shows the shortcut inside it",
    "region": "the theme puts the logo and the hidden checkboxes of its sidebars outside of any landmark",
    "landmark-unique": "the theme has two navigation landmarks without names of their own",
}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

# True once formulas are set and every widget of the page is drawn.
READY = """async () => {
  if (window.MathJax && MathJax.startup && MathJax.startup.promise) await MathJax.startup.promise;
  const wanted = document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]').length;
  for (let i = 0; i < 1200; i++) {
    if (document.querySelectorAll('.advlens-explore, .advlens-predict').length >= wanted) break;
    await new Promise((done) => setTimeout(done, 25));
  }
  await new Promise((done) => setTimeout(done, 60));
  return wanted;
}"""

AXE_RUN = """async (rules) => {
  const found = await axe.run(document, {runOnly: {type: 'tag', values: rules}, resultTypes: ['violations']});
  return found.violations.flatMap((v) => v.nodes.map((n) => [v.id, n.target.join(' '), n.failureSummary || '']));
}"""

# What sticks out of a narrow screen and does not scroll in a box of its own.
TOO_WIDE = """() => {
  const wide = document.documentElement.clientWidth;
  const cuts = (e) => /auto|scroll|hidden/.test(getComputedStyle(e).overflowX);
  const boxed = (e) => e.parentElement !== null && (cuts(e.parentElement) || boxed(e.parentElement));
  if (document.documentElement.scrollWidth <= wide + 1) return [];
  return [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > wide + 1 && !boxed(e))
    .slice(0, 5).map((e) => e.tagName + '.' + e.className)
    .concat('page is ' + document.documentElement.scrollWidth + ' px wide');
}"""

# Pictures whose letters are too small on a narrow screen (10 pt at 120 dpi, reduced below 10 px),
# and boxes that scroll but cannot be reached by keyboard.
HARD_TO_READ = """() => {
  const pictures = [...document.querySelectorAll('main figure img, main img.advlens-frame')]
    .filter((i) => i.offsetParent && i.naturalWidth);
  const small = pictures.filter((i) => i.clientWidth / i.naturalWidth * 10 / 72 * 120 < 10)
    .map((i) => 'small: ' + i.alt.slice(0, 60));
  const boxes = pictures.map((i) => i.closest('figure, .advlens-explore .widget-box'));
  const stuck = boxes.filter((b) => b && b.scrollWidth > b.clientWidth + 1 && b.tabIndex !== 0)
    .map((b) => 'no keyboard: ' + b.className);
  return [...small, ...stuck];
}"""


@dataclass
class Visit:
    outside: list = field(default_factory=list)   # requests to anybody else
    missing: list = field(default_factory=list)   # answers that say 404, 500 ...
    errors: list = field(default_factory=list)    # on the console, or thrown
    transferred: int = 0                          # bytes of all answers
    widgets: int = 0
    axe: list = field(default_factory=list)
    wide: list = field(default_factory=list)
    hard_to_read: list = field(default_factory=list)
    drawn: int = 0                                # widgets that were drawn
    formulas: bool = True                         # none is left as source


def watch(page, address: str) -> Visit:
    visit = Visit()
    page.on("request", lambda r: r.url.startswith((address, "data:", "blob:")) or visit.outside.append(r.url))
    page.on("response", lambda r: r.status >= 400 and visit.missing.append(f"{r.status} {r.url}"))
    page.on("requestfailed", lambda r: visit.missing.append(f"failed {r.url}"))
    page.on("console", lambda m: m.type == "error" and visit.errors.append(m.text[:300]))
    page.on("pageerror", lambda e: visit.errors.append(str(e)[:300]))
    return visit


@pytest.fixture(scope="session")
def visit(new_page, address):
    @lru_cache(maxsize=None)
    def visit(name: str) -> Visit:
        page = new_page()
        report = watch(page, address)
        answers = []
        page.on("response", lambda answer: answers.append(answer))
        page.goto(f"{address}/{name}.html")
        report.widgets = page.evaluate(READY)
        report.drawn = page.locator(".advlens-explore, .advlens-predict").count()
        report.formulas = page.evaluate("() => [...document.querySelectorAll('span.math, div.math')].every((m) => "
                                        "m.querySelector('mjx-container'))")
        report.transferred = sum(answer.request.sizes()["responseBodySize"] for answer in answers
                                 if answer.url.startswith(address))
        page.evaluate(AXE.read_text())
        report.axe = page.evaluate(AXE_RUN, RULES)
        page.emulate_media(color_scheme="dark")
        page.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")
        page.wait_for_timeout(400)  # colours fade from one theme to the other
        report.axe += page.evaluate(AXE_RUN, ["wcag2aa"])
        page.set_viewport_size({"width": 390, "height": 844})
        page.wait_for_timeout(150)
        report.wide = page.evaluate(TOO_WIDE)
        report.hard_to_read = page.evaluate(HARD_TO_READ)
        page.context.close()
        return report

    return visit


@pytest.mark.parametrize("name", PAGES)
class TestPage:
    def test_asks_nobody_else(self, visit, name):
        assert visit(name).outside == []

    def test_finds_all_its_files(self, visit, name):
        assert visit(name).missing == []

    def test_throws_no_error(self, visit, name):
        assert visit(name).errors == []

    def test_draws_widgets_and_formulas(self, visit, name):
        report = visit(name)
        assert report.drawn == report.widgets and report.formulas

    def test_pictures_can_be_read_on_a_phone(self, visit, name):
        assert visit(name).hard_to_read == []

    def test_is_light_to_load(self, visit, name):
        report = visit(name)
        limit = 4 * MEGABYTE if report.widgets else 1.5 * MEGABYTE
        assert report.transferred <= limit, f"{report.transferred / MEGABYTE:.2f} MB"

    def test_fits_a_phone(self, visit, name):
        assert visit(name).wide == []

    def test_is_accessible_in_both_themes(self, visit, name):
        report = visit(name)
        assert [found for found in report.axe if found[0] not in THEMES_OWN] == []
