# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One step: FGM and FGSM
#
# A trained network knows, for every pixel of an image, whether making it a little brighter would make the answer better or worse. One backward pass reads all of these small opinions at once. What happens if we follow every one of them, in the wrong direction, by an amount that the eye does not notice? This chapter takes exactly one such step. It is the cheapest attack there is, it fits in one line, and it already breaks every network of chapter 02.
#
# :::{admonition} At a glance
# :class: glance
#
# **You will be able to** derive FGM and FGSM as two answers to one question; read the library's code for both; compare attacks that are measured in different norms; and say what an accuracy under FGSM proves, and what it does not.
#
# **Time** about an hour of reading and questions.
#
# **Threat model** white box (the attacker has the network and its gradient), untargeted, one gradient per image; the size of the step is bounded in $\ell_\infty$ (FGSM) or in $\ell_2$ (FGM).
#
# **Sources** {cite}`unam2021,marinelli,cutilli2021`, and the paper that started it, {cite}`goodfellow2015`.
# :::

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
from advlens.course import plots, records, widgets

plots.use_style()

# %% [markdown]
# ## Which way is up?
#
# Training asks how the loss changes with the *weights*. An attack keeps the weights and asks how the loss changes with the *image*. The answer is one number per pixel,
#
# $$g = \nabla_x \, \mathcal L\big(f(x), y\big),$$
#
# and it costs the same: one pass forward, one pass back. Where $g_i$ is positive, a brighter pixel $i$ makes the network more wrong; where it is negative, a darker one does.

# %%
from functools import partial

import matplotlib.pyplot as plt

mnist = data.load("mnist", "test", fallback="digits")
lenet = zoo.pretrained("lenet", mnist.name)


def gradient(model, x, y, loss="ce"):
    """The slope of each image's loss in every pixel, (N, C, H, W)."""
    # "ce" gives the cross-entropy's slope up to a positive factor for each image
    x = x.clone().requires_grad_()
    value = attacks.losses.named(loss)(model(x), y)  # (N,)
    return torch.autograd.grad(value.sum(), x)[0]

# %% [markdown]
# Here is an eight, the gradient of LeNet's cross-entropy at it, and the two steps that this chapter is about. Orange means "brighter", blue means "darker".

# %% tags=["hide-input"] mystnb={"image": {"alt": "Four square pictures side by side. A handwritten eight. Its gradient, blue and orange blots, strong in a few places and pale elsewhere. The FGM step, which looks exactly like the gradient. The FGSM step, in which every pixel is fully blue or fully orange."}, "figure": {"caption": "An eight, the gradient of the loss at it, and the two unit steps that follow from it. FGM keeps the picture of the gradient and changes only its length. FGSM keeps only the signs.", "name": "fig-one-gradient"}}
eights = mnist[mnist.labels == 8]
x, y = eights.images[:1], eights.labels[:1]
g = gradient(lenet, x, y)

fig, axes = plt.subplots(1, 4, figsize=(7, 2.4), layout="constrained")
panels = {"gradient $g$": g, r"FGM: $g / \|g\|_2$": geometry.steepest(g, "l2"),
          r"FGSM: sign$(g)$": geometry.steepest(g, "linf")}
axes[0].imshow(x[0, 0], cmap="gray")
axes[0].set_title("image $x$")
axes[0].set_axis_off()
for ax, (title, d) in zip(axes[1:], panels.items()):
    plots.noise(ax, d[0])
    ax.set_title(title)
plots.finish(fig, mnist.source)

# %% [markdown]
# The gradient is strong in a few places and weak in most: many pixels hardly matter. FGM hardly touches those. FGSM does not care how much a pixel matters, only in which direction, and so it pushes all of them equally hard. Why would anybody want that? Because of how we chose to measure "small".

# %% [markdown]
# ## One question, two answers
#
# For a small perturbation $\eta$ the loss is nearly a straight slope,
#
# $$\mathcal L(x + \eta) \approx \mathcal L(x) + \langle g, \eta \rangle .$$
#
# So the best small step is the one that makes $\langle g, \eta \rangle$ largest. Without a limit it has no largest value; the limit is a ball,
#
# $$\max_{\eta} \ \langle g, \eta \rangle \quad \text{such that} \quad \lVert \eta \rVert_p \le \varepsilon .$$
#
# Hölder's inequality answers it for every $p \ge 1$ at once. With the *dual* exponent $q$, defined by $1/p + 1/q = 1$,
#
# $$\langle g, \eta \rangle \ \le\ \lVert g \rVert_q \, \lVert \eta \rVert_p \ \le\ \varepsilon \, \lVert g \rVert_q ,$$
#
# and both signs become equalities when $\eta$ points the way of $g$ in every coordinate, with $|\eta_i|^p$ proportional to $|g_i|^q$, and lies on the edge of the ball. Written out,
#
# $$\eta_i \;=\; \varepsilon \; \operatorname{sign}(g_i) \, \left( \frac{|g_i|}{\lVert g \rVert_q} \right)^{q-1} .$$
#
# Everything else is choosing $p$, that is, how to measure $\eta$: by its length ($p = 2$), by its largest entry ($p = \infty$), or by the sum of its entries ($p = 1$).
#
# | ball | dual | best step | gain | name |
# |---|---|---|---|---|
# | $p = 2$ | $q = 2$ | $\varepsilon \, g / \lVert g \rVert_2$ | $\varepsilon \, \lVert g \rVert_2$ | FGM |
# | $p = \infty$ | $q = 1$ | $\varepsilon \, \operatorname{sign}(g)$ | $\varepsilon \, \lVert g \rVert_1$ | FGSM |
# | $p = 1$ | $q = \infty$ | all on the largest $\lvert g_i \rvert$ | $\varepsilon \, \lVert g \rVert_\infty$ | one pixel |
#
# FGM is the *fast gradient method*, FGSM the *fast gradient sign method* {cite}`goodfellow2015,unam2021`. The third answer, all of the budget on one pixel, returns in chapter 05. None of them is the better one. They answer the same question about different rulers.

# %% tags=["remove-input"]
widgets.predict(
    "Take an image of only two pixels. The gradient points 30 degrees above the first axis; then it turns to 40 degrees. What does the FGSM step do?",
    {"It turns by the same ten degrees": "That is what FGM does: its step always lies along the gradient. FGSM sees only the two signs, and both are still plus.",
     "It does not move at all": "Both signs are still plus, so the step stays in the same corner of the square. It jumps only when the gradient crosses an axis.",
     "It becomes longer": "Its largest entry is epsilon, whatever the gradient does. Neither its length nor its direction changes here."},
    answer="It does not move at all")

# %% [markdown]
# In the plane one can see the whole argument. The dotted line joins all perturbations that gain equally much. Push it along the arrow as far as it goes while it still touches the ball: the last point of contact is the best step. Turn the gradient, and change the ball.

# %% tags=["remove-input"]
def best_step(g, p):
    """Hölder's answer for a gradient g (2,) on the unit ball of the p-norm."""
    if p == 1:  # q is infinite: everything on the largest entry
        return g.sign() * (g.abs() == g.abs().max())
    q = 1 / (1 - 1 / p)
    return g.sign() * (g.abs() / g.abs().pow(q).sum() ** (1 / q)) ** (q - 1)


def ball(p, points=721):
    """The edge of the unit ball of the p-norm, (points, 2)."""
    angle = torch.linspace(0, 2 * torch.pi, points)
    edge = torch.stack([angle.cos(), angle.sin()], 1)
    return edge / torch.linalg.vector_norm(edge, ord=p, dim=1, keepdim=True)

# %% tags=["remove-input"]
def draw(gradient, ball_of):
    angle, p = torch.deg2rad(torch.tensor(float(gradient))), ball_of
    g = torch.stack([angle.cos(), angle.sin()])
    step = best_step(g, p)
    fig, ax = plt.subplots(figsize=(4.6, 4.9), layout="constrained")
    ax.fill(*ball(p).T, facecolor="#0072B2", alpha=0.15, edgecolor="#0072B2", linewidth=1.5, label="ball")
    level = step[:, None] + torch.stack([-g[1], g[0]])[:, None] * torch.tensor([-2.5, 2.5])
    ax.plot(*level, ":", color=plots.GREY, label="equal gain")
    ax.annotate("", 1.35 * g, (0, 0), arrowprops={"arrowstyle": "-|>", "color": plots.INK, "lw": 2})
    ax.annotate("$g$", 1.47 * g, ha="center", va="center")
    ax.plot(*step, "o", color="#D55E00", markersize=10, label="best step")
    ax.set(xlim=(-1.65, 1.65), ylim=(-1.45, 1.65), aspect="equal", xlabel="change of pixel 1 (in units of eps)", ylabel="change of pixel 2 (in units of eps)")
    ax.set_title(f"best step ({step[0]:.2f}, {step[1]:.2f}), gain {g @ step:.2f}")
    fig.legend(loc="outside lower center", ncols=3)
    return plots.finish(fig, None)

# %% tags=["remove-input"]
def describe(gradient, ball_of):
    shape = {1: "a diamond", 1.5: "a rounded diamond", 2: "a circle", 4: "a rounded square", torch.inf: "a square"}[ball_of]
    angle = torch.deg2rad(torch.tensor(float(gradient)))
    step = best_step(torch.stack([angle.cos(), angle.sin()]), ball_of)
    return f"The ball is {shape}. The gradient points {gradient} degrees above the first axis. The best step is ({step[0]:.2f}, {step[1]:.2f})."


widgets.explore(draw, alt=describe, gradient={f"{a} degrees": a for a in (10, 30, 40, 60, 85)},
                ball_of={"p = 1": 1, "p = 1.5": 1.5, "p = 2 (FGM)": 2, "p = 4": 4, "p = infinity (FGSM)": torch.inf},
                caption="The best step on the unit ball of five norms. On the circle it follows the gradient. On the square it sits in a corner and does not move while the gradient turns. On the diamond it sits on one axis, and jumps to the other one when the second pixel becomes the more sensitive.")

# %% [markdown]
# The gain printed above the picture is the dual norm of $g$, as the table says. With hundreds of pixels instead of two nothing changes, except that we cannot draw it. We can compute it.

# %% tags=["nbval-check-output"]
for p, dual in (("l2", "l2"), ("linf", "l1")):
    gained = (g * geometry.steepest(g, p)).sum()
    equal = torch.isclose(gained, geometry.norm(g, dual)[0], rtol=1e-4).item()
    print(f"p = {p:<4}: the gain equals the {dual} norm of g: {equal}")

# %% [markdown]
# ## The code
#
# The library keeps the answer to the question in one function. This is all of it:

# %% tags=["remove-input"]
records.listing(geometry.steepest)

# %% [markdown]
# Where the gradient is exactly zero no direction is the best one, and `sign(0)` would quietly do nothing. That looks like a robust network. It is not one, so the library says it aloud and steps at random. Chapter 04 needs this function again, forty times in a row.
#
# The attack itself is one step of a loop that chapter 04 will let run longer:

# %% tags=["remove-input"]
records.listing(attacks.fgsm)

# %% [markdown]
# `fgm` is the same with `norm="l2"`. Inside, the loop does in general what for one step comes to a single line: add the step, then clamp to $[0, 1]$, because a pixel that is brighter than white is no pixel. Let us hold the two against each other.

# %% tags=["nbval-check-output"]
eps = 0.1
by_hand = (x + eps * g.sign()).clamp(0, 1)
by_library = attacks.fgsm(lenet, x, y, eps=eps)
print(f"one line = library: {torch.allclose(by_hand, by_library, atol=1e-6)}")

# %% [markdown]
# ### Epsilon once, not twice
#
# One of our sources slips here, in a way that is easy to repeat {cite}`unam2021`. It derives the step under the constraint $\lVert \eta \rVert \le \varepsilon$, whose answer already has length $\varepsilon$; it prints the answer that belongs to the ball of radius *one*; and then it writes the adversarial image as $x + \varepsilon \, \eta$. Read literally, epsilon is applied twice and the step has length $\varepsilon^2$. A sample of test images shows how much that would cost.

# %%
few = mnist.sample(min(500, len(mnist)))


def classify(model, x):
    return evaluation.logits(model, x).argmax(1)


def left(model, ds, attack, eps):
    """Accuracy on the images of ds after the attack, with its interval."""
    adversarial = attack(model, ds.images, ds.labels, eps=eps)
    return evaluation.rate(classify(model, adversarial) == ds.labels)


print(f"eps once:  {left(lenet, few, attacks.fgsm, 0.1)}\n"
      f"eps twice: {left(lenet, few, attacks.fgsm, 0.1 * 0.1)}")

# %% tags=["remove-input"]
once, twice = (left(lenet, few, attacks.fgsm, size).value for size in (0.1, 0.1 ** 2))
records.verdict(
    "The step is eps times the solution of the maximisation over the ball of radius eps.",
    source="unam2021",
    reported="the maximum under a bound of eps is sign(g) for p = infinity and g / ||g|| for p = 2, and is then multiplied by eps",
    measured=f"LeNet at eps = 0.1 keeps {once:.1%} of {len(few)} images when eps is applied once, and {twice:.1%} when it is applied twice ({mnist.source})",
    verdict="corrected",
    why="The printed formulas solve the problem on the unit ball, and then one eps is right. On the ball of radius eps the solution already holds it. Which of the two the source's own experiments used, its text does not tell.")

# %% [markdown]
# ## An eight that becomes a three
#
# Now let the step walk on real images. We look for an eight that LeNet reads correctly and calls a three after either attack, and take the one that it was surest of. The two budgets are numbers in different units: for FGSM the largest change of a pixel, for FGM the length of the whole perturbation.

# %%
x, y = eights.images, eights.labels
fgsm, fgm = attacks.fgsm(lenet, x, y, eps=0.1), attacks.fgm(lenet, x, y, eps=1.0)
clean = evaluation.logits(lenet, x)
becomes_three = (classify(lenet, fgsm) == 3) & (classify(lenet, fgm) == 3)
found = becomes_three & (clean.argmax(1) == 8)
pick = (found * clean.softmax(1)[:, 8]).argmax()[None]  # the surest of them

# %% mystnb={"image": {"alt": "Two rows. Each shows a handwritten eight, a signed noise pattern, the eight with the noise added, and bars of LeNet's confidences before and after. In both rows the answer changes from eight to three. The noise of FGSM fills the frame with flat blue and orange patches, the noise of FGM touches a few pixels near the strokes."}, "figure": {"caption": "The same eight after FGSM (top) and FGM (bottom). To us it is still an eight; to LeNet it is a three.", "name": "fig-eight-to-three"}}
twice, pair = x[pick].repeat(2, 1, 1, 1), torch.cat([fgsm[pick], fgm[pick]])
before, after = (evaluation.logits(lenet, images).softmax(1) for images in (twice, pair))
plots.attack(twice, pair, before, after, mnist.classes, source=mnist.source)

# %% tags=["remove-input"]
sizes = evaluation.evaluate(lenet, twice, pair, y[pick].repeat(2))
records.say("FGSM changed no value by more than {a:.2f}, but it changed nearly all that it could, and the perturbation has length {b:.2f}. FGM has length {c:.2f}, but moves one value by {d:.2f}. "
            "Each is the smaller one by its own ruler.",
            a=sizes.linf[0].item(), b=sizes.l2[0].item(), c=sizes.l2[1].item(), d=sizes.linf[1].item())

# %% [markdown]
# One image is an anecdote. For a number we go through every eight of the test set and look for the smallest step of each attack that fools LeNet.

# %% tags=["remove-input"]
eight = records.read("03-eights")["values"]
records.verdict(
    "On an eight, the noise of FGM is subtler than that of FGSM.",
    source="unam2021",
    reported="shown on one eight that LeNet then calls a three, with Carlini and Wagner's attack as the subtlest of three",
    measured="smallest successful step, median over the {both:,} eights of the test set that both attacks fool: length {a:.2f} (FGSM) and {b:.2f} (FGM); largest change of a pixel {c:.2f} (FGSM) and {d:.2f} (FGM)".format(
        both=eight["both"], a=eight["fgsm"]["l2"], b=eight["fgm"]["l2"], c=eight["fgsm"]["linf"], d=eight["fgm"]["linf"]),
    verdict="confirmed",
    why="In length, which is close to what the eye judges on a black background. By the largest change of a pixel the order is the reverse, as the geometry leads one to expect. Carlini and Wagner's attack stays open until chapter 05.")

# %% tags=["remove-input"]
records.quote("03-eights")

# %% [markdown]
# ### Try it
#
# Choose an attack and move epsilon. To compare like with like, FGM here gets a budget of the same Euclidean length: $\varepsilon \sqrt d$ for an image of $d$ values, which is the length of a full FGSM step of size $\varepsilon$.

# %% tags=["remove-input"]
one, label = x[pick], y[pick]


def draw(attack, eps):
    length = eps if attack == "FGSM" else eps * one[0].numel() ** 0.5
    adversarial = (attacks.fgsm if attack == "FGSM" else attacks.fgm)(lenet, one, label, eps=length)
    before, after = (evaluation.logits(lenet, images).softmax(1) for images in (one, adversarial))
    return plots.attack(one, adversarial, before, after, mnist.classes, source=mnist.source)


def describe(attack, eps):
    length = eps if attack == "FGSM" else eps * one[0].numel() ** 0.5
    p = evaluation.logits(lenet, (attacks.fgsm if attack == "FGSM" else attacks.fgm)(lenet, one, label, eps=length)).softmax(1)[0]
    return f"{attack} with eps = {eps:.2f}: LeNet sees a {mnist.classes[p.argmax()]} with probability {p.max():.2f}."

# %% tags=["remove-input"]
widgets.explore(draw, alt=describe, attack=["FGSM", "FGM"], eps=[0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3],
                caption="Clean image, noise, adversarial image and LeNet's confidences. At equal length FGM spends its budget on the pixels that matter; FGSM spreads it evenly, and looks like fog.")

# %% [markdown]
# ## Ten photographs
#
# Now in colour. We repeat the experiment of {cite}`marinelli`, with that source's network (VGG blocks) and its choices: ten random test images, $\varepsilon = 0.1$, and as the loss the mean squared error between the softmax outputs and the one-hot label. So large a step can be seen, but no human would change an answer because of it.

# %%
cifar = data.load("cifar10", "test", fallback="shapes")
vgg = zoo.pretrained("vgg_blocks", cifar.name)
ten = cifar.sample(10, seed=0)
adversarial = attacks.fgsm(vgg, ten.images, ten.labels, eps=0.1, loss="mse")
noise = adversarial - ten.images
shown = torch.stack([ten.images, 0.5 + noise / 0.2, adversarial], 1)  # (10, 3, C, H, W)
answers = classify(vgg, shown.flatten(0, 1)).view(10, 3)

# %% tags=["hide-input"] mystnb={"image": {"alt": "A grid of six rows and five columns. Rows one and four show ten clean test images, rows two and five the noise of each, drawn around grey, rows three and six the adversarial images, which are visibly grainy. Above each picture stands the network's answer. Green frames mark right answers, dashed red frames wrong ones."}, "figure": {"caption": "Ten random test images, the FGSM noise of each (grey is zero) and the sum. Above each picture: what the network answers when it is shown that picture. The network was asked about the noise alone, too. A solid green frame says that the answer is the image's label, a dashed red one that it is not.", "name": "fig-ten-images"}}
def in_rows(t):
    """(10, 3, ...) -> six rows of five: five images, their noises, their sums, and again."""
    return t.unflatten(0, (2, 5)).transpose(1, 2).flatten(0, 2)


words = [cifar.classes[k] for k in in_rows(answers)]
right = in_rows(answers == ten.labels[:, None])
plots.images(in_rows(shown), words, columns=5, frame=right, source=cifar.source)

# %% tags=["remove-input"]
held = (answers[:, 2] == ten.labels) & (answers[:, 0] == ten.labels)
still = ", ".join(cifar.classes[k] for k in ten.labels[held]) or "none"
records.say("The network reads {clean} of the ten clean images correctly, and {after} after the attack (still standing: {still}). The noise alone it calls {noise}.",
            clean=int((answers[:, 0] == ten.labels).sum()), after=int(held.sum()), still=still,
            noise=" or ".join(sorted({cifar.classes[k] for k in answers[:, 1]})))

# %% [markdown]
# Three details of that experiment deserve a second look, because each of them is common.
#
# ### Which loss?
#
# The squared error on softmax outputs is not wrong, but it has a weakness. Its gradient passes through the softmax, and where the network is sure, the softmax is flat: the gradient shrinks with the square of the remaining doubt. The cross-entropy undoes one of these factors. For the *sign* the size does not matter, as long as the gradient is not rounded to exactly zero.
# (`"naive_ce"` is the cross-entropy as PyTorch computes it. With `loss="ce"` the attacks of the library undo the other factor as well; chapter 04 shows how, and why.)

# %%
photos = cifar.sample(500)
lines = []
for loss in ("naive_ce", "mse"):
    size = geometry.norm(gradient(vgg, photos.images, photos.labels, loss), "l2")
    lines.append(f"{loss:<8} length of the gradient: median {size.median():.1e}, "
                 f"smallest {size.min():.1e}, zero for {(size == 0).sum()} images")
print("\n".join(lines))

# %% tags=["remove-input"]
protocol = records.read("03-protocol")["values"]
records.verdict(
    "FGSM with the mean squared error on softmax outputs turns an automobile into a truck and a cat into a deer; a frog stays a frog.",
    source="marinelli",
    reported="three printed images at eps = 0.1, two of them fooled; the default step is 2/255",
    measured="VGG blocks, {n:,} test images. At eps = 0.1: {m1:.1%} stay right with the squared error, {c1:.1%} with the cross-entropy. At eps = 2/255: {m2:.1%} and {c2:.1%}. Gradients that are exactly zero: {z:.1%} and {zc:.1%}".format(
        n=protocol["n"], m1=protocol["0.1"]["mse"]["accuracy"]["value"], c1=protocol["0.1"]["naive_ce"]["accuracy"]["value"], m2=protocol["2/255"]["mse"]["accuracy"]["value"],
        c2=protocol["2/255"]["naive_ce"]["accuracy"]["value"], z=protocol["zero"]["mse"], zc=protocol["zero"]["naive_ce"]),
    verdict="confirmed",
    why="Most images are fooled and a few are not, with either loss. This network is not sure enough of itself for the squared error to fail; chapter 04 shows networks that are.")

# %% [markdown]
# ### A pixel brighter than white
#
# The source adds the step and stops there. Wherever the image is nearly black or nearly white, the sum leaves $[0, 1]$: it is no longer an image, it cannot be saved or shown, and a network would never meet it. The library clamps, so its steps are a little weaker. By how much?

# %%
unclamped = ten.images + 0.1 * gradient(vgg, ten.images, ten.labels, "mse").sign()
outside = (unclamped < 0) | (unclamped > 1)
print(f"values outside [0, 1]: {outside.float().mean():.1%}; "
      f"range {unclamped.min():.2f} to {unclamped.max():.2f}")

# %% tags=["remove-input"]
records.verdict(
    "The adversarial image is x + eps sign(g).",
    source="marinelli",
    reported="the sum is used as it is, without clipping to [0, 1]",
    measured="at eps = 0.1, {share:.1%} of all values leave [0, 1]; {free:.1%} of {n:,} images stay right without clipping, {held:.1%} with it".format(
        n=protocol["n"], share=protocol["0.1"]["outside"], free=protocol["0.1"]["mse"]["unclipped"]["value"], held=protocol["0.1"]["mse"]["accuracy"]["value"]),
    verdict="corrected",
    why="A perturbation counts only if the result is an image. Here clipping hardly changes the success, but the claim is about images, so the clipped number is the one to report.")

# %% [markdown]
# ### Noise that turns inside out
#
# The third detail is about a picture, not about an attack. To *show* the noise, the source converts it to `uint8`, the eight-bit integers of image files. They run from `0` to `255`, and have no negative numbers.

# %% tags=["remove-input"]
widgets.predict(
    "The noise is -2 in grey levels, so this pixel becomes a little darker. Converted to uint8, what is it?",
    {"0, because it is cut off at the lowest value": "That would be clamping, and it has to be asked for. Conversion between integers keeps the lowest eight bits.",
     "2, because the sign is dropped": "The sign is not dropped. Minus two in eight bits is the same pattern as 256 - 2.",
     "254, because it wraps around": "It counts backwards from 256: minus two becomes 254, almost white. The picture shows a faint darkening as a bright flash."},
    answer="254, because it wraps around")

# %% tags=["nbval-check-output"]
levels = torch.tensor([-2, 0, 2], dtype=torch.int16)
print(levels.tolist(), "as uint8:", levels.to(torch.uint8).tolist())

# %% mystnb={"image": {"alt": "Three pictures: a test image; its noise drawn correctly as a faint pattern around grey; the same noise after conversion to uint8, a harsh pattern of black and saturated colours that looks far stronger than it is."}, "figure": {"caption": "One test image and its FGSM noise at eps = 2/255. Middle: the true noise, in its place between black and white. Right: the same numbers as uint8. What darkens became bright, and two grey levels look like two hundred.", "name": "fig-wrap-around"}}
x, y = ten.images[:1], ten.labels[:1]
small = attacks.fgsm(vgg, x, y, eps=2 / 255, loss="mse") - x
wrapped = (small * 255).round().to(torch.int16).to(torch.uint8)
titles = ["image", "noise around grey", "noise as uint8"]
three = torch.cat([x, 0.5 + small, wrapped / 255])
plots.images(three, titles, columns=3, source=cifar.source)

# %% tags=["remove-input"]
records.verdict(
    "The picture of the noise shows what was added.",
    source="marinelli",
    reported="the signed noise is cast to uint8 and shown",
    measured="a change of -2 grey levels is shown as 254, a change of +2 as 2: bright and dark are exchanged, and the contrast is that of black and white",
    verdict="corrected",
    why="uint8 has no sign and wraps around. Draw signed noise around a neutral grey, and print the scale. (From floats the conversion is not even defined: another processor may give 0.)")

# %% [markdown]
# ## The frog
#
# The first training image of CIFAR-10 is a frog, and {cite}`unam2021` compares the two attacks on it. At which epsilon does each attack flip it? Epsilon may be a tensor with one entry per image. So we make many copies of the one image, give each copy its own epsilon, and ask once.

# %%
cifar_net = zoo.pretrained("cifar_net", cifar.name)
frog = data.load("cifar10", "train", fallback="shapes")[0]
fine = torch.linspace(0, 1, 121) ** 2  # finer near 0
walks = {}
for name, eps in {"fgsm": 0.06 * fine, "fgm": 3 * fine}.items():
    copies = frog.images.expand(len(eps), -1, -1, -1)
    labels = frog.labels.expand(len(eps))
    adversarial = getattr(attacks, name)(cifar_net, copies, labels, eps=eps)
    walks[name] = evaluation.evaluate(cifar_net, copies, adversarial, labels)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels with the same two curves, FGSM and FGM, of the margin between the best wrong class and the true class. Left, against the largest change of a value, the FGSM curve crosses zero first. Right, against the length of the perturbation, the FGM curve crosses zero first."}, "figure": {"caption": "The frog's margin along both steps, measured by both rulers. The network is wrong where a curve is above zero. In the left panel FGSM gets there first, in the right panel FGM does. It is the same pair of attacks.", "name": "fig-frog"}}
fig, axes = plt.subplots(1, 2, figsize=(7, 3.1), sharey=True, layout="constrained")
for ax, norm, what in zip(axes, ("linf", "l2"), ("largest change of a value", "length")):
    reach = 0.0
    for name, walk in walks.items():
        size, line = getattr(walk, norm), "--" if name == "fgsm" else "-"
        ax.plot(size, walk.margin, line, color=plots.colour(name), label=plots.label(name))
        first = walk.success.nonzero()[:1, 0]  # where it flips, if it does
        ax.plot(size[first], walk.margin[first], "o", color=plots.colour(name))
        reach = max(reach, *size[first].tolist())
    ax.axhline(0, color=plots.GREY, linewidth=1)
    ax.set(xlabel=f"{what} (pixel units)", xlim=(0, 1.5 * reach or None))
    ax.locator_params(axis="x", nbins=4)
axes[0].set_ylabel("margin (logits)")
axes[0].legend()
plots.finish(fig, frog.source)

# %% tags=["remove-input"]
flips = records.read("03-frog")["values"]
records.say("Our copy of CIFAR-10 went through JPEG once. On its frog FGSM needs eps = {fgsm:.4f}, which is {levels:.2f} of one grey level: an image file, which stores whole levels, cannot even hold such a step. "
            "FGM needs eps = {fgm:.3f}. On a lossless copy of the same frog both need less: {fgsm2:.4f} and {fgm2:.3f}. This frog stands very close to an edge.",
            fgsm=flips["q75"]["fgsm"]["eps"], levels=255 * flips["q75"]["fgsm"]["eps"], fgm=flips["q75"]["fgm"]["eps"],
            fgsm2=flips["lossless"]["fgsm"]["eps"], fgm2=flips["lossless"]["fgm"]["eps"])

# %% tags=["remove-input"]
records.verdict(
    "FGSM needs a smaller epsilon than FGM to flip the frog.",
    source="unam2021",
    reported="the first epsilon at which each attack flips CIFAR-10 train[0]; the one of FGSM is smaller",
    measured="FGSM: eps = {a:.4f}, and its perturbation has length {b:.3f}. FGM: eps = {c:.3f}, and its largest change is {d:.4f}".format(
        a=flips["q75"]["fgsm"]["eps"], b=flips["q75"]["fgsm"]["l2"], c=flips["q75"]["fgm"]["eps"], d=flips["q75"]["fgm"]["linf"]),
    verdict="confirmed",
    why="The numbers are as reported, but they have different units: one is the largest change of a value, the other a length. Measured by the same ruler, each attack wins by its own. The comparison says something about norms, and nothing about which attack is stronger.")

# %% tags=["remove-input"]
records.quote("03-frog")

# %% [markdown]
# ## Accuracy against epsilon
#
# From one image to many. The usual picture puts epsilon on one axis and the accuracy that is left on the other. There are two honest ways to draw it, and they differ.
#
# - **A new attack at every epsilon**, as our sources do. The question is: does *this* step fool the network?
# - **Only what still stands is attacked again**, as `evaluation.robust_curve` does. The question is: does *any step up to* this size fool the network? An image that falls at a small epsilon lies in every larger ball too, so it stays fallen. This curve never rises, and it costs less.

# %%
def separately(model, ds, attack, eps):
    """The first way: every image is attacked anew at each eps."""
    value, low, high, _ = zip(*(left(model, ds, attack, e) for e in eps))
    return evaluation.Curve(list(eps), list(value), list(low), list(high), len(ds))


def standing(model, ds, attack, eps):
    """The second way: only what still stands is attacked again."""
    return evaluation.robust_curve(model, ds.images, ds.labels, attack, eps)


photo_eps = [0, 2 / 255, 4 / 255, 8 / 255, 16 / 255, 0.1]
both = {"a new attack at every eps": separately(cifar_net, photos, attacks.fgsm, photo_eps),
        "only what still stands": standing(cifar_net, photos, attacks.fgsm, photo_eps)}

# %% mystnb={"image": {"alt": "Two curves of accuracy against epsilon for CifarNet under FGSM. They start together; for larger epsilons the curve of separate attacks lies above the curve of surviving images."}, "figure": {"caption": "CifarNet under FGSM, drawn in both ways on the same sample of test images, with 95 % intervals.", "name": "fig-two-ways"}}
plots.curves(both, source=cifar.source)

# %% tags=["remove-input"]
records.say("At eps = 0.1 the first way leaves {anew:.1%} and the second {standing:.1%}. The difference is images that a shorter step had fooled already: the longer step overshoots, and the network is right again, or the step lands in a region where the tangent no longer says anything.",
            anew=both["a new attack at every eps"].accuracy[-1], standing=both["only what still stands"].accuracy[-1])

# %% [markdown]
# An attacker who may take a step of size $\varepsilon$ may also take a smaller one. So the second way is the fairer account of the attack, and we use it from here on.

# %% tags=["remove-input"]
widgets.predict(
    "LeNet is small and old; the ResNet of chapter 02 is deeper and reads clean digits at least as well. Which of the two keeps more digits when the FGSM step grows to eps = 0.3?",
    {"ResNet: who reads better also resists better": "Clean accuracy says little about robustness. To be right on an image, and to be right all around it, are two skills, and training asked only for the first.",
     "LeNet: the deeper network falls further": "So our source saw it, and so do we, for large steps. But is it the network that resists, or the step that misses? Keep the question until the end of the chapter.",
     "Both the same: they learnt the same digits": "They learnt the same digits by different features, and the features differ in how far a push moves them."},
    answer="LeNet: the deeper network falls further")

# %%
resnet = zoo.pretrained("mnist_resnet", mnist.name)
digit_eps = [0, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3]
live = {"lenet": standing(lenet, few, attacks.fgsm, digit_eps),
        "mnist_resnet": standing(resnet, few, attacks.fgsm, digit_eps),
        "cifar_net": both["only what still stands"],
        "vgg_blocks": standing(vgg, photos, attacks.fgsm, photo_eps)}

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels of accuracy against epsilon under FGSM. Left, two networks for digits: both fall, over an axis up to three tenths. Right, two networks for colour images: both fall within the first hundredths."}, "figure": {"caption": "FGSM on a sample of test images, live. Note the two scales: the right panel ends where the left one has only begun.", "name": "fig-live-curves"}}
fig, axes = plt.subplots(1, 2, figsize=(7, 3.4), sharey=True, layout="constrained")
pairs = ("lenet", "mnist_resnet"), ("cifar_net", "vgg_blocks")
for ax, names in zip(axes, pairs):
    plots.curves({name: live[name] for name in names}, ax=ax)
axes[1].set_ylabel("")
plots.finish(fig, f"{mnist.source} (left); {cifar.source} (right)")

# %% [markdown]
# A sample gives bands as wide as the ones in the figure. For the statements that follow we use the complete test sets, measured once and recorded.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Four panels of accuracy against epsilon on the complete test sets. Top: FGSM, bottom: FGM. Left: LeNet and ResNet on MNIST. Right: CifarNet and VGG blocks on CIFAR-10. The intervals are too narrow to see."}, "figure": {"caption": "The four networks on all ten thousand test images, under FGSM (top) and FGM (bottom). The bands of the 95 % intervals are drawn, but hardly wider than the lines.", "name": "fig-full-curves"}}
full = records.read("03-curves")
fig, axes = plt.subplots(2, 2, figsize=(7, 5.8), sharey=True, layout="constrained")
for row, attack, unit in zip(axes, ("fgsm", "fgm"), ("largest change of a value", "length")):
    for ax, names in zip(row, pairs):
        plots.curves({name: full["values"][name][attack] for name in names}, ax=ax,
                     xlabel=f"eps of {plots.label(attack)} ({unit})")
    row[1].set_ylabel("")
plots.finish(fig, full["provenance"]["source"])

# %% tags=["remove-input"]
def at(name, attack, eps):
    """Accuracy of a net in the record at one eps."""
    curve = full["values"][name][attack]
    return curve["accuracy"][min(range(len(curve["eps"])), key=lambda i: abs(curve["eps"][i] - eps))]


records.quote("03-curves")

# %% tags=["remove-input"]
honest = records.read("03-honest")["values"]
records.verdict(
    "On MNIST the ResNet falls faster with epsilon than LeNet.",
    source="unam2021",
    reported="shown as curves, for FGSM and FGM",
    measured="FGSM at eps = 0.1: LeNet {a:.1%}, ResNet {b:.1%}; at eps = 0.2: {c:.1%} and {d:.1%}. FGM at eps = 1: {e:.1%} and {f:.1%}; at eps = 4: {g:.1%} and {h:.1%}. PGD (chapter 04) at eps = 0.1: {i:.1%} and {j:.1%}".format(
        i=honest["lenet"]["pgd"]["value"], j=honest["mnist_resnet"]["pgd"]["value"],
        **{key: at(net, attack, eps) for key, (attack, eps, net) in zip("abcdefgh", (
            (attack, eps, net) for attack, eps in (("fgsm", 0.1), ("fgsm", 0.2), ("fgm", 1), ("fgm", 4)) for net in ("lenet", "mnist_resnet")))}),
    verdict="differs",
    why="The curves cross. Up to about eps = 0.1 the ResNet keeps as many digits as LeNet or a few more; only then it falls faster. And what LeNet keeps at large steps is not robustness: under an attack of many steps, the last section's subject, it is LeNet that keeps less.")

# %% tags=["remove-input"]
records.verdict(
    "The attacks work better on colour images.",
    source="unam2021",
    reported="a conclusion from MNIST and CIFAR-10",
    measured="FGSM at eps = 8/255: LeNet keeps {a:.1%} and ResNet {b:.1%} of MNIST, CifarNet {c:.1%} and VGG blocks {d:.1%} of CIFAR-10".format(
        a=at("lenet", "fgsm", 8 / 255), b=at("mnist_resnet", "fgsm", 8 / 255), c=at("cifar_net", "fgsm", 8 / 255), d=at("vgg_blocks", "fgsm", 8 / 255)),
    verdict="confirmed",
    why="As an observation. The cause need not be the colour: the photographs also have four times as many values, are less sure to begin with, and lie closer to one another than strokes on black.")

# %% [markdown]
# ### A network from another thesis
#
# {cite}`cutilli2021` trains a small fully connected network with sigmoids and reports its accuracy at $\varepsilon = 77/255$, nearly a third of the whole grey scale. We have the same architecture with our own training. We also trained it again by the thesis's own recipe: no normalisation, squared error on sigmoid outputs, batches of twenty, early stopping.

# %% tags=["remove-input"]
thesis = records.read("03-cutilli")["values"]
step, share = min(((k, rate["value"]) for k, rate in thesis["smaller steps"].items()), key=lambda pair: abs(pair[1] - 0.4616))
measured = ("{n:,} test images. Our network: {a:.2%} clean, {b:.2%} under attack. Trained by the thesis's recipe: {c:.2%} clean, {d:.2%} under attack "
            "({e:.2%} with the cross-entropy as the attack's loss, {f:.2%} with examples made on our network). There, {share:.1%} belong to a step of {step}/255; eps * eps would be {square:.0f}/255.").format(
    n=thesis["n"], a=thesis["ours"]["clean"]["value"], b=thesis["ours"]["ce"]["value"], c=thesis["recipe"]["clean"]["value"],
    d=thesis["recipe"]["mse"]["value"], e=thesis["recipe"]["ce"]["value"], f=thesis["transfer"]["value"], share=share, step=step, square=255 * thesis["eps"] ** 2)

# %% tags=["remove-input"]
records.verdict(
    "FC-100-100-10 keeps 46.16 % under white-box FGSM with eps = 77/255.",
    source="cutilli2021",
    reported="95.86 % clean, 46.16 % under white-box FGSM, 45.28 % under examples made on a second network",
    measured=measured, verdict="differs",
    why="Hardly because of the network: the recipe brings back the clean accuracy, within the noise of a training run. So the attack was probably weaker than its name. "
        "That the thesis's white box and black box do equally well says the same: a step along the network's own gradient should do far more than a borrowed one. Which detail weakened it, the text does not tell. An epsilon applied twice, as in the first box of this chapter, would come out close to the reported number. That may be chance.")

# %% tags=["remove-input"]
records.quote("03-cutilli")

# %% [markdown]
# ## Why does so small a step do so much?
#
# The step changes each value by an amount that the eye can hardly see. Is a network that sensitive to *any* noise? No, and the last figure of this chapter will show it. A step of random signs has the same largest change and the same length as FGSM, but each of its terms helps as often as it hurts. Its gain is about $\varepsilon \lVert g \rVert_2$ in size, with either sign, while FGSM gains $\varepsilon \lVert g \rVert_1$. The ratio of the two norms is what direction is worth, and in $d$ dimensions it can be as large as $\sqrt d$. This is the argument of {cite}`goodfellow2015`: many tiny pushes that agree.

# %%
one_image, one_label = few.images[:1], few.labels[:1]
g = gradient(lenet, one_image, one_label)
seeded = torch.Generator().manual_seed(0)
signs = 2.0 * torch.randint(0, 2, (2000, *g.shape[1:]), generator=seeded) - 1
random_gain = (signs * g).flatten(1).sum(1) / geometry.norm(g, "l1")  # share of FGSM's

# %% tags=["hide-input"] mystnb={"image": {"alt": "A narrow histogram of the gains of two thousand random steps, centred on zero. Far to the right, alone, a vertical line at one marks the gain of FGSM."}, "figure": {"caption": "What two thousand random steps of plus or minus epsilon gain on one image, to first order, as a share of what FGSM gains. In high dimension, nearly all directions are nearly useless.", "name": "fig-random-gain"}}
fig, ax = plt.subplots(figsize=(7, 2.6), layout="constrained")
ax.hist(random_gain, bins=60, color=plots.colour("noise"), label="random signs")
ax.axvline(1, color=plots.colour("fgsm"), linewidth=2.5, linestyle="--", label="FGSM")
ax.set(xlabel="gain of the step, as a share of FGSM's", xlim=(-1.05, 1.05),
       ylabel="number of random steps")
ax.legend(loc="upper left")
plots.finish(fig, mnist.source)

# %% tags=["remove-input"]
records.say("The best of {n:,} random steps reaches {best:.0%} of what FGSM gains; their standard deviation is {sd:.1%}.",
            n=len(random_gain), best=random_gain.max().item(), sd=random_gain.std().item())

# %% [markdown]
# ## The honest end: what may FGSM claim?
#
# FGSM believes the tangent. It looks at the slope where it stands, and walks all of its budget in that direction with closed eyes. How straight is the road? We walk along the same direction in small pieces and compare what happens with what the tangent promises. As the height of the road we take the margin, the best wrong logit minus the right one: above zero, the network is fooled.

# %%
road = torch.linspace(0, 0.3, 61)
direction = geometry.steepest(g, "linf")
points = (one_image + road.view(-1, 1, 1, 1) * direction).clamp(0, 1)
logits = evaluation.logits(lenet, points)
margin = attacks.losses.margin(logits, one_label.expand(len(road)))
slope = (gradient(lenet, one_image, one_label, "margin") * direction).sum()
tangent = margin[0] + road * slope

# %% tags=["hide-input"] mystnb={"image": {"alt": "The margin along the FGSM direction and its tangent at the image. They agree near zero and then part: the road bends away from the straight line."}, "figure": {"caption": "The margin along the FGSM direction, and the straight line that FGSM believes in. Above the grey line the network is fooled.", "name": "fig-tangent"}}
fig, ax = plt.subplots(figsize=(7, 2.8), layout="constrained")
ax.plot(road, margin, color=plots.colour("fgsm"), label="the road")
ax.plot(road, tangent, ":", color=plots.INK, label="the tangent at the image")
ax.axhline(0, color=plots.GREY, linewidth=1)
ax.set(xlabel="size of the step, eps (pixel units)", ylabel="margin (logits)",
       ylim=(None, max(3, 1.3 * margin.max())))
ax.legend()
plots.finish(fig, mnist.source)

# %% [markdown]
# If the road bends, it pays to look again on the way. That is the whole idea of the next chapter: many short steps, with a new gradient at each. For now we only need to know that there is such an attack, PGD {cite}`madry2018`, and give it the same epsilon.

# %% tags=["remove-input"]
widgets.predict(
    "Two hundred images, the same epsilon for all: random noise, FGSM, PGD. How do the accuracies that are left compare?",
    {"Noise and FGSM alike, PGD lower": "Random noise nearly never finds the direction that hurts. It is FGSM that does the damage, with one gradient.",
     "Noise hurts hardly at all, FGSM a lot, PGD still more": "Direction is worth a lot, and looking twice is worth more. So an accuracy under FGSM is only an upper limit.",
     "FGSM and PGD alike: both use the gradient": "They would be alike if the loss were a straight slope. The figure above shows that it is not."},
    answer="Noise hurts hardly at all, FGSM a lot, PGD still more")

# %%
def random_signs(model, x, y, *, eps):
    """Noise of the same size as FGSM: plus or minus eps in every value, at random."""
    draw = torch.randint(0, 2, x.shape, generator=torch.Generator().manual_seed(0))
    return (x + eps * (2.0 * draw - 1)).clamp(0, 1)


def many_steps(model, x, y, *, eps):
    return attacks.pgd(model, x, y, eps=eps, steps=20, first_success=True,
                       generator=torch.Generator().manual_seed(0))

# %%
tests = {"LeNet, eps = 0.1": (lenet, few[:200], 0.1),
         "CifarNet, eps = 2/255": (cifar_net, photos[:200], 2 / 255)}
strikes = {"clean": lambda model, x, y, *, eps: x, "noise": random_signs,
           "fgsm": attacks.fgsm, "pgd": many_steps}


def kept(model, ds, eps, strike):
    strike = partial(strike, eps=eps)
    return evaluation.robust_accuracy(model, ds.images, ds.labels, strike)


rates = {title: {name: kept(*test, strike) for name, strike in strikes.items()}
         for title, test in tests.items()}

# %% tags=["hide-input"] mystnb={"image": {"alt": "For LeNet and for CifarNet, four points with intervals: accuracy without attack, under random noise, under FGSM and under PGD. Noise stays beside the clean accuracy. FGSM is far lower. PGD is the lowest."}, "figure": {"caption": "Two hundred images, one epsilon for each network: no attack, random noise, FGSM and PGD, with 95 % intervals.", "name": "fig-honest"}}
fig, axes = plt.subplots(1, 2, figsize=(7, 2.6), sharey=True, layout="constrained")
for ax, (title, rates_here) in zip(axes, rates.items()):
    for place, (name, rate) in enumerate(rates_here.items()):
        colour = plots.colour(name)
        ax.plot([rate.low, rate.high], [place, place], color=colour, linewidth=3, alpha=0.5)
        ax.plot(rate.value, place, "o", color=colour)
        ax.annotate(f"{rate.value:.0%}", (rate.value, place), (0, 7),
                    textcoords="offset points", ha="center", fontsize=9)
    ax.set(title=title, xlabel="accuracy", xlim=(-0.05, 1.08), ylim=(3.5, -0.7))
    ax.set_yticks(range(len(strikes)), [plots.label(name) for name in strikes])
plots.finish(fig, f"{mnist.source} (left); {cifar.source} (right)")

# %% tags=["remove-input"]
records.verdict(
    "The accuracy under FGSM measures how robust a network is.",
    source="unam2021",
    reported="robustness is read from curves of accuracy under FGM and FGSM; Cutilli (2021) does the same",
    measured="{n:,} images each. LeNet at eps = 0.1: noise {a:.1%}, FGSM {b:.1%}, PGD {c:.1%}. ResNet at eps = 0.1: {d:.1%}, {e:.1%}, {f:.1%}. CifarNet at eps = 2/255: {g:.1%}, {h:.1%}, {i:.1%}".format(
        n=honest["n"], **dict(zip("abcdefghi", (honest[net][name]["value"] for net in ("lenet", "mnist_resnet", "cifar_net") for name in ("noise", "fgsm", "pgd"))))),
    verdict="not confirmed",
    why="It is an upper limit. What one step cannot fool, several steps can. A low accuracy under FGSM proves weakness; a high one proves nothing, and least of all where the gradient is masked.")

# %% tags=["remove-input"]
records.quote("03-honest")

# %% [markdown]
# ## Exercises
#
# - **Code.** Write `my_fgsm(model, x, y, eps)` yourself, and leave no traces in the model. The check knows the usual slips and names yours.
# - **Measurement.** Find the smallest step of each attack that flips an image, and compare the two in both norms.
# - **Thought.** A source multiplies its closed form by epsilon twice. Why does that matter, if epsilon is tuned anyway?
#
# [Exercises for this chapter](../exercises/student/03_one_step.ipynb)

# %% [markdown]
# ## Take-away
#
# - FGM and FGSM answer one question, the largest $\langle g, \eta \rangle$ in a ball. The norm of the ball decides how the step looks; the dual norm of the gradient says what it gains.
# - An epsilon without its norm is half a number. By the same ruler each attack wins where it was made to win.
# - The step is strong because many tiny pushes agree, not because the network cannot stand noise.
# - Details decide: clamp to $[0, 1]$, apply epsilon once, draw signed noise around grey, and say whether a curve attacks every image anew or only those that still stand.
# - Accuracy under FGSM is an upper limit of robust accuracy. One step with closed eyes is not the strongest attack; [the next chapter](04_many_steps.ipynb) opens them.

# %% [markdown]
# ## Where the numbers come from
#
# Figures are drawn live from the data named under each of them, with the networks of chapter 02 (`zoo.pretrained`, one card each). Numbers in the verdict boxes come from the records `03-eights`, `03-protocol`, `03-frog`, `03-curves`, `03-cutilli` and `03-honest`, all about real data. `advlens record NAME` measures any of them again; the functions are in `measurements/03_one_step.py`.

# %% [markdown]
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
