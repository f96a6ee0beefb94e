"""The record of MNIST's writers: QMNIST's labels are read right, and refused when they are not MNIST's."""

import gzip
import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from advlens.course import measuring

CLASSES = [5, 0, 4, 1]
SERIES = [4, 4, 0, 1]  # two digits by students, two by employees
WRITERS = [2100, 2100, 7, 8]


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    """The names of the chapter's measurements, with four digits for MNIST and a label file about them."""
    names = measuring.load("measurements/01_data.py")[0]["01-writers"].point.__globals__
    rows = np.zeros((6, 8), dtype=">i4")  # two rows more than MNIST has, as in the file of the test digits
    rows[:4, :3] = np.array([CLASSES, SERIES, WRITERS]).T
    packed = gzip.compress(np.array([0x0C02, 6, 8], dtype=">i4").tobytes() + rows.tobytes())
    folder = tmp_path / "QMNIST" / "raw"
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        (folder / f"qmnist-{split}-labels-idx2-int.gz").write_bytes(packed)
    monkeypatch.setenv("ADVLENS_DATA", str(tmp_path))
    monkeypatch.setitem(names, "WRITERS_SHA256", dict.fromkeys(("train", "test"), hashlib.sha256(packed).hexdigest()))

    monkeypatch.setitem(names, "data", SimpleNamespace(load=lambda *_: FourDigits(CLASSES)))
    return names


class FourDigits(list):
    """A data set of which only the labels are looked at."""

    @property
    def labels(self):
        return torch.tensor(self)


def test_digits_and_writers_are_counted(chapter):
    assert chapter["writers"]()["test"] == {"students": {"digits": 2, "writers": 1},
                                            "employees": {"digits": 2, "writers": 2}, "students in halves": [2, 0]}


def test_labels_in_another_order_are_refused(chapter, monkeypatch):
    monkeypatch.setitem(chapter, "data", SimpleNamespace(load=lambda *_: FourDigits(CLASSES[::-1])))
    with pytest.raises(ValueError, match="not those of MNIST in its order"):
        chapter["extended_labels"]("test")


def test_another_file_is_refused(chapter, monkeypatch):
    monkeypatch.setitem(chapter, "WRITERS_SHA256", {"test": "0" * 64})
    with pytest.raises(ValueError, match="is not the file that QMNIST published"):
        chapter["extended_labels"]("test")
