from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmpretrain.models.classifiers import BaseClassifier
from mmpretrain.structures import DataSample
from torch import nn

from mmdcn.evaluation.functional import patch_hit
from mmdcn.models.necks import SwapRefine
from mmdcn.models.patches.cells import Cells, by_image, indices, split_images
from mmdcn.models.patches.probe import input_channels
from mmdcn.models.patches.shrink import shrink
from mmdcn.registry import MODELS

from .fitting import centred_patches, fitting_neck


class Glance(NamedTuple):
    """What a DCN saw, of N images with D channels, s1×s2 cells and k patches."""

    coarse: torch.Tensor  # (N, D, s1, s2)
    saliency: torch.Tensor  # (N, s1, s2)
    entropy: torch.Tensor | None  # (N,), of the coarse prediction, where it is known
    cells: Cells  # (N, k), or P packed ones
    fine: torch.Tensor  # (N, k, D) or (N, k, D, h, w); of packed cells (P, ...)
    refined: torch.Tensor  # what the neck gives


@MODELS.register_module()
class DCNClassifier(BaseClassifier):
    """A Dynamic Capacity Network (Almahairi et al., ICML 2016, Figure 1).

    The coarse tower sees the whole image, the saliency says which few cells matter, the fine
    tower sees their patches only, the neck joins both and the head reads the result. Each
    part is a config or a module.

    Args:
        coarse: Backbone f_c, (N, C, H, W) -> (N, D, s1, s2).
        fine: Backbone f_f for patches, (M, C, ph, pw) -> (M, D, h, w).
        head: Top layers g, with ``entropy`` where the saliency needs it.
        selector: Saliency map and the coarse prediction's entropy, if known, -> flat cells.
        patch_extractor: Images and cells -> patches. Where a config gives no ``stride``, patches
            are centred on what the coarse tower's cells see, which is found out by running it.
        coarse_scale: What the coarse tower sees is the image shrunk to this share of its height
            and width; patches are cut from the image itself.
        fine_neck: The fine tower's map of a patch -> what the neck takes, (M, D) or (M, D, h, w).
            If None and the neck is a ``SwapRefine``, a map larger than 1×1 is averaged, and where
            channels differ a linear layer gives it those of the coarse map.
        saliency: Coarse map, head and data samples, where there are any, -> saliency map and,
            if it comes along, the entropy.
        neck: Coarse map, fine vectors and cells -> refined map.
        hint: Distance between coarse and fine vectors; its ``loss_weight`` is λ.
        train_cfg: As in MMPretrain's ``ImageClassifier``: batch augmentations such as ``Mixup``.
        data_preprocessor: As there; with ``LateNormalization``,
            images are normalised after they are shrunk and patches after they are cut.
        init_cfg: MMEngine's initialisation.

    Raises:
        ValueError: ``coarse_scale`` is not within (0, 1], ``train_cfg`` meets
            ``LateNormalization``, the towers take images of unlike channels, or a tower had to be
            run to find out what it gives and failed or gave no map.
    """

    def __init__(
        self,
        *,
        coarse: dict,
        fine: dict,
        head: dict,
        selector: dict,
        patch_extractor: dict,
        saliency: dict = dict(type='mmdcn.EntropyGradient'),
        neck: dict = dict(type='mmdcn.SwapRefine'),
        hint: dict = dict(type='mmdcn.HintLoss'),
        coarse_scale: float = 1.0,
        fine_neck: dict | None = None,
        train_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        preprocessor = {'type': 'mmpretrain.ClsDataPreprocessor', **(data_preprocessor or {})}
        if train_cfg and preprocessor['type'].endswith('LateNormalization'):
            raise ValueError(
                'DCNClassifier(train_cfg=...) mixes images that are normalised, which '
                'LateNormalization leaves for later: leave one of the two out.'
            )
        if train_cfg:
            preprocessor.setdefault('batch_augments', train_cfg)
        super().__init__(init_cfg=init_cfg, data_preprocessor=preprocessor)
        if not 0 < coarse_scale <= 1:
            raise ValueError(
                "DCNClassifier(coarse_scale=...) is the share of an image's height "
                f'and width that the coarse tower sees, within (0, 1], got '
                f'{coarse_scale}.'
            )
        self.coarse_scale = coarse_scale
        self.coarse = _build(coarse)
        self.fine = _build(fine)
        self.channels = _common_channels(self.coarse, self.fine)
        self.head = _build(head)
        self.saliency = _build(saliency)
        self.selector = _build(selector)
        if isinstance(patch_extractor, dict) and 'stride' not in patch_extractor:
            patch_extractor = centred_patches(patch_extractor, self.coarse, coarse_scale)
        self.patch_extractor = _build(patch_extractor)
        self.neck = _build(neck)
        if fine_neck is None and isinstance(self.neck, SwapRefine):
            fine_neck = fitting_neck(self.coarse, self.fine, self.patch_extractor.size)
        self.fine_neck = None if fine_neck is None else _build(fine_neck)
        self.hint = _build(hint)

    def extract_feat(
        self, images: torch.Tensor, data_samples: list[DataSample] | None = None
    ) -> Glance:
        """Look at (N, C, H, W) images, coarsely and then at the salient patches again.

        Raises:
            TypeError: The saliency gives no ``Measured``.
            ValueError: The towers take images of other channels, or the selector gives no cells.
        """
        if self.channels not in (None, images.size(1)):
            raise ValueError(
                f'This DCN takes images of {self.channels} channel(s), got '
                f'{images.size(1)}: change how the pipeline loads them, or the '
                'in_channels of both towers.'
            )
        coarse = _last_map(self.coarse(self.normalize(shrink(images, self.coarse_scale))))
        measured = self.saliency(coarse, self.head, data_samples)
        if isinstance(measured, torch.Tensor) or len(measured) != 2:
            raise TypeError(
                f'{type(self.saliency).__name__} must give Measured(saliency, '
                f'entropy=None), got {type(measured).__name__}.'
            )
        saliency, entropy = measured
        cells = self.selector(saliency, entropy)
        if isinstance(cells, torch.Tensor) and (cells.dim() != 2 or len(cells) != len(images)):
            raise ValueError(
                f'{type(self.selector).__name__} must give flat cells of shape '
                f'({len(images)}, k) or packed ones, got {tuple(cells.shape)}.'
            )
        patches = self.normalize(self.patch_extractor(images, cells, coarse.shape[-2:]))
        fine = by_image(self.describe(patches), cells)
        refined = self.neck(scale_gradient(coarse, 1 - self.hint.loss_weight), fine, cells)
        return Glance(coarse, saliency, entropy, cells, fine, refined)

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """Images or patches as a tower wants them, where the data preprocessor left that open."""
        late = getattr(self.data_preprocessor, 'normalize', None)
        return images if late is None else late(images)

    def describe(self, patches: torch.Tensor) -> torch.Tensor:
        """(M, C, ph, pw) -> (M, D) fine vectors, or (M, D, h, w) maps for the neck to take."""
        fine = _last_map(self.fine(patches))
        if self.fine_neck is not None:
            fine = _last_map(self.fine_neck(fine))
        return fine.flatten(1) if fine.shape[2:] == (1, 1) else fine

    def forward(
        self,
        inputs: torch.Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = 'tensor',
    ) -> torch.Tensor | dict | list[DataSample]:
        """MMPretrain's entry.

        Args:
            inputs: (N, C, H, W).
            data_samples: Labels, needed for ``mode='loss'``; the saliency may read boxes.
            mode: ``'tensor'`` gives logits, ``'loss'`` a dict of losses, ``'predict'``
                data samples.

        Raises:
            ValueError: Another mode.
        """
        if mode == 'tensor':
            return self.head(self.extract_feat(inputs, data_samples).refined)
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        raise ValueError(
            f"DCNClassifier knows the modes 'tensor', 'loss' and 'predict', not {mode!r}."
        )

    def loss(self, inputs: torch.Tensor, data_samples: list[DataSample]) -> dict:
        """The head's loss and λ·hint (eqs. 5, 6); the hint distance and patch hit to log.

        The gradient that reaches the coarse tower is (1 − λ) times the head's loss's
        plus λ times the hint's; fine tower and head see the head's loss alone.
        """
        seen = self.extract_feat(inputs, data_samples)
        losses = self.head.loss(seen.refined, data_samples)
        losses['loss_cls'] = losses.pop('loss')  # MMEngine logs the sum as 'loss'
        distance = self.hint(seen.coarse, seen.fine, seen.cells)
        losses['loss_hint'] = self.hint.loss_weight * distance
        losses['hint_distance'] = distance.detach()
        if 'gt_bboxes' in data_samples[0]:
            boxes = self.patch_extractor.boxes(seen.cells, seen.coarse.shape[-2:])
            losses['patch_hit'] = (
                patch_hit(split_images(boxes, seen.cells), [s.gt_bboxes for s in data_samples])
                .nanmean()
                .nan_to_num()
            )  # of the images that have patches; 0 where none has
        return losses

    def predict(
        self, inputs: torch.Tensor, data_samples: list[DataSample] | None = None
    ) -> list[DataSample]:
        """The head's predictions, and where the network looked.

        Each sample gets, beside the head's fields, ``cells`` (k,), flat and most salient
        first; ``patch_bboxes`` (k, 4), their (x1, y1, x2, y2) in pixels; and ``saliency``
        (s1, s2). Where the selector is adaptive, k is the image's own.
        """
        seen = self.extract_feat(inputs, data_samples)
        boxes = self.patch_extractor.boxes(seen.cells, seen.coarse.shape[-2:])
        data_samples = self.head.predict(seen.refined, data_samples)
        by_sample = zip(
            split_images(indices(seen.cells), seen.cells),
            split_images(boxes, seen.cells),
            seen.saliency,
        )
        for sample, fields in zip(data_samples, by_sample):
            for name, value in zip(('cells', 'patch_bboxes', 'saliency'), fields):
                sample.set_field(value, name)
        return data_samples


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor: torch.Tensor, factor: float) -> torch.Tensor:
        ctx.factor = factor
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        return gradient * ctx.factor, None


def scale_gradient(tensor: torch.Tensor, factor: float) -> torch.Tensor:
    """The tensor itself; on the way back its gradient is multiplied by ``factor``."""
    if not torch.is_grad_enabled():
        return tensor
    return _ScaleGradient.apply(tensor, factor)


def _build(part: dict | nn.Module) -> nn.Module:
    return part if isinstance(part, nn.Module) else MODELS.build(part)


def _common_channels(coarse: nn.Module, fine: nn.Module) -> int | None:
    """Channels of the images; None where a tower without convolutions leaves that open."""
    channels = {input_channels(coarse), input_channels(fine)} - {None}
    if len(channels) > 1:
        raise ValueError(
            f'Both towers see the same image, but the coarse tower takes {input_channels(coarse)} '
            f'channel(s) and the fine one {input_channels(fine)}: set in_channels of one of them.'
        )
    return next(iter(channels), None)


def _last_map(features: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
    """A backbone of MMPretrain gives a tuple, a plain module a tensor."""
    return features if isinstance(features, torch.Tensor) else features[-1]
