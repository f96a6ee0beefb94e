"""The widgets in a browser, on a small site that the book's own extension makes: mouse, keyboard, touch, and what a
screen reader is told."""

import sys

import pytest
from test_pages import AXE, AXE_RUN, ROOT, RULES

sys.path.insert(0, str(ROOT / "book" / "_ext"))
from advlens.course import widgets  # noqa: E402

EPS = [0.0, 0.05, 0.1, 0.15, 0.2, 0.25]
TALL = {0.1: 260}  # one frame is higher than the others


class Square:
    """Stands for a plots.Picture: an image and a text below."""

    def __init__(self, grey: float, text: str, size: int):
        self.drawn = (f'<svg aria-hidden="true" width="{size}" height="{size}"><rect width="100%" height="100%" '
                      f'fill="rgb({255 * grey:.0f} 90 160)"/></svg><p>{text}</p>')

    def named(self, alt: str) -> str:
        return f'<div role="img" aria-label="{alt}">{self.drawn}</div>'


def draw(eps, attack="FGSM"):
    return Square(eps * 4, f"{attack} {eps:g}", TALL.get(eps, 120))


def alt(eps, attack="FGSM"):
    return f"{attack} at {eps:g}: the network says {3 if eps >= 0.15 else 7} (95 %)."


LONG = "a long answer with many words, which has to wrap on the narrow screen of a telephone"


def make_widgets() -> str:
    one = widgets.explore(draw, alt=alt, caption="One slider.", eps=EPS, flips=0.15)
    two = widgets.explore(draw, alt=alt, caption="Two controls.", attack=["FGSM", "FGM"], eps=EPS,
                          flips={"FGSM": 0.15, "FGM": 0.25})
    first = widgets.predict("How much is left?", {"all": "No.", LONG: "Yes, it wraps.", "half": "Neither."}, LONG)
    second = widgets.predict("Is 1 < 2?", {"yes": "Count.", "no": "Count again."}, "yes")
    return f"""<style>div.body {{ min-width: 0; }}</style><article>
{one.html}<p id="below">Text.</p>{two.html}{first.html}
<div class="cell tag_covered" id="result">The result.</div><p>An open line.</p>
<div class="covered docutils" id="why"><h2 id="because">Because</h2><p>An explanation.</p></div>
{second.html}<div class="covered" id="last">The second answer.</div>
</article>"""


@pytest.fixture(scope="session")
def small_site(tmp_path_factory):
    """Two pages, one with widgets."""
    from sphinx.application import Sphinx

    source = tmp_path_factory.mktemp("small")
    (source / "index.rst").write_text("With\n====\n\n.. raw:: html\n   :file: widgets.html\n\n"
                                      ".. toctree::\n\n   plain\n")
    (source / "widgets.html").write_text(make_widgets())
    (source / "plain.rst").write_text("Without\n=======\n\n.. container:: covered\n\n   Not covered.\n")
    settings = {"extensions": ["lens"], "html_theme": "basic", "html_sidebars": {"**": []}}
    Sphinx(str(source), None, str(source / "html"), str(source / "trees"), "html", status=None,
           confoverrides=settings).build()
    return source / "html"


@pytest.fixture
def open_page(browser, small_site):
    """open_page(**context options) -> the page with widgets, opened as a file; problems end the test."""
    contexts, problems = [], []

    def open_page(width=1000, at="", before=None, **options):
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: message.type == "error" and problems.append(message.text))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or problems.append(request.url))
        if before:
            page.add_init_script(before)
        page.goto(f"{(small_site / 'index.html').as_uri()}{at}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def shown(box) -> str:
    """The text below the one picture of a widget."""
    return box.locator(".lens-stage p:visible").inner_text()


def tree(page) -> list[dict]:
    """What assistive technology is told: role, name, value and the like of every node that it sees."""
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    return [{"role": node["role"]["value"], "name": node.get("name", {}).get("value", ""),
             "value": node.get("value", {}).get("value"),
             **{p["name"]: p["value"].get("value") for p in node.get("properties", [])}}
            for node in nodes if not node["ignored"]]


def nodes(page, role: str) -> list[dict]:
    return [node for node in tree(page) if node["role"] == role]


# --- a picture with controls -------------------------------------------------------------

def test_it_starts_at_the_first_value_and_the_keyboard_moves_it(open_page):
    page = open_page()
    box = page.locator(".lens-explore").first
    slider = box.get_by_role("slider")
    assert shown(box) == "FGSM 0" and slider.get_attribute("aria-valuetext") == "epsilon 0"
    slider.focus()
    for key, text in [("ArrowRight", "0.05"), ("End", "0.25"), ("ArrowLeft", "0.2"), ("Home", "0")]:
        page.keyboard.press(key)
        page.wait_for_function(f"document.querySelector('.lens-stage').innerText.trim() === 'FGSM {text}'")
        assert slider.get_attribute("aria-valuetext") == f"epsilon {text}"
        assert box.locator(".lens-value").inner_text() == text


def test_each_picture_belongs_to_its_controls(open_page):
    page = open_page()
    box = page.locator(".lens-explore").nth(1)
    for attack in ("FGM", "FGSM"):
        box.get_by_role("radio", name=attack).check()
        for number, eps in enumerate(EPS):
            box.get_by_role("slider").fill(str(number))
            box.get_by_text(f"{attack} {eps:g}", exact=True).wait_for()
            name = box.locator(".lens-stage [aria-label]").get_attribute("aria-label")
            assert name == alt(eps, attack)
    assert shown(page.locator(".lens-explore").first) == "FGSM 0", "the other widget stays"


def test_the_mouse_drags_the_slider(open_page):
    page = open_page()
    box = page.locator(".lens-explore").first
    track = box.get_by_role("slider").bounding_box()
    y = track["y"] + track["height"] / 2
    page.mouse.move(track["x"] + 12, y)
    page.mouse.down()
    page.mouse.move(track["x"] + track["width"] / 2, y, steps=5)
    page.mouse.move(track["x"] + track["width"] - 2, y, steps=5)
    page.mouse.up()
    box.get_by_text("FGSM 0.25", exact=True).wait_for()


def test_a_finger_moves_the_slider_and_chooses(open_page):
    page = open_page(width=360, has_touch=True, is_mobile=True)
    box = page.locator(".lens-explore").nth(1)
    box.locator("label", has_text="FGM").tap()
    box.get_by_text("FGM 0", exact=True).wait_for()
    box.get_by_role("slider").scroll_into_view_if_needed()
    track = box.get_by_role("slider").bounding_box()
    at = {"x": track["x"] + 12, "y": track["y"] + track["height"] / 2}
    touch = page.context.new_cdp_session(page)
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
    for part in range(1, 9):
        there = {**at, "x": track["x"] + 12 + (track["width"] - 24) * part / 8}
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [there]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    box.get_by_text("FGM 0.25", exact=True).wait_for()


@pytest.mark.parametrize("width", [360, 1280])
def test_fingers_have_room_and_nothing_is_wider_than_the_screen(open_page, width):
    page = open_page(width=width)
    for control in page.locator(".lens-widget :is(button, input[type=range], .lens-segments label)").all():
        size = control.bounding_box()
        assert size["height"] >= 44 and size["width"] >= 44
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_flip_is_marked_at_its_tick(open_page):
    """The mark stands over the middle of the thumb when the slider is there, for each choice of the other control."""
    page = open_page()
    box = page.locator(".lens-explore").nth(1)
    mark, slider = box.locator(".lens-ticks .lens-mark"), box.get_by_role("slider")
    for attack, flip in [("FGSM", 0.15), ("FGM", 0.25)]:
        box.get_by_role("radio", name=attack).check()
        slider.fill(str(EPS.index(flip)))
        assert slider.get_attribute("aria-valuetext") == f"epsilon {flip:g}, the answer flips"
        place, track = mark.bounding_box(), slider.bounding_box()
        thumb = track["x"] + 12 + (track["width"] - 24) * EPS.index(flip) / (len(EPS) - 1)
        assert abs(place["x"] + place["width"] / 2 - thumb) < 1.5
        assert box.locator(".lens-flips").is_visible()


def test_the_picture_keeps_its_height(open_page):
    """The tallest frame makes room once; going back moves nothing."""
    page = open_page()
    slider = page.locator(".lens-explore").first.get_by_role("slider")
    where = lambda: page.locator("#below").evaluate("e => e.getBoundingClientRect().top + scrollY")
    before = where()
    slider.fill("2")
    page.get_by_text("FGSM 0.1", exact=True).wait_for()
    tall = where()
    assert tall > before + 100
    slider.fill("0")
    page.wait_for_function("document.querySelector('.lens-stage').innerText.trim() === 'FGSM 0'")
    assert where() == tall
    page.set_viewport_size({"width": 700, "height": 800})
    page.wait_for_function("document.querySelector('.lens-stage').style.minHeight === ''")
    assert where() < tall


def test_nothing_moves_when_the_script_comes(open_page):
    """The page looks the same before and after: no shift is seen while it loads."""
    page = open_page(before="""new PerformanceObserver((list) => {
        window.shifts = (window.shifts ?? 0) + list.getEntries().reduce((sum, entry) => sum + entry.value, 0);
    }).observe({type: 'layout-shift', buffered: true});""")
    page.wait_for_timeout(500)
    assert page.evaluate("window.shifts ?? 0") < 0.01


def test_only_what_is_seen_counts_as_elements_of_the_page(open_page):
    page = open_page()
    assert page.locator(".lens-frame").count() == page.locator(".lens-explore").count()


# --- what a screen reader is told -----------------------------------------------------------

def test_controls_have_roles_names_and_values(open_page):
    page = open_page()
    sliders = nodes(page, "slider")
    assert [(node["name"], node["value"]) for node in sliders] == [("epsilon", 0)] * 2  # its text: see above
    assert [(node["name"], node["checked"]) for node in nodes(page, "radio")] == [("FGSM", "true"), ("FGM", "false")]
    assert {"attack", "Predict. Is 1 < 2?"} <= {node["name"] for node in nodes(page, "group")}
    assert [node["name"] for node in nodes(page, "image")] == [alt(0.0)] * 2
    assert sorted((node["name"], node.get("pressed", "")) for node in nodes(page, "button")) == sorted(
        [(name, "false") for name in ("all", LONG, "half", "yes", "no")] + [("Show me", "")] * 2)


def test_what_the_network_says_is_announced_once_the_slider_rests(open_page):
    page = open_page()
    box = page.locator(".lens-explore").first
    assert box.get_by_role("status").text_content() == "", "nothing is said before the reader moves it"
    page.evaluate("""window.said = []; const line = document.querySelector('.lens-explore [role=status]');
        new MutationObserver(() => said.push(line.textContent)).observe(line, {childList: true})""")
    box.get_by_role("slider").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("said.length > 0")
    page.wait_for_timeout(500)
    assert page.evaluate("said") == [alt(0.15)]
    assert "FGSM at 0.15: the network says 3 (95 %)." in [node["name"] for node in nodes(page, "image")]


def test_a_flip_is_said_on_radio_buttons_too(open_page):
    page = open_page()
    mount(page, widgets.explore(draw, alt=alt, caption="Few.", eps=[0.0, 0.1, 0.2], flips=0.2).html)
    assert [node["name"] for node in nodes(page, "radio")] == ["0", "0.1", "0.2, the answer flips"]
    assert page.locator(".lens-here").inner_text().strip() == "0.2"
    page.locator("label", has_text="0.2").click()
    page.get_by_text("FGSM 0.2", exact=True).wait_for()


def mount(page, html):
    """Other HTML in the place of the page's, and the site's script once more."""
    import lens

    page.evaluate("([html, script]) => { document.querySelector('article').innerHTML = html; (0, eval)(script); }",
                  [html, lens.classic((lens.COURSE / "lens.js").read_text())])


def test_axe_finds_nothing(open_page):
    page = open_page()
    page.locator(".lens-predict button").first.click()
    page.evaluate(AXE.read_text())
    page.evaluate("axe.configure({allowedOrigins: ['<unsafe_all_origins>']})")
    page.evaluate("axe.run = ((run) => (where, options) => run('.lens-widget', {...options, preload: false}))(axe.run)")
    assert page.evaluate(AXE_RUN, RULES) == []


# --- questions -------------------------------------------------------------------------------

def test_a_question_answers_and_opens_what_it_covers(open_page):
    page = open_page()
    card, other = page.locator(".lens-predict").all()
    covered = {name: page.locator(f"#{name}") for name in ("result", "why", "last")}
    assert [part.is_visible() for part in covered.values()] == [False, False, False]
    assert page.get_by_text("An open line.").is_visible()
    said = card.get_by_role("status")
    assert said.inner_text() == ""
    card.get_by_role("button", name="half").click()
    assert said.inner_text() == "Not quite. Neither."
    assert [part.is_visible() for part in covered.values()] == [True, True, False]
    assert [b.get_attribute("aria-pressed") for b in card.get_by_role("button").all()[:3]] == ["false", "false", "true"]
    card.get_by_role("button", name=LONG).click()
    assert said.inner_text() == "Right. Yes, it wraps."
    assert card.get_by_role("button", name="Show me").count() == 0, "there is nothing left to show"
    other.get_by_role("button", name="yes").click()
    assert covered["last"].is_visible()


def test_what_stands_before_the_first_question_is_open(open_page):
    page = open_page()
    asked = widgets.predict("Is 1 < 2?", {"yes": "Count.", "no": "Count again."}, "yes").html
    mount(page, f'<div class="covered">Early.</div>{asked}<div class="covered">Late.</div>')
    assert page.get_by_text("Early.").is_visible() and not page.get_by_text("Late.").is_visible()


def test_show_me_opens_and_says_which_answer_is_right(open_page):
    page = open_page(width=360, has_touch=True)
    card = page.locator(".lens-predict").nth(1)
    card.get_by_role("button", name="Show me").tap()
    assert card.get_by_role("status").inner_text() == "The answer: yes. Count."
    assert page.locator("#last").is_visible() and not page.locator("#why").is_visible()
    assert card.locator("button[aria-pressed=true]").count() == 0


def test_the_keyboard_reaches_every_answer_and_moving_on_chooses_nothing(open_page):
    page = open_page()
    card = page.locator(".lens-predict").first
    card.get_by_role("button").first.focus()
    for _ in range(2):
        page.keyboard.press("Tab")
    assert card.get_by_role("status").inner_text() == ""
    page.keyboard.press("Enter")
    assert card.get_by_role("status").inner_text() == "Not quite. Neither."
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_link_to_a_covered_place_opens_it(open_page):
    page = open_page(at="#because")
    assert page.locator("#because").is_visible() and page.locator("#result").is_visible()
    assert not page.locator("#last").is_visible()
    page = open_page()
    page.evaluate("location.hash = 'last'")
    page.locator("#last").wait_for()


def test_nothing_is_kept(open_page):
    page = open_page()
    page.locator(".lens-predict button").first.click()
    page.get_by_role("slider").first.fill("3")
    page.reload()
    assert shown(page.locator(".lens-explore").first) == "FGSM 0"
    assert not page.locator("#result").is_visible()
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0


# --- without a script, and on paper ------------------------------------------------------------

def readable(page):
    """The middle frame with its value and caption; every answer; nothing covered; nothing that cannot be used."""
    assert page.locator(".lens-stage p:visible").all_inner_texts() == ["FGSM 0.15", "FGM 0.15"]
    assert page.locator(".lens-at:visible").all_inner_texts() == ["epsilon 0.15", "attack FGM, epsilon 0.15"]
    assert page.locator(".lens-caption:visible").count() == 2
    assert page.locator(".lens-replies li:visible").all_inner_texts() == [
        "all\nNot quite. No.", f"{LONG}\nRight. Yes, it wraps.", "half\nNot quite. Neither.",
        "yes\nRight. Count.", "no\nNot quite. Count again."]
    assert all(page.locator(f"#{name}").is_visible() for name in ("result", "why", "last"))
    assert page.locator(".lens-widget :is(button, input):visible").count() == 0


def test_without_a_script_all_is_open(open_page):
    readable(open_page(java_script_enabled=False))


def test_paper_shows_the_same(open_page):
    page = open_page()
    stage = page.locator(".lens-stage").first
    page.emulate_media(media="print")
    stage.get_by_text("FGSM 0.15", exact=True).wait_for()
    readable(page)
    page.emulate_media(media="screen")
    stage.get_by_text("FGSM 0", exact=True).wait_for()


def test_paper_shows_the_frame_that_the_reader_chose(open_page):
    page = open_page()
    page.get_by_role("slider").first.fill("5")
    page.locator(".lens-stage").first.get_by_text("FGSM 0.25").wait_for()
    page.emulate_media(media="print")
    assert page.locator(".lens-stage p:visible").all_inner_texts() == ["FGSM 0.25", "FGM 0.15"]
    assert page.locator(".lens-at:visible").first.inner_text() == "epsilon 0.25"


# --- where it is loaded; the other home -----------------------------------------------------------

def test_only_pages_with_a_widget_load_the_script(small_site):
    assert (small_site / "index.html").read_text().count("_static/lens.js") == 1
    assert "_static/lens.js" not in (small_site / "plain.html").read_text()
    assert "_static/lens.css" in (small_site / "plain.html").read_text()


def test_a_page_without_a_question_covers_nothing(browser, small_site):
    page = browser.new_page()
    page.goto((small_site / "plain.html").as_uri())
    assert page.get_by_text("Not covered.").is_visible()
    page.close()


MODEL = """async ([source, html, chosen]) => {
  const home = (await import('data:text/javascript,' + encodeURIComponent(source))).default;
  const heard = new Map(), state = { html, chosen };
  window.saved = [];
  window.model = {
    get: (name) => state[name],
    set: (name, value) => { state[name] = value; },
    save_changes: () => saved.push(state.chosen),
    on: (event, listener) => heard.set(event, listener),
    off: (event) => heard.delete(event),
    hear: (chosen) => { state.chosen = chosen; heard.get('change:chosen')(); },
    heard,
  };
  document.querySelector('article').innerHTML = '<div id="el"></div>';
  window.leave = home.render({ model, el: document.getElementById('el') });
}"""


def test_in_a_notebook_the_state_goes_both_ways(open_page):
    """The protocol of anywidget; test_notebooks_live.py has the real one."""
    page = open_page()
    one = widgets.explore(draw, alt=alt, caption="c", eps=EPS)
    page.evaluate(MODEL, [one._esm, one.html, [2]])
    page.get_by_text("FGSM 0.1", exact=True).wait_for()
    page.get_by_role("slider").fill("4")
    assert page.evaluate("saved") == [[4]]
    page.evaluate("model.hear([5])")
    page.get_by_text("FGSM 0.25", exact=True).wait_for()
    assert page.get_by_role("slider").input_value() == "5"
    page.evaluate("leave()")
    assert page.evaluate("model.heard.size") == 0


def test_in_a_notebook_a_question_only_answers(open_page):
    page = open_page()
    asked = widgets.predict("Is 1 < 2?", {"yes": "Count.", "no": "Count again."}, "yes")
    page.evaluate(MODEL, [asked._esm, asked.html, []])
    page.get_by_role("button", name="no").click()
    assert page.evaluate("saved") == [[1]] and page.get_by_role("status").inner_text() == "Not quite. Count again."
    page.evaluate("model.hear([-1])")
    assert page.get_by_role("status").inner_text() == "The answer: yes. Count."
