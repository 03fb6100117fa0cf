import operator
from typing import NamedTuple

import torch
from mmengine.model import BaseModule
from mmpretrain.structures import DataSample
from torch import nn
from torch.nn import functional as F

from mmdcn.models.patches.geometry import to_pair
from mmdcn.registry import MODELS

NUM_DIGITS = 10  # 0 to 9; the class after them says that there is no digit
POOLINGS = ('average', 'inverse_entropy')


class SequenceProbabilities(NamedTuple):
    """Distributions of N images at L places, or pooled where there is no L.

    Attributes:
        length: (N, M[, L]), of lengths 1..M.
        digits: (N, M, 11[, L]), of each digit; class 10 is none.
    """

    length: torch.Tensor
    digits: torch.Tensor


@MODELS.register_module()
class SequenceHead(BaseModule):
    """Reads a number of up to M digits at every place and pools the answers (§4.2.1, §4.2.2).

    A linear layer predicts at each place a length and M digits; these distributions are pooled
    over the places. A place is a window of cells, whose features are averaged before the layer:
    one cell, or all those of a patch where the tower makes a small map of it. Takes any feature
    map (N, D, h, w), so it also sits on an MMPretrain backbone, and the maps of k patches
    (N, D, k, h, w).

    A sequence is a row of 1 + M integers: the length less one, then the digits, 10 for none.

    Args:
        in_channels: Channels D of the feature map.
        max_length: The most digits M.
        window: Height and width of a place, in cells; places overlap, one starts at each cell.
        pooling: ``'average'`` (eq. 11) or ``'inverse_entropy'``, which weights each
            distribution of a place by its inverse entropy (eqs. 12-14).
        init_cfg: MMEngine's initialisation.

    Raises:
        ValueError: ``pooling`` is neither, or ``window`` is no size.
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

    def at_each_place(self, feats: torch.Tensor | tuple) -> SequenceProbabilities:
        """The distributions of each place; a backbone's tuple is taken at its last map.

        Raises:
            ValueError: The map has other channels than ``in_channels``, or is smaller than the
                window.
        """
        if isinstance(feats, (tuple, list)):
            feats = feats[-1]
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
        if feats.dim() == 5:
            return F.avg_pool3d(feats, (1, *self.window), stride=1)
        return F.avg_pool2d(feats, self.window, stride=1)

    def probabilities(self, feats: torch.Tensor | tuple) -> SequenceProbabilities:
        """The pooled distributions, (N, M) and (N, M, 11)."""
        return self._pool(self.at_each_place(feats))

    def _pool(self, places: SequenceProbabilities) -> SequenceProbabilities:
        length, digits = places
        if self.pooling == 'average':
            return SequenceProbabilities(length.mean(-1), digits.mean(-1))
        return SequenceProbabilities(
            (length * inverse_entropy_weights(length, dim=1)).sum(-1),
            (digits * inverse_entropy_weights(digits, dim=2)).sum(-1),
        )

    def forward(self, feats: torch.Tensor | tuple) -> torch.Tensor:
        """Feature map -> log-probabilities (N, 12·M): M lengths, then M times 11 digits."""
        length, digits = self.probabilities(feats)
        return _safe_log(torch.cat((length, digits.flatten(1)), dim=1))

    def entropy(self, feats: torch.Tensor | tuple) -> torch.Tensor:
        """Summed entropy of the digits' distributions, the length left out (eq. 10): -> (N,)."""
        return _entropy(self.probabilities(feats).digits, dim=2).sum(1)

    def entropy_and_gradient_norm(self, feats: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """:meth:`entropy` and the norm of its gradient in each cell, without a backward pass.

        v, the gradient with respect to a place's logits, is a product: through the pooling and the
        softmax. The linear layer W has far more inputs than outputs, so no gradient of the map is
        made: its norm is |Wᵀv| = √(vᵀ W Wᵀ v).

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
                # The weights move too: w = c / Σc and c = 1 / entropy.
                of_weights = (of_pooled * (p - pooled)).sum(2, keepdim=True) * weights
                entropy = _entropy(p, dim=2).unsqueeze(2)
                of_weights = torch.where(entropy > _least_entropy(p), of_weights / entropy, 0)
                of_places = of_pooled * weights + of_weights * _safe_log(p)
            of_logits = p * (of_places - (p * of_places).sum(2, keepdim=True))
            of_cells = self._spread_windows(of_logits.flatten(1, 2), feats)  # (N, 11·M, h, w)
            return _entropy(pooled.squeeze(-1), dim=2).sum(1), self._norm_below(of_cells)

    def _norm_below(self, of_logits: torch.Tensor) -> torch.Tensor:
        """|Wᵀv| of the digits' weights: (N, 11·M, ...) -> (N, ...)."""
        weight = self.classifier.weight[self.max_length :, :, 0].unflatten(0, (self.max_length, -1))
        # v sums to 0 over a digit's classes; what their weights share would only leave rounding.
        weight = (weight - weight.mean(1, keepdim=True)).flatten(0, 1)  # (11·M, D)
        v = of_logits.flatten(2)
        squared = (v * (weight @ weight.t() @ v)).sum(1)
        return squared.clamp(min=0).sqrt().unflatten(1, of_logits.shape[2:])

    def _spread_windows(self, of_places: torch.Tensor, feats: torch.Tensor) -> torch.Tensor:
        """Back through :meth:`_average_windows`: (N, C, L) -> (N, C, [k,] h, w) as ``feats``."""
        grid = [length - window + 1 for length, window in zip(feats.shape[-2:], self.window)]
        of_places = of_places.unflatten(2, (*feats.shape[2:-2], *grid))
        if self.window == (1, 1):
            return of_places
        below, beside = (window - 1 for window in self.window)
        padded = F.pad(of_places, (beside, beside, below, below))
        return self._average_windows(padded)  # each cell is in as many windows as it has cells

    def certainty(self, feats: torch.Tensor | tuple) -> torch.Tensor:
        """How sure each place is of the digits: (N, D, h, w) -> (N, h, w).

        One over the summed entropy of its distributions, spread evenly over the place's cells.
        """
        feats = feats[-1] if isinstance(feats, (tuple, list)) else feats
        digits = self.at_each_place(feats).digits
        entropy = _entropy(digits, dim=2).sum(dim=1, keepdim=True)  # (N, 1, L)
        certainty = entropy.clamp(min=_least_entropy(digits)).reciprocal()
        return self._spread_windows(certainty, feats).squeeze(1)

    def class_activation(self, feats: torch.Tensor | tuple) -> torch.Tensor:
        """What each place says for the predicted number's digits: (N, D, h, w) -> (N, h, w).

        The sum of the probabilities that they have there, spread evenly over the place's cells.
        Digits predicted as none are left out: wherever nothing is to be seen, a place says so.
        """
        feats = feats[-1] if isinstance(feats, (tuple, list)) else feats
        places = self.at_each_place(feats)
        digits = most_probable(self._pool(places))[0][:, 1:, None]  # (N, M, 1)
        index = digits.unsqueeze(3).expand(-1, -1, -1, places.digits.size(3))
        said = places.digits.gather(2, index).squeeze(2)  # (N, M, L)
        said = (said * (digits < NUM_DIGITS)).sum(dim=1, keepdim=True)
        return self._spread_windows(said, feats).squeeze(1)

    def loss(self, feats: torch.Tensor | tuple, data_samples: list[DataSample]) -> dict:
        """−log p(S | x) of eq. 9, averaged over the images: -> ``dict(loss=scalar)``.

        All M digits count: those that are not there are to be told as none, which is what
        their eleventh class is for.

        Args:
            feats: Feature map.
            data_samples: Each with ``gt_sequence`` (1 + M,).

        Raises:
            ValueError: The samples have none, or of another length.
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
        self, feats: torch.Tensor | tuple, data_samples: list[DataSample] | None = None
    ) -> list[DataSample]:
        """Put the most probable number on each data sample; see :func:`set_predictions`."""
        return set_predictions(self.probabilities(feats), data_samples)


class _LinearAtPlaces(nn.Conv1d):
    """A convolution of size 1 that reads a channels-last map as it lies; torch's copies it."""

    def forward(self, feats: torch.Tensor) -> torch.Tensor:
        return self.weight.squeeze(2) @ feats + self.bias.unsqueeze(1)


def inverse_entropy_weights(p: torch.Tensor, dim: int) -> torch.Tensor:
    """W of eq. 13, in which the outer sum is a misprint: over places they sum to 1.

    Args:
        p: Distributions along ``dim``, places along the last dimension.
        dim: Dimension of the classes.

    Returns:
        Tensor: As ``p`` with 1 class.
    """
    certainty = _entropy(p, dim).clamp(min=_least_entropy(p)).reciprocal().unsqueeze(dim)
    return certainty / certainty.sum(-1, keepdim=True)


def most_probable(p: SequenceProbabilities) -> tuple[torch.Tensor, torch.Tensor]:
    """The jointly most probable length and digits (eq. 9).

    Args:
        p: Pooled.

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

    Each gets ``pred_sequence`` (1 + M,) int64, ``pred_confidence``, the sequence's
    probability, and the distributions ``pred_length`` (M,) and ``pred_digits`` (M, 11).
    """
    sequences, log_p = most_probable(p)
    if data_samples is None:
        data_samples = [DataSample() for _ in sequences]
    fields = ('pred_sequence', 'pred_confidence', 'pred_length', 'pred_digits')
    for sample, *values in zip(data_samples, sequences, log_p.exp(), p.length, p.digits):
        for name, value in zip(fields, values):
            sample.set_field(value, name)
    return data_samples


def number_of(sequence: torch.Tensor) -> str:
    """The digits of a sequence (1 + M,) int64, such as ``'2038'``.

    Of a true number of more than M digits, whose length class is -1, the first M and ``'…'``.
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
    """Below it a distribution counts as sure, for a finite weight."""
    return torch.finfo(p.dtype).eps
