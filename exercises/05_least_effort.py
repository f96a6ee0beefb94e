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
# # Exercises: least effort
#
# Five exercises for the chapter [Least effort](../../chapters/05_least_effort.ipynb): a step to the nearest boundary with a pencil and then in code, two searches for the least budget side by side, a "minimum" that is none, and the question of which norm fits which attacker.
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
# A linear network with two pixels and three classes. At $x = (0.5,\ 0.2)$ its logits $z = Wx + b$ are
#
# $$z_0 = x_1 + x_2 + 1.3,$$
#
# $$z_1 = 4 x_1 + 5 x_2 - 2,$$
#
# $$z_2 = x_1 + 2 x_2 + 0.7,$$
#
# and the largest is $z_0$. The boundary to class $k$ is the line on which $z_k = z_0$. Take a pencil, and a step of DeepFool with overshoot 0.1. Return a dict with
#
# - `"distances"`: how far $x$ lies from the boundary to class 1, and how far from that to class 2, in the $\ell_2$ norm;
# - `"nearest"`: 1 or 2, the class to whose boundary the step goes;
# - `"point"`: the two pixels after the step.

# %% nbgrader={"grade": false, "grade_id": "warmup", "locked": false, "schema_version": 3, "solution": true, "task": false}
def by_hand():
    """{"distances": [., .], "nearest": ., "point": [., .]}"""
    ### BEGIN SOLUTION
    # z = (2, 1, 1.6): the gaps are 1 and 0.4, the lengths of w_k - w_0 are those of (3, 4) and (0, 1)
    return {"distances": [0.2, 0.4], "nearest": 1, "point": [0.632, 0.376]}
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "warmup-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.three_classes(by_hand)

# %% [markdown]
# ## 2. Code: one step of DeepFool
#
# Write `my_step(model, x, y, overshoot)`, one step of DeepFool for a network with any number of classes. `x` holds images (N, C, H, W) in [0, 1], and each of them is classified as its label in `y` (N,). For each image,
#
# 1. take, for every other class $k$, the gap $z_y - z_k$ between the logits, and the gradient $g_k$ of $z_k - z_y$ with respect to the image;
# 2. the network's straight-line boundary to class $k$ lies at the distance $(z_y - z_k) / \lVert g_k \rVert_2$: find the nearest;
# 3. go $1 + \text{overshoot}$ times as far, in the direction of its $g_k$, and clamp to [0, 1].
#
# Leave no traces: evaluation mode during the step, the mode as it was afterwards, no gradients on the parameters, `x` unchanged. A loop over the classes is fine; `torch.autograd.grad(..., retain_graph=True)` lets you ask for one gradient after another.

# %% nbgrader={"grade": false, "grade_id": "deepfool", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_step(model, x, y, overshoot):
    ### BEGIN SOLUTION
    was = model.training
    model.eval()
    point, rows = x.clone().requires_grad_(), torch.arange(len(x))
    logits = model(point)
    rise = logits - logits.gather(1, y[:, None])  # (N, K): z_k - z_y
    slopes = [torch.autograd.grad(r.sum(), point, retain_graph=True)[0] for r in rise.unbind(1)]
    model.train(was)
    slopes = torch.stack(slopes, 1)  # (N, K, C, H, W)
    length = slopes.flatten(2).norm(dim=2)
    distance = (-rise.detach() / length).scatter(1, y[:, None], torch.inf)
    far, k = distance.min(1)
    step = (far / length[rows, k])[:, None, None, None] * slopes[rows, k]
    return (x + (1 + overshoot) * step).clamp(0, 1)
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "code-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.deepfool_step(my_step)

# %% [markdown]
# A curved network needs more than one step. Repeat yours wherever the answer is still right, and DeepFool is complete:
#
# ![Four handwritten digits in rows: the clean digit, noise on and beside its strokes, the digit with the noise, and bars: after the attack two classes share the confidence, and the answer is not the label any more.](expected/05_code.png)

# %% expected="05_code"
digits = data.load("digits", "test")[5:9]
lenet = zoo.pretrained("lenet", "digits")
adversarial = digits.images.clone()
for _ in range(10):
    still = evaluation.logits(lenet, adversarial).argmax(1) == digits.labels
    if still.any():
        adversarial[still] = my_step(lenet, adversarial[still], digits.labels[still], 0.1)
before = evaluation.logits(lenet, digits.images).softmax(1)
after = evaluation.logits(lenet, adversarial).softmax(1)
plots.attack(digits.images, adversarial, before, after, digits.classes,
             source=digits.source)

# %% nbgrader={"grade": true, "grade_id": "code-hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# When this sheet is graded, your function also meets networks and images that it has not seen.
### BEGIN HIDDEN TESTS
from advlens import attacks, data, evaluation
from advlens.course import checks
net = zoo.pretrained("cifar_net", "shapes")
shapes = data.load("shapes", "test")[:40]
right = evaluation.logits(net, shapes.images).argmax(1) == shapes.labels
x, y = shapes.images[right][:16], shapes.labels[right][:16]
yours = my_step(net, x, y, 0.3)
book = attacks.deepfool(net, x, y, steps=1, overshoot=0.3)
arrived = evaluation.evaluate(net, x, book, y).success  # where one step is not enough, the library gives x back
assert arrived.any() and checks.hint.close(yours[arrived], book[arrived], 1e-3), "on colour images the step differs from the first one of the library's deepfool"
alone = my_step(net, x[:1], y[:1], 0.3)
assert checks.hint.close(alone, yours[:1]), "one image alone gives another step than the same image in a batch"
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Measurement: two searches for the least budget
#
# An attack with a fixed budget can also be asked for the least one: try a budget; where the image is fooled, try half, where it is not, try more. Does this find what an attack finds that minimises the norm itself?
#
# Take the fully connected network and the first hundred test digits, all of which it classifies right. Give each image its own interval, with the ends 0 and 8. Ten times over, run `attacks.pgd(net, x, y, eps=middle, norm="l2", steps=20, random_start=False)` with the middles of all intervals as one tensor `eps` (100,). Where it fools the image, the middle becomes the upper end, elsewhere the lower end. Then run `attacks.ddn(net, x, y)` as it is. Fill in
#
# - `least`: under `"pgd"` the upper ends after ten rounds, a tensor (100,), and under `"ddn"` the $\ell_2$ norms of DDN's perturbations, (100,);
# - `median`: the medians of the two over the images;
# - `shorter`: under `"pgd"` the number of images for which DDN's norm lies above the upper end; under `"ddn"` for how many it lies below the lower end, a budget at which PGD failed;
# - `best`: the median over the images of the shorter of the two, taken image by image;
# - `conclusion`: what do you know about the distance from an image to the nearest adversarial one?
#   - a: it is DDN's norm, for DDN minimises the norm and PGD does not.
#   - b: it is at most the shorter of the two numbers, and may be less.
#   - c: it is more than the lower end, for at that budget PGD failed.

# %% nbgrader={"grade": false, "grade_id": "measurement", "locked": false, "schema_version": 3, "solution": true, "task": false}
digits = data.load("digits", "test")[:100]
net = zoo.pretrained("fully_connected", "digits")
x, y = digits.images, digits.labels

least = {"pgd": None, "ddn": None}
median = {"pgd": None, "ddn": None}
shorter = {"pgd": None, "ddn": None}
best = None
conclusion = None

### BEGIN SOLUTION
low, high = torch.zeros(100), torch.full((100,), 8.0)
for _ in range(10):
    middle = (low + high) / 2
    tried = attacks.pgd(net, x, y, eps=middle, norm="l2", steps=20, random_start=False)
    fooled = evaluation.evaluate(net, x, tried, y).success
    low, high = torch.where(fooled, low, middle), torch.where(fooled, middle, high)
norms = evaluation.evaluate(net, x, attacks.ddn(net, x, y), y).l2
least = {"pgd": high, "ddn": norms}
median = {"pgd": high.median().item(), "ddn": norms.median().item()}
shorter = {"pgd": int((norms > high).sum()), "ddn": int((norms < low).sum())}
best = torch.minimum(norms, high).median().item()
conclusion = "b"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "measurement-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.two_searches(least, median, shorter)

# %% [markdown]
# One dot for each image. Below the line DDN found the shorter perturbation, above it PGD did:
#
# ![A scatter plot of one hundred dots close to a diagonal line, most of them a little below it, some clearly below, and a few above it.](expected/05_measurement.png)

# %% expected="05_measurement"
ax, ticks = plots.axes(height=3.4), [0, 0.5, 1, 1.5, 2]
ax.plot([0, 2.1], [0, 2.1], color=plots.GREY, linewidth=1)
ax.plot(least["pgd"], least["ddn"], "o", markersize=4, color=plots.colour("fully_connected"))
ax.set(xlabel="smallest eps of PGD (l2 norm)", ylabel="l2 norm of DDN",
       xlim=(0, 2.1), ylim=(0, 2.1), xticks=ticks, yticks=ticks, aspect="equal")
plots.finish(ax, source=digits.source)

# %% nbgrader={"grade": true, "grade_id": "measurement-hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# The best of both, and the letter, are looked at when the sheet is graded.
assert best is not None and conclusion in ("a", "b", "c")
### BEGIN HIDDEN TESTS
from advlens import attacks, data, geometry, zoo
hundred, network = data.load("digits", "test")[:100], zoo.pretrained("fully_connected", "digits")
found = geometry.norm(attacks.ddn(network, hundred.images, hundred.labels) - hundred.images, "l2")
both = torch.minimum(found, torch.as_tensor(least["pgd"])).median().item()
assert abs(float(best) - both) < 5e-3, "best is not the median of the shorter one of each image: take the minimum image by image, then the median"
assert conclusion == "b", "each number belongs to an image that fools the network, so the distance is at most that; what an attack did not find may still be there"
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Break it: a minimum that is none
#
# A report says: "We attacked the network with Carlini-Wagner, which minimises the norm. The median perturbation has the length that the next cell prints. So an attacker needs at least about that much." Run it.

# %%
digits = data.load("digits", "test")[:50]
net = zoo.pretrained("fully_connected", "digits")
reported = attacks.carlini_wagner(net, digits.images, digits.labels, confidence=10)
print(evaluation.evaluate(net, digits.images, reported, digits.labels).l2.median())

# %% [markdown]
# Write `shorten(model, x, y, adversarial)`. For each image it returns another one that still fools the model, that is never further from `x` than `adversarial` is, and that lies at the boundary: its margin, the best other logit minus that of `y`, is close to 0. Use the model alone, none of the library's attacks; it is in evaluation mode already. You need not leave the straight line from `x` to `adversarial`, and no gradient is needed.
#
# Then apply it to the report's images, and fill in
#
# - `norm` and `margin`: the median $\ell_2$ norm, and the median margin, of the `"reported"` images and of `"yours"`, as `evaluation.evaluate` finds them;
# - `why`: why was the reported norm no minimum?
#   - a: the search for $c$ ended too early; with more steps and more searches it would have come to the boundary.
#   - b: with confidence $\kappa = 10$ only a margin above 10 counted as a success, and the boundary has the margin 0.
#   - c: Carlini-Wagner minimises the largest change of a pixel, not the $\ell_2$ norm.

# %% nbgrader={"grade": false, "grade_id": "transfer", "locked": false, "schema_version": 3, "solution": true, "task": false}
def shorten(model, x, y, adversarial):
    ### BEGIN SOLUTION
    low = torch.zeros(len(x), 1, 1, 1)  # the share of the way at which the answer is still right
    high = torch.ones_like(low)  # and at which it is wrong
    for _ in range(20):
        middle = (low + high) / 2
        with torch.no_grad():
            fooled = (model(x + middle * (adversarial - x)).argmax(1) != y)[:, None, None, None]
        low, high = torch.where(fooled, low, middle), torch.where(fooled, middle, high)
    return x + high * (adversarial - x)
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "transfer-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.shorten(shorten)

# %% nbgrader={"grade": false, "grade_id": "transfer-numbers", "locked": false, "schema_version": 3, "solution": true, "task": false}
digits = data.load("digits", "test")[:50]
net = zoo.pretrained("fully_connected", "digits")
reported = attacks.carlini_wagner(net, digits.images, digits.labels, confidence=10)

norm = {"reported": None, "yours": None}
margin = {"reported": None, "yours": None}
why = None

### BEGIN SOLUTION
yours = shorten(net, digits.images, digits.labels, reported)
for name, images in (("reported", reported), ("yours", yours)):
    judged = evaluation.evaluate(net, digits.images, images, digits.labels)
    norm[name], margin[name] = judged.l2.median().item(), judged.margin.median().item()
why = "b"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "transfer-hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# The numbers and the letter are looked at when the sheet is graded, and your function meets another network.
assert set(norm) == set(margin) == {"reported", "yours"} and why in ("a", "b", "c")
### BEGIN HIDDEN TESTS
from advlens import attacks, data, evaluation, zoo
fifty, network = data.load("digits", "test")[:50], zoo.pretrained("fully_connected", "digits")
given = attacks.carlini_wagner(network, fifty.images, fifty.labels, confidence=10)
seen = evaluation.evaluate(network, fifty.images, given, fifty.labels)
assert abs(float(norm["reported"]) - seen.l2.median()) < 0.02, "norm['reported'] is not the median l2 norm of the reported perturbations"
assert abs(float(margin["reported"]) - seen.margin.median()) < 0.1, "margin['reported'] is not the median margin of the reported images"
assert float(norm["yours"]) < 0.75 * seen.l2.median() and 0 <= float(margin["yours"]) < 0.1, "your images should lie at the boundary, and be shorter by a quarter at least"
assert why == "b", "look at the margin of the reported images: which number did the attack insist on?"
lenet, few = zoo.pretrained("lenet", "digits"), data.load("digits", "test")[50:80]
keep = evaluation.logits(lenet, few.images).argmax(1) == few.labels
few = few[keep]
far = attacks.pgd(lenet, few.images, few.labels, eps=4.0, norm="l2", steps=10, random_start=False)
near, there = (evaluation.evaluate(lenet, few.images, z, few.labels) for z in (shorten(lenet, few.images, few.labels, far), far))
assert near.success[there.success].all() and (near.l2 <= there.l2 + 1e-4).all(), "on another network some images do not fool it any more, or became longer"
assert near.margin[there.success].median() < 0.1, "on another network your images do not lie at the boundary"
### END HIDDEN TESTS

# %% [markdown]
# ## 5. Thought: which norm for which attacker?
#
# Four attackers want to fool a network that reads images:
#
# - **A** puts one small sticker on a traffic sign. It may have any colours and lie anywhere.
# - **B** uploads photographs to a filter. A person looks at them too, and must not notice that they were changed.
# - **C** can shift the value of every pixel a little, but no value by more than the scanner's own error, two of its 255 steps.
# - **D** turns the page by fifteen degrees before it is scanned.
#
# Write at most twelve lines. For each attacker say which of $\ell_0$, $\ell_2$ and $\ell_\infty$ describes best what is allowed, or that none does, and why. For which of them do you report a success at a fixed budget, and for which the least norm? And is a small norm the same as a change that nobody notices? Give an example.

# %% [markdown] nbgrader={"grade": true, "grade_id": "thought", "locked": false, "points": 6, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** (A) The number of changed pixels, $\ell_0$: few change, each as much as it likes, so that the largest change and the length may be large. (It is stricter than $\ell_0$: the pixels lie together.) (B) None exactly, because what a person notices is not a norm; a small $\ell_2$ or $\ell_\infty$ norm stands in for it, and a measure of perception, or people who look, should be reported beside it. (C) $\ell_\infty$ with $\varepsilon = 2/255$: the rule is a limit for each pixel, however many change. (D) None: nearly every edge pixel changes a lot, the change is large in each norm, and yet it is the same digit; the attacker's choice is one angle, so one searches over angles.
# For C the budget is given, so the success at this $\varepsilon$ is the answer, by the strongest attack at hand. For A it is as well if the size of the sticker is given. For B no budget is known: report the least norms, as a curve or a median, and that each is an upper bound of the true least one.
# A small norm is neither needed nor enough: one bright pixel on a dark ground is small in $\ell_0$ and in $\ell_2$ and stands out against all its neighbours; a turn, or a little more light everywhere, is large in $\ell_2$ and leaves the digit the digit that it was.
#
# **Marking guide.** 1 point for each of A to D with a reason that fits the norm (for B a norm passes if it is said that it only stands in for perception). 1 point: fixed budget where the budget is known, least norm where it is not. 1 point: an example of a small norm that is noticed, or of a large one that is not.
