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
# A network knows, for every pixel, whether making it a little brighter would make the answer better or worse. **What if we follow all of these small opinions at once, in the wrong direction?** Move epsilon, the size of the step, and find the point at which LeNet changes its mind. Would you? FGSM and FGM are two ways to take the step: which of them needs less?

# %% tags=["hide-input", "setup"]
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

# %% tags=["remove-input"]
widgets.lab(net="lenet", attack=("fgsm", "fgm"), index=8)

# %% [markdown]
# :::{admonition} At a glance
# :class: glance
#
# **You will be able to** derive FGM and FGSM as two answers to one question; write both; compare attacks that are measured in different norms; and say what an accuracy under FGSM proves, and what it does not.
#
# **Time** 60 minutes.
#
# **Threat model** white box (the attacker has the network and its gradient), untargeted, one gradient per image; the step is bounded in $\ell_\infty$ (FGSM) or in $\ell_2$ (FGM).
#
# **Sources** {cite}`unam2021,marinelli,cutilli2021`, and the paper that started it, {cite}`goodfellow2015`.
# :::
#
# ## Which way is up?
#
# Training asks how the loss changes with the *weights*. An attack keeps the weights and asks how the loss changes with the *image*. The answer is one number per pixel,
#
# $$g = \nabla_x \, \mathcal L\big(f(x), y\big),$$
#
# and it costs the same: one pass forward, one pass back. Where $g_i$ is positive, a brighter pixel $i$ makes the network more wrong; where it is negative, a darker one does.

# %% tags=["hide-input"]
mnist = data.load("mnist", "test", fallback="digits")
cifar = data.load("cifar10", "test", fallback="shapes")
lenet = zoo.pretrained("lenet", mnist.name)
few, photos = mnist.sample(min(500, len(mnist))), cifar.sample(min(500, len(cifar)))


def classify(model, x):
    return evaluation.logits(model, x).argmax(1)


eights = mnist[mnist.labels == 8]
fgsm = attacks.fgsm(lenet, eights.images, eights.labels, eps=0.1)
fgm = attacks.fgm(lenet, eights.images, eights.labels, eps=1.0)
clean = evaluation.logits(lenet, eights.images)
found = (classify(lenet, fgsm) == 3) & (classify(lenet, fgm) == 3) & (clean.argmax(1) == 8)
pick = (found * clean.softmax(1)[:, 8]).argmax()[None]  # the eight that LeNet was surest of, and calls a three after either
eight, label = eights.images[pick], eights.labels[pick]

# %%
def gradient(model, x, y, loss="ce"):
    """The slope of each image's loss in every pixel, (N, C, H, W)."""
    # "ce" is the cross-entropy, up to a positive factor for each image
    x = x.clone().requires_grad_()
    value = attacks.losses.named(loss)(model(x), y)  # (N,)
    return torch.autograd.grad(value.sum(), x)[0]

# %% [markdown]
# Here is an eight, the gradient of LeNet's cross-entropy at it, and the two steps that this chapter is about.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Four pictures. A handwritten eight. Its gradient, blue and orange spots, strong in a few places and pale elsewhere. The FGM step, which looks exactly like the gradient. The FGSM step, in which every pixel is fully blue or fully orange."}, "figure": {"caption": "An eight, the gradient of the loss at it, and the two unit steps that follow from it: orange means brighter, blue darker, and each of the three is drawn at its own scale. FGM keeps the picture of the gradient and changes only its length. FGSM keeps only the signs.", "name": "fig-one-gradient"}}
g = gradient(lenet, eight, label)
plots.grid([plots.image(eight[0], "image x"), plots.noise(g[0], "gradient g"), plots.noise(geometry.steepest(g, "l2")[0], "FGM: g / length of g"),
            plots.noise(geometry.steepest(g, "linf")[0], "FGSM: sign(g)")], columns=4, source=mnist.source)

# %% [markdown]
# The gradient is strong in a few places and weak in most: many pixels hardly matter. FGM hardly touches those. FGSM does not care how much a pixel matters, only in which direction, and so it pushes all of them equally hard. Why would anybody want that? Because of how we chose to measure "small".
#
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
# and both signs become equalities when $\eta$ points the way of $g$ in every coordinate, with $|\eta_i|^p$ proportional to $|g_i|^q$, and lies on the edge of the ball. Written out, for $p > 1$ (at $p = 1$ the exponent is infinite; the table has the answer),
#
# $$\eta_i \;=\; \varepsilon \; \operatorname{sign}(g_i) \, \left( \frac{|g_i|}{\lVert g \rVert_q} \right)^{q-1} .$$
#
# Everything else is choosing $p$, that is, how to measure $\eta$: by its length ($p = 2$), by its largest entry ($p = \infty$), or by the sum of its entries ($p = 1$).
#
# | ball | dual | best step | gain | name |
# |---|---|---|---|---|
# | $p = 2$ | $q = 2$ | $\varepsilon \, g / \lVert g \rVert_2$ | $\varepsilon \, \lVert g \rVert_2$ | FGM |
# | $p = \infty$ | $q = 1$ | $\varepsilon \, \operatorname{sign}(g)$ | $\varepsilon \, \lVert g \rVert_1$ | FGSM |
# | $p = 1$ | $q = \infty$ | all on the largest $\lvert g_i \rvert$ | $\varepsilon \, \lVert g \rVert_\infty$ | (exercise 4) |
#
# FGM is the *fast gradient method*, FGSM the *fast gradient sign method* {cite}`goodfellow2015,unam2021`. None of them is the better one. They answer the same question about different rulers.

# %% tags=["remove-input"]
widgets.predict(
    "Take an image of only two pixels. The gradient points 30 degrees above the first axis; then it turns to 40 degrees. What does the FGSM step do?",
    {"It turns by the same ten degrees": "That is what FGM does: its step always lies along the gradient. FGSM sees only the two signs, and both are still plus.",
     "It does not move at all": "Both signs are still plus, so the step stays in the same corner of the square. It jumps only when the gradient crosses an axis.",
     "It becomes longer": "Its largest entry is epsilon, whatever the gradient does. Neither its length nor its direction changes here."},
    answer="It does not move at all")

# %% [markdown]
# :::{container} covered
# In the plane one can see the whole argument. The dotted line joins all perturbations that gain equally much. Push it along the arrow as far as it goes while it still touches the ball: the last point of contact is the best step. Turn the gradient, and change the ball.
# :::

# %% tags=["hide-input", "covered"]
def best_step(g, p):
    """Hölder's answer for a gradient g (2,) on the unit ball of the p-norm."""
    if p == 1:  # q is infinite: everything on the largest entry
        return g.sign() * (g.abs() == g.abs().max())
    q = 1 / (1 - 1 / p)
    return g.sign() * (g.abs() / g.abs().pow(q).sum() ** (1 / q)) ** (q - 1)


def ball(p, points=181):
    """The edge of the unit ball of the p-norm, (points, 2)."""
    angle = torch.linspace(0, 2 * torch.pi, points)
    edge = torch.stack([angle.cos(), angle.sin()], 1)
    return edge / torch.linalg.vector_norm(edge, ord=p, dim=1, keepdim=True)


def draw(gradient, ball_of):
    angle = torch.deg2rad(torch.tensor(float(gradient)))
    g = torch.stack([angle.cos(), angle.sin()])
    step = best_step(g, ball_of)
    ax = plots.axes(height=3.6)
    ax.fill(*ball(ball_of).T, facecolor=plots.colour("lenet"), alpha=0.15)
    ax.plot(*ball(ball_of).T, color=plots.colour("lenet"), linewidth=1.5, label="ball")
    level = step[:, None] + torch.stack([-g[1], g[0]])[:, None] * torch.tensor([-2.5, 2.5])
    ax.plot(*level, ":", color=plots.GREY, label="equal gain")
    ax.annotate("", 1.35 * g, (0, 0), arrowprops={"arrowstyle": "-|>", "color": plots.INK, "lw": 2})
    ax.annotate("g", 1.47 * g, ha="center", va="center", style="italic")
    ax.plot(*step, "o", color=plots.colour("mnist_resnet"), markersize=9, label="best step")
    ax.set(xlim=(-1.65, 1.65), ylim=(-1.25, 1.65), aspect="equal", xlabel="change of pixel 1 (units of eps)", ylabel="change of pixel 2 (units of eps)",
           title=f"best step ({step[0]:.2f}, {step[1]:.2f}), gain {g @ step:.2f}")
    ax.legend(loc="lower left")
    return plots.finish(ax)


def describe(gradient, ball_of):
    shape = {1: "a diamond", 1.5: "a rounded diamond", 2: "a circle", 4: "a rounded square", torch.inf: "a square"}[ball_of]
    angle = torch.deg2rad(torch.tensor(float(gradient)))
    step = best_step(torch.stack([angle.cos(), angle.sin()]), ball_of)
    return f"The ball is {shape}. The gradient points {gradient} degrees above the first axis. The best step is ({step[0]:.2f}, {step[1]:.2f})."

# %% tags=["remove-input", "covered"]
widgets.explore(draw, alt=describe, gradient={f"{a} degrees": a for a in (10, 30, 40, 60, 85)},
                ball_of={"p = 1": 1, "p = 1.5": 1.5, "p = 2 (FGM)": 2, "p = 4": 4, "p = infinity (FGSM)": torch.inf},
                caption="The best step on the unit ball of five norms. On the circle it follows the gradient. On the square it sits in a corner and does not move while the gradient turns. On the diamond it sits on one axis, and jumps to the other one when the second pixel becomes the more sensitive.")

# %% [markdown]
# :::{container} covered
# The gain printed above the picture is the dual norm of $g$, as the table says. With hundreds of pixels instead of two nothing changes, except that we cannot draw it. We can compute it:
# :::

# %% tags=["nbval-check-output", "covered"]
for p, dual in (("l2", "l2"), ("linf", "l1")):
    gained = (g * geometry.steepest(g, p)).sum()
    equal = torch.isclose(gained, geometry.norm(g, dual)[0], rtol=1e-4).item()
    print(f"p = {p:<4}: the gain equals the {dual} norm of g: {equal}")

# %% [markdown]
# ## The code
#
# The attack is one line: add the step, then clamp to $[0, 1]$, because a pixel that is brighter than white is no pixel. Here it is beside the library's function:

# %% tags=["nbval-check-output"]
def one_step(model, x, y, eps):
    """FGSM: every pixel moves by eps, uphill."""
    step = eps * gradient(model, x, y).sign()
    return (x + step).clamp(0, 1)

mine = one_step(lenet, eight, label, 0.1)
book = attacks.fgsm(lenet, eight, label, eps=0.1)
print("one line = library:", torch.allclose(mine, book, atol=1e-6))

# %% [markdown]
# The library keeps the answer to the question of the ball in one function, and the attack is the first step of a loop that chapter 04 lets run longer. Where the gradient is exactly zero no direction is the best one, and `sign(0)` would quietly do nothing. That looks like a robust network and is not one, so the library says it aloud and steps at random.

# %% tags=["remove-input", "hide-output"]
display(records.listing(geometry.steepest), records.listing(attacks.fgsm))

# %% [markdown]
# ## An eight that becomes a three
#
# Let both steps walk on that eight. The two budgets are numbers in different units: for FGSM the largest change of a pixel, for FGM the length of the whole perturbation.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two rows. Each shows a handwritten eight, the noise that was added, the sum, and bars of LeNet's confidences before and after: the answer changes from eight to three. The noise of FGSM fills the frame with flat blue and orange patches, the noise of FGM touches fewer pixels near the strokes, some of them strongly."}, "figure": {"caption": "The same eight after FGSM (first) and FGM (second), with the noise of both at one scale. To LeNet it is a three.", "name": "fig-eight-to-three"}}
pair, twice = torch.cat([fgsm[pick], fgm[pick]]), eight.repeat(2, 1, 1, 1)
before, after = (evaluation.logits(lenet, images).softmax(1) for images in (twice, pair))
sizes = evaluation.evaluate(lenet, twice, pair, label.repeat(2))
plots.attack(twice, pair, before, after, mnist.classes, magnify=1 / sizes.linf.max().item(), source=mnist.source)

# %% tags=["remove-input"]
records.say("FGSM changed no value by more than {a:.2f}, and the perturbation has length {b:.2f}. FGM has length {c:.2f}, but moves one value by {d:.2f}. "
            "Each is the smaller one by its own ruler.", a=sizes.linf[0].item(), b=sizes.l2[0].item(), c=sizes.l2[1].item(), d=sizes.linf[1].item(),
            holds=bool(sizes.linf[0] < sizes.linf[1] and sizes.l2[1] < sizes.l2[0]))

# %% tags=["remove-input"]
smallest = records.read("03-eights")["values"]
display(records.say("One image is an anecdote. Of the {n:,} eights of MNIST's test set, both attacks fool LeNet on {both:,} with some step that we tried; the others were wrong already, or stand against one of the two. Over these {both:,} the median step of FGSM has length {a:.2f}, that of FGM {b:.2f}; "
                    "the largest change of a pixel is {c:.2f} and {d:.2f}.", n=smallest["n"], both=smallest["both"], a=smallest["fgsm"]["l2"], b=smallest["fgm"]["l2"],
                    c=smallest["fgsm"]["linf"], d=smallest["fgm"]["linf"],
                    holds=smallest["fgm"]["l2"] < smallest["fgsm"]["l2"] and smallest["fgsm"]["linf"] < smallest["fgm"]["linf"]), records.quote("03-eights"))

# %% [markdown]
# ## Two rulers
#
# The first training image of CIFAR-10 is a frog. At which epsilon does each attack flip it? Epsilon may be a tensor with one entry per image. So we make many copies of the one image, give each copy its own epsilon, and ask once.

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

# %% tags=["remove-input"]
widgets.predict(
    "How far must FGSM move the frog's values until CifarNet is wrong, in grey levels of 256?",
    {"About eight: that is the usual budget": "Eight levels are a common choice in reports, because it is hard to see. It says nothing about how much is needed.",
     "About two": "Closer. But this frog stands nearer to an edge than that.",
     "Less than one": "A file that stores whole grey levels cannot even hold this adversarial image."},
    answer="Less than one")

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "Two panels with the same two curves, FGSM and FGM, of the margin between the best wrong class and the true class. Against the largest change of a value, the FGSM curve crosses zero first. Against the length of the perturbation, the FGM curve crosses zero first."}, "figure": {"caption": "The frog's margin, the best wrong logit minus the right one, along both steps, by both rulers; dots mark where the answer flips. By the largest change FGSM gets there first, by the length FGM does. It is the same pair of attacks.", "name": "fig-frog"}}
panels = plots.axes(2, height=2.8, sharey=True)
for ax, norm, what in zip(panels, ("linf", "l2"), ("largest change of a value", "length")):
    reach = 0.0
    for name, walk in walks.items():
        size, line = getattr(walk, norm), "--" if name == "fgsm" else "-"
        ax.plot(size, walk.margin, line, color=plots.colour(name), label=plots.label(name))
        first = walk.success.nonzero()[:1, 0]  # where it flips, if it does
        ax.plot(size[first], walk.margin[first], "o", color=plots.colour(name))
        reach = max(reach, *size[first].tolist())
    ax.axhline(0, color=plots.GREY, linewidth=1)
    ax.set(xlabel=f"{what} (pixel units)", ylabel="margin (logits)", xlim=(0, 1.5 * reach or None))
    ax.locator_params(axis="x", nbins=4)
    ax.legend(loc="upper left")
plots.finish(panels, frog.source)

# %% tags=["remove-input", "covered"]
flips = records.read("03-frog")["values"]
display(records.say("On our copy of CIFAR-10, which went through JPEG once, FGSM needs eps = {fgsm:.4f}. That is {levels:.2f} of one grey level: an image file, which stores whole levels, cannot even hold such a step. FGM needs eps = {fgm:.3f}. "
                    "On a lossless copy of the same frog both need less: {fgsm2:.4f} and {fgm2:.3f}.",
                    fgsm=flips["q75"]["fgsm"]["eps"], levels=255 * flips["q75"]["fgsm"]["eps"], fgm=flips["q75"]["fgm"]["eps"],
                    fgsm2=flips["lossless"]["fgsm"]["eps"], fgm2=flips["lossless"]["fgm"]["eps"],
                    holds=255 * flips["q75"]["fgsm"]["eps"] < 1 and all(flips["lossless"][a]["eps"] < flips["q75"][a]["eps"] for a in ("fgsm", "fgm"))), records.quote("03-frog"))

# %% [markdown]
# ## Ten photographs
#
# Now in colour. We repeat the experiment of {cite}`marinelli` with that source's layers (VGG blocks) and its choices: ten random test images, $\varepsilon = 0.1$, and as the loss the squared error between the softmax outputs and the one-hot label. So large a step can be seen.

# %%
vgg = zoo.pretrained("vgg_blocks", cifar.name)
ten = cifar.sample(10, seed=0)
adversarial = attacks.fgsm(vgg, ten.images, ten.labels, eps=0.1, loss="mse")
before, after = classify(vgg, ten.images), classify(vgg, adversarial)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Ten pairs of pictures: a clean test image on the left, and on the right the same image after the attack, which is visibly grainy. Under each pair stand the network's two answers. Green frames mark pairs whose second answer is right, orange dashed frames those whose second answer is wrong."}, "figure": {"caption": "Ten random test images, each before the attack (left) and after it (right), and what the network answers to both. Green, solid: the second answer is the image's label. Orange, dashed: it is not.", "name": "fig-ten-images"}}
pairs = torch.cat([ten.images, adversarial], -1)  # beside each other
answers = [f"{cifar.classes[a]} → {cifar.classes[b]}" + ("" if a == y else f"\n(a {cifar.classes[y]})")
           for a, b, y in zip(before, after, ten.labels)]
plots.images(pairs, answers, columns=2, frame=after == ten.labels, source=cifar.source)

# %% tags=["remove-input"]
held = (after == ten.labels) & (before == ten.labels)
still = ", ".join(cifar.classes[k] for k in ten.labels[held]) or "none"
protocol = records.read("03-protocol")["values"]
display(records.say("The network reads {clean} of the ten clean images correctly, and {after} after the attack (still standing: {still}). Of {n:,} images it keeps {kept:.1%} with this loss, and {ce:.1%} with the cross-entropy.",
                    clean=int((before == ten.labels).sum()), after=int(held.sum()), still=still, n=protocol["n"],
                    kept=protocol["0.1"]["mse"]["accuracy"]["value"], ce=protocol["0.1"]["naive_ce"]["accuracy"]["value"]), records.quote("03-protocol"))

# %% [markdown]
# The source adds the step and stops there. Wherever the image is nearly black or white, the sum leaves $[0, 1]$: it cannot be saved or shown, and no network would ever meet it. The library clamps.

# %% tags=["remove-input"]
gap = abs(protocol["0.1"]["mse"]["unclipped"]["value"] - protocol["0.1"]["mse"]["accuracy"]["value"])
records.say("Without the clamp {share:.1%} of all values leave [0, 1] at eps = 0.1. The success hardly changes here ({free:.1%} instead of {held:.1%} stay right), but only the second number is about images.",
            share=protocol["0.1"]["outside"], free=protocol["0.1"]["mse"]["unclipped"]["value"], held=protocol["0.1"]["mse"]["accuracy"]["value"], holds=gap < 0.01)

# %% [markdown]
# ### Noise that turns inside out
#
# To *show* the noise, many scripts convert it to `uint8`, the eight-bit integers of image files. They run from `0` to `255`, and have no negative numbers.

# %% tags=["remove-input"]
widgets.predict(
    "The noise is -2 in grey levels, so this pixel becomes a little darker. Converted to uint8, what is it?",
    {"0, because it is cut off at the lowest value": "That would be clamping, and it has to be asked for. Conversion between integers keeps the lowest eight bits. (Many scripts cast floats directly; what a negative one becomes then depends on the machine.)",
     "2, because the sign is dropped": "The sign is not dropped. Minus two in eight bits is the same pattern as 256 - 2.",
     "254, because it wraps around": "It counts backwards from 256: minus two becomes 254, almost white. The picture shows a faint darkening as a bright flash."},
    answer="254, because it wraps around")

# %% tags=["nbval-check-output", "covered"]
levels = torch.tensor([-2, 0, 2], dtype=torch.int16)
print(levels.tolist(), "as uint8:", levels.to(torch.uint8).tolist())

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "Three pictures: a test image; its noise on grey, so faint that the square looks flat; the same noise after conversion to uint8, a harsh pattern of black and saturated colours that looks far stronger than it is."}, "figure": {"caption": "One test image and its FGSM noise at eps = 2/255. Middle: the noise as strong as it is, on grey. Right: the same numbers as uint8. What darkens became bright, and two grey levels look like two hundred.", "name": "fig-wrap-around"}}
small = attacks.fgsm(vgg, ten.images[:1], ten.labels[:1], eps=2 / 255, loss="mse") - ten.images[:1]
wrapped = (small * 255).round().to(torch.int16).to(torch.uint8)
plots.images(torch.cat([ten.images[:1], 0.5 + small, wrapped / 255]), ["image", "noise on grey", "noise as uint8"], columns=3, source=cifar.source)

# %% [markdown]
# ## Accuracy against epsilon
#
# From one image to many. The usual picture puts epsilon on one axis and the accuracy that is left on the other.

# %% tags=["remove-input"]
widgets.predict(
    "FGSM fools a network on some image at a small epsilon. We give it four times the epsilon, on the same image. Can the network be right again?",
    {"No: a larger budget can only help the attacker": "It can only help the best attack within the budget. FGSM is not that: it always spends everything, in one direction.",
     "Yes": "The step is longer, not better. It may walk across the wrong region and out on the other side.",
     "Only if the clamp cuts the step short": "Clamping weakens a step, but it is not needed for this: a straight line can leave a region that it has entered."},
    answer="Yes")

# %% [markdown]
# :::{container} covered
# So there are two ways to draw the curve, and they differ.
#
# - **A new attack at every epsilon**, as our sources do. The question is: does *this* step fool the network?
# - **Only what still stands is attacked again**, as `evaluation.robust_curve` does. The question is: does *one of the steps tried up to* this size fool the network? An image that falls at a small epsilon lies in every larger ball too, so it stays fallen. This curve never rises.
# :::

# %% tags=["covered"]
photo_eps = [0, 2 / 255, 4 / 255, 8 / 255, 16 / 255, 0.1]
standing = evaluation.robust_curve(cifar_net, photos.images, photos.labels,
                                   attacks.fgsm, photo_eps)

rates = []  # every image attacked anew
for eps in photo_eps:
    adversarial = attacks.fgsm(cifar_net, photos.images, photos.labels, eps=eps)
    rates.append(evaluation.rate(classify(cifar_net, adversarial) == photos.labels))
value, low, high, n = map(list, zip(*rates))
anew = evaluation.Curve(photo_eps, value, low, high, len(photos))

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "Two curves of accuracy against epsilon for CifarNet under FGSM. They start together; for larger epsilons the curve of separate attacks lies above the curve of surviving images."}, "figure": {"caption": "CifarNet under FGSM, drawn in both ways on the same sample of 500 test images. The bands are 95 % intervals; they cover the images, nothing else.", "name": "fig-two-ways"}}
plots.curves({"a new attack at every eps": anew, "only what still stands": standing}, source=cifar.source)

# %% tags=["remove-input", "covered"]
back = round(len(photos) * (anew.accuracy[-1] - standing.accuracy[-1]))
records.say("At eps = 0.1 the first way leaves {anew:.1%} of this sample of {n} images, the second {standing:.1%}: {back} images had been fooled by a shorter step, and the longer one leaves them right again. "
            "An attacker who may take a step of size epsilon may also take a smaller one, so the second way is the fairer account, and the curves from here on use it.",
            anew=anew.accuracy[-1], n=len(photos), standing=standing.accuracy[-1], back=back, holds=back > 0 or cifar.name != "cifar10")

# %% [markdown]
# :::{container} covered
# A sample gives bands as wide as the ones in the figure. Here are the four networks on their complete test sets:
# :::

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "Four panels of accuracy against epsilon on the complete test sets: FGSM and FGM on LeNet and the ResNet for MNIST, and on CifarNet and VGG blocks for CIFAR-10. All curves fall. On MNIST the ResNet lies at or above LeNet for small epsilons and below it for large ones."}, "figure": {"caption": "The four networks on all ten thousand test images, one training of each. The 95 % intervals are hardly wider than the lines; they cover the images, not what another training would give. The axes for colour images end where those for digits have only begun.", "name": "fig-full-curves"}}
full = records.read("03-curves")
panels = []
for names, data_set in ((("lenet", "mnist_resnet"), "MNIST"), (("cifar_net", "vgg_blocks"), "CIFAR-10")):
    for attack, unit in (("fgsm", "largest change of a value"), ("fgm", "length")):
        ax = plots.axes(height=2.8)
        plots.curves({name: full["values"][name][attack] for name in names}, ax=ax, xlabel=f"eps ({unit})")
        ax.set_title(f"{data_set}, {plots.label(attack)}")
        panels.append(ax)
plots.finish(panels, full["provenance"]["source"], columns=2)

# %% tags=["remove-input", "covered"]
def at(name, attack, eps):
    """Accuracy of a net in the record at one eps."""
    curve = full["values"][name][attack]
    return curve["accuracy"][min(range(len(curve["eps"])), key=lambda i: abs(curve["eps"][i] - eps))]


five = records.read("02-seeds-lenet")["values"]["over seeds"]["pgd"]["values"]
display(records.quote("03-curves"))
records.verdict(
    "On MNIST the accuracy of the ResNet falls faster with epsilon than that of LeNet.",
    source="unam2021", where="section 3.2, figure 11", reported="shown as curves, for FGSM with JPEG at several qualities",
    measured="one training of each kind, without JPEG. FGSM at eps = 0.1: LeNet {a:.1%}, ResNet {b:.1%}; at eps = 0.2: {c:.1%} and {d:.1%}".format(
        a=at("lenet", "fgsm", 0.1), b=at("mnist_resnet", "fgsm", 0.1), c=at("lenet", "fgsm", 0.2), d=at("mnist_resnet", "fgsm", 0.2)),
    verdict="not tested here",
    why="Our two curves cross, and they belong to two trainings, not to two kinds of network: five LeNets of one recipe keep between {low:.1%} and {high:.1%} under an attack of many steps at eps = 0.1 (chapter 02). A test would train at least five of each, add the JPEG, and use an attack whose misses do not look like robustness (the last section of this chapter).".format(
        low=min(five), high=max(five)))

# %% [markdown]
# ## A number from a thesis
#
# {cite}`cutilli2021` trains a small fully connected network with sigmoids and reports its accuracy at $\varepsilon = 77/255$, nearly a third of the whole grey scale. We trained the same layers again, as far as the thesis writes its recipe down: squared error on sigmoid outputs, its learning rate, batches of twenty, early stopping. The momentum (0.9), the initial weights and the scale of the inputs (0 to 1) are not stated; they are our choice.

# %% tags=["remove-input"]
thesis = records.read("03-cutilli")["values"]
recipe = thesis["recipe"]
display(records.verdict(
    "FC-100-100-10 keeps 46.16 % under white-box FGSM with eps = 77/255.",
    source="cutilli2021", where="section 3.3, tables 3.2 and 3.3",
    reported="95.86 % clean, 46.16 % under white-box FGSM, 45.28 % under examples made on a second network",
    measured=f"{thesis['n']:,} test images, one training by the recipe: {recipe['clean']['value']:.2%} clean, {recipe['mse']['value']:.2%} under FGSM along the training loss, "
             f"{recipe['ce']['value']:.2%} along the cross-entropy, {thesis['transfer']['value']:.2%} under examples made on this book's network",
    verdict="not tested here",
    why="The clean accuracy comes back, the accuracy under attack does not, in one training. The thesis does not state momentum, initial weights or input scale, and its black-box examples came from a second network of its own; ours is trained otherwise. A test would train at least five networks for each input scale, and count gradients that are exactly zero."))
records.say("Trained by that recipe, our network is right on {clean:.1%} of the clean images. FGSM along its own gradient leaves {own:.1%}; examples made on another network leave {other:.1%}. Here a borrowed gradient is worth less than the network's own.",
            clean=recipe["clean"]["value"], own=recipe["mse"]["value"], other=thesis["transfer"]["value"], holds=recipe["mse"]["value"] < thesis["transfer"]["value"])

# %% tags=["remove-input"]
records.quote("03-cutilli")

# %% [markdown]
# ## Why does so small a step do so much?
#
# A step of random signs has the same largest change and the same length as FGSM, but each of its terms helps as often as it hurts. Its gain is about $\varepsilon \lVert g \rVert_2$ in size, with either sign, while FGSM gains $\varepsilon \lVert g \rVert_1$. The ratio of the two norms is what direction is worth, and in $d$ dimensions it can be as large as $\sqrt d$. This is the argument of {cite}`goodfellow2015`: many tiny pushes that agree.

# %%
one_image, one_label = few.images[:1], few.labels[:1]
g = gradient(lenet, one_image, one_label)
seeded = torch.Generator().manual_seed(0)
signs = 2.0 * torch.randint(0, 2, (2000, *g.shape[1:]), generator=seeded) - 1
random_gain = (signs * g).flatten(1).sum(1) / geometry.norm(g, "l1")  # share of FGSM's

# %% tags=["hide-input"] mystnb={"image": {"alt": "A narrow histogram of the gains of two thousand random steps, centred on zero. Far to the right, alone, a vertical line at one marks the gain of FGSM."}, "figure": {"caption": "What two thousand random steps of plus or minus epsilon gain on one image, to first order, as a share of what FGSM gains. In high dimension, nearly all directions are nearly useless.", "name": "fig-random-gain"}}
ax = plots.axes(height=2.4)
ax.hist(random_gain, bins=40, color=plots.colour("noise"), label="random signs")
ax.axvline(1, color=plots.colour("fgsm"), linewidth=2.5, linestyle="--", label="FGSM")
ax.set(xlabel="gain of the step, as a share of FGSM's", xlim=(-1.05, 1.05), ylabel="number of random steps")
ax.legend(loc="upper left")
plots.finish(ax, mnist.source)

# %% tags=["remove-input"]
records.say("The best of {n:,} random steps reaches {best:.0%} of what FGSM gains; their standard deviation is {sd:.1%}.",
            n=len(random_gain), best=random_gain.max().item(), sd=random_gain.std().item(), holds=random_gain.max().item() < 0.5)

# %% [markdown]
# ## What FGSM may claim
#
# FGSM believes the tangent. It looks at the slope where it stands, and walks all of its budget in that direction with closed eyes. How straight is the road? We walk along the same direction in small pieces and compare what happens with what the tangent promises. As the height of the road we take the margin, the best wrong logit minus the right one: above zero, the network is fooled.

# %% tags=["hide-input"] mystnb={"image": {"alt": "The margin along the FGSM direction and its tangent at the image. They agree near zero and then part: the road bends away from the straight line."}, "figure": {"caption": "The margin along the FGSM direction, and the straight line that FGSM believes in. Above the grey line the network is fooled.", "name": "fig-tangent"}}
road = torch.linspace(0, 0.3, 61)
direction = geometry.steepest(g, "linf")
points = (one_image + road.view(-1, 1, 1, 1) * direction).clamp(0, 1)
margin = attacks.losses.margin(evaluation.logits(lenet, points), one_label.expand(len(road)))
tangent = margin[0] + road * (gradient(lenet, one_image, one_label, "margin") * direction).sum()
ax = plots.axes(height=2.6)
ax.plot(road, margin, color=plots.colour("fgsm"), label="the road")
ax.plot(road, tangent, ":", color=plots.INK, label="the tangent at the image")
ax.axhline(0, color=plots.GREY, linewidth=1)
ax.set(xlabel="size of the step, eps (pixel units)", ylabel="margin (logits)", ylim=(None, max(3, 1.3 * margin.max())))
ax.legend()
plots.finish(ax, mnist.source)

# %% [markdown]
# If the road bends, it pays to look again on the way. That is the whole idea of the next chapter: many short steps, with a new gradient at each. For now we only need to know that there is such an attack, PGD {cite}`madry2018`, and give it the same epsilon.

# %% tags=["remove-input"]
widgets.predict(
    "Two hundred images, the same epsilon for all: random noise, FGSM, PGD. How do the accuracies that are left compare?",
    {"Noise and FGSM alike, PGD lower": "Random noise nearly never finds the direction that hurts. It is FGSM that does the damage, with one gradient.",
     "Noise hurts hardly at all, FGSM a lot, PGD still more": "Direction is worth a lot, and looking twice is worth more. So an accuracy under FGSM is only an upper limit.",
     "FGSM and PGD alike: both use the gradient": "They would be alike if the loss were a straight slope. The figure above shows that it is not."},
    answer="Noise hurts hardly at all, FGSM a lot, PGD still more")

# %% tags=["covered"]
def random_signs(model, x, y, *, eps):
    """Noise of the same size as FGSM: plus or minus eps in every value, at random."""
    draw = torch.randint(0, 2, x.shape, generator=torch.Generator().manual_seed(0))
    return (x + eps * (2.0 * draw - 1)).clamp(0, 1)

def many_steps(model, x, y, *, eps):
    return attacks.pgd(model, x, y, eps=eps, steps=20, first_success=True,
                       generator=torch.Generator().manual_seed(0))

# %% tags=["covered"]
tests = {"LeNet, eps = 0.1": (lenet, few[:200], 0.1),
         "CifarNet, eps = 2/255": (cifar_net, photos[:200], 2 / 255)}
strikes = {"clean": lambda model, x, y, *, eps: x, "noise": random_signs,
           "fgsm": attacks.fgsm, "pgd": many_steps}
stands = {}  # True where the answer stays right
for title, (net, ds, eps) in tests.items():
    attacked = {name: strike(net, ds.images, ds.labels, eps=eps)
                for name, strike in strikes.items()}
    stands[title] = {name: classify(net, x) == ds.labels for name, x in attacked.items()}

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "For LeNet and for CifarNet, four points with intervals: accuracy without attack, under random noise, under FGSM and under PGD. Noise stays beside the clean accuracy. FGSM is far lower. PGD is the lowest."}, "figure": {"caption": "Two hundred images, one epsilon for each network: no attack, random noise, FGSM and PGD, with 95 % intervals over the images.", "name": "fig-honest"}}
panels = plots.axes(2, height=2.2)
for ax, (title, hits) in zip(panels, stands.items()):
    for place, (name, hit) in enumerate(hits.items()):
        rate, colour = evaluation.rate(hit), plots.colour(name)
        ax.plot([rate.low, rate.high], [place, place], color=colour, linewidth=3, alpha=0.5)
        ax.plot(rate.value, place, "o", color=colour)
        ax.annotate(f"{rate.value:.0%}", (rate.value, place), (0, 7), textcoords="offset points", ha="center")
    ax.set(title=title, xlabel="accuracy", xlim=(0, 1.0), ylim=(3.5, -0.7))
    plots.percent(ax, "x")
    ax.set_yticks(range(len(strikes)), [plots.label(name) for name in strikes])
plots.finish(panels, f"{mnist.source}; {cifar.source}")

# %% tags=["remove-input", "covered"]
honest = records.read("03-honest")["values"]
versus = {title: evaluation.paired(~hits["pgd"], ~hits["fgsm"]) for title, hits in stands.items()}
nets = ("lenet", "mnist_resnet", "cifar_net")
display(*[records.say("- **{title}**: of the same {n} images PGD alone fooled {pgd}, FGSM alone {fgsm}; a difference of {difference:.0f} percentage points (95 % interval {low:.0f} to {high:.0f}).",
                      title=title.split(",")[0], n=pair.n, pgd=pair.only_a, fgsm=pair.only_b, difference=100 * pair.difference, low=100 * pair.low, high=100 * pair.high,
                      holds=pair.low > 0 or mnist.name != "mnist")
          for title, pair in versus.items()],
        records.say("On {n:,} images, measured once: noise leaves LeNet {a:.1%}, FGSM {b:.1%}, PGD {c:.1%} at eps = 0.1; the ResNet {d:.1%}, {e:.1%} and {f:.1%}; and CifarNet at eps = 2/255 {g:.1%}, {h:.1%} and {i:.1%}.",
                    n=honest["n"], **dict(zip("abcdefghi", (honest[net][name]["value"] for net in nets for name in ("noise", "fgsm", "pgd")))),
                    holds=all(honest[net]["noise"]["value"] > honest[net]["fgsm"]["value"] > honest[net]["pgd"]["value"] for net in nets)), records.quote("03-honest"))

# %% [markdown]
# :::{container} covered
# So an accuracy under FGSM is an upper limit. What one step cannot fool, several steps can. A low accuracy under FGSM proves weakness; a high one proves nothing. PGD is not the last word either: its number, too, says only what one attack could do.
# :::
#
# ## What remains open
#
# Everything here is about one training of each network, about MNIST's original files and a copy of CIFAR-10 that went through JPEG once (its test images are not in CIFAR-10's order), and about one-step attacks. Whether one kind of network is harder to fool than another, and whether colour is the reason that photographs fall at smaller epsilons, was not tested.

# %% tags=["remove-input"]
records.claims([
    dict(claim="FGSM flips CIFAR-10 train[0] at a smaller epsilon than FGM, because it changes every pixel more", source="unam2021", where="section 3.3, figures 14 and 15",
         reported="on a LeNet; the epsilons stand in the figures",
         measured=f"on CifarNet, another network: {flips['q75']['fgsm']['eps']:.4f} and {flips['q75']['fgm']['eps']:.3f}, in different units", verdict="not tested here"),
    dict(claim="Taking the sign makes FGSM faster on large amounts of data", source="unam2021", where="section 1", reported="as a reason for the sign",
         measured="FGSM and FGM cost one pass forward and one back; times were not compared", verdict="not tested here"),
    dict(claim="At eps = 0.1 an automobile becomes a truck, a cat a deer, and a frog stays a frog", source="marinelli", where="slides \"Adversarial attacks\", 1 to 3",
         reported="three test images, without their index", measured=f"other weights and other images: {protocol['0.1']['mse']['accuracy']['value']:.1%} of {protocol['n']:,} stay right", verdict="not tested here"),
])

# %% [markdown]
# ## Exercises
#
# [Exercises for this chapter](../exercises/student/03_one_step.ipynb)
#
# 1. **Warm-up.** Both steps on an image of four pixels, with a pencil.
# 2. **Code.** `my_fgsm(model, x, y, eps)`, which leaves no traces in the model.
# 3. **Measurement.** The smallest step of each attack that flips an image, by a third ruler.
# 4. **Break it.** The third answer, all of the budget on one value: write it, and find out what stops it.
# 5. **Thought.** Two reports, two accuracies under attack. What must you ask before you compare them?
#
# ## Take-away
#
# - FGM and FGSM answer one question, the largest $\langle g, \eta \rangle$ in a ball. The norm of the ball decides how the step looks; the dual norm of the gradient says what it gains.
# - An epsilon without its norm is half a number. By the same ruler each attack wins where it was made to win.
# - The step is strong because many tiny pushes agree, not because the network cannot stand noise.
# - Details decide: clamp to $[0, 1]$, draw signed noise around a neutral colour, and say whether a curve attacks every image anew or only those that still stand.
# - Accuracy under FGSM is an upper limit of robust accuracy; [the next chapter](04_many_steps.ipynb) lowers it.
#
# ## Where the numbers come from
#
# Figures are drawn from the data named with each of them, with the networks of chapter 02 (`zoo.pretrained`, one card each). Numbers of full-scale runs come from the records `03-eights`, `03-protocol`, `03-frog`, `03-curves`, `03-cutilli`, `03-honest` and `02-seeds-lenet`, all about real data. `advlens record NAME` measures any of them again; the functions are in `measurements/03_one_step.py`.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
