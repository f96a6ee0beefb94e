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
# Three exercises for the chapter [One step: FGM and FGSM](../../chapters/03_one_step.ipynb): you write the attack, you measure with it, and you think about it.
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
# ## 1. Code: the fast gradient sign method
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
# ## 2. Measurement: the smallest step that works
#
# FGSM and FGM step along the same gradient, but each measures the step in its own norm. Which one needs less?
#
# Take the test digit number 5 (`digits[5:6]`, a six) and `lenet`. Go up each grid of the cell below, attack with `attacks.fgsm` and `attacks.fgm`, and stop at the first `eps` at which the prediction is no longer the label. Then fill in
#
# - `smallest["fgsm"]` and `smallest["fgm"]`: that first `eps`;
# - `sizes["fgsm"]` and `sizes["fgm"]`: the pair (Linf, L2) of the perturbation `adversarial - x` at that `eps`, with `geometry.norm`;
# - `conclusion`: `"a"`, `"b"` or `"c"`.
#   - a: FGSM is smaller in both norms.
#   - b: FGM is smaller in both norms.
#   - c: each attack is the smaller one in its own norm, so a comparison must name the norm.

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
conclusion = None

### BEGIN SOLUTION
for name, grid in grids.items():
    for eps in grid:
        adversarial = getattr(attacks, name)(lenet, x, y, eps=eps)
        if evaluation.logits(lenet, adversarial).argmax(1) != y:
            break
    smallest[name] = eps
    sizes[name] = tuple(geometry.norm(adversarial - x, p).item() for p in ("linf", "l2"))
conclusion = "c"
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

# %% nbgrader={"grade": true, "grade_id": "measurement-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# Which letter is right is decided when the sheet is graded.
assert conclusion in ("a", "b", "c")
### BEGIN HIDDEN TESTS
assert conclusion == "c", "compare the two attacks in Linf, then in L2: each wins in its own norm"
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Thought: epsilon twice
#
# One of the sources of this course derives the step from $\max_{\|\delta\|_\infty \le \varepsilon} \langle \delta, g \rangle$, finds $\delta = \varepsilon\, \mathrm{sign}(g)$, and then writes the attack as $x' = x + \varepsilon \, \delta$. So epsilon stands there twice.
#
# Does it matter, if one tunes epsilon anyway? Write at most ten lines: what is the real size of the step at $\varepsilon = 8/255$, what does a curve of accuracy against epsilon look like with the slip, and what can a reader no longer do with such a curve?

# %% [markdown] nbgrader={"grade": true, "grade_id": "thought", "locked": false, "points": 4, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** With the slip the step is $\varepsilon^2\,\mathrm{sign}(g)$. At $\varepsilon = 8/255$ that is $(8/255)^2 \approx 0.001$, a quarter of one grey level: after rounding to whole grey levels nothing at all is left.
# The curve is the right curve with its axis bent: the accuracy stands above $\varepsilon$ where it belongs above $\varepsilon^2$. For $\varepsilon < 1$ the net seems far more robust than it is, and most so for small $\varepsilon$, where one looks.
# Tuning hides the slip inside one paper, but the number no longer means what the definition of the ball says: it cannot be compared with other papers, with another norm, or with a guarantee for the ball of radius $\varepsilon$.
#
# **Marking guide.** 1 point: the step is $\varepsilon^2$, with the size at 8/255 (about 0.001). 1 point: the axis is bent, the net looks too robust. 1 point: most at small epsilon, or the remark about rounding. 1 point: no comparison across papers, norms or guarantees.
