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
# %% [markdown]
# # Competing hidden units: Krotov and Hopfield
#
# **Which of the two was told what a 3 is?** Two networks of the same shape read handwritten digits. Each has a layer of 2,000 hidden units, and each unit has one weight for each of the 784 pixels, so its weights can be drawn as a picture. One network learnt everything from labelled digits. In the other, this layer never saw a label. Look at some units of both.

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
import base64
import math
import zlib

import torch.nn.functional as F
from IPython.display import Markdown

from advlens import hebbian
from advlens.kernels import krotov_hopfield

BLUE, ORANGE, GREEN, PINK, AMBER = (look.colour for look in plots.OTHERS)
seeded = lambda seed=0: torch.Generator().manual_seed(seed)
mean = lambda values: sum(values) / len(values)
bio, bp = (zoo.pretrained(name, "mnist") for name in ("hebbian_bio", "hebbian_bp"))
first = {"the first network": bp[2].weight.detach(), "the second network": bio[2].weight.detach()}
CHECKPOINTS = "the committed networks, trained on MNIST, original files"


def mosaic(rows, columns):
    """Rows of weights (N, 784), each divided by its largest entry, as one signed picture."""
    shown = (rows / rows.abs().amax(1, keepdim=True)).view(-1, 28, 28)
    shown = F.pad(shown, (0, 1, 0, 1)).view(-1, columns, 29, 29)
    return shown.transpose(1, 2).reshape(1, len(shown) * 29, columns * 29)[:, :-1, :-1]


def large(rows, columns):
    """The mosaic as a panel that may be as wide as a plot."""
    return plots.noise(mosaic(rows, columns), limit=1)._replace(title="", wide=True, space=3)


PAGES = {"1 to 24": 0, "25 to 48": 24, "49 to 72": 48, "73 to 96": 72}


def draw_units(network, units):
    return plots.grid([large(first[network][units:units + 24], 6)], source=CHECKPOINTS)


def say_units(network, units):
    looks = "coarse and fine noise, with blurred strokes in some of them" if network == "the first network" else "pale or dark shapes of whole digits and of parts of them"
    return f"Units {units + 1} to {units + 24} of {network}, the weights of each as a small picture: {looks}."


widgets.explore(draw_units, alt=say_units, network=list(first), units=PAGES,
                caption="The first weights of some hidden units, each as a picture of 28 by 28 weights divided by its largest one. Orange: positive, blue: negative, the colour of the page: zero.")

# %% [markdown]
# :::{admonition} At a glance
# :class: glance
# - **You will be able to** write the equations of units that compete, and the rank rule that replaces them; show who wins by them, and where a row of weights comes to rest; train a layer without labels in seconds; say what each setting of the rule does; and say what a power in the activation is for.
# - **Time** 55 minutes of reading and playing.
# - **Threat model** none: nobody is attacked in this chapter.
# - **Sources** {cite}`belaustegui2022`, sections 2.2 and 2.3, after {cite}`krotov2019`. Oja's rule and lateral weights are those of [chapter 11](11_local_learning.ipynb).
# :::
#
# The second network is the one whose hidden units never saw a label: the clearer digits are in the network that was not told. In {cite}`belaustegui2022` it is called **Bio**, the other **BP**, for backpropagation. Both have the layers 784, 2,000 and 10. In Bio the first weights are learnt from images alone, by a rule that is {term}`local <local rule>`; then they are frozen, and only the ten output units learn from labels.
#
# In the last chapter several units learnt different things because each heard what the others said. Here they compete for each image, and only who wins turns towards it.
#
# ## Currents and inhibition
#
# Unit $i$ has a row of weights $W_i$ with entries $W_{ik}$, one for each pixel $k$. An image $x$ with pixels $x_k$ drives it with the **current**
#
# $$
# I_i = \sum_k |W_{ik}|^{p-2} \, W_{ik} \, x_k .
# $$
#
# The number $p \ge 2$ is chosen once. For $p = 2$ the current is the usual weighted sum. Every unit has an activity $h_i$, zero at first, and the activities push each other down:
#
# $$
# \tau \frac{dh_i}{dt} = I_i - w_{\text{inh}} \sum_{j \ne i} \max(0, h_j) - h_i .
# $$
#
# The time constant $\tau$ says how fast this goes, and $w_{\text{inh}} > 0$ is the **inhibition**, the same between all pairs. The last term is a leak: without inhibition each activity would settle at its current. A short loop does it, in steps of $0.01\,\tau$. The library gives the same equations to SciPy's solver. (Its threshold stands so high here that nobody learns; the next section explains it.)

# %% tags=["nbval-check-output"]
def compete(currents, inhibition, steps=3000, dt=0.01):
    """Activities (K,) after a while; nobody learns."""
    h = torch.zeros_like(currents)
    for _ in range(steps):
        heard = h.clamp_min(0).sum() - h.clamp_min(0)   # what the others say
        h = h + dt * (currents - inhibition * heard - h)
    return h

W, x = torch.rand(5, 16, generator=seeded()), torch.rand(16, generator=seeded(1))
for inhibition in (0.2, 0.5, 2.0):
    book = hebbian.compete(W, x, threshold=1e9, delta=0, inhibition=inhibition, duration=30)
    ours = compete(W.double() @ x.double(), inhibition)
    print(inhibition, "loop = library:", torch.allclose(ours, book.activity[-1], atol=1e-2))

# %% tags=["remove-input"]
widgets.predict(
    "Five units receive currents of 5.0, 4.6, 4.2, 3.5 and 2.5. With a small inhibition all five stay active. Now the inhibition is raised. What happens?",
    {"All activities shrink by the same factor": "Each unit hears the sum of the others. For a weak unit that sum is larger than for a strong one.",
     "The differences grow, and one after the other falls silent, the weakest first": "A unit that falls behind hears more than it says. From some inhibition on, one is left.",
     "With strong inhibition another unit than the one with 5.0 may come out on top": "Watch the moment at which two activities would be equal: who of the two is driven more?"},
    answer="The differences grow, and one after the other falls silent, the weakest first")

# %% tags=["remove-input", "covered"]
DRIVES = torch.tensor([5.0, 4.6, 4.2, 3.5, 2.5])
INHIBITIONS, MOMENTS = {"0.1": 0.1, "0.3": 0.3, "0.6": 0.6, "1.5": 1.5}, {"0": 0, "1": 10, "2": 20, "4": 40, "8": 80, "16": 160}
square = DRIVES.double().diag()  # five rows of weights and an image of ones, so that the currents are DRIVES
contests = {w: hebbian.compete(square, torch.ones(5).double(), threshold=1e9, delta=0, inhibition=w, duration=16, samples=161) for w in INHIBITIONS.values()}


def draw_contest(inhibition, time):
    found, ax = contests[inhibition], plots.axes(height=3.1)
    for i, look in enumerate(plots.OTHERS[:5]):
        ax.plot(found.time[:time + 1], found.activity[:time + 1, i], color=look.colour, linestyle=look.line, label=f"{DRIVES[i]:.1f}")
        ax.plot(found.time[time], found.activity[time, i], "o", color=look.colour, markersize=4)
    ax.axhline(0, color=plots.GREY, linewidth=0.8)
    ax.set(xlim=(0, 16), ylim=(-5.5, 7.5), xlabel="time / tau", ylabel="activity h")
    ax.legend(title="current", loc="upper right", ncol=5, fontsize=8)
    return plots.finish(ax)


def say_contest(inhibition, time):
    h = contests[inhibition].activity[time]
    return f"Inhibition {inhibition:g}, time {contests[inhibition].time[time]:g}. Activities, from the largest current to the smallest: {', '.join(f'{value:.1f}' for value in h)}. {int((h > 1e-6).sum())} of 5 are positive."


widgets.explore(draw_contest, alt=say_contest, inhibition=INHIBITIONS, time=MOMENTS,
                caption="Activities of five units that inhibit each other, solved by SciPy. Move the time, then choose another inhibition.")

# %% tags=["remove-input", "covered"]
left = {w: int((found.activity[-1] > 1e-6).sum()) for w, found in contests.items()}
records.say("At the end {counts} of the five units are still active, for inhibitions of {names}. The order is that of the currents each time.",
            counts=", ".join(map(str, left.values())), names=", ".join(f"{w:g}" for w in left),
            holds=list(left.values()) == sorted(left.values(), reverse=True) and min(left.values()) == 1 and all((found.activity[-1].diff() < 0).all() for found in contests.values()))

# %% [markdown]
# :::{container} covered
# Two lines explain it. Subtract the equations of two units, and write $h^+$ for $\max(0, h)$:
#
# $$
# \tau \frac{d(h_i - h_j)}{dt} = (I_i - I_j) + w_{\text{inh}} \, (h_i^+ - h_j^+) - (h_i - h_j) .
# $$
#
# Where $h_i = h_j$, only the currents are left. So the unit with the larger current pulls ahead at the start and cannot be overtaken: *the order of the activities is that of the currents*. And where both stay positive and come to rest, their difference is $(I_i - I_j) / (1 - w_{\text{inh}})$: for $w_{\text{inh}} < 1$ the contest is the same as that of the currents, with larger differences. For $w_{\text{inh}} > 1$ any difference between two positive activities grows until one of the two is silent.
# :::

# %% tags=["remove-input"]
who = records.read("12-winners")["values"]
cases = sum(next(iter(who.values()))["positive"])
alive = lambda found: mean([n for n, times in enumerate(found["positive"]) for _ in range(times)])
display(records.say("Does the solver agree? {cases} random cases (five units, sixteen inputs, all between zero and one), each with inhibitions of {names}: the unit with the largest current had the largest activity in {same} of {total}, and the second was the second in {second}. What changes with the inhibition is how many are left: {alive} on average.",
                    cases=cases, names=", ".join(who), same=sum(found["winner"] for found in who.values()), second=sum(found["second"] for found in who.values()), total=cases * len(who), alive=", ".join(f"{alive(found):.1f}" for found in who.values()),
                    holds=all(found["winner"] >= 0.99 * cases for found in who.values()) and alive(list(who.values())[0]) > alive(list(who.values())[-1])), records.quote("12-winners"))

# %% [markdown]
# ## Who learns, and where the weights go
#
# The activity decides whether a unit learns from this image. With a threshold $h_* > 0$ and a number $\Delta \ge 0$,
#
# $$
# g(h) = \begin{cases} 1 & \text{if } h \ge h_* , \\ -\Delta & \text{if } 0 \le h < h_* , \\ 0 & \text{if } h < 0 , \end{cases}
# \qquad
# \tau_L \frac{dW_{ik}}{dt} = g(h_i) \, \bigl( x_k - I_i \, W_{ik} \bigr) .
# $$
#
# The time constant $\tau_L$ is much larger than $\tau$. With $g = I_i$ and $p = 2$ this would be Oja's rule, leak and all. Here $g$ knows three values only: a unit that answers strongly turns towards the image, one that answers a little turns *away*, which is anti-Hebbian, and one that lost altogether stays as it is. The threshold does what that of CLO did in chapter 11, but with a jump. (The source has $R^p x_k$ for $x_k$, with the radius $R$ of the sphere below; here $R = 1$.)
#
# Where does a row end? Let $N_i = \sum_k |W_{ik}|^p$. By the chain rule, and with the definition of the current,
#
# $$
# \begin{aligned}
# \tau_L \frac{dN_i}{dt} &= \tau_L \, p \sum_k |W_{ik}|^{p-2} W_{ik} \frac{dW_{ik}}{dt} \\
# &= p \, g(h_i) \, \bigl( I_i - I_i N_i \bigr) \\
# &= p \, g(h_i) \, I_i \, (1 - N_i) .
# \end{aligned}
# $$
#
# While a unit learns and its current is positive, $N_i$ grows if it is below one and falls if it is above. So a row that wins comes to the surface $\sum_k |W_{ik}|^p = 1$, the unit sphere of the $p$-norm.

# %% tags=["remove-input"]
widgets.predict(
    "A unit is never the best, but answers a little to each image: g = -0.4, while its current is positive. Its row begins inside the sphere, N = 0.5. What does the formula say about N?",
    {"It goes to 1 as well, only more slowly": "That would need a positive g. Put g = -0.4 and N = 0.5 into the formula.",
     "It moves away from 1": "With g below zero, the sphere repels. It goes on until its activity falls below zero; then the unit is left alone.",
     "It stays at 0.5: only winners learn": "Only a silent unit is left alone. This one has g = -0.4."},
    answer="It moves away from 1")

# %% tags=["remove-input", "covered"]
START = torch.tensor([[0.8, 0.2], [0.1, 0.7], [-0.5, 0.3]], dtype=torch.float64)
SEEN = torch.tensor([1.0, 0.55], dtype=torch.float64)
POWERS, LATER = {"2": 2, "3": 3, "5": 5}, {"0": 0, "10": 5, "30": 15, "80": 40, "200": 100, "600": 300}


def follow(p):
    """Three rows while one image is shown; the threshold lies between the two activities that are positive at first."""
    rule = dict(p=p, inhibition=0.1, tau=0.1, tau_learning=30)
    rest = hebbian.compete(START, SEEN, threshold=1e9, delta=0, duration=5, samples=2, **rule).activity[-1]
    return hebbian.compete(START, SEEN, threshold=rest[:2].mean().item(), delta=0.4, duration=600, samples=301, **rule)


followed = {p: follow(p) for p in POWERS.values()}
around = torch.linspace(0, 2 * math.pi, 400)


def draw_rows(p, time):
    found, ax = followed[p], plots.axes(height=3.6)
    c, s = around.cos(), around.sin()
    size = (c.abs()**p + s.abs()**p)**(1 / p)
    ax.plot(c / size, s / size, color=plots.GREY, linewidth=1)
    ax.annotate("", SEEN, (0, 0), arrowprops={"arrowstyle": "-|>", "color": plots.GREY, "lw": 1.4, "ls": ":"})
    for i, look in enumerate(plots.OTHERS[:3]):
        path = found.weights[:time + 1, i]
        ax.plot(*path.T, color=look.colour, linestyle=look.line, linewidth=1.2)
        ax.annotate("", path[-1], (0, 0), arrowprops={"arrowstyle": "-|>", "color": look.colour, "lw": 2.2, "shrinkA": 0, "shrinkB": 0})
    ax.set(xlim=(-1.6, 1.6), ylim=(-1.15, 1.15), aspect="equal", xlabel="weight 1", ylabel="weight 2")
    return plots.finish(ax)


def say_rows(p, time):
    found = followed[p]
    sizes = found.weights[time].abs().pow(p).sum(1)
    return f"p = {p}, time {found.time[time]:.0f}. The three rows have N = {', '.join(f'{value:.2f}' for value in sizes)} and activities {', '.join(f'{value:.2f}' for value in found.activity[time])}."


widgets.explore(draw_rows, alt=say_rows, p=POWERS, time=LATER,
                caption="Three units with two inputs; one image, the dotted arrow, is shown all the time. The closed line is the sphere of the p-norm. Blue wins, orange is punished until it is silent, green is silent from the start.")

# %% tags=["remove-input", "covered"]
sizes = {p: found.weights.abs().pow(p).sum(2) for p, found in followed.items()}
records.say("For the powers {powers} the winner's N ends at {won}. The punished row begins at {before} and ends at {after}, when its activity is below zero.",
            powers=", ".join(map(str, sizes)), won=", ".join(f"{n[-1, 0]:.2f}" for n in sizes.values()), before=", ".join(f"{n[0, 1]:.2f}" for n in sizes.values()), after=", ".join(f"{n[-1, 1]:.2f}" for n in sizes.values()),
            holds=all(abs(n[-1, 0] - 1) < 0.02 and n[-1, 1] < n[0, 1] < 1 for n in sizes.values()) and all(found.activity[-1, 1] < 0 for found in followed.values()))

# %% [markdown]
# Everything is local but the competition: a synapse sees its pixel, its own weight, and the activity and the current of its unit, which differ by what the others say. The sphere attracts winners only, and it is the sphere of the $p$-norm: for $p > 2$ it bulges towards the corners, and many weights can be large at once.
#
# ## The rank rule
#
# For 2,000 units, 784 pixels and 60,000 images nobody wants to solve equations. {cite}`krotov2019` replace them by a rule, and {cite}`belaustegui2022` do the same. The order of the activities is that of the currents, so sort the currents: the first learns, $g = 1$; the one of rank $k$ is punished, $g = -\Delta$; all others rest. That the winner is the same has just been shown. That *exactly one* wins and *exactly one* is punished is a choice; in the equations it depends on $h_*$ and on the inhibition, and nobody wins where no current is positive.
#
# The change is summed over a {term}`mini-batch` and divided by its largest entry, so that no weight moves by more than the step. (Rank counts from the winner here, so $k = 2$ is the runner-up. The source's code counts as we do; its text punishes the unit one rank below.)

# %% tags=["nbval-check-output"]
def update(W, x, k=2, delta=0.4, step=0.1):
    """One mini-batch x (N, D), weights W (K, D), for p = 2."""
    I = x @ W.T                                         # currents (N, K)
    rank = I.argsort(1, descending=True)
    g = torch.zeros_like(I).scatter_(1, rank[:, :1], 1.0)
    g.scatter_(1, rank[:, k - 1:k], -delta)
    change = g.T @ x - (g * I).sum(0)[:, None] * W      # g (x - I W)
    return W + step * change / change.abs().max()

for k in (2, 4, 7):
    W = torch.randn(30, 50, generator=seeded())
    x, book = torch.rand(20, 50, generator=seeded(1)), W.clone()
    krotov_hopfield.update_(book, x, p=2, k=k, delta=0.4, step=0.1)
    same = torch.allclose(update(W, x, k), book, atol=1e-5)
    print("k =", k, "five lines = library:", same)

# %% [markdown]
# ## Digits without labels
#
# Now with real images: 100 units, {term}`mini-batches <mini-batch>` of 100 digits, a step that falls linearly to zero. The weights begin as normal random numbers. The loop never uses the labels.

# %%
train = data.load("mnist", "train", fallback="digits")[:10_000]
pixels = bio[:2](train.images)                          # normalised, (N, 784)
draws, UPDATES = seeded(), 1000
W, kept = torch.randn(100, 784, generator=draws), {}
for i in range(UPDATES + 1):
    if i in (0, 50, 100, 200, 400, UPDATES):
        kept[i] = W
    batch = pixels[torch.randint(len(pixels), (100,), generator=draws)]
    W = update(W, batch, step=0.1 * (1 - i / UPDATES))

# %% tags=["remove-input"]
def draw_course(updates):
    return plots.grid([large(kept[updates][:24], 6)], source=train.source)


def say_course(updates):
    lengths = kept[updates].norm(dim=1)
    return f"24 units after {updates} updates. Lengths of all rows: median {lengths.median():.2f}, {((lengths - 1).abs() < 0.01).float().mean():.0%} within a hundredth of one."


widgets.explore(draw_course, alt=say_course, updates={str(n): n for n in kept},
                caption="Twenty-four of the units while they learn. Each is divided by its largest weight.")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two plots. Left: lengths of rows against updates, on a logarithmic scale: all fall from 28 towards 1; the median reaches 1 before the end, the largest stays above. Right: the shares of images that the units win, sorted: they fall from several hundredths to nearly zero."}, "figure": {"caption": "The same training. Left: lengths of the rows, smallest, median and largest. Right: the share of images that each unit wins at the end, from the busiest to the idlest; the dashed line is an even share.", "name": "fig-12-lengths"}}
left, right = plots.axes(2, height=2.8)
lengths = {n: w.norm(dim=1) for n, w in kept.items()}
for name, pick, look in zip(("largest", "median", "smallest"), (torch.max, torch.median, torch.min), plots.OTHERS):
    left.plot(list(lengths), [pick(some).item() for some in lengths.values()], color=look.colour, linestyle=look.line, marker=look.marker, label=name)
left.axhline(1, color=plots.GREY, linewidth=0.8)
left.set(xlabel="updates", ylabel="length of a row", yscale="log")
left.set_yticks([1, 3, 10, 30], ["1", "3", "10", "30"])
left.legend()
wins = torch.bincount((pixels @ W.T).argmax(1), minlength=100) / len(pixels)
right.plot(wins.sort(descending=True).values, color=BLUE)
right.axhline(0.01, color=plots.GREY, linestyle="--", linewidth=0.8)
right.set(xlabel="units, sorted", ylabel="share of images won", ylim=(0, None))
plots.percent(right)
plots.finish([left, right], train.source)

# %% tags=["remove-input"]
settings = records.read("12-settings")["values"]
default = settings["settings"]["units"]["100"]
norms = records.read("12-norms")["values"]
ends = first["the second network"].norm(dim=1)
display(records.say("**What we see.** Rows begin near length $\\sqrt{{784}} = 28$, and those that win shrink to one. In the record ({images:,} images, {epochs} epochs, {runs} trainings of {units} units) {a} of the rows end within {one:.0%} of length one, {win} of the units win at least one image, and the longest row has length {longest}. "
                    "In the committed Bio, with {n:,} units and {full} epochs over all images, {share:.1%} of the rows end within {one:.0%} of it; the shortest has {low:.2f} and the longest {high:.2f}.",
                    images=settings["images"], epochs=settings["epochs"], runs=len(default["sphere"]), units=100, one=0.01, a=", ".join(f"{v:.0%}" for v in default["sphere"]), win=", ".join(f"{v:.0%}" for v in default["win"]), longest=", ".join(f"{v[2]:.1f}" for v in default["norms"]),
                    n=len(ends), full=zoo.card("hebbian_bio", "mnist")["without labels"]["epochs"], share=((ends - 1).abs() <= 0.01).float().mean(), low=ends.min(), high=ends.max(),
                    holds=min(default["win"]) > 0.9 and ((ends - 1).abs() <= 0.01).float().mean() > max(default["sphere"])), records.quote("12-settings"))

# %% tags=["remove-input"]
records.verdict("The weight vector of each neuron converges eventually to a point on the unit sphere of the p-norm.",
                source="belaustegui2022", where="section 2.2", reported="Said of each neuron, for the model as equations.",
                measured=f"Equations, one image, p = {', '.join(map(str, sizes))}: N of the winner ends at {', '.join(f'{n[-1, 0]:.2f}' for n in sizes.values())}, N of the punished unit at {', '.join(f'{n[-1, 1]:.2f}' for n in sizes.values())}. Rank rule, p = 2, committed net: {((ends - 1).abs() <= 0.01).float().mean():.1%} of {len(ends):,} rows within {0.01:.0%} of length 1; layers of 100 units, p = 2, 3 and 5: "
                         + "; ".join(", ".join(f"{v:.0%}" for v in found["sphere"]) for found in (default, settings["settings"]["p"]["3"], settings["settings"]["p"]["5"])) + ".",
                verdict="differs",
                why="It holds for units that win, not for each. The sphere repels a row that is punished while its current is positive, as derived and solved above, and a unit that falls silent for every image stays where it is. By the rank rule most rows of the large net arrive.")

# %% [markdown]
# ## What the settings do
#
# The rule has five numbers: the power $p$, the punished rank $k$, the strength of punishment $\Delta$, the step, and how many units there are. The record changes one of them at a time.

# %% tags=["remove-input"]
widgets.predict(
    "100 units learn from 10,000 digits, once as above and once with delta = 0: the winner learns, and nobody is ever punished. What happens without punishment?",
    {"All units learn the same digit": "Only the winner of an image learns from it. A copy of the winner gets nothing as long as the winner is ahead.",
     "Many units never win an image": "A random row far from all digits might get no chance to come closer. Look at the column \"win\" for delta = 0.",
     "Nearly all units still win some images": "The competition alone spreads them over the digits. What gives each of them its turn is asked below."},
    answer="Nearly all units still win some images")

# %% tags=["remove-input", "covered"]
NAMES = {"p": "p", "k": "k", "delta": "delta", "step": "step", "units": "units"}
base = settings["default"]
variants = {f"{name} = {float(value):g}": found for name in NAMES for value, found in settings["settings"][name].items() if not (name == "units" and value == "100")}
everything = {"default": default} | variants
rows_of = settings["settings"]["rows"]


def unpacked(text):
    flat = torch.frombuffer(bytearray(zlib.decompress(base64.b64decode(text))), dtype=torch.uint8)
    return (flat.view(-1, 784).float() - 128) / 127


def draw_setting(setting):
    return plots.grid([large(unpacked(everything[setting]["features"]), 4)], source="MNIST, original files; record 12-settings")


def say_setting(setting):
    found = everything[setting]
    return f"Eight units with {setting}. Of all units {found['win'][0]:.0%} win an image, the busiest {found['most'][0]:.0%} of them; {found['sphere'][0]:.0%} of the rows lie within a hundredth of the sphere."


widgets.explore(draw_setting, alt=say_setting, setting={name: name for name in everything},
                caption=f"The first eight units after one training with each setting. Default: p = {base['p']}, k = {base['k']}, delta = {base['delta']}, step = {base['step']}, {base['units']} units. Each is divided by its largest weight.")

# %% tags=["remove-input", "covered"]
spread = lambda values, form=".0%": f"{min(values):{form}}" if f"{min(values):{form}}" == f"{max(values):{form}}" else f"{min(values):{form}} to {max(values):{form}}"
lines, columns = ["| setting | rows | win | power 1 | power 4.5 |", "|---|---|---|---|---|"], ("sphere", "win", "ridge 1", "ridge 4.5")
listed = everything | {"random rows": rows_of["random"], "image rows": rows_of["images"]}
for name, found in listed.items():
    lines.append(f"| {name} | " + " | ".join(f"{mean(found[key]):.0%}" if key in columns[:2] else f"{mean(found[key]):.1%}" for key in columns) + " |")
apart_by = {key: max(max(found[key]) - min(found[key]) for found in listed.values()) for key in columns}
display(Markdown("\n".join(lines)), records.quote("12-settings"))

# %% [markdown]
# :::{container} covered
# Each line is the mean of three trainings. *Rows*: the share of rows within a hundredth of length one, on the sphere; *win*: the share of units that win an image. The last two columns are readouts, linear in $\max(0, I_i)$ or in its power $4.5$, with the current for $p = 2$ on every line, fitted by {term}`ridge regression` with one and the same penalty on the same 10,000 images and judged on the 10,000 test images. The last two lines did not learn: random rows of length one, and 100 training images as rows.
# :::

# %% tags=["remove-input", "covered"]
records.say("Of one setting the three trainings lie at most {a:.0f} percentage points apart in the sphere, {b:.0f} in the units that win, and {c:.1f} and {d:.1f} in the readouts.",
            **{letter: 100 * value for letter, value in zip("abcd", apart_by.values())})

# %% tags=["remove-input", "covered"]
got = lambda name, key: mean(everything[name][key])
records.say("**What we see.** With p = {p3} more rows reach their sphere, and the readouts stay about the same; with p = {p5} the readout with power {power} loses ({p5b:.1%}). Without punishment every unit wins, all rows reach the sphere, and the readout with power {power} is as good ({none:.1%} and {default:.1%}); with more punishment fewer rows arrive, and the busiest unit wins more ({m0:.0%}, {m4:.0%} and {m6:.0%} of the images for delta = {d0}, {d4} and {d6}). Punishing a later rank lets fewer rows arrive, and the readout loses at power {power} and gains a little at power one ({k7a:.1%} and {k7b:.1%} for k = {k7}). "
            "With a step of {small} the rows are still long when the step has fallen to zero, and the readout is poor; with {large} one unit wins every image, and the readout is near chance. With {few} units both readouts are worse; with {many} the same number of updates is too short for the rows to arrive, and the readout with power one is better ({wide:.1%}) all the same.",
            p3=3, p5=5, p5b=got("p = 5", "ridge 4.5"), few=25, power=4.5, none=got("delta = 0", "ridge 4.5"), default=got("default", "ridge 4.5"), d0=0, d4=0.4, d6=0.6, m0=got("delta = 0", "most"), m4=got("default", "most"), m6=got("delta = 0.6", "most"), k7=7, k7a=got("k = 7", "ridge 4.5"), k7b=got("k = 7", "ridge 1"), small=0.02, large=0.5, many=400, wide=got("units = 400", "ridge 1"),
            holds=min(everything["delta = 0"]["win"] + everything["delta = 0"]["sphere"]) == 1 and abs(got("delta = 0", "ridge 4.5") - got("default", "ridge 4.5")) < 0.01 and got("k = 7", "ridge 4.5") < got("k = 4", "ridge 4.5") < got("default", "ridge 4.5") and got("k = 7", "ridge 1") > got("k = 4", "ridge 1") > got("default", "ridge 1") and max(got("k = 4", "sphere"), got("k = 7", "sphere")) < got("default", "sphere") and got("delta = 0.6", "sphere") < got("default", "sphere") < got("delta = 0.2", "sphere")
            and got("delta = 0.6", "most") > got("default", "most") > got("delta = 0.2", "most") and got("step = 0.02", "ridge 4.5") < got("default", "ridge 4.5") - 0.1 and min(everything["step = 0.5"]["most"]) > 0.99 and got("step = 0.5", "ridge 1") < 0.2 and got("units = 400", "ridge 1") > got("default", "ridge 1")
            and min(everything["p = 3"]["sphere"]) > max(default["sphere"]) and all(abs(got("p = 3", key) - got("default", key)) < 0.01 for key in columns[2:]) and max(everything["p = 5"]["ridge 4.5"]) < min(default["ridge 4.5"]) and all(max(everything["units = 25"][key]) < min(default[key]) for key in columns[2:]))

# %% tags=["remove-input", "covered"]
records.say("And is it worth learning at all? Random rows give {a:.1%} with power one and {b:.1%} with {power}; {units} training images in the place of rows {c:.1%} and {d:.1%}; learnt rows {e:.1%} and {f:.1%}. So learning adds about a point to the one and more than five to the other, in each training, and the power is a gain for the rows learnt with the default setting and a loss for rows that did not learn.",
            a=mean(rows_of["random"]["ridge 1"]), b=mean(rows_of["random"]["ridge 4.5"]), power=4.5, units=100, c=mean(rows_of["images"]["ridge 1"]), d=mean(rows_of["images"]["ridge 4.5"]), e=got("default", "ridge 1"), f=got("default", "ridge 4.5"),
            holds=all(min(default[key]) > max(rows_of[kind][key]) for kind in rows_of for key in columns[2:]) and 0.005 < got("default", "ridge 1") - mean(rows_of["images"]["ridge 1"]) < 0.015 and got("default", "ridge 4.5") > mean(rows_of["images"]["ridge 4.5"]) + 0.05 and min(default["ridge 4.5"]) > max(default["ridge 1"]) and all(max(found["ridge 4.5"]) < min(found["ridge 1"]) for found in rows_of.values()))

# %% [markdown]
# :::{container} covered
# If nobody is punished, what keeps one unit from winning everything? The derivation above has a candidate. Rows begin at a length of about 28, and a unit that wins shrinks towards one; the longer rows of the others then give larger currents, and they have their turn. That can be tested: the same training, without punishment, from rows of length one, and once more with a step that is smaller in proportion.
# :::

# %% tags=["covered"]
def learnt(delta, length, first_step=0.1):
    """100 rows from the same images: random first directions, all about this long."""
    draws = seeded()
    W = torch.randn(100, 784, generator=draws) * length / 28
    for i in range(UPDATES):
        batch = pixels[torch.randint(len(pixels), (100,), generator=draws)]
        step = first_step * (1 - i / UPDATES)
        krotov_hopfield.update_(W, batch, p=2, k=2, delta=delta, step=step)
    return W

wins = lambda rows: (pixels @ rows.T).argmax(1).bincount(minlength=100)
trials = {"punished": learnt(0.4, 28), "not punished": learnt(0, 28),
          "short start": learnt(0, 1), "small step": learnt(0, 1, 0.1 / 28)}
victories = {name: wins(rows) / len(pixels) for name, rows in trials.items()}

# %% tags=["remove-input", "covered"]
def alike(rows):
    """Median over the units of the cosine with the unit most like it."""
    directed = F.normalize(rows)
    return (directed @ directed.T).fill_diagonal_(-1).amax(1).median().item()


busy = {name: int((found > 0).sum()) for name, found in victories.items()}
display(records.say("Without punishment {long} of {n} units win images from a long start, {short} from a short one, and {slow} from a short one with the smaller step. In these trainings, one of each, it is the long start that gives each unit its turn. What does punishment do, then? For each unit take the unit that is most like it: the cosine between the two is {with_:.2f} in the median with punishment and {without:.2f} without. It makes units differ, and it makes the shares uneven: the busiest unit wins {most:.1%} of the images with punishment and {least:.1%} without.",
                    long=busy["not punished"], n=100, short=busy["short start"], slow=busy["small step"], with_=alike(trials["punished"]), without=alike(trials["not punished"]), most=victories["punished"].max(), least=victories["not punished"].max(),
                    holds=busy["not punished"] > 80 and max(busy["short start"], busy["small step"]) < 30 and alike(trials["punished"]) < alike(trials["not punished"]) and victories["punished"].max() > victories["not punished"].max()))

# %% [markdown]
# ## One hundred of each
#
# Here are the first hundred units of each network, our own version of figure 2.1 of {cite}`belaustegui2022`.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two mosaics of ten by ten weight pictures. Left, Bio: shapes of whole digits and parts of digits, many of them blurred, in orange and blue. Right, BP: fine noise with some coarse spots in the middle."}, "figure": {"caption": "One hundred units of Bio and of BP, each divided by its largest weight.", "name": "fig-12-hundred"}}
plots.grid([[large(weights[:100], 10) for weights in (first["the second network"], first["the first network"])]], heads=["Bio", "BP"], source=CHECKPOINTS)

# %% tags=["remove-input"]
directions = F.normalize(pixels)
middle = F.normalize(pixels.mean(0), dim=0)
aside = lambda rows: F.normalize(rows - (rows @ middle)[:, None] * middle)
compared = {"Bio": bio[2].weight.detach(), "BP": bp[2].weight.detach(), "random": torch.randn(2000, 784, generator=seeded())}
nearest = {name: (directions @ F.normalize(weights).T).amax(0).median() for name, weights in compared.items()}
remote = aside(pixels)
beyond = {name: (remote @ aside(weights).T).amax(0).median() for name, weights in compared.items()}
centred = pixels - pixels.mean(0)
total = centred.pow(2).sum()
basis = lambda rows: torch.linalg.qr(rows.T).Q
inside = {name: ((centred @ basis(rows)).pow(2).sum() / total).item() for name, rows in (("learnt", W), ("random", torch.randn(100, 784, generator=seeded(5))))}
values = torch.linalg.eigvalsh(centred.T.double() @ centred.double() / len(centred)).flip(0)
inside["principal"] = (values[:100].sum() / values.sum()).item()
display(records.say("To say it in numbers: for each unit we look for the image, among {n:,} training images, whose direction is closest to its row. The median cosine is {bio:.2f} for Bio, {bp:.2f} for BP and {random:.2f} for random rows. A high cosine alone does not make a digit: the mean of all images has {mean:.2f}. So we take the direction of that mean out of rows and images alike; then it is {bio2:.2f}, {bp2:.2f} and {random2:.2f}.",
                    n=len(pixels), bio=nearest["Bio"], bp=nearest["BP"], random=nearest["random"], mean=(directions @ middle).max(), bio2=beyond["Bio"], bp2=beyond["BP"], random2=beyond["random"],
                    holds=all(bool(found["Bio"] > found["BP"] > found["random"]) for found in (nearest, beyond))),
        records.verdict("The units of Bio look more like digits than those of BP; most of Bio's have the form of prototypes of digits.",
                        source="belaustegui2022", where="section 2.3, figure 2.1", reported="Seen in 100 units of each, drawn at random. One training of each.",
                        measured=f"One training of each. Cosine with the closest of {len(pixels):,} images, median over 2,000 units: {nearest['Bio']:.2f} (Bio), {nearest['BP']:.2f} (BP); without the direction of the mean image {beyond['Bio']:.2f} and {beyond['BP']:.2f}.",
                        verdict="not tested here",
                        why="Our pictures and the cosines point the same way. But our trainings depart from the source's, as said below: Bio's rows in step and epochs, BP's in the loss and the epochs. Five trainings of each with the source's settings, judged by people who do not know which network a picture comes from, would test it."))

# %% [markdown]
# Why digits? Leave punishment aside and let $p = 2$. A row is at rest when the changes by the images that it wins add up to nothing, $\sum_m (x_m - I_m W) = 0$ with $m$ over these images and $I_m$ its currents, so $W = \sum_m x_m / \sum_m I_m$. It points to the sum of its images; multiplied by $W$, the first equation says that its length is one. That is a centre of *spherical k-means* {cite}`dhillon2001`: each image goes to the row of the nearest direction, each row to the mean direction of its images. With punishment a row is also pushed off the images for which it came second.

# %% tags=["remove-input"]
def agree(rows):
    """For each unit that wins: the cosine between its row and the sum of the images that it wins."""
    winner = (pixels @ rows.T).argmax(1)
    sums = torch.zeros_like(rows).index_add_(0, winner, pixels)
    return F.cosine_similarity(rows, sums)[winner.unique()]


centres = {name: agree(rows) for name, rows in trials.items()}
records.say("In the trainings of {units} units above, the cosine between a row and the sum of the images that it wins is {half:.2f} in the median and {least:.2f} at the least without punishment; with it {middle:.2f} and {low:.2f}.",
            units=100, half=centres["not punished"].median(), least=centres["not punished"].min(), middle=centres["punished"].median(), low=centres["punished"].min())

# %% [markdown]
# ## A power in the activation
#
# What goes from the hidden layer to the ten output units is not the current but a power of it:
#
# $$
# a_i = \max(0, I_i)^{n}, \qquad n = 4.5, \qquad z_c = 0.01 \sum_i V_{ci} \, a_i ,
# $$
#
# with the current for $p = 2$, output weights $V_{ci}$ and no biases. The function $\max(0, \cdot)^n$ is called a rectified power, {term}`RePU`. Here $z_c$ is the logit of class $c$. Both networks have this form; the exponent and the factor are those that {cite}`krotov2019` found by trying.

# %% tags=["remove-input"]
widgets.predict(
    "Bio sees a digit. Count how many of its 2,000 units it takes to make half of the sum of all a. With the power 1 it takes several hundred. And with 4.5?",
    {"Still several hundred: the order of the units is the same": "The order is, the shares are not. A current that is twice as large counts twice at power 1; at 4.5 it counts about 23 times.",
     "About a hundred and fifty": "A power makes the race harder, but the currents fall slowly from the best unit to the next, and the next.",
     "One or two": "If the best current were far ahead. But many rows are similar to a digit, and their currents are not far below the best."},
    answer="About a hundred and fifty")

# %% tags=["remove-input", "covered"]
mnist = data.load("mnist", "test", fallback="digits")
some = bio[:2](mnist.images[:300])
race = (some @ bio[2].weight.detach().T).clamp_min(0).double()
EXPONENTS = {"1": 1, "2": 2, "3": 3, "4.5": 4.5, "6": 6, "8": 8}


def needed(n):
    """How many units make half of the activity, for each image."""
    shares = (race**n).sort(1, descending=True).values
    return (shares.cumsum(1) < 0.5 * shares.sum(1, keepdim=True)).sum(1) + 1


half = {n: needed(n).double().median().item() for n in EXPONENTS.values()}


def draw_power(power):
    ax = plots.axes(height=2.9)
    for n, look in zip((1, power) if power > 1 else (1,), plots.OTHERS):
        shares = (race[0]**n).sort(descending=True).values
        ax.plot(range(1, 1001), (shares / shares.sum()).cumsum(0)[:1000], color=look.colour, linestyle=look.line, label=f"power {n:g}")
    ax.axhline(0.5, color=plots.GREY, linewidth=0.8)
    ax.set(xlabel="strongest units", ylabel="share of the activity", ylim=(0, 1), xlim=(0, 1000))
    plots.percent(ax)
    ax.legend(loc="lower right")
    return plots.finish(ax, mnist.source)


widgets.explore(draw_power, alt=lambda power: f"Share of the activity that the strongest units make together, for one digit, with power 1 and power {power:g}. Half of it needs {needed(1)[0]} units at power 1 and {needed(power)[0]} at power {power:g}.",
                power=EXPONENTS, caption="Bio, one test image: how much of the whole hidden activity the strongest units make together.")

# %% tags=["remove-input", "covered"]
records.say("Median over {n} test images: half of the activity is made by {counts} units, for the powers {powers}. So the power is a second competition, softer than that of the learning rule: the current of the hundredth unit is still {near:.0%} of the largest. It also makes large numbers: the lead of the best logit over the second is {lead:,.0f} in the median, far beyond what {{term}}`softmax` can tell from certainty in float32.",
            n=len(some), counts=", ".join(f"{v:.0f}" for v in half.values()), powers=", ".join(f"{n:g}" for n in half), lead=(lambda z: (z[:, 0] - z[:, 1]).median())(evaluation.logits(bio, mnist.images[:300]).topk(2).values),
            near=(lambda best: (best[:, 99] / best[:, 0]).median())(race.topk(100, dim=1).values),
            holds=half[1] > 2 * half[4.5] > half[8] and (len(train) < 10_000 or 100 < half[4.5] < 200))

# %% tags=["remove-input", "covered"]
unseen = bio[:2](mnist.images)


def right(rows, power):
    """Ridge regression on the classes as in the table above: share of the test images that it gets right."""
    answers = lambda images: (images @ rows.T).clamp_min(0).double().pow(power)
    full = lambda h: F.pad(h / seen.mean(0).clamp_min(1e-30), (0, 1), value=1.0)
    seen = answers(pixels)
    h = full(seen)
    matrix = h.T @ h
    matrix += 1e-4 * matrix.trace() / len(matrix) * torch.eye(len(matrix), dtype=matrix.dtype)
    found = full(answers(unseen)) @ torch.linalg.solve(matrix, h.T @ F.one_hot(train.labels, 10).double())
    return (found.argmax(1) == mnist.labels).double().mean().item()


TRIED = (1, 2, 4.5)
gains = [", ".join(f"{right(rows, n):.1%}" for n in TRIED) for rows in (first["the second network"][:1000], W)]
records.say("And what does the readout gain? Ridge regression as in the table, on {n:,} training images, with the powers {powers}: from the first {units:,} units of Bio it is right on {full} of the test images, from the {few} rows trained on this page on {small}. One set of rows each, and the same penalty for all.",
            n=len(pixels), powers=", ".join(f"{n:g}" for n in TRIED), units=1000, full=gains[0], few=100, small=gains[1])

# %% [markdown]
# :::{container} covered
# What such logits do to gradients was a subject of [chapter 07](07_honest_evaluation.ipynb).
# :::
#
# ## Two departures
#
# Our two networks have the layers of section 2.3. Their training departs from the source's text and printed code in the loss and in the steps and epochs. (Where the printed code has a slip in the current, we follow the text.)
#
# **A temperature in the loss.** The cross-entropy of such large logits is nearly a function with corners: zero where the answer is right, a steep ramp where it is wrong, and hardly any image in between. We divide the logits by 1,000 *inside the loss*, for both networks. The layers are not changed, but the weights that are learnt are other ones.
#
# **Fewer and larger steps.** The source's code has the step $0.02$; for how many epochs the rows learn is not printed. We take 40 epochs with $0.1$. Our step falls after each mini-batch, the source's after each epoch. And the source's 300 epochs of backpropagation, at five rates and with Adam made anew for each epoch, became 100 for Bio and 20 for BP, at a rate that rises and falls once.
#
# What do these do? Both were measured at reduced size only: 100 units, 10,000 images. For the first, three readouts each learn with and without the temperature, with the source's learning rates, a tenth of its epochs, and Adam made anew for each epoch as there.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two plots of accuracy against 30 epochs, three thin lines for each loss. Left, training images: all rise, and the lines of the loss as it is end above the others. Right, test images: all end close together, those with divided logits on top."}, "figure": {"caption": "A readout of 100 units, with the loss as it is and with logits divided by 1,000 inside it; three trainings of each, first weights shared. Left: on the 10,000 training images; right: on the test images.", "name": "fig-12-departure"}}
readouts = records.read("12-readout")["values"]
panels = plots.axes(2, height=2.8, sharey=True)
for part, ax in zip(("train", "test"), panels):
    for (temperature, name), look in zip((("1", "as it is"), ("1000", "divided by 1,000")), plots.OTHERS):
        for i, found in enumerate(readouts[temperature].values()):
            ax.plot(range(5, 5 * len(found[part]) + 1, 5), found[part], color=look.colour, linestyle=look.line, alpha=0.8, label=name if i == 0 else None)
    ax.set(xlabel="epochs", ylabel=f"{'training' if part == 'train' else 'test'} accuracy")
    plots.percent(ax)
panels[0].legend(loc="lower right")
plots.finish(panels, "MNIST, original files; record 12-readout")

# %% tags=["remove-input"]
last = lambda t, key: [found[key][-1] for found in readouts[t].values()]
before, after = (norms[name]["0"] for name in ("source", "ours"))
lost, leads = ({t: [found[key] for found in readouts[t].values()] for t in ("1", "1000")} for key in ("saturated", "lead"))
display(records.say("**The temperature.** After the last epoch the loss as it is has fitted {a} of the training images and {b} of the test images; with the logits divided it is {c} and {d}. So here the temperature costs {cost} percentage points on the training images and gains {gain} on the test images, in each of the {runs} trainings. Without it the loss has no gradient left at the logits of {z} of the training images; with it, of {zt}. "
                    "And the logits end larger: the median lead of the best is {la} without and {lb} with it.",
                    a=spread(last("1", "train"), ".1%"), b=spread(last("1", "test"), ".1%"), c=spread(last("1000", "train"), ".1%"), d=spread(last("1000", "test"), ".1%"), cost=spread([100 * (x - y) for x, y in zip(last("1", "train"), last("1000", "train"))], ".1f"), gain=spread([100 * (y - x) for x, y in zip(last("1", "test"), last("1000", "test"))], ".1f"), runs=len(lost["1"]), z=spread(lost["1"]), zt=spread(lost["1000"]), la=spread(leads["1"], ".0f"), lb=spread(leads["1000"], ",.0f"),
                    holds=all(x - y > 0.005 for x, y in zip(last("1", "train"), last("1000", "train"))) and all(0 < y - x < 0.01 for x, y in zip(last("1", "test"), last("1000", "test"))) and min(lost["1"]) > 0.5 and max(lost["1000"]) < 0.01 and min(leads["1000"]) > 5 * max(leads["1"])), records.quote("12-readout"))

# %% tags=["remove-input"]
display(records.say("**The step.** One training each of {n} rows: after {se} epochs with the step {ss} the median length is {sm:.3f}, the longest {sl:.2f}, and {sp:.0%} lie within {one:.0%} of one; after {oe} epochs with {os} it is {om:.3f}, {ol:.2f} and {op:.0%}. Both settings bring most rows close to length one at this size, and the source's step with more epochs brings more of them. Ours needs fewer epochs.",
                    n=base["units"], se=100, ss=0.02, sm=before[1], sl=before[2], sp=before[3], oe=40, os=0.1, om=after[1], ol=after[2], op=after[3], one=0.01, holds=before[3] > after[3] > 0.85), records.quote("12-norms"))

# %% [markdown]
# ## Accuracy by epoch

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two plots of accuracy against the epoch. Left, Bio, 100 epochs; right, BP, 20 epochs. The training accuracy rises above the test accuracy in both and ends near the top."}, "figure": {"caption": "Our two networks while they learn from labels: training images, counted while they are trained on, and test images. Bio: readout only. The axes of the epochs differ.", "name": "fig-12-epochs"}}
cards = {name: zoo.card(key, "mnist") for name, key in (("Bio", "hebbian_bio"), ("BP", "hebbian_bp"))}
panels = plots.axes(2, height=2.9, sharey=True)
for ax, (name, card) in zip(panels, cards.items()):
    for key, label, look in zip(("train_accuracy", "validation_accuracy"), ("training", "test"), plots.OTHERS):
        course = card["history"][key]
        ax.plot(range(1, len(course) + 1), course, color=look.colour, linestyle=look.line, label=label)
    ax.set(xlabel=f"{name}: epochs", ylabel="accuracy", ylim=(0.9, 1.002))
    plots.percent(ax)
    ax.legend(loc="lower right")
plots.finish(panels, CHECKPOINTS)

# %% tags=["remove-input"]
now = {name: (card["test accuracy"], card["train accuracy"]) for name, card in cards.items()}
at_end = {name: card["test accuracy 95 %"] for name, card in cards.items()}
display(records.say("One training of each, all {n:,} test images: Bio {a:.2%} (Wilson interval over the images {al:.1%} to {ah:.1%}), BP {b:.2%} ({bl:.1%} to {bh:.1%}). On the training images {c:.1%} and {d:.1%}. So a hidden layer that never saw a label stays {gap:.2f} percentage points behind one that learnt for the task. Other seeds would move both numbers; they were not trained yet.",
                    n=cards["Bio"]["test images"], a=now["Bio"][0], al=at_end["Bio"][0], ah=at_end["Bio"][1], b=now["BP"][0], bl=at_end["BP"][0], bh=at_end["BP"][1], c=now["Bio"][1], d=now["BP"][1], gap=100 * (now["BP"][0] - now["Bio"][0]), holds=now["Bio"][0] < now["BP"][0]),
        records.verdict("Both networks reach comparable test accuracies of about 98 %, BP half a point more.",
                        source="belaustegui2022", where="section 2.3, figure 2.2", reported="Test accuracy 97.7 % (Bio) and 98.2 % (BP); training accuracy 99.7 % and 100 %. One training of each.",
                        measured=f"One training of each: test {now['Bio'][0]:.2%} and {now['BP'][0]:.2%}, training {now['Bio'][1]:.1%} and {now['BP'][1]:.1%}.",
                        verdict="not tested here",
                        why="The numbers stand close together, but our trainings depart from the source's in the loss, the step and the epochs, and one training of each has no spread. Five trainings of each with the source's settings would test it."))

# %% [markdown]
# ## How fast
#
# The code printed in {cite}`belaustegui2022` updates in NumPy: it sorts all 2,000 currents for each image, fills a matrix with $g$, and multiplies twice, once for the currents and once for the changes. But $g$ has two entries for each image that are not zero. So it is enough to find the best $k$ of the currents, and the second product is a sum of single rows.

# %% tags=["remove-input"]
speed = records.read("12-speed")["values"]
times = speed["seconds"]
display(records.say("The same update three times in turn, {units:,} units, {batch} images, {rounds} rounds, medians, on one thread of the processor named below: sorted in torch it takes {torch:.1f} times as long as ours, sorted in NumPy {numpy:.1f} times (there with the power of the current, which $p = 2$ does not need). Both sorted versions are our own. The changes agree to within {apart} of their length.",
                    units=speed["units"], batch=speed["batch"], rounds=speed["rounds"], torch=times["sorted, torch"] / times["ours"], numpy=times["sorted, NumPy"] / times["ours"], apart=f"$10^{{{math.ceil(math.log10(max(speed['apart'].values())))}}}$",
                    holds=times["sorted, torch"] > 1.5 * times["ours"] and times["sorted, NumPy"] > 1.5 * times["ours"]), records.quote("12-speed"))

# %% [markdown]
# The library has the update twice: once in plain torch, the *twin*, and once as a kernel (one function that runs many times at once) in Triton, a language for graphics processors; it must give what the twin gives. Three things are worth a look in the kernel. Each program, one such run, owns a tile of units and pixels and meets the images in order, so nothing is added by two programs at once and a run repeats bit by bit. It skips images that chose no unit of its tile. And the largest entry stays on the device: nobody waits for it.

# %% tags=["remove-input"]
import inspect
from html import escape
from importlib.resources import files

kernel = (files("advlens") / "kernels" / "krotov_hopfield_triton.py").read_text()
twin = inspect.getsource(krotov_hopfield.update_)
fold = lambda name, code: f"<details><summary>{name}</summary>\n\n```python\n{code}\n```\n\n</details>\n"
Markdown(fold("The twin, in torch", twin) + "\n" + fold("The kernel, in Triton", kernel[kernel.index("@triton.jit"):]))

# %% [markdown]
# ## The honest end

# %% tags=["remove-input"]
records.say("**What was shown.** The order of competing units is that of their currents, so the winner of the rank rule is the winner of the equations ({same} of {cases} random cases). Rows that win come to the sphere: {share:.1%} of the {n:,} rows of the committed net within {one:.0%}. With layers of {u} units that saw {d:,} digits and no label, linear readouts were right on {e:.1%} (power one) and {f:.1%} (power {power}) of the test images, against {a:.1%} and {b:.1%} with random rows (means of {runs} trainings). At full size Bio is right on {bio:.2%} of the test images and BP on {bp:.2%}, one training of each.",
            u=base['units'], d=settings['images'], same=sum(found["winner"] for found in who.values()), cases=cases * len(who), share=((ends - 1).abs() <= 0.01).float().mean(), n=len(ends), one=0.01, power=4.5, e=got("default", "ridge 1"), a=mean(rows_of["random"]["ridge 1"]), f=got("default", "ridge 4.5"), b=mean(rows_of["random"]["ridge 4.5"]), runs=len(default["sphere"]), bio=now["Bio"][0], bp=now["BP"][0],
            holds=got("default", "ridge 4.5") > mean(rows_of["random"]["ridge 4.5"]))

# %% [markdown]
# **What is open.** Five trainings of each network at full size, and the source's own loss, steps and epochs there. The settings one at a time at full size, and two at a time at any size; three trainings of 100 units bear out large differences only. Which power suits which rows. Photographs. And whether a layer that never saw a label is harder to fool: nobody was attacked here.

# %% tags=["remove-input"]
apart = {name: alike(rows) for name, rows in trials.items()}
records.claims([
    {"claim": "Punishing units that answer weakly makes the units learn diverse representations, so that they do not all converge to the same pattern.", "source": "belaustegui2022", "where": "section 2.2", "reported": "given as the purpose of the rule",
     "measured": f"100 units, rank rule: with punishment the most similar unit has a median cosine of {apart['punished']:.2f}, without {apart['not punished']:.2f}. Without it too, the units did not converge to one pattern; from short first rows they collapse for another reason. One training of each here, of a small layer; five of the full one, with and without, would test it", "verdict": "not tested here"},
    {"claim": "The patterns should be related to the principal components, and the activations should keep much of the information of the images.", "source": "belaustegui2022", "where": "section 2.2", "reported": "as an expectation",
     "measured": f"share of the variance of {len(pixels):,} images in the space that 100 rows span: learnt {inside['learnt']:.0%}, principal components {inside['principal']:.0%}, random rows {inside['random']:.0%}. One training, and variance is not information", "verdict": "not tested here"},
    {"claim": "With many hidden units the differential equations are too costly to solve.", "source": "belaustegui2022", "where": "section 2.3", "reported": "tried and given up",
     "measured": "solved here for three to five units only", "verdict": "not tested here"},
    {"claim": "The cross-entropy in place of the original loss does not hurt the accuracy.", "source": "belaustegui2022", "where": "section 2.3", "reported": "observed, without numbers",
     "measured": "the original loss was not trained", "verdict": "not tested here"},
    {"claim": "The model performs comparably to backpropagation on MNIST and CIFAR-10.", "source": "belaustegui2022", "where": "section 2.2, retold from the literature", "reported": "for the original paper",
     "measured": "no network of this kind was trained on photographs", "verdict": "not tested here"},
])

# %% [markdown]
# ## Exercises
#
# [Exercises for this chapter](../exercises/student/12_competing_units.ipynb)
#
# 1. **By hand.** Three units and one image.
# 2. **Code.** One mini-batch of the rank rule.
# 3. **Measure.** Three beginnings, and what becomes of them.
# 4. **Break it.** A unit that wins everything, and work for the others.
# 5. **Think.** A sentence about a network that has understood.
#
# ## Take-away
#
# - Units that inhibit each other keep the order of their currents, so sorting the currents replaces the differential equations when only the winner counts.
# - A row that wins comes to the unit sphere of the $p$-norm. The sphere repels a row that is punished while its current is positive.
# - Without labels and without punishment a row becomes the scaled sum of the images that it wins, as in spherical k-means. A linear readout of learnt rows beats one of random rows.
# - First rows, step and number of updates belong to the rule: from short rows, or with a large step, one unit or a few win everything.
# - In the small trainings here punishment made units differ, and the readout did not need it.
# - A power in the activation is a softer competition. It also makes logits so large that the loss and its gradient need care.
#
# ## Where the numbers come from
#
# The contests of five units, the training of 100 units and the comparisons of rows are computed live, on the data named under each figure; Bio and BP are the committed networks, always those for MNIST. The records `12-settings`, `12-winners`, `12-readout`, `12-norms` and `12-speed` are always about real data, or about random numbers from a seed; `advlens record 12-settings` measures the first again. The functions are in `measurements/12_competing_units.py`.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
