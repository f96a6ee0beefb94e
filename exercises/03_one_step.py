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
# # Exercises: one step
#
# Five exercises for the chapter [One step: FGM and FGSM](../../chapters/03_one_step.ipynb), from a pencil to a judgement: both steps by hand, the attack in code, the smallest step that works, an attack that breaks, and two numbers that cannot be compared.
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
# ## 1. Warm-up: both steps by hand
#
# An image of four pixels and the gradient of the loss there:
#
# $$x = (0.2,\ 0.95,\ 0.5,\ 0),$$
#
# $$g = (-0.3,\ 0.4,\ 0,\ 1.2).$$
#
# Take a pencil. Return a dict with
#
# - `"fgsm"`: the four pixels after FGSM with $\varepsilon = 0.1$;
# - `"fgm"`: the four pixels after FGM with $\varepsilon = 0.13$.

# %% nbgrader={"grade": false, "grade_id": "warmup", "locked": false, "schema_version": 3, "solution": true, "task": false}
def by_hand():
    """{"fgsm": [., ., ., .], "fgm": [., ., ., .]}"""
    ### BEGIN SOLUTION
    # the second pixel would be 1.05; the length of g is 1.3
    return {"fgsm": [0.1, 1.0, 0.5, 0.1], "fgm": [0.17, 0.99, 0.5, 0.12]}
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "warmup-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.both_steps(by_hand)

# %% [markdown]
# ## 2. Code: the fast gradient sign method
#
# Write `my_fgsm(model, x, y, eps)`. It returns, for each image, one step of length `eps` along the sign of the gradient:
#
# $$x' = \mathrm{clamp}\big(x + \varepsilon \, \mathrm{sign}\, \nabla_x L,\ 0,\ 1\big)$$
#
# - `x` holds images (N, C, H, W) in [0, 1], `y` their labels (N,), and `eps` is a number in the same units as the pixels. The model returns logits, and normalises by itself.
# - $L$ is the cross-entropy of the logits $f(x)$ and the label $y$. The images do not mix, so the gradient of the sum over the batch holds each image's own gradient.
# - A good attack leaves no traces: it runs the model in evaluation mode, puts the mode back as it was, leaves no gradients on the parameters, and does not change `x`.
#
# `torch.autograd.grad(value, x)` and `model.train(mode)` are your friends.

# %% nbgrader={"grade": false, "grade_id": "fgsm", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_fgsm(model, x, y, eps):
    ### BEGIN SOLUTION
    was = model.training
    model.eval()
    point = x.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(model(point), y, reduction="sum")
    gradient, = torch.autograd.grad(loss, point)
    model.train(was)
    return (x + eps * gradient.sign()).clamp(0, 1)
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "code-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.fgsm(my_fgsm)

# %% [markdown]
# Now look at it. This is what a correct attack draws:
#
# ![Four handwritten digits in rows: the clean digit, a noise of plus and minus epsilon in every pixel, the digit with the noise, and bars that show how the prediction moves to another class.](expected/03_code.png)

# %% expected="03_code"
digits = data.load("digits", "test")[5:9]
lenet = zoo.pretrained("lenet", "digits")
adversarial = my_fgsm(lenet, digits.images, digits.labels, 0.15)
before = evaluation.logits(lenet, digits.images).softmax(1)
after = evaluation.logits(lenet, adversarial).softmax(1)
plots.attack(digits.images, adversarial, before, after, digits.classes,
             source=digits.source)

# %% nbgrader={"grade": true, "grade_id": "code-hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# When this sheet is graded, your function also meets networks and images that it has not seen.
### BEGIN HIDDEN TESTS
from advlens import attacks, data
from advlens.course import checks
shapes = data.load("shapes", "test")[:32]
net = zoo.pretrained("cifar_net", "shapes")
for eps in (2 / 255, 0.1):
    yours = my_fgsm(net, shapes.images, shapes.labels, eps)
    book = attacks.fgsm(net, shapes.images, shapes.labels, eps=eps, loss="naive_ce")  # the gradient of the task
    assert checks.hint.close(yours, book), f"on colour images at eps = {eps:.3f} the result differs from the library's fgsm"
alone = my_fgsm(net, shapes.images[:1], shapes.labels[:1], 0.1)
assert checks.hint.close(alone, book[:1]), "one image alone gives another result than the same image in a batch"
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Measurement: the smallest step that works
#
# FGSM and FGM step along the same gradient, and by its own ruler each needs less than the other. What does a third ruler say, the sum of all changes (the 1-norm, `"l1"`)?
#
# Take the test digit number 5 (`digits[5:6]`, a six) and `lenet`. Go up each grid of the cell below, attack with `attacks.fgsm` and `attacks.fgm`, and stop at the first `eps` at which the prediction is no longer the label. Then fill in
#
# - `smallest["fgsm"]` and `smallest["fgm"]`: that first `eps`;
# - `sizes["fgsm"]` and `sizes["fgm"]`: the pair (Linf, L2) of the perturbation `adversarial - x` at that `eps`, with `geometry.norm`;
# - `total["fgsm"]` and `total["fgm"]`: the 1-norm of the same two perturbations;
# - `less`: `"fgsm"` or `"fgm"`, the attack whose total change is the smaller one.

# %% nbgrader={"grade": false, "grade_id": "measurement", "locked": false, "schema_version": 3, "solution": true, "task": false}
digits = data.load("digits", "test")
lenet = zoo.pretrained("lenet", "digits")
x, y = digits[5:6].images, digits[5:6].labels
grids = {
    "fgsm": [i / 100 for i in range(1, 51)],
    "fgm": [i / 10 for i in range(1, 101)],
}

smallest = {"fgsm": None, "fgm": None}
sizes = {"fgsm": None, "fgm": None}
total = {"fgsm": None, "fgm": None}
less = None

### BEGIN SOLUTION
for name, grid in grids.items():
    for eps in grid:
        adversarial = getattr(attacks, name)(lenet, x, y, eps=eps)
        if evaluation.logits(lenet, adversarial).argmax(1) != y:
            break
    smallest[name] = eps
    sizes[name] = tuple(geometry.norm(adversarial - x, p).item() for p in ("linf", "l2"))
    total[name] = geometry.norm(adversarial - x, "l1").item()
less = min(total, key=total.get)
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "measurement-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.smallest_eps(smallest, sizes)

# %% [markdown]
# The two perturbations side by side should look like this:
#
# ![A six three times: as it is, after FGSM, where grey noise covers the whole image, and after FGM, where fewer pixels change but some of them a lot.](expected/03_measurement.png)

# %% expected="03_measurement"
shown, titles = [x], ["clean"]
for name, attack in (("fgsm", attacks.fgsm), ("fgm", attacks.fgm)):
    shown.append(attack(lenet, x, y, eps=smallest[name]))
    titles.append("{}\nLinf {:.2f}, L2 {:.2f}".format(plots.label(name), *sizes[name]))
plots.images(torch.cat(shown), titles, columns=3, source=digits.source)

# %% nbgrader={"grade": true, "grade_id": "measurement-hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# What the third ruler says is decided when the sheet is graded.
assert less in ("fgsm", "fgm") and set(total) == {"fgsm", "fgm"}
### BEGIN HIDDEN TESTS
from advlens import attacks, data, geometry
from advlens.course import checks
six, net = data.load("digits", "test")[5:6], zoo.pretrained("lenet", "digits")
for name, eps in (("fgsm", 0.1), ("fgm", 1.4)):
    changed = getattr(attacks, name)(net, six.images, six.labels, eps=eps) - six.images
    assert checks.hint.close([float(total[name])], [geometry.norm(changed, "l1").item()], 0.01), f"total[{name!r}] is not the 1-norm of the perturbation at the smallest eps"
assert less == "fgm", "compare the two totals: which is smaller?"
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Break it: all on one value
#
# The third row of the chapter's table, $p = 1$, is an attack too: it spends the whole budget on the one value of each image where $|g|$ is largest. Write `largest_value(model, x, y, eps)`:
#
# $$x' = \mathrm{clamp}\big(x + \varepsilon \, \mathrm{sign}(g_i)\, e_i,\ 0,\ 1\big),$$
#
# where $i$ is the place of the largest $|g_i|$, $e_i$ is one at $i$ and zero elsewhere, and $g$ the gradient of the cross-entropy as before. (`flatten(1)`, `argmax` and `scatter_` or a loop over the images will do.)
#
# Then find out what breaks it. Attack the first 100 test digits, and fill in
#
# - `fooled`: `{0.5: ., 1: ., 5: .}`, how many of the 100 LeNet answers wrongly after your step with that `eps`;
# - `why`: what stops the attack?
#   - a: the gradient of the largest value is too small.
#   - b: a value can move by at most 1, so a larger budget is not spent.
#   - c: LeNet stands every perturbation whose 1-norm is at most 5.

# %% nbgrader={"grade": false, "grade_id": "transfer", "locked": false, "schema_version": 3, "solution": true, "task": false}
def largest_value(model, x, y, eps):
    ### BEGIN SOLUTION
    was = model.training
    model.eval()
    point = x.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(model(point), y, reduction="sum")
    gradient = torch.autograd.grad(loss, point)[0].flatten(1)
    model.train(was)
    where = gradient.abs().argmax(1, keepdim=True)
    step = torch.zeros_like(gradient).scatter_(1, where, gradient.gather(1, where).sign())
    return (x + eps * step.view_as(x)).clamp(0, 1)
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "transfer-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.largest_value(largest_value)

# %% nbgrader={"grade": false, "grade_id": "transfer-counts", "locked": false, "schema_version": 3, "solution": true, "task": false}
hundred = data.load("digits", "test")[:100]
fooled = {0.5: None, 1: None, 5: None}
why = None

### BEGIN SOLUTION
for eps in fooled:
    answers = evaluation.logits(lenet, largest_value(lenet, hundred.images, hundred.labels, eps)).argmax(1)
    fooled[eps] = int((answers != hundred.labels).sum())
why = "b"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "transfer-hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# The counts and the letter are looked at when the sheet is graded.
assert set(fooled) == {0.5, 1, 5} and why in ("a", "b", "c")
### BEGIN HIDDEN TESTS
assert fooled[1] == fooled[5], "from eps = 1 on the clamp cuts every step to the same length"
assert 0 <= fooled[0.5] <= fooled[1] <= 5, "count the wrong answers on the attacked images: there are few"
assert why == "b", "from white to black is a change of 1: what is left of the budget cannot be spent on one value"
### END HIDDEN TESTS

# %% [markdown]
# ## 5. Thought: two numbers
#
# Two reports about MNIST. The first: "Our network keeps 60 % under FGSM with eps = 0.3." The second: "Ours keeps 45 % under FGM with eps = 2." A colleague concludes that the first network is the more robust one.
#
# Write at most ten lines. Name four things that you must know, or measure, before anybody may compare the two, and say for each how it could turn the comparison around.

# %% [markdown] nbgrader={"grade": true, "grade_id": "thought", "locked": false, "points": 4, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** Four of these, or others as good. (1) *The norm*: 0.3 is the largest change of a pixel, 2 a length. On 784 pixels an FGSM step of 0.3 has a length of up to 8.4, so the first network stood a much longer step; by the largest change it may be the other way round. (2) *The attack*: one step is an upper limit. A network whose gradient says little keeps much under FGSM and nothing under many steps. (3) *The units*: eps in pixels of [0, 1], or after normalisation, where 0.3 is about 0.1 of a pixel. (4) *The clamp*: without it the attacked images are none. (5) *The count*: all images, or only those that were right before; every image attacked anew at each eps, or only what still stands. (6) *The nets*: one training each says little about two kinds of network. (7) *The loss and the labels*: the true label or the network's own answer.
#
# **Marking guide.** 1 point for each of four different things, if it is said how it could turn the comparison around.
