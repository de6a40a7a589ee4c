"""Normalisations are folded into convolutions whose outputs have no other use, and gradients stay exact."""

from __future__ import annotations

import copy

import pytest
import torch
from small_models import Model
from torch import nn
from torch.nn.utils import parametrize

from tracinctl.engine.gradients import batched
from tracinctl.engine.gradients.items import ItemGradients
from tracinctl.engine.gradients.normalised import NormalisedConvolution
from tracinctl.engine.gradients.projection import Projection
from tracinctl.engine.kernel.products import Rows, inner_products


def shaken(model: nn.Module) -> nn.Module:
    """The model in float64, with statistics and parameters that a training would leave."""
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            if part.affine:
                part.weight.data.normal_()
                part.bias.data.normal_()
    return model.double().eval()


def plain(model, items):
    """Inner products of gradients by plain autograd."""
    trained = [p for p in model.parameters() if p.requires_grad]
    rows = [torch.autograd.grad(model(x[None]).sum(), trained, materialize_grads=True) for x in items]
    stacked = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
    return stacked @ stacked.T


def products(gradients, items):
    rows = Rows.of(gradients(items)[0], differences=False)
    return torch.from_numpy(inner_products(rows, rows, 1 << 20))


def prepared(model, items):
    """Gradients of the model that are exact in blocks of these items."""
    gradients = ItemGradients(model)
    gradients.prepare(items)
    assert gradients._ways
    assert_exact(gradients, model, items)
    return gradients


def assert_exact(gradients, model, items):
    assert torch.allclose(products(gradients, items), plain(model, items), rtol=1e-11)


def folded(gradients: ItemGradients) -> int:
    return sum(isinstance(use, NormalisedConvolution) for use in gradients._ways[0].uses[0])


def way(gradients: ItemGradients) -> tuple[bool, bool]:
    return gradients._ways[0]._apart, gradients._ways[0].channels_last


def mean(h):
    return h.flatten(2).mean(2).sum(1, keepdim=True)


def pieces(**more):
    return {"a": nn.Conv2d(2, 4, 3, padding=1), "n": nn.BatchNorm2d(4), **more}


def tied(parts):
    parts["n"].bias = parts["a"].bias
    return parts


def hooked(m, x):
    shown = []
    handle = m.a.register_forward_hook(lambda _module, _inputs, output: shown.append(output.abs().mean()))
    result = mean(m.n(m.a(x)).tanh()) + shown[0]
    handle.remove()
    return result


def together(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a.tanh() * b


def changed_before(m, x):
    z = m.a(x)
    z[:, 0] = 0.0
    return mean(m.n(z).tanh())


# what the model does, its parts, and how many normalisations can be folded
CASES = {
    "images": (lambda m, x: mean(m.n(m.a(x)).tanh()), pieces, 1),
    "without a bias": (lambda m, x: mean(m.n(m.a(x)).tanh()), lambda: pieces(a=nn.Conv2d(2, 4, 3, bias=False)), 1),
    "in groups": (lambda m, x: mean(m.n(m.a(x)).tanh()), lambda: pieces(a=nn.Conv2d(2, 4, 3, groups=2)), 1),
    "a kernel wider than the image": (
        lambda m, x: mean(m.n(m.a(x)).tanh()),
        lambda: pieces(a=nn.Conv2d(2, 4, (1, 25), padding=(0, 12))),
        1,
    ),
    "few positions": (lambda m, x: mean(m.n(m.a(x[..., :8, :8])).tanh()), pieces, 0),
    "a series": (
        lambda m, x: mean(m.n(m.a(x.flatten(2))).tanh()),
        lambda: pieces(a=nn.Conv1d(2, 4, 3), n=nn.BatchNorm1d(4)),
        1,
    ),
    "a volume": (
        lambda m, x: mean(m.n(m.a(x.unsqueeze(2))).tanh()),
        lambda: pieces(a=nn.Conv3d(2, 4, (1, 3, 3)), n=nn.BatchNorm3d(4)),
        1,
    ),
    "changed in place after it": (lambda m, x: mean(m.n(m.a(x)).relu_().tanh()), pieces, 1),
    "two layers": (
        lambda m, x: mean(m.k(m.b(m.n(m.a(x)).relu())).tanh()),
        lambda: pieces(b=nn.Conv2d(4, 3, 3), k=nn.BatchNorm2d(3)),
        2,
    ),
    "a shared normalisation": (
        lambda m, x: mean(m.n(m.a(x)).tanh() * m.n(m.b(x)).tanh()),
        lambda: pieces(b=nn.Conv2d(2, 4, 3, padding=1)),
        2,
    ),
    "a shared convolution": (
        lambda m, x: mean(m.n(m.a(x)).tanh() * m.k(m.a(2 * x)).tanh()),
        lambda: pieces(k=nn.BatchNorm2d(4)),
        0,
    ),
    "a connection around it": (lambda m, x: mean((m.n(z := m.a(x)) + z).tanh()), pieces, 0),
    "a use before it": (lambda m, x: mean((z := m.a(x)).exp() + m.n(z).tanh()), pieces, 0),
    "a use in a list": (lambda m, x: mean(torch.cat([m.n(z := m.a(x)), z], 1).tanh()), pieces, 0),
    "a hook": (hooked, pieces, 0),
    "changed in place before it": (changed_before, pieces, 0),
    "without parameters": (lambda m, x: mean(m.n(m.a(x)).tanh()), lambda: pieces(n=nn.BatchNorm2d(4, affine=False)), 0),
    "another normalisation": (lambda m, x: mean(m.n(m.a(x)).tanh()), lambda: pieces(n=nn.GroupNorm(2, 4)), 0),
    "something between": (lambda m, x: mean(m.n(m.a(x).tanh()).tanh()), pieces, 0),
    "a bias that is computed": (
        lambda m, x: mean(m.n(m.a(x)).tanh()),
        lambda: pieces(a=parametrize.register_parametrization(nn.Conv2d(2, 4, 3), "bias", nn.Softplus())),
        0,
    ),
    "a bias that is used elsewhere": (lambda m, x: mean(m.n(m.a(x)).tanh()) * m.a.bias.exp().sum(), pieces, 0),
    "a bias of each item": (
        lambda m, x: mean(m.n(nn.functional.conv2d(x, m.w, m.b(x.mean((2, 3)))[0])).tanh()),
        lambda: pieces(w=nn.Parameter(torch.randn(4, 2, 3, 3)), b=nn.Linear(2, 4)),
        0,
    ),
    "the same bias for both layers": (
        lambda m, x: mean(m.n(m.a(x)).tanh()),
        lambda: tied(pieces()),
        1,
    ),
    "two normalisations": (
        lambda m, x: mean(m.n(z := m.a(x)).tanh() * m.k(z)),
        lambda: pieces(k=nn.BatchNorm2d(4)),
        0,
    ),
    "one normalisation twice": (lambda m, x: mean(m.n(z := m.a(x)).tanh() * m.n(z)), pieces, 1),
    "its weight is used elsewhere": (
        lambda m, x: mean(m.n(m.a(x)).tanh() * m.n.weight.view(1, -1, 1, 1)),
        pieces,
        0,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_equal_those_of_plain_autograd(name):
    forward, parts, number = CASES[name]
    torch.manual_seed(0)
    model = shaken(Model(forward, **parts()))
    items = torch.randn(5, 2, 20, 12, dtype=torch.float64)
    gradients = prepared(model, items)
    unfolding = ItemGradients(model)
    for one in unfolding._ways:
        one._folds = None
    unfolding.prepare(items)
    assert folded(gradients) == number
    assert way(gradients) == way(unfolding), "folding takes no faster way away"


@pytest.mark.parametrize("name", CASES)
def test_a_block_is_one_pass(name, monkeypatch):
    forward, parts, _ = CASES[name]
    torch.manual_seed(0)
    gradients = ItemGradients(shaken(Model(forward, **parts())))
    items = torch.randn(3, 2, 20, 12, dtype=torch.float64)
    gradients.prepare(items)
    passes = []
    watch = batched.UseWatch
    monkeypatch.setattr(batched, "UseWatch", lambda *args, **more: passes.append(1) or watch(*args, **more))
    gradients(items)
    assert len(passes) == 1


def test_nothing_is_folded_in_a_model_that_branches_on_its_data():
    torch.manual_seed(0)
    model = shaken(Model(lambda m, x: mean((m.n(m.a(x)) if x.sum() > 0 else m.n(m.a(-x))).tanh()), **pieces()))
    items = torch.randn(6, 2, 20, 12, dtype=torch.float64)
    gradients = prepared(model, items)
    assert folded(gradients) == 0


@pytest.mark.parametrize("affine", [True, False])
def test_channels_may_be_last_with_a_normalisation_that_does_not_count(affine):
    torch.manual_seed(0)
    model = shaken(Model(CASES["images"][0], **pieces(n=nn.BatchNorm2d(4, affine=affine).requires_grad_(False))))
    items = torch.randn(3, 2, 20, 12, dtype=torch.float64)
    gradients = prepared(model, items)
    assert way(gradients) == (False, True)


@pytest.mark.parametrize("counted", [True, False])
def test_normalisations_after_convolutions_of_tokens_are_folded(counted):
    torch.manual_seed(0)
    model = Model(
        lambda m, x: mean(m.n(m.a(m.e(x).transpose(1, 2))).tanh()) + mean(m.k(m.b(m.e(x).transpose(1, 2))).tanh()),
        e=nn.Embedding(9, 4).requires_grad_(counted),
        a=nn.Conv1d(4, 3, 2),
        n=nn.BatchNorm1d(3),
        b=nn.Conv1d(4, 3, 3),
        k=nn.BatchNorm1d(3),
    )
    model, items = shaken(model), torch.randint(0, 9, (5, 60))
    gradients = prepared(model, items)
    assert folded(gradients) == 2


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_nothing_is_folded_if_a_use_is_hidden():
    torch.manual_seed(0)
    joined = torch.jit.script(together)
    model = shaken(Model(lambda m, x: mean(joined(z := m.a(x), m.n(z))), **pieces()))
    items = torch.randn(3, 2, 20, 12, dtype=torch.float64)
    gradients = prepared(model, items)
    assert folded(gradients) == 0


@pytest.mark.parametrize("new", ["values", "tensors", "a mean far away"])
def test_statistics_of_a_later_checkpoint_count(new):
    torch.manual_seed(0)
    model = shaken(Model(CASES["images"][0], **pieces()))
    items = torch.randn(3, 2, 20, 12, dtype=torch.float64)
    gradients = prepared(model, items)
    assert folded(gradients) == 1
    if new == "values":
        shaken(model)
    elif new == "tensors":
        state = {name: value + 0.5 for name, value in model.state_dict().items()}
        model.load_state_dict(state, assign=True)
    else:
        model.n.running_mean.fill_(100.0)
    gradients.prepare_in_passing()
    assert_exact(gradients, model, items)
    assert folded(gradients) == (new == "values")


@pytest.mark.parametrize(
    ("gamma", "far", "number"), [(1.0, 7.0, 1), (1.0, 9.0, 0), (-0.3, 7.0, 1), (0.1, 1.0, 0), (0.0, 1.0, 0)]
)
def test_a_normalisation_is_folded_where_float32_stays_precise(gamma, far, number):
    torch.manual_seed(0)
    model = shaken(Model(CASES["images"][0], **pieces(a=nn.Conv2d(2, 4, 3)))).float()
    items = torch.randn(8, 2, 20, 12)
    items[:, 1] = 1.0
    with torch.no_grad():
        model.a.weight[:, 1] = 0.0
        model.a.weight[:, 1, 1, 1] = far * model.a(items).std((0, 2, 3))
        outputs = model.a(items)
        model.n.running_mean.copy_(outputs.mean((0, 2, 3)))
        model.n.running_var.copy_(outputs.var((0, 2, 3)))
        model.n.weight.fill_(gamma)
    gradients = ItemGradients(model)
    gradients.prepare(items)
    got = products(gradients, items)
    assert folded(gradients) == number
    want = plain(copy.deepcopy(model).double(), items.double())
    differences = torch.eye(8, dtype=torch.float64)[1:] - torch.eye(8, dtype=torch.float64)[:1]
    got, want = (differences @ kernel @ differences.T for kernel in (got, want))
    assert (got - want).abs().max() < 5e-6 * want.abs().max()


def test_a_later_checkpoint_may_leave_a_normalisation_out():
    torch.manual_seed(0)
    model = shaken(Model(lambda m, x: mean((m.n(m.a(x)) if m.n.on else m.a(x)).tanh()), **pieces()))
    model.n.on = True
    items = torch.randn(3, 2, 20, 12, dtype=torch.float64)
    gradients = prepared(model, items)
    assert folded(gradients) == 1
    model.n.on = False
    gradients.prepare_in_passing()
    assert_exact(gradients, model, items)


@pytest.mark.parametrize("layers", [["a.*"], ["n.*"], ["a.weight", "n.weight"]])
def test_some_parameters_count(layers):
    torch.manual_seed(0)
    model = shaken(Model(CASES["images"][0], **pieces()))
    items = torch.randn(3, 2, 20, 12, dtype=torch.float64)
    gradients = ItemGradients(model, layers=layers)
    got = products(gradients, items)
    for name, p in model.named_parameters():
        p.requires_grad_(name in gradients.names)
    assert torch.allclose(got, plain(model, items), rtol=1e-11)


def test_projections_are_of_single_layers():
    torch.manual_seed(0)
    model = shaken(Model(CASES["images"][0], **pieces()))
    gradients = ItemGradients(model, projection=Projection(16, 0))
    gradients.prepare(torch.randn(3, 2, 20, 12, dtype=torch.float64))
    assert folded(gradients) == 0
