# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What is an adversarial example?
#
# A photograph of a panda. A good network looks at it and says *panda*.
# Somebody adds a faint veil of coloured noise, so weak that no eye finds it, and the network says *gibbon*.
# What is more, it is **surer of the gibbon than it ever was of the panda** {cite}`goodfellow2015`.
# Nothing is broken: the same network names thousands of other photographs correctly.
# In this chapter we make our own panda, ask how small "faint" is, and find the one sum that explains most of it in a network with two pixels.
#
# :::{admonition} At a glance
# :class: glance
# - **You will be able to** say what an adversarial example is and what it is not; measure a perturbation in three norms; name the threat model of an attack; read a statement such as "robust at $\varepsilon = 8/255$" and know what it leaves open.
# - **Time** 50 minutes of reading and playing.
# - **Threat model** all of them: this is the chapter in which they get their names.
# - **Sources** {cite}`belaustegui2022` for the definition of robustness and the two-pixel network, {cite}`unam2021`, {cite}`klientov` and {cite}`cutilli2021` for the setting.
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

# %%
import matplotlib.pyplot as plt
from torch import nn

cifar = data.load("cifar10", "test", fallback="shapes")
mnist = data.load("mnist", "test", fallback="digits")
net = zoo.pretrained("cifar_net", cifar.name)
lenet = zoo.pretrained("lenet", mnist.name)

# %% [markdown]
# ## Our own panda
#
# The famous panda belongs to a large network and a large photograph. We use a small network and small colour images, ten classes of them, and look for the clearest case.
# The rule: among the first images of the test set, keep those that the network names correctly and that the attack turns into something *wrong*, of which it is nearly certain. Of these, show the one that the network was surest of *before*.
# So this is a chosen example. How common such examples are, we count further down.
#
# The attack itself is one line. It asks the network in which direction each pixel should move to make the answer worse, and moves every pixel by the same tiny step in that direction.
# Its name is FGSM, and [its own chapter](03_one_step) takes it apart; here we only use it.

# %%
EPS = 2 / 255  # two of the 255 steps from black to white
crowd = cifar[:200]
attacked = attacks.fgsm(net, crowd.images, crowd.labels, eps=EPS)

def confidences(x):
    """What the network believes about each image, (N, classes)."""
    return evaluation.logits(net, x).softmax(1)


before, after = confidences(crowd.images), confidences(attacked)
turned = (before.argmax(1) == crowd.labels) & (after.argmax(1) != crowd.labels)
clearest = (turned * (after.amax(1) > 0.95) * before.amax(1)).argmax()

panda = crowd[clearest[None]]  # a data set of one image
gibbon = attacked[clearest[None]]

# %% mystnb={"image": {"alt": "Four panels in a row: a small colour image, a pattern of coloured noise, the sum of both, which looks just like the first image, and bars that show how the confidence moves from the right class to a wrong one."}, "figure": {"caption": "Our panda. From left to right: the image, the noise that is added (drawn far stronger than it is), the result, and the confidences of the network before and after.", "name": "fig-00-panda"}}
plots.attack(panda.images, gibbon, confidences(panda.images),
             confidences(gibbon), cifar.classes, source=cifar.source)

# %% tags=["remove-input"]
was, became = before[clearest], after[clearest]
records.say("The network was {p:.1%} sure of *{a}*. It is now {q:.1%} sure of *{b}*. No value of the image moved by more than {levels:.0f} of the {top} steps between black and white.",
            p=was.max(), a=cifar.classes[was.argmax()], q=became.max(), b=cifar.classes[became.argmax()],
            levels=(gibbon - panda.images).abs().max() * 255, top=255)

# %% [markdown]
# Cover the noise with your hand and compare the first picture with the third. They are the same picture, to you.
#
# An **adversarial example** is an input that somebody changed *on purpose*, *by so little that its meaning stays the same*, so that a model gives a *wrong* answer.
# In symbols: a network $f$, an image $x$ of class $y$ that $f$ names correctly, and a change $\eta$ such that
#
# $$
# \hat y(x) = y, \qquad \hat y(x + \eta) \ne y, \qquad \lVert \eta \rVert \le \varepsilon, \qquad x + \eta \in [0, 1]^d .
# $$
#
# Here $\hat y(x)$ is the class with the largest output, $d$ is the number of values in the image, and the last condition says that $x + \eta$ must still be an image.
# Every word of the sentence does some work, and the rest of the chapter takes the words one by one.

# %% [markdown]
# ## Is it just noise?
#
# The veil looks like the snow on an old television. Perhaps the network simply dislikes snow?
# We can test that. We keep the size of every step, and throw a coin for its direction: up or down, independently for each value of the image.

# %% tags=["remove-input"]
widgets.predict(
    "We make five hundred such coin-flip patterns. Each changes every value by exactly as much as the attack did. How many of them make the network give a wrong answer?",
    {"None, or nearly none": "The direction matters, not the size. A random pattern pushes as often the right way as the wrong way, and the pushes cancel.",
     "About half": "That would be so if the image lay on the edge between two classes. The network was very sure of it.",
     "Nearly all": "Then any camera noise would ruin the network, and it would name hardly any photograph correctly."},
    answer="None, or nearly none")

# %%
coins = torch.Generator().manual_seed(0)
shape = (500, *panda.images.shape[1:])
flips = torch.randint(0, 2, shape, generator=coins) * 2 - 1.0  # -1 or 1
noisy = (panda.images + EPS * flips).clamp(0, 1)


def margins(x):
    """Best wrong output minus the right one, for versions of the panda."""
    y = panda.labels.expand(len(x))
    return evaluation.evaluate(net, panda.images.expand_as(x), x, y).margin


random_margin, attack_margin = margins(noisy), margins(gibbon)
clean_margin = margins(panda.images)

# %% tags=["hide-input"] mystnb={"image": {"alt": "A narrow histogram of the margins of the random patterns lies around the margin of the clean image, left of zero. The margin of the attack lies far to the right, beyond zero."}, "figure": {"caption": "The margin is the best wrong output minus the right one: beyond zero the answer is wrong. Random patterns stay where the clean image is. The attack, with steps of the same size, walks straight across.", "name": "fig-00-coins"}}
fig, ax = plt.subplots(figsize=(7, 2.6))
ax.hist(random_margin, bins=30, color=plots.colour("noise"), label="500 coin-flip patterns")
ax.axvline(clean_margin, color=plots.colour("clean"), label="clean image")
ax.axvline(attack_margin, color=plots.colour("fgsm"), linestyle="--", label="FGSM, same size")
edge = 1.1 * attack_margin.item()
ax.axvspan(0, edge, color=plots.colour("fgsm"), alpha=0.08, label="wrong answer")
ax.set(xlabel="margin: best wrong output minus right output", ylabel="patterns", xlim=(None, edge))
ax.legend(loc="upper center", ncols=2)
plots.finish(fig, cifar.source)

# %% tags=["remove-input"]
records.say("Of {n} random patterns, **{hits}** changed the answer. On average they moved the margin by {shift:+.2f}; the attack moved it by {pushed:+.1f}.",
            n=len(noisy), hits=int((random_margin > 0).sum()), shift=(random_margin - clean_margin).mean(), pushed=(attack_margin - clean_margin).item())

# %% [markdown]
# So it is not snow that the network dislikes. It is *one* direction among very many, and somebody has to look for it.
# That is why the word is adversarial: there is an adversary, and he calculates.
#
# Now turn the knob yourself. The slider is $\varepsilon$, the length of the step of every pixel.

# %%
def turn_up(eps):
    adversarial = attacks.fgsm(net, panda.images, panda.labels, eps=eps)
    return plots.attack(panda.images, adversarial, confidences(panda.images),
                        confidences(adversarial), cifar.classes,
                        magnify=8, source=cifar.source)


def describe(eps):
    p = confidences(attacks.fgsm(net, panda.images, panda.labels, eps=eps))[0]
    return (f"With eps = {eps * 255:.0f}/255 the network says "
            f"{cifar.classes[p.argmax()]} with confidence {p.max():.0%}.")

# %% tags=["remove-input"]
widgets.explore(turn_up, alt=describe, eps={f"{k}/255": k / 255 for k in (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32)},
                caption="Epsilon against image, noise and confidences. The noise is drawn eight times stronger than it is; "
                        "its scale stays the same from frame to frame.")

# %% [markdown]
# Three things to try:
#
# - Go up from zero, one frame at a time. Where does the answer flip? It is often one of the very first frames.
# - Watch *which* wrong class wins. For some images it changes along the way: this attack only pushes **away** from the truth and does not care where it lands.
# - Find the $\varepsilon$ at which **you** first see the noise. Between the network's limit and yours lies the playground of this book.
#
# ## How big is a change?
#
# "So small that nobody sees it" is not something a computer can check. We replace it by a number: a **norm** of the perturbation $\eta$.
# There are three in daily use, and they measure quite different things.
#
# ```{list-table}
# :header-rows: 1
# :class: stack-on-phone
# :widths: 16 34 50
#
# * - Norm
#   - Formula
#   - In words
# * - $L_\infty$
#   - $\max_i \lvert \eta_i \rvert$
#   - the largest change of any value: *everything may move, nothing moves far*
# * - $L_2$
#   - $\sqrt{\sum_i \eta_i^2}$
#   - the ordinary length: *many small changes, or a few larger ones, at a price*
# * - $L_0$
#   - number of pixels with $\eta_i \ne 0$
#   - how many pixels were touched: *few may move, but as far as they like*
# ```
#
# The set of all changes that a norm allows is called its **ball**, even where it is not round.
# With two pixels we can draw it. (The fourth, $L_1 = \sum_i \lvert \eta_i \rvert$, stands between $L_2$ and $L_0$ and turns up now and then.)

# %% tags=["hide-input"]
angle = torch.linspace(0, 2 * torch.pi, 721)
rays = torch.stack([angle.cos(), angle.sin()], 1).view(-1, 1, 1, 2)  # directions, as images of two pixels


def draw_ball(ax, p, title):
    ax.set(title=title, aspect="equal", xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), xlabel="change of pixel 1", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    if p == "l0":  # at most one pixel differs: the two axes, without end
        ax.plot([-2, 2, None, 0, 0], [0, 0, None, -2, 2], color=plots.colour("pgd"), linewidth=4)
    else:
        edge = (rays / geometry.norm(rays, p).view(-1, 1, 1, 1)).flatten(1)
        ax.fill(edge[:, 0], edge[:, 1], color=plots.colour("pgd"), alpha=0.25)
        ax.plot(edge[:, 0], edge[:, 1], color=plots.colour("pgd"))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Four small drawings of the set of changes of size one: a square for L infinity, a disc for L2, a diamond for L1, and a cross made of the two axes for L0."}, "figure": {"caption": "All changes of size one, with two pixels: a square, a disc, a diamond and a cross.", "name": "fig-00-balls"}}
fig, axes = plt.subplots(1, 4, figsize=(7, 2.3), sharey=True)
for ax, p, title in zip(axes, ("linf", "l2", "l1", "l0"), ("$L_\\infty$", "$L_2$", "$L_1$", "$L_0$")):
    draw_ball(ax, p, title)
axes[0].set_ylabel("change of pixel 2")
plots.finish(fig, None)

# %% [markdown]
# The corners tell the story. A linear function over a ball is largest in a corner, if there is one.
# The corners of the square are the points where *every* pixel moves by the full $\varepsilon$: that is what FGSM does.
# The corners of the diamond lie on the axes: *one* pixel does all the work.
#
# ### Three ways to spend the same length
#
# Let us see the three on a digit. We give each attack the same Euclidean length to spend, and let it spend it in its own way:
# evenly over all pixels ($L_\infty$), as the gradient says ($L_2$), or on whole pixels that swing all the way to black or white ($L_0$).
# The first two are in the library. For the third we write the simplest thing that could work: swing first the pixels that promise the most for their swing.

# %%
def swing_pixels(model, x, y, length):
    """Turn the most promising pixels black or white until `length` is spent."""
    leaf = x.clone().requires_grad_()
    loss = attacks.losses.margin(model(leaf), y).sum()
    gradient, = torch.autograd.grad(loss, leaf)
    swing = (gradient > 0).float() - x  # to white where that helps, or to black
    order = (gradient * swing).flatten(1).argsort(1, descending=True)
    spent = swing.flatten(1).pow(2).gather(1, order).cumsum(1)
    affordable = (spent <= length[:, None] ** 2).float()
    chosen = torch.zeros_like(spent).scatter(1, order, affordable)
    return x + swing * chosen.view_as(x)

# %%
digit = mnist[:1]
even = attacks.fgsm(lenet, digit.images, digit.labels, eps=0.2)
length = geometry.norm(even - digit.images, "l2")
smooth = attacks.fgm(lenet, digit.images, digit.labels, eps=length)
few = swing_pixels(lenet, digit.images, digit.labels, length)

versions = torch.cat([digit.images, even, smooth, few])
same, label = digit.images.expand_as(versions), digit.labels.expand(4)
sizes = evaluation.evaluate(lenet, same, versions, label)
answers = evaluation.logits(lenet, versions).argmax(1)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Upper row: a digit and three attacked versions of it. Lower row: the three perturbations. The first is an even pattern over the whole image, the second is concentrated around the stroke, the third consists of a few isolated pixels."}, "figure": {"caption": "The same Euclidean length, spent in three ways. Above, what the network sees and answers; below, what was added, all on one scale, with its three sizes.", "name": "fig-00-three-ways"}}
fig, axes = plt.subplots(2, 4, figsize=(7, 4.4))
for k, name in enumerate(("clean", "evenly ($L_\\infty$)", "by gradient ($L_2$)", "few pixels ($L_0$)")):
    above, below = axes[:, k]
    above.imshow(versions[k, 0], vmin=0, vmax=1)
    above.set_title(f"{name}\nsays {mnist.classes[answers[k]]}")
    above.axis("off")
    if k == 0:
        below.axis("off")
    else:
        plots.noise(below, versions[k] - versions[0], limit=1)
        below.set_title(f"$L_\\infty$ = {sizes.linf[k]:.2f}\n$L_2$ = {sizes.l2[k]:.2f}\n$L_0$ = {sizes.l0[k]:.0f} pixels")
plots.finish(fig, mnist.source)

# %% [markdown]
# Look along the lower row. The first two patterns touch most of the image and the third only a handful of pixels, but *as vectors* they are about equally long.
# Then look along the upper row and ask yourself which one you notice first.
# People do not agree about that, and no norm agrees with all people. The norms are stand-ins for "you would not notice", each with its own blind spot:
#
# - $L_\infty$ does not see *how many* pixels change. A faint veil over everything counts as little.
# - $L_0$ does not see *how far* they change. One white pixel in a black sky counts as one.
# - None of them sees *what* changes. Shift the whole image by one pixel: you hardly notice, and all three norms jump.
#
# So when a paper says "robust", ask: in which norm, and how far? When it does not say, it has not said anything.

# %% [markdown]
# ### Small in one norm, large in another
#
# For $d$ values, the norms are tied together by
#
# $$
# \lVert \eta \rVert_\infty \;\le\; \lVert \eta \rVert_2 \;\le\; \sqrt d \; \lVert \eta \rVert_\infty .
# $$

# %% tags=["remove-input"]
widgets.predict(
    "Every value of a colour image of 32 by 32 pixels moves by 8/255, up or down. How long is this change in the L2 norm?",
    {"About 0.03": "That is its L-infinity norm. The Euclidean length adds up the squares of all the values.",
     "About 1.7": "The image has 3,072 values and the square root of that is a little more than 55, so the length is 55 times 8/255.",
     "About 96": "That is the sum of all the changes, the L1 norm."},
    answer="About 1.7")

# %% tags=["nbval-check-output"]
change = torch.full((1, 3, 32, 32), 8 / 255)
for p in geometry.NORMS:
    print(f"{p:>4}: {geometry.norm(change, p).item():9.4f}")

# %% [markdown]
# The last line reads 1024, not 3072: a pixel counts once, whatever happens to its three colours.
# Keep this table in mind when you compare papers. An $\varepsilon$ without the name of its norm can mean four different things, and they differ by factors of thousands.

# %% [markdown]
# ## A network with two pixels
#
# Why does a sum of tiny steps do so much? The smallest network that can be fooled tells it all.
# It has two inputs, both weights are 1, and it answers *bright* when the mean of the pixels is at least one half, else *dark* {cite}`belaustegui2022`:
#
# $$
# \text{bright} \iff x_1 + x_2 \ge 1 .
# $$
#
# All its images fit in a square. The set of points where it hesitates, the **decision boundary**, is the diagonal.
# An adversarial example is a step over this diagonal, and the smallest one has a length that we can calculate.
# For any linear network with weights $w$ and threshold $b$, the distance from $x$ to the boundary, measured in the norm $p$, is
#
# $$
# \operatorname{dist}_p(x) = \frac{\lvert w \cdot x - b \rvert}{\lVert w \rVert_q}, \qquad \frac1p + \frac1q = 1 .
# $$
#
# The $q$ in the denominator is the *dual* of $p$. For $p = \infty$ it is $q = 1$, and $\lVert w \rVert_1 = 2$; for $p = 2$ it is $q = 2$, and $\lVert w \rVert_2 = \sqrt 2$.
# The reason takes one line, Hölder's inequality: a step $\eta$ changes $w \cdot x$ by $w \cdot \eta \le \lVert w \rVert_q \lVert \eta \rVert_p$, and some step reaches equality.
# Chapter 03 is about exactly that step.

# %%
def distances(x1, x2):
    """How far the boundary is, in L-infinity and in L2."""
    gap = abs(x1 + x2 - 1)
    return gap / 2, gap / 2**0.5


def answer(x1, x2):
    return "bright" if x1 + x2 >= 1 else "dark"

# %% tags=["hide-input"]
def draw_plane(ax, x1, x2):
    reach_inf, reach_2 = distances(x1, x2)
    ax.fill([0, 1, 1], [1, 0, 1], color="#f2f2f2")
    ax.fill([0, 1, 0], [1, 0, 0], color="#cfcfcf")
    ax.text(0.97, 0.95, "bright", ha="right", va="top")
    ax.text(0.03, 0.03, "dark")
    ax.plot([0, 1], [1, 0], color="#222222")
    ax.add_patch(plt.Rectangle((x1 - reach_inf, x2 - reach_inf), 2 * reach_inf, 2 * reach_inf, fill=False, linewidth=2,
                               edgecolor=plots.colour("fgsm"), linestyle="--"))
    ax.add_patch(plt.Circle((x1, x2), reach_2, fill=False, linewidth=2, edgecolor=plots.colour("pgd")))
    ax.plot(x1, x2, "o", color="#222222")
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="pixel 1", ylabel="pixel 2", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    ax.grid(False)

# %% tags=["hide-input"]
def draw_two_pixels(pixel_1, pixel_2):
    fig, (plane, image) = plt.subplots(1, 2, figsize=(7, 3.3), width_ratios=[1, 1])
    draw_plane(plane, pixel_1, pixel_2)
    image.imshow([[pixel_1, pixel_2]], vmin=0, vmax=1)
    for k, value in enumerate((pixel_1, pixel_2)):
        image.text(k, 0, f"{value:.2f}", ha="center", va="center", color="white" if value < 0.5 else "black")
    image.set(xticks=[], yticks=[], title=f"the network says: {answer(pixel_1, pixel_2)}")
    reach_inf, reach_2 = distances(pixel_1, pixel_2)
    image.set_xlabel(f"distance to the boundary\n$L_\\infty$: {reach_inf:.3f} (dashed square)\n$L_2$: {reach_2:.3f} (circle)")
    return plots.finish(fig, None)


def describe_two_pixels(pixel_1, pixel_2):
    reach_inf, reach_2 = distances(pixel_1, pixel_2)
    return (f"The image ({pixel_1}, {pixel_2}) is {answer(pixel_1, pixel_2)}. The boundary is {reach_inf:.3f} away in the "
            f"L-infinity norm and {reach_2:.3f} away in the L2 norm.")

# %% tags=["remove-input"]
widgets.explore(draw_two_pixels, alt=describe_two_pixels, pixel_1=[0.1, 0.3, 0.5, 0.7, 0.9], pixel_2=[0.05, 0.15, 0.25, 0.55, 0.85],
                caption="Drag the image across the boundary. The dashed square and the circle are the largest L-infinity and L2 balls "
                        "around the image in which the answer stays the same. Both just touch the diagonal.")

# %% [markdown]
# The square touches the diagonal with its **corner**: the cheapest step in $L_\infty$ moves both pixels by the same amount.
# The circle touches it where the radius is perpendicular: the cheapest step in $L_2$ goes along $w$. (Here both are the same direction, because the two weights are equal.)
#
# The radius of such a ball has a name. Around this image the network is **$\varepsilon$-robust** for every smaller $\varepsilon$, and for no larger one.

# %% tags=["remove-input"]
records.verdict("A network of two pixels with weights 1 and bias 0 recognises images of mean at least one half.", source="belaustegui2022",
                reported="weights 1, bias 0, boundary at mean = 0.5",
                measured="with a threshold at 0 on the weighted sum every image passes, since no pixel is negative; the boundary at mean 0.5 needs the threshold 1, which is a bias of -1",
                verdict="open", why="Bias 0 can be right if the output is compared with 1, or if it is the mean that the neuron computes. "
                                    "What the output is compared with is not among the facts that we have. We draw the boundary where the sentence puts it.")

# %% [markdown]
# ### From two pixels to many
#
# Now give the same network $d$ pixels and let it compare the mean with one half again. Two people each change every pixel by $\varepsilon$, up or down.
# The first calculates, and pushes all pixels the same way. The second throws coins. The sum of the pixels moves by
#
# $$
# \underbrace{\varepsilon \, d}_{\text{adversary}} \qquad \text{against about} \qquad \underbrace{\varepsilon \sqrt d}_{\text{coins}} .
# $$
#
# The ratio is $\sqrt d$. It has nothing to do with depth, curvature or training. It is the price of *independent* errors against *coordinated* ones, and it grows with the number of pixels {cite}`goodfellow2015`.

# %%
pixels = [2, 28 * 28, 3 * 32 * 32, 3 * 224 * 224]
coins = torch.Generator().manual_seed(0)

def move_by_coins(d):
    """Root mean square of the sum of d coin flips, over two hundred throws."""
    flips = torch.randint(0, 2, (200, d), generator=coins) * 2 - 1.0
    return flips.sum(1).pow(2).mean().sqrt().item()


by_coins = [move_by_coins(d) for d in pixels]

# %% tags=["hide-input"] mystnb={"image": {"alt": "A plot with two logarithmic axes. Two straight lines start almost together at two pixels; the adversary's line rises twice as steeply as the line of the coin flips."}, "figure": {"caption": "How far the sum of the pixels moves when each moves by one unit, against the number of values in the image. Points: two hundred throws; lines: the formulas.", "name": "fig-00-root-d"}}
fig, ax = plt.subplots(figsize=(7, 3))
ax.loglog(pixels, pixels, color=plots.colour("fgsm"), marker="s", linestyle="--", label="adversary: $d$")
ax.loglog(pixels, by_coins, color=plots.colour("noise"), marker="x", linestyle="none", label="coins, thrown")
ax.loglog(pixels, [d**0.5 for d in pixels], color=plots.colour("noise"), linestyle=":", label="coins: $\\sqrt{d}$")
ax.set(xlabel="values in the image, $d$", ylabel="move of the sum (in $\\varepsilon$)")
ax.set_xticks(pixels, ["2", "784\nMNIST", "3,072\nCIFAR-10", "150,528\nImageNet"])
ax.minorticks_off()
ax.legend()
plots.finish(fig, "coin flips from seed 0")

# %% [markdown]
# This is the panda in one picture. To a deep network the image is not a sum of pixels, but *near one image* it behaves much like a weighted sum, with one weight per value: its gradient.
# There the adversary's push adds up over thousands of values, and random noise cancels itself.

# %% tags=["remove-input"]
records.verdict("More pixels allow smaller epsilons.", source="unam2021",
                reported="stated as a conclusion from MNIST and CIFAR-10",
                measured=f"for a linear network the advantage over random noise is exactly the square root of d: {pixels[1]**0.5:.0f} for MNIST, {pixels[2]**0.5:.0f} for CIFAR-10",
                verdict="open", why="The two data sets differ in much more than the number of pixels: colour, contrast, difficulty, networks. "
                                    "The linear argument supports the sentence; a comparison of two data sets does not prove it.")

# %% [markdown]
# ## Who attacks, and with what? Threat models
#
# Whether a system is safe is not a complete question. Safe *against whom*? The answer to that is called a **threat model**, and it has four parts.
#
# ```{list-table}
# :header-rows: 1
# :class: stack-on-phone
# :widths: 20 40 40
#
# * - What the attacker ...
#   - at one end
#   - at the other end
# * - **knows**
#   - *white box*: the network, its weights and its defence
#   - *black box*: only answers to questions, or not even those
# * - **wants**
#   - *untargeted*: any wrong answer
#   - *targeted*: one wrong answer that the attacker chose
# * - **may change**
#   - a budget: $\lVert \eta \rVert_p \le \varepsilon$ for a named norm $p$
#   - another budget: a sticker, a rotation, a few pixels
# * - **may spend**
#   - one gradient, one question
#   - thousands of steps, restarts, other networks to practise on
# ```
#
# *What is it for?* comes first. Somebody who wants to slip past a spam filter needs any wrong answer and has only questions; somebody who tests a safety system should give the imagined enemy everything.
# A defence that is only safe as long as nobody knows how it works is not a defence. So this book measures **white box** unless it says otherwise {cite}`carlini2019`.

# %% tags=["remove-input"]
records.verdict("Both kinds of attack are white-box attacks.", source="unam2021",
                reported="the words 'white box' stand for both kinds",
                measured="the two words name different knowledge: with the weights (white box), or without them (black box)",
                verdict="corrected", why="White box: the attacker may use the weights and therefore gradients. Black box: only answers, or another network. "
                                         "Targeted or untargeted is a separate choice; all four combinations exist.")

# %% [markdown]
# ### White box and black box
#
# The strangest fact of the field is that adversarial examples **travel**. Examples made on one network often fool another one, which was built differently and trained on its own {cite}`szegedy2014`.
# So an attacker who cannot look into your network trains a substitute and attacks that {cite}`papernot2017`.
# We try it: the examples are made on a VGG-style network, and shown to ours.

# %%
substitute = zoo.pretrained("vgg_blocks", cifar.name)
known = evaluation.logits(net, crowd.images).argmax(1) == crowd.labels
x, y = crowd.images[known], crowd.labels[known]  # those it names correctly

eps = 8 / 255
throws = torch.randint(0, 2, x.shape, generator=coins) * 2 - 1.0
trials = {
    "coin flips": (x + eps * throws).clamp(0, 1),
    "black box": attacks.fgsm(substitute, x, y, eps=eps),
    "white box": attacks.fgsm(net, x, y, eps=eps),
}
fooled = {name: evaluation.rate(evaluation.evaluate(net, x, trial, y).success)
          for name, trial in trials.items()}

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three bars with error bars: the share of images whose answer changes under coin flips is the smallest, examples from another network change more."}, "figure": {"caption": "Three adversaries with the same epsilon of 8/255: one throws coins, one practises on another network, one knows ours. Bars: share of images whose answer changes, with the 95 % interval.", "name": "fig-00-boxes"}}
fig, ax = plt.subplots(figsize=(7, 2.4))
shares = list(fooled.values())
errors = [[r.value - r.low for r in shares], [r.high - r.value for r in shares]]
ax.barh(list(fooled), [r.value for r in shares], xerr=errors, color=[plots.colour(c) for c in ("noise", "fgm", "fgsm")], ecolor="#222222", capsize=4)
ax.set(xlabel="share of the images that change their answer", xlim=(0, 1))
ax.xaxis.set_major_formatter("{x:.0%}")
ax.invert_yaxis()
ax.grid(axis="y", visible=False)
plots.finish(fig, cifar.source)

# %% tags=["remove-input"]
records.say("Coins change the answer of {coins:.0%} of {n} images, examples made on the other network {black:.0%}, examples made on ours {white:.0%}.",
            n=len(y), coins=fooled["coin flips"].value, black=fooled["black box"].value, white=fooled["white box"].value)

# %% [markdown]
# Whoever keeps the weights secret has gained something, and less than they hoped.
#
# ### Any class you like
#
# The attack so far ran away from the truth. A *targeted* attack runs towards a class of its choice: it makes the loss of the **target** small.
# We ask for all ten classes, one after the other, for the same image, in twenty small steps that never leave the ball of $8/255$ (how, is the subject of [chapter 04](04_many_steps)).

# %%
everything = torch.arange(10)
ten = panda.images.repeat(10, 1, 1, 1)
asked = attacks.bim(net, ten, everything, eps=8 / 255, steps=20,
                    step_size=2 / 255, targeted=True)
reached = evaluation.evaluate(net, ten, asked, everything,
                              targeted=True).success

# %% mystnb={"image": {"alt": "Ten copies of the same colour image, to the eye all alike. Above each stands the class that was asked for; a green frame says that the network answers with that class."}, "figure": {"caption": "One image, ten wishes. Above each copy stands the class that was asked for; a green frame means that the network gives exactly this answer, a dashed red one that it does not.", "name": "fig-00-wishes"}}
plots.images(asked, titles=cifar.classes, columns=5, frame=reached.tolist(),
             source=cifar.source)

# %% tags=["remove-input"]
records.say("The network grants **{k} of {n}** wishes.", k=int(reached.sum()), n=len(reached))

# %% [markdown]
# One of our sources turns this question around: is there one image that becomes *any class you like* depending on which small part of it is hidden {cite}`klientov`? The last chapter of the course will build it.
#
# ## How robust is a network?
#
# Now we can define it. Write $B_p(x, \varepsilon)$ for all images within $\varepsilon$ of $x$ in the norm $p$.
#
# - $f$ is **$\varepsilon$-robust at $x$** if no $x' \in B_p(x, \varepsilon)$ gets another class than $x$.
# - Following {cite}`belaustegui2022`, **$\Xi_\varepsilon(f)$** is the probability that there is *no* adversarial example within $\varepsilon$, among the images that $f$ classifies correctly:
#
# $$
# \Xi_\varepsilon(f) = P\big(\, f \text{ is } \varepsilon\text{-robust at } x \;\big|\; \hat y(x) = y \,\big).
# $$
#
# There is a catch, and it is the most important sentence of this chapter.
# *Finding* an example proves that there is one. *Not finding* one proves nothing: perhaps we did not look well.
# So in practice we measure a relative of it, relative to one attack $A$:
#
# $$
# \Xi^A_\varepsilon(f) = P\big(\, A \text{ fails at } x \;\big|\; \hat y(x) = y \,\big) .
# $$

# %% tags=["remove-input"]
widgets.predict(
    "An attack fails on 40 of 100 images that the network names correctly. What do we know about the true share of robust images?",
    {"It is 40 % exactly": "Only if the attack finds an example whenever there is one. No attack on a deep network can promise that.",
     "It is at most 40 %": "Sixty images are certainly not robust: we hold the examples in our hands. Of the other forty we know nothing.",
     "It is at least 40 %": "A better attack may find examples for some of the forty. It cannot take back one of the sixty."},
    answer="It is at most 40 %")

# %% [markdown]
# ### Where the truth is known
#
# For the network with two pixels we can check the definition, since there we know the distance to the boundary of every image.
# If both pixels are drawn uniformly, the images that are *not* $\varepsilon$-robust form a band along the diagonal, and its area gives
#
# $$
# \Xi_\varepsilon = (1 - 2 \varepsilon)^2 \qquad \text{in the norm } L_\infty, \text{ for } \varepsilon \le \tfrac12 .
# $$
#
# We build the network, draw images, attack them, and compare.

# %%
two_pixels = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
with torch.no_grad():  # the logits: dark = 0, bright = x1 + x2 - 1
    two_pixels[1].weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    two_pixels[1].bias.copy_(torch.tensor([0.0, -1.0]))

coins = torch.Generator().manual_seed(0)
draws = torch.rand(2000, 1, 1, 2, generator=coins)
names = two_pixels(draws).argmax(1)  # the network is always right about itself
radii = [k / 20 for k in range(11)]
linear = evaluation.robust_curve(two_pixels, draws, names, attacks.fgsm, radii)

# %% mystnb={"image": {"alt": "A curve that falls from one to zero as epsilon goes from zero to one half. The measured points with their narrow band lie on the line of the formula."}, "figure": {"caption": "The network with two pixels: robust share against epsilon. Line: the formula. Points and band: FGSM on two thousand random images, with the 95 % interval.", "name": "fig-00-linear"}}
fig = plots.curves({"fgsm": linear})
fig.axes[0].plot(radii, [(1 - 2 * r) ** 2 for r in radii],
                 color=plots.colour("clean"), linewidth=1, label="formula")
fig.axes[0].legend()
plots.finish(fig, "random images of two pixels, seed 0")

# %% [markdown]
# For a *linear* network FGSM is perfect: it takes exactly the cheapest step, and $\Xi^{\text{FGSM}}_\varepsilon = \Xi_\varepsilon$.
# No other network is so kind.
#
# ### Where it is not
#
# Here is LeNet on handwritten digits, under the same one-step attack and under one that takes ten steps inside the same ball.

# %%
digits = mnist[:300]
grid = [0, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3]


def ten_steps(model, x, y, eps):
    seed = torch.Generator().manual_seed(0)
    return attacks.pgd(model, x, y, eps=eps, steps=10, generator=seed)


x, y = digits.images, digits.labels
curves = {"fgsm": evaluation.robust_curve(lenet, x, y, attacks.fgsm, grid),
          "pgd": evaluation.robust_curve(lenet, x, y, ten_steps, grid)}

# %% mystnb={"image": {"alt": "Two falling curves of accuracy against epsilon with bands. Both start at the accuracy on clean images; the curve of the attack with many steps falls earlier and lower."}, "figure": {"caption": "The same network, the same images, two attacks. Each curve is an upper limit for the truth, which lies on or below the lower one.", "name": "fig-00-limits"}}
plots.curves(curves, source=mnist.source)

# %% tags=["remove-input"]
at = grid.index(0.1)
relative = {name: curve.accuracy[at] / curve.accuracy[0] for name, curve in curves.items()}
records.say("At eps = 0.1 the attack with one step fails on {one:.0%} of the images that LeNet classifies correctly, and the attack with ten steps on {ten:.0%}. "
            "Both are values of $\\Xi^A_\\varepsilon$ for the same network. Only the smaller one is worth reporting, and it is still only an upper limit.",
            one=relative["fgsm"], ten=relative["pgd"])

# %% [markdown]
# What the curves show is **robust accuracy**: the share of *all* images that are classified correctly and stay so under the attack. It is the product of the two things that one wants to know,
#
# $$
# \text{robust accuracy} = \underbrace{P(\hat y(x) = y)}_{\text{clean accuracy}} \; \times \; \Xi^A_\varepsilon(f) ,
# $$
#
# so a network cannot look robust by being wrong. The library measures it in a few lines, and counts an image as lost as soon as it is wrong, attacked or not:

# %%
import inspect

print(inspect.getsource(evaluation.robust_accuracy))

# %% [markdown]
# Every share comes with an interval, because three hundred images are not all images {cite}`wilson1927`. The interval says nothing about attacks that we did not try.
#
# ## How we got here
#
# :::{admonition} A short history
# :class: dropdown
# - {cite}`biggio2013`: attacks with gradients on spam and malware filters. The game between filter and spammer is older than deep learning.
# - {cite}`szegedy2014`: deep image networks have adversarial examples (found with the optimiser L-BFGS), and the examples travel from net to net.
# - {cite}`goodfellow2015`: the panda. Linearity is explanation enough, one step is attack enough (FGSM), and training on the examples helps.
# - {cite}`papernot2016` changes few pixels; {cite}`moosavi2016` (DeepFool) looks for the nearest boundary; {cite}`su2019` changes a single pixel.
# - {cite}`carlini2017`: a stronger attack breaks a defence that was thought to be safe. From here on, defences are judged by attacks that know them.
# - {cite}`kurakin2017` repeats the small step (BIM), and photographs of printed examples still fool; {cite}`madry2018` starts it at random (PGD) and trains against it.
# - {cite}`athalye2018`: many published defences only hid the gradient. {cite}`tramer2018` had seen the same in adversarial training with one step.
# - {cite}`ilyas2019`: perhaps the networks are right in their own way. The noise holds features that do predict the class; they are just not ours.
#
# {cite}`cutilli2021` tells the same story from the side of the defenders: denoising networks (which can be attacked as well), penalties on the gradient, pairs of logits, ensembles. Chapters 13 to 15 of the course are about them.
# :::
#
# ## Exercises
#
# 1. **Code.** Write `sizes(x, adversarial)`, which measures each perturbation of a batch in $L_\infty$, $L_2$ and $L_0$. Two traps are waiting: one number for the whole batch, and colours counted as pixels.
# 2. **Measurement.** On a hundred images: how often does random noise of size $\varepsilon$ change the answer, and how often does FGSM with the same $\varepsilon$?
# 3. **Thought.** Three short stories of an attack. Name the threat model of each: white or black box, targeted or not, which norm.
#
# [Exercises for this chapter](../exercises/student/00_adversarial_examples.ipynb)
#
# ## Take-away
#
# - An adversarial example is made *on purpose*: random noise of the same size does next to nothing.
# - "Small" is a choice of norm and budget. $L_\infty$, $L_2$ and $L_0$ protect against different things, and none of them is the human eye.
# - Many tiny coordinated steps add up like $d$, random ones like $\sqrt d$. Near an image a deep network is linear enough for this to hurt.
# - A statement about robustness needs its threat model: knowledge, goal, budget, effort.
# - An attack that fails proves nothing. Measured robustness is an upper limit, as good as the best attack that was tried.
#
# ## Where the numbers come from
#
# Everything in this chapter was computed by the cells above, on the data that stands under each figure, with networks whose training is described in their cards: `zoo.card("cifar_net")`, `zoo.card("vgg_blocks")` and `zoo.card("lenet")`.
# The random patterns come from seed 0. The panda was chosen by the rule in its cell; the shares were counted on images that nobody chose, the first ones of the test sets.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
