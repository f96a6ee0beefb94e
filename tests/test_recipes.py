"""Recipes: a record describes what was trained, other seeds are trained once, no run is taken for another."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from advlens import data, training, zoo
from advlens.attacks import losses
from advlens.course import recipes, records
from advlens.training import loop

KEY = "fully_connected-digits"


@pytest.fixture
def small(digits):
    return data.load("digits")[:96], digits[:64]


@pytest.fixture
def house(tmp_path, monkeypatch, small):
    """A repository and a cache of our own, few images, few epochs; `trained` counts the epochs that really ran."""
    real = recipes.RECIPES[KEY]
    monkeypatch.setitem(recipes.RECIPES, KEY, replace(real, epochs=2))
    hebbian = recipes.RECIPES["hebbian_bio-digits"]
    monkeypatch.setitem(recipes.RECIPES, "hebbian_bio-digits",
                        replace(hebbian, epochs=1, prepare=partial(hebbian.prepare, epochs=1)))
    monkeypatch.setattr(data, "load", lambda name, split="train": small[split == "test"])
    monkeypatch.setattr(records, "commit", lambda *besides: "0123456789ab")
    monkeypatch.setenv("ADVLENS_CACHE", str(tmp_path / "cache"))
    for module in (recipes, zoo):
        monkeypatch.setattr(module, "data_folder", lambda: tmp_path / "repository")
    return tmp_path


@pytest.fixture
def epochs(monkeypatch):
    """The epochs that really ran, by number."""
    ran, really = [], loop._one_epoch

    def one_epoch(model, train, descent, plan, epoch, history):
        ran.append(epoch)
        really(model, train, descent, plan, epoch, history)

    monkeypatch.setattr(loop, "_one_epoch", one_epoch)
    return ran


def left_over(house):
    return [path.name for path in (house / "cache" / "training").iterdir()]


# --- records -----------------------------------------------------------------------

@pytest.mark.parametrize("key", [KEY, "hebbian_bio-digits"])
def test_a_recipe_writes_weights_and_a_card_that_agree_and_can_be_made_again(key, house, small):
    """`advlens record checkpoint-...`, with few epochs instead of many."""
    name, recipe = key.split("-")[0], recipes.RECIPES[key]
    card = recipes.train(key)
    torch.manual_seed(7)
    recipes.train(key, house / "again")
    files = [folder / f"{key}.safetensors" for folder in (house / "repository" / "checkpoints", house / "again")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert sorted(path.suffix for path in files[0].parent.iterdir()) == [".json", ".safetensors"]

    net = zoo.pretrained(name, "digits")
    assert zoo.card(name, "digits") == json.loads(json.dumps(card)) == recipes.card(name, "digits")
    assert all(v.dtype == torch.float16 for v in load_file(files[0]).values())
    assert card["train accuracy"] == training.accuracy(net, small[0])
    assert card["test accuracy"] == training.accuracy(net, small[1])
    assert card["test images"] == 64 and card["epochs"] == recipe.epochs == len(card["history"]["loss"])
    assert ("without labels" in card) == (recipe.prepare is not None)
    assert card["recipe"] == recipe.digest and card["settings"] == repr(recipe) and card["seed"] == 0
    assert set(card["provenance"]) == records.KEYS and f"checkpoint-{key}" in card["provenance"]["command"]


def test_a_record_starts_from_nothing(house, epochs):
    """It used to resume what was finished, in 0.0 s, and to put a new stamp on it."""
    recipes.train(KEY)
    assert epochs == [0, 1] and left_over(house) == []
    again = recipes.train(KEY)
    assert epochs == [0, 1] * 2 and again["provenance"]["seconds"] >= 0


def test_a_record_describes_what_it_trained(house, epochs, monkeypatch):
    """Other settings after a finished run, or in the middle of an interrupted one: trained, not only written down."""
    first = recipes.train(KEY)
    monkeypatch.setitem(recipes.RECIPES, KEY, replace(recipes.RECIPES[KEY], peak=1e-4))
    slow = recipes.train(KEY)
    assert epochs == [0, 1] * 2 and first["history"]["loss"] != slow["history"]["loss"]
    assert first["recipe"] != slow["recipe"] and "peak=0.0001" in slow["settings"]


def interrupt(monkeypatch, at: int):
    """Pull the plug in the epoch of that number."""
    with monkeypatch.context() as patch:
        really = loop._one_epoch

        def one_epoch(model, train, descent, plan, epoch, history):
            if epoch == at:
                raise KeyboardInterrupt
            really(model, train, descent, plan, epoch, history)

        patch.setattr(loop, "_one_epoch", one_epoch)
        with pytest.raises(KeyboardInterrupt):
            recipes.train(KEY)


def test_an_interrupted_record_goes_on_and_counts_all_its_seconds(house, epochs, monkeypatch):
    straight = recipes.train(KEY, house / "straight")
    epochs.clear()
    clock = iter(range(0, 10**6, 100))
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(clock))
    interrupt(monkeypatch, at=1)
    assert len(left_over(house)) == 1
    card = recipes.train(KEY)
    assert epochs == [0, 1] and left_over(house) == []
    assert card["history"] == straight["history"]
    assert card["provenance"]["seconds"] == 300, "two epochs, and the preparation of the second call"
    files = [folder / f"{KEY}.safetensors" for folder in (house / "repository" / "checkpoints", house / "straight")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("change", ["recipe", "commit", "seed"])
def test_the_interrupted_run_of_another_is_left_alone(change, house, epochs, monkeypatch):
    interrupt(monkeypatch, at=1)
    epochs.clear()
    if change == "recipe":
        monkeypatch.setitem(recipes.RECIPES, KEY, replace(recipes.RECIPES[KEY], optimizer=torch.optim.Adam))
    if change == "commit":
        monkeypatch.setattr(records, "commit", lambda *besides: "ba9876543210")
    recipes.train(KEY, seed=int(change == "seed"))
    assert epochs == [0, 1] and len(left_over(house)) == 1


# --- other seeds ---------------------------------------------------------------------

def test_another_seed_is_trained_once_and_kept_in_the_cache(house, epochs, small):
    net = recipes.pretrained("fully_connected", "digits", seed=3)
    card = recipes.card("fully_connected", "digits", seed=3)
    assert epochs == [0, 1] and card["seed"] == card["provenance"]["seed"] == 3
    assert not (house / "repository").exists()
    files = sorted(path.name for path in (house / "cache" / "checkpoints").iterdir())
    assert files == [f"{KEY}-seed3.{end}" for end in ("json", "lock", "safetensors")]
    before = torch.get_rng_state()
    again = recipes.pretrained("fully_connected", "digits", seed=3)
    assert epochs == [0, 1] and torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True))
    assert not again.training and not any(p.requires_grad for p in again.parameters())
    assert training.accuracy(again, small[1]) == card["test accuracy"]
    other = recipes.pretrained("fully_connected", "digits", seed=4)
    assert epochs == [0, 1] * 2 and not torch.equal(other[2].weight, again[2].weight)


def test_the_first_seed_is_the_repositorys(house, epochs):
    recipes.train(KEY)
    epochs.clear()
    assert torch.equal(recipes.pretrained("fully_connected", "digits")[2].weight,
                       zoo.pretrained("fully_connected", "digits")[2].weight)
    assert epochs == []


@pytest.mark.parametrize("change", ["recipe", "source", "no card", "no weights"])
def test_a_kept_net_of_another_recipe_or_of_other_data_is_not_used(change, house, epochs, small, monkeypatch):
    recipes.pretrained("fully_connected", "digits", seed=1)
    epochs.clear()
    kept = house / "cache" / "checkpoints" / f"{KEY}-seed1.json"
    if change == "recipe":
        monkeypatch.setitem(recipes.RECIPES, KEY, replace(recipes.RECIPES[KEY], peak=1e-3))
    elif change == "source":
        copy = [replace(part, source="another copy") for part in small]
        monkeypatch.setattr(data, "load", lambda name, split="train": copy[split == "test"])
    else:
        kept.with_suffix(".json" if change == "no card" else ".safetensors").unlink()
    recipes.pretrained("fully_connected", "digits", seed=1)
    assert epochs == [0, 1] and json.loads(kept.read_text())["recipe"] == recipes.RECIPES[KEY].digest
    recipes.pretrained("fully_connected", "digits", seed=1)
    assert epochs == [0, 1]


@pytest.mark.skipif(recipes.fcntl is None, reason="no locks on this system: each process would train the same bits")
def test_two_that_ask_at_once_train_once(house, epochs):
    nets = []
    ask = lambda: nets.append(recipes.pretrained("fully_connected", "digits", seed=5))
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(nets) == 3 and epochs == [0, 1]


@pytest.mark.parametrize("call, message", [
    (lambda: recipes.pretrained("resnet50", seed=1),
     "no recipe for the network 'resnet50' on real data; known: lenet-mnist"),
    (lambda: recipes.pretrained("lenet", "cifar10", seed=1), "no recipe for the network 'lenet' on cifar10"),
    (lambda: recipes.pretrained("lenet", seed=-1), "seed = -1; give 0"),
])
def test_what_has_no_recipe_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- the recipes themselves ------------------------------------------------------------

def test_recipes_are_values_that_tell_all_their_settings():
    told = {repr(recipe) for recipe in recipes.RECIPES.values()}
    assert not any(" at 0x" in text for text in told)
    for recipe in recipes.RECIPES.values():
        for change in ({"epochs": 99}, {"peak": 99.0}, {"batch_size": 99}, {"temperature": 99.0},
                       {"bfloat16": not recipe.bfloat16},
                       {"augment": training.shift(9)}, {"optimizer": torch.optim.Adagrad}, {"network": "other"},
                       {"prepare": partial(recipes.learn_features, p=9)}):
            assert replace(recipe, **change).digest != recipe.digest
    assert replace(recipe, epochs=recipe.epochs).digest == recipe.digest


@pytest.mark.parametrize("key", [key for key, recipe in recipes.RECIPES.items() if recipe.temperature > 1])
def test_the_temperature_is_for_training_only(key, digits):
    """Cross-entropy without one has no gradient at all on most images of these nets; the log-odds have one on each."""
    net, lost = zoo.pretrained(*key.split("-")), {}
    for loss in (losses.cross_entropy, losses.log_odds):
        x = digits.images[:100].clone().requires_grad_()
        gradient, = torch.autograd.grad(loss(net(x), digits.labels[:100]).sum(), x)
        lost[loss] = (gradient == 0).flatten(1).all(1).float().mean()
    assert lost[losses.cross_entropy] > 0.5 and lost[losses.log_odds] == 0


def test_half_precision_is_for_the_large_nets_only():
    assert {key for key, recipe in recipes.RECIPES.items() if recipe.bfloat16} == {
        "cifar_net-cifar10", "vgg_blocks-cifar10", "vgg_blocks_plain-cifar10"}


def test_every_committed_net_has_a_recipe():
    for name, (_, real, embedded) in zoo.NETWORKS.items():
        held_out = {f"{name}-{dataset}" for dataset in zoo.HELD_OUT.get(name, ())}
        assert {f"{name}-{real}", f"{name}-{embedded}"} | held_out <= set(recipes.RECIPES)
