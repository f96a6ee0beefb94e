"""Folded code says what it is: "Set-up", "Code for this figure", or just "Code".

A cell tagged `hide-input` is folded by MyST-NB under one name for all; here it gets a name of its own, which a
screen reader hears as it stands.
"""

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode
from sphinx.transforms.post_transforms import SphinxPostTransform


class NameFolds(SphinxPostTransform):
    default_priority = 198  # right before MyST-NB folds
    formats = ("html",)

    def run(self, **kwargs):
        for cell in self.document.findall(nodes.container):
            if cell.get("nb_element") == "cell_code" and cell.get("hide_mode"):
                cell["prompt_show"] = name(cell)


def name(cell) -> str:
    if "tag_setup" in cell["classes"]:
        return "Set-up"
    pictures = any(True for _ in cell.findall(nodes.figure)) or any(
        "<svg" in raw.astext() or "<img" in raw.astext() for raw in cell.findall(nodes.raw))
    return "Code for this figure" if pictures else "Code"


def open_fold(self, node):
    self.body.append(f'<details class="lens-code"><summary>{node["prompt_show"]}</summary>\n')


def close_fold(self, node):
    self.body.append("</details>\n")


def setup(app):
    app.add_post_transform(NameFolds)
    app.add_node(HideCodeCellNode, override=True, html=(open_fold, close_fold))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
