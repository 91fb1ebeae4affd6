"""What every density must do: a function a property, raising AssertionError where it fails."""

import copy
import pickle

import torch
from torch import Tensor

from diffeo.density import Density, Flow
from diffeo.supports import Product, Support
from tests.properties.checks import SEED, _index, _leaves, _map, close


def score(density: Density, x: Tensor, context=None) -> Tensor:
    """log_prob, with the same noise every time where the density draws any."""
    torch.manual_seed(SEED)
    return density.log_prob(x, context)


def check_scores(density: Density, x: Tensor, context=None, *, bound: float) -> None:
    """A batch equals its rows; any leading dimensions; no rows; `forward` is `log_prob`.

    Args:
        x: (n, *event), n even; context: (n, *context_event).
    """
    n = len(x)
    log_prob = score(density, x, context)
    assert log_prob.shape == (n,) and log_prob.dtype == x.dtype
    assert log_prob.isfinite().all(), "not finite"
    torch.manual_seed(SEED)
    assert torch.equal(density(x, context), log_prob), "forward is not log_prob"
    if density.exact:
        rows = torch.stack([score(density, x[i], _index(context, i)) for i in range(n)])
        close(log_prob, rows, bound, "a batch against its rows")
        one = _index(context, 1)
        rows = torch.stack([score(density, x[i], one) for i in range(n)])
        close(score(density, x, one), rows, bound, "one context for a batch")
        if context is not None:
            rows = torch.stack([score(density, x[0], _index(context, i)) for i in range(n)])
            close(score(density, x[0], context), rows, bound, "one x under many contexts")
            outer = score(density, x.unsqueeze(1), context)
            assert outer.shape == (n, n), f"outer product of batches gives {tuple(outer.shape)}"
            close(outer[0], rows, bound, "many x under many contexts")
    for shape in ((2, 1, n // 2), (0,), (2, 0)):
        count = torch.Size(shape).numel()
        many = x[:count].reshape(*shape, *x.shape[1:])
        contexts = _map(
            context, lambda part, s=shape, c=count: part[:c].reshape(*s, *part.shape[1:])
        )
        result = score(density, many, contexts)
        assert result.shape == shape, f"log_prob of a batch {shape} has shape {tuple(result.shape)}"
        if count == n:
            close(result.flatten(), log_prob, bound, f"a batch {shape}")


def check_context_matters(density: Density, x: Tensor, context) -> None:
    """Other contexts give other densities."""
    before = score(density, x, context)
    after = score(density, x, _map(context, lambda part: part + 1.0))
    assert ((before - after).abs() > 1e-4).any(), "the context changes nothing"


def check_samples(density: Density, context=None) -> None:
    """Shapes, dtype and support of samples; the generator decides them; no gradients; temperatures.

    Args:
        context: (n, *context_event), or None.
    """
    batch = () if context is None else (len(_leaves(context)[0]),)
    dtype = next(
        (p.dtype for p in [*density.parameters(), *density.buffers()] if p.is_floating_point()),
        None,
    )
    event = tuple(density.event_shape)
    for n, leading in ((), ()), (4, (4,)), ((2, 3), (2, 3)), (0, (0,)):
        x = density.sample(n, context)
        assert x.shape == (*leading, *batch, *event), f"sample({n!r}) has shape {tuple(x.shape)}"
        assert dtype is None or x.dtype == dtype, f"samples are {x.dtype}"
        assert not x.requires_grad, "sample has gradients"
        assert x.isfinite().all(), "a sample is not finite"
        assert not density.support.outside(x).any(), "a sample lies outside the support"
    seeds = [torch.Generator().manual_seed(seed) for seed in (1, 1, 2)]
    same, again, other = (density.sample(5, context, generator=seed) for seed in seeds)
    assert torch.equal(same, again), "the same generator gives other samples"
    assert not torch.equal(same, other), "another generator gives the same samples"
    if density.scalable:
        assert density.sample(3, context, temperature=0.5).shape == (3, *batch, *event)
        assert density.sample(3, context, temperature=0.0).isfinite().all()
    else:
        _refuses(ValueError, density.sample, 3, context, temperature=0.5)
    _refuses(ValueError, density.sample, -1, context)
    _refuses(ValueError, density.sample, 3, context, temperature=-1.0)


def check_sample_and_log_prob(density: Density, context=None, *, bound: float) -> None:
    """The log-probabilities that come with samples are those of `log_prob`, at any temperature.

    A sample is rounded as its size has it, so the bound is also relative to that.
    """
    for temperature in (1.0, 0.7) if density.scalable else (1.0,):
        x, log_prob = density.sample_and_log_prob(5, context, temperature=temperature)
        assert x.shape == (*log_prob.shape, *density.event_shape)
        assert not log_prob.requires_grad and not x.requires_grad
        if density.exact:
            size = 1 + x.abs().flatten(log_prob.dim()).amax(-1)
            close(
                log_prob / size,
                density.log_prob(x, context) / size,
                bound,
                f"log_prob of samples at temperature {temperature}, over their size",
            )


def check_gradients_of_samples(density: Density, context=None) -> None:
    """`rsample` has gradients in every weight that changes samples, or says that it has none."""
    if not density.reparameterized:
        _refuses(TypeError, density.rsample, 3, context)
        _refuses(TypeError, density.sample_and_log_prob, 3, context, gradients=True)
        return
    x, log_prob = density.sample_and_log_prob(5, context, gradients=True)
    parameters = [p for p in density.parameters() if p.requires_grad]
    if not parameters:
        return
    gradients = torch.autograd.grad(
        x.square().sum() + log_prob.sum(), parameters, materialize_grads=True
    )
    assert all(gradient.isfinite().all() for gradient in gradients), "a gradient is not finite"
    assert any((gradient != 0).any() for gradient in gradients), "samples have no gradients"
    moved = density.rsample(5, context)
    assert torch.autograd.grad(moved.square().sum(), parameters, materialize_grads=True)


def check_recorded_gradients(density: Density, x: Tensor, context=None) -> None:
    """Gradients that can be differentiated again are those that can't be; so they are again."""
    leaves = [x.detach().requires_grad_(), *(p for p in density.parameters() if p.requires_grad)]

    def gradients(**options) -> list[Tensor]:
        value = density.log_prob(leaves[0], context).sum()
        found = torch.autograd.grad(value, leaves, allow_unused=True, **options)
        return [g for g in found if g is not None]

    for got, want in zip(gradients(create_graph=True), gradients(), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-7, atol=1e-9)


def check_outside(density: Density, x: Tensor, context=None) -> None:
    """Outside the support log_prob is −∞; NaN stays NaN; rows beside are what they were.

    Gradients of the rows inside stay finite too: a bad row does not spoil a batch.
    """
    expected = score(density, x, context)
    bad = [
        value
        for value in _outside_values(density)
        if _first(density).outside(torch.tensor(value)).item()
    ]
    for value in [*bad, float("nan")]:
        broken = x.clone()
        broken[1].view(-1)[0] = value
        log_prob = score(density, broken, context)
        wanted = float("nan") if value != value else -float("inf")
        close(log_prob[1], torch.full_like(log_prob[1], wanted), 0.0, f"log_prob at {value}")
        if density.exact:
            others = [i for i in range(len(x)) if i != 1]
            close(log_prob[others], expected[others], 1e-12, f"rows beside {value}")
        parameters = [p for p in density.parameters() if p.requires_grad]
        if parameters and value == value:
            rows = score(density, broken, context)
            total = torch.where(rows.isfinite(), rows, 0.0).sum()
            gradients = torch.autograd.grad(total, parameters, materialize_grads=True)
            assert all(g.isfinite().all() for g in gradients), (
                f"gradients beside a row at {value} are not finite"
            )


def _first(density: Density) -> Support:
    """Where the first element of an event lies."""
    support = density.support
    return support.supports[0] if isinstance(support, Product) else support


def _outside_values(density: Density) -> list[float]:
    support = _first(density)
    lower, upper = support.lower, support.upper
    ends = [lower - 1e-3, upper + 1e-3, lower - 1e4, upper + 1e4]
    return [*ends, float("inf"), -float("inf"), *([0.5] if support.integer else [])]


def check_codes(flow: Flow, x: Tensor, context=None, *, bound: float) -> None:
    """`decode` undoes `encode`; log_prob is the base's at the code plus the log-determinant."""
    torch.manual_seed(SEED)
    z = flow.encode(x, context)
    close(flow.decode(z, context), x, bound, "decode(encode(x)) against x")


def check_pure(density: Density, x: Tensor, context=None) -> None:
    """Scoring and sampling change neither what they are given nor the model."""
    state = {name: value.clone() for name, value in density.state_dict().items()}
    given, given_context = x.clone(), copy.deepcopy(context)
    first = score(density, x, context)
    density.sample(2, context)
    density.sample_and_log_prob(2, context)
    assert torch.equal(score(density, x, context), first), "twice is not the same"
    assert torch.equal(x, given), "x was changed in place"
    assert all(
        torch.equal(a, b) for a, b in zip(_leaves(context), _leaves(given_context), strict=True)
    )
    for name, value in density.state_dict().items():
        assert torch.equal(value, state[name]), f"{name} was changed"


def check_copies(density: Density, x: Tensor, context=None) -> None:
    """A pickled copy, a deep copy and one by `state_dict` score the same, bit by bit."""
    expected = score(density, x, context)
    assert torch.equal(score(pickle.loads(pickle.dumps(density)), x, context), expected), (
        "a pickled copy differs"
    )
    assert torch.equal(score(copy.deepcopy(density), x, context), expected), "a deep copy differs"
    other = copy.deepcopy(density)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.5)
    other.load_state_dict(density.state_dict())
    assert torch.equal(score(other, x, context), expected), "a copy by state_dict differs"


def check_importance_weighting(density: Density, x: Tensor, context=None) -> None:
    """`samples=k` averages inside the logarithm: on average no smaller, and no noisier."""
    torch.manual_seed(SEED)
    many = torch.stack([density.log_prob(x, context) for _ in range(200)])
    tight = torch.stack([density.log_prob(x, context, samples=20) for _ in range(10)])
    slack = 5 * (many.std(0) / 200**0.5 + tight.std(0) / 10**0.5)
    assert (tight.mean(0) >= many.mean(0) - slack).all(), "more draws give a lower bound"
    assert (tight.std(0) <= many.std(0) + 1e-12).all(), "more draws are noisier"


def _refuses(error: type[Exception], function, *arguments, **options) -> None:
    try:
        function(*arguments, **options)
    except error:
        return
    raise AssertionError(f"{function.__name__}{arguments[:1]} with {options} was not refused")
