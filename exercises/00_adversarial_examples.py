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
# Five exercises for the chapter [What is an adversarial example?](../../chapters/00_adversarial_examples.ipynb), from a pencil to a judgement: one step by hand, the size of a perturbation, how loud noise must be, an attack without any calculation, and three stories to read with the eyes of a detective.
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
# ## 1. Warm-up: one step by hand
#
# A network for images of four pixels calculates the score $3 x_1 - x_2 + 2 x_3 - 2 x_4$, and answers *yes* where it is positive, else *no*. The image $x = (0.5, 0.4, 0.3, 0.6)$ gets *yes*, which is right. Take a pencil and work out one step of FGSM with $\varepsilon = 0.1$, away from *yes*. Return a dict with
#
# - `"step"`: four numbers, 1 or -1: the direction in which each pixel moves;
# - `"moved"`: the four pixels after the step;
# - `"score"`: the score of the moved image;
# - `"smallest"`: the $\varepsilon$ at which the score is exactly 0.

# %% nbgrader={"grade": false, "grade_id": "by_hand", "locked": false, "schema_version": 3, "solution": true, "task": false}
def by_hand():
    ### BEGIN SOLUTION
    # before: 1.5 - 0.4 + 0.6 - 1.2 = 0.5; each unit of eps takes 3 + 1 + 2 + 2 = 8 off the score
    return {"step": [-1, 1, -1, 1], "moved": [0.4, 0.5, 0.2, 0.7], "score": -0.3, "smallest": 0.5 / 8}
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "warmup-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.four_pixels(by_hand)

# %% [markdown]
# ## 2. Code: how big is a perturbation?
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
    f"{name}\nLinf {size['linf'][i]:.2f}\nL2 {size['l2'][i]:.2f}\nL0 {size['l0'][i]:.0f}"
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
# ## 3. Measurement: how loud must noise be?
#
# In the chapter, coin flips of the same size as an attack do almost nothing. So make them louder. Take the first hundred test digits and another network than the chapter's, `fully_connected`.
# An answer *changes* when the prediction is not the one for the clean image. Fill in
#
# - `share_fgsm`: the share of the hundred images whose answer changes under `attacks.fgsm` with `eps = 0.1`;
# - `shares`: a list of ten, the share of answers that change when `k * 0.1 * flips` is added and the sum is clamped to [0, 1], for k from 1 to 10;
# - `factor`: the first k at which noise changes at least as many answers as FGSM;
# - `conclusion`: `"a"`, `"b"` or `"c"`. Every image has 784 pixels, and for a linear network the chapter gives an upper limit, $\sqrt{784} = 28$.
#   - a: noise of the same size does the same harm.
#   - b: it must be several times larger, and clearly less than 28 times, the most that a linear network allows.
#   - c: it must be about 28 times larger: the upper limit is reached.
#
# `evaluation.logits(model, x)` gives the logits.

# %% nbgrader={"grade": false, "grade_id": "measurement", "locked": false, "schema_version": 3, "solution": true, "task": false}
digits = data.load("digits", "test")[:100]
net = zoo.pretrained("fully_connected", "digits")
x, y = digits.images, digits.labels
flips = torch.randint(0, 2, x.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1

share_fgsm = None
shares = None
factor = None
conclusion = None

### BEGIN SOLUTION
def changed(images):
    before, now = evaluation.logits(net, x).argmax(1), evaluation.logits(net, images).argmax(1)
    return (before != now).float().mean().item()


share_fgsm = changed(attacks.fgsm(net, x, y, eps=0.1))
shares = [changed((x + k * 0.1 * flips).clamp(0, 1)) for k in range(1, 11)]
factor = next(k for k, share in enumerate(shares, 1) if share >= share_fgsm)
conclusion = "b"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "measurement-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.louder(share_fgsm, shares, factor)

# %% [markdown]
# The shares for the ten sizes of noise, which rise slowly, then fast:
#
# ![Ten bars that rise from close to zero to nine tenths: the share of changed answers for noise of 0.1 to 1.](expected/00_measurement.png)

# %% expected="00_measurement"
plots.bars(shares, [f"{k / 10:.1f}" for k in range(1, 11)], ylabel="share of changed answers", source=digits.source)

# %% nbgrader={"grade": true, "grade_id": "measurement-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# Which letter is right is decided when the sheet is graded.
assert conclusion in ("a", "b", "c")
### BEGIN HIDDEN TESTS
assert conclusion == "b", "compare your factor with 1 and with 28"
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Break it: an attack without a calculation
#
# No gradient, no network to look into: shift the digits to the right, and fill with black from the left (`torch.nn.functional.pad(x, (k, -k))` does it). For the same hundred digits, LeNet, and shifts of 1, 2, 3, 4 and 5 pixels, fill in
#
# - `changed_by_shift`: a list of five, the share of answers that change;
# - `lengths`: a list of five, the median of the Euclidean length of the change, measured for each image;
# - `conclusion`: FGSM with `eps = 0.1` changes an image by a median length of about 2.2, and six LeNet answers out of ten. What does that say about the norm?
#   - a: a shift by one pixel is a *larger* change than this attack in the L2 norm, and a far less harmful one: the norm measures what a pixel does, and not what an image says.
#   - b: a shift by one pixel is a smaller change than this attack, therefore it does less harm.
#   - c: a shift by one pixel is a larger change than this attack, and does more harm.

# %% nbgrader={"grade": false, "grade_id": "transfer", "locked": false, "schema_version": 3, "solution": true, "task": false}
lenet = zoo.pretrained("lenet", "digits")

changed_by_shift = None
lengths = None
conclusion = None

### BEGIN SOLUTION
clean = evaluation.logits(lenet, x).argmax(1)
shifted = [torch.nn.functional.pad(x, (k, -k)) for k in range(1, 6)]
changed_by_shift = [(evaluation.logits(lenet, s).argmax(1) != clean).float().mean().item() for s in shifted]
lengths = [(s - x).flatten(1).norm(dim=1).median().item() for s in shifted]
conclusion = "a"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "transfer-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.shifts(changed_by_shift, lengths)

# %% nbgrader={"grade": true, "grade_id": "transfer-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# Which letter is right is decided when the sheet is graded.
assert conclusion in ("a", "b", "c")
### BEGIN HIDDEN TESTS
assert conclusion == "a", "compare both lists at one pixel with 2.2 and with six out of ten"
### END HIDDEN TESTS

# %% [markdown]
# ## 5. Thought: three stories
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
