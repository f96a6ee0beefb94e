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
# # Exercises: honest evaluation
#
# Five exercises for the chapter [Honest evaluation](../../chapters/07_honest_evaluation.ipynb): you follow three gradients that lie with a pencil, you average the gradient of a network that shakes, you count what stands four attacks, you break a defence that nobody shows you, and you review a claim.
# Run the cells from top to bottom. Each check says "ok", or gives you one hint. All of it runs on a laptop; the longest cell takes less than a minute. Time: 75 minutes.

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
# ## 1. By hand: three gradients that lie
#
# **A sure network.** An image of one pixel $x$, two classes. If the pixel becomes brighter, the logit of the true class grows by 3 per unit, the other one by 1. With $p$ the probability of the true class, and $q$ that of the other, the chain rule gives the slope of the cross-entropy:
#
# $$\frac{\partial L}{\partial x} = 3\,(p - 1) + 1 \cdot q .$$
#
# At this image the logits are 20 (true class) and 0 (other class), so $q \approx 2 \cdot 10^{-9}$ and $p = 1 - q$. In float32 the nearest number below 1 is about $1 - 6 \cdot 10^{-8}$, so $p$ is stored as exactly 1. The smallest positive number is about $10^{-45}$.
#
# - `"log-odds"`: $m$, the log of the odds against the true class;
# - `"true sign"`: the sign of the slope, computed exactly (-1, 0 or 1);
# - `"float32 sign"`: the sign of the slope when $p$ is stored as 1, and $q$ as $2 \cdot 10^{-9}$;
# - `"at 120"`: the same in float32, for the logits 120 and 0 ($e^{-120} \approx 8 \cdot 10^{-53}$).
#
# **A stair.** $r(x)$ rounds to quarters: $r(0.3) = 0.25$. The loss is $L = r(x)^2$.
#
# - `"stair"`: the slope of $L$ at $x = 0.3$;
# - `"BPDA"`: the slope that BPDA gives there, with the identity as the stand-in for $r$ on the way back.
#
# **A die.** Three passes through a random defence give the slopes -1, -1 and 5.
#
# - `"EOT"`: the sign of the step that EOT takes.

# %% nbgrader={"grade": false, "grade_id": "warmup", "locked": false, "schema_version": 3, "solution": true, "task": false}
def by_hand():
    """A dict with the seven keys above, a number for each."""
    ### BEGIN SOLUTION
    # 3 * (-2e-9) + 2e-9 is negative; 3 * 0 + 2e-9 is positive: FGSM would help the network
    return {"log-odds": -20, "true sign": -1, "float32 sign": 1, "at 120": 0, "stair": 0, "BPDA": 0.5, "EOT": 1}
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "warmup-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.masks(by_hand)

# %% [markdown]
# ## 2. Code: a step along the mean gradient
#
# `checks.Shaky(net)` is a network that shakes: in every pass each image is moved by a few pixels, in a direction drawn anew. Ask it twice, and it gives two answers and two gradients.
#
# Write `my_eot(model, x, y, eps, draws)`: one step, as in FGSM, but along the sign of the **mean gradient** of `draws` passes,
#
# $$\bar g = \frac{1}{n} \sum_{k=1}^{n} \nabla_x L_k(x),$$
#
# $$x' = \mathrm{clamp}\big(x + \varepsilon \, \mathrm{sign}\, \bar g,\ 0,\ 1\big),$$
#
# where $L_k$ is the cross-entropy of the $k$-th pass and $n$ is `draws`. A loop over passes, or one pass with $n$ copies of each image: both are fine. Leave no traces, as always: evaluation mode during the attack, the mode as it was afterwards, no gradients on the parameters, `x` unchanged.

# %% nbgrader={"grade": false, "grade_id": "eot", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_eot(model, x, y, eps, draws):
    ### BEGIN SOLUTION
    was = model.training
    model.eval()
    total = torch.zeros_like(x)
    for _ in range(draws):
        point = x.clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(model(point), y, reduction="sum")
        total += torch.autograd.grad(loss, point)[0]
    model.train(was)
    return (x + eps * total.sign()).clamp(0, 1)
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "code-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.eot(my_eot)

# %% [markdown]
# Now see what the mean is worth. LeNet shakes, each digit is shown to it twenty times, and a bar is the share of wrong answers. One gradient already does much; how much does the mean add?
#
# ![Five bars, the share of wrong answers of a shaking LeNet: small without an attack, much larger after a step along one gradient, and a little larger again with each of 4, 16 and 64 draws.](expected/07_code.png)

# %% expected="07_code"
digits = data.load("digits", "test")[:100]
shaky = checks.Shaky(zoo.pretrained("lenet", "digits")).eval()
shares, names = [], ["no attack"]
for draws in (0, 1, 4, 16, 64):
    adversarial = digits.images
    if draws:
        adversarial = my_eot(shaky, digits.images, digits.labels, 0.08, draws)
        names.append(f"draws = {draws}")
    wrong = [shaky(adversarial).argmax(1) != digits.labels for _ in range(20)]
    shares.append(torch.stack(wrong).float().mean().item())
plots.bars(shares, names, ylabel="wrong answers", source=digits.source)

# %% nbgrader={"grade": true, "grade_id": "code-hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# When this sheet is graded, your function also meets colour images.
### BEGIN HIDDEN TESTS
from advlens.course import checks
checks.ch07.eot_in_colour(my_eot)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Measurement: black and white
#
# A colleague puts a layer before the fully connected network that rounds each pixel to 0 or 1. PGD is helpless. Take the hundred digits and the model that stand in the cell below, and attack with `eps = 0.2`, each time with a fresh generator, `torch.Generator().manual_seed(0)`:
#
# - `"PGD"`: `attacks.pgd` on the model (it will warn you);
# - `"transfer"`: `attacks.pgd` on LeNet, `zoo.pretrained("lenet", "digits")`, and its images shown to the model;
# - `"BPDA"`: `attacks.pgd` on `attacks.BPDA(..., torch.round)`; think about what stands in the place of the dots;
# - `"Square"`: `attacks.square` on the model with `queries=300`.
#
# Before you start, guess: which of the four leaves least? Then fill in
#
# - `accuracy`: for each attack, the share of the hundred digits that the model still classifies right;
# - `together`: the share that stands all four;
# - `conclusion`:
#   - a: the honest number is that of PGD, which has all weights and takes forty steps.
#   - b: BPDA knows the layer, so its number is the robust accuracy of the model.
#   - c: each number is an upper limit. Even BPDA, which knows the layer, misses images that another attack finds.

# %% nbgrader={"grade": false, "grade_id": "measurement", "locked": false, "schema_version": 3, "solution": true, "task": false}
digits = data.load("digits", "test")[:100]
network = zoo.pretrained("fully_connected", "digits")
# model[1] is the network behind the layer
model = torch.nn.Sequential(checks.BlackAndWhite(), network).eval()

accuracy = {"PGD": None, "transfer": None, "BPDA": None, "Square": None}
together = None
conclusion = None

### BEGIN SOLUTION
x, y, seed = digits.images, digits.labels, lambda: torch.Generator().manual_seed(0)
attacked = {
    "PGD": attacks.pgd(model, x, y, eps=0.2, generator=seed()),
    "transfer": attacks.pgd(zoo.pretrained("lenet", "digits"), x, y, eps=0.2, generator=seed()),
    "BPDA": attacks.pgd(attacks.BPDA(network, torch.round), x, y, eps=0.2, generator=seed()),
    "Square": attacks.square(model, x, y, eps=0.2, queries=300, generator=seed()),
}
stands = {name: evaluation.logits(model, images).argmax(1) == y for name, images in attacked.items()}
accuracy = {name: right.float().mean().item() for name, right in stands.items()}
together = torch.stack(list(stands.values())).all(0).float().mean().item()
conclusion = "c"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "measurement-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.black_and_white(accuracy, together)

# %% [markdown]
# Five bars. Was your guess right?
#
# ![Five bars of robust accuracy: high under PGD and under transfer from LeNet, low under BPDA and the Square attack, and lowest for the images that stand all four.](expected/07_measurement.png)

# %% expected="07_measurement"
plots.bars([*accuracy.values(), together], [*accuracy, "all four"],
           ylabel="robust accuracy", source=digits.source)

# %% nbgrader={"grade": true, "grade_id": "measurement-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# Which letter is right is decided when the sheet is graded.
assert conclusion in ("a", "b", "c")
### BEGIN HIDDEN TESTS
assert conclusion == "c", "compare `together` with the number of BPDA: is every image that BPDA leaves safe?"
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Break it: a sealed network
#
# `checks.Sealed()` is a defence that no chapter describes. Its makers say: it is no random network, its gradient is not zero, and with `eps = 0.1` it keeps nearly everything, even under our strongest attack. The next cell repeats their evaluation, and adds an audit. You may ask the network whatever you like, look at its scores, and take its gradient. Opening its source is cheating yourself.

# %%
from advlens import audit

digits = data.load("digits", "test")[100:150]
x, y = digits.images, digits.labels
model = checks.Sealed().eval()
for name, attack in (("PGD", attacks.pgd), ("strongest", attacks.strongest)):
    generator = torch.Generator().manual_seed(0)
    images = attack(model, x, y, eps=0.1, generator=generator)
    wrong = evaluation.logits(model, images).argmax(1) != y
    print(f"{name}: {int(wrong.sum())} of 50 wrong")
print(audit.audit(model, x, y, eps=0.1, other=zoo.pretrained("lenet", "digits")))
print(model(x[:2]))

# %% [markdown]
# Read all of the output, the scores as well. Then make fifty images, `broken`: each within 0.1 of its digit in every pixel, all pixels in [0, 1], and at least **forty** of them answered wrongly. Any road is allowed, with everything that the course has given you. Say also
#
# - `hides`: what does the sealed network do to an attack?
#   - a: it rounds its input, so the gradient of every loss is zero.
#   - b: it draws at random, so one gradient says little.
#   - c: its gradient is not that of its answers, and its scores say nothing but the answer.
#   - d: nothing: it is robust, and the images of other networks are an unfair test.

# %% nbgrader={"grade": false, "grade_id": "transfer", "locked": false, "schema_version": 3, "solution": true, "task": false}
digits = data.load("digits", "test")[100:150]
x, y = digits.images, digits.labels
model = checks.Sealed().eval()

broken = None
hides = None

### BEGIN SOLUTION
# The audit: another net's images fool it, its own gradient does not, not even without a budget. So the gradient
# lies. The scores are 10 and 0, so queries for scores learn little. The answers are true: transfer. Of the
# networks that read these digits, the one whose images do best is the fully connected one.
fooled = 0
for name in ("lenet", "fully_connected"):
    source = zoo.pretrained(name, "digits")
    images = attacks.pgd(source, x, y, eps=0.1, generator=torch.Generator().manual_seed(0))
    wrong = int((evaluation.logits(model, images).argmax(1) != y).sum())
    if wrong > fooled:
        broken, fooled = images, wrong
hides = "c"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "transfer-check", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
checks.sealed(broken)

# %% nbgrader={"grade": true, "grade_id": "transfer-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# Which letter is right is decided when the sheet is graded.
assert hides in ("a", "b", "c", "d")
### BEGIN HIDDEN TESTS
assert hides == "c", "read the audit again: which signs stayed silent, and which two spoke?"
### END HIDDEN TESTS

# %% [markdown]
# ## 5. Thought: a review
#
# You are the reviewer of this (invented) abstract:
#
# > *We put a Contour Layer before a standard network. On MNIST, with $\varepsilon = 0.3$ in the $\ell_\infty$ norm, it keeps 93 % of its accuracy under FGSM and 95 % under PGD (10 steps of 0.01). At $\varepsilon = 0.6$ it still keeps 94 %. Adversarial examples of a network trained without the layer leave 71 %, the Square attack with 200 queries 78 %. The gradient is nowhere zero, so obfuscation is excluded. All numbers are from one training, on 100 test images that the network classifies right.*
#
# Write your review in at most fifteen lines, with the chapter's checklist at hand. Which numbers contradict the claim by themselves, and why? What must the authors run next? What would each outcome mean? End with a recommendation.

# %% [markdown] nbgrader={"grade": true, "grade_id": "thought", "locked": false, "points": 6, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** The claim is not supported; the abstract's own numbers speak against it. (1) Transfer (71 %) and Square (78 %) leave less than PGD (95 %). An attack that knows everything should not be weaker than one that knows less: the white-box attack is misled, and 71 % is already the better upper limit. (2) PGD leaves more than FGSM. Ten steps of 0.01 move a pixel by 0.1, and from the clean image that does not even reach the edge of the ball at 0.3. (3) Twice the budget changes almost nothing (94 % at 0.6): so the attack does not use its budget. From 0.5 on every image can be turned into the same grey one, which has one answer: more than the share of one class, about a tenth, cannot stand. (4) "Nowhere zero" excludes a zero gradient, and not a wrong one: rounding errors, a random layer, a backward pass that is not the derivative of the forward pass. (5) No attack knows the layer. Run BPDA with a smooth stand-in for the layer, EOT if it draws, PGD along the log-odds or the margin with steps that reach the edge, and the strongest attack with all its queries; count an image as robust only if it stands all of them. (6) Sanity: an unbounded attack must leave 0 %, noise must not beat PGD. (7) 100 images: an interval of about ten percentage points; images that were right only, so not comparable with papers that count all; one training says little about a kind of network. Outcomes: if an adaptive attack fells most images, the layer hid its gradient; if none does, the number is still an upper limit. Recommendation: reject, or major revision with an adaptive evaluation.
#
# **Marking guide.** 1 point: transfer or Square beats the white box, and what that means. 1 point: the reach of PGD, 10 times 0.01 below 0.3, or PGD weaker than FGSM. 1 point: accuracy at 0.6 does not fall, and why it must. 1 point: a gradient that is not zero may still mislead. 1 point: an adaptive attack that knows the layer (BPDA, EOT, log-odds), with the worst case over attacks per image. 1 point: an outcome for each test and a recommendation that follows, or the limits of 100 images and one training. A list of attacks without what their outcome would mean gives at most 4 points.
