"""Lets a wide table with the class `stack-on-phone` turn into one card per row on a narrow screen.

Each cell gets the head of its column as a label, which book/_static/advlens.css shows on
narrow screens only.
"""

from docutils import nodes


def add_labels(app, doctree):
    for table in doctree.findall(nodes.table):
        if "stack-on-phone" not in table["classes"]:
            continue
        heads = [entry.astext() for entry in next(table.findall(nodes.thead))[0]]
        for row in next(table.findall(nodes.tbody)):
            for head, entry in list(zip(heads, row))[1:]:  # the first cell is the card's title
                if entry.astext() and isinstance(entry[0], nodes.paragraph):
                    entry[0].insert(0, nodes.inline("", head, classes=["cell-label"]))


def setup(app):
    app.connect("doctree-read", add_labels)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
