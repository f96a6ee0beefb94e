"""Training is deterministic, stops early, and goes on after a kill as if nothing had happened."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from functools import partial

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from advlens import data, layers, models, training, zoo
from advlens.defences import adversarial, penalties
from advlens.defences.distillation import cross_entropy_at, taught_by
from advlens.defences.pairing import squeezing
from advlens.training import checkpoint as files
from advlens.training import loop

SGD = partial(torch.optim.SGD, momentum=0.9)


class Decaying(torch.optim.SGD):
    """An optimizer whose state holds a number that is no tensor."""

    def step(self, closure=None):
        super().step(closure)
        for weights in self.param_groups[0]["params"]:
            self.state[weights]["steps"] = self.state[weights].get("steps", 0) + 1
            weights.data.mul_(1 - 1e-3 * self.state[weights]["steps"])


@pytest.fixture(scope="module")
def small(digits):
    return data.load("digits")[:192], digits[:64]


def len_of_history(model, history):
    return {"epochs": len(history)}


def steep(logits, y):
    return 100 * logits.sum()


def build(seed: int = 0) -> nn.Sequential:
    """A net with everything that has a state of its own: batch statistics and dropout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(layers.Normalize([0.13], [0.31]), nn.AvgPool2d(4), nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4),
                             nn.ReLU(),
                             nn.Dropout(0.3), nn.Flatten(), nn.Linear(100, 10))


def fit(model, train, **options):
    return training.fit(model, train, **{"epochs": 3, "batch_size": 32, "progress": False} | options)


def same(a: nn.Module, b: nn.Module) -> bool:
    """Equal to the last bit."""
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_training_learns(small):
    train, validation = small
    model = build()
    history = fit(model, train, validation=validation, epochs=12, learning_rate=0.02)
    assert len(history) == 12 and history.loss[-1] < history.loss[0] / 2
    assert history.validation_accuracy[-1] > 0.6
    assert history.validation_accuracy[-1] == training.accuracy(model, validation)
    assert not any(m.training for m in model.modules())


@pytest.mark.parametrize("options", [{}, {"optimizer": SGD, "augment": training.shift(2)}],
                         ids=["adam", "sgd and augmentation"])
def test_the_same_seed_gives_the_same_bits(options, small):
    first, again, other = build(), build(), build()
    torch.manual_seed(1)
    h1 = fit(first, small[0], **options)
    torch.manual_seed(2)  # whatever the caller does with the global generator
    h2 = fit(again, small[0], **options)
    fit(other, small[0], seed=5, **options)
    assert same(first, again) and h1.loss == h2.loss and not same(first, other)


def test_every_epoch_and_every_seed_draws_anew(small):
    """The order of the images, what the augmentation draws, and dropout, which draws from the global generator."""
    met = []

    def augment(x, generator):
        met.append((x, torch.rand((), generator=generator).item(), torch.rand(()).item()))
        return x

    for seed in (0, 1):
        fit(build(), small[0], epochs=2, batch_size=192, seed=seed, augment=augment)
    orders, own, borrowed = zip(*met)
    assert len(set(own)) == len(set(borrowed)) == 4
    assert not any(torch.equal(a, b) for i, a in enumerate(orders) for b in (small[0].images, *orders[:i]))


def test_history_is_the_mean_over_the_images(small):
    """Also with a last batch that is smaller; a step of 0 keeps the net as it is."""
    model, train = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), small[0][:100]
    train = replace(train, labels=model(train.images).argmax(1))
    history = fit(model, train, epochs=1, batch_size=64, optimizer=torch.optim.SGD, learning_rate=0.0)
    assert history.loss[0] == pytest.approx(nn.functional.cross_entropy(model(train.images), train.labels).item(),
                                            rel=1e-5)
    assert history.train_accuracy == [1.0]


def test_a_net_at_rest_is_trained_in_training_mode_and_frozen_weights_stay(small):
    model = build().eval()
    model[2].requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    fit(model, small[0], epochs=1)
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed >= {"7.weight", "3.weight", "3.running_mean"} and not changed & {"2.weight", "2.bias"}


def test_the_global_generator_is_left_alone(small):
    before = torch.get_rng_state()
    fit(build(), small[0], epochs=1, augment=training.flip_and_shift(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_global_generator_is_left_alone_after_an_exception(small):
    before = torch.get_rng_state()
    with pytest.raises(KeyError):
        fit(build(), small[0], loss=lambda logits, y: {}["no loss"])
    assert torch.equal(torch.get_rng_state(), before)


def test_history_without_validation(small):
    history = fit(build(), small[0], epochs=2)
    assert len(history.loss) == len(history.train_accuracy) == 2
    assert all(math.isnan(v) for v in history.validation_accuracy)


def test_the_progress_bar_says_how_it_goes(small, capsys):
    fit(build(), small[0], validation=small[1], epochs=1, progress=True)
    shown = capsys.readouterr().err
    assert "training" in shown and "loss=" in shown and "validation=" in shown
    fit(build(), small[0], epochs=1, progress=False)
    assert not capsys.readouterr().err


# --- early stopping -------------------------------------------------------------

def scripted(monkeypatch, scores):
    """Validation accuracies that are known beforehand, and the weights at each of them."""
    seen, scores = [], iter(scores)

    def accuracy(model, validation):
        seen.append({k: v.clone() for k, v in model.state_dict().items()})
        return next(scores)

    monkeypatch.setattr(loop, "accuracy", accuracy)
    return seen


def test_early_stopping_goes_back_to_the_best_weights(small, monkeypatch):
    seen = scripted(monkeypatch, [0.5, 0.7, 0.6, 0.7, 0.9])
    model = build()
    history = fit(model, small[0], validation=small[1], epochs=9, patience=2)
    # Two epochs without a better one end it; as good is not better.
    assert history.validation_accuracy == [0.5, 0.7, 0.6, 0.7]
    assert all(torch.equal(v, seen[1][k]) for k, v in model.state_dict().items())


def test_without_patience_the_last_weights_stay(small, monkeypatch):
    seen = scripted(monkeypatch, [0.9, 0.1])
    model = build()
    fit(model, small[0], validation=small[1], epochs=2)
    assert all(torch.equal(v, seen[1][k]) for k, v in model.state_dict().items())


def test_a_run_that_stopped_early_stays_stopped(small, monkeypatch, tmp_path):
    first, again = build(), build()
    options = dict(validation=small[1], epochs=9, patience=2, checkpoint=tmp_path / "run")
    scripted(monkeypatch, [0.5, 0.7, 0.6, 0.6])
    history = fit(first, small[0], **options)
    scripted(monkeypatch, [])  # asked for one more accuracy, this raises
    assert fit(again, small[0], **options) == history and same(first, again)


# --- resuming --------------------------------------------------------------------

class Interruption:
    """What happens after so many batches is no setting of a run."""

    def __init__(self, after: int | None = None, act=None):
        self.calls, self.after, self.act = iter(range(10**6)), after, act

    def __call__(self):
        if next(self.calls) == self.after:
            self.act()


def unplug():
    raise KeyboardInterrupt


@dataclass(frozen=True)
class interrupted:
    """An augmentation, and somebody who may interrupt it."""

    augment: training.shift
    interruption: Interruption = field(default=Interruption(), repr=False)

    def __call__(self, x, generator):
        self.interruption()
        return self.augment(x, generator)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, SGD, Decaying])
@pytest.mark.parametrize("epochs", [0, 1, 2])
def test_interrupted_and_resumed_ends_with_the_same_bits(optimizer, epochs, small, tmp_path):
    augment = interrupted(training.shift(1))
    options = dict(optimizer=optimizer, validation=small[1], patience=3, learning_rate=training.one_cycle(0.01, 3),
                   augment=augment)
    straight, resumed = build(), build()
    expected = fit(straight, small[0], **options)
    with pytest.raises(KeyboardInterrupt):
        stop = replace(augment, interruption=Interruption(epochs * 6 + 3, unplug))  # 192 images are 6 batches of 32
        fit(build(), small[0], checkpoint=tmp_path / "new" / "run", **options | {"augment": stop})
    history = fit(resumed, small[0], checkpoint=tmp_path / "new" / "run", **options)
    assert same(straight, resumed) and history == expected
    finished = build(1)
    assert fit(finished, small[0], checkpoint=tmp_path / "new" / "run", **options) == expected
    assert same(straight, finished)


def noisy_run(checkpoint, pause_after: int | None = None) -> nn.Module:
    """A short training of 5 epochs, 8 batches each, with dropout; after so many batches it can stop and wait."""
    def wait():
        checkpoint.with_name("waits").touch()
        time.sleep(600)

    torch.set_num_threads(1)
    model = build()
    augment = interrupted(training.shift(1), Interruption(pause_after, wait))
    drawn = torch.Generator().manual_seed(0)
    images, labels = torch.rand(256, 1, 28, 28, generator=drawn), torch.randint(0, 10, (256,), generator=drawn)
    train = data.Dataset("noise", "train", images, labels, tuple("0123456789"), "drawn for this test")
    fit(model, train, epochs=5, augment=augment, checkpoint=checkpoint)
    return model


def test_killed_and_started_again_ends_with_the_same_bits(tmp_path):
    """Really killed (SIGKILL, no chance to tidy up), in a process of its own, in the middle of the third epoch."""
    code = ("import sys, pathlib; sys.path.insert(0, sys.argv[1]); import test_training; "
            "test_training.noisy_run(pathlib.Path(sys.argv[2]), 20)")
    victim = subprocess.Popen([sys.executable, "-c", code, os.path.dirname(__file__), str(tmp_path / "killed")])
    try:
        while not (tmp_path / "waits").exists():
            assert victim.poll() is None, "the training ended before it could be killed"
            time.sleep(0.02)
    finally:
        victim.kill()
    assert victim.wait() == -signal.SIGKILL and len(unfinished(tmp_path / "killed")) == 2
    assert same(noisy_run(tmp_path / "killed"), noisy_run(tmp_path / "straight"))


def unfinished(checkpoint) -> list[float]:
    """The losses of the epochs that a checkpoint holds."""
    with safe_open(checkpoint, "pt") as file:
        return json.loads(file.metadata()["notes"])["history"]["loss"]


def test_a_kill_while_saving_leaves_the_last_whole_checkpoint(small, tmp_path, monkeypatch):
    path, whole = tmp_path / "run", files.save_file

    def torn(tensors, file, notes):  # the second epoch is cut off while it is written
        if path.exists():
            file.write_bytes(path.read_bytes()[:1000])
            raise KeyboardInterrupt
        whole(tensors, file, notes)

    monkeypatch.setattr(files, "save_file", torn)
    with pytest.raises(KeyboardInterrupt):
        fit(build(), small[0], checkpoint=path)
    assert len(unfinished(path)) == 1
    monkeypatch.undo()
    resumed, straight = build(), build()
    fit(resumed, small[0], checkpoint=path)
    fit(straight, small[0])
    assert same(resumed, straight)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", bytes(100)], ids=["empty", "text", "zeros"])
def test_an_unreadable_checkpoint_is_refused(content, small, tmp_path):
    (tmp_path / "run").write_bytes(content)
    with pytest.raises(ValueError, match="run is not a readable training checkpoint.*delete it to start anew"):
        fit(build(), small[0], checkpoint=tmp_path / "run")


def test_a_truncated_checkpoint_is_refused(small, tmp_path):
    path = tmp_path / "run"
    fit(build(), small[0], epochs=1, checkpoint=path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="not a readable training checkpoint"):
        fit(build(), small[0], epochs=1, checkpoint=path)


def test_somebody_elses_safetensors_are_refused(small, tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "run")
    with pytest.raises(ValueError, match="not a readable training checkpoint"):
        fit(build(), small[0], checkpoint=tmp_path / "run")


def dropping(share: float) -> nn.Sequential:
    model = build()
    model[5].p = share
    return model


def normalising(mean: float) -> nn.Sequential:
    model = build()
    model[0] = layers.Normalize([mean], [0.31])
    return model


def frozen_first() -> nn.Sequential:
    model = build()
    model[2].requires_grad_(False)
    return model


RUN = dict(epochs=1, optimizer=SGD, learning_rate=training.one_cycle(0.01, 1), loss=cross_entropy_at(1.0),
           augment=training.shift(1),
           objective=adversarial.pgd_training(eps=0.1, steps=1))


@pytest.mark.parametrize("differs, change", [
    ("seed", {"seed": 1}),
    ("batch_size", {"batch_size": 16}),
    ("epochs", {"epochs": 2}),
    ("bfloat16", {"bfloat16": True}),
    ("patience", {"patience": 1}),
    ("learning_rate", {"learning_rate": 0.01}),
    ("learning_rate", {"learning_rate": training.one_cycle(0.02, 1)}),
    ("learning_rate", {"learning_rate": training.one_cycle(0.01, 1, warmup=0.3)}),
    ("loss", {"loss": cross_entropy_at(2.0)}),
    ("loss", {"loss": nn.functional.cross_entropy}),
    ("loss", {"loss": nn.CrossEntropyLoss(label_smoothing=0.1)}),
    ("objective", {"objective": adversarial.fgsm_training(eps=0.1)}),
    ("objective", {"objective": adversarial.pgd_training(eps=0.2, steps=1)}),
    ("objective", {"objective": adversarial.pgd_training(eps=0.1, steps=1, loss="mse")}),
    ("objective", {"objective": squeezing(0.1)}),
    ("objective", {"objective": training.plain}),
    ("optimizer", {"optimizer": torch.optim.Adam}),
    ("optimizer", {"optimizer": partial(torch.optim.SGD, momentum=0.8)}),
    ("optimizer", {"optimizer": partial(torch.optim.SGD, momentum=0.9, weight_decay=1e-4)}),
    ("augment", {"augment": training.shift(2)}),
    ("augment", {"augment": training.flip_and_shift(1)}),
    ("augment", {"augment": None}),
    ("watch", {"watch": len_of_history}),
    ("train", {"train": lambda train, _: train[:96]}),
    ("train", {"train": lambda train, _: train[torch.arange(192).flip(0)]}),
    ("train", {"train": lambda train, _: replace(train, images=train.images.clamp(0, 0.99))}),
    ("train", {"train": lambda train, _: replace(train, labels=train.labels.roll(1))}),
    ("validation", {"validation": lambda _, validation: validation[:32]}),
    ("network", {"model": models.FullyConnected}),
    ("network", {"model": partial(dropping, 0.2)}),
    ("network", {"model": partial(normalising, 0.2)}),
    ("network", {"model": frozen_first}),
], ids=lambda given: given if isinstance(given, str) else "")
def test_the_checkpoint_of_another_run_is_refused(differs, change, small, tmp_path):
    """Whatever would have made another net; the error names it, and the model stays as it was."""
    options = {"train": lambda train, _: train, "validation": lambda _, validation: validation, "model": build} | RUN

    def run(**options):
        model, sets = options.pop("model")(), {name: options.pop(name)(*small) for name in ("train", "validation")}
        before = {k: v.clone() for k, v in model.state_dict().items()}
        try:
            fit(model, checkpoint=tmp_path / "run", **sets, **options)
        except ValueError as refusal:
            assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
            return str(refusal)

    assert run(**options) is None and run(**options) is None, "the same run resumes"
    assert re.search(rf"run belongs to another run \({differs} was [^;]*\): delete it to start anew",
                     run(**options | change))


@pytest.mark.parametrize("name", ["learning_rate", "loss", "objective", "augment", "watch"])
def test_what_does_not_tell_its_settings_has_no_checkpoint(name, small, tmp_path):
    """One that hides an epsilon in a closure could be taken for another; without a checkpoint it is welcome."""
    hidden = {"learning_rate": lambda epoch: 0.01, "loss": lambda z, y: nn.functional.cross_entropy(z, y),
              "augment": lambda x, generator: x,
              "objective": lambda *given: training.plain(*given), "watch": lambda model, history: {}}
    with pytest.raises(ValueError, match=rf"^{name} is <function .*which does not tell its settings.*frozen dataclass"):
        fit(build(), small[0], epochs=1, checkpoint=tmp_path / "run", **{name: hidden[name]})
    assert not (tmp_path / "run").exists()
    assert len(fit(build(), small[0], epochs=1, **{name: hidden[name]})) == 1


class Default:
    """A callable with Python's own repr."""

    def __call__(self, x, generator):
        return x


@pytest.mark.parametrize("value", [Default(), partial(training.shift, Default()), interrupted(Default()), [Default()],
                                   Default().__call__])
def test_a_value_with_a_hidden_part_does_not_tell_its_settings(value):
    with pytest.raises(ValueError, match="augment is .*does not tell its settings"):
        training.settings(value, "augment")


def test_settings_are_the_same_for_the_same_and_differ_for_others(small):
    """Also for nets and data, whose repr does not show what they hold."""
    other = replace(small[1], images=small[1].images.flip(3))
    values = [taught_by(build(), 2), taught_by(build(1), 2), taught_by(build(), 3), taught_by(dropping(0.1), 2),
              adversarial.watch(small[1], eps=0.1), adversarial.watch(other, eps=0.1),
              adversarial.watch(small[1], eps=0.2),
              adversarial.ensemble_training([build()], eps=0.1),
              adversarial.ensemble_training([build(), build(1)], eps=0.1),
              torch.zeros(3), torch.zeros(4), torch.zeros(3, dtype=torch.int32), (1, 2), [1, 2], "1", 1, None, True,
              penalties.gradient_magnitude(0.5), penalties.gradient_magnitude(0.4)]
    told = [training.settings(value) for value in values]
    assert len(set(told)) == len(told)
    again = adversarial.watch(replace(small[1], images=small[1].images.clone()), eps=0.1)
    assert training.settings(again) == told[4] == repr(again) and training.settings(taught_by(build(), 2)) == told[0]


def test_nets_that_a_run_has_already_seen_are_no_setting(small):
    """The gradient penalty keeps in mind which nets it has looked at."""
    objective = penalties.gradient_magnitude()
    before = training.settings(objective)
    fit(nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Softplus()), small[0], epochs=1, objective=objective)
    assert training.settings(objective) == before == repr(objective)


# --- damaged files -----------------------------------------------------------------

@pytest.fixture(scope="module")
def kept(small, tmp_path_factory):
    """The file of a run of one epoch."""
    path = tmp_path_factory.mktemp("kept") / "run"
    fit(build(), small[0], epochs=1, checkpoint=path)
    return path


def without_a_key(tensors, notes):
    del tensors["model.2.weight"]


def another_shape(tensors, notes):
    tensors["optimizer.0.exp_avg"] = torch.zeros(7)


def filled_with_nan(tensors, notes):
    tensors["model.2.weight"].fill_(math.nan)


def a_longer_history(tensors, notes):
    notes["history"]["loss"].append(0.0)


def an_unknown_list(tensors, notes):
    notes["history"]["triumphs"] = [1.0]


def one_bit(tensors, notes):
    tensors["model.2.weight"].view(torch.int32)[0, 0, 0, 0] ^= 1


@pytest.mark.parametrize("forge",
                         [without_a_key, another_shape, filled_with_nan, a_longer_history, an_unknown_list, one_bit])
def test_a_forged_checkpoint_is_refused_and_nothing_is_lost(forge, kept, small, tmp_path):
    with safe_open(kept, "pt") as file:
        written, tensors = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}
    notes = json.loads(written["notes"])
    forge(tensors, notes)
    save_file(tensors, tmp_path / "run", written | {"notes": json.dumps(notes)})
    model, fresh = build(), build()
    with pytest.raises(ValueError, match="run is a damaged training checkpoint: .* delete it to start anew"):
        fit(model, small[0], epochs=1, checkpoint=tmp_path / "run")
    assert same(model, fresh)


def test_weights_that_overflow_in_the_last_step_are_not_kept(small, tmp_path):
    """No loss has seen them: without a look at the weights the file and the net would hold NaN."""
    model, path = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), tmp_path / "run"
    with pytest.raises(FloatingPointError, match="the weights are not finite after epoch 1: lower the learning rate"):
        fit(model, small[0], epochs=1, batch_size=192, optimizer=torch.optim.SGD, learning_rate=3e38, loss=steep,
            checkpoint=path)
    assert not path.exists()


def test_tied_weights_are_kept_and_stay_tied(small, tmp_path):
    """safetensors refuses tensors that share memory: the first checkpoint used to fail."""
    def tied():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            first, second = nn.Linear(64, 64), nn.Linear(64, 64)
        second.weight = first.weight
        return nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), first, nn.ReLU(), second)

    straight, resumed, augment = tied(), tied(), interrupted(training.shift(1))
    fit(straight, small[0], epochs=2, augment=augment)
    with pytest.raises(KeyboardInterrupt):
        fit(tied(), small[0], epochs=2, checkpoint=tmp_path / "run",
            augment=replace(augment, interruption=Interruption(8, unplug)))
    fit(resumed, small[0], epochs=2, checkpoint=tmp_path / "run", augment=augment)
    assert same(straight, resumed) and resumed[2].weight is resumed[4].weight


# --- an objective that changes during training, half precision, models in place --------------

@dataclass(frozen=True)
class Growing:
    """The plain objective, times a factor that is the epoch."""

    factor: float = -1.0

    def at(self, epoch):
        return replace(self, factor=epoch)

    def __call__(self, model, x, y, loss, generator):
        value, logits = training.plain(model, x, y, loss, generator)
        return value * self.factor, logits


def test_an_objective_that_changes_is_asked_before_each_step(small, tmp_path):
    met = []
    value = lambda z, y: met.append(None) or z.sum() * 0 + 1
    history = fit(build(), small[0], epochs=2, objective=Growing(), loss=value)
    assert len(met) == 12
    assert history.loss == pytest.approx([(0 + 1 + 2 + 3 + 4 + 5) / 36, 1 + 15 / 36])
    straight, resumed, augment = build(), build(), interrupted(training.shift(1))
    fit(straight, small[0], objective=Growing(), augment=augment)
    with pytest.raises(KeyboardInterrupt):
        stop = replace(augment, interruption=Interruption(9, unplug))
        fit(build(), small[0], objective=Growing(), augment=stop, checkpoint=tmp_path / "run")
    fit(resumed, small[0], objective=Growing(), augment=augment, checkpoint=tmp_path / "run")
    assert same(straight, resumed)


@pytest.mark.parametrize("build", [lambda: layers.BatchRenorm(16), lambda: layers.PairwiseDifference(16, 16),
                                   lambda: layers.Angular(16, 16), lambda: layers.ElasticSigmoid()],
                         ids=["renorm", "pairwise", "angular", "elastic"])
def test_bfloat16_trains_our_own_layers(build, small):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), build(), nn.Linear(16, 10))
    history = fit(model, small[0], epochs=2, bfloat16=True)
    assert history.loss[1] < history.loss[0]
    assert all(v.dtype == torch.float32 for v in model.state_dict().values() if v.is_floating_point())


class InPlace(nn.Module):
    """A net that normalises its input in place."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(784, 10)

    def forward(self, x):
        return self.last(x.sub_(0.5).flatten(1))


@pytest.mark.parametrize("objective",
                         [training.plain, adversarial.pgd_training(eps=0.1, steps=2), taught_by(InPlace(), 2.0)])
def test_a_net_that_works_in_place_cannot_change_the_data(objective, small):
    train, validation = (replace(part, images=part.images.clone()) for part in small)
    fit(InPlace(), train, validation=validation, epochs=1, objective=objective)
    assert torch.equal(train.images, small[0].images) and torch.equal(validation.images, small[1].images)


# --- input, rates, augmentation ----------------------------------------------------

@pytest.mark.parametrize("build, error, message", [
    (lambda: training.one_cycle(0.0, 5), ValueError, "peak = 0.0; give a finite number > 0"),
    (lambda: training.one_cycle(0.1, 0), ValueError, "epochs = 0; give at least 1"),
    (lambda: training.one_cycle(0.1, 2.5), TypeError, "epochs is 2.5"),
    (lambda: training.shift(-1), ValueError, "pixels = -1"),
    (lambda: training.flip_and_shift(-1), ValueError, "pixels = -1"),
])
def test_wrong_settings_are_refused_when_they_are_made(build, error, message):
    with pytest.raises(error, match=message):
        build()


@pytest.mark.parametrize("options, message", [
    ({"epochs": 0}, "epochs = 0"),
    ({"batch_size": 0}, "batch_size = 0"),
    ({"patience": 2}, "validation set"),
])
def test_wrong_options_are_refused(options, message, small):
    with pytest.raises(ValueError, match=message):
        fit(build(), small[0], **options)


def test_patience_of_zero_is_refused(small):
    with pytest.raises(ValueError, match="patience = 0"):
        fit(build(), small[0], validation=small[1], patience=0)


def test_an_empty_training_set_is_refused(small):
    with pytest.raises(ValueError, match="nothing to train on: 0 images"):
        fit(build(), small[0][:0])


def test_a_frozen_model_is_refused(small):
    """What `zoo.pretrained` gives is frozen; to train it further is a choice."""
    model = zoo.pretrained("fully_connected", "digits")
    with pytest.raises(ValueError, match=r"frozen.*call model.requires_grad_\(\) first"):
        fit(model, small[0], epochs=1)
    assert len(fit(model.requires_grad_(), small[0], epochs=1)) == 1


def test_accuracy_of_no_images_is_refused(small):
    with pytest.raises(ValueError, match="no images"):
        training.accuracy(build(), small[0][:0])


@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_one_cycle_refuses_a_slope_of_no_length(warmup):
    with pytest.raises(ValueError, match="warmup = .*between 0 and 1"):
        training.one_cycle(0.1, 10, warmup)


def test_a_loss_that_explodes_stops_the_training(small):
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        fit(build(), small[0], loss=lambda logits, y: logits.square().sum() * math.inf)


def test_accuracy_is_that_of_the_net_at_rest_and_leaves_its_mode(small):
    model = build().train()
    expected = (build().eval()(small[1].images).argmax(1) == small[1].labels).float().mean().item()
    assert training.accuracy(model, small[1], batch_size=7) == pytest.approx(expected)
    assert all(m.training for m in model.modules()) and all(p.requires_grad for p in model.parameters())


def test_one_cycle_rises_to_its_peak_and_falls_to_zero():
    rate = training.one_cycle(0.1, 10)
    assert rate(0) == pytest.approx(0.004) and rate(2) == pytest.approx(0.1) and rate(10) == 0
    assert rate(1) == pytest.approx(0.052) and rate(6) == pytest.approx(0.05)
    assert training.one_cycle(0.1, 1, 0.5)(0.25) == pytest.approx(0.052)


@pytest.mark.parametrize("epochs", [1, 2])
def test_every_step_of_one_cycle_moves_the_net(epochs, small):
    """With plain gradient descent, whose steps are as long as the rate: the first and the last one, too."""
    model, seen = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), []

    def augment(x, generator):
        seen.append(model[1].weight.detach().clone())
        return x

    fit(model, small[0], epochs=epochs, optimizer=torch.optim.SGD, learning_rate=training.one_cycle(0.1, epochs),
        augment=augment)
    seen.append(model[1].weight)
    assert len(seen) == 6 * epochs + 1 and not any(torch.equal(a, b) for a, b in zip(seen, seen[1:]))


def test_the_learning_rate_follows_its_function_within_an_epoch(small):
    rates, optimizers = [], []

    def watched(parameters, lr):
        optimizers.append(torch.optim.SGD(parameters, lr=lr))
        return optimizers[0]

    def augment(x, generator):
        rates.append(optimizers[0].param_groups[0]["lr"])
        return x

    fit(build(), small[0], epochs=2, optimizer=watched, augment=augment, learning_rate=lambda epoch: epoch)
    # When a batch is augmented its rate is not yet set: the list lags one step behind.
    assert rates[1:] == pytest.approx([step / 6 for step in range(11)])


def test_shift_moves_whole_images_and_fills_with_zeros():
    x = torch.rand(50, 2, 5, 5, generator=torch.Generator().manual_seed(0)) + 0.1
    moved = training.shift(2)(x, torch.Generator().manual_seed(1))
    assert torch.equal(moved, training.shift(2)(x, torch.Generator().manual_seed(1)))
    assert moved.shape == x.shape
    seen = set()
    for before, after in zip(x, moved):
        frame = nn.functional.pad(before, (2, 2, 2, 2))
        found = {(i - 2, j - 2) for i in range(5) for j in range(5) if torch.equal(frame[:, i:i + 5, j:j + 5], after)}
        assert found, "this image is no shift of the original"
        seen |= found
    assert len(seen) > 15, "hardly any of the 25 shifts occurs"


def test_flip_mirrors_about_half_of_the_images():
    x = torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    flipped = training.flip_and_shift(0)(x, torch.Generator().manual_seed(1))
    mirrored = torch.tensor([torch.equal(a, b.flip(2)) for a, b in zip(x, flipped)])
    kept = torch.tensor([torch.equal(a, b) for a, b in zip(x, flipped)])
    assert (mirrored ^ kept).all() and 70 < mirrored.sum() < 130
