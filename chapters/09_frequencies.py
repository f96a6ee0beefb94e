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
# # Frequencies: what does a network hear?
#
# Here are a digit and its attacked twin, which LeNet misreads. Take detail away from both: keep only the slow changes of brightness, and fewer and fewer of them. Then do the opposite, and keep only the fast ones. **Which of them does the network need? And in which does the attack sit?**

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
import copy
import math

from IPython.display import Markdown

from advlens import jpeg, spectral

mnist = data.load("mnist", "test", fallback="digits")
photos = data.load("cifar10_lossless", "test", fallback="shapes")
lenet, cifar_net = zoo.pretrained("lenet", mnist.name), zoo.pretrained("cifar_net", photos.name)
resnet = zoo.pretrained("mnist_resnet", mnist.name)
right = evaluation.classified_right(lenet, mnist[:120])
x, y = mnist[:120][right].images[:60], mnist[:120][right].labels[:60]
seeded = lambda seed=0: torch.Generator().manual_seed(seed)
twins = attacks.pgd(lenet, x, y, eps=0.1, generator=seeded())


def answers(model, images):
    """The answers to images that need not lie in [0, 1]."""
    with torch.no_grad():
        return model(images).argmax(1)


KEPT = {"all": math.inf, **{f"{r}": r for r in (14, 12, 10, 8, 7, 6, 5, 4, 3, 2)}}
SIDES = {"the slow waves": lambda r: (0, r), "the fast waves": lambda r: (r, math.inf) if r < math.inf else (0, r)}
saved = sum((answers(lenet, spectral.band(x, 0, r)) == y) & (answers(lenet, spectral.band(twins, 0, r)) == y) for r in (5, 6, 7, 8))
pick = ((answers(lenet, twins) != y) * (1 + saved)).argmax()
pair, digit = torch.stack([x[pick], twins[pick]]), y[pick]


def filtered(keep, limit):
    seen = spectral.band(pair, *SIDES[keep](limit))
    said = answers(lenet, seen)
    labels = [f"{name}\nsays {mnist.classes[k]}" for name, k in zip(("clean", "attacked"), said)]
    if keep == "the slow waves" or limit == math.inf:
        return plots.grid([*(plots.image(one.clamp(0, 1), label, frame=bool(k == digit)) for one, label, k in zip(seen, labels, said)),
                           plots.noise(seen[1] - seen[0], "difference", limit=0.1)], columns=3, source=mnist.source)
    return plots.grid([*(plots.noise(one, label, limit=0.5) for one, label in zip(seen, labels)), plots.noise(seen[1] - seen[0], "difference", limit=0.1)],
                      columns=3, source=mnist.source)


def say_filtered(keep, limit):
    said = answers(lenet, spectral.band(pair, *SIDES[keep](limit)))
    kept = f"No limit: {keep} are all of them" if limit == math.inf else f"Kept are {keep}, {'below' if keep == 'the slow waves' else 'from'} {limit} periods across the image"
    return f"{kept}. LeNet says {mnist.classes[said[0]]} to the clean image and {mnist.classes[said[1]]} to the attacked one; the digit is a {mnist.classes[digit]}."


widgets.explore(filtered, alt=say_filtered, keep=list(SIDES), limit=KEPT,
                caption="A digit, its twin after PGD at eps = 0.1, and the difference, after the same filter. The limit is a number of periods across the image. Green frame: right; dashed orange: wrong. The fast waves alone swing around zero, so they are drawn in blue and orange, without a frame. The network gets the filtered numbers as they are; the picture is cut to [0, 1]. Of sixty digits this is one whose twin is often read right after a filter.")

# %% [markdown]
# :::{admonition} At a glance
# :class: glance
# - **You will be able to** say what a frequency of an image is; measure the {term}`transfer function` of a layer and of a network; find out what JPEG does to single waves; compare the spectra of attacks with fair controls; and test a sentence such as "networks are sensitive to high frequencies" in four ways.
# - **Time** 60 minutes of reading and playing.
# - **Threat model** {term}`white box`, untargeted. In some experiments the pixels may leave $[0, 1]$; they are questions to a network, and no attacker.
# - **Sources** {cite}`unam2021` ({term}`transfer function`, sections 3.1 and 3.2; spectra, section 3.3). The Fourier heat map is from {cite}`yin2019`.
# :::
#
# ## A frequency is a pattern of stripes
#
# Stripes that run $u$ times up and down on their way down the image, and $v$ times on their way across. Move both.

# %% tags=["remove-input"]
COUNTS = [0, 1, 3, 7, 14]


def stripes(down, across):
    wave = spectral.sinusoids((1, 28, 28), torch.tensor([[down, across]]))
    size = torch.fft.fftshift(torch.fft.fft2(wave - 0.5).abs(), dim=(2, 3))
    return plots.grid([plots.image(wave[0], "the wave"), plots.image((size / size.max())[0], "its spectrum")], columns=2)


def say_stripes(down, across):
    if down == across == 0:
        return "An even grey, a little brighter than the middle. The spectrum is one dot in the centre."
    same = sum(n in (0, 14) for n in (down, across)) == 2
    return (f"Stripes with {down} periods down and {across} periods across. The spectrum is black but for "
            + ("one dot." if same else f"two dots, at {down} down and {across} across from the centre and opposite to it."))


widgets.explore(stripes, alt=say_stripes, down=COUNTS, across=COUNTS,
                caption="A wave of 28 by 28 pixels and its spectrum. The centre of the spectrum is frequency 0, an even grey. The wave is a pair of dots, at its own place and opposite to it. With 14 periods in 28 pixels each pixel differs from its neighbour; faster than that a pixel grid cannot swing.")

# %% [markdown]
# As a formula: in an image of $H$ rows and $W$ columns the pixel in row $a$ and column $b$ has the value
#
# $$
# w(a, b) = \tfrac12 + c \, \cos\Bigl( 2\pi \bigl( \tfrac{u a}{H} + \tfrac{v b}{W} \bigr) + \varphi \Bigr) ,
# $$
#
# where $c$ is the **contrast** and the **phase** $\varphi$ says where the stripes begin. The pair $(u, v)$ is the {term}`frequency`. How fast a wave is, whatever its direction, is its *radius* $r$, with $r^2 = u^2 + v^2$ (on a square image): periods along the way in which it runs.
#
# Every image is a sum of such waves, as many as it has pixels. The {term}`Fourier transform` says how much of each:
#
# $$
# F(u, v) = \sum_{a, b} x(a, b) \; e^{-2\pi i \left( \frac{u a}{H} + \frac{v b}{W} \right)} .
# $$
#
# $|F(u, v)|$ is the strength of a wave and the angle of $F(u, v)$ its phase; $F(0, 0)$ is the sum of all pixels. The fast way to compute it is the FFT. Nothing is lost, and to *filter* is to delete some of the waves:

# %% tags=["nbval-check-output"]
def low_pass(image, limit):
    """Keep the waves whose radius is below the limit."""
    waves = torch.fft.fftshift(torch.fft.fft2(image), dim=(-2, -1))
    waves = waves * (spectral.radii(*image.shape[-2:]) < limit)
    return torch.fft.ifft2(torch.fft.ifftshift(waves, dim=(-2, -1))).real


print("nothing is lost:", torch.allclose(low_pass(x, 99), x, atol=1e-5))
print("ours = library:", torch.allclose(low_pass(x, 5), spectral.band(x, 0, 5), atol=1e-5))

# %% [markdown]
# `spectral.band(image, low, high)` keeps a ring, $low \le r < high$. A ring that starts at 0 is a *low-pass* filter, one without end a *high-pass* filter.
#
# ## What a layer hears
#
# {cite}`unam2021` (section 3.1) borrows an idea from control theory: send in a wave of one frequency, see how strongly the network answers, and draw this for all frequencies. This is its {term}`transfer function`. For a layer that is linear, such as a convolution, the answer to a wave is a wave of the same frequency; only its strength and phase change. Write $w_\varphi$ for the wave with phase $\varphi$ and $\bar w$ for the grey it swings around. The gain $G$ of a layer $f$ is given by
#
# $$
# G(u, v)^2 = \frac{\sum_\varphi \lVert f(w_\varphi) - f(\bar w) \rVert_2^2}{\sum_\varphi \lVert w_\varphi - \bar w \rVert_2^2} ,
# $$
#
# what changes in the output over what changes in the input, both summed over some phases.

# %%
phases = 2 * torch.pi * torch.arange(8) / 8


def gain(layer, u, v):
    """The gain at one frequency, for each filter of a layer on its own."""
    waves = spectral.sinusoids((1, 28, 28), torch.tensor([[u, v]] * 8), phases)
    grey = torch.full_like(waves, 0.5)
    change = (layer(waves) - layer(grey)).pow(2).sum((0, 2, 3))
    return (change / (waves - grey).pow(2).sum()).sqrt()

# %% [markdown]
# A convolution whose borders wrap around needs no experiment. Its gain at $(u, v)$ is $|K(u, v)|$, where $K$ is the Fourier transform of its kernel, put into an empty image. For LeNet's first layer, which divides the pixels by their standard deviation $s$ first, it is $|K(u, v)| / s$:

# %%
around = copy.deepcopy(lenet[:2]).double()     # Normalize and the first convolution
around[1].padding_mode = "circular"            # borders that wrap around
measured = spectral.transfer_function(around, (1, 28, 28), per_channel=True)
kernels = around[1].weight[:, 0] / around[0].std.item()
computed = torch.fft.fftshift(torch.fft.fft2(kernels, s=(28, 28)).abs(), dim=(1, 2))
largest = (measured - computed).abs().max().item()
ours = torch.stack([gain(around, 3, 5), gain(around, 0, 14), gain(around, 9, -2)])
book = torch.stack([measured[:, 14 + 3, 14 + 5], measured[:, 14, 0], measured[:, 14 + 9, 14 - 2]])

# %% tags=["remove-input"]
records.say("Over six filters and all frequencies the gain lies between {low:.2f} and {high:.2f}; measured and computed differ by {difference:.0e} at most, which is rounding. Our short function and the library agree at three frequencies to within {ours:.0e}.",
            low=computed.min().item(), high=computed.max().item(), difference=largest, ours=(ours - book).abs().max().item(), holds=largest < 1e-10 and bool((ours - book).abs().max() < 1e-10))

# %% [markdown]
# LeNet's own layer puts zeros around the image, so near the border it meets another picture, and the formula is only nearly right.

# %% tags=["remove-input"]
widgets.predict(
    "Edges are what a first layer is said to look for. To which waves does the first layer of LeNet answer most strongly, all six filters together?",
    {"The fastest ones, near the chequerboard": "An edge is sharp, but most of its energy is slow: the spectrum of a step falls with the frequency.",
     "The slow ones": "The largest gains lie near the centre. With five by five pixels a kernel can do other things too; training did not choose them for all six together.",
     "All alike: the six filters share the work": "Single filters have their own taste, as you will see. Their sum has one as well."},
    answer="The slow ones")

# %% tags=["hide-input", "covered"]
NETS = {"LeNet": (lenet, (1, 28, 28)), "ResNet": (resnet, (1, 28, 28)), "CifarNet": (cifar_net, (3, 32, 32))}
first = {name: spectral.transfer_function(net[:2], shape, per_channel=True, phases=3) for name, (net, shape) in NETS.items()}


def one_filter(network, number):
    net, (channels, height, width) = NETS[network]
    kernel = net[1].weight[number - 1]
    ideal = torch.fft.fftshift(torch.fft.fft2((kernel / net[0].std[0]).sum(0), s=(height, width)).abs()) / math.sqrt(channels)
    heard = first[network][number - 1]
    most = max(ideal.max(), heard.max())
    return plots.grid([plots.noise(kernel, "kernel"), plots.image((heard / most)[None], "measured"), plots.image((ideal / most)[None], "FFT of the kernel")], columns=3)


def say_filter(network, number):
    heard = first[network][number - 1]
    profile = spectral.radial_average(heard)
    return (f"Filter {number} of the first layer of {network}. Averaged over directions its gain is {profile[0]:.1f} at frequency 0, at most {profile.max():.1f} (radius {profile.argmax()}), "
            f"and {profile[-1]:.1f} at radius {len(profile) - 1}.")


widgets.explore(one_filter, alt=say_filter, network=list(NETS), number=[1, 2, 3, 4, 5, 6],
                caption="The first six filters of three networks (the ResNet has 64, CifarNet 32). Left the kernel, orange positive and blue negative; then its transfer function, measured on the layer as it is, with zeros around the image, and computed from the kernel alone. Frequency 0 is in the centre, white is the largest gain of the filter.")

# %% [markdown]
# :::{container} covered
# A bright centre is a filter that blurs; a dark one ignores the mean and answers to change; two bright sides are a filter for stripes of one direction.
#
# A whole network is not linear: it answers to a wave of small contrast otherwise than to a strong one. We can still measure it, with the logits as the output, and say the contrast.
# :::

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "Six maps of 28 or 32 frequencies a side. Above, the first layers of LeNet, the ResNet and CifarNet; below, the whole networks. The strongest answers lie in and around the centre in most of them."}, "figure": {"caption": "Transfer functions of the first layers (above) and of the whole networks (below) for waves of contrast 0.1, one training of each. Orange: strong answers, each map on its own scale. Frequency 0 is in the centre.", "name": "fig-transfer-function"}}
whole = {name: spectral.transfer_function(net, shape, contrast=0.1, phases=3) for name, (net, shape) in NETS.items()}
panels = plots.axes(6, height=3.6)
maps = [*((f"{name}, first layer", first[name].pow(2).sum(0).sqrt()) for name in NETS), *((f"{name}, logits", whole[name]) for name in NETS)]
for ax, (title, response) in zip(panels, maps):
    half = len(response) // 2
    ax.imshow(response / response.max(), cmap=plots.HEAT, vmin=0, vmax=1, extent=(-half - 0.5, half - 0.5, half - 0.5, -half - 0.5))
    ax.set(title=title, xticks=[-half, 0, half - 1], yticks=[-half, 0, half - 1], xlabel="periods across", ylabel="periods down")
    ax.grid(False)
plots.finish(panels, f"{mnist.source}; {photos.source}")

# %% tags=["remove-input", "covered"]
centre = {name: (one[len(one) // 2, len(one) // 2] / one.max()).item() for name, one in ((name, first[name].pow(2).sum(0).sqrt()) for name in NETS)}
records.say("The three networks differ, and so do the data: to an even change of grey the first layer of LeNet answers with {a:.0%} of its largest gain, that of the ResNet with {b:.0%}, that of CifarNet with {c:.0%}.",
            a=centre["LeNet"], b=centre["ResNet"], c=centre["CifarNet"])

# %% [markdown]
# :::{container} covered
# Which waves are "fast"? There are many more fast waves than slow ones, as there is more room far from the centre. To compare fairly we part the 784 frequencies of a digit into eight rings with (nearly) equally *many* frequencies. White noise, equally strong at all frequencies, would have one eighth of its energy in each.
# :::

# %% tags=["remove-input", "covered"]
heard = records.read("09-heat")["values"]
RADII = heard["edges"]
label_of = [f"below {RADII[0]:.1f}", *(f"{a:.1f} to {b:.1f}" for a, b in zip(RADII, RADII[1:])), f"from {RADII[-1]:.1f}"]
seeds_of = lambda values, net, key: [found[key] for seed, found in values["nets"][net].items() if seed != "map"]
layers5, logits5, strong5 = (seeds_of(heard, "lenet", key) for key in ("first layer, 0.25", "net, 0.05", "net, 0.25"))
ratio = lambda profiles: [profile[0] / profile[-1] for profile in profiles]
lines = ["| ring | radius | frequencies | first layer | logits |", "|---|---|---|---|---|"]
lines += [f"| {k + 1} | {label_of[k]} | {heard['frequencies'][k]} | {sum(p[k] for p in layers5) / 5:.1f} | {sum(p[k] for p in logits5) / 5:.2f} |" for k in range(8)]
display(Markdown("\n".join(lines)))
display(records.say("Mean gain in each ring, five trainings of LeNet; the logits at contrast {contrast}. The slowest ring is answered {a:.1f} to {b:.1f} times as strongly as the fastest by the first layer, and {c:.1f} to {d:.1f} times by the logits; at contrast {strong} the logits answer it {e:.1f} to {f:.1f} times as strongly.",
                    contrast="0.05", strong="0.25", e=min(ratio(strong5)), f=max(ratio(strong5)), a=min(ratio(layers5)), b=max(ratio(layers5)), c=min(ratio(logits5)), d=max(ratio(logits5)), holds=min(ratio(layers5) + ratio(logits5) + ratio(strong5)) > 1.2), records.quote("09-heat"))

# %% [markdown]
# ## A wave goes through JPEG
#
# [Chapter 08](08_jpeg.ipynb) looks at JPEG as a defence. Here we ask what it does to a single wave: an image of one frequency goes through the codec, and we look whether any stripes come out.

# %% tags=["remove-input"]
widgets.predict(
    "JPEG at quality 5, waves of all frequencies, 28 by 28 pixels. What is left of them?",
    {"Nothing: five is close to the lowest quality": "Sometimes. JPEG rounds the strength of each pattern to a multiple of a step, and what is below half a step becomes zero. What decides is left open in the question.",
     "The slow waves: JPEG removes high frequencies": "The steps are larger for faster patterns, so these go first. But at this quality all steps are large; one more number is needed.",
     "It depends on how strong the waves are": "JPEG rounds the strength of each pattern to a multiple of a step. Strong waves survive even quality one, weak ones vanish at qualities that look harmless."},
    answer="It depends on how strong the waves are")

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "Share of destroyed waves against JPEG quality, one curve for each contrast. At the smallest contrast all waves are gone up to quality 7 and most at 13. The curves move to the left as the contrast grows, and at contrast 0.2 no wave is gone at any quality."}, "figure": {"caption": "Share of all waves of 28 by 28 pixels that come out of the codec as one even grey, against the quality, for waves of six contrasts around middle grey. Measured at the dots; the shaded part is qualities 1 to 5.", "name": "fig-survival"}}
survival = records.read("09-jpeg")["values"]
ax = plots.axes(height=3.4)
ax.axvspan(1, 5, color=plots.GREY, alpha=0.15, linewidth=0)
contrasts = [c for c in survival["0.5"] if c not in ("0.5",)]
for contrast, look in zip(contrasts, [*plots.OTHERS, plots.LOOKS["pgd-l2"]]):
    by = survival["0.5"][contrast]
    ax.plot([int(q) for q in by], [found["even"] for found in by.values()], color=look.colour, marker=look.marker, linestyle=look.line, label=contrast)
ax.set_xscale("log")
ax.set_xticks([1, 3, 5, 7, 10, 16, 30, 75], ["1", "3", "5", "7", "10", "16", "30", "75"])
ax.minorticks_off()
ax.set(xlabel="JPEG quality", ylabel="waves destroyed", ylim=(-0.02, 1.02))
plots.percent(ax)
ax.legend(title="contrast")
plots.finish(ax, records.read("09-jpeg")["provenance"]["source"] or "waves, no data set")

# %% tags=["remove-input", "covered"]
even = lambda mean, contrast, quality: survival[mean][contrast][quality]["even"]
kept = lambda mean, contrast, quality: survival[mean][contrast][quality]["kept"]
display(records.say("At contrast {weak} every wave is gone at qualities one, three, five and seven. At {middle} it is {five:.0%} of them at quality five and {seven:.0%} at seven. At {strong}, twenty-five grey levels up and down, it is {loud:.0%} at quality five; at twice that none is gone even at quality one, and the waves keep {left:.0%} of their strength on average. "
                    "The count also depends on the grey around which the wave swings. At quality seven {f:.0%} of the waves of contrast {weaker} are gone around middle grey, {e:.1%} around a darker one ({dark} in place of {half}); of their strength little is left in both, {b:.0%} and {a:.0%}.",
                    weak="0.02", middle="0.04", strong="0.1", five=even("0.5", "0.04", "5"), seven=even("0.5", "0.04", "7"), loud=even("0.5", "0.1", "5"), left=kept("0.5", "0.2", "1"), dark="0.25", half="0.5", weaker="0.05", a=kept("0.25", "0.05", "7"), b=kept("0.5", "0.05", "7"), e=even("0.25", "0.05", "7"), f=even("0.5", "0.05", "7"),
                    holds=all(even("0.5", "0.02", q) == 1 for q in ("1", "3", "5", "7")) and even("0.5", "0.04", "5") > 0.9 > even("0.5", "0.04", "7") and all(even("0.5", "0.2", q) == 0 for q in ("1", "3", "5")) and even("0.25", "0.05", "7") < even("0.5", "0.05", "7") / 2 and abs(kept("0.25", "0.05", "7") - kept("0.5", "0.05", "7")) < 0.05),
        records.quote("09-jpeg"))

# %% [markdown]
# :::{container} covered
# Does the size of the images matter? JPEG works on blocks of 8 by 8 pixels, whatever the image. We take waves of the same fineness, that is, periods per pixel, on images of four sizes; two of them are whole blocks, and two end in half a block, which JPEG must fill up.
# :::

# %% tags=["covered"]
def destroyed(side, contrast, quality, waves=60):
    """The share of random waves that JPEG turns into one even grey."""
    per_pixel = torch.rand(waves, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    images = spectral.sinusoids((1, side, side), per_pixel * side, contrast=contrast)
    coded = jpeg.compress(images, quality).flatten(1)
    return (coded.amax(1) == coded.amin(1)).float().mean().item()


by_side = {side: [destroyed(side, contrast, 5) for contrast in (0.02, 0.05, 0.1)]
           for side in (28, 108, 32, 112)}

# %% tags=["remove-input", "covered"]
words = {side: ", ".join(f"{v:.0%}" for v in values) for side, values in by_side.items()}
apart = 100 * max(abs(p - q) for one, other in ((28, 108), (32, 112)) for p, q in zip(by_side[one], by_side[other]))
records.say("At quality five and contrasts of {contrasts} JPEG destroys {small} of sixty waves on images of {a} pixels a side and {odd} with {b}, which end in half a block; {middle} with {c} and {large} with {d}, which are whole blocks. Small and large images of one kind differ by at most {apart:.0f} percentage points. At contrast {contrast} the two kinds are far apart. What matters here is whether the image ends in a half block, and not how large it is.",
            contrasts="0.02, 0.05 and 0.1", contrast="0.1", small=words[28], odd=words[108], middle=words[32], large=words[112], a=28, b=108, c=32, d=112, apart=apart,
            holds=all(values[0] == 1 for values in by_side.values()) and max(by_side[28][2], by_side[108][2]) < min(by_side[32][2], by_side[112][2]) - 0.2 and apart < 15)

# %% tags=["remove-input"]
records.verdict("The lowest JPEG qualities, 1 to 5, destroy every frequency that is sent through the network.", source="unam2021", where="section 3.2, figure 12",
                reported="Completely destroyed at qualities 1 to 5. The authors take it for an artefact of the images' size. The contrast of the waves is not given.",
                measured=f"Waves destroyed at quality 5: {even('0.5', '0.02', '5'):.0%} at contrast 0.02, {even('0.5', '0.04', '5'):.0%} at 0.04, {even('0.5', '0.05', '5'):.0%} at 0.05, {even('0.5', '0.1', '5'):.0%} at 0.1, {even('0.5', '0.2', '5'):.0%} at 0.2. On images of 32 and of 112 pixels a side at contrast 0.02, of sixty waves, {by_side[32][0]:.0%} and {by_side[112][0]:.0%}.",
                verdict="not tested here", why="Contrast and grey decide, and we do not know the source's. With weak waves the sentence holds, with strong ones it does not. To test it one needs the waves of the source.")

# %% [markdown]
# And the layer behind the codec? We compare the transfer function of the first layer, with JPEG before it, with the one without: by their correlation, and by the length of the difference over the length of the one without.

# %% tags=["remove-input"]
coded = records.read("09-layers")["values"]
mean = lambda values: sum(values) / len(values)
LOUD = list(coded["lenet"]["0"])
lines = ["| quality | " + " | ".join(f"{name}, {c}" for name in ("LeNet", "ResNet") for c in (LOUD[0], LOUD[-1])) + " |", "|---|" + "---|" * 4]
lines += [f"| {q} | " + " | ".join(f"{mean([found[c][q]['correlation'] for found in coded[net].values()]):.2f}" for net in ("lenet", "mnist_resnet") for c in (LOUD[0], LOUD[-1])) + " |" for q in coded["lenet"]["0"][LOUD[0]]]
Markdown("\n".join(lines))

# %% tags=["remove-input"]
look = lambda net, c, q, key="correlation": mean([found[c][q][key] for found in coded[net].values()])
display(records.say("Correlation of the first layer's transfer function with the one without JPEG, for waves of two contrasts: mean of five LeNets, one ResNet. At contrast {weak} no wave arrives at qualities one and three, and the correlation is set to zero; at contrast {loud} it is {a:.2f} for LeNet even at quality one. "
                    "At qualities seven to sixteen and the weak contrast the correlations are {b:.2f} to {c:.2f} for LeNet and {d:.2f} to {e:.2f} for the ResNet, whose function thus keeps its pattern at least as well. The difference is {f:.0%} to {g:.0%} of the function for LeNet, {h:.0%} to {i:.0%} for the ResNet: JPEG makes weak waves weaker for both.",
                    f=look("lenet", LOUD[0], "16", "change"), g=look("lenet", LOUD[0], "7", "change"), h=look("mnist_resnet", LOUD[0], "16", "change"), i=look("mnist_resnet", LOUD[0], "7", "change"), weak=LOUD[0], loud=LOUD[-1], a=look("lenet", LOUD[-1], "1"), b=look("lenet", LOUD[0], "7"), c=look("lenet", LOUD[0], "16"), d=look("mnist_resnet", LOUD[0], "7"), e=look("mnist_resnet", LOUD[0], "16"),
                    holds=look("lenet", LOUD[0], "1") == look("lenet", LOUD[0], "3") == 0 and look("lenet", LOUD[-1], "1") > 0.9 and all(look("mnist_resnet", LOUD[0], q) > look("lenet", LOUD[0], q) for q in ("7", "10", "13", "16"))), records.quote("09-layers"))

# %% tags=["remove-input"]
records.verdict("With JPEG before it LeNet's transfer function hardly changes at any quality; the ResNet's is modulated more at qualities 7 to 16.", source="unam2021", where="sections 3.2 and 4, figure 12",
                reported="Not much change for LeNet at any quality; more modulation for the ResNet at qualities 7 to 16. By eye, on animated pictures of the first layer.",
                measured=f"Correlation with the function without JPEG, at qualities 7, 10 and 16: LeNet {look('lenet', LOUD[0], '7'):.2f}, {look('lenet', LOUD[0], '10'):.2f} and {look('lenet', LOUD[0], '16'):.2f} at contrast {LOUD[0]}, {look('lenet', LOUD[-1], '7'):.2f}, {look('lenet', LOUD[-1], '10'):.2f} and {look('lenet', LOUD[-1], '16'):.2f} at {LOUD[-1]}; "
                         f"ResNet {look('mnist_resnet', LOUD[0], '7'):.2f}, {look('mnist_resnet', LOUD[0], '10'):.2f} and {look('mnist_resnet', LOUD[0], '16'):.2f}, and {look('mnist_resnet', LOUD[-1], '7'):.2f}, {look('mnist_resnet', LOUD[-1], '10'):.2f} and {look('mnist_resnet', LOUD[-1], '16'):.2f}.",
                verdict="not tested here", why="Again the contrast decides how much changes, and it is not given; our ResNet is one training. To test it one needs the source's waves, its networks, and a number in place of the eye.")

# %% [markdown]
# ## The spectrum of an attack
#
# {cite}`unam2021` (section 3.3) draws the FFT of images, of attacked images and of the noise between them. Here are a digit and a photograph, four attacks each.

# %% tags=["remove-input"]
photo = photos[:40][evaluation.classified_right(cifar_net, photos[:40])][:1]
BUDGETS = {"digit": (lenet, x[pick][None], digit[None], 0.1, 1.0), "photograph": (cifar_net, photo.images, photo.labels, 2 / 255, 0.25)}
SOURCE, struck = {"digit": mnist.source, "photograph": photos.source}, {}
for kind, (net, images, labels, eps, length) in BUDGETS.items():
    struck[kind, "FGSM"] = attacks.fgsm(net, images, labels, eps=eps)
    struck[kind, "FGM"] = attacks.fgm(net, images, labels, eps=length)
    struck[kind, "PGD"] = attacks.pgd(net, images, labels, eps=eps, generator=seeded())
    struck[kind, "CW"] = attacks.carlini_wagner(net, images, labels, steps=50)


def spectrum(images):
    """The log spectrum of one picture of mean square 1, the mean of its channels, as an image."""
    log = spectral.log_spectrum(images / images.pow(2).mean().sqrt().clamp_min(1e-9)).mean(1)
    return log / log.max()


def noise_and_spectrum(picture, attack):
    images, adversarial = BUDGETS[picture][1], struck[picture, attack]
    return plots.grid([plots.noise((adversarial - images)[0], "noise"), plots.image(spectrum(adversarial - images), "its spectrum"),
                       plots.image(spectrum(images), "spectrum, clean"), plots.image(spectrum(adversarial), "spectrum, attacked")], columns=2, source=SOURCE[picture])


def say_noise(picture, attack):
    d = struck[picture, attack] - BUDGETS[picture][1]
    log = spectral.radial_average(spectrum(d)[0])
    return f"The noise of {attack} on a {picture}, its log spectrum, and those of the clean and of the attacked image. From the centre to the edge the noise's log spectrum, averaged over directions, falls from {log[1:4].max():.2f} to {log[-1]:.2f} of its largest value."


widgets.explore(noise_and_spectrum, alt=say_noise, picture=list(BUDGETS), attack=["FGSM", "FGM", "PGD", "CW"],
                caption="The noise of an attack, at its own scale, and log spectra, each over its largest value, frequency 0 in the centre. Digit: LeNet, FGSM and PGD at eps = 0.1, FGM of length 1. Photograph: a lossless one, and CifarNet, trained on a JPEG copy of other images; eps = 2/255, FGM of length 1/4. CW is Carlini-Wagner's attack, which looks for the shortest noise.")

# %% [markdown]
# Pictures of spectra look alike easily, because nearly all have a bright centre. So we count. First: how much of the energy lies in each of the eight rings? And what do we compare with? Take the same noise and shuffle its pixels: every value is still there, only its place is another.

# %% tags=["remove-input"]
widgets.predict(
    "The pixels of an adversarial noise are shuffled. What happens to its spectrum?",
    {"Little: it still has the same values": "The histogram of the values is the same. The spectrum does not depend on it, but on how neighbours go together.",
     "It becomes flat: each ring gets about one eighth": "Shuffled pixels know nothing of their neighbours. That is white noise, and all frequencies are alike in it, but for chance.",
     "It moves to the fast waves: neighbours now differ": "Neighbours differ, but they do not swing in turn either, as the fastest wave does."},
    answer="It becomes flat: each ring gets about one eighth")

# %% tags=["remove-input", "covered"]
lit = records.read("09-spectra")["values"]["nets"]["lenet"]
share = lambda name: [mean([found["energy"][name][k] for found in lit.values()]) for k in range(8)]
shown = {"clean": "clean image", "FGSM": "FGSM", "FGM": "FGM", "PGD": "PGD", "CW": "Carlini-Wagner", "FGSM shuffled": "FGSM, shuffled"}
lines = ["| ring | " + " | ".join(shown.values()) + " |", "|---|" + "---|" * len(shown)]
lines += [f"| {k + 1} | " + " | ".join(f"{share(name)[k]:.1%}" for name in shown) + " |" for k in range(8)]
display(Markdown("\n".join(lines)))
fast = {name: sum(share(name)[4:]) for name in shown}
display(records.say("Share of the energy, the even grey left out, in each ring, from the slowest to the fastest; five LeNets, {n} digits each, as the attacks delivered them, cut to [0, 1]. FGSM and PGD at eps = {eps} mislead the networks on {w1:.0%} and {w2:.0%} of these digits, FGM of length {one} on {w3:.0%}, Carlini-Wagner on {w4:.0%}; successes and failures count alike. The fast half of the frequencies holds {clean:.1%} of a clean digit's energy, {fgsm:.0%} of FGSM's noise, {fgm:.0%} of FGM's, {pgd:.0%} of PGD's, {cw:.0%} of Carlini-Wagner's and {flat:.0%} of the shuffled noise.",
                    n=lit["0"]["images"], eps="0.1", one="1", **{f"w{k}": mean([found["fooled"][name] for found in lit.values()]) for k, name in enumerate(("FGSM", "PGD", "FGM", "CW"), 1)}, clean=fast["clean"], fgsm=fast["FGSM"], fgm=fast["FGM"], pgd=fast["PGD"], cw=fast["CW"], flat=fast["FGSM shuffled"],
                    holds=fast["clean"] < min(fast["FGSM"], fast["PGD"], fast["CW"], fast["FGM"]) and max(fast["FGSM"], fast["FGM"], fast["PGD"], fast["CW"]) < fast["FGSM shuffled"]), records.quote("09-spectra"))

# %% [markdown]
# :::{container} covered
# So two sentences are both true of these digits: the noise is faster than the digit, and it is slower than white noise. "Adversarial noise is high frequency" needs a "than what".
# :::

# %% tags=["remove-input", "covered"]
grown = {name: sum(share(f"{name} attacked")[4:]) for name in ("FGSM", "FGM", "PGD", "CW")}
records.say("Does noise add fast waves to the image? In the attacked digits the fast half holds {fgsm:.1%} (FGSM), {fgm:.1%} (FGM), {pgd:.1%} (PGD) and {cw:.1%} (Carlini-Wagner) of the energy, in the clean ones {clean:.1%}: more, and still little.",
            fgsm=grown["FGSM"], fgm=grown["FGM"], pgd=grown["PGD"], cw=grown["CW"], clean=fast["clean"], holds=min(grown.values()) > fast["clean"])

# %% [markdown]
# Second: how alike are FGSM and FGM? FGM is the gradient $g$ at length one, FGSM is $\operatorname{sign}(g)$. We correlate their log spectra, frequency by frequency, and ask the same of two controls: FGM's noise for *another* image, and FGM's noise shuffled.

# %% tags=["remove-input"]
pairs = {"same image": "one image", "other image": "two images", "shuffled": "FGM shuffled", "pixels": "pixels, one image"}
alike = {key: [found["alike"][key] for found in lit.values()] for key in pairs}
lines = ["| correlation of FGSM and FGM | LeNet, digits |", "|---|---|"]
lines += [f"| {'log spectra, ' if key != 'pixels' else ''}{name} | {mean(alike[key]):.2f} ({round(min(alike[key]), 2) + 0.0:.2f} to {round(max(alike[key]), 2) + 0.0:.2f}) |" for key, name in pairs.items()]
display(Markdown("\n".join(lines)))
display(records.say("Mean over the images; the mean and the range of five trainings. Before anything is cut to [0, 1]. On digits two noises of one image have log spectra that correlate by {same:.2f}, those of two different images by {other:.2f}, and with the shuffled noise by {shuffled:.1f}. "
                    "Much of the likeness is what the noises of any two digits share; the rest belongs to the image. Pixel by pixel the noises correlate by {pixels:.2f}, which is no surprise: one is the sign of the other.",
                    same=mean(alike["same image"]), other=mean(alike["other image"]), shuffled=mean(alike["shuffled"]), pixels=mean(alike["pixels"]),
                    holds=mean(alike["same image"]) > mean(alike["other image"]) > mean(alike["shuffled"]) + 0.1), records.quote("09-spectra"))

# %% tags=["remove-input"]
records.verdict("The two-dimensional FFTs of the noises of FGSM and FGM are very similar, though the noises look different.", source="unam2021", where="section 3.3, figure 17",
                reported="Observed by eye, for one photograph and a network called LeNet.",
                measured=f"Correlation of the log spectra, five LeNets on {lit['0']['images']} digits: {mean(alike['same image']):.2f} for one image, {mean(alike['other image']):.2f} for two images, {mean(alike['shuffled']):.1f} with shuffled pixels.",
                verdict="not tested here", why="Digits instead of a photograph, and the source compares by eye. A likeness that also holds between different images is not one of the two methods alone. To test it one needs that photograph, that network, and a measure with a control.")

# %% [markdown]
# ## Which waves does it need?
#
# A network may hear a wave and make nothing of it. So ask for answers: take waves away from the image and see how many answers stay right.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels of accuracy against the limit of a filter. Left, slow waves are kept: accuracy rises steeply and is nearly whole at six or seven periods. Right, fast waves are kept: accuracy falls and is at chance from ten periods on."}, "figure": {"caption": "Accuracy of five LeNets (solid) and one ResNet (dashed) on digits that keep only the waves below the limit (left), and only those from the limit on (right). Nothing is cut to [0, 1].", "name": "fig-filters"}}
passed = records.read("09-filters")["values"]["nets"]
axes = plots.axes(2, height=3.0, sharey=True)
for ax, side, title in zip(axes, ("low", "high"), ("slow waves kept", "fast waves kept")):
    for net in ("mnist_resnet", "lenet"):
        for number, found in enumerate(passed[net].values()):
            by = found[side]
            ax.plot([int(r) for r in by], list(by.values()), color=plots.colour(net), linestyle=plots.LOOKS[net].line, linewidth=1.2, label=plots.label(net) if number == 0 else None)
    ax.set(title=title, xlabel="limit (periods)", ylabel="accuracy", ylim=(0, 1.01), xticks=range(0, 17, 4))
    plots.percent(ax)
axes[0].legend()
plots.finish(axes, records.read("09-filters")["provenance"]["source"])

# %% tags=["remove-input"]
five = lambda side, r: mean([found[side][r] for found in passed["lenet"].values()])
display(records.say("Five LeNets, {n} digits. With the waves below six periods alone {low:.0%} of the answers are right, with all others alone {high:.0%}. Of the eight rings the slowest alone gives {ring:.0%}, the second {second:.0%}, the others at most {rest:.0%}; chance is one in ten.",
                    n=passed["lenet"]["0"]["images"], low=five("low", "6"), high=five("high", "6"), ring=mean([f["ring"][0] for f in passed["lenet"].values()]), second=mean([f["ring"][1] for f in passed["lenet"].values()]),
                    rest=max(mean([f["ring"][k] for f in passed["lenet"].values()]) for k in range(2, 8)), holds=five("low", "6") > 0.9 > 0.6 > five("high", "6")), records.quote("09-filters"))

# %% [markdown]
# Such images have never been seen in training, and a wrong answer may come from their strangeness as well as from what is missing. (For photographs {cite}`jo2017` and {cite}`wang2020` report the other side: networks also use fast components that people do not notice.)
#
# What a network *needs* is one thing. What can *mislead* it is another. We confine an attacker to one ring: each step of PGD goes along the gradient, filtered to the ring, and the whole perturbation has the same Euclidean length, whatever the ring.

# %%
def ring_attack(model, x, y, eps, low, high, steps=20):
    """PGD of length eps whose perturbation has the frequencies of one ring; pixels may leave [0, 1]."""
    d, length = torch.zeros_like(x), torch.full((len(x),), eps)
    for _ in range(steps):
        point = (x + d).requires_grad_()
        loss = attacks.losses.log_odds(model(point), y).sum()
        uphill = spectral.band(torch.autograd.grad(loss, point)[0], low, high)
        step = 2.5 * eps / steps * geometry.steepest(uphill, "l2")
        d = geometry.project(d + step, length, "l2")
    return d

# %% tags=["remove-input"]
widgets.predict(
    "Length 2, and only one eighth of all frequencies to use. In which ring does the attacker fool LeNet most?",
    {"In the fastest: that is where adversarial noise lives": "A popular guess. The table of energies above speaks against it, at least for these digits.",
     "In the slowest: there the network listens": "There both the gain of the network and the digits themselves are. A free attacker is not much better.",
     "In all alike: the length is the same": "The length is the same, the gain is not."},
    answer="In the slowest: there the network listens")

# %% tags=["covered"]
slowest, fastest = (0, RADII[0]), (RADII[-1], math.inf)
outcome = {}
for ring in (slowest, fastest):
    d = ring_attack(lenet, x[:40], y[:40], 2.0, *ring)
    outside = (d - spectral.band(d, *ring)).abs().max().item()  # rounding alone
    stays = (answers(lenet, x[:40] + d) == y[:40]).float().mean().item()
    outcome[ring] = stays, outside

# %% tags=["remove-input", "covered"]
records.say("Here and now, on {n} digits that this LeNet reads right: the slowest ring leaves {a:.0%} right, the fastest {b:.0%}. Outside its ring no pixel of a perturbation is larger than {outside:.0e}. Now five trainings, on other digits:",
            n=len(x[:40]), a=outcome[slowest][0], b=outcome[fastest][0], outside=max(one[1] for one in outcome.values()), holds=outcome[slowest][0] < outcome[fastest][0] or mnist.name != "mnist")

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "Accuracy against the ring, from the slowest to the fastest, in two panels. Without a cut the slowest ring leaves hardly any right answers, and accuracy rises over three rings to nearly all. With pixels cut to the allowed range the rise is similar, and the last ring lies lower than the one before it."}, "figure": {"caption": "What PGD confined to one ring leaves, five LeNets, length 2; ring 1 is the slowest. The dotted lines are the same attack with all frequencies. Left: pixels may leave [0, 1]. Right: the sum is cut to [0, 1].", "name": "fig-rings"}}
rings = records.read("09-rings")["values"]
taken = rings["nets"]["lenet"]
axes = plots.axes(2, height=3.0, sharey=True)
for ax, how, title in zip(axes, ("free", "cut"), ("not cut", "cut to [0, 1]")):
    for found in taken.values():
        left = found["free"] if how == "free" else [one["accuracy"] for one in found["cut"]]
        ax.plot(range(1, 9), left[:8], color=plots.colour("lenet"), marker="o", linewidth=1.2)
        ax.axhline(left[8], color=plots.GREY, linestyle=":", linewidth=1)
    ax.set(title=title, xlabel="ring", ylabel="accuracy", ylim=(-0.02, 1.02), xticks=range(1, 9))
    plots.percent(ax)
plots.finish(axes, records.read("09-rings")["provenance"]["source"])

# %% tags=["remove-input", "covered"]
stay = lambda net, k: mean([found["free"][k] for found in rings["nets"][net].values()])
leak, arrives = ([mean([found["cut"][k][key] for found in taken.values()]) for k in range(8)] for key in ("inside", "length"))
display(records.say("Mean of five LeNets, {n} digits: the slowest ring leaves {a:.0%}, the second {b:.0%}, the third {c:.0%}, the fastest {d:.0%}; all frequencies together {all:.0%}. In each of the five trainings the slowest ring leaves the least. "
                    "When the sum is cut to [0, 1], black pixels cannot go down, and half of a wave is lost: what arrives is {shortest:.1f} to {longest:.1f} long in place of {eps:g}, and {e:.0%} to {f:.0%} of its energy still lies in its ring. So the right panel is about real images and no longer about clean rings; the left one is the opposite. With the cut the fastest ring leaves {cut:.0%} and not {d:.0%}, which fits a leak into slower waves and does not prove it.",
                    n=taken["0"]["images"], a=stay("lenet", 0), b=stay("lenet", 1), c=stay("lenet", 2), d=stay("lenet", 7), all=stay("lenet", 8), e=min(leak), f=max(leak), eps=taken["0"]["eps"], shortest=min(arrives), longest=max(arrives), cut=mean([found["cut"][7]["accuracy"] for found in taken.values()]),
                    holds=all(found["free"][0] == min(found["free"][:8]) for found in taken.values()) and stay("lenet", 0) < stay("lenet", 1) < stay("lenet", 2) < stay("lenet", 7)), records.quote("09-rings"))

# %% [markdown]
# ## One wave at a time: the Fourier heat map
#
# An attack searches. The gentlest question is: add one wave, of one length, at a random phase, and count the errors; do this for each frequency and draw the errors as a map. This is the {term}`Fourier heat map` of {cite}`yin2019`. They found that naturally trained networks on CIFAR-10 err under noise of nearly all frequencies but the lowest, and that training with Gaussian noise helps against the fast waves.
#
# We draw it for LeNets, and train two more sets of five, on 20,000 digits for six epochs: with Gaussian noise on each training image, and, as a control, in the same way without. (The LeNets of the course saw all training digits, shifted at random, in 20 epochs.)

# %% tags=["remove-input"]
widgets.predict(
    "LeNets trained with white Gaussian noise. Against which waves does the training help?",
    {"Against the fast ones, as noise is fast": "White noise is as fast as it is slow. And look where these networks err at all.",
     "Against all alike: the noise is white": "The noise is the same everywhere; the errors to be mended are not.",
     "Against the slow ones": "In the control, which was trained without noise, hardly any wave outside the slowest ring makes more errors than there are without a wave. So there is little else to mend."},
    answer="Against the slow ones")

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "Three maps of 28 by 28 frequencies, for LeNets of the course, without noise and with noise. A spot of errors in the centre, widest in the first two and smaller after training with noise; the rest of each map is pale."}, "figure": {"caption": "Fourier heat maps: share of errors when one wave is added, for each frequency; the mean of five trainings each, on one scale. Frequency 0 is in the centre. From left: the LeNets of the course, LeNets trained on 20,000 images for 6 epochs without noise, and the same with noise.", "name": "fig-heat"}}
KINDS = {"lenet": "course", "plain": "no noise", "noise": "noise"}
panels = plots.axes(3, height=3.5)
most = max(max(map(max, heard["nets"][kind]["map"])) for kind in KINDS)
for ax, (kind, title) in zip(panels, KINDS.items()):
    ax.imshow(heard["nets"][kind]["map"], cmap=plots.HEAT, vmin=0, vmax=most, extent=(-14.5, 13.5, 13.5, -14.5))
    ax.set(title=title, xticks=[-14, 0, 13], yticks=[-14, 0, 13], xlabel="periods across", ylabel="periods down")
    ax.grid(False)
plots.finish(panels, records.read("09-heat")["provenance"]["source"])

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "Two panels against the ring. Left, errors under single waves; right, accuracy under attacks confined to a ring. In the slowest ring the networks trained with noise err less and stand more attacks; in the fast rings all curves lie together."}, "figure": {"caption": "LeNets trained with noise (solid) and without (dashed), on 20,000 images for 6 epochs, five trainings each. Left: errors under one wave, mean in each ring. Right: accuracy under PGD confined to a ring, not cut. Ring 1 is the slowest.", "name": "fig-noise-trained"}}
axes = plots.axes(2, height=3.0)
for kind, look in (("plain", plots.LOOKS["mnist_resnet"]), ("noise", plots.LOOKS["pgd"])):
    for number in range(5):
        word = {"label": "without noise" if kind == "plain" else "with noise"} if number == 0 else {}
        axes[0].plot(range(1, 9), heard["nets"][kind][str(number)]["rings"], color=look.colour, linestyle=look.line, linewidth=1.2, **word)
        axes[1].plot(range(1, 9), rings["nets"][kind][str(number)]["free"][:8], color=look.colour, linestyle=look.line, linewidth=1.2)
axes[0].set(xlabel="ring", ylabel="errors under one wave", ylim=(0, None), xticks=range(1, 9))
axes[1].set(xlabel="ring", ylabel="accuracy under attack", ylim=(-0.02, 1.02), xticks=range(1, 9))
for ax in axes:
    plots.percent(ax)
axes[0].legend()
plots.finish(axes, records.read("09-heat")["provenance"]["source"])

# %% tags=["remove-input", "covered"]
err = lambda kind, k: [profile[k] for profile in seeds_of(heard, kind, "rings")]
free = lambda kind, k: [found["free"][k] for found in rings["nets"][kind].values()]
clean = lambda kind: [found["clean"] for found in passed[kind].values()]
display(records.say("Waves of length {length:g} (a contrast of about {contrast:.1f}), {n} digits, five trainings each. Errors in the slowest ring: {a:.1%} without noise in training, {b:.1%} with it; in the fastest {c:.1%} and {d:.1%}, where as many are wrong without any wave ({zero:.1%} and {one:.1%}). Under PGD in the slowest ring {e:.0%} and {f:.0%} of {m} digits stay right, in the second {g:.0%} and {h:.0%}. In the slowest ring noise helps in each of the five pairs of one seed, both times. "
                    "Clean accuracy, on {k} digits, is {i:.1%} and {j:.1%}. The noise had a standard deviation of {sigma}; both sets saw {train:,} images, {epochs} times.",
                    length=heard["length"], contrast=heard["length"] * math.sqrt(2) / 28, n=heard["nets"]["lenet"]["0"]["images"], zero=mean(seeds_of(heard, "plain", "clean")), one=mean(seeds_of(heard, "noise", "clean")), a=mean(err("plain", 0)), b=mean(err("noise", 0)), c=mean(err("plain", 7)), d=mean(err("noise", 7)), e=mean(free("plain", 0)), f=mean(free("noise", 0)), g=mean(free("plain", 1)), h=mean(free("noise", 1)),
                    i=mean(clean("plain")), j=mean(clean("noise")), sigma=heard["sigma"], train=heard["trained on"], epochs=heard["epochs"], m=rings["nets"]["plain"]["0"]["images"], k=passed["plain"]["0"]["images"],
                    holds=all(p > q for p, q in zip(err("plain", 0), err("noise", 0))) and all(p < q for p, q in zip(free("plain", 0), free("noise", 0))) and all(abs(mean(err(kind, 7)) - mean(seeds_of(heard, kind, "clean"))) < 0.005 for kind in ("plain", "noise")) and mean(err("noise", 0)) < mean(err("plain", 0)) and mean(free("noise", 0)) > mean(free("plain", 0))), records.quote("09-heat"), records.quote("09-rings"))

# %% [markdown]
# ### A sentence, tested four ways
#
# "Networks do seem to be sensitive to higher frequencies", says {cite}`unam2021` (section 4). Put together, for LeNet and digits:

# %% tags=["remove-input"]
display(records.say("- **It answers** the slowest ring {a:.1f} to {a1:.1f} times as strongly as the fastest in its first layer, and {b:.1f} to {b1:.1f} times in its logits.\n"
                    "- **It needs** the slow waves: {c:.0%} right without anything from six periods on.\n"
                    "- **One wave** of length {length:g} in the slowest ring makes {d:.0%} errors, in the fastest {e:.1%}.\n"
                    "- **An attacker** with length {eps:g}, confined to the slowest ring, leaves {f:.0%}, in the fastest {g:.0%}.\n\n"
                    "For these networks and digits each of the four speaks against the sentence. A weaker one holds: the noise of the attacks is *faster than the digit*.",
                    a=min(ratio(layers5)), a1=max(ratio(layers5)), b=min(ratio(logits5)), b1=max(ratio(logits5)), length=heard["length"], eps=taken["0"]["eps"], c=five("low", "6"), d=mean(err("lenet", 0)), e=mean(err("lenet", 7)), f=stay("lenet", 0), g=stay("lenet", 7),
                    holds=min(ratio(layers5) + ratio(logits5)) > 1.2 and mean(err("lenet", 0)) > mean(err("lenet", 7)) and stay("lenet", 0) < stay("lenet", 7)))

# %% [markdown]
# ### And photographs?
#
# The same for one CifarNet on photographs that no codec has touched. (The network was trained on other photographs, of a copy that went through JPEG.) One training and few images: it shows what the tests look like, and says little about networks on photographs.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three panels for CifarNet. A Fourier heat map of 32 by 32 frequencies whose strong errors form a band around the pale centre; accuracy against the limit of a filter, rising for slow waves kept and falling for fast waves kept; and accuracy against the ring of a confined attack, lowest in the third ring and highest in the last."}, "figure": {"caption": "CifarNet on lossless photographs, one training. Left: Fourier heat map for waves of length 2, frequency 0 in the centre. Middle: accuracy with the waves below a limit (solid) and with those from it on (dashed). Right: accuracy under PGD confined to one ring, length 0.5, not cut; dotted: all frequencies.", "name": "fig-colour"}}
photo_heat, photo_filters, photo_rings = (records.read("09-colour")["values"][part] for part in ("heat", "filters", "rings"))
panels = plots.axes(3, height=3.5)
panels[0].imshow(photo_heat["map"], cmap=plots.HEAT, vmin=0, vmax=max(map(max, photo_heat["map"])), extent=(-16.5, 15.5, 15.5, -16.5))
panels[0].set(title="errors, one wave", xticks=[-16, 0, 15], yticks=[-16, 0, 15], xlabel="periods across", ylabel="periods down")
panels[0].grid(False)
for side, line in (("low", "-"), ("high", "--")):
    panels[1].plot([int(r) for r in photo_filters[side]], list(photo_filters[side].values()), color=plots.colour("cifar_net"), linestyle=line)
panels[1].set(title="filtered", xlabel="limit (periods)", ylabel="accuracy", ylim=(-0.02, 1.02))
panels[2].plot(range(1, 9), photo_rings["free"][:8], color=plots.colour("cifar_net"), marker="o")
panels[2].axhline(photo_rings["free"][8], color=plots.GREY, linestyle=":")
panels[2].set(title="attack in one ring", xlabel="ring", ylabel="accuracy", ylim=(-0.02, 1.02), xticks=range(1, 9))
for ax in panels[1:]:
    plots.percent(ax)
plots.finish(panels, records.read("09-colour")["provenance"]["source"])

# %% tags=["remove-input"]
colour, photo_energy = records.read("09-colour")["values"], records.read("09-colour")["values"]["spectra"]["energy"]
by_ring = lambda values: ", ".join(f"{v:.0%}" for v in values)
display(records.say("Eight rings again, from the slowest. *One wave* of length {length:g}, {n} photographs: errors {errors}; without a wave {none:.0%}. *An attacker* with length {eps} leaves {rings}; with all frequencies {all:.0%}. *It needs* more than the slow waves: of {k} photographs {low:.0%} are right with the waves below eight periods, {high:.0%} with all others, {clean:.0%} without a filter. *The noise*: its fast half holds {noise:.0%} of FGSM's energy, and {still:.1%} of that of the photographs. "
                    "So here it is the middle rings that do most harm, and the slowest, the worst on digits, is the one where one wave does least. The fastest ring does little harm on either. Network, lengths and images differ from those above, and with {n} photographs one of them is five percentage points.",
                    length=colour["length"], n=photo_heat["images"], errors=by_ring(photo_heat["rings"]), none=photo_heat["clean"], eps=photo_rings["eps"], rings=by_ring(photo_rings["free"][:8]), all=photo_rings["free"][8],
                    low=photo_filters["low"]["8"], high=photo_filters["high"]["8"], k=photo_filters["images"], clean=photo_filters["clean"], noise=sum(photo_energy["FGSM"][4:]), still=sum(photo_energy["clean"][4:]),
                    holds=max(photo_heat["rings"]) == max(photo_heat["rings"][2:5]) and min(photo_rings["free"][:8]) == min(photo_rings["free"][2:5]) and min(photo_heat["rings"]) == photo_heat["rings"][0] and photo_rings["free"][7] == max(photo_rings["free"][:8]) and photo_heat["rings"][7] < photo_heat["clean"] + 0.05 and photo_heat["images"] == photo_rings["images"] == 20),
        records.quote("09-colour"))

# %% [markdown]
# ## The contrast class: corruptions
#
# Noise, blur, less contrast, a rotation: such *corruptions* are not aimed at the network. {cite}`hendrycks2019` made a benchmark of them. Here are four kinds, the accuracy that five LeNets keep, and the length of the change, beside the shortest perturbation that DDN, the minimum-norm attack of [chapter 05](05_least_effort.ipynb), finds for the same networks.

# %% tags=["remove-input"]
kinds = {"noise": "noise, standard deviation", "blur": "blur, width in pixels", "contrast": "contrast left", "rotation": "rotation, degrees"}
over = lambda net, kind, how, key="accuracy": mean([found["corrupted"][kind][how][key] for found in passed[net].values()])
needle = mean([found["ddn"] for found in passed["lenet"].values()])
lines = ["| corruption | strength | length | LeNet | without noise | with noise |", "|---|---|---|---|---|---|"]
for kind, name in kinds.items():
    for how in [list(passed["lenet"]["0"]["corrupted"][kind])[k] for k in (1, 2, 4)]:
        lines.append(f"| {name} | {how} | {over('lenet', kind, how, 'length'):.1f} | " + " | ".join(f"{over(net, kind, how):.0%}" for net in ("lenet", "plain", "noise")) + " |")
display(Markdown("\n".join(lines)))

# %% tags=["remove-input"]
mild = {kind: [found["length"] for how, found in passed["lenet"]["0"]["corrupted"][kind].items() if over("lenet", kind, how) > 0.9] for kind in kinds}
pale = sum(passed["noise"][seed]["corrupted"]["contrast"]["0.1"]["accuracy"] < found["corrupted"]["contrast"]["0.1"]["accuracy"] for seed, found in passed["plain"].items())
times = {kind: max(some, default=0) / needle for kind, some in mild.items()}
display(records.say("Accuracy on {n} digits, mean of five trainings: the LeNets of the course, and those trained without and with noise ({train:,} images, {epochs} epochs). Length: the median of the change. Of the first hundred digits half of those that are right fall to a perturbation of length {ddn:.2f} (DDN, the mean of the five medians); yet LeNet keeps more than nine answers of ten under noise of up to {noise:.1f} times that length, blur of {blur:.1f} times, less contrast of {contrast:.1f} times and a rotation of {rotation:.1f} times. "
                    "With a tenth of the contrast left the networks trained with noise do worse than those without in {worse} of five pairs of one seed: too few to call it a price.",
                    train=heard["trained on"], epochs=heard["epochs"], worse=pale, n=passed["lenet"]["0"]["images"], ddn=needle, **times, holds=min(times.values()) > 1 and 2 < pale < 5), records.quote("09-filters"))

# %% tags=["remove-input"]
loud = {net: over(net, "noise", "0.4") for net in ("lenet", "plain", "noise")}
records.say("Look at the control, too. Under the strongest noise the networks trained with noise keep {a:.0%} and the LeNets of the course {b:.0%}, which looks like a success of training with noise. But those trained in the same way *without* noise keep {c:.0%}. Most of the difference is made by something else in which the two recipes differ (shifted images, more of them, more epochs), and we have not found out which.",
            a=loud["noise"], b=loud["lenet"], c=loud["plain"], holds=loud["noise"] - loud["plain"] < loud["plain"] - loud["lenet"])

# %% [markdown]
# ## The honest end

# %% tags=["remove-input"]
records.say("**What was shown.** A convolution's transfer function is the FFT of its kernel, to rounding. JPEG at qualities one, three and five destroys all waves of contrast {weak} around middle grey, on images of a digit's size, and none of contrast {strong}. On MNIST, for five trainings of LeNet: the noise of FGSM, FGM, PGD and Carlini-Wagner is faster than the digits and slower than white noise; "
            "the network needs the slow waves, and they are also the ones by which PGD of length {eps:g}, which may leave [0, 1], misleads it most ({a:.0%} right in the slowest of eight rings, {b:.0%} in the fastest). Training with noise of standard deviation {sigma} ({train:,} images, {epochs} epochs) raised the accuracy in the slowest ring from {c:.0%} to {d:.0%}. "
            "The ring attack had {steps} steps and one start: what it leaves is an upper bound. `strongest` cannot be confined to a ring, and was not run.",
            weak="0.02", strong="0.2", eps=taken["0"]["eps"], a=stay("lenet", 0), b=stay("lenet", 7), sigma=heard["sigma"], c=mean(free("plain", 0)), d=mean(free("noise", 0)), train=heard["trained on"], epochs=heard["epochs"], steps="twenty",
            holds=stay("lenet", 0) < stay("lenet", 7) and mean(free("plain", 0)) < mean(free("noise", 0)) and fast["FGSM"] < fast["FGSM shuffled"])

# %% [markdown]
# **What is open.** Photographs: one network, and twenty to two hundred of them, stand here; {cite}`yin2019`, {cite}`jo2017` and {cite}`wang2020` say more. Other lengths and other rings. Whether digits that are cut to $[0, 1]$ can be attacked in a ring without leaking out of it: black pixels allow no clean fast wave. And the transfer function of a whole network is measured around an even grey, which is no digit; around another image it may be another one.

# %% tags=["remove-input"]
records.claims([
    {"claim": "Networks do seem to be sensitive to higher frequencies.", "source": "unam2021", "where": "section 4", "reported": "as an observation, without numbers",
     "measured": f"five LeNets, digits: attacks of one length in one of eight rings leave {stay('lenet', 0):.0%} in the slowest and {stay('lenet', 7):.0%} in the fastest. CifarNet, one training, {photo_rings['images']} photographs: {photo_rings['free'][0]:.0%} and {photo_rings['free'][7]:.0%}, and least in the third ring, {photo_rings['free'][2]:.0%}. To test the sentence one needs to know: faster than what, and sensitive in which sense", "verdict": "not tested here"},
    {"claim": "Noise adds high frequency to the image, at low intensity.", "source": "unam2021", "where": "section 4, figures 13 and 18", "reported": "seen in the FFT of attacked images",
     "measured": f"five LeNets, FGSM at eps = 0.1: the faster half of the frequencies holds {fast['clean']:.1%} of the energy of clean digits and {grown['FGSM']:.1%} of attacked ones; the source shows photographs. To test it one needs its images and networks", "verdict": "not tested here"},
    {"claim": "The transfer function shows the frequencies to which a network is more or less sensitive.", "source": "unam2021", "where": "section 3.1, figures 8 and 9", "reported": "as animated pictures, without numbers",
     "measured": f"five LeNets: the first layer answers the slowest ring {min(ratio(layers5)):.1f} to {max(ratio(layers5)):.1f} times as strongly as the fastest; to test it one needs the source's pictures or their numbers", "verdict": "not tested here"},
])

# %% [markdown]
# ## Exercises
#
# [Exercises for this chapter](../exercises/student/09_frequencies.ipynb)
#
# They are a ladder: four pixels taken apart by hand, a function that says in which rings an image has its energy, the noise of one attack on three networks, an attack that an alarm does not hear, and a vendor's argument to judge.
#
# ## Take-away
#
# - A frequency of an image is a pattern of stripes; an image is a sum of as many of them as it has pixels.
# - The transfer function of a convolution is the FFT of its kernel. That of a network depends on the contrast of the waves.
# - JPEG rounds waves away below a strength that depends on quality. A sentence about what it destroys needs a contrast.
# - "High frequency" needs a "than what": shuffled noise and the noise of another image are cheap controls.
# - What a network hears, what it needs and what misleads it are three questions. For LeNet and digits the answer was the slow waves each time; for CifarNet and photographs it was not.
#
# ## Where the numbers come from
#
# The opening, the waves, the first layers, the maps of the networks and the pictures of noises are computed live, on the data named under each figure. The records `09-jpeg`, `09-layers`, `09-spectra`, `09-filters`, `09-rings`, `09-heat` and `09-colour` are about real data (`09-jpeg` about waves alone); `advlens record 09-rings` measures one again, and likewise the others. The functions are in `measurements/09_frequencies.py`. LeNet and the ResNet are the course's checkpoints and, for five trainings, LeNets of the same recipe with other seeds; the LeNets with and without noise are trained by the measurement itself, on 20,000 images for 6 epochs.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
