"""Takes the theme's Font Awesome script (1.5 MB) off every page.

The theme brings the same icons as a font, which is enough.  The script is worse than
superfluous: it replaces the icons of ipywidgets, and their Play button then throws.
"""

import re

SCRIPT = re.compile(r'<script[^>]*/fontawesome\.js[^>]*></script>')


def without_fontawesome(head: str) -> str:
    light, found = SCRIPT.subn("", head)
    if not found:
        raise ValueError("the theme no longer loads fontawesome.js: remove book/_ext/light_page.py and book/_templates")
    return light


def add_filter(app, pagename, templatename, context, doctree):
    context["without_fontawesome"] = without_fontawesome


def setup(app):
    app.connect("html-page-context", add_filter)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
