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
# # Exercises: frequencies
#
# Five exercises for the chapter [Frequencies](../../chapters/09_frequencies.ipynb): you take four pixels apart with a pencil, you write a function that says where an image has its energy, you compare the noise of one attack on three networks, you fool a network without ringing an alarm, and you judge an argument.
# Run the cells from top to bottom. Each check says "ok", or gives you one hint. All of it runs on a laptop in seconds. Time: 75 minutes.

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
# ## 1. By hand: four pixels
#
# A row of four pixels has the brightness 3, 4, 0, 0 (in tenths). Its discrete Fourier transform is
#
# $$X_k = \sum_{n=0}^{3} x_n\, w_k^n , \qquad k = 0, 1, 2, 3,$$
#
# where $x_n$ is pixel $n$ and $w_k = e^{-2\pi i k/4}$, so that the powers are
#
# | factor | *n* = 0 | *n* = 1 | *n* = 2 | *n* = 3 |
# |---|---|---|---|---|
# | $k = 0$ | $1$ | $1$ | $1$ | $1$ |
# | $k = 1$ | $1$ | $-i$ | $-1$ | $i$ |
# | $k = 2$ | $1$ | $-1$ | $1$ | $-1$ |
# | $k = 3$ | $1$ | $i$ | $-1$ | $-i$ |
#
# A number $p + qi$ has the size $\sqrt{p^2 + q^2}$. Frequency 0 is the sum of the row, frequency 2 belongs to the finest stripes (light, dark, light, dark), and 1 and 3 are the same stripes, one period in the row.
#
# - `"sizes"`: the four sizes $|X_0|$ to $|X_3|$;
# - `"energy"`: two numbers, the sum of the squares of the four pixels, and that of the four sizes;
# - `"share"`: the share of the spectrum's energy that does not lie at frequency 0.
#
# Two filters go over a row whose ends are joined. The *mean* replaces each pixel by $\tfrac12 x_n + \tfrac12 x_{n-1}$, the *difference* by $x_n - x_{n-1}$. The gain of a filter at frequency $k$ is the size of the transform of its weights: of $\tfrac12, \tfrac12, 0, 0$, and of $1, -1, 0, 0$.
#
# - `"mean"`: its gains at the frequencies 0, 1 and 2;
# - `"difference"`: the same for the difference;
# - `"chain"`: the same for the difference followed by the mean.
#
# Two decimals are enough. (Compare the two energies when you are done. Parseval's theorem says that their ratio is the same for every row of four pixels. Which number does it depend on?)

# %% nbgrader={"grade": false, "grade_id": "warmup", "locked": false, "schema_version": 3, "solution": true, "task": false}
def by_hand():
    """A dict with the six keys above: lists of numbers, and one number for "share"."""
    ### BEGIN SOLUTION
    # X_1 = 3 - 4i; a sum of squares grows by the number of pixels, 4; one after the other, gains are multiplied
    return {"sizes": [7, 5, 1, 5], "energy": [25, 100], "share": 0.51,
            "mean": [1, 0.71, 0], "difference": [0, 1.41, 2], "chain": [0, 1, 0]}
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "warmup-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.four_frequencies(by_hand)

# %% [markdown]
# ## 2. Code: energy in rings
#
# Write `ring_energy(images, edges)`: where in its spectrum does an image have its energy? The images are square, (N, C, H, H), and may also be noise with negative pixels. Ring $k$ holds the frequencies $(u, v)$ whose radius lies between two neighbouring `edges`,
#
# $$\mathrm{edges}[k] \;\le\; \sqrt{u^2 + v^2} \;<\; \mathrm{edges}[k+1],$$
#
# with $u$ and $v$ in periods per image, and frequency 0 belongs to the radius 0. The energy of an image at $(u, v)$ is $|F(u, v)|^2$, added over its channels. Return a tensor (N, R), a row for each image and a column for each of the R = `len(edges) - 1` rings: the share of *all* the energy of the image that lies in the ring.
#
# `torch.fft.fft2` transforms the last two dimensions and puts frequency 0 into the corner. `torch.fft.fftfreq(n, 1 / n)` says in the same order which frequency stands where. There is more than one way: with Parseval's theorem, which you met in exercise 1, the chapter's `spectral.band` will do as well.

# %% nbgrader={"grade": false, "grade_id": "rings", "locked": false, "schema_version": 3, "solution": true, "task": false}
def ring_energy(images, edges):
    ### BEGIN SOLUTION
    n = images.shape[-1]
    frequency = torch.fft.fftfreq(n, 1 / n)
    radius = (frequency[:, None] ** 2 + frequency ** 2).sqrt()  # (H, H)
    energy = torch.fft.fft2(images).abs().square().sum(1)  # (N, H, H)
    rings = [(low <= radius) & (radius < high) for low, high in zip(edges, edges[1:])]
    inside = torch.stack([(energy * ring).sum((1, 2)) for ring in rings], 1)
    return inside / energy.sum((1, 2))[:, None]
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "code-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.ring_energy(ring_energy)

# %% [markdown]
# Eight rings over the enlarged digits, and the noise that FGSM adds to them. The vertical axis is logarithmic. What do you notice at the right end, where the corners of the spectrum lie?
#
# ![Two curves of the share of the energy against the radius of the ring, on a logarithmic axis. They begin close together, and that of the digits ends far below that of FGSM's noise.](expected/09_code.png)

# %% expected="09_code"
digits = data.load("digits", "test")[:100]
lenet = zoo.pretrained("lenet", "digits")
noise = attacks.fgsm(lenet, digits.images, digits.labels, eps=0.1) - digits.images
edges = [0, 2, 4, 6, 8, 10, 12, 14, 20]
ax = plots.axes(height=2.8)
for name, shown, colour in (("digits", digits.images, plots.GREY), ("noise of FGSM", noise, plots.BLUE)):
    ax.semilogy(edges[:-1], ring_energy(shown, edges).mean(0), "o-", color=colour, label=name)
ax.set(xlabel="radius of the ring, from", ylabel="share of the energy")
ax.legend()
plots.finish(ax, digits.source)

# %% nbgrader={"grade": true, "grade_id": "code-hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# When this sheet is graded, your function also meets colour images, with other rings.
### BEGIN HIDDEN TESTS
from advlens.course import checks
checks.ch09.ring_energy_elsewhere(ring_energy)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Measurement: one attack, three networks
#
# The chapter looked at the noise of several attacks on LeNet. Now the attack stays the same, PGD with an $\ell_2$ norm of 1.5, and the network changes: the fully connected one, LeNet, and the ResNet, all trained on the embedded digits, one training each. Each reads all of the fifty digits below, or all but one. Where does its noise have its energy, and what becomes of the attack when the waves with a radius of 4.5 and more are taken away?
#
# Before you start, guess: whose noise is fastest? Then fill in, for each network,
#
# - `share`: the mean over the digits of the share of the noise's energy at the radius 4.5 and above;
# - `filtered`: the share of the digits that the network reads right when it is shown `spectral.band(adversarial, 0, 4.5)`, as it is;
# - `conclusion`: which of these do your six numbers bear out?
#   - a: A ResNet makes faster noise than a fully connected network: its convolutions react to edges.
#   - b: The noise of this attack is low-frequency noise: for each network most of its energy lies below 4.5, so a low-pass cannot help.
#   - c: Same attack, same norm, same digits, and yet the share differs by a factor of more than two. It belongs to the network as well as to the attack, and here more comes back through the filter where it is largest.
#   - d: The attack decides how fast its noise is: the three shares agree within a few percentage points.

# %% nbgrader={"grade": false, "grade_id": "measurement", "locked": false, "schema_version": 3, "solution": true, "task": false}
from advlens import spectral

digits = data.load("digits", "test")[:50]
x, y = digits.images, digits.labels
nets = {name: zoo.pretrained(name, "digits") for name in ("fully_connected", "lenet", "mnist_resnet")}
noise, unfiltered = {}, {}
for name, net in nets.items():
    adversarial = attacks.pgd(net, x, y, eps=1.5, norm="l2", steps=10, random_start=False)
    noise[name] = adversarial - x
    unfiltered[name] = (evaluation.logits(net, adversarial).argmax(1) == y).float().mean().item()

share = {"fully_connected": None, "lenet": None, "mnist_resnet": None}
filtered = {"fully_connected": None, "lenet": None, "mnist_resnet": None}
conclusion = None

### BEGIN SOLUTION
for name, net in nets.items():
    share[name] = ring_energy(noise[name], [4.5, 20]).mean().item()
    slow = spectral.band(x + noise[name], 0, 4.5)
    filtered[name] = (evaluation.logits(net, slow).argmax(1) == y).float().mean().item()
conclusion = "c"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "measurement-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.three_spectra(share, filtered)

# %% [markdown]
# Nine bars, three for each network. Was your guess right? (Keep in mind that these digits were scanned with 8 x 8 pixels and enlarged. On MNIST, and with other trainings, the numbers may be others.)
#
# ![Nine bars in three groups: for the fully connected network, LeNet and the ResNet the share of the noise above the cut-off, the accuracy under attack, and the accuracy after the filter. The ResNet has the largest share and the largest gain by the filter.](expected/09_measurement.png)

# %% expected="09_measurement"
values, labels = [], []
for name, short in zip(nets, ("FC", "LeNet", "ResNet")):
    values += [share[name], unfiltered[name], filtered[name]]
    labels += [f"{short}: energy from 4.5", f"{short}: right, attacked", f"{short}: right, filtered"]
plots.bars(values, labels, ylabel="share", source=digits.source)

# %% nbgrader={"grade": true, "grade_id": "measurement-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# Which letter is right is decided when the sheet is graded.
assert conclusion in ("a", "b", "c", "d")
### BEGIN HIDDEN TESTS
assert conclusion != "a", "one training of each network says nothing about kinds of networks, and no experiment here is about edges"
assert conclusion == "c", "compare the three shares, and each accuracy behind the filter with the one before it"
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Break it: a silent attack
#
# A colleague has seen the picture of exercise 2 and builds an alarm. It adds up the energy of an image at the radius 14 and above, in the corners of the spectrum, where digits have next to nothing. If there is more than in 95 of 100 clean training digits, it rings. `checks.Alarm()` is this alarm: `alarm(images)` says for each image whether it rings, `alarm.energy(images)` gives the energy and `alarm.limit` the limit. Here is the colleague's evaluation, with LeNet and `eps = 0.1`:

# %%
digits = data.load("digits", "test")[100:150]
x, y = digits.images, digits.labels
lenet, alarm = zoo.pretrained("lenet", "digits"), checks.Alarm()
for name, images in (("clean", x), ("FGSM", attacks.fgsm(lenet, x, y, eps=0.1)),
                     ("PGD", attacks.pgd(lenet, x, y, eps=0.1, steps=10, random_start=False))):
    wrong = evaluation.logits(lenet, images).argmax(1) != y
    print(f"{name}: {int(wrong.sum())} of 50 wrong, the alarm rings for {int(alarm(images).sum())}, "
          f"energy {alarm.energy(images).median():.3f} (limit {alarm.limit:.3f})")

# %% [markdown]
# Impressive, but neither attack knew of the alarm. Make fifty images, `quiet`: each within 0.1 of its digit in every pixel, all pixels in [0, 1]. At least **thirty** of them are to be read wrongly *and* leave the alarm silent. Any road is allowed.
#
# One road: attack with steps along the filtered gradient, as the chapter does. You will find that this is not enough, because the two clamps, to the ball and to [0, 1], cut edges into your waves, and edges are fast. So filter and clamp again, in turns, until both are satisfied. Say also
#
# - `why`: what is wrong with the alarm?
#   - a: Its limit is too high: a lower one catches these images, and still stays silent on nearly all clean digits.
#   - b: It listens where two attacks leave traces that they do not need. An attack that knows it leaves them out, and loses little.
#   - c: It is an alarm of the wrong norm: for the $\ell_\infty$ norm no spectrum can say anything.

# %% nbgrader={"grade": false, "grade_id": "transfer", "locked": false, "schema_version": 3, "solution": true, "task": false}
digits = data.load("digits", "test")[100:150]
x, y = digits.images, digits.labels
lenet, alarm = zoo.pretrained("lenet", "digits"), checks.Alarm()

quiet = None
why = None

### BEGIN SOLUTION
# Slow steps; then the change goes through the filter and through both clamps, in turns.
def inside(change):
    return (x + change.clamp(-0.1, 0.1)).clamp(0, 1) - x

change = torch.zeros_like(x)
for _ in range(20):
    point = (x + change).requires_grad_()
    loss = torch.nn.functional.cross_entropy(lenet(point), y, reduction="sum")
    slow = spectral.band(torch.autograd.grad(loss, point)[0], 0, 9)
    step = 0.4 * slow / slow.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]
    change = inside(change + step)
for _ in range(5):
    change = inside(spectral.band(change, 0, 13))
quiet = (x + change).clamp(0, 1)
why = "b"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "transfer-check", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
checks.silent(quiet)

# %% nbgrader={"grade": true, "grade_id": "transfer-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# Which letter is right is decided when the sheet is graded.
assert why in ("a", "b", "c")
### BEGIN HIDDEN TESTS
assert why == "b", "compare the energies of your images up there with those of the clean digits"
### END HIDDEN TESTS

# %% [markdown]
# ## 5. Thought: blur the input?
#
# A vendor writes (the numbers are invented):
#
# > *Our figure shows the Fourier transform of adversarial noise, on a logarithmic scale: the corners are bright. Adversarial noise is high-frequency noise. BlurShield therefore blurs each image before the network reads it. On 200 images that fooled the bare network, the accuracy rises from 0 % to 68 %. The blur has no parameters to steal, and random noise of the same length is removed as well.*
#
# Write at most fifteen lines. What does the figure show, and what would it have to be compared with? What else would you measure before you believe the sentence about noise? Which attack would you run on BlurShield, and why does its gradient get through? What does the blur cost, and how do you find out? For each measurement say which outcome would speak for the vendor, and which against.

# %% [markdown] nbgrader={"grade": true, "grade_id": "thought", "locked": false, "points": 6, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** (1) The figure: a logarithm lifts what is small, so a bright corner may hold a thousandth of the energy; and corners hold many frequencies. Give the share of the energy above a cut-off, and compare it with the clean images, with the same noise in another order of pixels, and with the noise of other attacks and networks. For the vendor: a share close to that of the shuffled noise. Against: most of the energy lies below the cut-off. (2) Where the noise lies does not say what the network reacts to: one attack took one road. Attack with steps confined to a band, all bands with the same length and the same number of frequencies, with several trainings of the network. For the vendor: low bands fool hardly more than random noise of that band. Against: low bands fool as well. (3) The 68 % are from images that were made without the blur, which is an oblivious attack. A blur is linear and differentiable, so PGD through it has the right gradient, and neither BPDA nor EOT is needed; a Gaussian blur removes no frequency altogether, it makes each one smaller by its gain, so that a change below the cut-off passes and one above it can be made larger as far as the norm allows. Run it with the same norm and budget, then the strongest attack, and count the images that stand all of them. For the vendor: the accuracy under attack stays far above that of the bare network, over a whole curve of budgets. Against: it falls to that of the bare network. That random noise is removed says nothing, because random noise hardly fools a network. (4) The cost: accuracy on all clean test images, with and without the blur, for several widths; the 200 images were chosen because they fooled the network, so neither accuracy nor cost can be read from them. A network that was trained on blurred images should be in the comparison too, with several seeds, and a blurred network may also lose on other disturbances, such as low contrast. (5) 200 images: an interval of about seven percentage points to each side.
#
# **Marking guide.** 1 point: the logarithm, or energy instead of brightness of a corner. 1 point: a control for the spectrum (clean images, shuffled noise, or another attack) with what each outcome means. 1 point: attacks confined to bands, with equal norm, or the difference between where noise lies and what a network reacts to. 1 point: the 68 % come from an attack that does not know the blur; attack through it. 1 point: why this gradient is right (linear, differentiable), or that a blur only weakens a frequency. 1 point: the cost on clean images, or the choice of the 200, or noise that is random is no test. A list of measurements without outcomes gives at most 4 points.
