# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The lab

# %% tags=["remove-input"]
# Run once. On Colab this installs the course, and leaves torch and numpy as they are.
# Elsewhere it does nothing.
import importlib.util, subprocess, sys
from importlib.metadata import version

if importlib.util.find_spec("advlens") is None:
    repository = "git+https://github.com/adversarial-lenses/adversarial-lenses@v0.2.0"
    keep = [f"{name}=={version(name)}" for name in ("torch", "numpy")]
    pip = [sys.executable, "-m", "pip", "install", "-q"]
    done = subprocess.run([*pip, repository, *keep])
    if done.returncode:
        raise SystemExit("Could not install the course: connect to the network, "
                         "or clone the repository and run `pip install .` in it.")

from advlens.course import lab

# %% tags=["remove-input"]
lab.page()

# %% [markdown]
# ## What this is
#
# The networks of this book, attacked while you look. Nothing is filmed: each time you move something, the network and its gradient are computed anew, in this page and on your own device. Nothing that you draw leaves it.
#
# Choose an image, or the empty page and draw a digit with a finger, a mouse or a pen. Your drawing is brought to the size and place of the digits on which the networks were trained, and that picture is attacked. Then push epsilon until the answer changes.
#
# - The **noise** is what the attack adds: orange where a pixel gets lighter, blue where it gets darker, the paper's colour where nothing changes. In photographs each colour is shown by itself. Its scale never changes, so a pale noise is a small one.
# - What the network **sees** stands in a green frame while its answer is right, and in a dashed orange one when it is wrong.
# - Each bar is how sure the network is of that answer; the thin line is how sure it was before the attack.
#
# ## The attacks
#
# FGSM
# : One step: every pixel moves by epsilon in the direction that hurts most. [Chapter 03](../chapters/03_one_step.ipynb) derives it.
#
# FGM
# : One step along the gradient itself. Here epsilon is the Euclidean length of the whole change, so its numbers are larger.
#
# PGD
# : Many small steps, never further than epsilon from the image. Move *step of the walk* to follow it; the curve shows the loss that it climbs. [Chapter 04](../chapters/04_many_steps.ipynb) explains why it is stronger.
#
# DDN
# : Looks for the shortest change that fools, so it has no epsilon: it finds one.
#
# *Smallest ε* looks for the smallest budget with which the chosen attack fools the network. *Copy link* gives you an address that brings back everything as it is now, drawings too.
#
# ## Things to try
#
# - Put two networks side by side. Do they fall for the same noise? Under *Noise*, show all of them the noise that was made on one.
# - Choose an *aim*: make a seven a three. Which digits are easy to reach from which?
# - Switch on JPEG in front of the network. Does the attack still work, and what does it look like when the attack knows of the JPEG?
# - Draw a digit so badly that the networks disagree before any attack.
#
# The images are the first of each class in the test set. The networks and how they were trained are in [chapter 02](../chapters/02_networks.ipynb). A notebook computes the same with the library in Python.
