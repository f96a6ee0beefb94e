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
# # Many steps: BIM and PGD
#
# A hiker in fog wants to climb as high as possible, and may not stray more than a given distance from the hut.
# FGSM is the hiker who looks at the slope once, at the door of the hut, shuts both eyes and runs to the end of the leash.
# The hiker of this chapter looks again after every few steps.
# That small change turns a clever trick into the tool with which robustness is measured today.
# It also brings new ways to fool *oneself*: at the end of the chapter a net with no defence at all will look robust, and we will find out why.
#
# :::{admonition} At a glance
# :class: glance
# - **You will be able to** explain why one long step fails; write BIM and PGD for the maximum norm and the Euclidean norm; choose steps, step size and restarts, and check that they suffice; recognise a gradient that has vanished, and attack all the same.
# - **Time** 60 minutes of reading and playing.
# - **Threat model** white box: the attacker knows the net and its gradients. Untargeted, except in the section on targets. Budgets in the maximum norm and the Euclidean norm.
# - **Sources** {cite}`belaustegui2022` (the attacks it surveys, and its PGD), {cite}`cutilli2021` (what it retells of PGD training, and what it did not try), {cite}`unam2021` (targets). The attacks are from {cite}`kurakin2017` and {cite}`madry2018`.
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
from functools import partial

import matplotlib.pyplot as plt
from IPython.display import Markdown

from advlens import layers
from advlens.attacks.losses import cross_entropy, margin

mnist = data.load("mnist", "test", fallback="digits")
cifar = data.load("cifar10", "test", fallback="shapes")
lenet = zoo.pretrained("lenet", mnist.name)

right = evaluation.logits(lenet, mnist.images[:250]).argmax(1) == mnist.labels[:250]
some = mnist[:250][right][:200]  # images that LeNet classifies right: there is something to lose
x, y = some.images, some.labels

# %% [markdown]
# ## The tangent's promise
#
# FGSM trusts a straight line.
# Write $g$ for the gradient of the loss at the clean image, and $\eta$ for a small perturbation. Then
#
# $$
# \mathcal L(x + \eta) \;=\; \mathcal L(x) + g^\top \eta \;+\; \text{what the tangent does not see}.
# $$
#
# The first two terms are the tangent. The best $\eta$ for the tangent is the sign of $g$ times the budget, and that is FGSM.
# How long does the tangent tell the truth?
# Let us follow its ray. At each $\varepsilon$ we compare the loss that the tangent promises with the loss that the net really gives.
#
# As loss we take the **margin**: the best wrong logit minus the logit of the true class.
# It is negative while the net is right, and the moment it crosses zero the image is adversarial.

# %%
def ray(net, x, y, eps):
    """Margins along the FGSM ray, (len(eps), N): as they are, and as the tangent promises."""
    point = x.clone().requires_grad_()
    start = margin(net(point), y)
    gradient = torch.autograd.grad(start.sum(), point)[0]
    steps = [(x + e * gradient.sign()).clamp(0, 1) - x for e in eps]
    promised = [start + (gradient * d).flatten(1).sum(1) for d in steps]
    true = [margin(net(x + d), y) for d in steps]
    return torch.stack(true).detach(), torch.stack(promised).detach()


eps = torch.linspace(0, 0.3, 31)
true, promised = ray(lenet, x, y, eps)

# %% mystnb={"image": {"alt": "Four small plots of margin against eps. In each, the dashed tangent and the solid true curve leave the same point together; the true curve then bends away below the tangent and levels off."}, "figure": {"caption": "The margin along the FGSM ray of four images. Dashed: what the tangent at the clean image promises. Solid: what the net says. Above the zero line the image is misclassified.", "name": "fig-tangent-and-loss"}}
fig, axes = plt.subplots(1, 4, figsize=(plots.WIDTH, 2.5), sharey=True)
for i, ax in enumerate(axes):
    ax.plot(eps, promised[:, i], "--", color=plots.GREY, label="promised")
    ax.plot(eps, true[:, i], color=plots.colour("fgsm"), label="true")
    ax.axhline(0, color=plots.INK, linewidth=0.8)
    ax.set(title=f"a {mnist.classes[y[i]]}", xlabel="eps")
axes[0].set_ylabel("margin (logits)")
axes[0].legend(loc="upper left")
plots.finish(fig, mnist.source)

# %% tags=["remove-input"]
kept = ((true - true[0]) / (promised - promised[0])).median(1).values
records.say("**What we see.** At the start the two lines are one: a net of ReLUs is piecewise linear, and near the image its tangent is exact. "
            "At eps = 0.05 the margin has grown by {near:.0%} of what was promised (median of {n} images), at eps = 0.2 by only {far:.0%}. "
            "The ray has left the piece of the net in which the gradient was computed.", near=kept[5], far=kept[20], n=len(y))

# %% [markdown]
# The gradient at the door of the hut is right about the door.
# The cure is as plain as the fault: take a short step, and look again.
#
# ## Walk, look, walk: BIM
#
# The **basic iterative method** {cite}`kurakin2017` repeats FGSM with a small step $\alpha$ and keeps the result inside the budget:
#
# $$
# x_0 = x, \qquad
# x_{t+1} = \Pi\bigl(\, x_t + \alpha \operatorname{sign}(g_t) \,\bigr), \qquad g_t = \nabla_x \mathcal L(x_t).
# $$
#
# The map $\Pi$ brings a point that has left the allowed set back to it.
# With $T$ steps of $\alpha = \varepsilon / T$ the walk just reaches the edge of the budget, so BIM spends exactly as much as FGSM.
# It only aims more often.

# %% tags=["remove-input"]
widgets.predict(
    "FGSM and BIM get the same budget, eps = 0.1. FGSM takes it in one step, BIM in ten steps of a tenth each. Which leaves LeNet fewer correct answers?",
    {"FGSM: one long step cannot be pulled back and forth": "Every pixel of FGSM does end at the edge of the budget, but the direction was chosen far from where the walk ends.",
     "About the same: both spend the whole budget": "The budget is the same, the aim is not: nine times out of ten BIM has a fresher gradient.",
     "BIM, clearly": "Each of its ten gradients is computed where the walk stands, so it follows the bend that the tangent misses."},
    answer="BIM, clearly")

# %%
fast = attacks.fgsm(lenet, x, y, eps=0.1)
patient = attacks.bim(lenet, x, y, eps=0.1, steps=10)
one, ten = (evaluation.evaluate(lenet, x, adversarial, y) for adversarial in (fast, patient))

# %% tags=["remove-input"]
records.say("FGSM fools LeNet on {one:.0%} of the {n} images, BIM on {ten:.0%}. Yet the BIM perturbation is the *smaller* one: "
            "its mean Euclidean length is {short:.2f}, that of FGSM {long:.2f}.",
            one=one.success.float().mean(), ten=ten.success.float().mean(), n=len(y), short=ten.l2.mean(), long=one.l2.mean())

# %% mystnb={"image": {"alt": "Two rows of six signed noise pictures. The upper row, FGSM, is made of full-strength blue and orange pixels. The lower row, BIM, has the same outline with many paler pixels."}, "figure": {"caption": "The perturbations of FGSM (above) and BIM (below) for the same six images. Orange pixels got brighter, blue ones darker; the strongest colour is the whole budget.", "name": "fig-fgsm-bim-noise"}}
fig, axes = plt.subplots(2, 6, figsize=(plots.WIDTH, 2.7))
for adversarial, row, name in ((fast, axes[0], "fgsm"), (patient, axes[1], "bim")):
    for i, ax in enumerate(row):
        plots.noise(ax, adversarial[i] - x[i], limit=0.1)
    row[0].set_ylabel(plots.label(name))
plots.finish(fig, mnist.source)

# %% [markdown]
# **What we see.** FGSM pushes every pixel as far as it goes, one way or the other (or not at all, where a black pixel cannot get blacker).
# In BIM's noise many pixels are pale: there the sign of the gradient changed on the way, so some steps were taken back.
# A pixel that hesitates is a pixel about which FGSM guessed.
#
# ## Projection, in the plane
#
# What does $\Pi$ do? There are two fences.
#
# The **budget**: the perturbation must lie in the ball of radius $\varepsilon$ around the *clean* image. The nearest point of the ball is
#
# $$
# \Pi_\infty(\eta)_i = \min\bigl(\max(\eta_i, -\varepsilon),\, \varepsilon\bigr),
# \qquad
# \Pi_2(\eta) = \eta \cdot \min\Bigl(1, \frac{\varepsilon}{\lVert \eta \rVert_2}\Bigr).
# $$
#
# In the maximum norm each pixel is clipped on its own. In the Euclidean norm the whole perturbation shrinks, and its direction stays.
#
# The **image**: every pixel must stay in $[0, 1]$. This clamp moves pixels only back towards the clean image, so it never breaks the budget.
#
# An image with two pixels is a point in the plane, so there we can watch.
# We build a toy "net" whose margin is a hilly landscape, and let the library's own PGD walk in it.
# To see its path we eavesdrop: PyTorch calls a *forward hook* whenever the net is asked, and an attack must ask the net at every point it visits.

# %%
def walk(net, x, y, **settings):
    """Every point that PGD visits (steps + 1, N, C, H, W), and its logits (steps + 1, N, K)."""
    heard = []
    note = lambda net, inputs, logits: heard.append((inputs[0].detach(), logits.detach()))
    hook = net.register_forward_hook(note)
    try:
        attacks.pgd(net, x, y, **settings)
    finally:
        hook.remove()
    points, logits = zip(*heard)
    return torch.stack(points), torch.stack(logits)

# %%
class Landscape(torch.nn.Module):
    """A net for images of two pixels (N, 1, 1, 2); its margin is a landscape with two hills."""

    def forward(self, image):
        a, b = image.flatten(1).T
        hill = lambda p, q, width: torch.exp(-((a - p) ** 2 + (b - q) ** 2) / width)
        height = 3 * hill(0.85, 0.3, 0.12) + 2 * hill(0.3, 0.8, 0.1)
        return torch.stack([torch.zeros_like(height), height], 1)


land, clean, none = Landscape(), torch.tensor([[[[0.28, 0.28]]]]), torch.tensor([0])
hike = partial(walk, land, clean, none, eps=0.3, steps=8, step_size=0.12,
               loss="margin", random_start=False)
paths = {norm: hike(norm=norm)[0] for norm in ("linf", "l2")}

# %%
def after_step(points, norm, size=0.12):
    """Where one step of steepest ascent leads from each point, before any projection."""
    points = points.clone().requires_grad_()
    gradient = torch.autograd.grad(land(points)[:, 1].sum(), points)[0]
    return (points + size * geometry.steepest(gradient, norm)).detach()

# %% tags=["hide-input"]
def fences(ax, norm, eps=0.3):
    """The landscape, the budget around the clean image, and the edge of what is an image."""
    a, b = torch.meshgrid(torch.linspace(-0.12, 1, 90), torch.linspace(-0.12, 1, 90), indexing="xy")
    height = land(torch.stack([a, b], -1).view(-1, 1, 1, 2))[:, 1].view(a.shape)
    ax.contour(a, b, height, levels=12, cmap="Greys", linewidths=0.9)
    p, q = clean.flatten().tolist()
    ball = plt.Circle((p, q), eps) if norm == "l2" else plt.Rectangle((p - eps, q - eps), 2 * eps, 2 * eps)
    ball.set(facecolor="#0072B214", edgecolor=plots.colour("lenet"), linewidth=1.5)
    ax.add_patch(ball)
    ax.add_patch(plt.Rectangle((0, 0), 1, 1, fill=False, linestyle=":", edgecolor=plots.GREY))

# %% tags=["hide-input"]
def draw_plane(ball, step):
    points = paths[ball][:, 0]
    trail, aim = points.flatten(1), after_step(points, ball).flatten(1)
    fig, ax = plt.subplots(figsize=(4.4, 4.2))
    fences(ax, ball)
    ax.plot(*trail[:step + 1].T, "o-", color=plots.colour("pgd"), label="path")
    ax.annotate("", aim[step], trail[step], arrowprops={"arrowstyle": "->", "color": plots.RIGHT, "linewidth": 2})
    ax.plot([], [], color=plots.RIGHT, label="gradient step")
    if not torch.allclose(aim[step], trail[step + 1], atol=1e-4):
        ax.annotate("", trail[step + 1], aim[step], arrowprops={"arrowstyle": "->", "color": plots.WRONG, "linestyle": "--", "linewidth": 2})
    ax.plot([], [], "--", color=plots.WRONG, label="projection")
    ax.plot(*trail[0], "o", color=plots.INK, markersize=8, label="clean image")
    ax.set(xlim=(-0.12, 1), ylim=(-0.12, 1), xlabel="pixel 1", ylabel="pixel 2", aspect="equal", title=f"step {step + 1}")
    ax.legend(loc="upper right")
    return plots.finish(fig, "a landscape made for this figure")

# %% tags=["remove-input"]
def say_plane(ball, step):
    shape, here = {"linf": "square", "l2": "circle"}[ball], paths[ball][step, 0].flatten().tolist()
    return (f"Two pixels as a plane with height lines, a {shape} as the budget. After {step} steps the walk stands at "
            f"({here[0]:.2f}, {here[1]:.2f}); an arrow shows the next gradient step, and a dashed one the projection where it is needed.")


widgets.explore(draw_plane, alt=say_plane, ball={"maximum norm": "linf", "Euclidean norm": "l2"}, step=list(range(8)),
                caption="PGD on an image of two pixels. Solid arrow: the step along the gradient. Dashed arrow: back into the budget. Dotted frame: the edge of [0, 1].")

# %% [markdown]
# **What we see.** In the square the steps are diagonal, because the sign of a gradient has only diagonal directions (and, rarely, the axes).
# The walk hits the right wall, is pushed back onto it, and goes on *along* the wall.
# It ends by treading back and forth past the best place on the wall: a step of constant length cannot settle.
# In the circle each step follows the slope, and the projection slides the point along the arc until slope and fence stand square to each other.
# An attack should therefore remember the best point it has met, and not trust that the last one is the best.
#
# ## The loop, as it stands in the library
#
# The projection is a few lines. This is the code that runs, printed by Python itself:

# %% tags=["nbval-check-output"]
records.listing(geometry.project)

# %% [markdown]
# A step, with both fences behind it:

# %% tags=["nbval-check-output"]
records.listing(attacks.gradient._step)

# %% [markdown]
# And this loop climbs for BIM and PGD. FGSM takes a single step, without a random start.

# %% tags=["nbval-check-output"]
records.listing(attacks.gradient._ascend)

# %% [markdown]
# Three calls carry the idea:
#
# - `_query` asks the net once, for the loss, the answer and the gradient;
# - `_keep_strongest` remembers the best point so far of **each** image;
# - `_step` is the function above: uphill, into the ball, into $[0, 1]$.
#
# The middle of the loop is thrift: with `first_success`, images that are fooled leave the walk.
#
# Nothing in the loop adds or averages over the images of a batch. An image's result must not depend on its neighbours.
#
# {cite}`belaustegui2022` surveys eight attacks. Three of them are settings of this one loop, and so is FGM of {cite}`unam2021`:
#
# | attack | ball | start | steps | step size |
# |---|---|---|---|---|
# | FGSM | maximum norm | the image | one | $\varepsilon$ |
# | FGM | Euclidean norm | the image | one | $\varepsilon$ |
# | BIM | either | the image | $T$ | $\varepsilon / T$ |
# | PGD | either | a random point, perhaps several | $T$ | $2.5\, \varepsilon / T$ |
#
# The other five (L-BFGS, JSMA, DeepFool, Carlini and Wagner's, one pixel) ask a different question, the *smallest* change that suffices, and wait for the next chapter.
#
# ## PGD: start anywhere
#
# **Projected gradient descent** {cite}`madry2018` differs from BIM in its first line. It starts at a *random point* of the ball, and may start again several times:
#
# $$
# x_0 = x + \eta_0, \qquad \eta_0 \sim \text{uniform on } B_p(0, \varepsilon).
# $$
#
# (It is called *descent* because its authors minimise; here it climbs.)
#
# In the Euclidean ball, uniform means: a Gaussian direction, and a radius $\varepsilon\, u^{1/n}$ for a uniform $u$ and $n$ pixels.
# In many dimensions nearly the whole volume of a ball lies close to its surface, so such a start is nearly as far away as it may be.
#
# Why throw the dice? The clean image is a special place. It may lie on a plateau where the gradient is tiny, or in a valley with one bad exit.
# A random start costs nothing, and a second one gives a second chance.
# There are now four knobs: **steps**, **step size**, **random start**, **restarts**. We turn each.
#
# ### Steps, and how far they reach
#
# A walk of $T$ steps of size $\alpha$ cannot get further than $T \alpha$ from where it starts. The belt is long enough only if
#
# $$
# T \, \alpha \;\ge\; \varepsilon .
# $$
#
# This sounds too simple to get wrong. {cite}`belaustegui2022` walks forty steps of 2/255, whatever the budget.

# %% tags=["remove-input"]
widgets.predict(
    "An attack starts at the clean image and takes forty steps of 2/255. Its budget is eps = 0.5. How far can a pixel move?",
    {"As far as the budget allows": "The budget is a fence, not an engine: forty steps of 2/255 are worn out before they reach it.",
     "40 x 2/255, and no further": f"That is {40 * 2 / 255:.2f}. Beyond it a larger budget changes nothing: the curve goes flat, and looks like robustness.",
     "2/255, a step is a step": "The steps add up as long as the sign of the gradient stays the same."},
    answer="40 x 2/255, and no further")

# %%
budgets = [0.1, 0.2, 0.3, 0.4, 0.5]
schedules = {"40 steps of 2/255, start at x": {"step_size": 2 / 255, "random_start": False},
             "40 steps of 2/255, random start": {"step_size": 2 / 255},
             "40 steps of 2.5 eps / 40": {}}

def reached(**settings):
    """For each budget: the mean margin and the largest change of a pixel, over 50 images."""
    rows = []
    for eps in budgets:
        seed = torch.Generator().manual_seed(0)
        moved = attacks.pgd(lenet, x[:50], y[:50], eps=eps, loss="margin", generator=seed, **settings)
        found = evaluation.evaluate(lenet, x[:50], moved, y[:50])
        rows.append((found.margin.mean(), found.linf.max()))
    return torch.tensor(rows)

# %%
reach = {name: reached(**settings) for name, settings in schedules.items()}

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two plots against the budget eps. Left, the largest change of any pixel: the schedule that starts at the clean image goes flat between two budgets, the two others grow on. Right, the mean margin: the schedule with steps that grow with eps is highest at large budgets."}, "figure": {"caption": "Three schedules of forty steps. Left: the largest change of any pixel; right: the mean margin over the images, higher is a stronger attack.", "name": "fig-reach"}}
fig, axes = plt.subplots(1, 2, figsize=(plots.WIDTH, 3.2))
for (name, values), look in zip(reach.items(), plots.OTHERS):
    for ax, column in zip(axes, (1, 0)):
        ax.plot(budgets, values[:, column], color=look.colour, marker=look.marker, linestyle=look.line, label=name)
axes[0].plot(budgets, budgets, color=plots.GREY, linewidth=0.8)
axes[0].set(xlabel="budget eps", ylabel="largest change of a pixel")
axes[1].set(xlabel="budget eps", ylabel="mean margin (logits)")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=1)
plots.finish(fig, mnist.source)

# %% tags=["remove-input"]
stuck, thrown, scaled_steps = (values[-1] for values in reach.values())
records.verdict("Forty steps of 2/255 are enough to measure accuracy against epsilon.", source="belaustegui2022",
                reported="PGD in the maximum norm, step 2/255, 40 steps, random start, for every epsilon of a curve.",
                measured=f"From the clean image no pixel moves further than {stuck[1]:.2f}. With a random start some reach {thrown[1]:.2f} of a budget of "
                         f"{budgets[-1]}, because they began there; the mean margin is then {thrown[0]:.1f}, against {scaled_steps[0]:.1f} for steps that grow with eps.",
                verdict="corrected",
                why=f"40 x 2/255 = {40 * 2 / 255:.2f}. Up to that budget the schedule is sound, and the epsilons that the source discusses lie below it. "
                    "Beyond it a fixed step measures its own leash, not the net.")

# %% [markdown]
# The library's default step is $\alpha = 2.5\,\varepsilon / T$: two and a half times what is needed to reach the edge, so that the walk can go there, turn, and come back.
# Is that a good choice? On a grid of steps and step sizes, at eps = 0.1:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Table as a coloured grid: rows are numbers of steps from 1 to 100, columns are step sizes in units of eps over steps. The accuracy left falls from the top, with one step, to the bottom right; the columns from the third on differ little."}, "figure": {"caption": "Accuracy that PGD leaves to LeNet at eps = 0.1, for numbers of steps (down) and step sizes (across, in units of eps / steps). Darker is a stronger attack.", "name": "fig-knobs"}}
knobs = records.read("04-knobs")["values"]
grid = torch.tensor(knobs["accuracy"])
fig, ax = plt.subplots(figsize=(plots.WIDTH, 3.6))
ax.imshow(grid, cmap="Blues_r", vmin=0, vmax=1.6 * grid.max(), aspect="auto")
for (i, j), value in [((i, j), grid[i, j].item()) for i in range(len(grid)) for j in range(grid.shape[1])]:
    ax.text(j, i, f"{value:.0%}", ha="center", va="center", color="white" if value < 0.5 * grid.max() else plots.INK)
ax.set_xticks(range(grid.shape[1]), [f"{r:g}" for r in knobs["reach"]])
ax.set_yticks(range(len(grid)), knobs["steps"])
ax.set(xlabel="step size, in units of eps / steps", ylabel="steps")
ax.grid(False)
plots.finish(fig, "MNIST test images, recorded")

# %% tags=["remove-input"]
records.quote("04-knobs")

# %% tags=["remove-input"]
row = dict(zip(knobs["steps"], knobs["accuracy"]))
default = knobs["reach"].index(2.5)
records.say("**What we see.** From one step to ten, accuracy falls from {one:.1%} to {ten:.1%} (default step size); from {late} steps to {last} it falls by another {more:.1%}. "
            "The first steps matter most, and every further one costs the same. Steps of {short:g} cannot reach the edge, and no number of them helps. "
            "Much longer steps waste a short walk and serve a long one: the smallest entry, {best:.1%}, stands at {r:g}. The default is a compromise.",
            one=row[1][default], ten=row[10][default], late=40, last=100, more=row[40][default] - row[100][default], short=knobs["reach"][0],
            best=grid.min(), r=knobs["reach"][grid.min(0).values.argmin()])

# %% [markdown]
# ### Starting again
#
# Each restart is a new walk from a new random point, for those images only that still stand.
# If an image has several summits of different height, restarts will find it out.

# %% tags=["hide-input"] mystnb={"image": {"alt": "A falling curve: the accuracy left after 1 to 20 random starts of PGD on LeNet. It falls with the first starts and then flattens."}, "figure": {"caption": "Accuracy of LeNet at eps = 0.1 after one, two, ... twenty random starts of PGD with forty steps; band: 95 % interval.", "name": "fig-restarts"}}
after = knobs["after starts"]
starts = range(1, len(after) + 1)
fig, ax = plt.subplots(figsize=(plots.WIDTH, 2.8))
ax.fill_between(starts, [r["low"] for r in after], [r["high"] for r in after], color=plots.colour("pgd"), alpha=0.18, linewidth=0)
ax.plot(starts, [r["value"] for r in after], color=plots.colour("pgd"), marker="D")
ax.axhline(knobs["start at x"], color=plots.colour("bim"), linestyle="-.", label="one walk that starts at the clean image")
ax.set(xlabel="random starts", ylabel="accuracy left", ylim=(0, None), xticks=[1, 2, 5, 10, 15, 20])
ax.yaxis.set(major_locator=plt.MultipleLocator(0.05), major_formatter="{x:.0%}")
ax.legend()
plots.finish(fig, "MNIST test images, recorded")

# %% tags=["remove-input"]
records.say("One random start leaves {one:.1%}, five leave {five:.1%}, {all} leave {last:.1%}. A walk from the clean image leaves {plain:.1%}.",
            one=after[0]["value"], five=after[4]["value"], all=len(after), last=after[-1]["value"], plain=knobs["start at x"])

# %% [markdown]
# Count what this costs: five restarts of forty steps are two hundred forward and two hundred backward passes.
# Before you buy restarts, buy enough steps; before you buy steps, check that the loss still has a gradient. That check is coming.
#
# ## Do all roads lead to the same height?
#
# {cite}`cutilli2021` retells an observation of {cite:t}`madry2018`: walks from many random starts end at *different* points, but with *similar* losses.
# If that is so, one start tells nearly as much as many.
# Let us listen to ten walks on each of four images.

# %%
def listen(net, x, y, starts=10, steps=40, eps=0.1):
    """Cross-entropy along PGD walks from random starts, (steps + 1, starts, N)."""
    seed = torch.Generator().manual_seed(0)
    walks = [walk(net, x, y, eps=eps, steps=steps, generator=seed)[1] for _ in range(starts)]
    losses = [cross_entropy(z.flatten(0, 1), y.repeat(len(z))).view(len(z), -1) for z in walks]
    return torch.stack(losses, 1)


heard = listen(lenet, x[:4], y[:4])

# %% mystnb={"image": {"alt": "Four plots of loss against step, each with ten rising lines. Within a plot the lines run closely together and end at about the same height; the heights differ from plot to plot."}, "figure": {"caption": "Cross-entropy along ten PGD walks from random starts, for four images, at eps = 0.1. Below the dotted line, log 2, the true class still has more than half of the probability.", "name": "fig-starts"}}
fig, axes = plt.subplots(1, 4, figsize=(plots.WIDTH, 2.6), sharey=True)
for i, ax in enumerate(axes):
    ax.plot(heard[:, :, i], color=plots.colour("pgd"), linewidth=0.9, alpha=0.7)
    ax.axhline(torch.tensor(2.0).log(), color=plots.INK, linestyle=":", linewidth=1)
    ax.set(title=f"a {mnist.classes[y[i]]}", xlabel="step")
axes[0].set_ylabel("cross-entropy (nats)")
plots.finish(fig, mnist.source)

# %% [markdown]
# Within an image the walks keep together; between images they do not.
# Four images prove nothing, so here is the same for more images and more starts. Each vertical line is one image, from its worst start to its best.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Images sorted by mean final loss from left to right, each as a short vertical line from the lowest to the highest final loss over its starts. The lines are short compared with the rise from left to right."}, "figure": {"caption": "Where PGD walks end: for each image, sorted, the range of the final cross-entropy over its random starts (line) and its mean (dot).", "name": "fig-concentration"}}
ends = records.read("04-starts")["values"]
order = sorted(range(ends["images"]), key=lambda i: ends["mean"][i])
fig, ax = plt.subplots(figsize=(plots.WIDTH, 3.0))
low, high, mean = ([ends[key][i] for i in order] for key in ("low", "high", "mean"))
ax.vlines(range(len(order)), low, high, color=plots.colour("pgd"), linewidth=2, alpha=0.55)
ax.plot(mean, ".", color=plots.INK, markersize=3)
ax.axhline(torch.tensor(2.0).log(), color=plots.INK, linestyle=":", linewidth=1)
ax.set(xlabel="image, sorted by its mean", ylabel="final cross-entropy (nats)")
plots.finish(fig, "MNIST test images, recorded")

# %% tags=["remove-input"]
records.quote("04-starts")

# %% tags=["remove-input"]
records.verdict("Walks from many random starts end at different points with nearly the same loss.", source="cutilli2021",
                reported="Retold from Madry and others (2018).",
                measured=f"{ends['starts']} starts on {ends['images']} images (LeNet, eps = {ends['eps']}): the final losses of one image spread by {ends['within images']:.2f} nats "
                         f"(standard deviation), the images by {ends['between images']:.2f}. Two ends of one image lie {ends['distance']:.2f} apart, "
                         f"where perturbations with nothing in common would be {2 ** 0.5 * ends['length']:.2f} apart. For {ends['start decides']:.0%} of the images the start decides whether the attack succeeds.",
                verdict="confirmed",
                why="The losses of an image concentrate, though its end points do not coincide. But concentrated is not equal: "
                    "an image whose summit lies near the decision boundary falls from one start and stands from another. Those are the images that restarts win.")

# %% [markdown]
# ## One walk, step by step
#
# Here is a whole attack to play with. The walk starts at the clean image, so that its first frame shows no attack at all.
# Move the step, and watch four things at once: the image, the perturbation, the loss, and what the net believes.

# %%
def film(name, dataset, eps):
    """One PGD walk on the first image that the net classifies right, step by step."""
    net = zoo.pretrained(name, dataset.name)
    answers = evaluation.logits(net, dataset.images[:50]).argmax(1)
    one = dataset[int((answers == dataset.labels[:50]).nonzero()[0])]
    points, logits = walk(net, one.images, one.labels, eps=eps, random_start=False)
    loss = cross_entropy(logits[:, 0], one.labels.expand(len(logits)))
    return {"data": dataset, "eps": eps, "points": points[:, 0],
            "probabilities": logits[:, 0].softmax(1), "loss": loss}


films = {"grey": film("lenet", mnist, 0.15), "colour": film("cifar_net", cifar, 4 / 255)}

# %% tags=["hide-input"]
def draw_film(image, step):
    one = films[image]
    fig, (picture, noise, loss, bars) = plt.subplots(1, 4, figsize=(plots.WIDTH, 2.3), width_ratios=[1, 1, 1.3, 1.1])
    point, confidence, classes = one["points"][step], one["probabilities"][step], one["data"].classes
    plots.noise(noise, point - one["points"][0], limit=one["eps"])
    noise.set_title(f"noise, ±{one['eps']:.2g}")
    picture.imshow(point.permute(1, 2, 0), cmap="gray", vmin=0, vmax=1)
    picture.set(xticks=[], yticks=[], title=f"{classes[confidence.argmax()]} ({confidence.max():.0%})")
    loss.plot(one["loss"], color=plots.GREY, linewidth=1)
    loss.plot(one["loss"][:step + 1], color=plots.colour("pgd"))
    loss.plot(step, one["loss"][step], "o", color=plots.colour("pgd"))
    loss.set(xlabel="step", title="cross-entropy")
    show_confidences(bars, one["probabilities"], step, classes)
    return plots.finish(fig, one["data"].source)

# %% tags=["hide-input"]
def show_confidences(ax, probabilities, step, classes, most=5):
    """Bars for the classes that are ever believed most during the walk."""
    which = probabilities.amax(0).argsort(descending=True)[:most].sort().values
    ax.barh([classes[k] for k in which], probabilities[step, which], color=[plots.RIGHT if k == probabilities[0].argmax() else plots.WRONG for k in which])
    ax.set(xlim=(0, 1), title="confidence", xticks=[0, 1])
    ax.invert_yaxis()

# %% tags=["remove-input"]
def say_film(image, step):
    one = films[image]
    best = one["probabilities"][step].argmax()
    return (f"A {image} image after {step} steps of PGD: image, noise, the loss so far ({one['loss'][step]:.2f} nats), and confidences; "
            f"the net answers {one['data'].classes[best]} with {one['probabilities'][step, best]:.0%}.")


widgets.explore(draw_film, alt=say_film, image=["grey", "colour"], step=[0, 1, 2, 4, 6, 8, 10, 12, 15, 20, 30, 40],
                caption="One attack, step by step. Green: the true class. The loss keeps growing long after the answer has changed.")

# %% [markdown]
# **What we see.** The change of mind is sudden: a few steps in which hardly anything happens to the confidences, then a flip, and soon the net is as sure of the wrong class as it was of the right one.
# The image gives nothing away. The loss does: it creeps at first, because a confident net has a nearly flat cross-entropy around a clean image. Remember this; it comes back.
#
# ## FGSM against PGD
#
# Now the plot that the papers show: accuracy against $\varepsilon$. First live, on 500 images.

# %% tags=["remove-input"]
widgets.predict(
    "Two curves of accuracy against eps for LeNet, FGSM and PGD. Where do they differ most?",
    {"At very small eps": "There the tangent still tells the truth, so one step is nearly as good as many.",
     "In the middle": "There the tangent has bent away, and the budget is large enough for a better walk to matter.",
     "Nowhere: both find the same images": "PGD finds every image that FGSM finds, or nearly, and many more."},
    answer="In the middle")

# %%
many = mnist[:500]
axis = [0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3]
seed = torch.Generator().manual_seed(0)
pgd = partial(attacks.pgd, steps=20, first_success=True, generator=seed)
curve = partial(evaluation.robust_curve, lenet, many.images, many.labels, eps=axis)
live = {"fgsm": curve(attacks.fgsm), "bim": curve(attacks.bim), "pgd": curve(pgd)}

# %% mystnb={"image": {"alt": "Accuracy of LeNet against eps for FGSM, BIM and PGD. All start at the clean accuracy; FGSM falls slowly and keeps a tail, BIM falls faster, PGD falls fastest and reaches zero."}, "figure": {"caption": "Accuracy of LeNet on 500 test images under FGSM, BIM (ten steps) and PGD (twenty steps, random start); bands: 95 % intervals.", "name": "fig-live-pgd-curves"}}
plots.curves(live, source=mnist.source)

# %% [markdown]
# `robust_curve` does this cheaply: an image that has fallen at a small budget has fallen at every larger one, so only survivors are attacked again.
# And `first_success=True` lets an image rest as soon as it is fooled.
#
# The same for five nets, with forty steps:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels of accuracy against eps, MNIST nets left and CIFAR-10 nets right. For every net the solid PGD curve lies below the dashed FGSM curve and reaches zero, while the FGSM curve does not."}, "figure": {"caption": "FGSM (dashed) and PGD with forty steps (solid) on five nets. The two axes of eps differ: colour images fall at much smaller budgets. Bands: 95 % intervals.", "name": "fig-five-nets"}}
recorded = records.read("04-curves")["values"]
fig, axes = plt.subplots(1, 2, figsize=(plots.WIDTH, 4), sharey=True)
for name, net in recorded["nets"].items():
    ax, unit = (axes[1], 255) if name in ("cifar_net", "vgg_blocks") else (axes[0], 1)
    for attack, line in (("fgsm", "--"), ("pgd", "-")):
        curve = net[attack]
        at = [unit * e for e in curve["eps"]]
        ax.fill_between(at, curve["low"], curve["high"], color=plots.colour(name), alpha=0.15, linewidth=0)
        ax.plot(at, curve["accuracy"], line, marker=plots.LOOKS[name].marker, color=plots.colour(name), label=plots.label(name) if line == "-" else None)
axes[0].set(xlabel="eps", ylabel="accuracy", title="MNIST")
axes[1].set(xlabel="eps, in units of 1/255", title="CIFAR-10")
for ax in axes:
    ax.legend(loc="upper right")
plots.finish(fig, "MNIST and CIFAR-10 test images, recorded")

# %% tags=["remove-input"]
records.quote("04-curves")

# %% tags=["remove-input"]
at = lambda name, attack, eps: recorded["nets"][name][attack]["accuracy"][recorded["nets"][name]["pgd"]["eps"].index(eps)]
worst = max(max(p - f for f, p in zip(net["fgsm"]["accuracy"], net["pgd"]["accuracy"])) for net in recorded["nets"].values())
records.say("**What we see.** On {n:,} images for each of five nets, at eight budgets each, PGD leaves as much as FGSM at best, and mostly far less (largest excess: {worst:.1%}). "
            "At eps = 0.1, LeNet keeps {fgsm:.1%} under FGSM and {pgd:.1%} under PGD. The colour nets fall at budgets more than ten times smaller. "
            "On an honest net this ordering must hold; where it does not, suspect the gradient before you praise the net.",
            n=recorded["nets"]["lenet"]["pgd"]["n"], worst=max(worst, 0), fgsm=at("lenet", "fgsm", 0.1), pgd=at("lenet", "pgd", 0.1))

# %% tags=["remove-input"]
records.verdict("At eps = 0.15, forty steps of PGD leave a net trained by backpropagation about a quarter of its answers.", source="belaustegui2022",
                reported="24.2 % for its fully connected net, 57.8 % for its bio-inspired one (the loss divides the logits by T = 10^5).",
                measured="; ".join(f"{plots.label(name)} {at(name, 'pgd', 0.15):.1%}" for name in ("lenet", "mnist_resnet", "fully_connected")) + ".",
                verdict="differs",
                why="Other nets, and another attack: the temperature in the source's loss brings back a gradient that had vanished, but not the best one, as the next section shows. "
                    "The two nets of the source meet a margin loss in their own chapter.")

# %% tags=["remove-input"]
eps_cutilli = recorded["nets"]["fully_connected"]["pgd"]["eps"][-1]
records.verdict("Without any defence, a fully connected net keeps nearly half of its answers under a white-box attack at 77/255.", source="cutilli2021",
                reported="46.16 % correct under FGSM with eps = 77/255; PGD was not tried.",
                measured=f"Our net of the same layers (trained with cross-entropy): {at('fully_connected', 'fgsm', eps_cutilli):.1%} under FGSM, "
                         f"{at('fully_connected', 'pgd', eps_cutilli):.1%} under PGD with the same budget.",
                verdict="corrected",
                why="What FGSM leaves is what one step cannot find. Chapter 03 asks why the FGSM figures differ, and trains the source's recipe too. "
                    "Either way, forty steps leave nothing: a figure of robustness that rests on one step says little about the net.")

# %% [markdown]
# ## When the gradient vanishes
#
# Multiply all logits of a net by a hundred.
# Every decision stays the same, because the largest logit stays the largest. Accuracy, decision boundary, adversarial examples: all the same. Only the confidence goes up.
# In code it is one more layer, `layers.Scale(100)`.

# %% tags=["remove-input"]
widgets.predict(
    "PGD follows the cross-entropy, as PyTorch computes it, on LeNet with its logits x 1, x 10 and x 100. What happens to the accuracy that it leaves?",
    {"It stays the same: the decisions did not change": "The decisions did not, but the attack does not see decisions. It sees the gradient of a loss, in 32-bit numbers.",
     "It falls: a steeper net is easier to attack": "The logits are steeper. The softmax behind them is flatter, and that wins.",
     "It rises: the net looks more robust": "The softmax saturates, the gradient becomes exactly 0, and the attack walks blindly. The net is as weak as before."},
    answer="It rises: the net looks more robust")

# %%
import warnings

def fooled(net, loss):
    """Share of 100 images that PGD with twenty steps fools at eps = 0.15."""
    seed = torch.Generator().manual_seed(0)
    with warnings.catch_warnings():  # the library warns of zero gradients; here they are the point
        warnings.simplefilter("ignore", geometry.ZeroGradientWarning)
        adversarial = attacks.pgd(net, x[:100], y[:100], eps=0.15, steps=20, loss=loss, generator=seed)
    return evaluation.evaluate(net, x[:100], adversarial, y[:100]).success.float().mean().item()


surer = [torch.nn.Sequential(lenet, layers.Scale(factor)) for factor in (1, 10, 100)]
shares = {loss: [fooled(net, loss) for net in surer] for loss in ("naive_ce", "margin")}

# %% tags=["hide-input"] mystnb={"image": {"alt": "Bars in three groups for logits times 1, 10 and 100. The share of images fooled by cross-entropy PGD shrinks from group to group; the share fooled by margin PGD is the same high bar in all three."}, "figure": {"caption": "Share of images that PGD fools when LeNet's logits are multiplied. The net's decisions are the same in all three groups.", "name": "fig-scaled"}}
fig, ax = plt.subplots(figsize=(plots.WIDTH, 2.8))
for shift, (loss, name, colour) in enumerate((("naive_ce", "cross-entropy", plots.WRONG), ("margin", "margin loss", plots.colour("pgd")))):
    bars = ax.bar([i + 0.4 * shift for i in range(3)], shares[loss], 0.36, color=colour, label=name, hatch="//" if shift else None, edgecolor="white")
    ax.bar_label(bars, fmt="{:.0%}")
ax.set_xticks([0.2, 1.2, 2.2], ["logits x 1", "x 10", "x 100"])
ax.set(ylabel="images fooled", ylim=(0, 1.25))
ax.legend(loc="upper right", ncols=2)
ax.grid(axis="x", visible=False)
plots.finish(fig, mnist.source)

# %% [markdown]
# Nothing was defended, and yet the usual attack fails. Why?
#
# Write $p = \operatorname{softmax}(z)$. The gradient of the cross-entropy with respect to the logits is
#
# $$
# \frac{\partial \mathcal L}{\partial z_y} = p_y - 1,
# \qquad
# \frac{\partial \mathcal L}{\partial z_k} = p_k \quad (k \neq y).
# $$
#
# When the net is sure, $p_y$ is nearly one and all of this is nearly zero. In exact arithmetic *nearly zero* would do, since the sign of a tiny number is as good as that of a large one.
# A computer, however, stores 32-bit numbers, and it fails in two stages. Take two classes, with a gap $z_y - z_k$ between them:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Size of the gradient against the gap between two logits, on a logarithmic axis. The exact value falls as a straight line. The part of the true class ends early, the part of the other class much later."}, "figure": {"caption": "The two parts of the cross-entropy's gradient in 32-bit arithmetic. Where a line ends, the computer returns exactly 0.", "name": "fig-saturation"}}
gap = torch.linspace(0, 115, 461)
z = torch.stack([gap, torch.zeros_like(gap)], 1).requires_grad_()
own, other = torch.autograd.grad(cross_entropy(z, torch.zeros(len(gap), dtype=torch.long)).sum(), z)[0].abs().T
fig, ax = plt.subplots(figsize=(plots.WIDTH, 3.0))
ax.semilogy(gap, torch.sigmoid(-gap.double()), color=plots.GREY, linewidth=1, label="exact")
for values, look, name in ((other, plots.OTHERS[0], "other class"), (own, plots.OTHERS[1], "true class")):
    ax.semilogy(gap[values > 0], values[values > 0], color=look.colour, linestyle=look.line, linewidth=3, label=name)
    ax.axvline(gap[values > 0].max(), color=look.colour, linewidth=0.8, linestyle=":")
ax.set(xlabel="gap between the logits", ylabel="size of the gradient")
ax.legend()
plots.finish(fig, "computed here, in 32-bit numbers")

# %% tags=["remove-input"]
records.say("Beyond a gap of {first:.0f}, $p_y$ is rounded to one and the pull *away from the true class* is gone; the attack still pulls *towards* the others. "
            "Beyond {second:.0f} their probability is smaller than the smallest float32 number, and nothing is left. "
            "LeNet's median gap on the live images is {gap:.0f}: times ten, most images lie near or beyond the second cliff; times a hundred, nearly all do.",
            first=gap[own > 0].max(), second=gap[other > 0].max(), gap=-margin(evaluation.logits(lenet, x), y).median())

# %% [markdown]
# The margin loss has no such cliff. It is a difference of two logits; multiply the logits by a hundred, and its gradient grows a hundredfold and keeps its direction. Sign and normalised gradient stay the same, so the whole walk does.
#
# ### The same climb, written differently
#
# Must the cross-entropy be given up? Write $m$ for the **log-odds** against the true class,
#
# $$
# m \;=\; \log \sum_{k \neq y} e^{z_k} \;-\; z_y ,
# \qquad\text{so that}\qquad
# \mathcal L \;=\; -\log p_y \;=\; \log\bigl(1 + e^{m}\bigr),
# \qquad
# \nabla \mathcal L \;=\; (1 - p_y)\, \nabla m .
# $$
#
# The loss rises with $m$, so both put the points of an image in the same order, and both gradients point the same way.
# They differ by the factor $1 - p_y$, one positive number for each image. A step that is normalised, by a sign or by a length, divides it out again.
# The factor does nothing, then, except to destroy the digits: it is what becomes too small for the computer.
# So the attacks of this library climb $m$ when you ask for `loss="ce"`, and PyTorch's way is called `"naive_ce"`:

# %% tags=["nbval-check-output"]
records.listing(attacks.losses.log_odds)

# %% tags=["remove-input"]
sure = records.read("04-confident")["values"]
names = {"naive_ce": "cross-entropy, as PyTorch computes it", "ce": "cross-entropy, along the log-odds", "margin": "margin"}
factors = list(sure["losses"]["naive_ce"])
rows = ["| loss | " + " | ".join(f"logits x {int(factor):,}" for factor in factors) + " |", "|---|" + "---|" * len(factors)]
rows += [f"| {name} | " + " | ".join(f"{sure['losses'][loss][factor]['value']:.1%}" for factor in factors) + " |" for loss, name in names.items()]
Markdown("\n".join(rows))

# %% tags=["remove-input"]
found = {loss: [rate["value"] for rate in by_factor.values()] for loss, by_factor in sure["losses"].items()}
records.say("Share of {n} images, all classified right, that PGD with forty steps fools at eps = {eps}. The naive form falls from {first:.1%} to {last:.1%}; along the log-odds the walk loses at most {lost:.1%}.",
            n=sure["images"], eps=sure["losses eps"], first=found["naive_ce"][0], last=found["naive_ce"][-1], lost=max(found["ce"]) - min(found["ce"]))

# %% [markdown]
# ### Bringing the gradient back
#
# {cite}`belaustegui2022` met the same wall: on both of its nets the input gradient was exactly zero for nearly all test images.
# Its remedy is to divide the logits by a large temperature $\tau$ before the softmax (it writes $T$ and takes $10^5$).
# Here we sweep $\tau$, for the three versions of LeNet.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels against the temperature on a logarithmic axis, one line for each of logits times 1, 10 and 100. Left, the share of zero gradients falls to zero, later for larger logits. Right, the share of images fooled rises to the level of the margin loss, later for larger logits."}, "figure": {"caption": "Dividing the logits by a temperature. Left: share of images with an input gradient of exactly zero. Right: share that PGD with twenty steps fools; the dashed line is the margin loss, which needs no temperature.", "name": "fig-temperature"}}
fig, axes = plt.subplots(1, 2, figsize=(plots.WIDTH, 3.2), sharey=True)
for (factor, found), look in zip(sure["logits"].items(), plots.OTHERS):
    style = {"color": look.colour, "marker": look.marker, "linestyle": look.line, "label": f"logits x {factor}"}
    axes[0].semilogx(sure["temperatures"], list(found["zero gradient"].values()), **style)
    axes[1].semilogx(sure["temperatures"], [rate["value"] for rate in found["naive_ce"].values()], **style)
axes[1].axhline(sure["logits"]["100"]["margin"]["value"], color=plots.INK, linestyle="--", linewidth=1)
axes[0].set(xlabel="temperature", ylabel="share of images", title="gradient exactly 0")
axes[1].set(xlabel="temperature", title="fooled by PGD")
axes[0].legend()
plots.finish(fig, "MNIST test images, recorded")

# %% tags=["remove-input"]
records.quote("04-confident")

# %% tags=["remove-input"]
table = {factor: sure["logits"][factor] for factor in ("1", "10", "100")}
records.say("On {n} images at eps = {eps}: naive cross-entropy PGD fools {a:.1%}, {b:.1%} and {c:.1%} of them as the logits grow; the margin loss {d:.1%}, {e:.1%} and {f:.1%}. "
            "The share of exactly zero gradients is {p:.0%}, {q:.0%} and {r:.0%}.", n=sure["images"], eps=sure["eps"],
            **{k: table[i]["naive_ce"]["1"]["value"] for k, i in zip("abc", table)}, **{k: table[i]["margin"]["value"] for k, i in zip("def", table)},
            **{k: table[i]["zero gradient"]["1"] for k, i in zip("pqr", table)})

# %% tags=["remove-input"]
best = {factor: max(rate["value"] for rate in found["naive_ce"].values()) for factor, found in table.items()}
records.verdict("Dividing the logits by a large temperature brings the gradient back for all images.", source="belaustegui2022",
                reported="Exactly zero for nearly all test images; with T = 10^5 non-zero for all, on both nets.",
                measured=f"LeNet with logits x 100: {table['100']['zero gradient']['1']:.0%} zero gradients at temperature 1, {table['100']['zero gradient']['100000']:.0%} at 100,000. "
                         f"PGD then fools {table['100']['naive_ce']['100000']['value']:.1%}, the best temperature of the sweep {best['100']:.1%}, the margin loss {table['100']['margin']['value']:.1%}.",
                verdict="confirmed",
                why="A large temperature turns the cross-entropy into a linear function of the logits: the mean of the others minus the true one. That has a gradient everywhere, but it is not the best aim. "
                    "The temperature that suffices depends on the size of the logits, so one fixed T for two nets favours one of them. Log-odds and margin have nothing to tune.")

# %% [markdown]
# :::{admonition} The lesson
# :class: tip
# A failed attack is evidence about the *attack* until the gradient has been looked at.
# When a net withstands cross-entropy PGD, look at the share of zero gradients, walk along the log-odds and the margin, and only then start to believe.
# :::
#
# ## Any class you like
#
# So far any wrong answer would do. A **targeted** attack wants one particular class $t$: it makes the loss towards $t$ *small*.
# In the library that is `targeted=True`, with the targets in the place of the labels, and the same loop with one sign changed.
# {cite}`unam2021` shows such a grid for another attack, Carlini and Wagner's, which has its own chapter. Here is PGD's: one image of each class, towards each other class.

# %%
firsts = torch.stack([(y == k).nonzero()[0, 0] for k in range(10)])
sources = x[firsts].repeat_interleave(10, 0)  # (100, C, H, W): each image ten times, a row of the grid
targets = torch.arange(10).repeat(10)
seed = torch.Generator().manual_seed(0)
aimed = attacks.pgd(lenet, sources, targets, eps=0.1, targeted=True, generator=seed)
hits = evaluation.evaluate(lenet, sources, aimed, targets, targeted=True).success

# %% mystnb={"image": {"alt": "A ten by ten grid of digits. Each row shows one digit ten times, attacked towards the classes 0 to 9 from left to right. Most frames are green, the target is reached; a few are dashed red."}, "figure": {"caption": "Targeted PGD on LeNet at eps = 0.1. Rows: the digit that was there. Columns: the digit that the net should see. Green frame: it does; dashed red frame: it does not.", "name": "fig-targets"}}
plots.images(aimed, columns=10, frame=hits, source=mnist.source)

# %% tags=["remove-input"]
off = targets != torch.arange(10).repeat_interleave(10)
anyway = attacks.pgd(lenet, x[firsts], torch.arange(10), eps=0.1, generator=torch.Generator().manual_seed(0))
free = int(evaluation.evaluate(lenet, x[firsts], anyway, torch.arange(10)).success.sum())
easy, hard = hits.view(10, 10).float().sum(0).argmax().item(), hits.view(10, 10).float().sum(0).argmin().item()
records.say("Of the {n} pairs with another class, {share:.0%} succeed. Read the columns: {easy} is the target that is reached most often, {hard} the one that is missed most. "
            "At the same budget an attack without a target fools {free} of the ten images. To aim is harder than to miss.",
            n=int(off.sum()), share=hits[off].float().mean(), free=free, easy=f"“{mnist.classes[easy]}”", hard=f"“{mnist.classes[hard]}”")

# %% [markdown]
# ## The honest end
#
# What can we now say about our nets? No single attack is the strongest on every image. `attacks.strongest` therefore runs several, the cheap ones first, and each only on the images that still stand:
# walks along the log-odds and the margin with long steps, walks towards each other class, and an attack that uses no gradient at all. What one of them fells has fallen.
#
# An attack can be wrong too, so before its numbers count it must pass three tests:
#
# 1. random noise of the same size must never beat it;
# 2. more budget must never help the net;
# 3. with an unlimited budget it must fool *every* image: a grey square carries no information. If it does not, the attack is broken, or the gradient is hidden.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels of LeNet's accuracy against eps. Left, maximum norm: random noise stays near the top, then FGSM, BIM, PGD and the strongest attack below each other. Right, Euclidean norm: FGM, then PGD and the strongest attack."}, "figure": {"caption": "LeNet from random noise to the strongest attack. Left: maximum norm. Right: Euclidean norm, whose eps is a length and cannot be compared with the left axis. Bands: 95 % intervals.", "name": "fig-honest-pgd"}}
honest = records.read("04-honest")["values"]
fig, axes = plt.subplots(1, 2, figsize=(plots.WIDTH, 3.8), sharey=True)
for ax, norm, name in zip(axes, ("linf", "l2"), ("maximum norm", "Euclidean norm")):
    best = honest[norm]["strongest"]
    plots.curves({attack: curve for attack, curve in honest[norm].items() if curve is not best}, ax=ax, xlabel=f"eps, {name}")
    ax.plot(best["eps"], best["accuracy"], "*-", color=plots.INK, linewidth=1.2, label="strongest")
    ax.get_legend().remove()
lines = {label: line for ax in axes for line, label in zip(*ax.get_legend_handles_labels())}
fig.legend(lines.values(), lines.keys(), loc="outside upper center", ncols=4)
axes[1].set_ylabel("")
plots.finish(fig, "MNIST test images, recorded")

# %% tags=["remove-input"]
records.quote("04-honest")

# %% tags=["remove-input"]
rows = ["| net | eps | noise | FGSM | PGD | strongest |", "|---|---|---|---|---|---|"]
for name, net in honest["nets"].items():
    cells = [f"{net[attack]['value']:.1%}" for attack in ("noise", "fgsm", "pgd", "strongest")]
    eps = f"{net['eps']}" if net["eps"] >= 0.1 else f"{255 * net['eps']:.0f}/255"
    rows.append(f"| {plots.label(name)} | {eps} | " + " | ".join(cells) + " |")
Markdown("\n".join(rows))

# %% tags=["remove-input"]
curve = honest["linf"]
above = max(p - r for p, r in zip(curve["strongest"]["accuracy"], curve["noise"]["accuracy"]))
records.say("Noise never beats the attack (largest excess of the strongest attack's curve over the noise's: {above:.1%}). The curves never rise, because only survivors are attacked again. "
            "Without a budget (eps = 1.0), {left:.1%} of the {n} images survive. "
            "At eps = 0.1, PGD leaves LeNet {pgd:.1%} and the strongest attack {best:.1%}: the difference was only a lack of effort.",
            above=max(above, 0), left=honest["unbounded"]["value"], n=honest["images"],
            pgd=honest["nets"]["lenet"]["pgd"]["value"], best=honest["nets"]["lenet"]["strongest"]["value"])

# %% [markdown]
# **Verdict.** All five nets, accurate as they are, lose most of their accuracy at budgets that hardly change the picture, and all of it at budgets not much larger.
# That is no surprise, as none of them was trained to withstand anything. What is worth keeping is the yardstick.
# What the strongest attack leaves is still only an *upper* bound on robustness: a better attack can lower the curves, none can raise them.
# A systematic audit, with more checks for hidden gradients, gets a chapter of its own.
#
# ## Exercises
#
# 1. **Code.** Write `my_pgd(model, x, y, eps, step_size, steps)` for the maximum norm. The check knows the classic slips: no projection, a ball around the wrong centre, a forgotten clamp.
# 2. **Measure.** How much accuracy do one, two and five restarts leave? Decide beforehand what difference would make you pay for them.
# 3. **Think.** A colleague's net keeps 95 % accuracy under cross-entropy PGD, with its logits multiplied by a hundred. What do you run next, and what would each outcome tell you?
#
# [Exercises for this chapter](../exercises/student/04_many_steps.ipynb)
#
# ## Take-away
#
# - One gradient is true near the image and wrong far from it. PGD looks again at every step, and so finds what FGSM misses.
# - Two fences keep it honest: the projection onto the budget around the *clean* image, and the clamp to $[0, 1]$.
# - Check the reach: steps times step size must exceed $\varepsilon$. A schedule that is too short looks like robustness.
# - Losses from several starts concentrate, but images near the boundary are won by restarts.
# - A confident net hides its gradient from the cross-entropy, in 32-bit numbers. Log-odds and margin are not impressed by confidence.
#
# ## Where the numbers come from
#
# Sentences and figures without a provenance line are computed live, on the data named under each figure.
# The records `04-curves`, `04-knobs`, `04-starts`, `04-confident` and `04-honest` are always about real data; `advlens record 04-curves` measures the first again, and likewise the others.
# The nets are the course's checkpoints, whose cards tell how they were trained.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
