"""What a search engine and a shared link say about a page: its title, a sentence or two of it, and a picture."""

from html import unescape

from docutils import nodes

LONGEST = 160  # characters of a description that a search engine shows
FIXED = {  # pages that no author writes: title and description
    "search": ("Search", "Search all chapters, exercises and look-up pages of the book."),
    "genindex": ("Index", "All words of the glossary and all indexed terms of the book, from A to Z."),
}
PICTURE = "_static/sharing.png"


def title(pagename: str, own: str, book: str, root: str) -> str:
    """The page's own title and the book's; the landing page bears the book's alone."""
    return book if pagename == root or not own or own == book else f"{own} | {book}"


def description(doctree) -> str:
    """The first paragraph that is long enough to say something, cut after a sentence or a word."""
    for paragraph in doctree.findall(nodes.paragraph):
        text = " ".join(plain(paragraph).split())
        if len(text) >= 60 and not isinstance(paragraph.parent, (nodes.entry, nodes.list_item)):
            return shortened(text)
    raise ValueError("the page has no paragraph that could describe it")


def plain(node) -> str:
    """The text of a node as it reads aloud: formulas left out."""
    if isinstance(node, nodes.math):
        return ""
    if isinstance(node, nodes.Text):
        return str(node)
    return "".join(plain(child) for child in node.children)


def shortened(text: str, longest: int = LONGEST) -> str:
    if len(text) <= longest:
        return text
    end = text.rfind(". ", 0, longest)
    return text[:end + 1] if end >= 60 else text[:text.rfind(" ", 0, longest - 3)].rstrip(",;:") + " ..."


def describe(app, pagename, templatename, context, doctree):
    book = app.config.html_title
    own, told = FIXED.get(pagename) or (unescape(context.get("title") or ""),
                                        description(doctree) if doctree else f"A page of {book}.")
    context["page_title"] = title(pagename, own, book, app.config.root_doc)
    context["page_description"] = told
    context["sharing_picture"] = app.config.html_baseurl and app.config.html_baseurl.rstrip("/") + "/" + PICTURE


def setup(app):
    app.connect("html-page-context", describe)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
