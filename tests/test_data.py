"""Data sets: embedded, from a folder, from the cache, downloaded; and what happens when a file is not what it should
be.

The network is played by a function in the place of torchvision's data sets.
"""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from advlens import data
from advlens.data import DataUnavailable, StandInWarning

THREE_WAYS = (r"Three ways out: \(1\) connect to the network.*\(2\) put .*ADVLENS_DATA.*"
              r"\(3\) use embedded data: load\('{}', fallback='{}'\)")


# --- embedded data ----------------------------------------------------------------

EMBEDDED = {"digits": ((1, 28, 28), 1437, 360), "shapes": ((3, 32, 32), 2000, 500)}


@pytest.mark.parametrize("name", EMBEDDED)
@pytest.mark.parametrize("split", ["train", "test"])
def test_embedded_sets_keep_the_contract(name, split):
    shape, *sizes = EMBEDDED[name]
    ds = data.load(name, split)
    assert len(ds) == sizes[split == "test"] and ds.images.shape == (len(ds), *shape)
    assert ds.images.dtype == torch.float32 and ds.labels.dtype == torch.int64 and ds.labels.shape == (len(ds),)
    assert ds.images.min() == 0 and ds.images.max() == 1
    assert torch.equal(ds.images.mul(255).round(), ds.images.mul(255).round().clamp(0, 255)) and \
        (ds.images.mul(255)
         - ds.images.mul(255).round()).abs().max() < 1e-4, "pixels are multiples of 1/255, as in the real sets"
    assert (ds.name, ds.split, ds.stands_for) == (name, split, None) and ds.source.startswith(name)
    assert len(ds.classes) == 10 and (ds.class_counts > 20).all() and ds.class_counts.sum() == len(ds)


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_sets_are_reproducible(name):
    first = data.load(name)
    before = torch.get_rng_state()
    data.embedded.EMBEDDED[name].cache_clear()
    again = data.load(name)
    assert torch.equal(again.images, first.images) and torch.equal(again.labels, first.labels)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", EMBEDDED)
def test_what_is_done_to_a_loaded_set_stays_there(name):
    """A sign error in place must not spoil the data of everything that loads it later."""
    ds = data.load(name)
    images, labels = ds.images.clone(), ds.labels.clone()
    ds.images.neg_()
    ds.labels.zero_()
    ds[:5].images.fill_(0.5)
    again = data.load(name)
    assert torch.equal(again.images, images) and torch.equal(again.labels, labels)
    with pytest.warns(StandInWarning), pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADVLENS_STANDIN", "always")
        data.load("mnist", fallback=name).images.zero_()
    assert torch.equal(data.load(name).images, images)


@pytest.mark.parametrize("name", EMBEDDED)
def test_no_test_image_is_a_training_image(name):
    train, test = data.load(name), data.load(name, "test")
    seen = {hashlib.sha256(image.numpy().tobytes()).digest() for image in train.images}
    assert len(seen) == len(train)
    assert not any(hashlib.sha256(image.numpy().tobytes()).digest() in seen for image in test.images)


# --- Dataset -------------------------------------------------------------------------

def test_indexing_gives_smaller_data_sets(digits):
    assert len(digits[:7]) == 7 and torch.equal(digits[:7].labels, digits.labels[:7])
    assert torch.equal(digits[torch.tensor([5, 2])].labels, digits.labels[[5, 2]])
    assert set(digits[digits.labels == 3].labels.tolist()) == {3}
    for index in (0, 3, -1, np.int64(3)):
        one = digits[index]
        assert one.images.shape == (1, 1, 28, 28) and one.labels.tolist() == [digits.labels[int(index)].item()]
    assert (digits[:7].source, digits[:7].classes) == (digits.source, digits.classes)


def test_indexing_ends_and_so_does_a_loop(digits):
    with pytest.raises(IndexError):
        digits[len(digits)]
    assert sum(len(one) for one in digits[:5]) == 5


def test_samples_repeat_and_never_twice_the_same_image(digits):
    a, b, c = digits.sample(50, seed=1), digits.sample(50, seed=1), digits.sample(50, seed=2)
    assert torch.equal(a.images, b.images) and not torch.equal(a.images, c.images)
    everything = digits.sample(len(digits))
    assert torch.equal(everything.labels.sort().values, digits.labels.sort().values)
    for n in (0, -1, len(digits) + 1):
        with pytest.raises(ValueError, match=f"n = {n}: choose between 1 and the 360 images of digits"):
            digits.sample(n)


def test_mean_std_and_class_counts_by_numpy():
    ds = data.load("shapes", "test")
    pixels = ds.images.double().numpy()
    np.testing.assert_allclose(ds.mean, pixels.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(ds.std, pixels.std((0, 2, 3)), rtol=1e-5)
    assert ds.class_counts.tolist() == [int((ds.labels == c).sum()) for c in range(10)]
    assert ds[:3].class_counts.shape == (10,)


def test_the_box_and_the_centre_of_the_ink():
    """Against a slow count of each pixel; a shifted picture keeps its box, and its centre moves along."""
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(6, 1, 12, 14)
    images[:, :, 2:9, 3:8] = torch.rand(6, 1, 7, 5,
                                        generator=generator) * (torch.rand(6, 1, 7, 5, generator=generator) < 0.3)
    height, width, offset = data.box_and_offset(images)
    for image, h, w, centre in zip(images[:, 0], height, width, offset):
        at = image.nonzero()
        assert [h.item(), w.item()] == (at.amax(0) - at.amin(0) + 1).tolist()
        mass = sum(image[tuple(pixel)] * (pixel - torch.tensor([5.5, 6.5])) for pixel in at) / image.sum()
        torch.testing.assert_close(centre, mass)
    moved = data.box_and_offset(images.roll((3, -2), (2, 3)))
    assert torch.equal(moved[0], height) and torch.equal(moved[1], width)
    torch.testing.assert_close(moved[2], offset + torch.tensor([3.0, -2.0]))


@pytest.mark.parametrize("images, message", [
    (torch.ones(2, 3, 4, 4), r"images has shape \(2, 3, 4, 4\); give \(N, 1, H, W\)"),
    (torch.eye(4)[:, None, None, :] * torch.tensor([1, 0, 1, 1.0]).view(-1, 1, 1, 1), "1 of 4 images hold no ink"),
])
def test_a_box_needs_ink(images, message):
    with pytest.raises(ValueError, match=message):
        data.box_and_offset(images)


def test_mnist_is_mnist(real):
    train, test = real("mnist", "train"), real("mnist", "test")
    assert (len(train), len(test)) == (60_000, 10_000) and train.images.shape[1:] == (1, 28, 28)
    assert train.mean.item() == pytest.approx(0.1307, abs=5e-5) and train.std.item() == pytest.approx(0.3081, abs=5e-5)
    assert train.class_counts.argmax() == 1 and train.class_counts.sum() == 60_000  # 1 is the most frequent


def test_cifar10_is_cifar10(real):
    test = real("cifar10", "test")
    assert len(test) == 10_000 and test.images.shape[1:] == (3, 32, 32)
    assert test.class_counts.tolist() == [1000] * 10 and test.classes[6] == "frog"


# --- names and environment --------------------------------------------------------------

@pytest.mark.parametrize("arguments, message", [
    (("imagenet",), "unknown data set 'imagenet'; known: 'digits', 'shapes', 'mnist', 'cifar10'"),
    (("digits", "validation"), "unknown split 'validation'; known: 'train', 'test'"),
])
def test_unknown_names_list_the_known_ones(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.load(*arguments)


def test_an_unknown_fallback_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown fallback 'mnist'; known: None, 'digits', 'shapes'"):
        data.load("mnist", fallback="mnist")


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A machine without data: an empty cache, no ADVLENS_DATA, and a network that is down."""
    for name in ("ADVLENS_DATA", "ADVLENS_STANDIN", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ADVLENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(data.real, "torchvision_datasets", lambda: Network(down=True))
    return tmp_path


def test_without_network_there_are_three_ways_out(alone):
    with pytest.raises(DataUnavailable, match="mnist could not be downloaded into .*cache.*unreachable.*"
                       + THREE_WAYS.format("mnist", "digits")):
        data.load("mnist")
    with pytest.raises(DataUnavailable, match=THREE_WAYS.format("cifar10", "shapes")):
        data.load("cifar10", "test")
    assert not list((alone / "cache").iterdir()), "something of a failed download was left behind"


def test_the_stand_in_says_that_it_is_one_and_why(alone):
    with pytest.warns(StandInWarning, match="mnist is replaced by the embedded set 'digits' .*unreachable.*Every "
                                            "number below is about the stand-in"):
        ds = data.load("mnist", "test", fallback="digits")
    assert (ds.name, ds.split, ds.stands_for) == ("digits", "test", "mnist") and ds.source.startswith("digits")


def test_never_forbids_the_stand_in(alone, monkeypatch):
    """A chapter run with stand-in data when real data was asked for."""
    monkeypatch.setenv("ADVLENS_STANDIN", "never")
    with pytest.raises(DataUnavailable, match="ADVLENS_STANDIN=never forbids the stand-in 'digits'.*Three ways out"):
        data.load("mnist", fallback="digits")
    assert data.load("digits").name == "digits"  # asked for by name it is no stand-in


def test_always_takes_the_stand_in_even_when_there_is_data(alone, monkeypatch):
    write_npz(alone / "mnist.npz")
    monkeypatch.setenv("ADVLENS_DATA", str(alone))
    monkeypatch.setenv("ADVLENS_STANDIN", "always")
    with pytest.warns(StandInWarning, match="ADVLENS_STANDIN=always"):
        assert data.load("mnist", fallback="digits").stands_for == "mnist"
    assert data.load("mnist").name == "mnist"  # nothing to stand in was named


def test_another_policy_is_refused(alone, monkeypatch):
    monkeypatch.setenv("ADVLENS_STANDIN", "sometimes")
    with pytest.raises(ValueError, match="ADVLENS_STANDIN is 'sometimes'; allowed: 'never', 'always' or nothing"):
        data.load("mnist", fallback="digits")


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("ADVLENS_CACHE", str(tmp_path / "mine"))
    assert data.cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("ADVLENS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert data.cache_folder() == tmp_path / "xdg" / "advlens"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data.cache_folder() == Path.home() / ".cache" / "advlens"


# --- $ADVLENS_DATA: a plain npz ------------------------------------------------------------

def arrays(shape=(28, 28), train=20, test=12):
    random = np.random.default_rng(0)
    return {"x_train": random.integers(0, 256, (train, *shape), dtype=np.uint8),
            "y_train": np.arange(train, dtype=np.uint8) % 10,
            "x_test": random.integers(0, 256, (test, *shape), dtype=np.uint8),
            "y_test": np.arange(test, dtype=np.int64) % 10}


def write_npz(path, **changes):
    np.savez_compressed(path, **(arrays() | changes))
    return path


@pytest.fixture
def own(alone, monkeypatch):
    """An empty $ADVLENS_DATA."""
    folder = alone / "own"
    folder.mkdir()
    monkeypatch.setenv("ADVLENS_DATA", str(folder))
    return folder


def test_npz_of_mnist(own):
    write_npz(own / "mnist.npz")
    stored = arrays()
    ds = data.load("mnist", "test")
    assert ds.images.shape == (12, 1, 28, 28) and ds.labels.tolist() == list(range(10)) + [0, 1]
    np.testing.assert_array_equal((ds.images * 255).round().byte().numpy()[:, 0], stored["x_test"])
    assert len(data.load("mnist")) == 20 and ds.source == "mnist.npz" and ds.classes == data.DIGITS


def test_npz_of_cifar10_with_a_note(own):
    stored = arrays((32, 32, 3))
    np.savez(own / "cifar10.npz", **stored, note="CIFAR-10, a copy")
    ds = data.load("cifar10")
    assert ds.images.shape == (20, 3, 32, 32) and ds.images.is_contiguous() and ds.source == "CIFAR-10, a copy"
    np.testing.assert_array_equal((ds.images * 255).round().byte().permute(0, 2, 3, 1).numpy(), stored["x_train"])


def test_a_folder_that_is_not_there(alone, monkeypatch):
    monkeypatch.setenv("ADVLENS_DATA", str(alone / "nowhere"))
    with pytest.raises(DataUnavailable, match="ADVLENS_DATA names .*nowhere', which is not a folder.*Three ways out"):
        data.load("mnist")


@pytest.mark.parametrize("changes, message", [
    ({"x_test": np.zeros((12, 28, 28), np.float32)}, "images are float32"),
    ({"x_test": np.zeros((12, 32, 32), np.uint8)}, r"images are uint8 \(12, 32, 32\), expected uint8 \(N, 28, 28\)"),
    ({"y_test": np.zeros(7, np.uint8)}, r"labels are uint8 \(7,\) for 12 images"),
    ({"y_test": np.zeros(12, np.float64)}, "labels are float64"),
    ({"y_test": np.full(12, 10, np.uint8)}, r"labels lie outside 0\.\.9"),
    ({"y_test": np.full(12, -1)}, r"labels lie outside 0\.\.9"),
    ({"x_test": np.zeros((0, 28, 28), np.uint8), "y_test": np.zeros(0, np.uint8)}, "there are none"),
    ({"y_test": np.array([str(i) for i in range(12)])}, "labels are <U2"),
    ({"y_test": np.array([None] * 12)}, "cannot be read"),  # would have to be unpickled
])
def test_npz_with_other_contents_is_refused(changes, message, own):
    write_npz(own / "mnist.npz", **changes)
    with pytest.raises(DataUnavailable, match=message):
        data.load("mnist", "test")


def test_npz_without_the_split_is_refused(own):
    np.savez(own / "mnist.npz", x_train=arrays()["x_train"], y_train=arrays()["y_train"])
    with pytest.raises(DataUnavailable, match="mnist.npz cannot be read .*x_test.*delete it or write it again"):
        data.load("mnist", "test")


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04" + bytes(200), pickle.dumps({"a": 1})],
                         ids=["empty", "a web page", "a broken zip", "a pickle"])
def test_another_file_of_that_name_is_refused(content, own):
    (own / "mnist.npz").write_bytes(content)
    with pytest.raises(DataUnavailable, match="mnist.npz cannot be read"):
        data.load("mnist", "test")


def test_an_npy_of_that_name_is_refused(own):
    with open(own / "mnist.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataUnavailable, match="mnist.npz cannot be read"):
        data.load("mnist", "test")


@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), cut=st.booleans(), byte=st.integers(1, 255))
def test_any_damage_is_noticed(place, cut, byte, tmp_path_factory):
    """One flipped byte anywhere, or the end missing: refused, or the very same images (a byte that carries nothing)."""
    folder = tmp_path_factory.mktemp("damaged")
    whole = bytearray(write_npz(folder / "mnist.npz").read_bytes())
    at = int(place * len(whole))
    if cut:
        del whole[at:]
    else:
        whole[at] ^= byte
    (folder / "mnist.npz").write_bytes(whole)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zipfile remarks on some kinds of damage
            ds = data.real._read("mnist", "test", folder)
    except DataUnavailable:
        return
    np.testing.assert_array_equal((ds.images * 255).round().byte().numpy()[:, 0], arrays()["x_test"])
    assert ds.labels.tolist() == arrays()["y_test"].tolist()


def test_a_damaged_file_of_ones_own_is_reported_and_the_stand_in_says_so(own):
    (own / "mnist.npz").write_bytes(b"half a file")
    with pytest.warns(StandInWarning, match="mnist.npz cannot be read"):
        assert data.load("mnist", fallback="digits").name == "digits"


# --- torchvision's layout, and the download ----------------------------------------------------

def idx(array: np.ndarray) -> bytes:
    """The format of MNIST's files: magic number, sizes, bytes."""
    return b"\0\0\x08" + bytes([array.ndim]) + b"".join(n.to_bytes(4, "big")
                                                        for n in array.shape) + array.astype(np.uint8).tobytes()


def mnist_files() -> dict[str, bytes]:
    made = arrays()
    return {f"{prefix}-{kind}": idx(made[f"{letter}_{split}"]) for prefix,
            split in (("train", "train"), ("t10k", "test"))
            for kind, letter in (("images-idx3-ubyte", "x"), ("labels-idx1-ubyte", "y"))}


def write_mnist(folder: Path, damage=None) -> None:
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in mnist_files().items():
        (raw / name).write_bytes(content)
    if damage:
        damage(raw)


def truncate(raw):
    file = raw / "t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1])


def flip_one_bit(raw):
    file = raw / "train-labels-idx1-ubyte"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def swap(raw):  # well-formed, but not what it is called
    (raw / "t10k-images-idx3-ubyte").write_bytes((raw / "train-images-idx3-ubyte").read_bytes())


def remove(raw):
    (raw / "train-images-idx3-ubyte").unlink()


DAMAGES = [truncate, flip_one_bit, swap, remove]


class Network:
    """In the place of torchvision.datasets: `MNIST(folder, download=True)` writes files, or fails."""

    def __init__(self, down=False, damage=None, error=None):
        self.down, self.damage, self.error, self.calls = down, damage, error, 0

    def MNIST(self, folder, *, download):
        assert download, "reading is ours, not torchvision's"
        self.calls += 1
        if self.error:
            write_mnist(folder, remove)  # something has arrived when it fails
            raise self.error
        if self.down:
            raise RuntimeError("the network is unreachable")
        write_mnist(folder, self.damage)

    CIFAR10 = MNIST


@pytest.fixture
def checksums(monkeypatch):
    monkeypatch.setattr(data.real, "MNIST_SHA256",
                        {name: hashlib.sha256(content).hexdigest() for name, content in mnist_files().items()})


@pytest.fixture
def online(alone, checksums, monkeypatch):
    network = Network()
    monkeypatch.setattr(data.real, "torchvision_datasets", lambda: network)
    return network


def assert_is_mnist(ds, split="test"):
    np.testing.assert_array_equal((ds.images * 255).round().byte().numpy()[:, 0], arrays()[f"x_{split}"])
    assert ds.labels.tolist() == arrays()[f"y_{split}"].tolist() and ds.source == "MNIST, original files"


def test_torchvisions_layout_of_mnist(own, checksums):
    write_mnist(own)
    assert_is_mnist(data.load("mnist", "test"))
    assert_is_mnist(data.load("mnist", "train"), "train")


def test_the_checksums_are_those_of_the_published_files(real):
    """With torchvision's own layout at hand; an npz has been judged by its contents."""
    if real("mnist", "test").source != "MNIST, original files":
        pytest.skip("needs MNIST's original files: set ADVLENS_DATA to a folder with MNIST/raw and run the tests again")
    assert real("mnist", "test").labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_of_ones_own_are_refused(damage, own, checksums):
    write_mnist(own, damage)
    with pytest.raises(DataUnavailable, match="is not MNIST's file .sha256 .*expected"):
        data.load("mnist", "test")


def test_an_unchecked_processed_folder_is_not_believed(own, checksums):
    """torchvision reads MNIST/processed/*.pt, a pickle without a checksum, before the files that were checked."""
    write_mnist(own)
    processed = own / "MNIST" / "processed"
    processed.mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save((torch.zeros(5, 28, 28, dtype=torch.uint8), torch.zeros(5, dtype=torch.int64)), processed / name)
    assert_is_mnist(data.load("mnist", "test"))


def cifar_files(folder: Path) -> None:
    """The pickled batches of CIFAR-10 with the right names; their MD5 is of course another."""
    batches = folder / "cifar-10-batches-py"
    batches.mkdir(parents=True)
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        (batches / name).write_bytes(pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}))
    (batches / "batches.meta").write_bytes(pickle.dumps({"label_names": list(data.CIFAR10)}))


def test_cifar10_with_wrong_files_is_refused_before_anything_is_unpickled(own, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("ADVLENS_DATA", str(own))
    cifar_files(own)
    monkeypatch.setattr(pickle, "load", lambda *a, **k: pytest.fail("an unchecked file was unpickled"))
    with pytest.raises(DataUnavailable, match="cifar-10-batches-py is damaged or incomplete"):
        data.load("cifar10", "test")


def test_torchvisions_layout_of_cifar10_without_torchvision(own, monkeypatch):
    cifar_files(own)
    monkeypatch.undo()
    monkeypatch.setenv("ADVLENS_DATA", str(own))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)  # its import fails
    with pytest.raises(DataUnavailable, match="torchvision reads .*and does not import.*install"):
        data.load("cifar10")


def test_torchvisions_layout_of_cifar10(own, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("ADVLENS_DATA", str(own))
    cifar_files(own)
    sums = {file.name: hashlib.md5(file.read_bytes()).hexdigest() for file in (own / "cifar-10-batches-py").iterdir()}
    CIFAR10 = data.torchvision_datasets().CIFAR10
    monkeypatch.setattr(CIFAR10, "train_list", [[n, sums[n]] for n in sorted(sums) if n.startswith("data")])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": sums["batches.meta"]})
    train, test = data.load("cifar10"), data.load("cifar10", "test")
    assert train.images.shape == (10, 3, 32,
                                  32) and test.labels.tolist() == [0, 1] and test.source == "CIFAR-10, original files"


def test_a_download_is_kept_and_not_asked_for_again(online, alone):
    assert_is_mnist(data.load("mnist", "test"))
    assert_is_mnist(data.load("mnist", "train"), "train")
    assert online.calls == 1 and [f.name for f in (alone / "cache").iterdir()] == ["mnist"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_in_the_cache_are_fetched_again(damage, online, alone):
    write_mnist(alone / "cache" / "mnist", damage)
    with pytest.warns(UserWarning, match="is not MNIST's file.*Fetching it again"):
        assert_is_mnist(data.load("mnist", "test"))
    assert online.calls == 1
    assert_is_mnist(data.load("mnist", "test"))
    assert online.calls == 1


def test_damaged_files_in_the_cache_are_not_used_when_the_network_is_down(alone, checksums):
    write_mnist(alone / "cache" / "mnist", truncate)
    with pytest.warns(UserWarning, match="Fetching it again"), pytest.raises(DataUnavailable, match="Three ways out"):
        data.load("mnist", "test")


def test_a_wrong_npz_in_the_cache_is_fetched_again(online, alone):
    (alone / "cache" / "mnist").mkdir(parents=True)
    (alone / "cache" / "mnist" / "mnist.npz").write_bytes(b"half a file")
    with pytest.warns(UserWarning, match="Fetching it again"):
        assert_is_mnist(data.load("mnist", "test"))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_download_of_wrong_files_is_not_believed(damage, online, alone):
    online.damage = damage
    with pytest.raises(DataUnavailable):
        data.load("mnist", "test")
    assert not list((alone / "cache").iterdir())


@pytest.mark.parametrize("error", [
    OSError(errno.ENOSPC, "No space left on device"), ConnectionResetError("reset by peer"), TimeoutError("timed out"),
    RuntimeError("File not found or corrupted."), EOFError("Compressed file ended"),
], ids=lambda e: type(e).__name__)
def test_a_download_that_breaks_off_leaves_nothing(error, online, alone):
    """Also a full disk: the message names the folder and the variable that moves it."""
    online.error = error
    with pytest.raises(DataUnavailable, match="could not be downloaded into .*cache.*ADVLENS_CACHE names another "
                                              "folder.*Three ways out"):
        data.load("mnist", "test")
    assert not list((alone / "cache").iterdir())
    online.error = None
    assert_is_mnist(data.load("mnist", "test"))


def test_an_interrupted_download_leaves_nothing(online, alone):
    online.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        data.load("mnist", "test")
    assert not list((alone / "cache").iterdir())


def forever(folder, *, download):
    write_mnist(folder, truncate)
    print("writing", flush=True)
    time.sleep(60)


def test_a_killed_download_leaves_nothing_that_is_believed(online, alone):
    """Really killed, with files half written: what is left has another name, and the next call starts anew."""
    code = ("import sys; sys.path.insert(0, sys.argv[1]); import test_data; from advlens import data; "
            "data.real.torchvision_datasets = lambda: type('Network', (), {'MNIST': staticmethod(test_data.forever)}); "
            "data.load('mnist')")
    victim = subprocess.Popen([sys.executable, "-c", code, os.path.dirname(__file__)], stdout=subprocess.PIPE,
                              text=True)
    try:
        assert victim.stdout.readline() == "writing\n"
    finally:
        victim.kill()
        victim.stdout.close()
    assert victim.wait() == -signal.SIGKILL
    left = [f.name for f in (alone / "cache").iterdir()]
    assert left and "mnist" not in left
    assert_is_mnist(data.load("mnist", "test"))
    assert online.calls == 1


def test_a_cache_folder_that_cannot_be_made(online, alone, monkeypatch):
    (alone / "file").write_text("in the way")
    monkeypatch.setenv("ADVLENS_CACHE", str(alone / "file" / "cache"))
    with pytest.raises(DataUnavailable, match="The cache folder .*cache cannot be written .*set ADVLENS_CACHE to "
                                              "another one.*Three ways out"):
        data.load("mnist", "test")


def test_a_read_only_cache_folder(online, alone, monkeypatch):
    def refuse(*args, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    # a real one would not stop the tests of an administrator
    monkeypatch.setattr(data.real.tempfile, "mkdtemp", refuse)
    with pytest.raises(DataUnavailable, match="The cache folder .*Read-only file system.*ADVLENS_CACHE"):
        data.load("mnist", "test")
    with pytest.warns(StandInWarning, match="cannot be written"):
        assert data.load("mnist", fallback="digits").name == "digits"


def test_the_cache_is_used_when_the_own_folder_lacks_the_set(online, own):
    np.savez(own / "cifar10.npz", **arrays((32, 32, 3)))
    assert_is_mnist(data.load("mnist", "test"))
    assert online.calls == 1 and not list(own.glob("*mnist*")), "downloads never go into the reader's own folder"


def test_a_set_that_cannot_be_downloaded(alone):
    with pytest.raises(DataUnavailable, match="cifar10_lossless cannot be downloaded"):
        data.load("cifar10_lossless")
