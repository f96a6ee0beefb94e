"""The built site, a server for it, and a browser, each made once."""

import contextlib
import functools
import gzip
import http.server
import io
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The folder of the built site: $ADVLENS_SITE, or built here."""
    if given := os.environ.get("ADVLENS_SITE"):
        folder = (ROOT / given).resolve()
        assert (folder / "index.html").is_file(), f"ADVLENS_SITE={given} holds no index.html: run `make book`"
        return folder
    out = tmp_path_factory.mktemp("site")
    build = subprocess.run([sys.executable, "-m", "jupyter_book.cli.main", "build", str(ROOT), "-W", "-n",
                            "--keep-going", "--path-output", str(out)],
                           capture_output=True, text=True)
    assert build.returncode == 0, build.stdout[-3000:] + build.stderr[-3000:]
    return out / "_build" / "html"


@functools.lru_cache(maxsize=None)
def compressed(path: str) -> bytes:
    return gzip.compress(Path(path).read_bytes(), 6)


class Host(http.server.SimpleHTTPRequestHandler):
    """Sends text compressed, as every public host of static pages does."""

    def log_message(self, *_):
        pass

    def send_head(self):
        path = Path(self.translate_path(self.path))
        if path.suffix not in (".html", ".js", ".css", ".svg", ".json") or not path.is_file():
            return super().send_head()
        body = compressed(str(path))
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return io.BytesIO(body)


@contextlib.contextmanager
def served(folder: Path):
    """The address of a server on a free port of 127.0.0.1, while it is needed."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Host, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.fixture(scope="session")
def address(site) -> str:
    with served(site) as address:
        yield address


@pytest.fixture(scope="session")
def subpath(site, tmp_path_factory) -> str:
    """The same site two folders below the root of a server."""
    root = tmp_path_factory.mktemp("root")
    (root / "course").mkdir()
    (root / "course" / "v1").symlink_to(site, target_is_directory=True)
    with served(root) as address:
        yield f"{address}/course/v1"


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium.  Without it the browser tests are skipped, or fail if $ADVLENS_REQUIRE_BROWSER is 1."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        message = "no Chromium on this machine: install it (say `apt install chromium`) to test the site in a browser"
        if os.environ.get("ADVLENS_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def new_page(browser):
    """new_page(width=1280) -> a page in a context of its own: nothing cached, nothing remembered."""
    def new_page(width: int = 1280):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme="light")
        context.set_default_timeout(120_000)  # machines that test are often busy
        return context.new_page()

    return new_page
