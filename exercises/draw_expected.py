"""Draw the pictures of the expected outputs: `python exercises/draw_expected.py [NN_name ...]`.

Runs the masters with their solutions.  A cell with the metadata `expected="NN_what"` ends
with a figure; that figure becomes `expected/NN_what.png`.
"""

import base64
import io
import os
import sys
from pathlib import Path

import jupytext
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).parent


def draw(master: Path) -> None:
    notebook = jupytext.read(master)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute(env={**os.environ, "ADVLENS_STANDIN": "always"})
    for cell in notebook.cells:
        if "expected" in cell.metadata:
            picture = next(o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {}))
            # 256 colours are enough here, and keep the notebooks small.
            small = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB").quantize(256, dither=Image.Dither.NONE)
            small.save(HERE / "expected" / f"{cell.metadata['expected']}.png", optimize=True)
            print(f"expected/{cell.metadata['expected']}.png")


if __name__ == "__main__":
    for master in sorted(HERE.glob("[0-9][0-9]_*.py")):
        if not sys.argv[1:] or master.stem in sys.argv[1:]:
            draw(master)
