"""Using the site: sliders by keyboard, questions, search, buttons, other places to put it."""

import re
from pathlib import Path
from urllib.parse import unquote, urljoin

import pytest
import yaml
from test_pages import CONTENTS, ROOT, watch

CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
REPOSITORY, BRANCH = CONFIG["repository"]["url"], CONFIG["repository"]["branch"]
NOTEBOOKS = [name for name in CONTENTS if (ROOT / f"{name}.ipynb").is_file()]
WITH_WIDGETS = [name for name in NOTEBOOKS if "lens-widget" in (ROOT / f"{name}.ipynb").read_text()]


@pytest.fixture
def page(new_page):
    page = new_page()
    yield page
    page.context.close()


@pytest.mark.parametrize("name", WITH_WIDGETS)
def test_pictures_move_and_questions_answer(page, address, name):
    """What each widget of the book does, by keyboard; test_lens.py has the other ways and what is said."""
    page.goto(f"{address}/{name}.html")
    page.locator(".lens-live").first.wait_for()
    covered = page.locator(".tag_covered, article .covered")
    for card in page.locator(".lens-predict").all():
        answers_back(page, card)
    assert all(part.is_visible() for part in covered.all()), "the questions open all that is covered"
    for box in page.locator(".lens-explore").all():
        for part in box.locator(".lens-control").all():
            moves(page, box, part)


def moves(page, box, part):
    """One arrow key shows another frame, the other arrow brings the first one back."""
    stage, control = box.locator(".lens-stage"), part.locator("input").first
    before = stage.inner_html()
    words = "box => box.querySelector('.lens-stage [aria-label]').ariaLabel"
    first = box.evaluate(words)
    control.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("([stage, before]) => stage.innerHTML !== before", arg=[stage.element_handle(), before])
    assert box.evaluate(words) != first, "two frames that say the same"
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("([stage, before]) => stage.innerHTML === before", arg=[stage.element_handle(), before])


def answers_back(page, card):
    """Nothing is said at first; each answer gets a reply, and exactly one is right."""
    said = card.get_by_role("status")
    assert said.inner_text() == ""
    replies = []
    for button in card.locator(".lens-options button").all():
        button.focus()
        page.keyboard.press("Enter")
        replies.append(said.inner_text())
    assert len(set(replies)) == len(replies) >= 2
    assert sum(reply.startswith("Right.") for reply in replies) == 1


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
        page.wait_for_timeout(500)
        assert report.outside == report.missing == report.errors == []
        assert page.locator(".lens-explore:not(.lens-live), .lens-predict:not(.lens-live)").count() == 0
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
            page = file.name in ("index.py", "lab.py")
            assert owner not in text or page, f"{file} names the repository: write @repository@"
