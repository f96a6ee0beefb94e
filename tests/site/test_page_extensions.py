"""The extensions that make a page light and findable, without building the book."""

import base64
import re
import sys

import pytest
from docutils import nodes
from fontTools.ttLib import TTFont
from test_pages import ROOT

sys.path.insert(0, str(ROOT / "book" / "_ext"))
import glossary_links  # noqa: E402
import later  # noqa: E402
import light_page  # noqa: E402
import mathml  # noqa: E402
import one_stylesheet  # noqa: E402
import page_meta  # noqa: E402

CODE, TOGGLE = '<div class="highlight">x</div>', '<div class="admonition dropdown">x</div>'


@pytest.mark.parametrize("script, body, left", [
    ('<script src="a.js?v=1"></script>', "", '<script defer src="a.js?v=1"></script>'),
    ('<script async src="a.js"></script>', "", '<script async src="a.js"></script>'),
    ('<script src="../_static/copybutton.js?v=1"></script>', "", ""),
    ('<script src="../_static/copybutton.js?v=1"></script>', CODE,
     '<script defer src="../_static/copybutton.js?v=1"></script>'),
    ("<script>let toggleHintShow = 'x';</script>", CODE, ""),
    ("<script>let toggleHintShow = 'x';</script>", TOGGLE, "<script>let toggleHintShow = 'x';</script>"),
    ("<script>DOCUMENTATION_OPTIONS.pagename = 'a';</script>", "", ""),
    ('<script type="application/json">{"a": 1}</script>', "", '<script type="application/json">{"a": 1}</script>'),
])
def test_a_script_waits_or_stays_away(script, body, left):
    assert light_page.light_scripts(script, body).strip() == left


def test_code_loses_only_what_colours_nothing(site):
    code = ('<span class="k">if</span><span class="w"> </span><span class="n">x</span><span class="o">.</span>'
            '<span class="n">y</span><span class="o">==</span>')
    assert light_page.PLAIN.sub(r"\1\2", code) == '<span class="k">if</span> x.y<span class="o">==</span>'
    css = (site / "_static" / "pygments.css").read_text()
    for theme in ("light", "dark"):
        plain = re.search(rf'html\[data-theme="{theme}"\] \.highlight {{[^}}]*\bcolor: (#\w+)', css)[1]
        for name in ("n", "p", "w"):
            assert f'html[data-theme="{theme}"] .highlight .{name} {{ color: {plain} }}' in css


def test_large_pictures_wait_in_files_and_small_ones_stay(tmp_path):
    large, small = b"picture" * 200, b"picture"
    inline = lambda picture, quote: f"src={quote}data:image/png;base64,{base64.b64encode(picture).decode()}{quote}"
    page = (f'<img height="9" {inline(large, chr(34))}><img height="9" {inline(small, chr(34))}>'
            f'<img {inline(large, chr(34))}><script>["<img height=9 {inline(large, chr(92) + chr(34))}>"]</script>')
    moved = later.to_files(page, tmp_path / "_images", "../")
    file, = (tmp_path / "_images").iterdir()
    assert file.read_bytes() == large
    assert moved == (f'<img height="9" loading="lazy" src="../_images/{file.name}">'
                     f'<img height="9" {inline(small, chr(34))}><img {inline(large, chr(34))}>'
                     f'<script>["<img height=9 src=\\"../_images/{file.name}\\">"]</script>')


WORDS = one_stylesheet.words_of(['<main id="here"><p class="a  b">x</p></main>'], ["e.classList.add('by-script')"])


@pytest.mark.parametrize("css, left", [
    ("p{x:1}", "p{x:1}"),
    (".a:hover, .gone{x:1}", ".a:hover{x:1}"),
    (".a .gone{x:1}", ""),
    (".a:not(.gone)::before{x:1}", ".a:not(.gone)::before{x:1}"),
    ("#here>.b[data-x]{x:1}#gone{x:1}", "#here>.b[data-x]{x:1}"),
    (".by-script{x:1}", ".by-script{x:1}"),
    ("@media print{.gone{x:1}p{x:2}}", "@media print{p{x:2}}"),
    ("@media print{.gone{x:1}}", ""),
    (":root{--x:1}*{x:2}", ":root{--x:1}*{x:2}"),
    ('@import "other.css";table{x:1}', ""),
])
def test_a_rule_stays_where_something_answers_to_it(css, left):
    assert one_stylesheet.used(css, WORDS) == left


def test_a_class_inside_a_script_string_counts():
    assert {"c", "d"} <= one_stylesheet.words_of(['<script>{"html": "<b class=\\"c d\\">"}</script>'], [])


def test_addresses_follow_their_sheet():
    css = "a{b:url(../x.svg)}a{b:url('y.png')}a{b:url(data:image/png;base64,z)}a{b:url(#f)}"
    assert one_stylesheet.rebased(css, "styles") == (
        "a{b:url(x.svg)}a{b:url(styles/y.png)}a{b:url(data:image/png;base64,z)}a{b:url(#f)}")


def test_a_formula_is_set_and_a_wrong_one_is_told():
    from math_core import LatexError, LatexToMathML

    convert = LatexToMathML(macros={"norm": r"\lVert #1 \rVert"}).convert_with_local_state
    assert convert(r"\norm{x}", displaystyle=False).count("‖") == 2
    with pytest.raises(LatexError):
        convert(r"\nrom{x}", displaystyle=False)


def test_the_font_can_draw_every_formula():
    assert mathml.ITALICS <= TTFont(mathml.FONT).getBestCmap().keys()
    drawn = mathml.characters(["<p>z</p><math><mi>&eta;</mi><mo>&#8804;</mo></math>"])
    assert drawn == mathml.ITALICS | {0x3B7, 0x2264}
    assert mathml.characters(["<math><msqrt><mi>d</mi></msqrt></math>"]) == mathml.ITALICS | {ord("d"), 0x221A}


@pytest.mark.parametrize("term, text, found", [
    ("norm", "the norms of", "norms"), ("norm", "normal", None), ("norm", "Norm", "Norm"),
    ("FGSM", "an FGSM step", "FGSM"),
    ("decision boundary", "decision boundaries", "decision boundaries"), ("loss", "losses", None),
    ("threat model", "the threat\nmodel", "threat\nmodel"), ("ball", "a ball-shaped", None),
])
def test_a_term_is_found_in_a_sentence(term, text, found):
    hit = glossary_links.spelled(term).search(text)
    assert (hit and hit[0]) == found


def test_the_longest_term_is_linked_once():
    text = nodes.Text("A white box, a box, and a white box.")
    paragraph = nodes.paragraph("", "", text)
    waiting = {"term-white-box": glossary_links.spelled("white box"), "term-box": glossary_links.spelled("box")}
    glossary_links.link_text(text, waiting, "g.html")
    links = [(link.astext(), link["refuri"]) for link in paragraph.findall(nodes.reference)]
    assert links == [("white box", "g.html#term-white-box"), ("box", "g.html#term-box")]
    assert paragraph.astext() == "A white box, a box, and a white box." and waiting == {}


@pytest.mark.parametrize("page, own, title", [
    ("book/index", "Adversarial Lenses", "Adversarial Lenses"),
    ("chapters/01_data", "Data", "Data | Adversarial Lenses"),
])
def test_a_title_is_not_doubled(page, own, title):
    assert page_meta.title(page, own, "Adversarial Lenses", "book/index") == title


def test_a_description_ends_with_a_sentence_or_a_word():
    long = "One sentence that is long enough to be shown alone in a list of results. " + "word " * 40
    assert page_meta.shortened(long) == "One sentence that is long enough to be shown alone in a list of results."
    assert page_meta.shortened("word " * 40).endswith("word ...") and len(page_meta.shortened("word " * 40)) <= 160


def test_the_theme_asks_no_more_what_scrolls():
    theirs = f"function I(){{document.querySelectorAll({light_page.ASKED}.join())}}"
    assert light_page.unasked(theirs) == 'function I(){document.querySelectorAll(["#nothing"].join())}'
    for changed in ("function I(){}", theirs + theirs):
        with pytest.raises(ValueError, match="tabindex"):
            light_page.unasked(changed)
