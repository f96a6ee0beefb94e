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
# # Exercises: what is an adversarial example?
#
# Three exercises for the chapter [What is an adversarial example?](../../chapters/00_adversarial_examples.ipynb): you measure perturbations, you set an attack against plain noise, and you read three stories with the eyes of a detective.
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
# ## 1. Code: how big is a perturbation?
#
# Write `sizes(x, adversarial)`. Both are images (N, C, H, W). Return a dict with three tensors of shape (N,), one number for each image:
#
# - `"linf"`: the largest change of any number in the image, up or down;
# - `"l2"`: the Euclidean length of the change, the root of the sum of squares over all its numbers;
# - `"l0"`: how many pixels change. A pixel counts once, whatever its channels do.
#
# `d.flatten(1)` makes a row of each image, and many functions of torch take `dim=`.

# %% nbgrader={"grade": false, "grade_id": "sizes", "locked": false, "schema_version": 3, "solution": true, "task": false}
def sizes(x, adversarial):
    ### BEGIN SOLUTION
    d = adversarial - x
    rows = d.flatten(1)
    return {"linf": rows.abs().amax(1), "l2": rows.square().sum(1).sqrt(), "l0": (d != 0).any(dim=1).flatten(1).sum(1)}
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "code-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.sizes(sizes)

# %% [markdown]
# Three ways to change the same digit, measured by your function. It should look like this:
#
# ![The digit six under three perturbations, with their sizes above: a faint change of every pixel, a stronger one along the strokes, and one bright pixel.](expected/00_code.png)

# %% expected="00_code"
digits = data.load("digits", "test")[5:6]
lenet = zoo.pretrained("lenet", "digits")
x, y = digits.images, digits.labels
one_pixel = x.clone()
one_pixel[:, :, 4, 22] = 1
fgsm, fgm = attacks.fgsm(lenet, x, y, eps=0.1), attacks.fgm(lenet, x, y, eps=1.5)
changed = torch.cat([fgsm, fgm, one_pixel])
size = sizes(x.expand_as(changed), changed)
titles = [
    f"{name}\nLinf {size['linf'][i]:.2f}, L2 {size['l2'][i]:.2f}, L0 {size['l0'][i]:.0f}"
    for i, name in enumerate(["FGSM", "FGM", "one pixel"])
]
plots.images(changed, titles, columns=3, source=digits.source)

# %% nbgrader={"grade": true, "grade_id": "code-hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# When this sheet is graded, your function also measures perturbations that it has not seen.
### BEGIN HIDDEN TESTS
from advlens import attacks, data, geometry
from advlens.course import checks
shapes = data.load("shapes", "test")[:6]
moved = attacks.pgd(zoo.pretrained("cifar_net", "shapes"), shapes.images, shapes.labels, eps=0.05, steps=3, generator=torch.Generator().manual_seed(1))
moved[2] = shapes.images[2]
moved[3, :, 8:] = shapes.images[3, :, 8:]
yours = sizes(shapes.images, moved)
for p in ("linf", "l2", "l0"):
    assert checks.hint.close(yours[p], geometry.norm(moved - shapes.images, p)), f"{p} is wrong on real colour images under PGD"
### END HIDDEN TESTS

# %% [markdown]
# ## 2. Measurement: is noise an attack?
#
# Take the first hundred test digits and `lenet`. Both the noise and the attack may change each pixel by `eps = 0.1`, no more.
# An answer *changes* when the prediction is not the one for the clean image. Fill in
#
# - `share_noise`: the share of the hundred images whose answer changes when `noise` is added (clamp the sum to [0, 1]);
# - `share_fgsm`: the share whose answer changes under `attacks.fgsm` with the same `eps`;
# - `conclusion`: `"a"`, `"b"` or `"c"`.
#   - a: noise and attack do about the same harm, because they have the same size.
#   - b: at the same size, the direction of the change decides.
#   - c: noise does more harm, because it is not limited to one direction.
#
# `evaluation.logits(model, x)` gives the logits.

# %% nbgrader={"grade": false, "grade_id": "measurement", "locked": false, "schema_version": 3, "solution": true, "task": false}
digits = data.load("digits", "test")[:100]
lenet = zoo.pretrained("lenet", "digits")
x, y, eps = digits.images, digits.labels, 0.1
generator = torch.Generator().manual_seed(0)
noise = eps * (2 * torch.randint(0, 2, x.shape, generator=generator) - 1)

share_noise = None
share_fgsm = None
conclusion = None

### BEGIN SOLUTION
def answers(images):
    return evaluation.logits(lenet, images).argmax(1)

share_noise = (answers((x + noise).clamp(0, 1)) != answers(x)).float().mean().item()
share_fgsm = (answers(attacks.fgsm(lenet, x, y, eps=eps)) != answers(x)).float().mean().item()
conclusion = "b"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "measurement-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.noise_against_fgsm(share_noise, share_fgsm)

# %% [markdown]
# Two bars of very different height:
#
# ![Two bars, the share of changed answers: close to zero for random noise, more than half for FGSM.](expected/00_measurement.png)

# %% expected="00_measurement"
shares, names = [share_noise, share_fgsm], ["random noise", "FGSM"]
plots.bars(shares, names, ylabel="share of changed answers", source=digits.source)

# %% nbgrader={"grade": true, "grade_id": "measurement-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# Which letter is right is decided when the sheet is graded.
assert conclusion in ("a", "b", "c")
### BEGIN HIDDEN TESTS
assert conclusion == "b", "same size, very different harm: it is the direction that decides"
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Thought: three stories
#
# Name the threat model of each story: what does the attacker know (white box, or black box with or without queries), is the attack targeted or not, and which norm fits the change? One or two sentences of reason each.
#
# 1. Someone glues a small sticker on stop signs, so that cars of one maker read "speed limit 80". The network in the car is secret, and nobody can ask it anything.
# 2. A researcher downloads a published network and looks for changes of at most two grey levels in each pixel that make it give any wrong answer.
# 3. A sender of forbidden pictures may upload as often as he likes, and sees only "accepted" or "refused". He wants "accepted", and he may retouch a handful of pixels.

# %% [markdown] nbgrader={"grade": true, "grade_id": "thought", "locked": false, "points": 6, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** 1: black box without queries, so the attack is made on another network and must *transfer*; targeted (a particular wrong sign); few pixels may change, but without limit, which is closest to L0 (a patch).
# 2: white box, since architecture and weights are known; untargeted; every pixel may change a little, so Linf (L2 with a good reason is fine).
# 3: black box with queries, of the hardest kind, since only decisions come back; targeted, though with two classes "not refused" and "accepted" are the same thing; a handful of pixels, so L0.
#
# **Marking guide.** 2 points for each story: 1 for knowledge *and* goal, 1 for the norm with its reason. Accept another norm if the reason fits the change described. Not accepted: "black box" for story 2, or a story without a word about queries in 1 and 3.
