"""Invertible convolutions of width 1: a linear map of the channels at every position."""

import math

import torch
from torch import Tensor

from diffeo.bijections.base import Bijection
from diffeo.bijections.linear import (
    FullLinear,
    LULinear,
    Permutation,
    QRLinear,
    without_autocast,
)
from diffeo.bijections.memory import WrittenOut
from diffeo.contexts import Context
from diffeo.nets.convolution import check_dims
from diffeo.numerics import widen

FORMS = ("full", "lu", "qr", "reverse", "permutation")


class InvertibleConv(WrittenOut):
    """Glow's invertible 1×1 convolution: z_p = W x_p at every position p of space.

    log|det| = N log|det W|, N being the number of positions. Inverse: x_p = W⁻¹ z_p.

    Args:
        channels: C.
        dims: the number of dimensions of space: 1, 2 or 3.
        form: how W is given: "full", any matrix (`FullLinear`);
            "lu", triangular factors behind a random permutation, which is the start (`LULinear`);
            "qr", a rotation of a triangular matrix, the identity at the start (`QRLinear`);
            "reverse" and "permutation", which are not learned: channels in reverse, or in an order
            drawn at random.
        start: of "full": "rotation" (random) or "identity".
    Shapes: x, z: (*batch, C, *space); ladj: (*batch,).

    Raises:
        ValueError: if the number of channels or of dimensions, or the form, is not one of these.
    Reference: Kingma & Dhariwal, 2018, Glow, arXiv:1807.03039, section 3.2; QR: Hoogeboom, van den
        Berg & Welling, 2019, Emerging Convolutions for Generative Normalizing Flows,
        arXiv:1901.11137.

    Example:
        >>> import torch
        >>> from diffeo.bijections import InvertibleConv
        >>> z, ladj = InvertibleConv(3)(torch.randn(5, 3, 8, 8))
        >>> z.shape, ladj.shape
        (torch.Size([5, 3, 8, 8]), torch.Size([5]))
    """

    recompute = "invert"

    def __init__(
        self, channels: int, dims: int = 2, form: str = "full", start: str = "rotation"
    ) -> None:
        super().__init__()
        check_dims("InvertibleConv", dims)
        if form not in FORMS:
            raise ValueError(
                f"InvertibleConv: form must be one of {', '.join(FORMS)}; got {form!r}"
            )
        self.channels, self.dims, self.form = channels, dims, form
        if form in ("reverse", "permutation"):
            order = "reverse" if form == "reverse" else "random"
            self.linear: Bijection = Permutation(channels, order)
        elif form == "full":
            self.linear = FullLinear(channels, start, bias=False)
        else:
            self.linear = (LULinear if form == "lu" else QRLinear)(channels, bias=False)
        self.event_shape = (channels, *[None] * dims)
        self.event_dim = dims + 1

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        matrix, log_det = self._matrix(x)
        return self._at_every_position(matrix, x), self._ladj(log_det, x)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        matrix, log_det = self._matrix(z)
        return self._at_every_position(self._inverted(matrix), z), self._ladj(-log_det, z)

    @property
    def goes_back(self) -> bool:
        """With any matrix, which is a parameter itself."""
        return isinstance(self.linear, FullLinear)

    def go_back(
        self, z: Tensor, of_z: Tensor, of_ladj: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """∂x_p = Wᵀ ∂z_p; ∂W = Σ_p ∂z_p x_pᵀ + N W⁻ᵀ Σ ∂ladj."""
        (matrix,) = self.parameters()
        inverse = self._inverted(matrix)
        x = self._at_every_position(inverse, z)
        of_x = self._at_every_position(matrix.mT, of_z)
        with without_autocast(z):
            of_matrix = torch.bmm(self._flat(of_z), self._flat(x).mT).sum(0)
        of_log_det = of_ladj.sum() * self._positions(z)
        return x, of_x, [of_matrix + of_log_det * inverse.mT]

    def _matrix(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """W and log|det W|."""
        if isinstance(self.linear, FullLinear):
            with without_autocast(x):
                return self.linear.weight, torch.linalg.slogdet(self.linear.weight).logabsdet
        rows, log_det = self.linear(self._unit_vectors(x))
        return rows.mT, log_det[0]

    def _inverted(self, matrix: Tensor) -> Tensor:
        """W⁻¹."""
        if isinstance(self.linear, FullLinear):
            # Rounded once: what it is off by is the same at every position, and adds up in depth.
            # This form does not raise where W is singular.
            return torch.linalg.inv_ex(widen(matrix)).inverse.to(matrix.dtype)
        return self.linear.inverse(self._unit_vectors(matrix))[0].mT

    def _unit_vectors(self, x: Tensor) -> Tensor:
        # What a linear map makes of them are the columns of its matrix, in O(C³): little beside
        # the O(N C²) of applying it.
        reference = next(self.linear.parameters(), x)
        dtype = torch.promote_types(reference.dtype, torch.float32)
        return torch.eye(self.channels, dtype=dtype, device=x.device)

    def _at_every_position(self, matrix: Tensor, x: Tensor) -> Tensor:
        """The matrix at every position: one product an image, faster than a convolution."""
        flat = self._flat(x)
        with without_autocast(x):
            matrices = matrix.to(x.dtype).expand(flat.shape[0], *matrix.shape)
            return torch.bmm(matrices, flat).reshape(x.shape)

    def _flat(self, x: Tensor) -> Tensor:
        """One batch of images whose positions are in a row."""
        batch = math.prod(x.shape[: -self.event_dim])
        return x.reshape(batch, self.channels, self._positions(x))

    def _positions(self, x: Tensor) -> int:
        return math.prod(x.shape[-self.dims :])

    def _ladj(self, log_det: Tensor, x: Tensor) -> Tensor:
        return (log_det * self._positions(x)).expand(x.shape[: -self.event_dim])

    def extra_repr(self) -> str:
        """Channels and form."""
        return f"channels={self.channels}, dims={self.dims}, form={self.form!r}"
