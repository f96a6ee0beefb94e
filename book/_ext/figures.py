"""Pictures of `advlens.course.plots` on a page: their accessible name, and one style sheet instead of one in each.
Pictures inside a notebook's text (the expected outputs of an exercise) are drawn at twice the size that they get here.

A cell's metadata hold the alternative text, `mystnb={"image": {"alt": "..."}}`; myst-nb writes it on images only.
Number and caption of the figure come from myst-nb, whatever the output is.
"""

import base64
import io
import re

from docutils import nodes
from lens import COURSE
from PIL import Image
from sphinx.util import logging

from advlens.course.pictures import named

SHEET = COURSE / "figures.css"
PICTURE = re.compile(r'\A<style>.*?</style>(?=<div class="lens-picture">)', re.DOTALL)


def name_pictures(app, doctree):
    for cell in doctree.findall(lambda node: isinstance(node, nodes.container) and "cell_metadata" in node):
        alt = cell["cell_metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
        for raw in list(cell.findall(nodes.raw)):
            light, found = PICTURE.subn("", raw.astext())
            if not found:
                continue
            if not alt:
                logging.getLogger(__name__).warning("a picture has no alternative text: give its cell "
                                                    'mystnb={"image": {"alt": "..."}}', location=cell)
            raw.replace_self(nodes.raw("", named(light, alt) if alt else light, format="html",
                                       classes=raw["classes"]))


def halve_pictures(app, doctree):
    for image in doctree.findall(nodes.image):
        head, comma, data = image["uri"].partition("base64,")
        if comma and "width" not in image:
            image["width"] = f"{Image.open(io.BytesIO(base64.b64decode(data))).width // 2}px"


def setup(app):
    app.config.html_static_path.append(str(SHEET))
    app.connect("doctree-read", name_pictures)
    app.connect("doctree-read", halve_pictures)
    app.add_css_file(SHEET.name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
