"""book/check_site.py must catch each way in which a built site can be broken."""

import json
import re
import shutil

import pytest
from test_pages import CONTENTS, check_site

CHAPTER = next((name for name in CONTENTS if name.startswith("chapters/")), "book/index")


@pytest.fixture
def copy(site, tmp_path):
    """The pages of the site, without what check_site does not read."""
    target = tmp_path / "html"
    unread = shutil.ignore_patterns("vendor", "styles", "webpack*", "*.css", "*.woff*", "*.ttf")
    shutil.copytree(site, target, ignore=unread)
    return target


def edit(file, change):
    before = file.read_text()
    after = change(before)
    assert after != before, "the test breaks nothing"
    file.write_text(after)


def complaints(folder) -> str:
    """About the pages that the tests below break; the whole site is looked at once, above all."""
    toc = folder / "toc.yml"
    toc.write_text(f"root: book/index\nchapters: [{{file: book/notation}}, {{file: {CHAPTER}}}]\n")
    return "\n".join(check_site.check(folder, toc)[1])


def test_the_site_is_whole(site, capsys):
    assert check_site.main([str(site)]) == 0, capsys.readouterr().err
    print(capsys.readouterr().out)


def test_a_missing_page(copy):
    (copy / f"{CHAPTER}.html").unlink()
    assert f"{CHAPTER}: in the table of contents, but not built" in complaints(copy)


def test_an_empty_page(copy):
    edit(copy / f"{CHAPTER}.html", lambda html: re.sub(r'(<article class="bd-article".*?>).*(</article>)',
                                                       r"\1<h1>Title</h1>\2", html, flags=re.S))
    assert f"{CHAPTER}: empty page" in complaints(copy)


def test_a_traceback(copy):
    edit(copy / f"{CHAPTER}.html", lambda html: re.sub(r'(<div class="cell_output[^>]*>)',
                                                       r"\1<pre>Traceback (most recent call last):</pre>", html,
                                                       count=1))
    assert "an error stands in an output" in complaints(copy)


def test_a_message_of_the_builder(copy):
    message = '<aside class="system-message"><p>WARNING</p></aside><h1>'
    edit(copy / "book/notation.html", lambda html: html.replace("<h1>", message))
    assert "messages of the builder" in complaints(copy)


def test_a_missing_image_file(copy):
    for file in (copy / "_images").iterdir():
        file.unlink()
    assert "no such file" in complaints(copy)


def test_an_image_without_alternative_text(copy):
    edit(copy / f"{CHAPTER}.html", lambda html: html.replace("</h1>", '</h1><img alt="" src="data:,">'))
    assert "no alternative text" in complaints(copy)


def test_an_image_inside_of_something_with_a_name_needs_none(copy):
    named = '</h1><div role="img" aria-label="A named picture"><img alt="" src="data:,"></div>'
    edit(copy / f"{CHAPTER}.html", lambda html: html.replace("</h1>", named))
    assert "no alternative text" not in complaints(copy)


def test_a_figure_that_is_not_shown(copy):
    edit(copy / f"{CHAPTER}.html", lambda html: re.sub(r"<figure.*?</figure>", "", html, count=1, flags=re.S))
    assert "figures are shown" in complaints(copy)


WIDGET = re.compile(r'<div class="lens-widget lens-(explore|predict)".*?\n</div>', re.S)


def test_a_widget_that_is_not_shown(copy):
    edit(copy / f"{CHAPTER}.html", lambda html: WIDGET.sub("", html, count=1))
    assert re.search(r"(\d+) widgets are stored, \d+ are shown", complaints(copy))


def test_a_widget_without_its_script(copy):
    edit(copy / f"{CHAPTER}.html", lambda html: re.sub(r'<script[^>]*/lens\.js[^>]*>', "<script>", html))
    assert "a widget needs lens.js" in complaints(copy)


def test_a_script_that_is_not_there(copy):
    (copy / "_static" / "lens.js").unlink()
    assert "a widget needs lens.js" in complaints(copy)


@pytest.mark.parametrize("begin, label, nothing", [
    ('<div class="lens-frame">', 'aria-label="[^"]+"', 'aria-label=""'),
    ('<script type="application/json">[', r'aria-label=\\"[^"]+\\"', r'aria-label=\"\"'),
], ids=["in the page", "kept for later"])
def test_a_frame_without_alternative_text(copy, begin, label, nothing):
    def silent(html):
        before, found, after = html.partition(begin)
        return before + found + re.sub(label, lambda _: nothing, after, count=1)

    edit(copy / f"{CHAPTER}.html", silent)
    assert "1 frames of widgets have no alternative text" in complaints(copy)


def test_a_widget_that_was_stored_with_its_view(copy):
    def with_view(text):
        notebook = json.loads(text)
        output = next(o for cell in notebook["cells"] if cell["cell_type"] == "code" for o in cell["outputs"]
                      if "text/html" in o.get("data", {}))
        output["data"][check_site.VIEW] = {"model_id": "0", "version_major": 2, "version_minor": 1}
        return json.dumps(notebook)

    edit(copy / "_sources" / f"{CHAPTER}.ipynb", with_view)
    assert "a widget is stored with its view" in complaints(copy)


def test_a_notebook_that_was_never_run(copy):
    source = copy / "_sources" / f"{CHAPTER}.ipynb"

    def without_outputs(text):
        notebook = json.loads(text)
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"] = []
        return json.dumps(notebook)

    edit(source, without_outputs)
    assert "not one output: run the notebook" in complaints(copy)


def test_a_link_to_nowhere(copy):
    edit(copy / "book/notation.html", lambda html: html.replace("</h1>", '</h1><p><a href="gone.html">x</a><a '
                                                                         'href="#gone">x</a><a '
                                                                         'href="glossary.html#gone">x</a></p>'))
    found = complaints(copy)
    assert "link to gone.html: no such file" in found
    assert "link to #gone: no such place" in found and "link to glossary.html#gone: no such place" in found


def test_a_page_that_the_search_does_not_know(copy):
    """Left out of the index, or in it without a word."""
    def half(script):
        index = json.loads(script.removeprefix("Search.setIndex(").removesuffix(")"))
        gone = index["docnames"].index("book/notation")
        index["terms"] = {word: kept for word, pages in index["terms"].items()
                          if (kept := [page for page in (pages if isinstance(pages, list) else [pages])
                                       if page != gone])}
        return f"Search.setIndex({json.dumps(index)})"

    edit(copy / "searchindex.js", half)
    assert complaints(copy) == "book/notation: the search knows none of its words"
    edit(copy / "searchindex.js", lambda script: script.replace('"book/index"', '"book/moved"', 1))
    assert "book/index: the search knows none of its words" in complaints(copy)


def test_a_site_without_a_search(copy):
    (copy / "searchindex.js").unlink()
    assert "searchindex.js is missing" in complaints(copy)


def test_a_bad_site_makes_the_command_fail(tmp_path, capsys):
    assert check_site.main([str(tmp_path)]) == 1
    assert "not built" in capsys.readouterr().err
