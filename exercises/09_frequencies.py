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
# Five exercises for the chapter [Frequencies](../../chapters/09_frequencies.ipynb): you take four pixels apart with a pencil, you write a filter, you measure where the noise of an attack has its energy, you send an attack through a filter that should stop it, and you judge an argument.
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
# | | $n = 0$ | $n = 1$ | $n = 2$ | $n = 3$ |
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
# Two decimals are enough. (Compare the two energies when you are done: by which factor do they differ?)

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
# ## 2. Code: a low-pass filter
#
# Write `low_pass(images, r)`. Of each channel of each image it keeps the frequencies $(u, v)$ with
#
# $$u^2 + v^2 \le r^2,$$
#
# where $u$ counts the periods down the image and $v$ those across it, and it removes all others. What it gets may be images (N, C, H, W) or noise, with negative pixels, so nothing is clamped. The sizes may be odd, and H need not be W.
#
# `torch.fft.fft2` makes the spectrum of the last two dimensions, `torch.fft.ifft2` turns it back, and `torch.fft.fftfreq(n, 1 / n)` says which frequency stands where along `n` pixels, in periods per image (and `torch.fft.fftfreq(n)` in periods per pixel). The result of `ifft2` is complex: its `.real` is the image.

# %% nbgrader={"grade": false, "grade_id": "filter", "locked": false, "schema_version": 3, "solution": true, "task": false}
def low_pass(images, r):
    ### BEGIN SOLUTION
    height, width = images.shape[-2:]
    u = torch.fft.fftfreq(height, 1 / height)[:, None]  # (H, 1), a column
    v = torch.fft.fftfreq(width, 1 / width)  # (W,), a row
    keep = u ** 2 + v ** 2 <= r ** 2  # (H, W)
    return torch.fft.ifft2(torch.fft.fft2(images) * keep).real
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "code-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.low_pass(low_pass)

# %% [markdown]
# Four digits, and what is left of them with fewer and fewer frequencies. Where does LeNet stop reading them, and where do you?
#
# ![Four rows of four handwritten digits, sharp in the first row and more blurred in each row below it, with ripples around the strokes. Under each digit stands the answer of LeNet, and the frame says whether it is right.](expected/09_code.png)

# %% expected="09_code"
digits = data.load("digits", "test")[20:24]
lenet = zoo.pretrained("lenet", "digits")
rows = ["r = 8", "r = 4", "r = 3", "r = 2"]
shown = torch.cat([low_pass(digits.images, int(row[-1])).clamp(0, 1) for row in rows])
answers = evaluation.logits(lenet, shown).argmax(1)
frame = (answers == digits.labels.repeat(len(rows))).tolist()
plots.images(shown, [f"says {int(k)}" for k in answers], columns=4, rows=rows, frame=frame,
             source=digits.source)

# %% nbgrader={"grade": true, "grade_id": "code-hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# When this sheet is graded, your function also meets colour images, with other radii.
### BEGIN HIDDEN TESTS
from advlens.course import checks
checks.ch09.low_pass_elsewhere(low_pass)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Measurement: is the noise of an attack high-frequency noise?
#
# High compared with what? You need something to compare it with: the digits themselves, and the same noise with its pixels in another order. The order is drawn once, so the noise keeps all its values and its length, and loses its shape.
#
# The network is the fully connected one, and the cut-off is $r = 4.5$. The *energy* of an image or of noise is the sum of its squared pixels, and what lies above the cut-off is what the low-pass takes away. By Parseval's theorem, which you have met in exercise 1, the energy of the image is that of its spectrum up to a constant factor, so the share above the cut-off is
#
# $$1 - \frac{\lVert \mathrm{low\_pass}(d, 4.5) \rVert_2^2}{\lVert d \rVert_2^2}$$
#
# for each image or noise $d$. (`checks.LowPass(4.5)` is a finished filter, a layer that you may use here in place of your own.) Guess the three shares first. Then fill in
#
# - `share`: the mean of this share over the hundred digits, for the clean `"digits"`, for the `"noise"`, and for the `"shuffled"` noise;
# - `accuracy`: the share of the hundred digits that the network classifies right: `"attacked"`; with the `"shuffled"` noise instead, clamped to [0, 1]; and attacked, but `"filtered"` by the low-pass with $r = 4.5$ before the network sees them, with no clamp behind it;
# - `conclusion`: a page on the web says, "adversarial noise is high-frequency noise, images are not; cut the high frequencies, and the noise is gone". What do your six numbers say about this network and these digits?
#   - a: They agree: of the noise a larger share lies above the cut-off than of the digits.
#   - b: They agree in part: compared with the digits, more of the noise lies above the cut-off. But most of it lies below, where the filter leaves it.
#   - c: They contradict it all along: the noise has no more above the cut-off than the digits have.
#   - d: They agree: the noise is as high as the same values in any order, so the filter removes most of it.

# %% nbgrader={"grade": false, "grade_id": "measurement", "locked": false, "schema_version": 3, "solution": true, "task": false}
digits = data.load("digits", "test")[:100]
x, y = digits.images, digits.labels
network = zoo.pretrained("fully_connected", "digits")
adversarial = attacks.pgd(network, x, y, eps=1.5, norm="l2", steps=20, random_start=False)
noise = adversarial - x
order = torch.randperm(784, generator=torch.Generator().manual_seed(0))
shuffled = noise.flatten(1)[:, order].view_as(noise)

share = {"digits": None, "noise": None, "shuffled": None}
accuracy = {"attacked": None, "shuffled": None, "filtered": None}
conclusion = None

### BEGIN SOLUTION
def energy(d):
    return d.square().flatten(1).sum(1)

for name, d in (("digits", x), ("noise", noise), ("shuffled", shuffled)):
    share[name] = (1 - energy(low_pass(d, 4.5)) / energy(d)).mean().item()
for name, d in (("attacked", adversarial), ("shuffled", (x + shuffled).clamp(0, 1)),
                ("filtered", low_pass(adversarial, 4.5))):
    accuracy[name] = (network(d).argmax(1) == y).float().mean().item()
conclusion = "b"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "measurement-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.high_share(share, accuracy)

# %% [markdown]
# Three bars. Was your guess right? (One thing to keep in mind: these digits were scanned with 8 x 8 pixels and then enlarged, so there is little fine detail in them. What the chapter measured on MNIST need not come back here.)
#
# ![Three bars, the share of the energy above the cut-off: small for the digits, larger but still far below one half for the noise of the attack, and close to one for the same noise with its pixels shuffled.](expected/09_measurement.png)

# %% expected="09_measurement"
plots.bars([share[name] for name in ("digits", "noise", "shuffled")], ["digits", "noise", "shuffled"],
           ylabel="energy above r = 4.5", source=digits.source)

# %% nbgrader={"grade": true, "grade_id": "measurement-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# Which letter is right is decided when the sheet is graded.
assert conclusion in ("a", "b", "c", "d")
### BEGIN HIDDEN TESTS
assert conclusion == "b", "compare the share of the noise with one half, and the accuracy behind the filter with that of the clean digits"
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Break it: under the filter
#
# A colleague has read the same page, and puts a low-pass with $r = 4$ before LeNet. Sometimes it is switched on, and sometimes not, "so nobody can prepare for it". The digits are printed in greys between 0.2 and 0.8, which leaves room for stripes. Here is the colleague's evaluation: PGD on LeNet, with an $\ell_2$ norm of 1.

# %%
digits = data.load("digits", "test")[100:150]
x, y = 0.2 + 0.6 * digits.images, digits.labels
lenet = zoo.pretrained("lenet", "digits")
behind = torch.nn.Sequential(checks.LowPass(4), lenet).eval()
oblivious = attacks.pgd(lenet, x, y, eps=1.0, norm="l2", steps=20, random_start=False)
for name, images in (("clean", x), ("PGD", oblivious)):
    right = [int((evaluation.logits(net, images).argmax(1) == y).sum()) for net in (lenet, behind)]
    print(f"{name}: {right[0]} of 50 right without the filter, {right[1]} with it")

# %% [markdown]
# A modest defence, but the attack did not know of it. Make fifty images, `broken`, each of them `x` plus a change with
#
# - an $\ell_2$ norm of at most 1, and all pixels of the image in [0, 1];
# - no energy above the cut-off: the filter lets the change through as it is (your check allows one part in ten thousand, for rounding).
#
# At least **43** of the fifty are to be answered wrongly *both* with the filter and without it. Any road is allowed. One that works: a loop of about twenty steps, as in PGD with the $\ell_2$ norm, in which each gradient is filtered before you take the step. Say also
#
# - `why`: why does the filter not protect LeNet?
#   - a: It lets too much through: with $r = 2$ it would remove these changes, and LeNet would still read clean digits.
#   - b: LeNet also reacts to frequencies below the cut-off, which it needs to read, and a change made there passes the filter.
#   - c: It hides the gradient, as rounding does, and the attack has to find a way around it.

# %% nbgrader={"grade": false, "grade_id": "transfer", "locked": false, "schema_version": 3, "solution": true, "task": false}
digits = data.load("digits", "test")[100:150]
x, y = 0.2 + 0.6 * digits.images, digits.labels
lenet = zoo.pretrained("lenet", "digits")

broken = None
why = None

### BEGIN SOLUTION
# The filter is linear and takes nothing twice: steps made of low frequencies stay there, whatever their sum.
def length(d):
    return d.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]

change = torch.zeros_like(x)
for _ in range(20):
    point = (x + change).requires_grad_()
    loss = torch.nn.functional.cross_entropy(lenet(point), y, reduction="sum")
    step = low_pass(torch.autograd.grad(loss, point)[0], 4)
    change = change + 0.2 * step / length(step)
    change = change / length(change).clamp_min(1)
broken = x + change
why = "b"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "transfer-check", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
checks.under_the_filter(broken)

# %% nbgrader={"grade": true, "grade_id": "transfer-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# Which letter is right is decided when the sheet is graded.
assert why in ("a", "b", "c")
### BEGIN HIDDEN TESTS
assert why == "b", "try r = 2 on clean digits, and look at the gradient behind the filter: is it zero?"
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
