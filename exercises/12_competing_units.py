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
# # Exercises: competing hidden units
#
# Five exercises for the chapter [Competing hidden units](../../chapters/12_competing_units.ipynb): you rank three units with a pencil, you write one update of the rank rule, you ask what becomes of three beginnings, you find work for every unit, and you answer a claim about understanding.
# Run the cells from top to bottom. Each check says "ok", or gives you one hint. All of it runs on a laptop; the longest cell takes about ten seconds. Time: 75 minutes.

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
# ## 1. By hand: three units and one image
#
# An image of two pixels, $x = (2, 1)$, is shown to three units with the rows of weights
#
# $$W_1 = (1, 1), \quad W_2 = (2, -2), \quad W_3 = (0, 1) .$$
#
# The current of unit $i$ is a sum over the pixels $d$,
#
# $$I_i = \sum_d |W_{id}|^{p-2}\, W_{id}\, x_d .$$
#
# - `"p = 2"`: the three currents for $p = 2$;
# - `"p = 3"`: the three currents for $p = 3$.
#
# The unit with the largest current has rank 1, and $g = 1$. The unit of rank $k$ has $g = -\Delta$, and the others have $g = 0$. Let $k = 2$ and $\Delta = \tfrac12$.
#
# - `"g"`: the $g$ of units 1, 2 and 3 for $p = 3$.
#
# Now take $p = 2$ again, with the ranks that belong to it. The change of row $i$ is $c_i = g_i\,(x - I_i W_i)$. The largest absolute entry $m$ of all three changes is one number, and the new rows are $W_i + \tfrac12\, c_i / m$.
#
# - `"new"`: the three new rows, a list of three pairs.

# %% nbgrader={"grade": false, "grade_id": "warmup", "locked": false, "schema_version": 3, "solution": true, "task": false}
def by_hand():
    """A dict with the four keys above, a list for each."""
    ### BEGIN SOLUTION
    # p = 2: c_1 = (2, 1) - 3 (1, 1) = (-1, -2) and c_2 = -((2, 1) - 2 (2, -2)) / 2 = (1, -2.5), so m = 2.5.
    return {"p = 2": [3, 2, 1], "p = 3": [3, 4, 1], "g": [-0.5, 1, 0], "new": [[0.8, 0.6], [2.2, -2.5], [0, 1]]}
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "warmup-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.three_units(by_hand)

# %% [markdown]
# ## 2. Code: one mini-batch
#
# Write `my_update(w, x, p, k, delta, step)`: one update of the rank rule, for weights `w` (K, D), one row for each unit, and a mini-batch of images `x` (N, D). With the currents of exercise 1, ranks counted from 1 for **each image**, and $g_{ni}$ the $g$ of unit $i$ for image $n$, the change of row $i$ is
#
# $$c_i = \sum_n g_{ni}\, \big( x_n - I_{ni}\, W_i \big) ,$$
#
# and with $m$, the largest absolute entry of all of $c$, the function returns
#
# $$W + \text{step} \cdot c \,/\, m .$$
#
# All currents belong to the weights that came in. `w` and `x` stay as they were. `p` need not be a whole number. With torch alone, please: `advlens.hebbian` is closed here. A loop over the images makes exercises 3 and 4 slow. (Without one: a matrix $g$ (N, K) that is 0 at first, `argsort` or `topk`, and `scatter_`.)

# %% nbgrader={"grade": false, "grade_id": "update", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_update(w, x, p, k, delta, step):
    ### BEGIN SOLUTION
    currents = x @ (w * w.abs() ** (p - 2)).T  # (N, K)
    order = currents.argsort(1, descending=True)
    g = torch.zeros_like(currents)
    g.scatter_(1, order[:, :1], 1.0)
    g.scatter_(1, order[:, k - 1:k], -delta)
    change = g.T @ x - (g * currents).sum(0)[:, None] * w
    return w + step * change / change.abs().max()
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "code-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.rank_rule(my_update)

# %% [markdown]
# Sixteen units learn the training digits with your update: twenty epochs in mini-batches of 100, from first weights drawn from N(0, 1), with a step that falls to 0. `start` and `train` are also the ground of the next two exercises. Read them.
#
# ![Sixteen pictures of weights in two colours, in two rows. Twelve look like a written digit or a blend of several, four are noise.](expected/12_code.png)

# %% nbgrader={"grade": false, "grade_id": "training", "locked": true, "schema_version": 3, "solution": false, "task": false}
def start(name, images, seed, p):
    """The first rows, (16, 784), and the generator that then draws the mini-batches."""
    g = torch.Generator().manual_seed(seed)
    if name == "images":  # sixteen images
        w = images[torch.randperm(len(images), generator=g)[:16]]
    else:
        w = torch.randn(16, 784, generator=g)
    on_sphere = w / w.abs().pow(p).sum(1, keepdim=True).pow(1 / p)
    return (w if name == "long" else on_sphere), g

def train(images, w, g, p=3, k=2, delta=0.4, step=0.1):
    """Twenty epochs of `my_update`, with a step that falls to 0."""
    batches = [b for _ in range(20) for b in torch.randperm(len(images), generator=g).split(100)]
    for n, rows in enumerate(batches):
        w = my_update(w, images[rows], p, k, delta, step * (1 - n / len(batches)))
    return w

# %% expected="12_code"
digits = data.load("digits")
x = digits.images.flatten(1)
features = train(x, *start("long", x, seed=4, p=3))
pictures = [plots.noise(row.view(1, 28, 28), limit=0.3) for row in features]
plots.grid([pictures[:8], pictures[8:]], source=digits.source)

# %% nbgrader={"grade": true, "grade_id": "code-hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# When this sheet is graded, your function also meets other sizes, other powers, and digits.
### BEGIN HIDDEN TESTS
from advlens.course import checks
checks.ch12.rank_rule_elsewhere(my_update)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Measurement: three beginnings
#
# Where should the rows begin? `start` knows three places, and you compare them with the settings that `train` has by itself: $p = 3$, $k = 2$, $\Delta = 0.4$, step 0.1.
#
# - `"long"`: each weight drawn from N(0, 1), as above. Such a row lies far outside the sphere $\sum_d |W_{id}|^p = 1$.
# - `"short"`: the same rows, each divided by one number, so that it lies on the sphere. They point in the same directions.
# - `"images"`: sixteen of the training digits, also divided so that they lie on the sphere.
#
# For each beginning and for the seeds 0 to 4, train on all training digits `x`. Look at the weights that `train` returns, and fill in
#
# - `winners[name]`: five numbers, how many of the sixteen units win at least one of the digits, that is, have the largest current;
# - `sphere[name]`: five numbers, how many of the sixteen rows lie on the sphere: $\big(\sum_d |W_{id}|^3\big)^{1/3}$ differs from 1 by less than 0.02.
#
# Before you start, guess: which beginning leaves most units without a single image? Does a row on the sphere win something? Then choose a `conclusion`:
#
# - a: "long" and "short" end alike, because the rule brings every row to the sphere, wherever it begins.
# - b: What counts is to begin on the sphere: "short" and "images" both leave more units that win than "long" does.
# - c: The two counts go together: with each beginning, the rows that lie on the sphere are about as many as the units that win.
# - d: The same directions end differently: "long" leaves most units with work, "short" leaves one that wins every image. And the sphere says little about work: with "short" all rows lie on it.

# %% nbgrader={"grade": false, "grade_id": "measurement", "locked": false, "schema_version": 3, "solution": true, "task": false}
x = data.load("digits").images.flatten(1)
winners = {name: [None] * 5 for name in ("long", "short", "images")}
sphere = {name: [None] * 5 for name in ("long", "short", "images")}
conclusion = None

### BEGIN SOLUTION
for name in winners:
    for seed in range(5):
        w = train(x, *start(name, x, seed, p=3))
        currents = x @ (w * w.abs()).T
        winners[name][seed] = len(currents.argmax(1).unique())
        sphere[name][seed] = int(((w.abs().pow(3).sum(1).pow(1 / 3) - 1).abs() < 0.02).sum())
conclusion = "d"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "measurement-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.beginnings(winners, sphere)

# %% [markdown]
# One mark for each seed; where marks would cover each other they stand a little apart. Was your guess right?
#
# ![Fifteen marks: rows on the sphere against units that win. "long" and "images": many units win, and ten or more rows lie on the sphere. "short": one unit wins, and all sixteen rows lie on the sphere.](expected/12_measurement.png)

# %% expected="12_measurement"
ax = plots.axes()
for name, marker in zip(winners, "os^"):
    apart = [0.16 * (seed - 2) for seed in range(5)]
    ax.plot([n + a for n, a in zip(winners[name], apart)], sphere[name], marker, label=name, alpha=0.8)
ax.set(xlabel="units that win at least one digit", ylabel="rows on the sphere", xlim=(0, 17), ylim=(0, 17),
       xticks=range(0, 17, 4), yticks=range(0, 17, 4))
ax.legend(title="beginning", loc="lower left")
plots.finish(ax, data.load("digits").source)

# %% nbgrader={"grade": true, "grade_id": "measurement-hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# Which letter is right is decided when the sheet is graded.
assert conclusion in ("a", "b", "c", "d")
### BEGIN HIDDEN TESTS
assert conclusion != "a", "compare `winners` of long and short"
assert conclusion != "b", "compare `winners` of short and long"
assert conclusion == "d", "compare `winners` and `sphere` of short"
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Break it: the end of the monopoly
#
# A unit that never wins has learnt nothing. Find settings with which **every** unit has work. You choose the beginning, $p$, $k$, $\Delta$ and the step; units and epochs stay 16 and 20. On 1,000 training digits there are four goals:
#
# - each of the sixteen units wins at least **5** of the digits;
# - the $p$-length of each row, $\big(\sum_d |W_{id}|^p\big)^{1/p}$, differs from 1 by less than **0.02**;
# - the mean cosine of a digit and the row that wins it is at least **0.92** (so it is not enough to leave sixteen images as they were);
# - all this with three lots of 1,000 digits, and three seeds, that you do not know.
#
# The next cell tries settings on lots that you do know.

# %%
from advlens import hebbian

def tried(settings, seed):
    """The goals with one known lot of 1,000 digits."""
    x = data.load("digits").images.flatten(1)
    lot = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:1000]]
    rule = {key: settings[key] for key in ("p", "k", "delta", "step")}
    p = rule["p"]
    w = train(lot, *start(settings["start"], lot, seed, p), **rule)
    own = hebbian.currents(w, lot, p=p).argmax(1)  # the winner of each digit
    least = torch.bincount(own, minlength=16).min().item()
    off = (w.abs().pow(p).sum(1).pow(1 / p) - 1).abs().max().item()
    cosine = torch.nn.functional.cosine_similarity(lot, w[own]).mean().item()
    print(f"least wins {least}, furthest from the sphere {off:.3f}, mean cosine {cosine:.3f}")

for seed in range(3):
    tried({"start": "long", "p": 3, "k": 2, "delta": 0.4, "step": 0.1}, seed)

# %% [markdown]
# When the check is content, change three of your settings back, **one at a time**, to what the cell above tries: the start to "long", $\Delta$ to 0.4, the step to 0.1. Say which of these single changes spoil a goal:
#
# - `needed`:
#   - a: only the start: the rows must begin as images, and then the other two hardly matter.
#   - b: the start and the step; $\Delta$ may be 0.4.
#   - c: the start and $\Delta$; the step may be 0.1.
#   - d: each of the three spoils a goal.

# %% nbgrader={"grade": false, "grade_id": "transfer", "locked": false, "schema_version": 3, "solution": true, "task": false}
settings = None  # {"start": ..., "p": ..., "k": ..., "delta": ..., "step": ...}
needed = None

### BEGIN SOLUTION
# Found by trying: images as the first rows, a shorter step, no unlearning. (Without it k has no effect.)
settings = {"start": "images", "p": 3, "k": 2, "delta": 0.0, "step": 0.02}
needed = "d"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "transfer-check", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
checks.at_work(settings)

# %% nbgrader={"grade": true, "grade_id": "transfer-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# Which letter is right is decided when the sheet is graded.
assert needed in ("a", "b", "c", "d")
### BEGIN HIDDEN TESTS
assert needed == "d", "put one setting back at a time, and look at all goals on several lots"
### END HIDDEN TESTS

# %% [markdown]
# ## 5. Thought: it has understood
#
# You read this (invented) passage in a popular book:
#
# > *Nobody told the network what a digit is. It looked at thousands of images, and when the researchers opened it, they found a four, a seven, a zero, drawn by the network itself. A network that was trained with labels showed nothing but noise inside, and yet it was half a percentage point better. So the first network has understood digits, and the second one has only learnt to guess. Understanding makes robust: this network will not fall for adversarial noise.*
#
# Answer in at most fifteen lines. What does a row that looks like a four show, and what follows from the rule itself? What could you measure in place of "looks like"? What would be a control? Does the half percentage point, or the noise, say which network has understood? Does robustness follow? Describe an experiment for one of the claims, and say what each of its outcomes would mean.

# %% [markdown] nbgrader={"grade": true, "grade_id": "thought", "locked": false, "points": 6, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** (1) *A row that looks like a four* shows that the weights of one unit resemble images on which it won. That follows from the rule: with one winner, $g = 1$ and the other images at rest, the bracket $x - I W$ comes to rest where the row points along the images that it wins, so a row becomes something like their mean, less a part of those on which it unlearns. The mean of some fours looks like a four without anybody's understanding. We also look with knowledge of our own: we know digits, we pick the clear rows, and pass over the blends and the noise. (2) *In place of "looks like"*: show which class each unit wins, and how pure it is; the cosine to the nearest training image, to find out whether the row is a copy; how well a readout with the same number of weights classifies unseen images; what happens with digits that are moved by three pixels, thick, or turned, where somebody who understands fours would hardly fail. (3) *Controls*: rows that are training images taken at random look perfectly like digits, and nobody has learnt anything there; random rows of the same number show how much the readout does alone. Exercise 3 shows also that sixteen rows may lie on the sphere, with one that wins every image: what a rule does to the weights, and what a unit is good for, are two questions. (4) *Noise inside and half a point* decide nothing. Weights that we cannot read may answer a question that we can; one training of each, on one test set, leaves open whether half a point is more than the scatter of trainings; and accuracy on images of the same source is not a measure of understanding, neither for the one nor for the other. The word needs a definition that can fail. (5) *Robustness* does not follow from features that look like digits. An attacker does not attack the picture of the weights: he follows the gradient of the whole network, with its readout, which did see labels. (6) *An experiment*: networks of the same shape with three first layers: by the rank rule, images taken at random, random rows; the same readout, five trainings of each; accuracy on test digits and on moved ones, and accuracy under the strongest attack that we have, with the signs of a masked gradient checked. If the rank rule is ahead of the random images in every pair, the rule adds something to the mere look. If the two are level, then what looks like a digit is not what does the work. If it falls under the attack, the last sentence of the passage is refuted for this network; if it stands, "it stood these attacks" may be written, and nothing about understanding.
#
# **Marking guide.** 1 point: the rule itself makes a row like the images that it wins, so the likeness is no sign of understanding. 1 point: we choose and interpret the pictures, or a measurement in the place of "looks like". 1 point: a control: random rows, or images as rows. 1 point: weights that look like noise, and half a point of one training, do not show a lack of understanding; or the word is not defined so that it could fail. 1 point: robustness is a question of its own, about the whole network under a strong attack. 1 point: an experiment in which one thing differs, with several trainings, and what each outcome would mean. An answer that only says "networks cannot understand" gives at most 1 point.
