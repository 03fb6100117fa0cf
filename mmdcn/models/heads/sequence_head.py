"""A head that reads numbers."""

import operator
from typing import NamedTuple

import torch
from mmengine.model import BaseModule
from mmpretrain.structures import DataSample
from torch import nn
from torch.nn import functional as F

from mmdcn.models.patches.geometry import to_pair
from mmdcn.registry import MODELS
from mmdcn.structures import last_map
from mmdcn.structures.feature_map import Features

NUM_DIGITS = 10  # 0 to 9; the next class, 10, means "no digit"
POOLINGS = ('average', 'inverse_entropy')


class SequenceProbabilities(NamedTuple):
    """Distributions of N images, at each of L places or pooled over them (then without L).

    Attributes:
        length: (N, M[, L]), distribution over the lengths 1..M.
        digits: (N, M, 11[, L]), distribution of each digit; class 10 means none.
    """

    length: torch.Tensor
    digits: torch.Tensor


@MODELS.register_module()
class SequenceHead(BaseModule):
    """Reads a number of up to M digits at every place and pools the answers (§4.2.1, §4.2.2).

    At each place, a linear layer predicts a length and M digits. These distributions are pooled
    over the places. A place is a window of cells, whose features are averaged before the layer. It
    is one cell, or all cells of a patch if the tower turns a patch into a small map. The head takes
    any feature map (N, D, h, w), so it also works on an MMPretrain backbone, and the maps of k
    patches (N, D, k, h, w).

    A sequence is a row of 1 + M integers: the length minus one, then the digits, where 10 means
    none.

    Args:
        in_channels: Channels D of the feature map.
        max_length: The largest number of digits, M.
        window: Height and width of a place, in cells. A place starts at each cell, so places
            overlap.
        pooling: ``'average'`` (eq. 11) or ``'inverse_entropy'``, which weights each
            distribution of a place by its inverse entropy (eqs. 12-14).
        init_cfg: MMEngine's initialisation.

    Raises:
        ValueError: ``pooling`` is neither, or ``window`` is less than one cell.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        max_length: int = 5,
        window: int | tuple[int, int] = 1,
        pooling: str = 'average',
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg=init_cfg)
        if pooling not in POOLINGS:
            raise ValueError(
                f'SequenceHead(pooling=...) must be one of {POOLINGS}, got {pooling!r}.'
            )
        if min(to_pair(window)) < 1:
            raise ValueError(f'SequenceHead(window=...) is at least one cell, got {window}.')
        self.in_channels = in_channels
        self.max_length = max_length
        self.window = to_pair(window)
        self.pooling = pooling
        self.classifier = _LinearAtPlaces(in_channels, max_length * (1 + NUM_DIGITS + 1), 1)

    def at_each_place(self, feats: Features) -> SequenceProbabilities:
        """Return the distributions at each place of a map, or of the last map of a tuple.

        Raises:
            ValueError: The number of channels is not ``in_channels``, or the map is smaller than
                the window.
        """
        feats = last_map(feats)
        if feats.size(1) != self.in_channels:
            raise ValueError(
                f'SequenceHead(in_channels={self.in_channels}) got a feature map of '
                f'{feats.size(1)} channels: set in_channels to what the tower gives.'
            )
        feats = self._average_windows(feats)
        logits = self.classifier(feats.flatten(2))  # (N, M·12, L)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        length, digits = logits.split((self.max_length, logits.size(1) - self.max_length), dim=1)
        digits = digits.unflatten(1, (self.max_length, -1))
        return SequenceProbabilities(length.softmax(1), digits.softmax(2))

    def _average_windows(self, feats: torch.Tensor) -> torch.Tensor:
        if self.window == (1, 1):
            return feats
        if any(map(operator.lt, feats.shape[-2:], self.window)):
            raise ValueError(
                f'SequenceHead(window={self.window}) got a map of {tuple(feats.shape[-2:])} cells: '
                'enlarge the image or patch, or set a smaller window.'
            )
        pooled = F.avg_pool2d(feats.flatten(1, -3), self.window, stride=1)
        return pooled.unflatten(1, feats.shape[1:-2])

    def probabilities(self, feats: Features) -> SequenceProbabilities:
        """Return the pooled distributions, (N, M) and (N, M, 11)."""
        return self._pool(self.at_each_place(feats))

    def _pool(self, places: SequenceProbabilities) -> SequenceProbabilities:
        length, digits = places
        if self.pooling == 'average':
            return SequenceProbabilities(length.mean(-1), digits.mean(-1))
        return SequenceProbabilities(
            (length * inverse_entropy_weights(length, dim=1)).sum(-1),
            (digits * inverse_entropy_weights(digits, dim=2)).sum(-1),
        )

    def forward(self, feats: Features) -> torch.Tensor:
        """Return log-probabilities (N, 12·M): of M lengths, then of 11 classes for M digits."""
        length, digits = self.probabilities(feats)
        return _safe_log(torch.cat((length, digits.flatten(1)), dim=1))

    def entropy(self, feats: Features) -> torch.Tensor:
        """Return the summed entropy of the digits, without the length (eq. 10), (N,)."""
        return _entropy(self.probabilities(feats).digits, dim=2).sum(1)

    def entropy_and_gradient_norm(self, feats: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return :meth:`entropy` and its gradient's norm in each cell, without a backward pass.

        The gradient v with respect to a place's logits passes the pooling and the softmax. The
        linear layer W has far more inputs than outputs. So the gradient Wᵀv of the map is never
        built; its norm is √(vᵀ W Wᵀ v).

        Args:
            feats: (N, D, h, w) or (N, D, k, h, w).

        Returns:
            tuple: (N,), and (N, h, w) or (N, k, h, w), without a graph.
        """
        with torch.no_grad():
            p = self.at_each_place(feats).digits  # (N, M, 11, L)
            if self.pooling == 'average':
                pooled = p.mean(-1, keepdim=True)
                of_places = -_safe_log(pooled) / p.size(-1)
            else:
                weights = inverse_entropy_weights(p, dim=2)
                pooled = (p * weights).sum(-1, keepdim=True)
                of_pooled = -_safe_log(pooled)
                # The weights depend on p too: w = c / Σc with c = 1 / entropy.
                of_weights = (of_pooled * (p - pooled)).sum(2, keepdim=True) * weights
                entropy = _entropy(p, dim=2).unsqueeze(2)
                of_weights = torch.where(entropy > _least_entropy(p), of_weights / entropy, 0)
                of_places = of_pooled * weights + of_weights * _safe_log(p)
            of_logits = p * (of_places - (p * of_places).sum(2, keepdim=True))
            of_cells = self._spread_windows(of_logits.flatten(1, 2), feats)  # (N, 11·M, h, w)
            return _entropy(pooled.squeeze(-1), dim=2).sum(1), self._norm_below(of_cells)

    def _norm_below(self, of_logits: torch.Tensor) -> torch.Tensor:
        """Return |Wᵀv| for the digits' weights W: (N, 11·M, ...) -> (N, ...)."""
        weight = self.classifier.weight[self.max_length :, :, 0].unflatten(0, (self.max_length, -1))
        # v sums to 0 over a digit's classes, so the mean of their weights adds only rounding error.
        weight = (weight - weight.mean(1, keepdim=True)).flatten(0, 1)  # (11·M, D)
        v = of_logits.flatten(2)
        squared = (v * (weight @ weight.t() @ v)).sum(1)
        return squared.clamp(min=0).sqrt().unflatten(1, of_logits.shape[2:])

    def _spread_windows(self, of_places: torch.Tensor, feats: torch.Tensor) -> torch.Tensor:
        """Backpropagate through :meth:`_average_windows`: (N, C, L) -> (N, C, [k,] h, w)."""
        grid = [
            length - window + 1
            for length, window in zip(feats.shape[-2:], self.window, strict=True)
        ]
        of_places = of_places.unflatten(2, (*feats.shape[2:-2], *grid))
        if self.window == (1, 1):
            return of_places
        below, beside = (window - 1 for window in self.window)
        padded = F.pad(of_places, (beside, beside, below, below))
        return self._average_windows(padded)  # a cell is in as many windows as a window has cells

    def certainty(self, feats: Features) -> torch.Tensor:
        """Return how certain the digits are at each place: (N, D, h, w) -> (N, h, w).

        The certainty of a place is 1 / the summed entropy of its digits. It is spread evenly over
        the place's cells.
        """
        feats = last_map(feats)
        digits = self.at_each_place(feats).digits
        entropy = _entropy(digits, dim=2).sum(dim=1, keepdim=True)  # (N, 1, L)
        certainty = entropy.clamp(min=_least_entropy(digits)).reciprocal()
        return self._spread_windows(certainty, feats).squeeze(1)

    def class_activation(self, feats: Features) -> torch.Tensor:
        """Return each place's evidence for the predicted digits: (N, D, h, w) -> (N, h, w).

        The evidence is the sum of the predicted digits' probabilities at the place, spread evenly
        over its cells. Digits predicted as none are left out, because every empty place predicts
        none.
        """
        feats = last_map(feats)
        places = self.at_each_place(feats)
        digits = most_probable(self._pool(places))[0][:, 1:, None]  # (N, M, 1)
        index = digits.unsqueeze(3).expand(-1, -1, -1, places.digits.size(3))
        said = places.digits.gather(2, index).squeeze(2)  # (N, M, L)
        said = (said * (digits < NUM_DIGITS)).sum(dim=1, keepdim=True)
        return self._spread_windows(said, feats).squeeze(1)

    def loss(self, feats: Features, data_samples: list[DataSample]) -> dict:
        """Return −log p(S | x) of eq. 9, averaged over the images, as ``dict(loss=scalar)``.

        All M digits count: the head must predict class 10, none, for those that are not there.

        Args:
            feats: Feature map.
            data_samples: Each with ``gt_sequence`` (1 + M,).

        Raises:
            ValueError: The samples have no ``gt_sequence``, or one of another length.
        """
        if 'gt_sequence' not in data_samples[0]:
            raise ValueError(
                'SequenceHead learns from gt_sequence, which the data samples lack: '
                "end the pipeline with dict(type='PackInputs', "
                "algorithm_keys=('gt_sequence', ))."
            )
        length, digits = self.probabilities(feats)
        truth = torch.stack([torch.as_tensor(sample.gt_sequence) for sample in data_samples])
        truth = truth.to(length.device)  # (N, 1 + M)
        if truth.size(1) != 1 + self.max_length:
            raise ValueError(
                f'SequenceHead(max_length={self.max_length}) got sequences of up to '
                f'{truth.size(1) - 1} digits: set max_length to what the dataset '
                'gives.'
            )
        log_length = _safe_log(length).gather(1, truth[:, :1]).squeeze(1)
        log_digits = _safe_log(digits).gather(2, truth[:, 1:, None]).squeeze(2)  # (N, M)
        return dict(loss=-(log_length + log_digits.sum(1)).mean())

    def predict(
        self, feats: Features, data_samples: list[DataSample] | None = None
    ) -> list[DataSample]:
        """Put the most probable number on each data sample; see :func:`set_predictions`."""
        return set_predictions(self.probabilities(feats), data_samples)


class _LinearAtPlaces(nn.Conv1d):
    """A convolution of size 1 that reads a channels-last map without torch's copy of it."""

    def forward(self, feats: torch.Tensor) -> torch.Tensor:
        bias: torch.Tensor = self.bias  # type: ignore[assignment]
        return self.weight.squeeze(2) @ feats + bias.unsqueeze(1)


def inverse_entropy_weights(p: torch.Tensor, dim: int) -> torch.Tensor:
    """Return the weights W of eq. 13, without its misprinted outer sum: they sum to 1 over places.

    Args:
        p: Distributions along ``dim``, places along the last dimension.
        dim: Dimension of the classes.

    Returns:
        Tensor: The shape of ``p``, with 1 in place of the classes.
    """
    certainty = _entropy(p, dim).clamp(min=_least_entropy(p)).reciprocal().unsqueeze(dim)
    return certainty / certainty.sum(-1, keepdim=True)


def most_probable(p: SequenceProbabilities) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the jointly most probable length and digits (eq. 9).

    Args:
        p: Pooled distributions.

    Returns:
        tuple: Sequences (N, 1 + M) int64 and the logarithms of their probabilities (N,).
    """
    log_digit, digit = _safe_log(p.digits[:, :, :NUM_DIGITS]).max(2)  # (N, M)
    log_p, length = (_safe_log(p.length) + log_digit.cumsum(1)).max(1)
    place = torch.arange(digit.size(1), device=digit.device)
    digit = digit.masked_fill(place > length.unsqueeze(1), NUM_DIGITS)
    return torch.cat((length.unsqueeze(1), digit), dim=1), log_p


def set_predictions(
    p: SequenceProbabilities, data_samples: list[DataSample] | None = None
) -> list[DataSample]:
    """Write predictions into data samples.

    Each sample gets ``pred_sequence`` (1 + M,) int64; its probability ``pred_confidence``; and the
    distributions ``pred_length`` (M,) and ``pred_digits`` (M, 11).
    """
    sequences, log_p = most_probable(p)
    if data_samples is None:
        data_samples = [DataSample() for _ in sequences]
    fields = ('pred_sequence', 'pred_confidence', 'pred_length', 'pred_digits')
    for sample, *values in zip(
        data_samples, sequences, log_p.exp(), p.length, p.digits, strict=True
    ):
        for name, value in zip(fields, values, strict=True):
            sample.set_field(value, name)
    return data_samples


def number_of(sequence: torch.Tensor) -> str:
    """Return the digits of a sequence (1 + M,) int64 as text, such as ``'2038'``.

    A true number with more than M digits has length class -1; the text is its first M digits and
    ``'…'``.
    """
    length, *digits = sequence.tolist()
    if length < 0:
        return f'{"".join(map(str, digits))}…'
    return ''.join(map(str, digits[: length + 1]))


def _safe_log(p: torch.Tensor) -> torch.Tensor:
    return p.clamp(min=torch.finfo(p.dtype).tiny).log()


def _entropy(p: torch.Tensor, dim: int) -> torch.Tensor:
    return -(p * _safe_log(p)).sum(dim)


def _least_entropy(p: torch.Tensor) -> float:
    """Return the least entropy to divide by, so that a certain distribution's weight is finite."""
    return torch.finfo(p.dtype).eps
