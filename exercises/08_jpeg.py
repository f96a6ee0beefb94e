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
# # Exercises: JPEG as a defence
#
# Five exercises for the chapter [JPEG as a defence](../../chapters/08_jpeg.ipynb): you send four coefficients through a table with a pencil, you write the step in which JPEG loses something, you compare two attackers who know the codec with one who does not, you beat a lottery of qualities, and you review a claim.
# Run the cells from top to bottom. Each check says "ok", or gives you one hint. All of it runs on a laptop; the longest cell takes less than a minute. Time: 80 minutes.

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
# ## 1. By hand: four coefficients
#
# A block of 8 × 8 pixels has 64 coefficients. JPEG divides each by its entry in the table, rounds to the nearest whole number, and stores that; the decoder multiplies by the entry. Four of the coefficients are
#
# | coefficient | 100 | -40 | 48 | 16 |
# |---|---|---|---|---|
# | entry of the table | 16 | 24 | 40 | 51 |
#
# - `"stored"`: the four whole numbers in the file;
# - `"back"`: the four coefficients that come back;
# - `"length"`: the Euclidean length of the change of the block's 64 pixels, in grey levels, if the other sixty coefficients come back as they were (JPEG's DCT is orthonormal: it keeps Euclidean lengths);
# - `"push"`: an attacker wants something to come back from the last coefficient, which is 16 now. How much must be added to it at least? (Name the limit.)
#
# Now the attacker may change each pixel by 8 levels, up or down. The first coefficient is the sum of the 64 pixels, divided by 8. By how much does it change
#
# - `"one way"`: if every pixel rises by 8;
# - `"chequered"`: if they rise and fall by 8 like the fields of a chess board?
#
# And
#
# - `"blocks"`: how many whole blocks of 8 × 8 fit into a digit of 28 × 28 pixels in JPEG's grid, which begins in a corner, and how many does JPEG code?
#
# (When you are done: which of the two changes passes through the entry 16?)

# %% nbgrader={"grade": false, "grade_id": "warmup", "locked": false, "schema_version": 3, "solution": true, "task": false}
def by_hand():
    """{"stored": (., ., ., .), "back": (., ., ., .), "length": ., "push": ., "one way": ., "chequered": .,
    "blocks": (., .)}"""
    ### BEGIN SOLUTION
    # the errors are 4, 8, 8 and 16, so the length is the root of 400; 51 / 2 = 25.5 is 9.5 above 16
    return {"stored": (6, -2, 1, 0), "back": (96, -48, 40, 0), "length": 20, "push": 9.5,
            "one way": 64 * 8 / 8, "chequered": 0, "blocks": (3 * 3, 4 * 4)}
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "warmup-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.coefficients(by_hand)

# %% [markdown]
# ## 2. Code: where JPEG loses something
#
# Write `there_and_back(blocks, table)`: what comes back from a file for grey blocks. `blocks` is (N, 8, 8), in levels around 0 (128 has been taken away already); `table` is (8, 8), whole numbers. The DCT of a block $B$ is two products with one matrix, whose rows are waves,
#
# $$C_{ui} = s_u \cos\frac{(2i + 1)\,u\,\pi}{16}, \qquad s_0 = \sqrt{1/8}, \quad s_1 = \dots = s_7 = 1/2,$$
#
# with the frequency $u$ and the pixel $i$, both from 0 to 7. There: $C B C^\top$. Then each coefficient is divided by its entry in the table, rounded, and multiplied by the entry. With $Y$ for the result, the way back is $C^\top Y C$.
#
# Return blocks of the same shape and type. Nothing is clamped and no pixel is rounded: that comes later in the codec. (`@` multiplies matrices, also a stack of them.)

# %% nbgrader={"grade": false, "grade_id": "there-and-back", "locked": false, "schema_version": 3, "solution": true, "task": false}
def there_and_back(blocks, table):
    ### BEGIN SOLUTION
    place = torch.arange(8)
    c = torch.cos(place[:, None] * (2 * place + 1) * torch.pi / 16) / 2
    c[0] = 0.125 ** 0.5
    c = c.to(blocks.dtype)
    whole = (c @ blocks @ c.T / table).round()
    return c.T @ (whole * table) @ c
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "code-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.there_and_back(there_and_back)

# %% [markdown]
# Does libjpeg do the same? Three digits with a black border of two pixels, so that sixteen whole blocks fit, at quality 10: as they are, through your function, and through a real file.
#
# ![Three rows of three digits. In the first row the background is black; in the second and the third, which look alike, the strokes are softer and faint bands lie around them, in squares of eight pixels.](expected/08_code.png)

# %% expected="08_code"
from advlens import jpeg

digits = data.load("digits", "test")[:3]
framed = torch.nn.functional.pad(digits.images, (2, 2, 2, 2)).mul(255).round()
# (3, 1, 32, 32) -> (3, 1, 4, 4, 8, 8)
blocks = (framed - 128).unflatten(3, (4, 8)).unflatten(2, (4, 8)).transpose(3, 4)
table = jpeg.tables(10)[0]
mine = there_and_back(blocks.reshape(-1, 8, 8), table).view_as(blocks)
mine = (mine.transpose(3, 4).reshape(framed.shape) + 128).clamp(0, 255).round() / 255
file = jpeg.compress(framed / 255, 10)
print("largest difference, in levels:", round(255 * (mine - file).abs().max().item()))
plots.images(torch.cat([framed / 255, mine, file]), columns=3,
             rows=["clean", "yours", "libjpeg"], source=digits.source)

# %% nbgrader={"grade": true, "grade_id": "code-hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# When this sheet is graded, your function also meets other tables and double precision.
### BEGIN HIDDEN TESTS
from advlens.course import checks
checks.ch08.other_blocks(there_and_back)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Measurement: two who know, and one who does not
#
# The fully connected network stands behind JPEG, once of quality 3 and once of quality 50. Three attackers have the same budget, `attacks.pgd` with `eps = 0.1` and a fresh generator each time, `torch.Generator().manual_seed(0)`:
#
# - `"unaware"` attacks the network alone;
# - `"straight-through"` attacks `behind(quality, "straight-through")`, the exact codec whose backward pass leaves out all rounding (BPDA);
# - `"smooth"` attacks `behind(quality, "smooth")`, a softened codec that is not exact, with its own true gradient: in the place of $\mathrm{round}(q)$ it has $q - \sin(2\pi q)/2\pi$.
#
# Whatever an attacker used: the judge is the real codec, so the images go through `jpeg.compress(images, quality)` and then to the network. Guess first: at which quality does it help more to know?
#
# - `accuracy[quality][name]`: the share of the 200 digits that is still right;
# - `compared[quality]`: `evaluation.paired(a, b)`, as it is, where `a` says for each digit whether the smooth attack fools the judge, and `b` whether the unaware one does;
# - `conclusion`:
#   - a: Whoever knows the codec is the stronger attacker, at both qualities and with both gradients.
#   - b: The smooth codec has a true gradient, so its number is the honest one; the other attacks are not needed.
#   - c: Which attack leaves least depends on the quality. Report an image as robust only if it stands all that were tried, and call that an upper limit.
#   - d: At quality 50 the unaware attack leaves no more than the two that know. So JPEG hides nothing there, and the accuracy after it is the robust accuracy.

# %% nbgrader={"grade": false, "grade_id": "measurement", "locked": false, "schema_version": 3, "solution": true, "task": false}
from advlens import jpeg

digits = data.load("digits", "test")[:200]
x, y = digits.images, digits.labels
network = zoo.pretrained("fully_connected", "digits")
behind = lambda quality, rounding: torch.nn.Sequential(
    jpeg.JPEG(quality, rounding=rounding), network)

accuracy = {quality: {"unaware": None, "straight-through": None, "smooth": None}
            for quality in (3, 50)}
compared = {3: None, 50: None}
conclusion = None

### BEGIN SOLUTION
for quality in accuracy:
    target = {"unaware": network, **{name: behind(quality, name) for name in ("straight-through", "smooth")}}
    fooled = {}
    for name, model in target.items():
        images = attacks.pgd(model, x, y, eps=0.1, generator=torch.Generator().manual_seed(0))
        fooled[name] = network(jpeg.compress(images, quality)).argmax(1) != y
        accuracy[quality][name] = 1 - fooled[name].float().mean().item()
    compared[quality] = evaluation.paired(fooled["smooth"], fooled["unaware"])
conclusion = "c"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "measurement-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.stand_ins(accuracy, compared)

# %% [markdown]
# Six bars, and the two comparisons in words. The intervals cover the choice of the digits; there is one network, and one training of it.
#
# ![Six bars of robust accuracy, three for each quality. At quality 3 the bar of the smooth attack is much the shortest; at quality 50 it is the longest of the three.](expected/08_measurement.png)

# %% expected="08_measurement"
for quality in compared:
    print(f"quality {quality}, smooth against unaware:", compared[quality])
plots.bars([accuracy[q][name] for q in accuracy for name in accuracy[q]],
           [f"{name}, {q}" for q in accuracy for name in accuracy[q]],
           ylabel="robust accuracy", source=digits.source)

# %% nbgrader={"grade": true, "grade_id": "measurement-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# Which letter is right is decided when the sheet is graded.
assert conclusion in ("a", "b", "c", "d")
### BEGIN HIDDEN TESTS
assert conclusion != "d", "each number is what is left after one attack; count the images that stand all three: fewer than each number says"
assert conclusion == "c", "look at both qualities: which attack leaves least at 3, and which leaves most at 50?"
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Break it: a lottery of qualities
#
# "Then we draw the quality," says a maker, and puts `checks.Lottery()` before the same network. Each time it looks at an image, it draws a quality from 1 to 5, and sends the image through a real file. No gradient comes back out of a file, and nobody knows the next draw. The network behind it, `lottery.net`, is public. The next cell repeats the maker's evaluation: an image counts as broken if it is answered wrongly in at least 18 of 20 fresh draws.

# %%
digits = data.load("digits", "test")[100:150]
x, y = digits.images, digits.labels
lottery = checks.Lottery().eval()

def broken_images(images):
    wrong = sum((evaluation.logits(lottery, images).argmax(1) != y).int() for _ in range(20))
    return int((wrong >= 18).sum())

print("clean digits:", broken_images(x), "of 50")
unaware = attacks.pgd(lottery.net, x, y, eps=0.1, generator=torch.Generator().manual_seed(0))
print("PGD on the network alone:", broken_images(unaware), "of 50")
try:
    attacks.pgd(lottery, x, y, eps=0.1)
except ValueError as error:
    print("PGD on the lottery:", error)

# %% [markdown]
# Make fifty images, `broken`: each within 0.1 of its digit in every pixel, all pixels in [0, 1], and at least **33** of them broken in that sense. The check draws anew, so a lucky draw of yours does not count. Any road is allowed, with everything that the course has given you. `attacks.EOT(model, transform, samples)` takes a function `transform(images, generator)` that draws once for all images; `torch.randint(1, 6, (), generator=generator)` is a quality. Say also
#
# - `chance`: what did the drawing of the quality do to your attack?
#   - a: nothing: images made for one quality fooled the others just as well.
#   - b: it made the attack dearer: the gradient had to be that of a mean over several qualities.
#   - c: it made the network robust: nobody can know the draw.

# %% nbgrader={"grade": false, "grade_id": "transfer", "locked": false, "schema_version": 3, "solution": true, "task": false}
from advlens import jpeg

digits = data.load("digits", "test")[100:150]
x, y = digits.images, digits.labels
lottery = checks.Lottery().eval()

broken = None
chance = None

### BEGIN SOLUTION
# At such coarse tables the smooth codec was the better stand-in (exercise 3). There are five draws, no more: so the
# mean over all of them is the expectation itself, and cheaper than attacks.EOT with 32 samples.
layers = [jpeg.JPEG(quality, rounding="smooth") for quality in range(1, 6)]
expected = lambda images: sum(lottery.net(layer(images)) for layer in layers) / len(layers)
broken = attacks.pgd(expected, x, y, eps=0.1, generator=torch.Generator().manual_seed(0))
chance = "b"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "transfer-check", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
checks.lottery(broken)

# %% nbgrader={"grade": true, "grade_id": "transfer-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# Which letter is right is decided when the sheet is graded.
assert chance in ("a", "b", "c")
### BEGIN HIDDEN TESTS
assert chance == "b", "make images for quality 5 alone, and for quality 1 alone: how many does the lottery break?"
### END HIDDEN TESTS

# %% [markdown]
# ## 5. Thought: a gateway
#
# You advise the customers of this (invented) product:
#
# > *Our gateway stores each upload as JPEG of quality 50 before your network sees it. We took 1,000 test images that your network classifies right, and made adversarial examples of them until each one fooled it. Behind the gateway 85 % are classified right again. So JPEG 50 raises your robust accuracy from 0 % to 85 %, without training, on any network.*
#
# Write at most fifteen lines. What does the 85 % measure, and what does it not? Which information is missing? What must the maker run next, and what would each outcome mean? What does the gateway cost? End with one sentence that the maker may print.

# %% [markdown] nbgrader={"grade": true, "grade_id": "thought", "locked": false, "points": 6, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** The 85 % is the share of images that come back after *one* attack which did not know of the gateway. It is no robust accuracy. (1) The attacker of the claim is unaware: the images were made on the bare network. Whoever knows of the gateway puts it into the attack. (2) Attack, norm and budget are missing. "Until each one fooled it" sounds like a smallest perturbation: such images lie just across the boundary, and any small change can send them back. A control is missing: the same share after light noise, or after JPEG 95. And if an attacker may spend more than the smallest budget, he goes further across. (3) What to run: at a stated norm and budget, the attack with JPEG inside, through a straight-through and through a smooth backward pass (the exercise shows that neither is always the stronger one), images of other networks, the strongest attack with its queries; each judged behind the real codec, and an image counts only if it stands all. With the same budget on the bare network beside it, in pairs. (4) Outcomes: if the attack that knows leaves about as little as on the bare network, the gateway removed noise made for another system, and no more. If it leaves clearly more, JPEG helps at this budget, and the number is still an upper limit. (5) The denominator: images that were right, so the clean errors of the network are left out, and so are images that the gateway itself spoils. Clean accuracy before and behind the gateway must stand beside the number, on all test images. (6) 850 of 1,000 has an interval of about 83 to 87 %, over images; one network and an unknown data set say nothing about "any network". Small images meet blocks of 8 × 8 differently from large ones. What may be printed: "Of 1,000 images with [attack, norm, budget] made without knowledge of the gateway, 85 % were classified right behind it; an attack that knows the gateway leaves [..] %."
#
# **Marking guide.** 1 point: the attack did not know of the gateway, so 85 % is no robust accuracy. 1 point: attack, norm or budget are missing, or smallest perturbations come back after any small change (control by noise). 1 point: an attack through the codec, judged behind the real one, with more than one gradient or the worst case for each image. 1 point: an outcome and its meaning, on both sides. 1 point: clean accuracy behind the gateway, or the choice of images that were right. 1 point: the limits of "any network" and of 1,000 images, or a sentence that may be printed and claims no more than was run. "Use stronger attacks" without saying which and why gives no point.
