"""The digest of a model decides whether a kept kernel is used again."""

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
    """A module of a new class with these members; the class name is always the same."""

    def forward(self, x):
        return x

    return type("Ranker", (torch.nn.Module,), {"forward": forward, **members})()


@pytest.mark.parametrize(
    ("build", "another"),
    [
        (lambda: score_times(1.0), lambda: score_times(2.0)),
        (lambda: score_times([1.0]), lambda: score_times([2.0])),
        (lambda: functools.partial(score_over, divisor=1), lambda: functools.partial(score_over, divisor=2)),
    ],
    ids=["captured number", "captured list", "partial's argument"],
)
def test_the_score_function_counts(build, another):
    assert model_digest(LINEAR, build()) == model_digest(LINEAR, build())
    assert model_digest(LINEAR, build()) != model_digest(LINEAR, another())


@pytest.mark.parametrize(
    ("members", "changed"),
    [
        (lambda: {"scale": 1.0}, lambda: {"scale": 2.0}),
        (lambda: {"scale": staticmethod(lambda: 1.0)}, lambda: {"scale": staticmethod(lambda: 2.0)}),
        (lambda: {"scale": classmethod(lambda cls: 1.0)}, lambda: {"scale": classmethod(lambda cls: 2.0)}),
        (lambda: {"scale": property(lambda self: 1.0)}, lambda: {"scale": property(lambda self: 2.0)}),
    ],
    ids=["number", "static method", "class method", "property"],
)
def test_members_of_the_class_count(members, changed):
    assert model_digest(a_model(**members())) == model_digest(a_model(**members()))
    assert model_digest(a_model(**members())) != model_digest(a_model(**changed()))


class Settings:
    def __init__(self, scale):
        self.scale = scale


def with_attribute(value):
    model = torch.nn.Linear(2, 1)
    model.kept = value
    return model


def test_attributes_of_objects_count():
    assert model_digest(with_attribute(Settings(1))) == model_digest(with_attribute(Settings(1)))
    assert model_digest(with_attribute(Settings(1))) != model_digest(with_attribute(Settings(2)))
    assert model_digest(with_attribute({"a": [1, 2]})) != model_digest(with_attribute({"a": [2, 1]}))


def test_values_that_contain_themselves_are_digested():
    around = [1]
    around.append(around)
    settings = Settings(1)
    settings.owner = settings
    for value in (around, settings, {"again": around}):
        assert model_digest(with_attribute(value)) == model_digest(with_attribute(value))


def test_values_of_parameters_do_not_count_but_which_are_trained_does():
    frozen = torch.nn.Linear(2, 1)
    frozen.bias.requires_grad_(False)
    assert model_digest(LINEAR) == model_digest(torch.nn.Linear(2, 1))
    assert model_digest(LINEAR) != model_digest(torch.nn.Linear(3, 1))
    assert model_digest(LINEAR) != model_digest(frozen)
