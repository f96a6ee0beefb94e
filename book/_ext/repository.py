"""Writes the repository's address, which stands in _config.yml only, wherever a page says @repository@."""


def fill_in(app, docname, source):
    source[0] = source[0].replace("@repository@", app.config.html_theme_options["repository_url"])


def setup(app):
    app.connect("source-read", fill_in)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
