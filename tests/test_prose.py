"""No chapter types a measured number by hand.

What a measurement looks like in text: a percentage, an accuracy such as 0.97 or 97.3, a
count "3 of 10", or a number of points, times or seconds.  Such a number comes from
records.say or from a variable.  ALLOWED lists, by pattern, what else may look like one.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import jupytext
import nbformat
import pytest

CHAPTERS = sorted((Path(__file__).parents[1] / "chapters").glob("*.py"))

SHARE = re.compile(r"""
    (?<![\w.]) \d[\d,]*(\.\d+)? \s* ( % | per\s?cent )
  | (?<![\w.]) \d[\d,]* (\s+(images|digits|pixels|photographs))?
    \s+ (out\s+of | of) \s+ (the\s+ | all\s+)? \d[\d,]* (?![\d/])
""", re.VERBOSE)
MEASURED = re.compile(SHARE.pattern + r"""
  | (?<![\w./-]) ( 0?\.\d\d+ | \d\d\.\d+ ) (?!\w|\.\d)
  | (?<![\w.]) \d[\d,]*(\.\d+)? [\s-] (percentage\s+)? (points?|times|seconds)\b
""", re.VERBOSE)

ALLOWED = re.compile(r"""
    ^```.*?^```[ ]*$ | ^:\w+:.*?$        # code and options of directives
  | \$\$.*?\$\$ | \$[^$]*\$              # mathematics: a worked example, a constant
  | `[^`]*` | \]\([^)]*\) | https?://\S+ # code, targets of links, addresses
  | \b(eps|epsilon|seed)\s=\s\d+(\.\d+|/\d+)?    # settings
  | \b95\s?%\s(confidence\s)?interval | \(95\s?%
  | ^[-*\d.]*\s*\*\*Think\.?\*\*.*?(?=^\S|\Z)    # an exercise's made-up situation
  | [^.!?\n]*\{cite(:\w)?\}[^!?\n]*?([.!?](?=\s)|$) # a sentence that cites: what a source reports
""", re.VERBOSE | re.MULTILINE | re.DOTALL)


def typed(text: str, looks_measured: re.Pattern = MEASURED) -> list[str]:
    """The measured numbers that a text types by hand."""
    return [found[0] for found in looks_measured.finditer(ALLOWED.sub(" ", text))]


def strings(code: str):
    """The texts of a code cell that speak about our results, without the parts that Python fills in.

    Left out: what a source claims and reports (in `verdict` and in the rows of `claims`), the question and
    the options of `predict` (a reader's guesses, not results; its feedback is looked at), keys, and documentation.
    """
    others = ("claim", "where", "reported", "question", "answer")

    def visit(node):
        skipped = []
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("verdict", "predict"):
            skipped = [argument for argument in node.args if not isinstance(argument, ast.Dict)]
            skipped += [word for word in node.keywords if word.arg in others]
        elif isinstance(node, ast.Dict):
            skipped = [*node.keys, *(value for key, value in zip(node.keys, node.values)
                                     if getattr(key, "value", "") in others)]
        elif isinstance(node, ast.Subscript):
            skipped = [node.slice]
        elif isinstance(node, ast.FormattedValue):
            skipped = [node.format_spec]
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"\{[^{}]*\}", " ", node.value)
        for child in ast.iter_child_nodes(node):
            if not any(child is other for other in skipped):
                yield from visit(child)
    return visit(ast.parse(code))


def numbers_by_hand(notebook) -> list[str]:
    """Every number typed by hand in a notebook's prose, captions, alternative texts and strings."""
    texts = []  # (text, what a measurement looks like in it)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            texts.append((cell.source, MEASURED))
        else:
            texts += [(text, SHARE) for text in strings(cell.source)]
            about = cell.metadata.get("mystnb", {})
            texts += [(about.get("image", {}).get("alt", ""), MEASURED),
                      (about.get("figure", {}).get("caption", ""), MEASURED)]
    return [f"{number!r} in {text.strip()[:60]!r}" for text, pattern in texts for number in typed(text, pattern)]


def notebook(*sources, **metadata):
    """A made-up chapter: a source that starts with `#:` is prose, any other is code."""
    return nbformat.v4.new_notebook(cells=[
        nbformat.v4.new_markdown_cell(source[2:]) if source.startswith("#:")
        else nbformat.v4.new_code_cell(source, metadata=metadata)
        for source in sources])


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_no_chapter_types_a_measured_number(chapter):
    assert numbers_by_hand(jupytext.read(chapter)) == []


def test_there_are_chapters_to_look_at():
    assert len(CHAPTERS) >= 5


@pytest.mark.parametrize("prose", [
    "LeNet has an accuracy of 97.3 % after this.", "It keeps 5% of them.", "about 40 per cent",
    "the accuracy is 0.973 now", "It falls to .52 at once.", "an accuracy of 97.3 now",
    "**3 of 10** images", "12 images out of 500", "1,203 out of the 10,000 images",
    "16 points above the test accuracy", "The attack is 17 times faster.",
    "It took 12.5 seconds.", "First {cite}`unam2021` measured it. We find 41 %.", "An interval, 95 %, of accuracies",
])
def test_a_number_typed_in_prose_is_found(prose):
    assert numbers_by_hand(notebook("#:" + prose))


@pytest.mark.parametrize("code", [
    'records.verdict("A claim", source="unam2021", reported="1 %", measured="97.3 %", why="-")',
    'records.claims([{"claim": "A claim", "reported": "1 %", "measured": "97.3 %"}])',
    'print(f"accuracy 97.3 % at {eps:.2%}")', 'widgets.predict("?", {"a": "LeNet keeps 3 %.", "b": "no"}, "a")',
])
def test_a_number_typed_in_a_string_is_found(code):
    assert numbers_by_hand(notebook(code))


@pytest.mark.parametrize("about",
                         [{"image": {"alt": "a curve that ends at 12 %"}}, {"figure": {"caption": "LeNet at 0.97."}}])
def test_a_number_typed_under_a_figure_is_found(about):
    assert numbers_by_hand(notebook("draw()", mystnb=about))


@pytest.mark.parametrize("source", [
    "#:At eps = 0.1 and eps = 8/255 we walk forty steps of 2/255.",
    "#:Images of 28 by 28 pixels, 61,706 parameters, chapters 13 to 15, in 2015.",
    "#:The share is $0.5$ by symmetry: $$1 - 0.5 = 0.5.$$", "#:Write `0.1307` there.",
    "#:They report 98.79 % on the training set {cite}`marinelli`.",
    "#:the 95 % interval of each", "#:3. **Think.** A colleague's net keeps 95 % under attack. What now?",
    "#:```python\nx = 0.5\n```",
    "#:See [the second part](02_networks.html#v1.5).", "x = 0.5  # one half", 'card["test accuracy 95 %"]',
    'print(f"{accuracy:.1%} of {n} images")', 'records.say("LeNet keeps {kept:.1%}.", kept=0.5)',
    'widgets.predict("?", {"about 50 %": "Close.", "about 5 %": "No."}, "about 5 %")',
    'records.verdict("A claim", source="unam2021", reported="97.3 %", measured=f"{a:.1%}", why="-")',
    'records.claims([{"claim": "12 of 20", "where": "12 of 20", "reported": "97.3 %", "measured": f"{a:.1%}"}])',
])
def test_what_is_no_measurement_is_let_through(source):
    assert numbers_by_hand(notebook(source)) == []
