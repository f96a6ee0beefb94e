"""Brings the widgets' styles to the site, and their scripts to the pages that have a widget.

A widget's outermost element names its module, data-lens="lens"; the module is lens.js with
lens.css in lib/advlens/course.  Browsers do not load ES modules from file://, so the site's
copy is a classic script that mounts the page's widgets at once.
"""

import re
import shutil
from pathlib import Path

COURSE = Path(__file__).resolve().parents[2] / "lib" / "advlens" / "course"
WIDGET = re.compile(r'\bdata-lens="(\w+)"')
EXPORT = re.compile(r"^export default (\{[^{}]*\});\s*\Z", re.MULTILINE)


def classic(module: str) -> str:
    """The ES module as a script.  Its last statement exports { render, mount }; it imports nothing."""
    if re.search(r"^import\b", module, re.MULTILINE):
        raise ValueError("a widget's module stands alone: it cannot import another")
    body, found = EXPORT.subn(r"(\1).mount(document);", module)
    if not found:
        raise ValueError("a widget's module ends with `export default { render, mount };`")
    return f"(() => {{\n{body}\n}})();\n"


def write_files(app):
    """Before any page, so that pages can carry the files' checksums.  The styles go into every page: they are small."""
    if app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    static.mkdir(parents=True, exist_ok=True)
    for module in sorted(COURSE.glob("*.js")):
        style = module.with_suffix(".css")
        (static / module.name).write_text(classic(module.read_text(encoding="utf-8")), encoding="utf-8")
        shutil.copyfile(style, static / style.name)
        app.add_css_file(style.name)


def add_scripts(app, pagename, templatename, context, doctree):
    for name in sorted(set(WIDGET.findall(context.get("body", "")))):
        app.add_js_file(f"{name}.js", loading_method="defer")


def setup(app):
    app.connect("builder-inited", write_files)
    app.connect("html-page-context", add_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
