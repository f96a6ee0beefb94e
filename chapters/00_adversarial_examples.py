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
# The network below reads handwritten digits. Choose one, then push the slider: every pixel moves a little, each in a direction that somebody calculated.
# **How far must you push before the network gives a wrong answer, and how far before you would?**

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
widgets.lab(net="lenet", attack="fgsm")

# %% [markdown]
# Between the two answers lies the subject of this book: images that a small change, made on purpose, turns into another answer.
#
# :::{admonition} At a glance
# :class: glance
# - **You will be able to** say what an adversarial example is and what it is not; work one out with a pencil; measure a perturbation in three norms; name the threat model of an attack; read a statement such as "robust at $\varepsilon = 8/255$" and know what it leaves open.
# - **Time** 60 minutes of reading and playing.
# - **Threat model** all of them: this is the chapter in which they get their names.
# - **Sources** {cite}`belaustegui2022` for the definition of robustness and the network with two pixels, {cite}`unam2021` for the kinds of attack, {cite}`klientov` and {cite}`cutilli2021` for the setting.
# :::
#
# ## One attack, by hand
#
# What happens behind the slider? The smallest image that is worth an attack has four pixels, and the attack can be done with a pencil.
#
# $$
# x = \begin{pmatrix} x_1 & x_2 \\ x_3 & x_4 \end{pmatrix} = \begin{pmatrix} 0.6 & 0.4 \\ 0.5 & 0.4 \end{pmatrix}
# $$
#
# A network has to say which half is brighter, *left* or *right*. Five words are needed, and each of them can be worked out here.
#
# 1. **Logits.** The last layer gives one number for each class. Ours are $z_\text{left} = 2 (x_1 + x_3) = 2.2$ and $z_\text{right} = 2 (x_2 + x_4) = 1.6$. The largest logit is the answer: *left*, and that is right.
# 2. **Softmax.** It turns the logits into confidences, positive numbers with the sum one: $p_\text{left} = e^{2.2} / (e^{2.2} + e^{1.6}) = 0.65$ and $p_\text{right} = 0.35$.
# 3. **Loss.** It says how wrong the answer is. The usual one is the cross-entropy, $\mathcal L = -\ln p_\text{left} = 0.44$: near zero for a sure and right answer, and larger the less the network believes in the truth.
# 4. **Gradient.** How fast does the loss grow when one pixel gets a little brighter? One such number for each pixel, all together the gradient $g$. Here a brighter left half makes the answer safer, $g_1 = g_3 = -0.71$, and a brighter right half makes it worse, $g_2 = g_4 = +0.71$. (By the chain rule $\partial \mathcal L / \partial z_\text{left} = p_\text{left} - 1 = -0.354$ and $\partial \mathcal L / \partial z_\text{right} = p_\text{right} = 0.354$; each pixel enters its logit with the factor 2.)
# 5. **Step.** Training changes the *weights* so that the loss falls. An attack leaves the weights alone and changes the *image* so that the loss grows: every pixel moves by the same $\varepsilon$, up where $g$ is positive, down where it is negative.
#
# With $\varepsilon = 0.1$ the left pixels become darker and the right ones brighter,
#
# $$
# x + \varepsilon \operatorname{sign}(g) = \begin{pmatrix} 0.5 & 0.5 \\ 0.4 & 0.5 \end{pmatrix}, \qquad z_\text{left} = 1.8, \qquad z_\text{right} = 2.0,
# $$
#
# and the network says *right*. About this image it is no mistake: its right half *is* brighter now, 1.0 against 0.9. On four pixels such a step changes the meaning together with the answer; with thousands it need not. This step is called **FGSM**, the fast gradient sign method {cite}`goodfellow2015`. In code it takes four lines.

# %% tags=["nbval-check-output"]
from torch import nn

halves = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
with torch.no_grad():
    halves[1].weight.copy_(torch.tensor([[2.0, 0, 2, 0], [0, 2.0, 0, 2]]))
four = torch.tensor([[[[0.6, 0.4], [0.5, 0.4]]]])  # one grey image of 2 x 2 pixels
left = torch.tensor([0])  # its class

x = four.clone().requires_grad_()
loss = nn.functional.cross_entropy(halves(x), left)
gradient, = torch.autograd.grad(loss, x)
stepped = four + 0.1 * gradient.sign()

for name, image in (("before", four), ("after", stepped)):
    z = halves(image)[0]
    p = ", ".join(f"{v:.2f}" for v in z.softmax(0))
    print(f"{name:<6} logits {z[0]:.1f}, {z[1]:.1f}   confidences {p}")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three pictures of two by two squares: the image with a slightly brighter left half, the signs of the gradient, negative on the left and positive on the right, and the image after the step, whose right half is brighter."}, "figure": {"caption": "One FGSM step on four pixels. The image, the step of 0.1 in the direction of the sign of the gradient, and the result. Green frame: the answer is right about what is there, before the step and after it.", "name": "fig-00-four"}}
assert torch.allclose(stepped, attacks.fgsm(halves, four, left, eps=0.1))  # the library takes the same step
plots.grid([plots.image(four[0], "says left", frame=True), plots.noise(stepped[0] - four[0], "the step", limit=0.1),
            plots.image(stepped[0], "says right", frame=True)], source="four pixels, made up")

# %% [markdown]
# Why did such a small step do so much? Each pixel moved by $0.1$ only. But each of them moved the difference of the logits, $z_\text{left} - z_\text{right}$, by $0.2$ *in the same direction*, and $4 \cdot 0.2 = 0.8$ is more than the $0.6$ that lay between the answers.
# A photograph has not four pixels but thousands of values. That is where it gets interesting.
#
# ## Our own panda
#
# The most famous example is a photograph of a panda. Add a faint veil of coloured noise, and a good network says *gibbon*, surer of the gibbon than it had been of the panda {cite}`goodfellow2015`.
# We make our own, with a small network and small colour images. The rule: among the first two hundred test images of our copy of CIFAR-10, which has an order of its own, keep those that the network names correctly and that the attack turns into something *wrong*. Of these, show the one of which the network was surest, *before* and *after* taken together.
# So this is a chosen example. How common such examples are at four times this size, we count further down.

# %%
cifar = data.load("cifar10", "test", fallback="shapes")
net = zoo.pretrained("cifar_net", cifar.name)

EPS = 2 / 255  # two of the 255 steps from black to white
crowd = cifar[:200]
attacked = attacks.fgsm(net, crowd.images, crowd.labels, eps=EPS)

before = evaluation.logits(net, crowd.images).softmax(1)  # (N, classes)
after = evaluation.logits(net, attacked).softmax(1)
turned = (before.argmax(1) == crowd.labels) & (after.argmax(1) != crowd.labels)
clearest = (turned * before.amax(1) * after.amax(1)).argmax()
panda, gibbon = crowd[clearest[None]], attacked[clearest[None]]

# %% tags=["hide-input"] mystnb={"image": {"alt": "A small colour image, a pattern of coloured noise, the sum of both, which looks just like the first image, and bars that show how the confidence moves from the right class to a wrong one."}, "figure": {"caption": "Our panda: the image, the noise that is added (drawn stronger than it is, its scale is printed), the result, and the confidences of the network before and after.", "name": "fig-00-panda"}}
plots.attack(panda.images, gibbon, before[clearest[None]], after[clearest[None]], cifar.classes, source=cifar.source)

# %% tags=["remove-input"]
was, became = before[clearest], after[clearest]
records.say("The network was {p:.1%} sure of *{a}*. It is now {q:.1%} sure of *{b}*. No value of the image moved by more than {levels:.0f} of the {top} steps between black and white.",
            holds=bool(was.argmax() == panda.labels[0] and became.argmax() != panda.labels[0]),
            p=was.max(), a=cifar.classes[was.argmax()], q=became.max(), b=cifar.classes[became.argmax()],
            levels=(gibbon - panda.images).abs().max() * 255, top=255)

# %% [markdown]
# (It is no panda, but it plays the panda's part, so we keep the name.) Cover the noise with your hand and compare the first picture with the third. Then turn the knob yourself.

# %% tags=["hide-input"]
def turn_up(eps):
    adversarial = attacks.fgsm(net, panda.images, panda.labels, eps=eps)
    return plots.attack(panda.images, adversarial, before[clearest[None]], evaluation.logits(net, adversarial).softmax(1),
                        cifar.classes, magnify=8, source=cifar.source)


def describe(eps):
    p = evaluation.logits(net, attacks.fgsm(net, panda.images, panda.labels, eps=eps)).softmax(1)[0]
    return f"With epsilon {eps * 255:.0f}/255 the network says {cifar.classes[p.argmax()]} with confidence {p.max():.0%}."


def is_fooled(eps):
    return bool(evaluation.logits(net, attacks.fgsm(net, panda.images, panda.labels, eps=eps)).argmax(1) != panda.labels)


levels = {f"{k}/255": k / 255 for k in (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32)}
flip = next(tick for tick, eps in levels.items() if is_fooled(eps))

# %% tags=["remove-input"]
widgets.explore(turn_up, alt=describe, eps=levels, flips=flip,
                caption="Epsilon against image, noise and confidences. The noise is drawn eight times stronger than it is, on the same scale at every tick.")

# %% [markdown]
# Watch *which* wrong class wins: for some images it changes along the way, because this attack only pushes **away** from the truth and does not care where it lands. And find the $\varepsilon$ at which *you* first see the noise.
#
# ### The definition
#
# An adversarial example is an input that somebody changed *on purpose*, *by so little that its meaning stays the same*, so that a model gives a *wrong* answer.
# In symbols: a network $f$, an image $x$ of class $y$ that $f$ names correctly, and a change $\eta$ such that
#
# $$
# \hat y(x) = y, \qquad \hat y(x + \eta) \ne y, \qquad \lVert \eta \rVert \le \varepsilon, \qquad x + \eta \in [0, 1]^d .
# $$
#
# Here $\hat y(x)$ is the class with the largest logit, $d$ is the number of values in the image, and the last condition says that $x + \eta$ must still be an image.
# The rest of the chapter takes the words one by one: *on purpose*, *so little*, *wrong*, and the unspoken one, *by whom*.

# %% [markdown]
# ## On purpose: is it not just noise?
#
# The veil looks like the snow on an old television. Perhaps the network simply dislikes snow?
# We can test that. We keep the size of every step, and throw a coin for its direction: up or down, independently for each value of the image.

# %% tags=["remove-input"]
widgets.predict(
    "We make five hundred such coin-flip patterns for our panda. Each changes every value by exactly as much as the attack did. How many of them make the network give a wrong answer?",
    {"None, or nearly none": "The direction matters, not the size. A random pattern pushes as often the right way as the wrong way, and the pushes cancel.",
     "About half": "That would be so if the image lay on the edge between two classes. The network was very sure of it.",
     "Nearly all": "Then any camera noise would ruin the network, and it would name hardly any photograph correctly."},
    answer="None, or nearly none")

# %% tags=["covered"]
coins = torch.Generator().manual_seed(0)
flips = torch.randint(0, 2, (500, *panda.images.shape[1:]), generator=coins) * 2 - 1.0
noisy = (panda.images + EPS * flips).clamp(0, 1)  # every value up or down by EPS


def margins(x):
    """Best wrong logit minus the right one: above zero the answer is wrong."""
    y = panda.labels.expand(len(x))
    return evaluation.evaluate(net, panda.images.expand_as(x), x, y).margin


clean_margin, random_margin = margins(panda.images).item(), margins(noisy)
attack_margin = margins(gibbon).item()

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "A narrow histogram of the margins of the random patterns lies around the margin of the clean image, left of zero. The margin of the attack lies far to the right, beyond zero."}, "figure": {"caption": "The margin is the best wrong logit minus the right one: beyond zero, in the shaded part, the answer is wrong. Random patterns stay where the clean image is. The attack, with steps of the same size, crosses over.", "name": "fig-00-coins"}}
ax = plots.axes(height=2.6)
ax.hist(random_margin, bins=30, color=plots.colour("noise"), label="500 coin-flip patterns")
ax.axvline(clean_margin, color=plots.colour("clean"), label="clean image")
ax.axvline(attack_margin, color=plots.colour("fgsm"), linestyle="--", label="FGSM, same size")
edge = 1.1 * attack_margin
ax.axvspan(0, edge, color=plots.colour("fgsm"), alpha=0.08)
ax.set(xlabel="margin: best wrong logit minus right logit", ylabel="patterns", xlim=(None, edge))
ax.legend(loc="upper center")
plots.finish(ax, cifar.source)

# %% tags=["remove-input", "covered"]
records.say("Of {n} random patterns, **{hits}** changed the answer. On average they moved the margin by {shift:+.2f}; the attack moved it by {pushed:+.1f}.",
            holds=abs((random_margin - clean_margin).mean()) < 0.1 * (attack_margin - clean_margin),
            n=len(noisy), hits=int((random_margin > 0).sum()), shift=(random_margin - clean_margin).mean(), pushed=attack_margin - clean_margin)

# %% [markdown]
# :::{container} covered
# So it is not snow that the network dislikes here. It is a direction that none of the coins found, and somebody has to look for it.
# That is why the word is adversarial: there is an adversary, and he calculates.
# :::
#
# ## So little: how big is a change?
#
# "Too small to see" is a statement about people, and this book has not asked any. What a computer can check is a number, a norm of the perturbation $\eta$.
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
# The set of all changes that a norm allows is called its ball, even where it is not round.
# With two pixels we can draw it. (The fourth, $L_1 = \sum_i \lvert \eta_i \rvert$, stands between $L_2$ and $L_0$ and turns up now and then.)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Four small drawings of the set of changes of size one: a square for L infinity, a disc for L2, a diamond for L1, and a cross made of the two axes for L0."}, "figure": {"caption": "All changes of size one, with two pixels: a square, a disc, a diamond and a cross.", "name": "fig-00-balls"}}
angle = torch.linspace(0, 2 * torch.pi, 361)
rays = torch.stack([angle.cos(), angle.sin()], 1).view(-1, 1, 1, 2)  # directions, as images of two pixels


def draw_ball(ax, p, title):
    ax.set(title=title, aspect="equal", xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), xlabel="change of pixel 1", ylabel="change of pixel 2",
           xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    if p == "l0":  # at most one pixel differs: the two axes, without end
        ax.plot([-2, 2, None, 0, 0], [0, 0, None, -2, 2], color=plots.colour("pgd"), linewidth=4)
    else:
        edge = (rays / geometry.norm(rays, p).view(-1, 1, 1, 1)).flatten(1)
        ax.fill(edge[:, 0], edge[:, 1], color=plots.colour("pgd"), alpha=0.25)
        ax.plot(edge[:, 0], edge[:, 1], color=plots.colour("pgd"))


axes = plots.axes(4, height=2.4)
for ax, p, title in zip(axes, ("linf", "l2", "l1", "l0"), ("$L_\\infty$: square", "$L_2$: disc", "$L_1$: diamond", "$L_0$: cross")):
    draw_ball(ax, p, title)
plots.finish(axes, columns=4)

# %% [markdown]
# The corners matter. A linear function over a ball is largest in a corner, if there is one.
# The corners of the square are the points where *every* pixel moves by the full $\varepsilon$: that is what FGSM does.
# The corners of the diamond lie on the axes: *one* pixel does all the work.
#
# ### Three ways to be small
#
# Let us see the three on a digit. Each attack gets more and more to spend, until LeNet is wrong for the first time. One spreads its steps evenly ($L_\infty$: FGSM), one follows the gradient's own proportions ($L_2$: FGM, its sister), and one swings whole pixels to black or white ($L_0$).
# The first two are in the library. For the third we write the simplest thing that could work: swing first the pixels that promise the most.

# %%
mnist = data.load("mnist", "test", fallback="digits")
lenet = zoo.pretrained("lenet", mnist.name)


def swing_pixels(model, x, y, count):
    """Turn the `count` most promising pixels of each image black or white."""
    leaf = x.clone().requires_grad_()
    loss = attacks.losses.margin(model(leaf), y).sum()
    gradient, = torch.autograd.grad(loss, leaf)
    swing = (gradient > 0).float() - x  # to white where that helps, or to black
    promise = (gradient * swing).flatten(1)
    best = promise.topk(count).indices
    chosen = torch.zeros_like(promise).scatter(1, best, 1.0)
    return x + swing * chosen.view_as(x)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Upper row: a digit and three attacked versions of it. Lower row: the three perturbations. The first is an even pattern over the whole image, the second is concentrated around the stroke, the third consists of a few isolated pixels."}, "figure": {"caption": "The first change of each kind that fools LeNet. Above, what the network sees and says (green frame: right, orange dashed: wrong); below, what was added, all on one scale, with its three sizes.", "name": "fig-00-three-ways"}}
digit = mnist[4:5]
x, y = digit.images, digit.labels


def first_that_fools(strike, strengths):
    """The first attacked image that LeNet gets wrong, and what it costs."""
    for strength in strengths:
        adversarial = strike(strength)
        judged = evaluation.evaluate(lenet, x, adversarial, y)
        if judged.success:
            return adversarial, judged
    raise LookupError("no strength fools LeNet")


tries = {"evenly (FGSM)": (lambda eps: attacks.fgsm(lenet, x, y, eps=eps), [k / 100 for k in range(1, 60)]),
         "by gradient (FGM)": (lambda eps: attacks.fgm(lenet, x, y, eps=eps), [k / 20 for k in range(1, 200)]),
         "whole pixels": (lambda count: swing_pixels(lenet, x, y, count), range(1, 200))}
found = {name: first_that_fools(*attempt) for name, attempt in tries.items()}
says = lambda image: f"says {mnist.classes[evaluation.logits(lenet, image).argmax()]}"
sees = [plots.image(x[0], says(x), frame=True)] + [plots.image(image[0], says(image), frame=False) for image, _ in found.values()]
added = [plots.noise(x[0] - x[0], "nothing", limit=1)] + [
    plots.noise((image - x)[0], f"L∞ {size.linf.item():.2f}\nL2 {size.l2.item():.2f}\nL0 {size.l0.item():.0f}", limit=1)
    for image, size in found.values()]
plots.grid([sees, added], heads=["clean", *found], rows=["LeNet sees", "added"], source=mnist.source)

# %% tags=["remove-input"]
(_, even), (_, smooth), (_, few) = found.values()
records.say("The even change is the smallest of the three in $L_\\infty$ ({even:.2f}), the one by gradient in $L_2$ ({smooth:.2f}), and the one with whole pixels in $L_0$ ({few:.0f} pixels). "
            "In a norm that is not its own, each is beaten by another.",
            holds=bool(even.linf < min(smooth.linf, few.linf) and smooth.l2 < min(even.l2, few.l2) and few.l0 < min(even.l0, smooth.l0)),
            even=even.linf.item(), smooth=smooth.l2.item(), few=few.l0.item())

# %% [markdown]
# So which of the three is the small one? That depends on the norm, and no norm is an eye. They are stand-ins for "too small to notice", each with its own blind spot:
#
# - $L_\infty$ does not see *how many* pixels change. A faint veil over everything counts as little.
# - $L_0$ does not see *how far* they change. One white pixel in a black sky counts as one.
# - None of them sees *what* changes. Shift the whole image by one pixel: it shows the same thing, and the norms call it a large change (an exercise measures how large).
#
# When a paper says "robust", ask: in which norm, and how far? For $d$ values the norms are tied together by
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

# %% tags=["hide-input", "covered", "nbval-check-output"]
change = torch.full((1, 3, 32, 32), 8 / 255)
for p in geometry.NORMS:
    print(f"{p:>4}: {geometry.norm(change, p).item():9.4f}")

# %% [markdown]
# :::{container} covered
# The last line reads 1024, not 3072: a pixel counts once, whatever happens to its three colours.
# An $\varepsilon$ without the name of its norm can mean four different things, and they differ by factors of thousands.
# :::
#
# ## How far is the nearest wrong answer?
#
# For one kind of network we can calculate it. Take two inputs and one output that adds them up; it answers *bright* when the mean of the pixels is at least one half, else *dark* {cite}`belaustegui2022`:
#
# $$
# \text{bright} \iff x_1 + x_2 \ge 1 .
# $$
#
# All its images fit in a square. The points where it hesitates, the decision boundary, form the diagonal, and an adversarial example is a step over this diagonal.
# Move the image, and watch the largest balls around it in which the answer stays the same.

# %% tags=["hide-input"]
def distances(x1, x2):
    """How far the boundary is, in L-infinity and in L2."""
    gap = abs(x1 + x2 - 1)
    return gap / 2, gap / 2**0.5


def answer(x1, x2):
    return "bright" if x1 + x2 >= 1 else "dark"


def draw_two_pixels(pixel_1, pixel_2):
    square, circle = distances(pixel_1, pixel_2)
    turn = torch.linspace(0, 2 * torch.pi, 121)
    corner = torch.tensor([-1.0, 1, 1, -1, -1])
    ax = plots.axes(height=3.3)
    ax.fill([0, 1, 0], [1, 0, 0], color=plots.GREY, alpha=0.25)
    ax.plot([0, 1], [1, 0], color=plots.INK)
    ax.plot(pixel_1 + square * corner, pixel_2 + square * corner.roll(-1), color=plots.colour("fgsm"), linestyle="--")
    ax.plot(pixel_1 + circle * turn.cos(), pixel_2 + circle * turn.sin(), color=plots.colour("pgd"))
    ax.plot(pixel_1, pixel_2, "o", color=plots.INK)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="pixel 1", ylabel="pixel 2", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    ax.grid(False)
    told = f"says {answer(pixel_1, pixel_2)}\nboundary: L∞ {square:.3f}\nL2 {circle:.3f} away"
    return plots.grid([plots.image(torch.tensor([[[pixel_1, pixel_2]]]), told), ax])


def describe_two_pixels(pixel_1, pixel_2):
    square, circle = distances(pixel_1, pixel_2)
    return (f"The image ({pixel_1}, {pixel_2}) is {answer(pixel_1, pixel_2)}. The boundary is {square:.3f} away in the "
            f"L-infinity norm and {circle:.3f} away in the L2 norm.")

# %% tags=["remove-input"]
widgets.explore(draw_two_pixels, alt=describe_two_pixels, pixel_1=[0.3, 0.45, 0.6, 0.75, 0.9], pixel_2=[0.25, 0.35, 0.5, 0.7, 0.85],
                caption="A network with two pixels, which says dark in the shaded half. The dashed square and the circle are the largest L-infinity and L2 balls around the image in which the answer stays the same. Both just touch the diagonal.")

# %% [markdown]
# The square touches the diagonal with its **corner**: the cheapest step in $L_\infty$ moves both pixels by the same amount.
# The circle touches it where the radius is perpendicular: the cheapest step in $L_2$ goes along the weights.
#
# For any linear network with weights $w$ and threshold $b$, the distance from $x$ to the boundary, measured in the norm $p$, is
#
# $$
# \operatorname{dist}_p(x) = \frac{\lvert w \cdot x - b \rvert}{\lVert w \rVert_q}, \qquad \frac1p + \frac1q = 1 .
# $$
#
# The $q$ in the denominator is the *dual* of $p$ (for $p = \infty$ it is $q = 1$, for $p = 2$ it is $q = 2$).
# The reason takes one line, Hölder's inequality: a step $\eta$ changes $w \cdot x$ by $w \cdot \eta \le \lVert w \rVert_q \lVert \eta \rVert_p$, and some step reaches equality.
# Try it on the four pixels of the beginning: there $w = (2, -2, 2, -2)$ and $w \cdot x = 0.6$, so the boundary lies $0.6 / 8 = 0.075$ away, and our $\varepsilon = 0.1$ was more than enough.

# %% tags=["remove-input"]
side = torch.linspace(0, 1, 101)
every = torch.cartesian_prod(side, side)  # images of two pixels, in steps of a hundredth
responds = every @ torch.ones(2) >= 1 - 1e-6
records.verdict("A network with two pixels recognises when their mean is at least one half, with weights 1 and bias 0.", source="belaustegui2022",
                where="section 1.2.2, figure 1.7", reported="weights 1, bias 0; the pattern is recognised when the output is at least 1",
                measured=f"{(responds == (every.mean(1) >= 0.5 - 1e-6)).double().mean():.0%} of {len(every):,} images, in steps of a hundredth, get the right answer",
                verdict="confirmed", why="The output is the sum of the two pixels, and a sum of at least 1 is a mean of at least one half.")

# %% [markdown]
# ### When do many pixels make small steps?
#
# Give the linear network $d$ pixels. How much must each of them move? The adversary needs $\lvert w \cdot x - b \rvert / \lVert w \rVert_1$. Somebody who throws coins moves $w \cdot x$ only by about $\varepsilon \lVert w \rVert_2$, since most of the throws cancel, and needs $\lvert w \cdot x - b \rvert / \lVert w \rVert_2$.
# The two differ by a factor of up to $\sqrt d$. So with more pixels **noise weakens**, compared with an adversary: this is the panda, in one line.
# But does the adversary's own step get smaller?

# %% tags=["remove-input"]
widgets.predict(
    "The network that compares the mean with one half now sees an image of mean 0.6, first with 4 pixels, then with 400. How does the smallest step of the adversary change?",
    {"It shrinks to a hundredth": "A hundred times more pixels push, but each of them counts only a hundredth in the mean.",
     "It shrinks to a tenth": "The square root of a hundred is ten, and it is the right factor for something else: how much weaker coins are than an adversary.",
     "It stays the same": "To move the mean by 0.1, every pixel must move by 0.1, however many there are."},
    answer="It stays the same")

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "Two plots with logarithmic axes, of the step that is needed against the number of values. For the mean of the pixels the adversary's line is level and the line of the coins rises. For random weights the adversary's line falls and the line of the coins is level."}, "figure": {"caption": "How far every value must move until the answer changes, for an image of mean 0.6 whose mean is compared with one half, and for random weights as at the start of training (median of 200 random images). In both, coins need a factor of about the square root of d more.", "name": "fig-00-root-d"}}
sizes = [4, 28 * 28, 3 * 32 * 32, 3 * 64 * 64]
seeded = torch.Generator().manual_seed(0)


def random_weights(d):
    """Median steps of the adversary and of the coins, for 200 linear networks with random weights of size 1/sqrt(d)."""
    w = torch.randn(200, d, generator=seeded) / d**0.5
    gap = (w * (torch.rand(200, d, generator=seeded) - 0.5)).sum(1).abs()
    return [(gap / size).median().item() for size in (w.abs().sum(1), w.norm(dim=1))]


drawn = {"mean against one half": [[0.1 for _ in sizes], [0.1 * d**0.5 for d in sizes]],
         "random weights": list(zip(*map(random_weights, sizes)))}
axes = plots.axes(2, height=2.9)
for ax, (title, (adversary, throws)) in zip(axes, drawn.items()):
    ax.loglog(sizes, throws, color=plots.colour("noise"), marker="x", linestyle=":", label="coins")
    ax.loglog(sizes, adversary, color=plots.colour("fgsm"), marker="s", linestyle="--", label="adversary")
    ax.set(title=title, xlabel="values in the image, d", ylabel="step that is needed", ylim=(1e-3, 30))
    ax.legend()
plots.finish(axes, "linear networks; random ones from seed 0")

# %% [markdown]
# :::{container} covered
# For the mean nothing shrinks: $\lVert w \rVert_1$ is one for every $d$, and the boundary stays where it was. With random weights the step does shrink: they have a size of about $1 / \sqrt d$, as networks are initialised, so that $\lVert w \rVert_1$ grows like $\sqrt d$ while $\lvert w \cdot x - b \rvert$ does not grow with it.
# So the honest sentence is: **steps get small when $\lVert w \rVert_1$ grows faster than $\lvert w \cdot x - b \rvert$**.
#
# To a deep network the image is no sum of pixels, but near one image it behaves much like a weighted sum, and its gradient holds the weights.
# {cite:t}`simon-gabriel2019` prove for many architectures that, before training, the $L_1$ norm of this gradient grows like $\sqrt d$, and observe the same dependence after training. {cite:t}`shafahi2019` ask when no classifier at all can escape, and find that the complexity of the images counts as well as their number of pixels.
# :::

# %% tags=["remove-input"]
records.verdict("More pixels seem to allow smaller epsilons and less obvious attacks.", source="unam2021", where="section 4",
                reported="an impression from MNIST and CIFAR-10, with a reference that is not named",
                measured="nothing that could decide it: the two data sets differ in colour, contrast, difficulty and networks, and not only in the number of pixels",
                verdict="not tested here", why="A test would train networks of one kind on the same photographs at several resolutions, with five seeds each, and compare the epsilons that the strongest attack needs.")

# %% [markdown]
# ## By whom? Threat models
#
# Whether a system is safe is not a complete question. Safe *against whom*? The answer is called a threat model, and it has four parts.
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
# Somebody who wants to slip past a spam filter needs any wrong answer and has only questions; somebody who tests a safety system should give the imagined enemy everything.
# This book asks whether a defence holds against somebody who knows how it works, as {cite:t}`carlini2019` advise. So it measures **white box** unless it says otherwise.
#
# ### A stranger's network
#
# An attacker who cannot look into your network can train a substitute and attack that {cite}`papernot2017`. Does it help?
# We try it: the examples are made on a network in the style of VGG, and shown to ours.

# %% tags=["remove-input"]
widgets.predict(
    "All three get the same epsilon of 8/255. In which order do they fool our network, from the fewest images to the most?",
    {"Coins, examples from the other network, examples from ours": "The other network has learnt something similar enough to be useful, and not the same.",
     "Examples from the other network no better than coins, then ours": "That would make secrecy a perfect defence. It has been tried.",
     "Examples from both networks alike, coins far behind": "For that the two gradients would have to agree in sign nearly everywhere."},
    answer="Coins, examples from the other network, examples from ours")

# %% tags=["covered"]
substitute = zoo.pretrained("vgg_blocks", cifar.name)
known = crowd[evaluation.classified_right(net, crowd)]  # those it names correctly
x, y = known.images, known.labels

eps = 8 / 255
throws = torch.randint(0, 2, x.shape, generator=coins) * 2 - 1.0
trials = {
    "coin flips": (x + eps * throws).clamp(0, 1),
    "black box": attacks.fgsm(substitute, x, y, eps=eps),
    "white box": attacks.fgsm(net, x, y, eps=eps),
}
fooled = {name: evaluation.evaluate(net, x, trial, y).success
          for name, trial in trials.items()}

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "Three bars with error bars: the share of images whose answer changes under coin flips is the smallest, then examples from another network, then examples from the network itself."}, "figure": {"caption": "Three adversaries with the same epsilon of 8/255: one throws coins, one practises on another network, one knows ours. Bars: share of images whose answer changes, with the 95 % interval, which covers the images only.", "name": "fig-00-boxes"}}
shares = [evaluation.rate(hits) for hits in fooled.values()]
ax = plots.axes(height=2.2)
ax.barh(list(fooled), [r.value for r in shares], xerr=[[r.value - r.low for r in shares], [r.high - r.value for r in shares]],
        color=[plots.colour(c) for c in ("noise", "fgm", "fgsm")], ecolor=plots.INK, capsize=4)
ax.set(xlabel="share of the images that change their answer", xlim=(0, 1))
ax.xaxis.set_major_formatter("{x:.0%}")
ax.invert_yaxis()
ax.grid(axis="y", visible=False)
plots.finish(ax, cifar.source)

# %% tags=["remove-input", "covered"]
against = evaluation.paired(fooled["white box"], fooled["black box"])
beyond = evaluation.paired(fooled["black box"], fooled["coin flips"])
records.say("Of {n} images, coins fool {coins}, the stranger's examples {black}, and our own {white}. Image by image: {more} fall to the stranger's examples and not to coins, {less} the other way round; "
            "{ours} fall to our own and not to the stranger's, {theirs} the other way round. Whoever keeps the weights secret has gained something: {gap:.0%} of the images (95 % interval: {low:.0%} to {high:.0%}).",
            holds=against.low > 0 or cifar.name != "cifar10", n=against.n, coins=int(fooled["coin flips"].sum()), black=int(fooled["black box"].sum()), white=int(fooled["white box"].sum()),
            more=beyond.only_a, less=beyond.only_b, ours=against.only_a, theirs=against.only_b, gap=against.difference, low=against.low, high=against.high)

# %% [markdown]
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

# %% tags=["hide-input"] mystnb={"image": {"alt": "Ten copies of the same colour image, each with its own faint noise. Under each stands the class that was asked for; a green frame says that the network answers with that class."}, "figure": {"caption": "One image, ten wishes. Under each copy stands the class that was asked for; a green frame means that the network gives exactly this answer, an orange dashed one that it does not.", "name": "fig-00-wishes"}}
plots.images(asked, titles=cifar.classes, columns=5, frame=reached.tolist(), source=cifar.source)

# %% tags=["remove-input"]
records.say("The network grants **{k} of {n}** wishes.", k=int(reached.sum()), n=len(reached))

# %% [markdown]
# One of our sources turns this around: is there one image that becomes *any class you like*, depending on which small part of it is hidden {cite}`klientov`?
#
# ### What this book is not about
#
# Whoever wants to harm a learning system need not wait until it has learnt. Three other threats are often named in the same breath, and each has a literature of its own:
#
# - **Poisoning** changes the *training* data, so that the network learns something wrong: a few crafted examples can ruin a classifier {cite}`biggio2012`.
# - A **backdoor** is a poisoning with a key. The network works well on ordinary images, and gives the attacker's answer wherever a small mark appears, a yellow square on a stop sign for instance {cite}`gu2017`. The mark is large and need not be hidden; the weights are what was changed.
# - **Extraction** does not fool the network at all. The attacker asks questions, and rebuilds it from the answers {cite}`tramer2016`. It is a theft, and a good first step for the black-box attacker above.
#
# In this book the network is finished and honest, and the attacker changes the image in front of it. The field's name for that is *evasion* {cite}`biggio2013`.
#
# ## Wrong: how robust is a network?
#
# Write $B_p(x, \varepsilon)$ for all images within $\varepsilon$ of $x$ in the norm $p$.
#
# - $f$ is **$\varepsilon$-robust at $x$** if no $x' \in B_p(x, \varepsilon)$ gets another class than $x$.
# - Following {cite}`belaustegui2022`, **$\Xi_\varepsilon(f)$** is the probability that there is *no* adversarial example within $\varepsilon$, among the images that $f$ classifies correctly:
#
# $$
# \Xi_\varepsilon(f) = P\big(\, f \text{ is } \varepsilon\text{-robust at } x \;\big|\; \hat y(x) = y \,\big).
# $$
#
# Behind it stands a game of two players {cite}`madry2018`. One chooses the weights $\theta$, and moves first. The other sees them, and chooses the change $\eta$ of every image:
#
# $$
# \min_{\theta} \;\; \underset{(x, y)}{\operatorname{mean}} \;\; \max_{\lVert \eta \rVert_p \le \varepsilon} \; \mathcal L\big(f_\theta(x + \eta), y\big) .
# $$
#
# An attack plays the inner maximum, a defence the outer minimum. Without the maximum it is ordinary training. (The inner part alone, the mean of the largest loss, is another measure of robustness that {cite:t}`belaustegui2022` gives.)
#
# ### An attack is a bound, a proof is the other one
#
# There is a catch, and it is the most important sentence of this chapter.
# *Finding* an example proves that there is one. *Not finding* one proves nothing: perhaps we did not look well.
# So an attack $A$ measures a relative of robustness,
#
# $$
# \Xi^A_\varepsilon(f) = P\big(\, A \text{ fails at } x \;\big|\; \hat y(x) = y \,\big) .
# $$

# %% tags=["remove-input"]
widgets.predict(
    "An attack fails on 40 of 100 images that the network names correctly. What do we know about the share of robust images among these 100?",
    {"It is 40 % exactly": "Only if the attack finds an example whenever there is one. No attack on a deep network can promise that.",
     "It is at most 40 %": "Sixty images are certainly not robust: we hold the examples in our hands. Of the other forty we know nothing.",
     "It is at least 40 %": "A better attack may find examples for some of the forty. It cannot take back one of the sixty."},
    answer="It is at most 40 %")

# %% [markdown]
# :::{container} covered
# An attack gives an **upper bound** of robustness. A **lower bound** needs a proof that *nothing* in the ball changes the answer, a certificate.
# For a linear network we hold one: the distance to the boundary. Where the ball is smaller than the distance, no point of it has another answer. That follows from the formula, so it holds for every attack that stays in the ball, up to rounding.
# :::
#
# For the network with two pixels the bounds meet. If both pixels are drawn uniformly, the images that are *not* $\varepsilon$-robust form a band along the diagonal, and its area gives
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

draws = torch.rand(2000, 1, 1, 2, generator=torch.Generator().manual_seed(0))
names = two_pixels(draws).argmax(1)  # the network is always right about itself
radii = [k / 20 for k in range(11)]
linear = evaluation.robust_curve(two_pixels, draws, names, attacks.fgsm, radii)

# %% tags=["hide-input"] mystnb={"image": {"alt": "A curve that falls from one to zero as epsilon goes from zero to one half. The measured points with their narrow band lie on the line of the formula."}, "figure": {"caption": "The network with two pixels: robust share against epsilon. Line: the formula, a certificate. Points and band: FGSM on two thousand random images, with the 95 % interval. The bounds from below and from above meet.", "name": "fig-00-linear"}}
ax = plots.axes(height=3)
plots.curves({"fgsm": linear}, ax=ax)
ax.plot(radii, [(1 - 2 * r) ** 2 for r in radii], color=plots.colour("clean"), linewidth=1, label="formula")
ax.legend()
plots.finish(ax, "random images of two pixels, seed 0")

# %% [markdown]
# For a *linear* network FGSM takes exactly the cheapest step, and $\Xi^{\text{FGSM}}_\varepsilon = \Xi_\varepsilon$.
#
# ### Where no proof is at hand
#
# Here is LeNet on the first three hundred test digits, under the same one-step attack and under one that takes ten steps inside the same ball.

# %%
digits = mnist[:300]
grid = [0, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3]


def ten_steps(model, x, y, eps):
    seed = torch.Generator().manual_seed(0)
    return attacks.pgd(model, x, y, eps=eps, steps=10, generator=seed)


tried = {"fgsm": attacks.fgsm, "pgd": ten_steps}
curves = {name: evaluation.robust_curve(lenet, digits, attack=attack, eps=grid)
          for name, attack in tried.items()}

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two falling curves of accuracy against epsilon with bands. Both start at the accuracy on clean images; the curve of the attack with many steps falls earlier and lower."}, "figure": {"caption": "The same network, the same images, two attacks. Each curve is an upper bound of the truth, which lies on or below the lower one. Bands: 95 % intervals, which cover the images only.", "name": "fig-00-limits"}}
ax = plots.axes(height=3)
plots.curves(curves, ax=ax)
plots.finish(ax, mnist.source)

# %% tags=["remove-input"]
x, y = digits.images, digits.labels
left_by = {name: evaluation.classified_right(lenet, attack(lenet, x, y, eps=0.1), y) for name, attack in tried.items()}
steps = evaluation.paired(~left_by["pgd"], ~left_by["fgsm"])
relative = {name: curve.accuracy[grid.index(0.1)] / curve.accuracy[0] for name, curve in curves.items()}
records.say("At eps = 0.1 the attack with one step fails on {one:.0%} of the images that LeNet classifies correctly, and the attack with ten steps on {ten:.0%}: both are values of $\\Xi^A_\\varepsilon$ for the same network. "
            "Of the {n} images, only ten steps fooled {only_ten}, only one step {only_one}.",
            holds=relative["pgd"] <= relative["fgsm"] and steps.only_a >= steps.only_b,
            one=relative["fgsm"], ten=relative["pgd"], n=steps.n, only_ten=steps.only_a, only_one=steps.only_b)

# %% [markdown]
# Only the smaller one is worth reporting, and it is still only an upper bound.
# What the curves show is **robust accuracy**: the share of *all* images that are classified correctly and stay so under the attack. It is the product of the two things that one wants to know,
#
# $$
# \text{robust accuracy} = \underbrace{P(\hat y(x) = y)}_{\text{clean accuracy}} \; \times \; \Xi^A_\varepsilon(f) ,
# $$
#
# so a network cannot look robust by being wrong. An image counts as lost as soon as it is wrong, attacked or not. Every share comes with an interval, because three hundred images are not all images {cite}`wilson1927`. The interval says nothing about attacks that we did not try.

# %% tags=["remove-input"]
records.verdict("That every method fails to find a perturbation is necessary for robustness, and not sufficient.", source="belaustegui2022",
                where="section 3.1.2", reported="stated as a consequence of the definition, without an experiment",
                measured=f"of {steps.n} digits at eps = 0.1, {steps.only_a} withstand FGSM and fall to ten steps of the same size",
                verdict="confirmed", why="It follows from the definition; each of these digits is an example. Where one method has failed, another one succeeds.")

# %% [markdown]
# :::{admonition} A short history
# :class: dropdown
# - {cite}`biggio2013`: attacks with gradients on malware filters and on digits. The game between filter and spammer is older than deep learning.
# - {cite}`szegedy2014`: deep image networks have adversarial examples (found with the optimiser L-BFGS), and the examples travel from net to net.
# - {cite}`goodfellow2015`: the panda. Linearity is explanation enough, one step is attack enough (FGSM), and training on the examples helps.
# - {cite}`papernot2016` changes few pixels; {cite}`moosavi2016` (DeepFool) looks for the nearest boundary; {cite}`su2019` changes a single pixel.
# - {cite}`carlini2017`: a stronger attack breaks a defence that was thought to be safe. From here on, defences are judged by attacks that know them.
# - {cite}`kurakin2017` repeats the small step (BIM), and photographs of printed examples still fool; {cite}`madry2018` starts it at random (PGD) and trains against it.
# - {cite}`athalye2018`: many published defences only hid the gradient. {cite}`tramer2018` had seen the same in adversarial training with one step.
# - {cite}`ilyas2019`: perhaps the networks are right in their own way. The noise holds features that do predict the class; they are just not ours.
#
# {cite}`cutilli2021` tells the same story from the side of the defenders: denoising networks (which can be attacked as well), penalties on the gradient, pairs of logits, ensembles.
# :::

# %% tags=["remove-input"]
full = (geometry.norm(attacks.fgsm(lenet, x, y, eps=0.1) - x, "linf") / 0.1).min().item()
records.claims([
    dict(claim="A perturbation by FGSM always lies on the sphere of radius epsilon in the maximum norm.", source="belaustegui2022", where="section 3.1.2",
         reported="always", measured=f"of {len(x)} digits at eps = 0.1, clamped to [0, 1], the least norm is {full:.3f} times epsilon",
         verdict="confirmed" if full > 0.999 else "differs"),
    dict(claim="Adversarial perturbations are imperceptible to people.", source="unam2021", where="section 1",
         reported="part of the definition", measured="nobody was asked; a norm is not an eye", verdict="not tested here"),
    dict(claim="No known defence withstands all known methods without a price in performance.", source="belaustegui2022", where="section 3.1.2",
         reported="up to 2022, with a reference", measured="a statement about the literature", verdict="not tested here"),
])

# %% [markdown]
# ## Exercises
#
# 1. **Warm-up.** With a pencil: FGSM on another image of four pixels, and the smallest $\varepsilon$ that changes the answer.
# 2. **Code.** Write `sizes(x, adversarial)`, which measures each perturbation of a batch in $L_\infty$, $L_2$ and $L_0$.
# 3. **Measurement.** Noise is weaker than an attack. How many times larger must it be to do the same harm?
# 4. **Break it.** Shift the image by a pixel, without any calculation. What does the norm say, and what does the network?
# 5. **Think.** Three short stories of an attack. Name the threat model of each.
#
# [Exercises for this chapter](../exercises/student/00_adversarial_examples.ipynb)
#
# ## Take-away
#
# - An adversarial example is made *on purpose*: random noise of the same size pushes in all directions and gets nowhere.
# - "Small" is a choice of norm and budget. $L_\infty$, $L_2$ and $L_0$ measure different things, and none of them is the human eye.
# - A linear answer lies $\lvert w \cdot x - b \rvert / \lVert w \rVert_q$ from its boundary. Noise needs up to $\sqrt d$ times more; whether the adversary's step shrinks with $d$ depends on the weights.
# - A statement about robustness needs its threat model: knowledge, goal, budget, effort.
# - An attack bounds robustness from above, a certificate from below. An attack that fails proves nothing.
#
# ## What was shown, and what stays open
#
# Shown: on a few hundred images of two data sets and with three trained networks, one step of an attack does what noise of the same size does not; examples made on a second network carry over; ten steps find what one step misses. The attacks were FGSM, FGM, a simple one that swings whole pixels, BIM with twenty steps and PGD with ten, none of them the strongest that is known, so every robust share here is an upper bound.
# Open: how other networks, or the same ones trained with other seeds, would do; where between the bounds the truth lies for LeNet; and what people see.
#
# ## Where the numbers come from
#
# Everything in this chapter was computed by the cells above, on the data named under each figure, with networks whose training is described in their cards: `zoo.card("cifar_net")`, `zoo.card("vgg_blocks")` and `zoo.card("lenet")`.
# The random patterns come from seed 0. The panda and the digit of the three changes were chosen; the shares were counted on the first images of the test sets (of our copy of CIFAR-10, which keeps them in an order of its own).
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
