"""The widgets in a real JupyterLab, with a kernel: moved by keyboard and mouse, heard of and answered in Python."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest

from advlens import attacks, data, evaluation, zoo

CELLS = ["""
from advlens.course import widgets

class Words:
    def __init__(self, text): self.text = text
    def named(self, alt): return f'<div role="img" aria-label="{alt}">{self.text}</div>'
""", """
moved = widgets.explore(lambda eps: Words(f"drawn at {eps:g}"), alt=lambda eps: f"A square at {eps:g}.",
                        caption="Move it.", eps=[0.0, 0.1, 0.2, 0.3, 0.4, 0.5], flips=0.3)
moved
""", """
asked = widgets.predict("Is 1 < 2?", {"yes": "Count.", "no": "Count again."}, "yes")
asked
""", """
print("chosen", moved.chosen, asked.chosen)
if moved.chosen == [3]:
    moved.chosen = [5]
""", """
widgets.lab(net="lenet", attack="fgsm", data="digits")
"""]


@pytest.fixture
def laboratory(tmp_path):
    """The address of a JupyterLab that shows a folder with one notebook, lens.ipynb."""
    if importlib.util.find_spec("jupyterlab") is None:
        pytest.skip("JupyterLab is not installed: it comes with the `instructor` extra (nbgrader)")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    (tmp_path / "work").mkdir()
    nbformat.write(notebook, tmp_path / "work" / "lens.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "IPYTHONDIR": str(tmp_path / "ipython"),
                   **{f"JUPYTER_{kind}_DIR": str(tmp_path / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
             "--ServerApp.port_retries=0", "--IdentityProvider.token=", f"--ServerApp.root_dir={tmp_path / 'work'}",
             "--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"],
            env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/api", server, tmp_path / "log")
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)  # the server ends its kernels
        server.wait(timeout=60)


def wait_for(address, server, log, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5)
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture
def page():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        if os.environ.get("ADVLENS_REQUIRE_BROWSER") == "1":
            pytest.fail("Chromium is required here and is not installed")
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        page.set_default_timeout(120_000)
        yield page
        browser.close()


def test_widgets_move_in_jupyterlab_and_python_hears_of_it(laboratory, page):
    page.goto(f"{laboratory}/lab/tree/lens.ipynb?reset")
    page.get_by_text("(ipykernel) | Idle").wait_for()
    page.locator(".jp-Cell .cm-content").first.click()  # commands are for the notebook that is in use
    menu(page, "Run", "Run All Cells")

    box = page.locator(".jp-OutputArea .lens-explore")
    slider = box.get_by_role("slider")
    box.get_by_text("drawn at 0", exact=True).wait_for()
    slider.focus()
    for _ in range(3):  # in command mode JupyterLab has its own use for this key
        page.keyboard.press("ArrowRight")
    box.get_by_text("drawn at 0.3", exact=True).wait_for()
    assert slider.get_attribute("aria-valuetext") == "epsilon 0.3, the answer flips"

    card = page.locator(".jp-OutputArea .lens-predict")
    card.get_by_role("button", name="no").click()
    assert card.get_by_role("status").inner_text() == "Not quite. Count again."

    live = page.locator(".jp-OutputArea .lens-lab")
    live.get_by_role("slider").focus()
    page.keyboard.press("End")
    live.get_by_text(f"LeNet is fooled: {fooled_at(0.3)}").wait_for()  # the kernel's numbers

    page.locator(".jp-Cell .cm-content").nth(3).click()
    menu(page, "Run", "Run Selected Cell")
    page.get_by_text("chosen [3] [1]").wait_for()
    box.get_by_text("drawn at 0.5", exact=True).wait_for()
    assert slider.input_value() == "5"


def fooled_at(eps: float) -> str:
    """What LeNet says to the first of the lab's digits after FGSM."""
    digits, net = data.load("digits", "test"), zoo.pretrained("lenet", "digits")
    zero = digits[(digits.labels == 0).nonzero().flatten()[:1]]
    said = evaluation.logits(net, attacks.fgsm(net, zero.images, zero.labels, eps=eps)).argmax(1).item()
    return digits.classes[said]


def menu(page, name, entry):
    page.locator(".lm-MenuBar-item", has_text=name).first.click()
    page.locator(".lm-Menu-item:not(.lm-mod-disabled) .lm-Menu-itemLabel").get_by_text(entry, exact=True).click()
