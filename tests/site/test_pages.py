"""Every page in a real browser: what it asks for, how it looks, how it is used.

A page is visited once; the visit looks at everything, and the tests below read its report.
"""

import importlib.util
import re
import sys
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
AXE = Path(__file__).with_name("axe") / "axe.min.js"

_spec = importlib.util.spec_from_file_location("check_site", ROOT / "book" / "check_site.py")
check_site = sys.modules.setdefault("check_site", importlib.util.module_from_spec(_spec))
_spec.loader.exec_module(check_site)

CONTENTS = check_site.contents(ROOT / "_toc.yml")
PAGES = CONTENTS + ["search", "genindex"]
BOOK = yaml.safe_load((ROOT / "_config.yml").read_text())["title"]

# What axe finds in the theme itself, and why it stays.
THEMES_OWN = {
    "label-content-name-mismatch": "the theme names its search button 'Search' and shows the shortcut inside it",
    "region": "the theme puts the logo and the hidden checkboxes of its sidebars outside of any landmark",
    "landmark-unique": "the theme has two navigation landmarks without names of their own",
}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

# Waits until the widgets of the page stand, and returns how many there are.
READY = """async () => {
  const wanted = document.querySelectorAll('[data-lens]');
  for (let i = 0; i < 400 && ![...wanted].every((w) => w.querySelector('input, button')); i++) {
    await new Promise((done) => setTimeout(done, 25));
  }
  await new Promise((done) => setTimeout(done, 60));
  return wanted.length;
}"""

AXE_RUN = """async (rules) => {
  const found = await axe.run(document, {runOnly: {type: 'tag', values: rules}, resultTypes: ['violations']});
  return found.violations.flatMap((v) => v.nodes.map((n) => [v.id, n.target.join(' '), n.failureSummary || '']));
}"""

# Formulas that are left as source, or that could not be set; roots without their sign: no wider than their inside.
UNSET = """() => {
  const width = (element) => element.getBoundingClientRect().width;
  const inside = (root) => [...root.children].reduce((sum, child) => sum + width(child), 0);
  const bare = (root) => width(root) > 0 && width(root) - inside(root) < 2;
  return [...[...document.querySelectorAll('span.math, div.math')].filter((m) => !m.querySelector('math')),
          ...[...document.querySelectorAll('msqrt')].filter(bare)].map((m) => m.textContent);
}"""

# Boxes that scroll sideways and cannot be reached by keyboard.
STUCK = """() => [...document.querySelectorAll('main *')].filter((e) => e.scrollWidth > e.clientWidth + 1
      && /auto|scroll/.test(getComputedStyle(e).overflowX) && e.tabIndex !== 0 && !e.querySelector('a, button, input'))
    .map((e) => `${e.tagName}.${e.className}`)"""


@dataclass
class Visit:
    outside: list = field(default_factory=list)   # requests to anybody else
    missing: list = field(default_factory=list)   # answers that say 404, 500 ...
    errors: list = field(default_factory=list)    # on the console, or thrown
    axe: list = field(default_factory=list)
    unset: list = field(default_factory=list)     # formulas
    stuck: list = field(default_factory=list)
    title: str = ""
    described: str = ""


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
        page.goto(f"{address}/{name}.html")
        page.evaluate(READY)
        report.unset = page.evaluate(UNSET)
        report.title = page.title()
        report.described = page.locator('meta[name="description"]').get_attribute("content")
        page.evaluate(AXE.read_text())
        report.axe = page.evaluate(AXE_RUN, RULES)
        page.emulate_media(color_scheme="dark")
        page.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")
        page.wait_for_timeout(400)  # colours fade from one theme to the other
        report.axe += page.evaluate(AXE_RUN, ["wcag2aa"])
        page.set_viewport_size({"width": 360, "height": 740})
        page.evaluate("() => document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
        page.wait_for_timeout(150)
        report.stuck = page.evaluate(STUCK)
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

    def test_its_formulas_are_set(self, visit, name):
        assert visit(name).unset == []

    def test_scrolls_by_keyboard_where_it_scrolls(self, visit, name):
        assert visit(name).stuck == []

    def test_is_accessible_in_both_themes(self, visit, name):
        report = visit(name)
        assert [found for found in report.axe if found[0] not in THEMES_OWN] == []

    def test_says_what_it_is_in_a_list_of_results(self, visit, name):
        report = visit(name)
        assert 60 <= len(report.described) <= 160, report.described
        assert report.title.count(BOOK) == 1 and not re.search(r"[@$`\\]", report.title + report.described)

    def test_promises_no_chapter_that_is_not_there(self, site, name):
        text = re.sub(r"<(script|style|pre)\b.*?</\1>|<[^>]*>", " ", (site / f"{name}.html").read_text(), flags=re.S)
        promised = {number for numbers in re.findall(r"[Cc]hapters?\s+((?:\d\d(?:, | and | to )?)+)", text)
                    for number in re.findall(r"\d\d", numbers)}
        assert promised <= {Path(page).name[:2] for page in CONTENTS if page.startswith("chapters/")}


def test_titles_and_descriptions_tell_the_pages_apart(visit):
    for told in ("title", "described"):
        seen = [getattr(visit(name), told) for name in PAGES]
        assert len(set(seen)) == len(seen), [text for text in seen if seen.count(text) > 1]


def test_a_shared_link_shows_a_picture(site):
    for name in PAGES:
        head = (site / f"{name}.html").read_text().partition("</head>")[0]
        picture = re.search(r'<meta property="og:image" content="([^"]*)"', head)[1]
        assert picture.startswith("https://") and (site / "_static" / picture.rpartition("/_static/")[2]).is_file()


def test_the_cards_of_the_landing_page_agree_with_the_chapters(site):
    cards = (site / "book" / "index.html").read_text().split('class="sd-card ')[1:]
    chapters = [name for name in CONTENTS if name.startswith("chapters/")]
    assert len(cards) == len(chapters)
    for card, name in zip(cards, chapters):
        minutes = re.search(r"\*\*Time\*\* (\d+) minutes", (ROOT / f"{name}.py").read_text())
        assert minutes, f"{name} does not say how long it takes"
        assert f"../{name}.html" in card and f"{minutes[1]} minutes" in card, name
