"""Scripts wait until the text stands there, and a page loads only those that it uses.

The theme loads every script of every extension in the head of every page, before the text; on a slow phone
that is seconds of an empty screen.  Here each script gets `defer` (they keep their order), and a script that
serves one kind of element stays away from pages without it.  The template is book/_templates/layout.html.
Code loses the elements that colour nothing.  What the theme does twice as slowly as book/_static/course-a11y.js
is taken out of its script.
"""

import re
from pathlib import Path

# Names, commas and blanks have the colour of plain text: half of all elements of a chapter say nothing.  A dot between
# names has a colour of its own, which nobody sees on a dot.
PLAIN = re.compile(r'<span class="(?:(?:n|p|w)">([^<]*)|o">(\.))</span>')
SCRIPT = re.compile(r"<script\b([^>]*)>(.*?)</script>\s*", re.S)
# What must stand in a page's text for a script to be of use; the scripts of all other names are always loaded.
SERVES = {
    "clipboard.min.js": 'class="highlight',
    "copybutton.js": 'class="highlight',
    "togglebutton.js": r'class="[^"]*\b(toggle|dropdown)\b',
    "design-tabs.js": 'class="sd-tab',
}
TOGGLE_TEXT = re.compile(r"\b(toggleHint|toggleOpen|togglebuttonSelector)")
# Where this page is and whether it searches while one types: asked for by parts of the theme that are off.
UNUSED_TEXT = re.compile(r"^DOCUMENTATION_OPTIONS\.(pagename|search_as_you_type)\b")
# Of these the theme asks one by one, as soon as it runs, whether they scroll, and so lays out the whole page, folded
# code too, a part at a time: half of all layout on a phone.  course-a11y.js asks when they are laid out anyhow.
THEME = "scripts/pydata-sphinx-theme.js"
ASKED = ('["pre",".nboutput > .output_area",".cell_output > .output",".jp-RenderedHTMLCommon",'
         '".pst-scrollable-table-container"]')


def light_scripts(head: str, body: str) -> str:
    """The script elements `head` of a page whose text is `body`, less those of no use, none before the text."""
    return SCRIPT.sub(lambda found: _light(found, body), head)


def _light(found: re.Match, body: str) -> str:
    attributes, text = found.groups()
    source = re.search(r'\bsrc="([^"?]*)', attributes)
    if source is None:
        serves = SERVES["togglebutton.js"] if TOGGLE_TEXT.search(text) else ""
        return "" if UNUSED_TEXT.match(text) or not re.search(serves, body) else found[0]
    name = source[1].rpartition("/")[2]
    if not re.search(SERVES.get(name, ""), body):
        return ""
    return found[0] if re.search(r"\b(defer|async)\b", attributes) else f"<script defer{attributes}>{text}</script>\n"


def lighten(app, pagename, templatename, context, doctree):
    context["light_scripts"] = light_scripts
    context["body"] = PLAIN.sub(r"\1\2", context.get("body", ""))


def unasked(script: str) -> str:
    """The theme's script without its question.  Raises ValueError where the script does not hold it, or twice."""
    if script.count(ASKED) != 1:
        raise ValueError(f"{THEME} has changed: look there who gives a tabindex to what scrolls, and mend ASKED")
    return script.replace(ASKED, '["#nothing"]')


def lighten_theme(app, exception):
    file = Path(app.outdir) / "_static" / THEME
    if exception is None and app.builder.format == "html" and '"#nothing"' not in (script := file.read_text("utf-8")):
        file.write_text(unasked(script), encoding="utf-8")


def setup(app):
    app.connect("html-page-context", lighten)
    app.connect("build-finished", lighten_theme)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
