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
# # Exercises: many steps
#
# Five exercises for the chapter [Many steps: BIM and PGD](../../chapters/04_many_steps.ipynb): you walk two steps with a pencil, you write the strongest of the simple attacks, you find out what restarts are worth, you break a network that stands against all of this, and you doubt a good result.
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
# ## 1. By hand: two steps
#
# An image of two pixels, $(0.5,\ 0.95)$. The gradient of the loss is $(-3,\ 2)$ everywhere. PGD in the $\ell_\infty$ norm starts at the image, with $\varepsilon = 0.1$ and steps of 0.08. Take a pencil: where does the walk stand after the first step, and where after the second? Remember both fences.

# %% nbgrader={"grade": false, "grade_id": "warmup", "locked": false, "schema_version": 3, "solution": true, "task": false}
def by_hand():
    """{"after step 1": (pixel 1, pixel 2), "after step 2": (pixel 1, pixel 2)}"""
    ### BEGIN SOLUTION
    return {"after step 1": (0.42, 1.0), "after step 2": (0.4, 1.0)}
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "warmup-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.two_steps(by_hand)

# %% [markdown]
# ## 2. Code: projected gradient descent
#
# Write `my_pgd(model, x, y, eps, step_size, steps)` for the $\ell_\infty$ norm. Begin at `x` itself, without a random start, and repeat `steps` times:
#
# 1. take the gradient of the cross-entropy at the point where you are;
# 2. step by `step_size` along its sign;
# 3. go back into the ball: no pixel further than `eps` from the *clean* image;
# 4. go back into the box: every pixel in [0, 1].
#
# Return the last point. Leave no traces: evaluation mode during the attack, the mode as it was afterwards, no gradients on the parameters, `x` unchanged.

# %% nbgrader={"grade": false, "grade_id": "pgd", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_pgd(model, x, y, eps, step_size, steps):
    ### BEGIN SOLUTION
    was = model.training
    model.eval()
    point = x.clone()
    for _ in range(steps):
        here = point.requires_grad_()
        loss = torch.nn.functional.cross_entropy(model(here), y, reduction="sum")
        gradient, = torch.autograd.grad(loss, here)
        point = here.detach() + step_size * gradient.sign()
        point = (x + (point - x).clamp(-eps, eps)).clamp(0, 1)
    model.train(was)
    return point
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "code-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.pgd(my_pgd)

# %% [markdown]
# Four digits at eps = 0.1. Ten small steps need less room than one large one:
#
# ![Four handwritten digits in rows: the clean digit, the noise of the attack, the digit with the noise, and bars that show how the prediction moves to another class.](expected/04_code.png)

# %% expected="04_code"
digits = data.load("digits", "test")[5:9]
lenet = zoo.pretrained("lenet", "digits")
adversarial = my_pgd(lenet, digits.images, digits.labels, 0.1, 0.025, 10)
before = evaluation.logits(lenet, digits.images).softmax(1)
after = evaluation.logits(lenet, adversarial).softmax(1)
plots.attack(digits.images, adversarial, before, after, digits.classes,
             source=digits.source)

# %% nbgrader={"grade": true, "grade_id": "code-hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# When this sheet is graded, your function also meets networks and images that it has not seen.
### BEGIN HIDDEN TESTS
from advlens import attacks, data, evaluation
from advlens.course import checks
shapes = data.load("shapes", "test")[:24]
net = zoo.pretrained("cifar_net", "shapes")
yours = my_pgd(net, shapes.images, shapes.labels, 8 / 255, 2 / 255, 7)
assert (yours - shapes.images).abs().max() <= 8 / 255 + 1e-6, "on colour images the result leaves the ball"
assert yours.min() >= 0 and yours.max() <= 1, "on colour images the result leaves [0, 1]"
# The task walks along the plain cross-entropy, and so does the reference.
book = attacks.pgd(net, shapes.images, shapes.labels, eps=8 / 255, steps=7, step_size=2 / 255, random_start=False, loss="naive_ce")
fooled = [evaluation.evaluate(net, shapes.images, images, shapes.labels).success.float().mean() for images in (yours, book)]
assert fooled[0] >= fooled[1] - 0.1, f"on colour images your attack fools {fooled[0]:.0%}, the library's {fooled[1]:.0%}"
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Measurement: what are restarts worth?
#
# A random start may be unlucky. So one tries several, and an image counts as robust only if it stands them all.
#
# Take the first hundred test digits, `lenet`, and `attacks.pgd` with `eps=0.1`, `steps=3` and `restarts` = 1, 2 and 5. Give each of the three runs a fresh generator, `torch.Generator().manual_seed(0)`. Fill in
#
# - `accuracy`: the dict of the robust accuracies, `{1: ..., 2: ..., 5: ...}`, as shares;
# - `conclusion`: what does such a number say?
#   - a: it is the accuracy that the network keeps under any attack of this eps.
#   - b: it is a lower limit: a better attack may leave more.
#   - c: it is an upper limit: more restarts, or a better attack, can only leave less.
#
# `evaluation.robust_accuracy(model, x, y, attack)` wants an attack that takes `(model, x, y)`, and gives back a rate with `.value`.

# %% nbgrader={"grade": false, "grade_id": "measurement", "locked": false, "schema_version": 3, "solution": true, "task": false}
digits = data.load("digits", "test")[:100]
lenet = zoo.pretrained("lenet", "digits")

accuracy = {1: None, 2: None, 5: None}
conclusion = None

### BEGIN SOLUTION
for restarts in accuracy:
    generator = torch.Generator().manual_seed(0)

    def attack(model, x, y):
        return attacks.pgd(model, x, y, eps=0.1, steps=3, restarts=restarts, generator=generator)

    accuracy[restarts] = evaluation.robust_accuracy(lenet, digits.images, digits.labels, attack).value
conclusion = "c"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "measurement-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.restarts(accuracy)

# %% [markdown]
# Three bars that can only go down:
#
# ![Three bars, the robust accuracy with one, two and five restarts. Each is a little lower than the one before.](expected/04_measurement.png)

# %% expected="04_measurement"
values, names = list(accuracy.values()), [f"restarts = {r}" for r in accuracy]
plots.bars(values, names, ylabel="robust accuracy", source=digits.source)

# %% nbgrader={"grade": true, "grade_id": "measurement-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# Which letter is right is decided when the sheet is graded.
assert conclusion in ("a", "b", "c")
### BEGIN HIDDEN TESTS
assert conclusion == "c", "an attack shows what is broken; what it does not break may break under the next"
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Break it: a network that rounds
#
# A colleague puts LeNet behind a rounding: it sees only five grey levels. `attacks.pgd` with `eps=0.15` fools hardly a digit any more. Run the next cell and see.

# %%
digits = data.load("digits", "test")[:50]
model = checks.Rounded(zoo.pretrained("lenet", "digits")).eval()  # model.net is LeNet
adversarial = attacks.pgd(model, digits.images, digits.labels, eps=0.15)
print(evaluation.evaluate(model, digits.images, adversarial, digits.labels).success.float().mean())

# %% [markdown]
# The digits look the same after rounding, so why should the network be safe? Write `break_it(model, x, y, eps, attack)`, which gets `attacks.pgd` as its `attack`, so that at least nine digits in ten fool the rounded network. You know everything about the model; anything goes, as long as the result stays in the ball.

# %% nbgrader={"grade": false, "grade_id": "transfer", "locked": false, "schema_version": 3, "solution": true, "task": false}
def break_it(model, x, y, eps, attack):
    ### BEGIN SOLUTION
    # Rounding is flat between two levels, so its gradient is 0. The network behind it is not flat, and
    # what fools it survives the rounding.
    return attack(model.net, x, y, eps=eps, loss="margin")
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "transfer-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.rounded(break_it)

# %% [markdown]
# ## 5. Thought: too good
#
# A colleague shows you a network that keeps 95 % of its accuracy under PGD with the cross-entropy loss. You may ask it and take its gradients, but you have not seen its code. For no test image is the gradient exactly zero.
#
# Is the network robust? Name three causes of the 95 % that are still possible, and for each something that you run next, and what each outcome would tell you.

# %% [markdown] nbgrader={"grade": true, "grade_id": "thought", "locked": false, "points": 5, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** We do not know; the 95 % are no evidence yet. A gradient that is not zero may still be a bad guide.
# (1) The gradient may point the wrong way: signs that are rounding errors of a sure network, or a layer whose derivative is not that of the function. Run PGD along the margin or the log-odds; transfer images from another network; run an attack without gradients. If one of them fools more than PGD does, the gradient is masked. (2) The walk may be too short or too coarse: steps times step size below eps, too few steps. Print the largest change of a pixel; take more and other steps; more restarts. If accuracy falls, the attack was weak. (3) The network may be random inside, so that the gradient of one pass is not that of the next. Ask it twice for the same image; average the gradient over many passes. (4) Whatever the cause: raise eps to 0.5 or 1. Accuracy must reach 0; if it does not, the attack is broken, not the network strong. Only if all of these leave the 95 % does the claim begin to be credible, and even then it is an upper limit.
#
# **Marking guide.** 1 point: the number alone is no evidence, it is an upper limit. 1 point: a gradient that is not zero can still mislead. 1 point for each of three causes with a test and its outcomes. A test that only repeats the same attack gives no point.
