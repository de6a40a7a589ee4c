"""Formulas of gradients an item, beside the same formula taken in another way."""

from __future__ import annotations

import pytest
import torch

from tracinctl.engine.gradients.uses import Convolution, Whole

SIDE = 80


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize(("stride", "padding", "dilation", "groups"), [(1, 2, 1, 1), (2, 1, 2, 1), (1, 0, 1, 2)])
def test_large_images_one_by_one_give_what_patches_give(channels, last, stride, padding, dilation, groups):
    torch.manual_seed(0)
    channels, images = channels * groups, torch.channels_last if last else torch.contiguous_format
    weight = torch.randn(4, channels // groups, 9, 9)
    inputs = torch.randn(3, channels, SIDE, SIDE).contiguous(memory_format=images)
    slope = torch.randn_like(torch.nn.functional.conv2d(inputs, weight, None, stride, padding, dilation, groups))
    given = [(value, value) for value in (stride, padding, dilation)]
    use = Convolution("weight", "bias", tuple(weight.shape), (SIDE, SIDE), *given, groups)
    inputs, slope = inputs.unsqueeze(1), slope.contiguous(memory_format=images).unsqueeze(1)
    assert use._by_image(inputs), "too small"
    assert not use._by_image(inputs.double())
    for form in (Whole(), use.form):
        ours = dict(use.gradients(inputs, slope, form))
        by_patches = dict(use.gradients(inputs.double(), slope.double(), form))
        for name, part in ours.items():
            error = (part.values - by_patches[name].values).norm() / by_patches[name].values.norm()
            assert error < 3e-6, f"{name}: float32 adds up thousands of positions"


def test_large_images_leave_out_the_places_of_a_kernel_that_meet_padding_alone():
    torch.manual_seed(0)
    weight, inputs = torch.randn(2, 1, 3, 9), torch.randn(2, 1, 1, 1, 8192)
    use = Convolution("weight", None, tuple(weight.shape), (1, 8192), (1, 1), (1, 4), (1, 1), 1)
    slope = torch.randn(2, 1, 2, 1, 8192)
    assert use._by_image(inputs), "too small"
    [(_, ours)] = use.gradients(inputs, slope, use.form)
    [(_, by_patches)] = use.gradients(inputs.double(), slope.double(), use.form)
    assert ours.values.shape == (2, 2 * 9), "one row of three"
    assert torch.allclose(ours.values.double(), by_patches.values, rtol=1e-4, atol=1e-3)
