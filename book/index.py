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
# What fools neural networks, what that says about how they see, and what really stops it: a hands-on course.
#
# ```{image} _static/cover.png
# :alt: Three pictures side by side: a handwritten digit that a network reads right, under a lens the coloured noise that an attack adds to it, and their sum, which looks like the same digit and which the network takes for another.
# :class: cover
# ```
#
# A network that reads handwritten digits almost without mistakes can be talked into a wrong answer by changes that you hardly notice. This book shows how such images are made, why they exist, and how to measure honestly whether a defence stands. Every figure comes from code that you can run, and every claim of the works that it follows is measured again.

# %% [markdown]
# ## Try it
#
# Move the slider. On the left is the image as it was, in the middle what the attack adds, then the sum of the two, and how sure the network is of each digit. Epsilon says by how much the attack may change each pixel, where 0 is black and 1 is white.

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

import torch
from advlens import attacks, data, evaluation, geometry, models, zoo
from advlens.course import plots, records, widgets

plots.use_style()

# %% tags=["remove-input"]
mnist = data.load("mnist", "test", fallback="digits")[:1]
net = zoo.pretrained("lenet", mnist.name)


def attack(eps):
    adversarial = attacks.pgd(net, mnist.images, mnist.labels, eps=eps, steps=20, random_start=False)
    return adversarial, evaluation.logits(net, adversarial).softmax(1)


def draw(eps):
    return plots.attack(mnist.images, attack(eps)[0], attack(0)[1], attack(eps)[1], mnist.classes, source=mnist.source)


def describe(eps):
    read, confidence = attack(eps)[1][0].argmax(), attack(eps)[1].max()
    return (f"A handwritten {mnist.labels[0]}, the noise of the attack at eps {eps:g}, and their sum, "
            f"which the network reads as {read} with a confidence of {confidence:.0%}")


widgets.explore(draw, alt=describe, eps=[0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2],
                caption="One digit, one network (LeNet), one attack (projected gradient descent, twenty steps). Chapter 04 explains it.")

# %% [markdown]
# ## Start
#
# ::::{grid} 1 1 3 3
# :gutter: 3
#
# :::{grid-item-card} Read
# :link: ../chapters/00_adversarial_examples
# :link-type: doc
#
# Begin with chapter 00. Nothing to install: sliders and questions answer on the page.
# :::
#
# :::{grid-item-card} Run on Colab
# :link: how_to_use
# :link-type: doc
#
# Each chapter has a rocket at the top that opens it on Colab. The first cell does the rest.
# :::
#
# :::{grid-item-card} Run at home
# :link: how_to_use
# :link-type: doc
#
# Clone the repository, type `make book`, then `make test`. Two cores are enough.
# :::
# ::::
#
# ## The chapters
#
# 00 [What is an adversarial example?](../chapters/00_adversarial_examples.ipynb)
# : What a small change is, what an attacker may know and do, and what it means to be robust.
#
# 01 [Data](../chapters/01_data.ipynb)
# : Two sets of images, how they were made, and why epsilon is counted in pixel units.
#
# 02 [Networks](../chapters/02_networks.ipynb)
# : Five networks, their parameters counted, and backpropagation by hand.
#
# 03 [One step](../chapters/03_one_step.ipynb)
# : Two attacks that are two answers of the same question, and accuracy against epsilon.
#
# 04 [Many steps](../chapters/04_many_steps.ipynb)
# : Walking inside a ball: projection, random starts, restarts, and a network that hides its weak points.
#
# Each ends with exercises that tell you what went wrong, with a hint. Teachers find assignments and grading on the page [For instructors](instructors.md).
#
# ## Numbers you can check
#
# The book follows five works by others, and says plainly where we found something else: the whole list is on [Sources and errata](sources_and_errata.md). No measured number in the text was typed by hand; each comes from a cell that you can see, or from a record that names the command, the data, the machine and the time. What ran when, and how good the networks are, is on the [Status](status.md) page.
