"""What simple models reach on the same rows: a flow that is no better has learned nothing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from diffeo.supports import LINE, Product, Support
from diffeo.train.inputs import Rows, as_tensor

KERNELS = 2_000
"""The most training rows that the kernel density estimate of a column is made of."""
MOST_LEVELS = 1_000
"""A column of whole numbers with more different values is smoothed over."""
MOST_COUNTED = 10_000
"""The most levels, seen or not, that each have a frequency."""
CONSTANT = 1e-6
"""The width that a constant column is given, as a part of the size of its numbers."""
RIDGE = 1e-6
"""Of the regression on the context, as a part of the context's variance."""
TAILS = 0.01
"""The part of a Cauchy distribution in a kernel density estimate."""
NARROWEST = 0.7
"""The least width of a kernel on whole numbers: densities at them sum to one within 10⁻³."""
BATCH = 512
"""Rows scored at a time."""


@dataclass(frozen=True)
class Baselines:
    """Two simple models of encoded rows, and the log-likelihood of each row under them.

    - `gaussian`: a Gaussian with the full covariance; its mean is linear in the context. Elements
      of whole numbers are fitted as x + u, u ~ U[0, 1), and scored by the bound E_u log p(x + u),
      as a dequantized model is; both expectations are exact here, nothing is drawn.
    - `independent`: elements that know nothing of each other or the context. Whole numbers of few
      levels: the frequency of each level of the support, or between the least and the greatest
      seen, one added to each count; without two bounds a part is left for levels beyond. Others: a
      Gaussian kernel density estimate, reflected at bounds, with a hundredth of a Cauchy for its
      tails; on whole numbers it is taken for the probability of the step.

    Elements with integer support contribute probability, the others density per unit. The Gaussian
    knows no bounds: what it puts outside of them is lost, as it is for any model without them. A
    constant column, whose density has no limit, counts as one of a millionth of its numbers' size.
    Rows outside the support score −∞.

    Made by `fit` or `from_state`; D is the number of elements, C that of the context.

    Example:
        >>> import torch
        >>> x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
        >>> scores = Baselines.fit(x).log_prob(x)
        >>> {name: tuple(value.shape) for name, value in scores.items()}
        {'gaussian': (500,), 'independent': (500,)}

    Reference: Silverman, 1986, Density Estimation for Statistics and Data Analysis (kernel width).
    """

    supports: Tensor
    """(D, 5): lower, upper, closed, integer, circular of each element."""
    size: Tensor
    """(D,): what values are divided by, so that none overflows when squared."""
    center: Tensor
    slope: Tensor
    """(C, D): of the mean in the standardised context."""
    context_center: Tensor
    context_scale: Tensor
    scale: Tensor
    factor: Tensor
    """(D, D): Cholesky factor of the correlation."""
    levels: Tensor
    """The levels that have a frequency, of one element after the other."""
    log_frequency: Tensor
    starts: Tensor
    """(D + 1,): where each element's levels begin; one without is left to kernels."""
    log_others: Tensor
    """(D,): logarithm of the part of levels without a frequency."""
    kernels: Tensor
    """(kernels, elements left to them)."""
    log_weight: Tensor
    width: Tensor
    middle: Tensor
    spread: Tensor

    @classmethod
    def fit(
        cls,
        x: Rows,
        supports: Sequence[Support | None] | Support | Product | None = None,
        context: Rows | None = None,
        weights: Rows | None = None,
    ) -> "Baselines":
        """Fits both models to training rows.

        Args:
            x: (rows, D) or (rows, *event); tensor, array or data frame.
            supports: of each element, None for the line; or a density's `support`.
            context: (rows, C).
            weights: (rows,), how much each row counts; only their ratios matter.

        Raises:
            TypeError: if the data is not numbers.
            ValueError: if there are fewer than two rows, a value is not finite or outside its
                support, a weight is negative or all are zero, or numbers of rows differ.
        """
        x = _as_matrix("x", x)
        if len(x) < 2:
            raise ValueError(f"Baselines: needs at least two rows to fit, got {len(x)}")
        each = _each(supports, x.shape[1])
        for i, support in enumerate(each):
            if bool(support.outside(x[:, i]).any()):
                raise ValueError(f"Baselines: element {i} has values outside {support}")
        weight = _as_weights(weights, len(x))
        given = torch.zeros(len(x), 0, dtype=x.dtype)
        if context is not None:
            given = _as_matrix("context", context)
        if len(given) != len(x):
            raise ValueError(f"Baselines: context has {len(given)} rows, x has {len(x)}")
        integer = torch.tensor([support.integer for support in each])
        size = torch.where(integer, 1.0, _size(x))
        table = torch.tensor(
            [[s.lower, s.upper, s.closed, s.integer, s.circular] for s in each], dtype=x.dtype
        )
        gaussian = _fit_gaussian(x / size, given, weight, integer)
        independent = _fit_independent(x / size, each, weight)
        return cls(supports=table, size=size, **gaussian, **independent)

    def log_prob(self, x: Rows, context: Rows | None = None) -> dict[str, Tensor]:
        """log p(x|context) of every row in nats, by the name of the model.

        Shapes: x: (rows, D); context: (rows, C); out: (rows,) each, float64.

        Raises:
            TypeError: if the data is not numbers.
            ValueError: if a shape is not that of the rows fitted to, or a value is not finite.
        """
        x = _as_matrix("x", x)
        context_size = len(self.slope)
        given = torch.zeros(len(x), 0) if context is None else _as_matrix("context", context)
        if x.shape[1] != len(self.size) or tuple(given.shape) != (len(x), context_size):
            raise ValueError(
                f"Baselines: fitted to {len(self.size)} elements and {context_size} of context; "
                f"got x {tuple(x.shape)} and context {tuple(given.shape)}"
            )
        out: dict[str, list[Tensor]] = {"gaussian": [], "independent": []}
        each = [
            Support(a, b, bool(c), bool(i), bool(o)) for a, b, c, i, o in self.supports.tolist()
        ]
        units = self.size.log().sum()
        for start in range(0, len(x), BATCH):
            rows, part = x[start : start + BATCH], given[start : start + BATCH]
            outside = torch.stack([s.outside(rows[:, i]) for i, s in enumerate(each)]).any(0)
            for name, score in (
                ("gaussian", self._gaussian(rows / self.size, part)),
                ("independent", self._independent(rows / self.size, each)),
            ):
                out[name].append((score - units).masked_fill(outside, -math.inf))
        empty = x.new_zeros(0)
        return {name: torch.cat([empty, *parts]) for name, parts in out.items()}

    def state(self) -> dict[str, Tensor]:
        """The fitted models as tensors, to be saved and given to `from_state`."""
        return {field.name: getattr(self, field.name).contiguous() for field in fields(self)}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> "Baselines":
        """The fitted models of which `state` gave the tensors.

        Raises:
            ValueError: if tensors are missing or unknown, or their shapes do not fit.
        """
        names = {field.name for field in fields(cls)}
        if set(state) != names:
            wrong = sorted(names ^ set(state))
            raise ValueError(f"Baselines: the state lacks, or has the unknown, {', '.join(wrong)}")
        made = cls(**state)
        columns, kernels = len(made.size), made.kernels
        shapes = {
            "supports": (columns, 5),
            "center": (columns,),
            "slope": (len(made.context_center), columns),
            "context_scale": (len(made.context_center),),
            "scale": (columns,),
            "factor": (columns, columns),
            "log_frequency": (len(made.levels),),
            "starts": (columns + 1,),
            "log_others": (columns,),
            "log_weight": (len(kernels),),
            "width": (columns,),
            "middle": (columns,),
            "spread": (columns,),
        }
        for name, shape in shapes.items():
            if tuple(state[name].shape) != shape:
                raise ValueError(
                    f"Baselines: {name} of the state must have shape {shape}, "
                    f"got {tuple(state[name].shape)}"
                )
        return made

    def _gaussian(self, x: Tensor, context: Tensor) -> Tensor:
        """E_u log N(x + u; μ(context) + E u, Σ), u with variance 1/12 in elements of integers."""
        noise = self.supports[:, 3] / 12
        mean = self.center + ((context - self.context_center) / self.context_scale) @ self.slope
        whitened = torch.linalg.solve_triangular(
            self.factor, ((x - mean) / self.scale).T, upper=False
        )
        precision = torch.cholesky_inverse(self.factor).diagonal()
        square = whitened.square().sum(0) + (precision * noise / self.scale.square()).sum()
        log_determinant = 2 * (self.factor.diagonal().log().sum() + self.scale.log().sum())
        return -0.5 * (square + log_determinant + x.shape[1] * math.log(2 * math.pi))

    def _independent(self, x: Tensor, each: Sequence[Support]) -> Tensor:
        total, left = x.new_zeros(len(x)), iter(self.kernels.T)
        for i, support in enumerate(each):
            if self.starts[i + 1] > self.starts[i]:
                total += self._frequency(x[:, i], i, support)
            else:
                total += self._density(x[:, i], i, support, next(left))
        return total

    def _frequency(self, x: Tensor, i: int, support: Support) -> Tensor:
        """log(frequency of the level, where it has one, + a part of a Cauchy over the steps)."""
        block = slice(int(self.starts[i]), int(self.starts[i + 1]))
        levels = self.levels[block]
        place = torch.searchsorted(levels, x.contiguous()).clamp(max=len(levels) - 1)
        found = self.log_frequency[block][place].masked_fill(levels[place] != x, -math.inf)
        q, middle = self.spread[i], self.middle[i]
        # The Cauchy's probability of [k − ½, k + ½], without a difference of close numbers.
        step = torch.atan2(q, q.square() + (x - middle).square() - 0.25)
        low, high = ((torch.tensor(end) - middle) / q for end in _ends(support))
        others = step.log() - (high.atan() - low.atan()).log() + self.log_others[i]
        return torch.logaddexp(found, others)

    def _density(self, x: Tensor, i: int, support: Support, kernels: Tensor) -> Tensor:
        """log(0.99 Σ_j w_j N(x; x_j, h²) + 0.01 Cauchy(x; median, q)).

        h = 0.9 min(σ, 2q/1.34) m^(−1/5); q is half the distance between the quartiles, a Cauchy's
        own scale. Its hundredth is there for rows in the tails, which lie many widths from any
        kernel: it costs at most 0.01 nats a column and bounds what a single row can lose.
        """
        h, q = self.width[i], self.spread[i]
        to_kernels = -h.log() - 0.5 * math.log(2 * math.pi) + math.log1p(-TAILS)
        lower, upper = (end / self.size[i] for end in _ends(support))
        images = [x]
        if support.circular:
            images += [x - (upper - lower), x + (upper - lower)]
        else:
            images += [2 * end - x for end in (lower, upper) if end.isfinite()]
        total = -q.log() - math.log(math.pi) + math.log(TAILS)
        total = total - ((x - self.middle[i]) / q).square().log1p()
        for image in images:
            sums = [_log_kernels(part, kernels, h, self.log_weight) for part in image.split(64)]
            total = torch.logaddexp(total, torch.cat(sums) + to_kernels)
        return total


def baselines(x_train: Rows, x_test: Rows, *, discrete: bool | None = None) -> dict[str, float]:
    """Mean log-likelihood of test rows, in nats a row, under `Baselines` fitted to training rows.

    Whole numbers are frequencies of the levels between the least and the greatest of all the data.
    Other units of a column shift both densities by the logarithm of the factor, and nothing else.

    Args:
        x_train: (rows, *event); tensor, array or data frame.
        x_test: the same columns.
        discrete: whether figures are of probabilities of whole numbers rather than of densities.
            None: whether all the data is whole numbers; say False for a model that does not
            dequantize them.

    Raises:
        TypeError: if the data is not numbers.
        ValueError: if there are fewer than two training rows or no test row, the rows differ in
            length, a value is not finite, or discrete data is not whole numbers.
    """
    train, test = (as_tensor("baselines", "data", x).double().cpu() for x in (x_train, x_test))
    train, test = train.flatten(1), test.flatten(1)
    if len(train) < 2 or not len(test) or train.shape[1] != test.shape[1]:
        raise ValueError(
            "baselines: needs at least two training rows and one test row, of the same length; "
            f"got {tuple(train.shape)} and {tuple(test.shape)}"
        )
    if not bool(train.isfinite().all() & test.isfinite().all()):
        raise ValueError("baselines: every value must be finite")
    whole = bool((train == train.round()).all() & (test == test.round()).all())
    if discrete and not whole:
        raise ValueError("baselines: discrete data must be whole numbers")
    support = LINE
    if whole if discrete is None else discrete:
        least = float(torch.minimum(train.min(), test.min()))
        greatest = float(torch.maximum(train.max(), test.max()))
        support = Support(lower=least - 0.5, upper=greatest + 0.5, integer=True)
    scores = Baselines.fit(train, support).log_prob(test)
    return {name: float(values.mean()) for name, values in scores.items()}


def _as_matrix(what: str, x: Rows) -> Tensor:
    rows = as_tensor("Baselines", what, x).double().cpu()
    if rows.dim() < 1:
        raise ValueError(f"Baselines: {what} must have rows, got one number")
    rows = rows.reshape(len(rows), math.prod(rows.shape[1:]))
    if not bool(rows.isfinite().all()):
        raise ValueError(f"Baselines: every value of {what} must be finite")
    return rows


def _as_weights(weights: Rows | None, rows: int) -> Tensor:
    """Weights of mean one."""
    if weights is None:
        return torch.ones(rows, dtype=torch.float64)
    weight = as_tensor("Baselines", "weights", weights).double().cpu()
    if tuple(weight.shape) != (rows,):
        raise ValueError(f"Baselines: weights must have shape ({rows},), got {weight.shape}")
    if not bool(weight.isfinite().all() & (weight >= 0).all() & (weight.sum() > 0)):
        raise ValueError("Baselines: weights must be finite, not negative, and not all zero")
    return weight / weight.mean()


def _each(
    supports: Sequence[Support | None] | Support | Product | None, columns: int
) -> list[Support]:
    several = supports.supports if isinstance(supports, Product) else supports
    if several is None or isinstance(several, Support):
        return [several or LINE] * columns
    each = [support or LINE for support in several]
    if len(each) != columns:
        raise ValueError(f"Baselines: got {len(each)} supports for {columns} elements")
    return each


def _log_kernels(x: Tensor, kernels: Tensor, width: Tensor, log_weight: Tensor) -> Tensor:
    """log Σ_j w_j exp(−½ ((x − x_j)/h)²), in place: nearly all the time goes into this."""
    exponents = (x[:, None] - kernels).div_(width).square_().mul_(-0.5).add_(log_weight)
    highest = exponents.amax(-1, keepdim=True).clamp(min=-1e300)  # of values far off: −∞
    return exponents.sub_(highest).exp_().sum(-1).log_() + highest[:, 0]


def _ends(support: Support) -> tuple[float, float]:
    """Where a column ends: half a step beyond the first and the last whole number."""
    if not support.integer:
        return support.lower, support.upper
    ends = []
    for end, inward in ((support.lower, 1), (support.upper, -1)):
        if math.isfinite(end):
            within = math.ceil(end) if inward > 0 else math.floor(end)
            end = within + (0.5 if within == end and not support.closed else -0.5) * inward
        ends.append(end)
    return ends[0], ends[1]


def _size(x: Tensor) -> Tensor:
    """The greatest absolute value of each column; the table's for a column of zeros."""
    size = x.abs().amax(0)
    size = torch.where(size > 0, size, size.max())
    return torch.where(size > 0, size, 1.0)


def _constant(x: Tensor) -> Tensor:
    return x.amax(0) == x.amin(0)


def _freedom(weight: Tensor) -> Tensor:
    """n − 1 for equal weights; in general Σw − Σw²/Σw, as in a weighted covariance."""
    return (weight.sum() - weight.square().sum() / weight.sum()).clamp(min=1.0)


def _fit_gaussian(x: Tensor, context: Tensor, weight: Tensor, integer: Tensor) -> dict[str, Tensor]:
    share = (weight / weight.sum())[:, None]
    center, context_center = (share * x).sum(0), (share * context).sum(0)
    spread = (share * (context - context_center).square()).sum(0).sqrt()
    context_scale = torch.where(spread > 0, spread, 1.0)
    given = (context - context_center) / context_scale
    moments = (share * given).T @ given + RIDGE * torch.eye(given.shape[1], dtype=x.dtype)
    slope = torch.linalg.solve(moments, (share * given).T @ (x - center))
    rest = x - center - given @ slope
    freedom = (_freedom(weight) - given.shape[1]).clamp(min=1.0)
    covariance = (weight[:, None] * rest).T @ rest / freedom + torch.diag(integer / 12)
    scale = covariance.diagonal().sqrt()
    # A width keeps the figure finite where a column is constant or follows from the context, a
    # ridge where some are dependent.
    narrow = torch.where(
        _constant(x), CONSTANT, CONSTANT * (share * (x - center) ** 2).sum(0) ** 0.5
    )
    scale = torch.where(integer, scale, scale.maximum(narrow))
    factor = _cholesky((covariance / (scale * scale[:, None])).fill_diagonal_(1.0))
    return {
        "center": center,
        "slope": slope,
        "context_center": context_center,
        "context_scale": context_scale,
        "scale": scale,
        "factor": factor,
    }


def _cholesky(correlation: Tensor) -> Tensor:
    """The Cholesky factor, with the smallest ridge that makes the matrix positive definite."""
    eye = torch.eye(len(correlation), dtype=correlation.dtype)
    for ridge in (1e-12, 1e-10, 1e-8):
        factor, failed = torch.linalg.cholesky_ex(correlation + ridge * eye)
        if not failed:
            return factor
    return torch.linalg.cholesky(correlation + 1e-6 * eye)


def _fit_independent(x: Tensor, each: Sequence[Support], weight: Tensor) -> dict[str, Tensor]:
    chosen = torch.arange(len(x))
    if len(x) > KERNELS:
        chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:KERNELS]
    kernels, kernel_weight = x[chosen], weight[chosen]
    if not bool(kernel_weight.sum() > 0):
        kernels, kernel_weight = x[weight > 0][:KERNELS], weight[weight > 0][:KERNELS]
    lower, middle, upper = _quartiles(kernels, kernel_weight)
    share = (kernel_weight / kernel_weight.sum())[:, None]
    square = (share * (kernels - (share * kernels).sum(0)).square()).sum(0)
    deviation = (square * kernel_weight.sum() / _freedom(kernel_weight)).sqrt()
    spread = (upper - lower) / 2
    spread = torch.where(spread > 0, spread, deviation)
    rows = 1 / share.square().sum()  # that many of equal weight say as much
    width = 0.9 * torch.minimum(deviation, spread / 0.67) * rows**-0.2
    width, spread = (torch.where(_constant(kernels), CONSTANT, w) for w in (width, spread))
    integer = torch.tensor([support.integer for support in each])
    width = torch.where(integer, width.clamp(min=NARROWEST), width)
    spread = torch.where(integer, spread.clamp(min=1.0), spread)
    tables = [_count(x[:, i], support, weight) for i, support in enumerate(each)]
    left = torch.tensor([not len(levels) for levels, _, _ in tables])
    sizes = torch.tensor([0, *(len(levels) for levels, _, _ in tables)])
    return {
        "levels": torch.cat([levels for levels, _, _ in tables]),
        "log_frequency": torch.cat([frequency for _, frequency, _ in tables]),
        "starts": sizes.cumsum(0),
        "log_others": torch.tensor([others for _, _, others in tables], dtype=x.dtype),
        "kernels": kernels[:, left],
        "log_weight": share[:, 0].log(),
        "width": width,
        "middle": middle,
        "spread": spread,
    }


def _count(x: Tensor, support: Support, weight: Tensor) -> tuple[Tensor, Tensor, float]:
    """The levels of a column, the logarithms of their frequencies, and of what is left for others.

    Levels are all of the support where it is small, or else from the least to the greatest seen;
    where those are too many, the ones seen, and then as much is left for others as the levels seen
    once make up (Good, 1953). None for a column that is better left to kernels.
    """
    none = x.new_zeros(0)
    if not support.integer:
        return none, none, -math.inf
    seen, place, often = x.unique(return_inverse=True, return_counts=True)
    if len(seen) > MOST_LEVELS:
        return none, none, -math.inf
    counts = x.new_zeros(len(seen)).index_add_(0, place, weight)
    lower, upper = _ends(support)
    whole = upper - lower <= MOST_COUNTED
    if not whole:
        lower, upper = float(seen[0]) - 0.5, float(seen[-1]) + 0.5
    levels, others = seen, 1.0 + float((often == 1).sum())
    if upper - lower <= MOST_COUNTED:
        levels, others = torch.arange(lower + 0.5, upper, dtype=x.dtype), 0.0 if whole else 1.0
        counts = x.new_zeros(len(levels)).index_add_(0, (seen - levels[0]).long(), counts)
    total = float(counts.sum()) + len(levels) + others
    return levels, ((counts + 1) / total).log(), math.log(others / total) if others else -math.inf


def _quartiles(x: Tensor, weight: Tensor) -> Tensor:
    """The quartiles of every column. Shape (3, D)."""
    parts = torch.tensor([0.25, 0.5, 0.75], dtype=x.dtype)
    if bool((weight == weight[0]).all()):
        return torch.quantile(x, parts, dim=0)
    values, order = x.sort(dim=0)
    below = weight[order].cumsum(0) / weight.sum()
    places = torch.searchsorted(below.T.contiguous(), parts.expand(x.shape[1], 3).contiguous())
    return values.gather(0, places.T.clamp(max=len(x) - 1))
