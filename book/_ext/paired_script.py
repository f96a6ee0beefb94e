"""A notebook page is written in the .py beside it: offer that for download, and send the edit button to it."""

import shutil
from pathlib import Path


def script(app, pagename: str) -> Path | None:
    """The source of a notebook page: its pair, or the master of a student's notebook."""
    pair = Path(app.srcdir) / f"{pagename}.py"
    if pair.parent.name == "student":
        pair = pair.parents[1] / pair.name
    return pair if pair.is_file() else None


def change_buttons(app, pagename, templatename, context, doctree):
    source = script(app, pagename)
    if not source or "header_buttons" not in context:
        return
    for group in context["header_buttons"]:
        for button in group.get("buttons", []):
            if button.get("label") == "source-edit-button":
                address, _, _ = button["url"].rpartition(f"{pagename}.ipynb")
                button["url"] = address + source.relative_to(app.srcdir).as_posix()
        # A master holds the solutions: only real pairs can be downloaded.
        own = source.stem == Path(pagename).name and "student" not in pagename
        if group.get("label") == "download-buttons" and own:
            group["buttons"].insert(1, {
                "type": "link", "url": context["pathto"](f"_sources/{pagename}.py", 1), "text": ".py",
                "tooltip": "Download as a Python script", "icon": "fas fa-file-code", "label": "download-py-button"})


def copy_scripts(app, exception):
    if exception or app.builder.format != "html":
        return
    for pagename in app.env.found_docs:
        source = script(app, pagename)
        if source and "student" not in pagename:
            target = Path(app.outdir) / "_sources" / f"{pagename}.py"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def setup(app):
    app.connect("html-page-context", change_buttons, priority=900)
    app.connect("build-finished", copy_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
