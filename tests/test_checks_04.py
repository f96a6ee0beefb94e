"""The checks of chapter 04 that are not about code alone: each known wrong answer fails with its own hint."""

from __future__ import annotations

import pytest

from advlens import attacks
from advlens.course import checks

RIGHT = {"after step 1": (0.42, 1.0), "after step 2": (0.4, 1.0)}


def test_two_steps_by_hand(capsys):
    checks.two_steps(lambda: RIGHT)
    assert "both fences" in capsys.readouterr().out


@pytest.mark.parametrize("first, second, hint", [
    ((0.58, 0.87), (0.6, 0.85), "Wrong sign"),
    ((0.42, 1.03), (0.4, 1.05), "brighter than white"),
    ((0.42, 1.0), (0.34, 1.0), "leaves the ball in the second step"),
    ((0.4, 1.0), (0.4, 1.0), "take its sign"),
    ((0.5, 0.95), (0.42, 1.0), "is another one"),
])
def test_a_wrong_walk_is_told_why(first, second, hint):
    with pytest.raises(checks.CheckFailed, match=hint):
        checks.two_steps(lambda: {"after step 1": first, "after step 2": second})


@pytest.mark.parametrize("points, hint", [(None, "returns nothing"), ((0.42, 1.0), "a dict with the keys"),
                                          ({"after step 1": (0, 0)}, "a dict with the keys")])
def test_an_unfinished_walk_is_told_so(points, hint):
    with pytest.raises(checks.CheckFailed, match=hint):
        checks.two_steps(lambda: points)


def straight_through(model, x, y, eps, attack):
    """Backward as if the rounding were not there."""
    return attack(attacks.BPDA(model.net, lambda z: (4 * z).round() / 4), x, y, eps=eps, loss="margin")


@pytest.mark.parametrize("answer", [lambda model, x, y, eps, attack: attack(model.net, x, y, eps=eps, loss="margin"),
                                    straight_through])
def test_the_rounded_network_falls(answer, capsys):
    checks.rounded(answer)
    assert "ok" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::advlens.geometry.ZeroGradientWarning")
@pytest.mark.parametrize("answer, hint", [
    (lambda model, x, y, eps, attack: attack(model, x, y, eps=eps), "gradient is 0 everywhere"),
    (lambda model, x, y, eps, attack: x + 0 * model(x).sum().detach(), "gradient is 0 everywhere"),
    (lambda model, x, y, eps, attack: attack(model.net, x, y, eps=2 * eps), "stay in the ball"),
    (lambda model, x, y, eps, attack: attack(model.net, x, y, eps=eps / 2), "at least nine in ten"),
    (lambda model, x, y, eps, attack: x + 0 * model(x).sum().detach() - eps, r"leave \[0, 1\]"),
])
def test_a_weak_attack_on_it_is_told_why(answer, hint):
    with pytest.raises(checks.CheckFailed, match=hint):
        checks.rounded(answer)
