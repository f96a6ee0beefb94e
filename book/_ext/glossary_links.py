"""Words of the glossary link to it where they first stand on a page, and the glossary has its letters.

No chapter has to mark its terms.  A word is linked in running text only: not in headings, links, code,
formulas, captions or outputs.
"""

import re
from itertools import groupby

from docutils import nodes
from sphinx import addnodes
from sphinx.util.osutil import relative_uri

GLOSSARY = "book/glossary"
# Everyday words: linked where an author marks them with {term}, not by themselves.
EVERYDAY = {"record", "source (of data)", "step", "class", "stand-in"}
QUIET = (nodes.reference, nodes.literal, nodes.math, nodes.title, nodes.caption, nodes.raw, nodes.term,
         nodes.citation, nodes.rubric, nodes.entry, addnodes.pending_xref)


def spelled(term: str) -> re.Pattern:
    """A term as it stands in a sentence: a small or a capital first letter, one or many."""
    first = f"[{term[0].lower()}{term[0].upper()}]" if term[1:2].islower() else re.escape(term[0])
    plural = {"y": f"{re.escape(term[1:-1])}(?:y|ies)", "s": re.escape(term[1:])}.get(
        term[-1], re.escape(term[1:]) + "s?")
    return re.compile(rf"(?<![\w-]){first}{plural}(?![\w-])".replace(r"\ ", r"\s+"))


def terms(env) -> dict[str, str]:
    """Each term of the glossary and its id there, the longest term first."""
    found = {name: anchor for _, name, kind, doc, anchor, _ in env.get_domain("std").get_objects()
             if kind == "term" and doc == GLOSSARY and name not in EVERYDAY}
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))


def link_terms(app, doctree, docname):
    if app.builder.format != "html" or docname in (GLOSSARY, app.config.root_doc):
        return
    page = relative_uri(app.builder.get_target_uri(docname), app.builder.get_target_uri(GLOSSARY))
    linked = {ref["refuri"].partition("#")[2] for ref in doctree.findall(nodes.reference)
              if ref.get("refuri", "").startswith(f"{page}#")}
    waiting = {anchor: spelled(term) for term, anchor in terms(app.env).items() if anchor not in linked}
    for paragraph in list(doctree.findall(nodes.paragraph)):
        if not waiting:
            return
        if not quiet(paragraph):
            for text in list(paragraph.findall(nodes.Text)):
                if not quiet(text, paragraph):
                    link_text(text, waiting, page)


def quiet(node, top=None) -> bool:
    """Whether a node stands where nothing is linked."""
    while node is not None and node is not top:
        if isinstance(node, QUIET) or (isinstance(node, nodes.container) and "nb_element" in node):
            return True
        node = node.parent
    return False


def link_text(text: nodes.Text, waiting: dict[str, re.Pattern], page: str):
    """Put links in the place of the terms of one text; each term that got one waits no more."""
    hits, taken = [], []
    for anchor, pattern in list(waiting.items()):
        for found in pattern.finditer(str(text)):
            if all(found.end() <= start or found.start() >= end for start, end in taken):
                hits.append((found.start(), found.end(), anchor))
                taken.append(found.span())
                del waiting[anchor]
                break
            # Inside a longer term: that one is linked, and this waits for another place.
    if not hits:
        return
    new, at = [], 0
    for start, end, anchor in sorted(hits):
        link = nodes.reference("", str(text)[start:end], refuri=f"{page}#{anchor}", internal=True,
                               classes=["lens-term"])
        new += [nodes.Text(str(text)[at:start]), link]
        at = end
    text.parent.replace(text, [node for node in [*new, nodes.Text(str(text)[at:])] if node.astext()])


def letter(item) -> str:
    return item[0].astext()[0].upper()


def part_by_letters(app, doctree):
    """One section for each letter, and above them a row of links to the letters."""
    if app.env.docname != GLOSSARY:
        return
    for glossary in list(doctree.findall(addnodes.glossary)):
        items = sorted(glossary[0], key=lambda item: item[0].astext().lower())
        row, sections = nodes.paragraph(classes=["lens-letters"]), []
        for name, group in groupby(items, key=letter):
            anchor = f"letter-{name.lower()}"
            row += [nodes.reference("", name, refid=anchor, internal=True), nodes.Text(" ")]
            inner = addnodes.glossary("", nodes.definition_list("", *group, classes=["simple", "glossary"]))
            sections.append(nodes.section("", nodes.title("", name), inner, ids=[anchor], names=[anchor]))
        glossary.parent.replace(glossary, [row, *sections])


def setup(app):
    app.connect("doctree-read", part_by_letters, priority=100)  # before the table of contents is read off
    app.connect("doctree-resolved", link_terms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
