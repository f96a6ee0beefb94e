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
# # Exercises: without gradients
#
# Five exercises for the chapter [Without gradients](../../chapters/06_without_gradients.ipynb). From now on you are outside: slopes from nine answers with a pencil, a search that is told nothing but classes, images that cross from one network to another, a digit that no single pixel fools, and a lock that counts queries.
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
# ## 1. Warm-up: slopes from scores
#
# A closed box gives one score $s$ for an image of four pixels. Where all four are 0.5, the score is 1.00. You ask again, each time with one pixel moved by $h = 0.1$:
#
# | pixel | score with this pixel at 0.6 | score with this pixel at 0.4 |
# |---|---|---|
# | 1 | 1.22 | 0.82 |
# | 2 | 0.90 | 1.10 |
# | 3 | 1.20 | 1.20 |
# | 4 | 0.96 | 0.96 |
#
# Take a pencil. Return a dict with
#
# - `"one-sided"`: the four slopes $\big(s(x + h e_i) - s(x)\big) / h$;
# - `"central"`: the four slopes $\big(s(x + h e_i) - s(x - h e_i)\big) / 2h$;
# - `"queries"`: how many images you would have to ask about for *all* slopes of one grey digit of 28 × 28 pixels, first one-sided, then central.
#
# (Look at pixels 3 and 4 when you are done. What would FGSM do with each of the two answers?)

# %% nbgrader={"grade": false, "grade_id": "warmup", "locked": false, "schema_version": 3, "solution": true, "task": false}
def by_hand():
    """{"one-sided": [., ., ., .], "central": [., ., ., .], "queries": (., .)}"""
    ### BEGIN SOLUTION
    # pixel 3 stands in a kink, pixel 4 on a hilltop: only the one-sided slopes are not 0 there
    return {"one-sided": [2.2, -1, 2, -0.4], "central": [2, -1, 0, 0], "queries": (784 + 1, 2 * 784)}
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "warmup-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.differences(by_hand)

# %% [markdown]
# ## 2. Code: to the boundary, with labels alone
#
# `box(images)` takes images (N, C, H, W) and answers with their classes (N,). There are no scores and no gradients, and the box counts: `box.asked` is the number of images that it was asked about.
#
# For each image of `x` you have another one, `start`, that the box does not call `y`. Somewhere on the straight line between the two the answer changes. Write `to_boundary(box, x, y, start, steps)`, which finds the place by bisection, for each image its own:
#
# 1. begin with $a = 0$ and $b = 1$; the image at $a$ is called $y$, the one at $b$ is not, where the image at a share $t$ of the way is $x + t\,(\mathrm{start} - x)$;
# 2. `steps` times, ask about the image at $(a + b)/2$. If the box still says $y$, this is the new $a$; with any other class it is the new $b$;
# 3. return the images at $b$: as near as you came, and known to fool the box.
#
# Each image may cost `steps` queries, no more. (`torch.where` takes an answer for each image; `view(-1, 1, 1, 1)` lets a share for each image multiply the images.)

# %% nbgrader={"grade": false, "grade_id": "boundary", "locked": false, "schema_version": 3, "solution": true, "task": false}
def to_boundary(box, x, y, start, steps):
    ### BEGIN SOLUTION
    low, high = torch.zeros(len(x)), torch.ones(len(x))
    for _ in range(steps):
        middle = (low + high) / 2
        fooled = box(x + middle.view(-1, 1, 1, 1) * (start - x)) != y
        low = torch.where(fooled, low, middle)
        high = torch.where(fooled, middle, high)
    return x + high.view(-1, 1, 1, 1) * (start - x)
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "code-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.to_boundary(to_boundary)

# %% [markdown]
# Four digits, and on the way to four others the point where LeNet changes its answer. In one column that answer is neither the class above nor the class below: that is why any class but $y$ counts.
#
# ![Three rows of four digits. Above four clean digits, below four digits of other classes, all answered right. Between them four mixtures of the two, each with a wrong answer.](expected/06_code.png)

# %% expected="06_code"
digits = data.load("digits", "test")[10:14]
box = checks.Box(zoo.pretrained("lenet", "digits"), labels_only=True)
x, y = digits.images, digits.labels
start = x.roll(1, 0)
found = to_boundary(box, x, y, start, 10)
print(int(box.asked), "queries")
rows = ["clean", "found", "start"]
shown = torch.cat([x, found, start])
answers = box(shown)
titles = [f"says {int(k)}" for k in answers]
frame = (answers == torch.cat([y, y, y.roll(1, 0)])).tolist()
plots.images(shown, titles, columns=4, rows=rows, frame=frame, source=digits.source)

# %% nbgrader={"grade": true, "grade_id": "code-hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# When this sheet is graded, your function also meets networks and images that it has not seen.
### BEGIN HIDDEN TESTS
from advlens import data
from advlens.course import checks
shapes, net = data.load("shapes", "test")[:24], zoo.pretrained("cifar_net", "shapes")
says = lambda images: net(images).argmax(1)
near, far = shapes.images, shapes.images.roll(7, 0)
keep = says(near) != says(far)
near, far = near[keep], far[keep]
closed = checks.Box(net, labels_only=True)
yours = to_boundary(closed, near, says(near), far, 8)
share = ((yours - near) * (far - near)).flatten(1).sum(1) / (far - near).square().flatten(1).sum(1)
before = near + (share - 2 ** -8).view(-1, 1, 1, 1) * (far - near)
assert int(closed.asked) == 8 * len(near), "on colour images the box is not asked once for each halving and image"
assert (says(yours) != says(near)).all(), "on colour images some results do not fool the box"
assert (says(before) == says(near)).float().mean() >= 0.95, "on colour images the search does not end at the boundary"
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Measurement: which way do images cross?
#
# An image made to fool LeNet may also fool the fully connected net, and the other way round. Do more of them cross in one direction? Both get the same budget, a Euclidean length of 2.5, and there are two attacks: one step, and ten.
#
# Take the test digits that *both* nets answer right. Attack each net with `attack[name]`, and show its images to the other net. Fill in, for `"fgm"` and `"pgd"`,
#
# - `compared[name]`: `evaluation.paired(a, b)`, as it is, where `a` says for each digit whether LeNet's image fools the fully connected net, and `b` whether that net's image fools LeNet;
# - `points[name]`: the share of `a` minus the share of `b`, in percentage points;
# - `conclusion`: what do the two comparisons allow you to say?
#   - a: Images made on a LeNet fool a fully connected net more easily than the other way round.
#   - b: Neither of these two nets is the better source: it depends on the attack.
#   - c: Ten steps make images that cross less often than those of one step.
#
# `evaluation.classified_right(net, digits)` and `evaluation.evaluate(net, x, adversarial, y).success` hold one bool for each image.

# %% nbgrader={"grade": false, "grade_id": "measurement", "locked": false, "schema_version": 3, "solution": true, "task": false}
digits = data.load("digits", "test")
lenet = zoo.pretrained("lenet", "digits")
fc = zoo.pretrained("fully_connected", "digits")
attack = {
    "fgm": lambda net, x, y: attacks.fgm(net, x, y, eps=2.5),
    "pgd": lambda net, x, y: attacks.pgd(net, x, y, eps=2.5, norm="l2", steps=10,
                                         random_start=False),
}

compared = {"fgm": None, "pgd": None}
points = {"fgm": None, "pgd": None}
conclusion = None

### BEGIN SOLUTION
both = evaluation.classified_right(lenet, digits) & evaluation.classified_right(fc, digits)
x, y = digits.images[both], digits.labels[both]
for name in attack:
    a = evaluation.evaluate(fc, x, attack[name](lenet, x, y), y).success
    b = evaluation.evaluate(lenet, x, attack[name](fc, x, y), y).success
    compared[name] = evaluation.paired(a, b)
    points[name] = 100 * compared[name].difference
conclusion = "b"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "measurement-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.crossings(compared, points)

# %% [markdown]
# Both differences with their 95 % intervals, which cover the choice of the images and nothing else:
#
# ![Two dots with bars on a scale of percentage points, one for FGM and one for PGD, on the two sides of a dashed line at zero.](expected/06_measurement.png)

# %% expected="06_measurement"
ax = plots.axes(height=2)
for place, name in enumerate(compared):
    p = compared[name]
    ax.plot([100 * p.low, 100 * p.high], [place] * 2, color=plots.colour(name))
    ax.plot(100 * p.difference, place, "o", color=plots.colour(name))
ax.axvline(0, color=plots.GREY, linestyle="--")
ax.set(xlabel="percentage points", ylim=(1.6, -0.6))
ax.set_yticks([0, 1], ["FGM", "PGD"])
plots.finish(ax, digits.source)

# %% nbgrader={"grade": true, "grade_id": "measurement-hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# Which letter is right is decided when the sheet is graded.
assert conclusion in ("a", "b", "c")
### BEGIN HIDDEN TESTS
assert conclusion != "a", "the second attack points the other way; and one training of each net says nothing about kinds of nets"
assert conclusion == "b", "count how many images of each attack cross at all, not their difference"
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Break it: when one pixel is not enough
#
# A colleague set each of the 784 pixels of a digit, one at a time, to black and to white. That is every image of this kind there is, and none of the 1,568 fooled the fully connected net. "So nobody fools it with a few pixels", the colleague says. Let us see about two.
#
# `box(images)` now answers with the logits. Write `few_pixels(box, x, y, pixels)` for one grey image `x`, (1, 1, H, W), and its label `y`, (1,):
#
# 1. try every pixel with 0 and with 1, all others as they are, and keep the one change with the largest *margin*, that is the largest logit of another class minus the logit of `y`;
# 2. if the margin is positive, return the image: the box is wrong. If not, begin again at 1 with the image that you kept, until `pixels` pixels have changed. Return the last image.
#
# All tries of a round fit into one batch. `x.expand(n, -1, -1, -1).clone()` makes room for them, and `.view(n, -1)` shows them as rows of pixels.

# %% nbgrader={"grade": false, "grade_id": "transfer", "locked": false, "schema_version": 3, "solution": true, "task": false}
def few_pixels(box, x, y, pixels):
    ### BEGIN SOLUTION
    n = x.numel()
    diagonal = torch.arange(n)
    for _ in range(pixels):
        tries = x.expand(2 * n, -1, -1, -1).clone()
        rows = tries.view(2 * n, n)
        rows[diagonal, diagonal] = 0
        rows[n + diagonal, diagonal] = 1
        logits = box(tries)
        others = logits.clone()
        others[:, y] = -torch.inf
        margins = others.amax(1) - logits[:, y.item()]
        x = tries[margins.argmax()].unsqueeze(0)
        if margins.max() > 0:
            break
    return x
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "transfer-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.few_pixels(few_pixels)

# %% [markdown]
# Here is your colleague's digit, number 203 of the test set. And how safe is the net on others? Let your function change up to three pixels in each of the first 100 test digits, and fill in
#
# - `fooled`: `{1: ., 2: ., 3: .}`, how many of the 100 are fooled with at most one, two and three changed pixels;
# - `proof`: what has been proved for a digit that still stands after three?
#   - a: No three pixels in black or white fool the net there.
#   - b: No single pixel in black or white fools the net there; about two and three nothing is proved.
#   - c: No single pixel of whatever grey fools the net there.

# %%
digits = data.load("digits", "test")
fc = zoo.pretrained("fully_connected", "digits")
one = digits[203:204]
for pixels in (1, 2):
    box = checks.Box(fc)
    found = few_pixels(box, one.images, one.labels, pixels)
    says, changed = int(fc(found).argmax()), int((found != one.images).sum())
    print("changed pixels:", changed, "  the net says:", says, "  queries:", int(box.asked))

# %% nbgrader={"grade": false, "grade_id": "transfer-counts", "locked": false, "schema_version": 3, "solution": true, "task": false}
fooled = {1: None, 2: None, 3: None}
proof = None

### BEGIN SOLUTION
needed = []  # pixels that it took to fool the net
for i in range(100):
    one = digits[i:i + 1]
    found = few_pixels(checks.Box(fc), one.images, one.labels, 3)
    if fc(found).argmax() != one.labels:
        needed.append(int((found != one.images).sum()))
fooled = {most: sum(count <= most for count in needed) for most in fooled}
proof = "b"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "transfer-hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# The counts and the letter are looked at when the sheet is graded. Your function meets other digits.
assert set(fooled) == {1, 2, 3} and proof in ("a", "b", "c")
### BEGIN HIDDEN TESTS
from advlens import data
from advlens.course import checks
for most, count in ((1, 2), (2, 3), (3, 7)):
    assert abs(fooled[most] - count) <= 1, f"fooled[{most}]: how many of the 100 does your function fool by changing {most} or fewer?"
for name, i, pixels, falls in (("fully_connected", 142, 2, 1), ("fully_connected", 203, 1, 0), ("fully_connected", 203, 2, 2), ("lenet", 59, 2, 1), ("lenet", 296, 1, 0)):
    net, one = zoo.pretrained(name, "digits"), data.load("digits", "test")[i:i + 1]
    yours = few_pixels(checks.Box(net), one.images, one.labels, pixels)
    wrong, changed = bool(net(yours).argmax() != one.labels), int((yours != one.images).sum())
    assert wrong == bool(falls), f"digit {i} with {pixels} pixels: the search does not end where the task says"
    assert changed <= (falls or pixels), f"digit {i}: {changed} pixels changed"
assert proof == "b", "every single black or white pixel was tried, but of the pairs only those with the first pixel kept; and no grey at all"
### END HIDDEN TESTS

# %% [markdown]
# ## 5. Thought: a lock that counts
#
# A company offers a network as a service. An account may ask 100 queries a day, and gets the class alone, no scores. "The best attack of this kind needs 5,000 queries for one image," the company writes, "so nobody can fool our network."
#
# Write at most ten lines. What does such a limit change, and for whom? Name three attackers whom it does not stop, and say how many queries each of them needs. What should the company measure and publish in the place of the 5,000?

# %% [markdown] nbgrader={"grade": true, "grade_id": "thought", "locked": false, "points": 5, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** The limit changes a price, not the network: one account that follows the boundary around one image now needs 50 days. The adversarial examples are all still there.
# Whom it does not stop: (1) *Transfer.* Somebody with a similar network of his own computes the images at home and asks nothing; he shows the service one image, or ten. (2) *A copy.* Somebody buys 100 answers a day for a while and trains a network on them. These queries are paid once, and serve every image after that. (3) *Many accounts, or patience.* Fifty accounts have the 5,000 queries in one day. (4) *A less demanding search.* The 5,000 are what a small distance takes; a search that is stopped after 100 also ends with an image that fools the network, only further away. And an attacker who may choose among many images looks for an easy one: one random or borrowed image for each of 100 is enough if one of them works. (5) *An insider*, or whoever gets the weights.
# To be published: the robust accuracy under the strongest attack that knows everything, for a stated norm and budget: an upper limit, and no number of queries is in it. Beside it the success of images borrowed from other networks, and the success against the number of queries, over all images, from the first query on.
#
# **Marking guide.** 1 point: the limit raises the price for one account and one image, and leaves the network as it is. 1 point for each of three attackers with a number of queries. 1 point: a measurement that does not depend on the limit, with norm and budget, or a curve of success against queries. "Attackers will find a way" gives no point.
