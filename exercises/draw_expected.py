"""Draw the pictures of the expected outputs: `python exercises/draw_expected.py [NN_name ...]`.

Runs the masters with their solutions.  A cell with the metadata `expected="NN_what"` ends
with a picture; Chromium shows it, and what it shows, at twice the sharpness, becomes
`expected/NN_what.png`.
"""

import io
import os
import shutil
import sys
from pathlib import Path

import jupytext
from nbclient import NotebookClient
from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
WIDTH = 620  # CSS pixels; the site shows the pictures at half of their pixels (book/_ext/figures.py)
PAGE = "<body style='margin: 0; width: {}px; background: white; color: #222; font: 15px sans-serif'>{}</body>"


def pictures(master: Path) -> dict[str, str]:
    """name -> the HTML that the cell shows."""
    notebook = jupytext.read(master)
    client = NotebookClient(notebook, timeout=120, kernel_name="python3")
    client.execute(env={**os.environ, "ADVLENS_STANDIN": "always"})
    shown = {cell.metadata["expected"]: cell.outputs for cell in notebook.cells if "expected" in cell.metadata}
    return {name: next(o.data["text/html"] for o in outputs if "text/html" in o.get("data", {}))
            for name, outputs in shown.items()}


def draw(masters: list[Path]) -> None:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 800}, device_scale_factor=2)
        for master in masters:
            for name, html in pictures(master).items():
                page.set_content(PAGE.format(WIDTH, html))
                page.add_style_tag(content=".lens-picture details { display: none }")
                shown = Image.open(io.BytesIO(page.locator(".lens-picture").screenshot()))
                # 256 colours are enough here, and keep the notebooks small.
                small = shown.convert("RGB").quantize(256, dither=Image.Dither.NONE)
                small.save(HERE / "expected" / f"{name}.png", optimize=True)
                print(f"expected/{name}.png")


if __name__ == "__main__":
    draw([master for master in sorted(HERE.glob("[0-9][0-9]_*.py")) if not sys.argv[1:] or master.stem in sys.argv[1:]])
