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
# # Data: MNIST and CIFAR-10
#
# You see a seven. The network sees a table of numbers between 0 and 255, and nothing else; every attack in this book is a change to such a table.
# Below, each number moves up or down by the $\varepsilon$ of the slider, by the throw of a coin. **At which $\varepsilon$ do you first see it: on digits, and on photographs?**

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

# %% tags=["hide-input"]
mnist_train = data.load("mnist", "train", fallback="digits")
mnist_test = data.load("mnist", "test", fallback="digits")
cifar_train = data.load("cifar10", "train", fallback="shapes")
cifar_test = data.load("cifar10", "test", fallback="shapes")


def add_noise(eps, dataset):
    x = dataset.images[:3]
    coins = torch.Generator().manual_seed(0)
    flips = torch.randint(0, 2, x.shape, generator=coins) * 2 - 1.0
    return plots.images((x + eps * flips).clamp(0, 1), columns=3, rows=["what the network gets"], source=dataset.source)


def describe_noise(eps, dataset):
    return f"Three images of {dataset.name} in which every value has moved by {eps * 255:.0f}/255 up or down."

# %% tags=["remove-input"]
widgets.explore(add_noise, alt=describe_noise, eps={f"{k}/255": k / 255 for k in (0, 1, 2, 4, 8, 16, 32, 64)},
                dataset={part.name: part for part in (mnist_test, cifar_test)},
                caption="The same noise on three digits and on three photographs. The literature attacks photographs with epsilons up to 8/255 or so, and digits with up to 77/255.")

# %% [markdown]
# Where do you see the noise first, in the texture of a photograph or on the black paper of a digit? Judge for yourself. And yet digits are attacked with the far larger $\varepsilon$. We shall see why, and that it is not quite innocent.
#
# :::{admonition} At a glance
# :class: glance
# - **You will be able to** describe both data sets and how they were made; turn raw bytes into images and back without the usual three mistakes; say what normalisation does and where it belongs; translate an $\varepsilon$ between grey levels, pixel units and normalised units; say what your copy of a data set is a copy of.
# - **Time** 50 minutes of reading and playing.
# - **Threat model** none yet. This chapter makes the yardstick with which all threat models are measured.
# - **Sources** {cite}`unam2021` for the figures and the history of the sets, {cite}`belaustegui2022` for the normalisation; the sets themselves are {cite}`lecun1998` and {cite}`krizhevsky2009`.
# :::

# %%
for part in (mnist_train, mnist_test, cifar_train, cifar_test):
    shape = "x".join(map(str, part.images.shape[1:]))
    print(f"{part.name:<8}{part.split:<6}{len(part):>7,} x {shape}  {part.source}")

# %% [markdown]
# A data set has two halves that must never meet. The network learns from the **training** images, and we judge it by the **test** images, which it has never seen.
# The last column says where the pixels come from. It belongs to every figure of the book, and you will soon see why.
#
# ## MNIST: seventy thousand digits
#
# MNIST {cite}`lecun1998` is the fruit fly of this field: small, and quickly bred.
# Look at the 4s and the 9s, and at the different ways of writing a 1 or a 7.

# %% tags=["hide-input"] mystnb={"image": {"alt": "A grid of fifty small grey images of handwritten digits, white on black, each with its label above."}, "figure": {"caption": "The first fifty training images of MNIST, with their labels.", "name": "fig-01-mnist-train"}}
def show(part):
    names = [part.classes[k].replace("automobile", "auto") for k in part.labels]
    return plots.images(part.images, titles=names, source=part.source)


show(mnist_train[:50])

# %% [markdown]
# The first fifty of anything may be special, so the second look is at random, and at the test images.

# %% tags=["hide-input"] mystnb={"image": {"alt": "A grid of fifty handwritten digits drawn at random from the test images, each with its label above."}, "figure": {"caption": "Fifty test images of MNIST, drawn at random (seed 0).", "name": "fig-01-mnist-test"}}
show(mnist_test.sample(50, seed=0))

# %% [markdown]
# ### How it was made
#
# The digits were scanned from forms for the American standards institute NIST, in two campaigns.
# Employees of the census bureau filled in one set of forms; students filled in the other, and are said to have written less neatly.
# NIST had kept one campaign for training and the other for testing, which is a trap: a network learns one kind of writer and is judged on another.
# The makers of MNIST *mixed* the two in both splits; that is the M in the name. They shrank each digit into a box of 20 by 20 pixels and put it into an image of 28 by 28, with its centre of mass in the middle.
#
# The last sentence can be checked from the pixels. How large is the box around the ink, and where is the centre of mass?

# %%
from advlens.data import box_and_offset

height, width, centre = box_and_offset(mnist_train.images)  # (N,), (N,), (N, 2)

# %% tags=["hide-input"] mystnb={"image": {"alt": "First a histogram of the height and the width of the box around each digit; both end at twenty pixels. Then the centres of mass as a cloud of points near the middle of the image."}, "figure": {"caption": "First: height and width of the box around the ink. Second: where the centre of mass lies, measured from the centre of the image; the square is one pixel wide.", "name": "fig-01-ink"}}
left, right = plots.axes(2, height=2.8)
left.hist([height, width], bins=[b - 0.5 for b in range(1, 25)], label=["height", "width"], color=[plots.colour("lenet"), plots.colour("vgg_blocks")])
left.set(xlabel="size of the ink (pixels)", ylabel="images")
left.legend(loc="upper left")
right.plot(centre[:500, 1], centre[:500, 0], ".", color=plots.colour("lenet"), markersize=2)
right.plot([-0.5, 0.5, 0.5, -0.5, -0.5], [-0.5, -0.5, 0.5, 0.5, -0.5], color=plots.INK)
right.set(xlabel="to the right (pixels)", ylabel="down (pixels)", xlim=(-2, 2), ylim=(2, -2), aspect="equal")
plots.finish([left, right], mnist_train.source)

# %% tags=["remove-input"]
facts = records.read("01-sets")["values"]
digits = facts["mnist train"]
records.verdict("The digits lie in a box of 20 by 20 pixels and are centred by mass in 28 by 28.", source="unam2021", where="section 2.1.1",
                reported="size normalised to 20x20, centre of mass placed in a field of 28x28",
                measured=f"{digits['share in a box of 20']:.1%} of the training digits fit in such a box, {digits['share with a side of 20']:.2%} fill it on their longer side; "
                         f"the centre of mass lies {digits['mean offset'][1]:.2f} pixels right of and {digits['mean offset'][0]:.2f} below the middle, for every digit within {digits['largest offset']:.2f} of that point",
                verdict="confirmed", why="28 is even, so no pixel is in the middle. The pixel right of it and below serves as the middle, and the digits were moved by whole pixels.")

# %% [markdown]
# That the digits are so well centred is no small thing. A network for MNIST never had to learn that a seven in the corner is still a seven.
#
# ### Who wrote it?
#
# The files hold pixels and labels, and no writers. But {cite:t}`yadav2019` went back to NIST's collection and found every digit of MNIST there, with the number of its writer.
# The makers' own description says that one half of the 10,000 test digits, the first five thousand, is the cleaner and easier one, written by the census employees.

# %% tags=["remove-input"]
widgets.predict(
    "Whose are the first five thousand test digits?",
    {"The employees'": "So says the description that came with the data. A description can be checked.",
     "The students'": "The description has the halves the wrong way round.",
     "Both, well mixed": "That would have been a good idea. Mixing was the point of MNIST, but the test set is not shuffled within."},
    answer="The students'")

# %% tags=["remove-input", "covered"]
writers = records.read("01-writers")["values"]
test = writers["test"]
records.say("The first half holds **{first:,}** digits by students and the second **{second:,}**. In all, {students:,} of the test digits are by {a:,} students, and {employees:,} by {b:,} employees.",
            holds=test["students in halves"][0] > test["students in halves"][1],
            first=test["students in halves"][0], second=test["students in halves"][1], students=test["students"]["digits"], a=test["students"]["writers"],
            employees=test["employees"]["digits"], b=test["employees"]["writers"])

# %% [markdown]
# :::{container} covered
# And which writers are easier to read, for a network? Here are the mistakes of two kinds of network on the test digits of each group, each kind trained five times from different seeds.
# :::

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "Two rows of points for each kind of network, one point for each training seed: the share of mistakes on the students' digits lies to the right of the share on the employees' digits for every seed."}, "figure": {"caption": "Mistakes on MNIST's test digits, by who wrote them. Each point is a network trained from another seed.", "name": "fig-01-writers"}}
halves = records.read("01-halves")["values"]
ax = plots.axes(height=2.4)
places = [(net, who) for net in halves for who in ("students", "employees")]
for k, (net, who) in enumerate(places):
    shares = [seed[who]["mistakes"] / seed[who]["digits"] for seed in halves[net].values()]
    ax.plot(shares, [k] * len(shares), "o" if who == "students" else "s", color=plots.colour(net), alpha=0.7)
ax.set_yticks(range(len(places)), [f"{plots.label(net)}, {who}" for net, who in places])
ax.set(xlim=(0, None), ylim=(len(places) - 0.5, -0.5), xlabel="share of mistakes")
ax.xaxis.set_major_formatter("{x:.1%}")
plots.finish(ax, records.read("01-halves")["provenance"]["source"])

# %% tags=["remove-input", "covered"]
per_seed = [(seed["students"]["mistakes"], seed["employees"]["mistakes"]) for net in halves.values() for seed in net.values()]
records.say("All {n} networks make more mistakes on the students' digits: LeNet from {low} to {high}, against {low_e} to {high_e} on the employees', with nearly the same number of digits in each group.",
            holds=all(a > b for a, b in per_seed), n=len(per_seed),
            low=min(s["students"]["mistakes"] for s in halves["lenet"].values()), high=max(s["students"]["mistakes"] for s in halves["lenet"].values()),
            low_e=min(s["employees"]["mistakes"] for s in halves["lenet"].values()), high_e=max(s["employees"]["mistakes"] for s in halves["lenet"].values()))

# %% tags=["remove-input"]
train = writers["train"]
records.verdict("58,527 of the 60,000 training digits are by 500 students, the rest by census employees.", source="unam2021", where="section 2.1.1",
                reported="58,527 training digits by 500 students",
                measured=f"{train['students']['digits']:,} training digits by {train['students']['writers']} students, {train['employees']['digits']:,} by {train['employees']['writers']} employees",
                verdict="differs", why="Counted in the writers that Yadav and Bottou (2019) found for every digit. The makers (LeCun and others, 1998) give 58,527 as the size of the students' whole collection, by 500 writers, "
                                       "the first 250 of whom went into the training set.")

# %% [markdown]
# ## CIFAR-10: sixty thousand small photographs
#
# The second set is harder. CIFAR-10 {cite}`krizhevsky2009` holds colour photographs of 32 by 32 pixels from ten classes, in alphabetical order from airplane to truck.
# Its images come from a collection of eighty million tiny pictures {cite}`torralba2008` that a program had gathered from the web; students looked at the candidates and kept those that show one clear object of the class.

# %% tags=["hide-input"] mystnb={"image": {"alt": "A grid of forty small colour images, each with the name of its class above."}, "figure": {"caption": "The first forty training images of CIFAR-10, in its own order. The frog at the start will be attacked in chapter 03.", "name": "fig-01-cifar-train"}}
show(cifar_train[:40])

# %% [markdown]
# No box and no centring here: a bird may sit anywhere, in any pose, before any background. Cover the labels and guess a few. Are you sure every time?

# %% tags=["hide-input"] mystnb={"image": {"alt": "A grid of forty small colour images drawn at random from the test images, each with the name of its class above."}, "figure": {"caption": "Forty test images, drawn at random (seed 0). Our copy keeps the test images in an order of its own, so an index such as test[2] names another image here than in CIFAR-10.", "name": "fig-01-cifar-test"}}
show(cifar_test.sample(40, seed=0))

# %% [markdown]
# ### How many of each?
#
# If one class were much more frequent than the others, a network could score by guessing it. So we count.

# %% tags=["remove-input"]
widgets.predict(
    "Which digit is the most frequent in MNIST's training set?",
    {"All ten are equally frequent": "That holds for CIFAR-10, where somebody chose the images. In MNIST the digits came as people had written them.",
     "The 0": "A good guess for numbers with many round amounts. But the forms asked for other digits, too.",
     "The 1": "And the 5 is the rarest. The difference is about a fifth, too small to matter for training, and large enough to spoil a sloppy average over classes."},
    answer="The 1")

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "Two bar charts of images per class. The bars of the first set differ a little in height, the bars of the second set are all equal."}, "figure": {"caption": "Training images per class. The dotted line is a tenth of all.", "name": "fig-01-classes"}}
axes = plots.axes(2, height=2.8)
for ax, part, look in zip(axes, (mnist_train, cifar_train), ("lenet", "cifar_net")):
    ax.bar(part.classes, part.class_counts, color=plots.colour(look))
    ax.axhline(len(part) / 10, color=plots.INK, linestyle=":", linewidth=1)
    ax.set(title=part.name, ylabel="training images")
    ax.tick_params(axis="x", rotation=0 if part is mnist_train else 90)
plots.finish(axes, f"{mnist_train.source}; {cifar_train.source}")

# %% tags=["remove-input"]
counts = facts["mnist train"]["counts"]
both = [a + b for a, b in zip(facts["cifar10 train"]["counts"], facts["cifar10 test"]["counts"])]
records.verdict("MNIST's classes are uneven, with 1 the most frequent; CIFAR-10 has the same number in each class.", source="unam2021",
                where="sections 2.1.1 and 2.1.2, figure 3", reported="a histogram for MNIST; 6,000 a class for CIFAR-10",
                measured=f"MNIST: {max(counts):,} training images of the {counts.index(max(counts))}, {min(counts):,} of the {counts.index(min(counts))}; "
                         f"CIFAR-10: between {min(both):,} and {max(both):,} images a class in both splits together",
                verdict="confirmed", why="Counted in the labels of all images of both splits.")

# %% [markdown]
# ### What a class looks like
#
# Move the slider through the ten classes. The first image of each row is the **mean image** of the class, the average of all its training images; beside it are some of its members.

# %%
def mean_images(part):
    """The mean training image of every class, (10, C, H, W)."""
    return torch.stack([part.images[part.labels == k].mean(0)
                        for k in range(len(part.classes))])


means = {part.name: mean_images(part) for part in (mnist_train, cifar_train)}

# %% tags=["hide-input"]
def show_class(classes):
    rows = []
    for part in (mnist_train, cifar_train):
        members = part.images[(part.labels == classes).nonzero()[:4, 0]]
        rows.append([plots.image(means[part.name][classes], f"mean {part.classes[classes]}")] + [plots.image(image) for image in members])
    return plots.grid(rows, rows=["digits", "photographs"], source=f"{mnist_train.source}; {cifar_train.source}")

# %% tags=["remove-input"]
widgets.explore(show_class, alt=lambda classes: f"The mean image of class {mnist_train.classes[classes]} and of class {cifar_train.classes[classes]}, with four members of each.",
                classes={f"{a} / {b}": k for k, (a, b) in enumerate(zip(mnist_train.classes, cifar_train.classes))},
                caption="The mean image of each class, and the first four of its training images.")

# %% [markdown]
# How much does a mean image tell about its class? The most modest classifier that one can think of stores the ten mean images and names the nearest one.

# %% tags=["remove-input"]
widgets.predict(
    "Name the class of each test image by the nearest mean image. How often is that right?",
    {"Mostly right on both sets": "It would be, if photographs of one class agreed pixel by pixel. A bird on the left and a bird on the right have no pixel in common.",
     "Mostly right for digits, mostly wrong for colour images": "Centred digits of one class overlap, so their mean is a good template. Photographs do not, and only their colours are left.",
     "Near chance on both": "Chance would be one in ten. A readable mean digit is worth far more than that."},
    answer="Mostly right for digits, mostly wrong for colour images")

# %% tags=["covered"]
def nearest_mean(test):
    templates = means[test.name].flatten(1)  # (10, C*H*W)
    distance = torch.cdist(test.images.flatten(1), templates)  # (N, 10)
    return evaluation.rate(distance.argmin(1) == test.labels)


by_mean = {test.name: nearest_mean(test) for test in (mnist_test, cifar_test)}

# %% tags=["remove-input", "covered"]
first, second = by_mean.values()
records.say("The nearest mean is right for **{first:.1%}** of the digits and for **{second:.1%}** of the colour images: more than half of the ones, less than half of the others.",
            holds=first.value > 0.5 > second.value, first=first.value, second=second.value)

# %% [markdown]
# :::{container} covered
# So a result on MNIST may rest on templates alone, and what holds there need not hold for photographs. The book shows both whenever it can.
# :::
#
# ## From bytes to numbers
#
# In the file, each pixel is one **byte**: a whole number from 0 (black) to 255 (white), which makes 256 grey levels. A colour pixel is three bytes, for red, green and blue.
# Here is a piece of the first test digit, as we see it and as the network gets it.

# %% tags=["hide-input"] mystnb={"image": {"alt": "A handwritten digit with a small square marked on it, and the pixels in the square, each with its number between 0 and 255 written in it."}, "figure": {"caption": "The first test image of MNIST, and the numbers in the marked square.", "name": "fig-01-bytes"}}
shades = (mnist_test.images[0, 0] * 255).round().int()
whole, part = plots.axes(2, height=3)
whole.imshow(shades, vmin=0, vmax=255, cmap="gray")
whole.plot([11.5, 19.5, 19.5, 11.5, 11.5], [5.5, 5.5, 13.5, 13.5, 5.5], color=plots.colour("fgsm"), linewidth=2)
piece = shades[6:14, 12:20]
part.imshow(piece, vmin=0, vmax=255, cmap="gray")
for i in range(8):
    for j in range(8):
        part.text(j, i, piece[i, j].item(), ha="center", va="center", fontsize=9, color="white" if piece[i, j] < 128 else "black")
for ax in (whole, part):
    ax.axis("off")
plots.finish([whole, part], mnist_test.source)

# %% [markdown]
# A network calculates with real numbers, so the library divides by 255. Every image in this book is a tensor of shape (N, C, H, W) with values in $[0, 1]$, and one level is a step of $1/255$.
# Three small mistakes have ruined many experiments here.
#
# 1. To forget the division. Then $\varepsilon = 0.1$ is a tenth of one level, and every network looks robust.
# 2. To cut instead of to round on the way back: `(x * 255).to(torch.uint8)` drops everything behind the point, and darkens the image by half a level on average.
# 3. To calculate with the bytes themselves.

# %% tags=["remove-input"]
widgets.predict(
    "A pixel has the byte 250. Somebody adds 8 to it, in bytes. What is the result?",
    {"258": "A byte cannot hold it: 255 is the largest.",
     "255": "That would be the sensible thing. It is what clamp does, and it has to be asked for.",
     "2": "Bytes count like a clock. After 255 comes 0, so the brightest pixel turns nearly black."},
    answer="2")

# %% tags=["covered", "nbval-check-output"]
bright, dark = torch.tensor([250, 3], dtype=torch.uint8)
x = (bright / 255 + 8 / 255).clamp(0, 1)
print("in bytes:       ", (bright + 8).item())
print("in pixel units: ", (x * 255).round().to(torch.uint8).item())
print("a step down:    ", (dark - 8).item())

# %% [markdown]
# :::{container} covered
# The last line is how a faint dark noise turns into a glaring white one in a picture.
# :::
#
# ## What normalisation does
#
# Networks learn faster when their inputs have mean 0 and standard deviation 1. So one subtracts the mean $\mu$ of all training pixels and divides by their standard deviation $\sigma$, for each colour channel:
#
# $$
# x_{\text{norm}} = \frac{x - \mu}{\sigma} .
# $$

# %%
moments = {part.name: (part.mean.tolist(), part.std.tolist())
           for part in (mnist_train, cifar_train)}
for name, (mean, std) in moments.items():
    print(f"{name:<8} mean {', '.join(f'{m:.4f}' for m in mean):<24}"
          f"standard deviation {', '.join(f'{s:.4f}' for s in std)}")

# %% [markdown]
# Take care to divide by $\sigma$ and not by the variance $\sigma^2$: for MNIST that would leave inputs with a standard deviation of about three.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two histograms of pixel values for both sets, before and after normalisation. The digits have two peaks, at black and at white; the colour images spread over the whole range. Normalisation keeps the shapes and changes the scale, differently for each set."}, "figure": {"caption": "Pixel values of two thousand images of each set, before and after normalisation. The vertical axis is logarithmic.", "name": "fig-01-values"}}
from advlens import layers

raw, normal = plots.axes(2, height=2.8)
for part, look in ((mnist_train, "lenet"), (cifar_train, "cifar_net")):
    x = part.images[:2000]
    style = dict(bins=32, histtype="step", linewidth=1.8, color=plots.colour(look), linestyle=plots.LOOKS[look].line, label=part.name, density=True, log=True)
    raw.hist(x.flatten().numpy(), **style)
    normal.hist(layers.Normalize(*moments[part.name])(x).flatten().numpy(), **style)
raw.set(xlabel="pixel value in [0, 1]", ylabel="density")
normal.set(xlabel="normalised value", ylabel="density")
raw.legend()
plots.finish([raw, normal], f"{mnist_train.source}; {cifar_train.source}")

# %% tags=["remove-input"]
black = (mnist_train.images == 0).float().mean()
records.say("Of all pixels in {name}, **{black:.0%}** are exactly black. An attack cannot make them any darker: all its steps that point down come to nothing there.",
            name=mnist_train.name, black=black)

# %% [markdown]
# ### Why epsilon is measured in pixel units
#
# After normalisation the two sets live on different scales, and so do the three colours of one image.
# A step of one level has become a step of $\frac{1}{255 \sigma}$, and $\sigma$ belongs to the data set.

# %% tags=["hide-input"]
(grey,), (red, green, blue) = (std for mean, std in moments.values())
print("                     normalised units")
print(" levels  pixel units     grey      red    green     blue")
for k in (1, 2, 4, 8, 16, 77):
    eps = k / 255
    print(f"{k:>3}/255 {eps:>12.4f} {eps / grey:>8.4f} {eps / red:>8.4f} "
          f"{eps / green:>8.4f} {eps / blue:>8.4f}")

# %% [markdown]
# The same number in normalised units would mean a different change for every data set and for every colour. Worse, it would mean something else if somebody trained with other constants.
# In pixel units it means the same for every network: $\varepsilon = 8/255$ is **eight of the 255 steps between black and white**.
#
# So in this book an image is always in $[0, 1]$, $\varepsilon$ is always in the same units, and normalisation is the *first layer of the network*, where no attack can get its units wrong:

# %% tags=["nbval-check-output"]
first_layer = models.LeNet()[0]
print(first_layer)
print(f"mean {first_layer.mean.item():.4f}")
print(f"standard deviation {first_layer.std.item():.4f}")

# %% [markdown]
# ## Not seen, and not changed: two limits
#
# At the top you could push the noise on a digit as far as $\varepsilon = 0.3$, and the literature goes up to there. The usual reason is that a digit stays *readable*: "you cannot see it" and "it still means the same" are two different limits, and the second is the one that counts.
# Is it kept? We take some digits, and move every pixel by at most $0.3$ towards an image of *another* digit, the one that can be reached best.
# **Read the middle row aloud before you look at the others.**

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three rows of digits. Above six test digits, in the middle the same digits with every pixel moved by at most 0.3 towards a digit of another class, below the digits that they were moved towards."}, "figure": {"caption": "Above: a test digit. Middle: each pixel moved by at most 0.3, a common budget, towards the training digit below. Is it still what it was?", "name": "fig-01-meaning"}}
some, others = mnist_test[:60], mnist_train[:2000]


def towards_another(x, y, eps=0.3):
    """The training digit of another class that comes nearest to x within eps, and x moved as far towards it as allowed."""
    moved = (others.images - x).clamp(-eps, eps) + x
    missing = (moved - others.images).flatten(1).norm(dim=1)
    missing[others.labels == y] = float("inf")
    best = missing.argmin()
    return missing[best].item(), moved[best], others.images[best], others.labels[best]


reached = [(*towards_another(x, y), x, y) for x, y in zip(some.images, some.labels)]
nearest = sorted(reached, key=lambda found: found[0])[:6]
plots.grid([[plots.image(x, f"a {mnist_test.classes[y]}") for *_, x, y in nearest],
            [plots.image(moved) for _, moved, *_ in nearest],
            [plots.image(target, f"a {mnist_test.classes[k]}") for _, _, target, k, *_ in nearest]],
           rows=["digit", "moved", "towards"], source=mnist_test.source)

# %% tags=["remove-input"]
lenet = zoo.pretrained("lenet", mnist_test.name)
said = evaluation.logits(lenet, torch.stack([moved for _, moved, *_ in nearest])).argmax(1)
records.say("These are the {n} of the first {m} test digits that can be reached best. LeNet keeps its answer for {kept} of them.",
            n=len(nearest), m=len(some), kept=int((said == torch.stack([y for *_, y in nearest])).sum()))

# %% [markdown]
# If a digit in the middle row has become another one to you, then the network that keeps its answer is the one in the wrong. {cite:t}`tramer2020` built such images within this budget, asked people, and found that networks which had been made robust there go on giving the old answer after the people have changed theirs.
# A budget of $0.3$ on MNIST is a convention. It is no promise that the meaning stays.
#
# ## A copy of a copy
#
# Open the line "Data" under a colour figure. The images that made the numbers of this book are not CIFAR-10 as it was published. They are a **copy in which every image was saved as JPEG with quality 75** and read again, and its test images stand in an order of its own.
# We say so under each figure, in each record and in each card of a network, because numbers from this copy need not agree with numbers from the original. How different is it?
# For some of the training images we have lossless versions too, and can subtract.

# %% tags=["remove-input"]
widgets.predict(
    "Of 4,000 images saved as JPEG with quality 75, how many lie within 8/255 of the original, in the L-infinity norm?",
    {"Nearly all": "Both are called small. But one adds noise on purpose, and the other leaves out what a photograph can spare.",
     "About half": "Half of the values lie within four levels. The norm asks for the one that moved furthest.",
     "None": "In every image some value moves further than any attack with this budget would be allowed to move it."},
    answer="None")

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "A bar chart of how many grey levels the values moved. The bars fall slowly from one level on; a dashed line marks the budget of eight levels, and a visible part of the bars lies beyond it."}, "figure": {"caption": "By how many levels the values of the copy differ from the original. The dashed line is the common budget of 8/255.", "name": "fig-01-copy"}}
copy = records.read("01-copy")["values"]
ax = plots.axes(height=2.6)
ax.bar(range(len(copy["share"])), copy["share"], color=plots.colour("cifar_net"))
ax.axvline(8.5, color=plots.INK, linestyle="--", label="eps = 8/255")
ax.set(xlabel="change in levels of 1/255", ylabel="share of the values")
ax.yaxis.set_major_formatter("{x:.0%}")
ax.legend()
plots.finish(ax, records.read("01-copy")["provenance"]["source"])

# %% tags=["remove-input", "covered"]
records.say("Half of the values moved by at most **{median:.0f} levels**; the root mean square is {rms:.1f}, because a few moved far: in the median image, some value moved by {largest:.0f}. "
            "Of {n:,} images, **{inside:.0%}** lie within eps = 8/255 of their original. Only {same:.0%} of the values are unchanged.",
            holds=copy["median"] < copy["rms"], median=copy["median"], rms=copy["rms"], largest=copy["largest per image"][1], n=copy["images"], inside=copy["images within 8"], same=copy["unchanged"])

# %% [markdown]
# :::{container} covered
# Measured in $L_\infty$, saving an image as an ordinary JPEG is a *larger* change than the usual budget of an attack, in every one of these images. Look at the colour figures above once more: can you find it?
# The size of a change is one thing and its direction another, as in [chapter 00](00_adversarial_examples).
# :::
#
# ### What do the networks make of it?
#
# We took the 4,000 images in three versions: as the original, as the copy, and moved by as much as JPEG moved them, value by value, but each up or down by the throw of a coin. Two networks named each version as it is, and under FGSM.
# Both were trained on the copy, these images among them, so nothing here is a test accuracy. It is a comparison of versions.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two plots, one for each network: accuracy against epsilon for the three versions of the images. All three start close together and fall; under attack the lossless images lie above the two others."}, "figure": {"caption": "Accuracy of two networks on three versions of the same 4,000 images, as they are (epsilon 0) and under FGSM. The networks saw the copy of these images in training.", "name": "fig-01-copy-attacked"}}
versions = records.read("01-copy-attacked")["values"]
looks = {"lossless": ("clean", "o", "-"), "copy": ("fgsm", "s", "--"), "coins": ("noise", "x", ":")}
axes = plots.axes(2, height=2.9)
for ax, (net, at) in zip(axes, versions.items()):
    for name, (look, marker, line) in looks.items():
        ax.plot([int(level) for level in at], [row[name]["value"] for row in at.values()], color=plots.colour(look), marker=marker, linestyle=line, label=name)
    ax.set(title=plots.label(net), xlabel="epsilon in levels of 1/255", ylabel="accuracy", ylim=(0, 1), xticks=[0, 1, 2, 4])
    plots.percent(ax)
    ax.legend()
plots.finish(axes, records.read("01-copy-attacked")["provenance"]["source"])

# %% tags=["remove-input"]
for_each = []
for net, at in versions.items():
    two = at["2"]
    for_each.append(f"{plots.label(net)} names {at['0']['copy']['value']:.1%} of the copies as they are, {at['0']['lossless']['value']:.1%} of the lossless images and {at['0']['coins']['value']:.1%} of those moved by coins. "
                    f"Under FGSM with two levels {two['copy']['value']:.1%}, {two['lossless']['value']:.1%} and {two['coins']['value']:.1%} are left: "
                    f"{two['paired']['only_a']} images withstand as the original and fall as a copy, {two['paired']['only_b']} the other way round, a difference of {100 * two['paired']['difference']:.1f} percentage points "
                    f"(95 % interval: {100 * two['paired']['low']:.1f} to {100 * two['paired']['high']:.1f}).")
records.say("{first}\n\n{second}", first=for_each[0], second=for_each[1],
            holds=all(at[level]["paired"]["low"] > 0 for at in versions.values() for level in ("2", "4")))

# %% [markdown]
# So it matters to the networks which version they get: on these images, both networks withstand FGSM better on the originals. What an attack achieves depends on the copy: compare numbers only where the copy is named.

# %% [markdown]
# If you have the original files, put them where `advlens doctor` tells you, and run this page again: the line under the figures will change, and some numbers with it.

# %% tags=["remove-input"]
splits = facts["cifar10 train"]["counts"], facts["cifar10 test"]["counts"]
records.claims([
    dict(claim="Half of MNIST's test digits are by students and half by census employees.", source="unam2021", where="section 2.1.1",
         reported="half and half", measured=f"{test['students']['digits']:,} by students, {test['employees']['digits']:,} by employees (in Yadav and Bottou's list of writers)",
         verdict="confirmed"),
    dict(claim="CIFAR-10 has 5,000 training and 1,000 test images of each class.", source="unam2021", where="section 2.1.2",
         reported="exactly", measured=f"training: {min(splits[0]):,} to {max(splits[0]):,}, test: {min(splits[1]):,} to {max(splits[1]):,} (in our copy)", verdict="confirmed"),
    dict(claim="The training batches may hold more of one class than of another.", source="unam2021", where="section 2.1.2",
         reported="some batches", measured="our copy keeps CIFAR-10's order in its first 4,000 training images only, less than one batch", verdict="not tested here"),
    dict(claim="The tiny images were gathered by 79,000 search terms from WordNet, without duplicates.", source="unam2021", where="section 2.1.2",
         reported="80 million images", measured="the collection is not at hand", verdict="not tested here"),
    dict(claim="MNIST's pixels have the mean 0.1307 and the standard deviation 0.3081.", source="belaustegui2022", where="section 2.3",
         reported="0.1307 and 0.3081", measured=f"{facts['mnist train']['mean'][0]:.4f} and {facts['mnist train']['std'][0]:.4f}", verdict="confirmed"),
    dict(claim="Normalised inputs make training converge faster.", source="belaustegui2022", where="section 2.3",
         reported="some trials agreed with it", measured="every network of this chapter was trained with normalised inputs", verdict="not tested here"),
])

# %% [markdown]
# ## Exercises
#
# 1. **Warm-up.** With a pencil: four bytes to pixel units, to normalised units, and back; and one sum that a byte cannot hold.
# 2. **Code.** Write `to_images(raw)`, which turns bytes of shape (N, H, W) or (N, H, W, C) into float images of shape (N, C, H, W) in $[0, 1]$.
# 3. **Measurement.** Describe the `shapes` by their numbers: mean and standard deviation of each colour, and what an $\varepsilon$ of $0.1$ in normalised units would be in grey levels of each.
# 4. **Break it.** A colleague adds a faint noise to a digit, and never leaves the bytes. What does the network get to see?
# 5. **Think.** Somebody reports $\varepsilon = 0.3$ on MNIST, in normalised units. What is that in pixel units, and why does this book never do it?
#
# [Exercises for this chapter](../exercises/student/01_data.ipynb)
#
# ## Take-away
#
# - An image is a table of bytes. The book divides by 255, and keeps images in $[0, 1]$ everywhere outside the networks.
# - Bytes wrap around, so calculate with real numbers, clamp, round, and only then go back.
# - $\varepsilon$ is measured in pixel units: $8/255$ means eight grey levels, for every data set and every network. Normalisation lives inside the network.
# - MNIST is centred, mostly black, and to a large part solved by templates; CIFAR-10 is none of that.
# - A budget limits what may change, and not what the image means.
# - Know your copy. Ours of CIFAR-10 went through JPEG, which moves values further than the usual budget, and it changes what an attack achieves.
#
# ## What was shown, and what stays open
#
# Shown: counts, boxes and writers for all images of both sets; what JPEG did to 4,000 training images, and how two networks, trained on the JPEG copy with one seed each, name them under FGSM.
# Open: how networks trained on the original would name either version, and whether *you* would still read the moved digits as what they were.
#
# ## Where the numbers come from
#
# Figures and live numbers: the cells above, on the data named under each figure. The verdicts, the writers, the networks of five seeds and the comparison of the copy: records, measured on real data with `advlens record 01-sets 01-writers 01-halves 01-copy 01-copy-attacked`; their code is `measurements/01_data.py`.

# %% tags=["remove-input"]
records.quote("01-writers")

# %% tags=["remove-input"]
records.quote("01-copy-attacked")

# %% [markdown]
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
