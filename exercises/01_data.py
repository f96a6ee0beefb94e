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
# Five exercises for the chapter [Data: MNIST and CIFAR-10](../../chapters/01_data.ipynb): units with a pencil, images from bytes, the colours of a data set, an accident with bytes, and a claim in strange units.
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
# ## 1. Warm-up: units by hand
#
# A grey image of four pixels lies in its file as the bytes 0, 51, 102, 255. The network's first layer subtracts the mean 0.2 and divides by the standard deviation 0.4. Take a pencil, and return a dict with
#
# - `"pixels"`: the four pixels in $[0, 1]$;
# - `"normalised"`: what leaves the first layer;
# - `"levels"`: somebody attacks with $\varepsilon = 0.1$ in *normalised* units. How many grey levels is that?
# - `"wrapped"`: what a byte makes of 250 + 10.

# %% nbgrader={"grade": false, "grade_id": "by_hand", "locked": false, "schema_version": 3, "solution": true, "task": false}
def by_hand():
    ### BEGIN SOLUTION
    # 51 / 255 = 0.2; (0.2 - 0.2) / 0.4 = 0; 0.1 * 0.4 * 255 = 10.2; 260 - 256 = 4
    return {"pixels": [0, 0.2, 0.4, 1], "normalised": [-0.5, 0, 0.5, 2], "levels": 10.2, "wrapped": 4}
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "warmup-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.units(by_hand)

# %% [markdown]
# ## 2. Code: from bytes to images
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
# ## 3. Measurement: three colours
#
# The chapter describes MNIST and CIFAR-10. Describe the training `shapes`, colour by colour (red, green, blue), and fill in
#
# - `mean` and `std`: three numbers each, mean and standard deviation over all pixels of a colour, in units of [0, 1];
# - `levels`: three numbers: an attack with $\varepsilon = 0.1$ in *normalised* units, in grey levels of each colour;
# - `conclusion`: what would that attack do?
#   - a: it would move all three colours by the same number of levels.
#   - b: it would move one colour further than the others, for no reason that an eye could know.
#   - c: it would leave the colours alone and change the brightness only.
#
# The attributes `shapes.mean` and `shapes.std` would give it away. Use `shapes.images`, (N, 3, H, W).

# %% nbgrader={"grade": false, "grade_id": "measurement", "locked": false, "schema_version": 3, "solution": true, "task": false}
shapes = data.load("shapes", "train")

mean = None
std = None
levels = None
conclusion = None

### BEGIN SOLUTION
mean = shapes.images.mean(dim=(0, 2, 3)).tolist()
std = shapes.images.std(dim=(0, 2, 3)).tolist()
levels = [0.1 * s * 255 for s in std]
conclusion = "b"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "measurement-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.colours(mean, std, levels)

# %% [markdown]
# Nearly alike, but not quite:
#
# ![Three bars of nearly the same height, the number of grey levels of each colour; the middle one is the highest.](expected/01_measurement.png)

# %% expected="01_measurement"
plots.bars(levels, ["red", "green", "blue"], ylabel="grey levels", source=shapes.source)

# %% nbgrader={"grade": true, "grade_id": "measurement-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# Which letter is right is decided when the sheet is graded.
assert conclusion in ("a", "b", "c")
### BEGIN HIDDEN TESTS
assert conclusion == "b", "compare the three numbers of `levels`"
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Break it: an attack by accident
#
# A colleague wants to add faint noise, 8 levels up or down, to the first hundred test digits, and never leaves the bytes. `raw` holds the digits, `step` the noise, both uint8 (where -8 is 248, since bytes count like a clock).
# Do what the colleague did, `raw + step`, and then do it right: in pixel units, with a clamp. Fill in
#
# - `wrapped`: the share of the pixels that moved by more than half of the way from black to white, in bytes;
# - `linf`: the largest change of a pixel in pixel units, in bytes;
# - `changed`: the share of LeNet's answers that change, in bytes;
# - `changed_right`: the share of LeNet's answers that change when it is done right.

# %% nbgrader={"grade": false, "grade_id": "transfer", "locked": false, "schema_version": 3, "solution": true, "task": false}
digits = data.load("digits", "test")[:100]
lenet = zoo.pretrained("lenet", "digits")
x = digits.images
flips = torch.randint(0, 2, x.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
raw, step = (x * 255).round().to(torch.uint8), (8 * flips).to(torch.uint8)

wrapped = None
linf = None
changed = None
changed_right = None

### BEGIN SOLUTION
def answers(images):
    return evaluation.logits(lenet, images).argmax(1)


in_bytes = (raw + step).float() / 255
rightly = (x + 8 / 255 * flips).clamp(0, 1)
wrapped = ((in_bytes - x).abs() > 0.5).float().mean().item()
linf = (in_bytes - x).abs().max().item()
changed = (answers(in_bytes) != answers(x)).float().mean().item()
changed_right = (answers(rightly) != answers(x)).float().mean().item()
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "transfer-check", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
checks.accident(wrapped, linf, changed, changed_right)

# %% [markdown]
# ## 5. Thought: epsilon in strange units
#
# A paper reports that a network for MNIST withstands $\varepsilon = 0.3$. In the small print one reads that the images were standardised first, with mean 0.1307 and standard deviation 0.3081, and that the attack ran on the standardised images.
#
# What is that epsilon in pixel units? And why does this course never measure epsilon in standardised units? Give at least three reasons, in at most ten lines.

# %% [markdown] nbgrader={"grade": true, "grade_id": "thought", "locked": false, "points": 4, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** A step of 0.3 in standardised units is $0.3 \cdot 0.3081 \approx 0.092$ in pixel units, less than a third of the 0.3 that the reader has in mind.
# Reasons to stay with pixels: (1) Two papers can only be compared when their units agree, and standardised units change with the data set, even with the split the numbers were computed on. (2) Colour images have one standard deviation for each channel, so one epsilon becomes a box with three different sides. (3) Images lie in [0, 1] only in pixel units; after standardisation the limits are about -0.42 and 2.82, the clamp is easily forgotten, and the attack leaves the set of images. (4) Two networks with different first layers would be attacked with different budgets on the same image. (5) Grey levels are what a screen, a camera and an eye deal with: 8/255 means eight grey levels to everybody.
#
# **Marking guide.** 1 point for 0.092 (or "0.3 times 0.3081"). 1 point for each good reason, at most 3.
