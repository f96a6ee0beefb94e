"""Photographs wait in files until the reader comes near: a page that holds them is slow to show its first word.

Pictures in a notebook carry their pixels with them.  A small one (a digit has 400 bytes) is faster so; a larger one
goes to _images, named by its content.  Frames of a widget that nobody has moved yet are fetched when somebody does.
"""

import base64
import hashlib
import re
from pathlib import Path

from sphinx.util.osutil import relative_uri

SMALL = 1000  # letters of base64
# Inside a widget's frames, which are JSON, the quotes are escaped.
# One that does not say how high it is stays: the page would jump when it comes.
INLINE = re.compile(r'(<img [^<>]*?\bheight=[^<>]*?)src=(\\?")data:image/png;base64,([A-Za-z0-9+/=]{%d,})\\?"' % SMALL)


def to_files(html: str, folder: Path, up: str) -> str:
    """The page with every larger picture in a file; up: the way from the page to the folder's parent."""
    def moved(found: re.Match) -> str:
        before, quote, pixels = found.groups()
        picture = base64.b64decode(pixels)
        name = hashlib.sha1(picture).hexdigest()[:16] + ".png"
        (folder / name).write_bytes(picture)
        wait = "" if "\\" in quote else 'loading="lazy" '
        return f"{before}{wait}src={quote}{up}{folder.name}/{name}{quote}"

    folder.mkdir(parents=True, exist_ok=True)
    return INLINE.sub(moved, html)


def move(app, pagename, templatename, context, doctree):
    if "body" in context and app.builder.format == "html":
        up = relative_uri(app.builder.get_target_uri(pagename), "")
        context["body"] = to_files(context["body"], Path(app.outdir) / "_images", up)


def setup(app):
    app.connect("html-page-context", move)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
