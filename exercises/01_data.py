# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises: the data
#
# Three exercises for the chapter [Data: MNIST and CIFAR-10](../../chapters/01_data.ipynb): you turn bytes into images, you describe a data set by a few numbers, and you think about units.
# Run the cells from top to bottom. Each check says "ok", or gives you one hint. All of it runs on a laptop in seconds.

# %%
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
from advlens.course import checks, plots, records, widgets

plots.use_style()

# %% [markdown]
# ## 1. Code: from bytes to images
#
# Data sets are stored as bytes, 0 for black and 255 for white. Networks want something else. Write `to_images(raw)`:
#
# - `raw` is a uint8 tensor, grey images (N, H, W) or colour images (N, H, W, C);
# - the result is float32 of shape (N, C, H, W), grey images with C = 1, and every number lies in [0, 1].
#
# No standardisation here: that is the first layer of the model. And leave `raw` as it is.

# %% nbgrader={"grade": false, "grade_id": "to_images", "locked": false, "schema_version": 3, "solution": true, "task": false}
def to_images(raw):
    ### BEGIN SOLUTION
    channels_first = raw.unsqueeze(1) if raw.ndim == 3 else raw.permute(0, 3, 1, 2)
    return channels_first.float() / 255
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "code-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.to_images(to_images)

# %% [markdown]
# Ten images straight from their bytes should come out like this:
#
# ![Ten coloured shapes on coloured grounds, a circle, a square, a triangle and so on, each with its name above.](expected/01_code.png)

# %% expected="01_code"
shapes = data.load("shapes", "train")[:10]
stored = (shapes.images * 255).round().to(torch.uint8)
raw = stored.permute(0, 2, 3, 1)  # bytes (N, H, W, C), as they lie in the file
names = [shapes.classes[label] for label in shapes.labels]
plots.images(to_images(raw), names, columns=5, source=shapes.source)

# %% nbgrader={"grade": true, "grade_id": "code-hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# When this sheet is graded, your function also gets bytes that it has not seen.
### BEGIN HIDDEN TESTS
from advlens import data
from advlens.course import checks
for name in ("digits", "shapes"):
    images = data.load(name, "test")[:20].images
    stored = (images * 255).round().to(torch.uint8)
    stored = stored.squeeze(1) if name == "digits" else stored.permute(0, 2, 3, 1)
    assert checks.hint.close(to_images(stored), images), f"the {name} do not come back from their bytes"
assert to_images(torch.full((1, 2, 3), 255, dtype=torch.uint8)).max() == 1, "white is 1"
### END HIDDEN TESTS

# %% [markdown]
# ## 2. Measurement: a data set in a few numbers
#
# Load the *training* digits and fill in
#
# - `mean` and `std`: mean and standard deviation over all pixels of all images, in units of [0, 1];
# - `counts`: how many images each of the ten classes has, in the order of the classes;
# - `most_frequent`: the class with the most images;
# - `conclusion`: how often would a "network" be right on these images that always answers `most_frequent`?
#   - a: in exactly one case of ten.
#   - b: a little more often than in one case of ten.
#   - c: more often than in one case of five.
#
# The attributes `digits.mean` and `digits.class_counts` would give it away. Use `digits.images` and `digits.labels`.

# %% nbgrader={"grade": false, "grade_id": "measurement", "locked": false, "schema_version": 3, "solution": true, "task": false}
digits = data.load("digits", "train")

mean = None
std = None
counts = None
most_frequent = None
conclusion = None

### BEGIN SOLUTION
mean = digits.images.mean().item()
std = digits.images.std().item()
counts = digits.labels.bincount(minlength=10).tolist()
most_frequent = counts.index(max(counts))
conclusion = "b"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "measurement-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.statistics(mean, std, counts, most_frequent)

# %% [markdown]
# Nearly even, but not quite:
#
# ![Ten bars, the number of training images of each digit. They have nearly the same height.](expected/01_measurement.png)

# %% expected="01_measurement"
plots.bars(counts, digits.classes, ylabel="training images", source=digits.source)

# %% nbgrader={"grade": true, "grade_id": "measurement-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# Which letter is right is decided when the sheet is graded.
assert conclusion in ("a", "b", "c")
### BEGIN HIDDEN TESTS
assert conclusion == "b", "divide the largest count by the number of images"
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Thought: epsilon in strange units
#
# A paper reports that a network for MNIST withstands $\varepsilon = 0.3$. In the small print one reads that the images were standardised first, with mean 0.1307 and standard deviation 0.3081, and that the attack ran on the standardised images.
#
# What is that epsilon in pixel units? And why does this course never measure epsilon in standardised units? Give at least three reasons, in at most ten lines.

# %% [markdown] nbgrader={"grade": true, "grade_id": "thought", "locked": false, "points": 4, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** A step of 0.3 in standardised units is $0.3 \cdot 0.3081 \approx 0.092$ in pixel units, less than a third of the 0.3 that the reader has in mind.
# Reasons to stay with pixels: (1) Two papers can only be compared when their units agree, and standardised units change with the data set, even with the split the numbers were computed on. (2) Colour images have one standard deviation for each channel, so one epsilon becomes a box with three different sides. (3) Images lie in [0, 1] only in pixel units; after standardisation the limits are about -0.42 and 2.82, the clamp is easily forgotten, and the attack leaves the set of images. (4) Two networks with different first layers would be attacked with different budgets on the same image. (5) Grey levels are what a screen, a camera and an eye deal with: 8/255 means eight grey levels to everybody.
#
# **Marking guide.** 1 point for 0.092 (or "0.3 times 0.3081"). 1 point for each good reason, at most 3.
