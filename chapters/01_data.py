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
# You see a seven. The network sees a table of numbers between 0 and 255, and nothing else.
# Every attack in this book is a change to such a table, and every promise of robustness is a statement about how far its numbers may move.
# So before we fool anybody we look at the numbers: where they come from, how large they are, what a step of one of them looks like.
# On the way we find that our copy of one data set is, by the usual yardstick, an *attacked* one, and that nobody had noticed.
#
# :::{admonition} At a glance
# :class: glance
# - **You will be able to** describe both data sets and how they were made; turn raw bytes into images and back without the usual three mistakes; say what normalisation does and where it belongs; translate an $\varepsilon$ between grey levels, pixel units and normalised units.
# - **Time** 40 minutes of reading and playing.
# - **Threat model** none yet. This chapter makes the yardstick with which all threat models are measured.
# - **Sources** {cite}`unam2021` for the figures and the history of the sets, {cite}`belaustegui2022` for the normalisation; the sets themselves are {cite}`lecun1998` and {cite}`krizhevsky2009`.
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

from advlens import layers

mnist_train = data.load("mnist", "train", fallback="digits")
mnist_test = data.load("mnist", "test", fallback="digits")
cifar_train = data.load("cifar10", "train", fallback="shapes")
cifar_test = data.load("cifar10", "test", fallback="shapes")

for part in (mnist_train, mnist_test, cifar_train, cifar_test):
    shape = "x".join(map(str, part.images.shape[1:]))
    print(f"{part.name:<8}{part.split:<6}{len(part):>7,} x {shape}  {part.source}")

# %% [markdown]
# A data set has two halves that must never meet. The network learns from the **training** images, and we judge it by the **test** images, which it has never seen.
# The last column says where the pixels come from. It stands under every figure of the book, and you will soon see why.
#
# ## MNIST: seventy thousand digits
#
# MNIST {cite}`lecun1998` is the fruit fly of this field: small, quickly bred, and known to everybody.
# Here are its first fifty training images. Look at the 4s and the 9s, and at the different ways of writing a 1 or a 7.

# %%
def names(part):
    """The class of each image, short enough to stand above it."""
    return [part.classes[k].replace("automobile", "auto") for k in part.labels]


def show(part):
    return plots.images(part.images, titles=names(part), source=part.source)

# %% mystnb={"image": {"alt": "A grid of fifty small grey images of handwritten digits, white on black, each with its label above."}, "figure": {"caption": "The first fifty training images of MNIST, with their labels.", "name": "fig-01-mnist-train-first"}}
show(mnist_train[:50])

# %% [markdown]
# The first fifty of anything may be special: perhaps one person wrote them all. So look at fifty drawn at random as well.

# %% mystnb={"image": {"alt": "A grid of fifty handwritten digits drawn at random from the training images, each with its label above."}, "figure": {"caption": "Fifty training images, drawn at random (seed 0).", "name": "fig-01-mnist-train-random"}}
show(mnist_train.sample(50, seed=0))

# %% [markdown]
# And the same for the test images. They come from other writers than the training images, so that a network cannot score by knowing somebody's handwriting.

# %% mystnb={"image": {"alt": "A grid of the first fifty test images of handwritten digits, each with its label above."}, "figure": {"caption": "The first fifty test images. The very first is the one that every tutorial shows.", "name": "fig-01-mnist-test-first"}}
show(mnist_test[:50])

# %% mystnb={"image": {"alt": "A grid of fifty handwritten digits drawn at random from the test images, each with its label above."}, "figure": {"caption": "Fifty test images, drawn at random (seed 0).", "name": "fig-01-mnist-test-random"}}
show(mnist_test.sample(50, seed=0))

# %% [markdown]
# ### How it was made
#
# The digits were scanned from forms for the American standards institute NIST, in two campaigns.
# Employees of the census bureau filled in one set of forms; students filled in the other, and wrote less neatly.
# NIST had kept one campaign for training and the other for testing, which is a trap: a network learns one kind of writer and is judged on another.
# The makers of MNIST *mixed* the two, half and half, in both splits; that is the M in the name. They shrank each digit into a box of 20 by 20 pixels and put it into an image of 28 by 28, with its centre of mass in the middle.
#
# The last sentence can be checked from the pixels. How large is the box around the ink, and where is the centre of mass?

# %%
from advlens.data import box_and_offset

height, width, centre = box_and_offset(mnist_train.images)  # (N,), (N,), (N, 2)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: a histogram of the height and the width of the box around each digit; both end at twenty pixels. Right: the centres of mass as a cloud of points in the middle of the image."}, "figure": {"caption": "Left: height and width of the box around the ink. Right: where the centre of mass lies, measured from the centre of the image; the square is one pixel wide.", "name": "fig-01-ink"}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7, 2.9), width_ratios=[1.4, 1])
left.hist([height, width], bins=[b - 0.5 for b in range(1, 25)], label=["height", "width"], color=[plots.colour("lenet"), plots.colour("vgg_blocks")])
left.set(xlabel="size of the ink (pixels)", ylabel="images")
left.legend(loc="upper left")
right.plot(centre[:2000, 1], centre[:2000, 0], ".", color=plots.colour("lenet"), markersize=2)
right.add_patch(plt.Rectangle((-0.5, -0.5), 1, 1, fill=False, edgecolor="#222222"))
right.set(xlabel="to the right (pixels)", ylabel="down (pixels)", xlim=(-3, 3), ylim=(3, -3), aspect="equal")
plots.finish(fig, mnist_train.source)

# %% tags=["remove-input"]
facts = records.read("01-sets")["values"]
digits = facts["mnist train"]
records.verdict("The digits lie in a 20 by 20 box and are centred by mass.", source="unam2021",
                reported="size normalised to 20x20, centred in 28x28 by the centre of mass",
                measured=f"{digits['share in a box of 20']:.1%} of the training digits fit in such a box, {digits['share with a side of 20']:.2%} fill it on their longer side; "
                         f"the centre of mass lies {digits['mean offset'][1]:.2f} pixels right of and {digits['mean offset'][0]:.2f} below the middle, for every digit within {digits['largest offset']:.2f} of that point",
                verdict="confirmed", why="28 is even, so no pixel is in the middle. The makers took the one right of it and below, and moved each digit by whole pixels.")

# %% [markdown]
# That the digits are so well centred is no small thing. A network for MNIST never had to learn that a seven in the corner is still a seven, and does not know it.
#
# Who wrote which digit does *not* stand in the files. Here we have to compare the words of our source with the words of the makers.

# %% tags=["remove-input"]
records.verdict("58,527 training digits are by 500 students, the rest by census employees.", source="unam2021",
                reported="58,527 of the 60,000 training digits by students",
                measured="not in the files: they hold pixels and labels, no writers",
                verdict="corrected", why="The makers (LeCun and others, 1998) give 58,527 as the size of the whole students' collection by 500 writers, of which a part went into MNIST. "
                                         "Of the 60,000 training digits they name 30,000 from the students and 30,000 from the census employees.")

# %% [markdown]
# The makers also write that one half of the 10,000 test digits is easier than the other: the first five thousand, from the census employees, are said to be the cleaner ones.
# We have a network that reads digits. Let us ask it.

# %%
lenet = zoo.pretrained("lenet", mnist_test.name)
answers = evaluation.logits(lenet, mnist_test.images).argmax(1)
wrong = answers != mnist_test.labels
halves = wrong.chunk(2)

# %% tags=["remove-input"]
records.say("On the first half LeNet makes **{first}** mistakes, on the second half **{second}** (of {n:,} images each).",
            first=int(halves[0].sum()), second=int(halves[1].sum()), n=len(halves[0]))

# %% tags=["remove-input"]
records.say("On MNIST itself (recorded: {first} against {second}) it is **the other way round**. Either what is clean to people is not what is easy for LeNet, or the halves were swapped when the description was written. "
            "The files cannot tell us which. Descriptions of data are claims like any others, and a claim can be tested.",
            first=facts["lenet errors"]["first half"], second=facts["lenet errors"]["second half"])

# %% [markdown]
# ## CIFAR-10: sixty thousand small photographs
#
# The second set is harder. CIFAR-10 {cite}`krizhevsky2009` holds colour photographs of 32 by 32 pixels from ten classes, in alphabetical order from airplane to truck.
# Its images come from a collection of eighty million tiny pictures {cite}`torralba2008` that a program had gathered from the web; students looked at the candidates and kept those that show one clear object of the class.

# %% mystnb={"image": {"alt": "A grid of fifty small colour images, each with the name of its class above."}, "figure": {"caption": "The first fifty training images of CIFAR-10. The frog at the start will be attacked in chapter 03.", "name": "fig-01-cifar-train-first"}}
show(cifar_train[:50])

# %% mystnb={"image": {"alt": "A grid of fifty small colour images drawn at random from the training images, each with the name of its class above."}, "figure": {"caption": "Fifty training images, drawn at random (seed 0).", "name": "fig-01-cifar-train-random"}}
show(cifar_train.sample(50, seed=0))

# %% [markdown]
# No box and no centring here: a bird may sit anywhere, in any pose, before any background. Cover the labels and guess a few. You will not always be sure, and neither will the networks.

# %% mystnb={"image": {"alt": "A grid of the first fifty small colour test images, each with the name of its class above."}, "figure": {"caption": "The first fifty test images.", "name": "fig-01-cifar-test-first"}}
show(cifar_test[:50])

# %% mystnb={"image": {"alt": "A grid of fifty small colour images drawn at random from the test images, each with the name of its class above."}, "figure": {"caption": "Fifty test images, drawn at random (seed 0).", "name": "fig-01-cifar-test-random"}}
show(cifar_test.sample(50, seed=0))

# %% [markdown]
# ## How many of each?
#
# If one class were much more frequent than the others, a network could score by guessing it. So we count.

# %% tags=["remove-input"]
widgets.predict(
    "Which digit is the most frequent in MNIST's training set?",
    {"All ten are equally frequent": "That holds for CIFAR-10, where somebody chose the images. In MNIST the digits came as people had written them.",
     "The 0": "A good guess for numbers with many round amounts. But the forms asked for other digits, too.",
     "The 1": "And the 5 is the rarest. The difference is about a fifth, too small to matter for training, and large enough to spoil a sloppy average over classes."},
    answer="The 1")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two bar charts of images per class. The bars of the left set differ a little in height, the bars of the right set are all equal."}, "figure": {"caption": "Training images per class.", "name": "fig-01-classes"}}
fig, axes = plt.subplots(1, 2, figsize=(7, 3))
for ax, part, look in zip(axes, (mnist_train, cifar_train), ("lenet", "cifar_net")):
    ax.bar(part.classes, part.class_counts, color=plots.colour(look))
    ax.axhline(len(part) / 10, color="#222222", linestyle=":", linewidth=1)
    ax.set(title=part.name, ylabel="training images")
    ax.tick_params(axis="x", rotation=0 if part is mnist_train else 90)
plots.finish(fig, f"{mnist_train.source}; {cifar_train.source}")

# %% tags=["remove-input"]
counts = facts["mnist train"]["counts"]
both = [a + b for a, b in zip(facts["cifar10 train"]["counts"], facts["cifar10 test"]["counts"])]
records.verdict("MNIST's classes are uneven, with 1 the most frequent; CIFAR-10 has exactly 6,000 images a class.", source="unam2021",
                reported="a histogram for MNIST; 6,000 a class for CIFAR-10",
                measured=f"MNIST: {max(counts):,} images of the {counts.index(max(counts))}, {min(counts):,} of the {counts.index(min(counts))}; "
                         f"CIFAR-10: between {min(both):,} and {max(both):,} images a class in both splits together",
                verdict="confirmed", why="Counted in the labels of all images of both splits.")

# %% [markdown]
# ### What a class looks like
#
# Move the slider through the ten classes. On the left is the **mean image** of the class, the average of all its training images; beside it are some of its members.

# %%
def mean_images(part):
    """The mean training image of every class, (10, C, H, W)."""
    return torch.stack([part.images[part.labels == k].mean(0)
                        for k in range(len(part.classes))])


means = {part.name: mean_images(part) for part in (mnist_train, cifar_train)}

# %% tags=["hide-input"]
def show_class(pair):
    fig, rows = plt.subplots(2, 6, figsize=(7, 2.7))
    for axes, part in zip(rows, (mnist_train, cifar_train)):
        members = part.images[(part.labels == pair).nonzero()[:5, 0]]
        for ax, image in zip(axes, [means[part.name][pair], *members]):
            ax.imshow(image.permute(1, 2, 0), vmin=0, vmax=1)
            ax.axis("off")
        axes[0].set_title(f"mean {part.classes[pair]}")
    return plots.finish(fig, f"{mnist_train.source}; {cifar_train.source}")

# %% tags=["remove-input"]
widgets.explore(show_class, alt=lambda pair: f"The mean image of class {mnist_train.classes[pair]} and of class {cifar_train.classes[pair]}, with five members of each.",
                pair={f"{a} / {b}": k for k, (a, b) in enumerate(zip(mnist_train.classes, cifar_train.classes))},
                caption="The mean image of each class (left) and the first five of its training images.")

# %% [markdown]
# A mean digit is a blurred digit: you can read it. A mean photograph is a patch of colour: some blue for airplanes and ships, some green and brown for deer and frogs.
# That difference can be put into a number. The most modest classifier that one can think of stores the ten mean images and names the nearest one.

# %% tags=["remove-input"]
widgets.predict(
    "Name the class of each test image by the nearest mean image. How often is that right?",
    {"Mostly right on both sets": "It would be, if photographs of one class agreed pixel by pixel. A bird on the left and a bird on the right have no pixel in common.",
     "Mostly right for digits, mostly wrong for colour images": "Centred digits of one class overlap, so their mean is a good template. Photographs do not, and only their colours are left.",
     "Near chance on both": "Chance would be one in ten. A readable mean digit is worth far more than that."},
    answer="Mostly right for digits, mostly wrong for colour images")

# %%
def nearest_mean(test):
    templates = means[test.name].flatten(1)  # (10, C*H*W)
    distance = torch.cdist(test.images.flatten(1), templates)  # (N, 10)
    return evaluation.rate(distance.argmin(1) == test.labels)


by_mean = {test.name: nearest_mean(test) for test in (mnist_test, cifar_test)}

# %% tags=["remove-input"]
first, second = by_mean.values()
records.say("The nearest mean is right for **{first:.1%}** of the digits and for **{second:.1%}** of the colour images.", first=first.value, second=second.value)

# %% [markdown]
# So a result on MNIST may rest on nothing but templates, and what holds there need not hold for photographs. The book shows both whenever it can.
#
# ## From bytes to numbers
#
# In the file, each pixel is one **byte**: a whole number from 0 (black) to 255 (white), which makes 256 grey levels. A colour pixel is three bytes, for red, green and blue.
# Here is a piece of the first test digit, as we see it and as the network gets it.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: a handwritten digit with a small square marked on it. Right: the pixels in the square, each with its number between 0 and 255 written in it."}, "figure": {"caption": "The first test image, and the numbers in the marked square.", "name": "fig-01-bytes"}}
levels = (mnist_test.images[0, 0] * 255).round().int()
fig, (whole, part) = plt.subplots(1, 2, figsize=(7, 3.4), width_ratios=[1, 1])
whole.imshow(levels, vmin=0, vmax=255)
whole.add_patch(plt.Rectangle((11.5, 5.5), 8, 8, fill=False, edgecolor=plots.colour("fgsm"), linewidth=2))
piece = levels[6:14, 12:20]
part.imshow(piece, vmin=0, vmax=255)
for (i, j), value in zip(torch.cartesian_prod(torch.arange(8), torch.arange(8)).tolist(), piece.flatten().tolist()):
    part.text(j, i, value, ha="center", va="center", fontsize=9, color="white" if value < 128 else "black")
for ax in (whole, part):
    ax.axis("off")
plots.finish(fig, mnist_test.source)

# %% [markdown]
# A network calculates with real numbers, so the library divides by 255. Every image in this book is a tensor of shape (N, C, H, W) with values in $[0, 1]$, and one level is a step of $1/255$.
# Three small mistakes have ruined many experiments here. Do you know the third?
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

# %% tags=["nbval-check-output"]
bright, dark = torch.tensor([250, 3], dtype=torch.uint8)
x = (bright / 255 + 8 / 255).clamp(0, 1)
print("in bytes:       ", (bright + 8).item())
print("in pixel units: ", (x * 255).round().to(torch.uint8).item())
print("a step down:    ", (dark - 8).item())

# %% [markdown]
# The last line is how a faint dark noise turns into a glaring white one in a picture. One of our sources printed its noise like this; [chapter 03](03_one_step) shows it.
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

# %% tags=["remove-input"]
sd = facts["mnist train"]["std"][0]
records.verdict("The inputs are normalised by the mean 0.1307 and the variance 0.3081.", source="belaustegui2022",
                reported="variance 0.3081",
                measured=f"mean {facts['mnist train']['mean'][0]:.4f}, standard deviation {sd:.4f}, variance {sd * sd:.4f}",
                verdict="corrected", why="0.3081 is the standard deviation. The number is right and only its name is wrong, as long as the code divides by it; "
                                         "who takes the name at its word and divides by its square root gets inputs with a standard deviation "
                                         f"of {sd / sd**0.5:.2f} instead of 1.")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two histograms of pixel values for both sets, before and after normalisation. The digits have two peaks, at black and at white; the colour images spread over the whole range. Normalisation keeps the shapes and changes the scale, differently for each set."}, "figure": {"caption": "Pixel values of two thousand images of each set, before (left) and after normalisation (right). The vertical axis is logarithmic.", "name": "fig-01-values"}}
fig, (raw, normal) = plt.subplots(1, 2, figsize=(7, 2.9), sharey=True)
for part, look in ((mnist_train, "lenet"), (cifar_train, "cifar_net")):
    x = part.images[:2000]
    style = dict(bins=32, histtype="step", linewidth=1.8, color=plots.colour(look), linestyle=plots.LOOKS[look].line, label=part.name, density=True, log=True)
    raw.hist(x.flatten().numpy(), **style)
    normal.hist(layers.Normalize(*moments[part.name])(x).flatten().numpy(), **style)
raw.set(xlabel="pixel value in [0, 1]", ylabel="density")
normal.set(xlabel="normalised value")
raw.legend()
plots.finish(fig, f"{mnist_train.source}; {cifar_train.source}")

# %% tags=["remove-input"]
black = (mnist_train.images == 0).float().mean()
records.say("Of all pixels in {name}, **{black:.0%}** are exactly black. An attack cannot make them any darker: all its steps that point down come to nothing there.", name=mnist_train.name, black=black)

# %% [markdown]
# ## Why epsilon is measured in pixel units
#
# Look at the right half of the figure. After normalisation the two sets live on different scales, and so do the three colours of one image.
# A step of one level has become a step of $\frac{1}{255 \sigma}$, and $\sigma$ belongs to the data set.

# %%
(grey,), (red, green, blue) = (std for mean, std in moments.values())
print("                     normalised units")
print(" levels  pixel units     grey      red    green     blue")
for k in (1, 2, 4, 8, 16, 77):
    eps = k / 255
    print(f"{k:>3}/255 {eps:>12.4f} {eps / grey:>8.4f} {eps / red:>8.4f} "
          f"{eps / green:>8.4f} {eps / blue:>8.4f}")

# %% [markdown]
# The same number in normalised units would mean a different change for every data set and for every colour. Worse, it would mean something else if somebody trained with other constants.
# In pixel units it means the same for everybody, for a network and for an eye: $\varepsilon = 8/255$ is **eight of the 255 steps between black and white**.
#
# So in this book an image is always in $[0, 1]$, $\varepsilon$ is always in the same units, and normalisation is the *first layer of the network*, where no attack can get its units wrong:

# %% tags=["nbval-check-output"]
first_layer = models.LeNet()[0]
print(first_layer)
print(f"mean {first_layer.mean.item():.4f}")
print(f"standard deviation {first_layer.std.item():.4f}")

# %% [markdown]
# ### What can you see?
#
# How much is a level to the eye? Every pixel below moves by exactly the $\varepsilon$ of the slider, up or down by the throw of a coin.
# Choose a set, start at zero, and note the frame in which you first see a difference.

# %%
def add_noise(dataset, eps):
    x = dataset.images[:5]
    coins = torch.Generator().manual_seed(0)
    flips = torch.randint(0, 2, x.shape, generator=coins) * 2 - 1.0
    return plots.images((x + eps * flips).clamp(0, 1), columns=5,
                        source=dataset.source)


def describe_noise(dataset, eps):
    return (f"Five images of {dataset.name} in which every value "
            f"has moved by {eps * 255:.0f}/255 up or down.")

# %% tags=["remove-input"]
widgets.explore(add_noise, alt=describe_noise, dataset={part.name: part for part in (mnist_test, cifar_test)},
                eps={f"{k}/255": k / 255 for k in (0, 1, 2, 4, 8, 16, 32, 64)},
                caption="The same noise on both sets. The book attacks colour images with epsilons up to 8/255 or so, and digits with up to 77/255.")

# %% [markdown]
# On photographs the noise hides in the texture; on the black paper of the digits you see it much earlier.
# And yet the literature allows digits far larger epsilons, up to $0.3$. The reason is that a digit stays *readable*: black and white lie so far apart that nobody mistakes the number.
# "You cannot see it" and "it does not change the meaning" are two different limits. The second is the one that counts.
#
# ## A copy of a copy
#
# Read the line under the colour figures once more. The images that made the numbers of this book are not CIFAR-10 as it was published. They are a **copy in which every image was saved as JPEG with quality 75** and read again.
# We say so under each figure, in each record and in each card of a network, because numbers from this copy need not agree with numbers from the original. How different is it?
# For some of the training images we have lossless versions too, and can subtract.

# %% tags=["hide-input"] mystnb={"image": {"alt": "A bar chart of how many grey levels the values moved. The bars fall slowly from one level on; a dashed line marks the budget of eight levels, and a visible part of the bars lies beyond it."}, "figure": {"caption": "By how many levels the values of the copy differ from the original. The dashed line is the common budget of 8/255.", "name": "fig-01-copy"}}
copy = records.read("01-copy")["values"]
fig, ax = plt.subplots(figsize=(7, 2.6))
ax.bar(range(len(copy["share"])), copy["share"], color=plots.colour("cifar_net"))
ax.axvline(8.5, color="#222222", linestyle="--", label="eps = 8/255")
ax.set(xlabel="change in levels of 1/255", ylabel="share of the values")
ax.yaxis.set_major_formatter("{x:.0%}")
ax.legend()
plots.finish(fig, records.read("01-copy")["provenance"]["source"])

# %% tags=["remove-input"]
records.quote("01-copy")

# %% tags=["remove-input"]
records.say("The typical value moved by **{rms:.1f} levels** (root mean square), and in the median image some value moved by {largest:.0f}. "
            "Of {n:,} images, **{inside:.0%}** lie within eps = 8/255 of their original. Only {same:.0%} of the values are unchanged.",
            rms=copy["rms"], largest=copy["largest per image"][1], n=copy["images"], inside=copy["images within 8"], same=copy["unchanged"])

# %% [markdown]
# Let that sink in. Measured in $L_\infty$, saving an image as an ordinary JPEG is a *larger* change than any that the next chapters allow an attack on colour images.
# Yet you can look at the figures above for as long as you like and will not find it, and networks learn from the copy as if nothing had happened.
# The size of a change is one thing and its direction another, as in [chapter 00](00_adversarial_examples).
# JPEG throws away what the eye misses least; an attack looks for what the network minds most. (Chapter 06 of the course sets the two against each other.)
#
# There is one more trace of the copy, in the standard deviations.

# %% tags=["remove-input"]
records.say("The original has the standard deviations {original}, the copy {copied}: JPEG took away a little contrast. Our networks normalise with the constants of the original, as everybody does.",
            original=", ".join(f"{s:.4f}" for s in copy["std of the original"]), copied=", ".join(f"{s:.4f}" for s in copy["std of the copy"]))

# %% [markdown]
# If you have the original files, put them where `advlens doctor` tells you, and run this page again: the line under the figures will change, and some digits with it.
#
# ## Exercises
#
# 1. **Code.** Write `to_images(raw)`, which turns bytes of shape (N, H, W) or (N, H, W, C) into float images of shape (N, C, H, W) in $[0, 1]$. The three mistakes of this chapter are waiting, and a missing channel.
# 2. **Measurement.** Compute the mean, the standard deviation and the class counts of a set. Which class is the most frequent?
# 3. **Thought.** Somebody reports $\varepsilon = 0.3$ on MNIST, in normalised units. What is that in pixel units, and why does this book never do it?
#
# [Exercises for this chapter](../exercises/student/01_data.ipynb)
#
# ## Take-away
#
# - An image is a table of bytes. The book divides by 255, and keeps images in $[0, 1]$ everywhere outside the networks.
# - Bytes wrap around, so calculate with real numbers, clamp, round, and only then go back.
# - $\varepsilon$ is measured in pixel units: $8/255$ means eight grey levels, for every data set and every network. Normalisation lives inside the network.
# - MNIST is centred, mostly black, and largely solved by templates; CIFAR-10 is none of that.
# - Know your copy. Ours of CIFAR-10 went through JPEG, which moves pixels further than most attacks, in directions that networks do not mind.
#
# ## Where the numbers come from
#
# Figures and live numbers: the cells above, on the data named under each figure. The verdicts and the comparison of the copy: the records `01-sets` and `01-copy`, measured on real data with `advlens record 01-sets 01-copy`; their code is `measurements/01_data.py`.

# %% tags=["remove-input"]
records.quote("01-sets")

# %% [markdown]
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
