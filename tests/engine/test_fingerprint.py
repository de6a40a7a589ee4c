"""What tells two models apart: a kernel that was kept is used again only where the same model would calculate it."""

from __future__ import annotations

import functools

import pytest
import torch

from tracinctl.engine.fingerprint import model_digest

LINEAR = torch.nn.Linear(2, 1)


def score_times(factor):
    def score(model, inputs):
        return model(inputs) * factor

    return score


def score_over(model, inputs, *, divisor):
    return model(inputs) / divisor


def a_model(**members):
    """A module whose class, of the same name each time, has these members."""

    def forward(self, x):
        return x

    return type("Ranker", (torch.nn.Module,), {"forward": forward, **members})()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: score_times(1.0), lambda: score_times(2.0)),
        (lambda: score_times([1.0]), lambda: score_times([2.0])),
        (lambda: functools.partial(score_over, divisor=1), lambda: functools.partial(score_over, divisor=2)),
    ],
    ids=["what a function holds", "what lies in what it holds", "what a partial holds"],
)
def test_what_the_scores_are_asked_by_counts(one, other):
    assert model_digest(LINEAR, one()) == model_digest(LINEAR, one())
    assert model_digest(LINEAR, one()) != model_digest(LINEAR, other())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: {"scale": 1.0}, lambda: {"scale": 2.0}),
        (lambda: {"scale": staticmethod(lambda: 1.0)}, lambda: {"scale": staticmethod(lambda: 2.0)}),
        (lambda: {"scale": classmethod(lambda cls: 1.0)}, lambda: {"scale": classmethod(lambda cls: 2.0)}),
        (lambda: {"scale": property(lambda self: 1.0)}, lambda: {"scale": property(lambda self: 2.0)}),
    ],
    ids=["number", "static method", "class method", "property"],
)
def test_what_a_class_holds_counts(one, other):
    assert model_digest(a_model(**one())) == model_digest(a_model(**one()))
    assert model_digest(a_model(**one())) != model_digest(a_model(**other()))


class Settings:
    def __init__(self, scale):
        self.scale = scale


def with_attribute(value):
    model = torch.nn.Linear(2, 1)
    model.kept = value
    return model


def test_what_an_object_holds_counts():
    assert model_digest(with_attribute(Settings(1))) == model_digest(with_attribute(Settings(1)))
    assert model_digest(with_attribute(Settings(1))) != model_digest(with_attribute(Settings(2)))
    assert model_digest(with_attribute({"a": [1, 2]})) != model_digest(with_attribute({"a": [2, 1]}))


def test_what_holds_itself_comes_to_an_end():
    around = [1]
    around.append(around)
    settings = Settings(1)
    settings.owner = settings
    for value in (around, settings, {"again": around}):
        assert model_digest(with_attribute(value)) == model_digest(with_attribute(value))


def test_values_of_parameters_do_not_count_and_what_is_trained_does():
    frozen = torch.nn.Linear(2, 1)
    frozen.bias.requires_grad_(False)
    assert model_digest(LINEAR) == model_digest(torch.nn.Linear(2, 1))
    assert model_digest(LINEAR) != model_digest(torch.nn.Linear(3, 1))
    assert model_digest(LINEAR) != model_digest(frozen)
