"""One small stylesheet, _static/book.css, in the place of the theme's and the extensions' eleven.

The browser shows nothing until every stylesheet is there, and the theme's alone has 400 kB, most of it about
things that no page holds.  When all pages are written, the sheets are joined in their order, and a rule stays
only if every class, id and element that its selector names occurs in a page or a script.  Our own sheets stay
whole.  Of the icon fonts (300 kB) the icons in use remain, inside the sheet.
"""

import base64
import hashlib
import io
import posixpath
import re
from pathlib import Path

import tinycss2
from fonts import save_cut
from fontTools.ttLib import TTFont
from lens import COURSE

NAME = "book.css"
THEMES = ["basic.css", "styles/pydata-sphinx-theme.css"]  # what the theme's template links before all others
GROUPS = {"media", "supports", "layer", "container"}
# Written in the attributes of a tag, also where a script holds the tag as a text.
TAG = re.compile(r"<([a-z][\w-]*)")
NAMED = re.compile(r"""\b(?:class|id)=\\?["']([^"'\\]*)""")
LINK = re.compile(rf'(_static/{re.escape(NAME)})[^"]*"')


def words_of(pages: list[str], scripts: list[str]) -> set[str]:
    """Every element, class and id that occurs in a page, and every word of a script."""
    words = {"html", "body", "head"}
    for page in pages:
        words.update(TAG.findall(page))
        words.update(name for names in NAMED.findall(page) for name in names.split())
    for script in scripts:
        words.update(re.findall(r"[\w-]+", script))
    return words


def used(css: str, words: set[str]) -> str:
    """The rules of a stylesheet whose selectors name nothing but `words`."""
    return "".join(_used(tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True), words))


def _used(rules, words):
    for rule in rules:
        if rule.type == "error":
            raise ValueError(f"a stylesheet cannot be read, line {rule.source_line}: {rule.message}")
        if rule.type == "qualified-rule":
            selectors = [tinycss2.serialize(s).strip() for s in _split(rule.prelude) if _names(s) <= words]
            if selectors:
                yield f"{','.join(selectors)}{{{tinycss2.serialize(rule.content).strip()}}}"
        elif rule.lower_at_keyword in GROUPS and rule.content is not None:
            inner = "".join(_used(tinycss2.parse_blocks_contents(rule.content, True, True), words))
            if inner:
                yield f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}{{{inner}}}"
        elif rule.lower_at_keyword not in ("charset", "import"):
            yield rule.serialize()


def _split(prelude):
    """The selectors of a list, which commas part."""
    selectors = [[]]
    for token in prelude:
        if token == ",":
            selectors.append([])
        else:
            selectors[-1].append(token)
    return selectors


def _names(selector) -> set[str]:
    """The elements, classes and ids that must be there for a selector to match; what stands in (...) may be absent."""
    found, before = set(), None
    for token in selector:
        if token.type == "hash" or (token.type == "ident" and before != ":"):
            found.add(token.value)
        before = token.value if token.type == "literal" else None
    return found


def rebased(css: str, folder: str) -> str:
    """Addresses that are relative to `folder` made relative to the folder above it."""
    def change(found):
        address = found[1].strip("\"'")
        return found[0] if re.match(r"data:|#|\w+:", address) else f"url({posixpath.normpath(f'{folder}/{address}')})"
    return re.sub(r"url\(([^)]*)\)", change, css)


def with_icons(css: str, static: Path) -> str:
    """Each @font-face whose file lies in `static`: with its used icons inside, or gone if none is used."""
    icons = {ord(letter) for letter in css if "\ue000" <= letter <= "\uf8ff"}  # for private use: icons

    def change(found):
        file = re.search(r"url\(([^)]+\.ttf)\)", found[0])
        if file is None:
            return found[0]
        font = small_font(static / file[1], icons)
        return re.sub(r"src:[^;}]*", lambda _: f"src:{font}", found[0]) if font else ""
    return re.sub(r"@font-face\s*{[^}]*}", change, css)


def small_font(file: Path, characters: set[int]) -> str:
    """The glyphs of a font for some code points, as the address of a font that holds itself; "" if it has none."""
    font = TTFont(file)
    characters = characters & font.getBestCmap().keys()
    if not characters:
        return ""
    out = io.BytesIO()
    save_cut(font, characters, out)
    return f"url(data:font/woff;base64,{base64.b64encode(out.getvalue()).decode()}) format('woff')"


def sheets(app) -> list[str]:
    """The stylesheets of the book in their order, as names below _static."""
    listed = sorted(app.builder._css_files, key=lambda sheet: sheet.priority)
    names = [str(sheet.filename).removeprefix("_static/").partition("?")[0] for sheet in listed]
    return THEMES + [name for name in names if name.endswith(".css") and name != "styles/theme.css"]


def join(app, exception):
    if exception or app.builder.format != "html":
        return
    out = Path(app.outdir)
    pages = {file: file.read_text(encoding="utf-8") for file in out.rglob("*.html") if "_static" not in file.parts}
    scripts = [file.read_text(encoding="utf-8") for file in (out / "_static").rglob("*.js")
               if file.name != "fontawesome.js" and "vendor" not in file.parts]
    words = words_of(list(pages.values()), scripts)
    own = [name for name, _ in app.config.html_css_files] + [file.name for file in COURSE.glob("*.css")]
    read = {name: rebased((out / "_static" / name).read_text(encoding="utf-8"), posixpath.dirname(name) or ".")
            for name in sheets(app)}
    theirs = "".join(used(text, words) for name, text in read.items() if name not in own)
    ours = "".join(text for name, text in read.items() if name in own)
    css = '@charset "utf-8";' + with_icons(theirs, out / "_static") + ours
    (out / "_static" / NAME).write_text(css, encoding="utf-8")
    # The browser keeps a sheet until its address changes.
    version = hashlib.sha256(css.encode()).hexdigest()[:8]
    for file, page in pages.items():
        changed = LINK.sub(rf'\1?v={version}"', page)
        if changed != page:
            file.write_text(changed, encoding="utf-8")


def setup(app):
    app.connect("build-finished", join, priority=900)  # after the theme has written the colours of code
    return {"parallel_read_safe": True, "parallel_write_safe": True}
