"""Where the book's files lie: the address stands in _config.yml only.

A page writes @repository@ for the repository, and @colab@/chapters/NN_name.ipynb for a notebook opened on
Colab.  Under the title of each notebook page stands a button that opens it there.
"""

from pathlib import Path

from docutils import nodes


def colab(options: dict) -> str:
    """The address below which Colab opens the repository's notebooks."""
    service = options["launch_buttons"]["colab_url"].rstrip("/")
    owner_and_name = options["repository_url"].removeprefix("https://github.com/").rstrip("/")
    return f"{service}/github/{owner_and_name}/blob/{options['repository_branch']}"


def fill_in(app, docname, source):
    options = app.config.html_theme_options
    source[0] = source[0].replace("@repository@", options["repository_url"]).replace("@colab@", colab(options))


def add_button(app, doctree):
    docname = app.env.docname
    if not (Path(app.srcdir) / f"{docname}.ipynb").is_file() or docname == app.config.root_doc:
        return
    title = next(doctree.findall(nodes.title))
    link = nodes.reference("", "Open in Colab", refuri=f"{colab(app.config.html_theme_options)}/{docname}.ipynb")
    title.parent.insert(title.parent.index(title) + 1, nodes.paragraph("", "", link, classes=["lens-colab"]))


def setup(app):
    app.connect("source-read", fill_in)
    app.connect("doctree-read", add_button)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
