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
# # Adversarial Lenses
#
# What fools neural networks, what that says about how they see, and what really stops it. A hands-on course: the networks below run in this page, and you attack them.
#
# :::{container} lens-ways
# [Start reading](../chapters/00_adversarial_examples.ipynb){.lens-first} [Open in Colab](@colab@/chapters/00_adversarial_examples.ipynb)
# :::

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

from advlens.course import widgets

# %% tags=["remove-input"]
widgets.lab(net="lenet", attack="fgsm")

# %% [markdown]
# Push the slider: every pixel changes by at most epsilon, each in the direction that hurts the network most. At some point the network reads another digit; do you? This book shows how such images are made, why they exist, and how to measure honestly whether a defence stands. Every figure comes from code that you can run, and what the book's sources claim is measured again.
#
# ## The chapters
#
# :::::{grid} 1 2 2 2
# :gutter: 3
# :class-container: lens-cards
#
# ::::{grid-item-card} 00 What is an adversarial example?
# :img-top: _static/cards/00.png
# :img-alt: A handwritten nought, and nearly the same picture, which a network calls a two.
# :link: ../chapters/00_adversarial_examples
# :link-type: doc
#
# How far must you push before a network gives a wrong answer, and how far before you would?
# :::{card-footer}
# 60 minutes
# :::
# ::::
#
# ::::{grid-item-card} 01 Data
# :img-top: _static/cards/01.png
# :img-alt: Ten small photographs, from an aeroplane to a truck.
# :link: ../chapters/01_data
# :link-type: doc
#
# You see a seven, the network a table of numbers. How large is a small change to it?
# :::{card-footer}
# 50 minutes
# :::
# ::::
#
# ::::{grid-item-card} 02 Networks
# :img-top: _static/cards/02.png
# :img-alt: A handwritten seven and the six filters through which a network looks at it first.
# :link: ../chapters/02_networks
# :link-type: doc
#
# Two pictures of one digit go into a network. Where on the way do the two part?
# :::{card-footer}
# 60 minutes
# :::
# ::::
#
# ::::{grid-item-card} 03 One step
# :img-top: _static/cards/03.png
# :img-alt: A handwritten seven, and the blue and orange step that is added to it.
# :link: ../chapters/03_one_step
# :link-type: doc
#
# What if we follow the network's small opinions about every pixel at once, in the wrong direction?
# :::{card-footer}
# 60 minutes
# :::
# ::::
#
# ::::{grid-item-card} 04 Many steps
# :img-top: _static/cards/04.png
# :img-alt: A map of the loss, from dark and low to bright and high, and a walk of twelve steps uphill.
# :link: ../chapters/04_many_steps
# :link-type: doc
#
# Some images withstand one step. Are they safe, or did the step only miss?
# :::{card-footer}
# 60 minutes
# :::
# ::::
#
# ::::{grid-item-card} 05 Least effort
# :img-top: _static/cards/05.png
# :img-alt: A map of the classes around one image, and the largest circle around it in which nothing changes.
# :link: ../chapters/05_least_effort
# :link-type: doc
#
# How little is enough, and how would you know that it is the least?
# :::{card-footer}
# 70 minutes
# :::
# ::::
#
# ::::{grid-item-card} 06 Without gradients
# :img-top: _static/cards/06.png
# :img-alt: Three pictures of a seven, from noisy to clean, each of which a network calls something else.
# :link: ../chapters/06_without_gradients
# :link-type: doc
#
# What if the attacker sees nothing of the network but its answers?
# :::{card-footer}
# 65 minutes
# :::
# ::::
#
# ::::{grid-item-card} 07 Honest evaluation
# :img-top: _static/cards/07.png
# :img-alt: The colourful gradient of one network, and a blank square with a question mark.
# :link: ../chapters/07_honest_evaluation
# :link-type: doc
#
# A network that cannot be attacked and is not robust: how do you notice?
# :::{card-footer}
# 65 minutes
# :::
# ::::
#
# ::::{grid-item-card} 08 JPEG as a defence
# :img-top: _static/cards/08.png
# :img-alt: A photograph of a frog saved three times, from whole to blurred to coarse blocks.
# :link: ../chapters/08_jpeg
# :link-type: doc
#
# An attack spoils a picture, and saving it as JPEG repairs it. Is that a defence?
# :::{card-footer}
# 60 minutes
# :::
# ::::
#
# ::::{grid-item-card} 09 Frequencies
# :img-top: _static/cards/09.png
# :img-alt: Stripes of one frequency, the noise of an attack in blue and orange, and the spectrum of that noise, brightest in the centre.
# :link: ../chapters/09_frequencies
# :link-type: doc
#
# Which waves does a network need, and which of them fool it?
# :::{card-footer}
# 60 minutes
# :::
# ::::
#
# ::::{grid-item-card} 10 Capacity
# :img-top: _static/cards/10.png
# :img-alt: Five curves of accuracy that fall as the attack grows; the boldest hardly falls.
# :link: ../chapters/10_capacity
# :link-type: doc
#
# A network that trained for longer withstands more attacks. Is it safer?
# :::{card-footer}
# 45 minutes
# :::
# ::::
#
# ::::{grid-item-card} 11 Local learning
# :img-top: _static/cards/11.png
# :img-alt: A slanted cloud of dots and arrows from its centre that turn, one after the other, into its long axis; the last is the boldest.
# :link: ../chapters/11_local_learning
# :link-type: doc
#
# Can a synapse learn from what it sees itself?
# :::{card-footer}
# 65 minutes
# :::
# ::::
#
# ::::{grid-item-card} 12 Competing units
# :img-top: _static/cards/12.png
# :img-alt: Eighteen small pictures of weights that look like handwritten digits.
# :link: ../chapters/12_competing_units
# :link-type: doc
#
# Can a layer learn digits that nobody has named?
# :::{card-footer}
# 55 minutes
# :::
# ::::
# :::::
#
# Each chapter ends with exercises that tell you what went wrong, with a hint. Teachers find assignments and grading on the page [For instructors](instructors.md); how to run everything at home stands in [How to use this book](how_to_use.md).
#
# ## Numbers you can check
#
# The book follows five works by others, and says plainly where it found something else: the whole list is on [Sources and errata](sources_and_errata.md). No measured number in the text was typed by hand; each comes from a cell that you can see, or from a record that names the command, the data, the machine and the time. What ran when, and how good the networks are, is on the [Status](status.md) page.
