"""Two ways of computing the gradient of a convolution give the same result."""

from __future__ import annotations

import pytest
import torch

from tracinctl.engine.gradients.uses import Convolution, Linear, Whole

SIDE = 80


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    """More threads take patches of smaller images."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize(("stride", "padding", "dilation", "groups"), [(1, 2, 1, 1), (2, 1, 2, 1), (1, 0, 1, 2)])
def test_large_images_one_by_one_equal_patches(channels, last, stride, padding, dilation, groups):
    torch.manual_seed(0)
    channels, images = channels * groups, torch.channels_last if last else torch.contiguous_format
    weight = torch.randn(4, channels // groups, 9, 9)
    inputs = torch.randn(3, channels, SIDE, SIDE).contiguous(memory_format=images)
    slope = torch.randn_like(torch.nn.functional.conv2d(inputs, weight, None, stride, padding, dilation, groups))
    both_axes = [(value, value) for value in (stride, padding, dilation)]
    use = Convolution("weight", "bias", tuple(weight.shape), (SIDE, SIDE), *both_axes, groups)
    inputs, slope = inputs.unsqueeze(1), slope.contiguous(memory_format=images).unsqueeze(1)
    assert use._by_image(inputs), "the image is too small for this way"
    assert not use._by_image(inputs.double())
    for form in (Whole(), use.form):
        by_image = dict(use.gradients(inputs, slope, form))
        by_patches = dict(use.gradients(inputs.double(), slope.double(), form))
        for name, part in by_image.items():
            error = (part.values - by_patches[name].values).norm() / by_patches[name].values.norm()
            assert error < 3e-6, f"{name}: only the rounding of thousands of float32 sums"


def test_images_of_many_outputs_use_all_threads_by_patches(monkeypatch):
    use = Convolution("weight", None, (64, 32, 3, 3), (256, 6), (2, 2), (1, 1), (1, 1), 1)
    inputs = torch.empty(2, 1, 32, 256, 6)
    assert use._by_image(inputs)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert not use._by_image(inputs)


@pytest.mark.parametrize("form", ["whole", "where the kernel meets the input"])
def test_patches_with_channels_last_give_what_patches_with_channels_first_give(form):
    torch.manual_seed(0)
    use = Convolution("weight", "bias", (4, 3, 9, 2), (1, 40), (2, 1), (4, 1), (1, 2), 1)
    inputs = torch.randn(3, 3, 1, 40, dtype=torch.float64)
    slope = torch.nn.functional.conv2d(
        inputs, torch.randn(4, 3, 9, 2, dtype=torch.float64), None, (2, 1), (4, 1), (1, 2)
    )
    form = Whole() if form == "whole" else use.form
    weights = []
    for order in (torch.contiguous_format, torch.channels_last):
        given = [t.contiguous(memory_format=order).unsqueeze(1) for t in (inputs, slope)]
        assert use._by_channels_last(given[1]) == (order is torch.channels_last)
        weights.append(dict(use.gradients(*given, form))["weight"].values)
    assert weights[0].shape[1] == 4 * 3 * 2 * (9 if isinstance(form, Whole) else 1)
    assert torch.allclose(*weights, rtol=1e-12)


def test_large_images_leave_out_kernel_places_that_only_meet_padding():
    torch.manual_seed(0)
    weight, inputs = torch.randn(2, 1, 3, 9), torch.randn(2, 1, 1, 1, 8192)
    use = Convolution("weight", None, tuple(weight.shape), (1, 8192), (1, 1), (1, 4), (1, 1), 1)
    slope = torch.randn(2, 1, 2, 1, 8192)
    assert use._by_image(inputs), "the image is too small for this way"
    [(_, by_image)] = use.gradients(inputs, slope, use.form)
    [(_, by_patches)] = use.gradients(inputs.double(), slope.double(), use.form)
    assert by_image.values.shape == (2, 2 * 9), "one of the three rows of the kernel"
    assert torch.allclose(by_image.values.double(), by_patches.values, rtol=1e-4, atol=1e-3)


def test_positions_without_a_gradient_at_both_ends_are_skipped():
    torch.manual_seed(0)
    items, positions, width = 4, 64, 300
    inputs, slope = torch.randn(2, items, 1, positions, width, dtype=torch.float64)
    slope[0, :, :5] = slope[1, :, 40:] = slope[2] = 0
    slope[3, :, 7:9] = 0
    inputs[1, :, 40:] = 1e300  # whatever padding holds
    use = Linear("weight", None, positions, (width, width))
    [(_, ours)] = use.gradients(inputs, slope, Whole())
    for k, row in enumerate(ours.values):
        live = slope[k, 0].any(1)
        true = slope[k, 0, live].T @ inputs[k, 0, live]
        torch.testing.assert_close(row.reshape(width, width), true, rtol=1e-12, atol=1e-12)
