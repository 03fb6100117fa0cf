"""The Dynamic Capacity Network."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import print_log
from mmpretrain.models.classifiers import BaseClassifier
from mmpretrain.structures import DataSample
from torch import nn

from mmdcn.models import by_size
from mmdcn.models.contracts import Grid, Neck, Saliency, Selector
from mmdcn.models.fitting import fit_parts, fit_preprocessor, head_share_taken
from mmdcn.models.patches.few import batch_norms_spared, exchanges_statistics, vectors_of_none
from mmdcn.registry import MODELS
from mmdcn.structures import (
    Cells,
    Glance,
    Measured,
    PixelView,
    Ragged,
    SourceView,
    View,
    Windows,
    join,
    last_map,
    parts_of,
    sources_of,
)

LOSSES = dict(hint=dict(type='mmdcn.HintLoss'), patch_hit=dict(type='mmdcn.PatchHitRate'))


@MODELS.register_module()
class DCNClassifier(BaseClassifier):
    """A Dynamic Capacity Network (Almahairi et al., ICML 2016, Figure 1).

    The coarse tower sees the whole image. The saliency says which few cells matter. The fine
    tower sees only the patches of these cells. The neck joins both maps, and the head reads the
    result. Each part is a config or a module and keeps a contract of
    :mod:`mmdcn.models.contracts`. :func:`mmdcn.models.fitting.fit_parts` fills in what a config
    leaves open.

    Args:
        coarse: Backbone f_c, (N, C, H, W) -> (N, D, s1, s2).
        fine: Backbone f_f for patches, (P, C, ph, pw) -> (P, D, h, w).
        head: Top layers g, a head that reads a map.
        selector: Chooses cells by their saliency.
        grid: Maps a cell to the pixels of its patch. If its config has no ``stride``, the coarse
            tower is run once to find where each cell looks, and patches are centred there.
        coarse_scale: The coarse tower sees the image shrunk to this share of its height and
            width. Patches are cut from the full image.
        fine_neck: Turns the fine tower's map of a patch into what the neck takes, (P, D) or
            (P, D, h, w). If None and the neck takes vectors, a map larger than 1×1 is averaged,
            and a linear layer matches the coarse channels if they differ.
        saliency: Says how much each cell of the coarse map matters.
        neck: Joins coarse map and fine vectors into a refined map.
        losses: Terms beside the head's loss and figures for the log, by a name of your choice.
            The default logs the hint's distance and the share of patches that hit an object.
        train_cfg: As in MMPretrain's ``ImageClassifier``: batch augmentations such as ``Mixup``.
        data_preprocessor: As in ``ImageClassifier``. With ``LateNormalization``, images are
            normalised after they are shrunk, and patches after they are cut. Images that a
            preprocessor of another package would pad are refused with a ``ValueError``, because a
            DCN could choose cells of the padding.
        init_cfg: MMEngine's initialisation.

    Raises:
        ValueError: Parts do not fit each other, ``coarse_scale`` is not within (0, 1],
            ``train_cfg`` is combined with ``LateNormalization``, or the trial run of a tower
            failed or gave no map.
    """

    def __init__(
        self,
        *,
        coarse: dict | nn.Module,
        fine: dict | nn.Module,
        head: dict | nn.Module,
        selector: dict | nn.Module,
        grid: dict | nn.Module,
        saliency: dict | nn.Module = dict(type='mmdcn.EntropyGradient'),  # noqa: B006
        neck: dict | nn.Module = dict(type='mmdcn.SwapRefine'),  # noqa: B006
        losses: Mapping[str, dict | nn.Module] = LOSSES,
        coarse_scale: float = 1.0,
        fine_neck: dict | nn.Module | None = None,
        train_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            init_cfg=init_cfg, data_preprocessor=fit_preprocessor(data_preprocessor, train_cfg)
        )
        self.data_preprocessor.register_forward_pre_hook(refuse_padding, with_kwargs=True)
        parts = fit_parts(
            coarse=coarse,
            fine=fine,
            head=head,
            selector=selector,
            grid=grid,
            saliency=saliency,
            neck=neck,
            losses=losses,
            fine_neck=fine_neck,
            coarse_scale=coarse_scale,
        )
        self.coarse_scale = coarse_scale
        self.channels = parts.channels
        self.coarse: nn.Module = parts.coarse
        self.saliency: Saliency = parts.saliency
        self.selector: Selector = parts.selector
        self.grid: Grid = parts.grid
        self.fine: nn.Module = parts.fine
        self.fine_neck: nn.Module | None = parts.fine_neck
        self.neck: Neck = parts.neck
        self.head: Any = parts.head
        self.losses: nn.ModuleDict = parts.losses
        self._saliency_checked = False
        self._lone_patch_said = False

    def extract_feat(
        self, inputs: torch.Tensor, data_samples: list[DataSample] | None = None
    ) -> Glance:
        """Look at (N, C, H, W) images: coarsely first, then at the salient patches.

        Images that differ in size come as :class:`Ragged`. Each is looked at as if it were alone.

        Raises:
            ValueError: The towers take images with another number of channels.
        """
        view = self.look(inputs, data_samples)
        coarse = by_size.run(self.coarse, view.overview(self.coarse_scale))
        maps, samples = parts_of(coarse), by_size.samples_of_parts(coarse, data_samples)
        measured = [self.measure(*both) for both in zip(maps, samples, strict=True)]
        cells = Cells.join([self.selector(each) for each in measured])
        windows = Windows.join([self.grid(part) for part in cells.parts], cells.image)
        fine = self.describe(view.cut(windows), maps[0])
        refined = [
            self.neck(scale_gradient(part, self.head_share), vectors, chosen)
            for part, vectors, chosen in zip(maps, cells.divide(fine), cells.parts, strict=True)
        ]
        saliency, entropy, kept = zip(*measured, strict=True)
        return Glance(
            coarse,
            join(saliency),
            None if entropy[0] is None else join(entropy),
            cells,
            windows,
            fine,
            join(refined),
            kept if kept[0] is not None and getattr(self.neck, 'swaps', False) else None,
        )

    def measure(self, coarse: torch.Tensor, data_samples: list[DataSample] | None) -> Measured:
        """Measure how much each cell of a coarse map (N, D, s1, s2) matters.

        Raises:
            ValueError: The saliency breaks its contract.
        """
        measured = self.saliency(coarse, self.head, data_samples)
        if getattr(measured, 'grid', None) != tuple(coarse.shape[2:]):
            raise ValueError(
                f'{type(self.saliency).__name__} must give Measured(saliency, entropy) with a '
                'saliency of shape (N, s1, s2), the rows and columns of the coarse map.'
            )
        return measured

    def look(self, inputs: torch.Tensor, data_samples: list[DataSample] | None = None) -> View:
        """Return the view that gives pixels to the towers, normalised if they are not yet.

        Args:
            inputs: The images; or their overviews, if ``LoadOverview`` has loaded them.
            data_samples: Their samples, whose ``img_path`` knows how to read the files then.

        Raises:
            ValueError: The towers take images with another number of channels, or overviews do not
                fit this model.
        """
        for part in parts_of(inputs):
            if self.channels not in (None, part.size(1)):
                raise ValueError(
                    f'This DCN takes images of {self.channels} channel(s), got '
                    f'{part.size(1)}: change how the pipeline loads them, or the '
                    'in_channels of both towers.'
                )
        normalize = getattr(self.data_preprocessor, 'normalize', None)
        sources = sources_of(data_samples, self.coarse_scale)
        if sources is not None and normalize is None:
            raise ValueError(
                'A DCN that reads its patches from files normalises them itself: set the type of '
                "the data_preprocessor to 'mmdcn.LateNormalization'."
            )
        if sources is not None and torch.compiler.is_compiling():
            raise ValueError(
                'torch.compile cannot follow a DCN that reads its patches from files: leave it '
                'out, or compile the towers alone.'
            )

        def ready(pixels: torch.Tensor) -> torch.Tensor:
            # In a model of half precision, pixels have been normalised in float32.
            return self._as_weights(pixels if normalize is None else normalize(pixels))

        return PixelView(inputs, ready) if sources is None else SourceView(inputs, sources, ready)

    def _as_weights(self, pixels: torch.Tensor) -> torch.Tensor:
        weight = next(self.coarse.parameters(), pixels)
        return pixels.to(weight.dtype) if pixels.is_floating_point() else pixels

    def describe(self, patches: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        """Describe patches by fine vectors or small maps.

        The fine tower does not run on no patches, unless it exchanges statistics with other
        processes. A single patch cannot train a batch norm that sees one value of it; such a batch
        norm uses its running statistics, and the log says so once.

        Args:
            patches: (P, C, ph, pw).
            coarse: A coarse map, (N, D, s1, s2).

        Returns:
            Tensor: (P, D) or (P, D, h, w); (0, D) of no patches.
        """
        if torch.compiler.is_exporting():  # for any number of patches; the runtime spares none
            return self._describe(patches)
        parts = [part for part in (self.fine, self.fine_neck) if part is not None]
        if patches.size(0) == 0 and not any(map(exchanges_statistics, parts)):
            return vectors_of_none(*parts, like=coarse)
        if patches.size(0) > 1 or not self.training:
            return self._describe(patches)
        with batch_norms_spared(*parts) as spared:
            fine = self._describe(patches)
        if spared and not self._lone_patch_said:
            self._lone_patch_said = True
            print_log(
                'A batch has a single patch, and batch norms of the fine tower use their running '
                'statistics for it: if most batches are like that, choose larger batches, or '
                'another norm_cfg for the fine tower.',
                logger='current',
                level=logging.WARNING,
            )
        return fine

    def _describe(self, patches: torch.Tensor) -> torch.Tensor:
        fine = last_map(self.fine(patches))
        if self.fine_neck is not None:
            fine = last_map(self.fine_neck(fine))
        return fine.flatten(1) if fine.shape[2:] == (1, 1) else fine

    @property
    def head_share(self) -> float:
        """Return 1 − λ, the coarse tower's share of the head's gradient (appendix 6.1)."""
        return 1 - head_share_taken(self.losses)

    def forward(
        self,
        inputs: torch.Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = 'tensor',
    ) -> torch.Tensor | dict | list[DataSample]:
        """Run the model in one of MMPretrain's three modes.

        Args:
            inputs: (N, C, H, W), or :class:`Ragged` if images differ in size.
            data_samples: Labels, needed for ``mode='loss'``. The saliency may read boxes.
            mode: ``'tensor'`` returns logits, ``'loss'`` a dict of losses, ``'predict'``
                data samples.

        Raises:
            ValueError: ``mode`` is none of these.
        """
        if mode == 'tensor':
            return by_size.logits(self.head, self.extract_feat(inputs, data_samples).for_head)
        if mode == 'loss':
            return self.loss(inputs, data_samples or [])
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        raise ValueError(
            f"DCNClassifier knows the modes 'tensor', 'loss' and 'predict', not {mode!r}."
        )

    def loss(self, inputs: torch.Tensor, data_samples: list[DataSample]) -> dict:
        """Return the head's loss (eq. 5) and the terms of ``losses``, by name.

        The coarse tower gets the share :attr:`head_share` of the head's gradient. With a hint
        (eq. 6), this gives the convex combination of appendix 6.1. The fine tower and the head
        learn from the head's loss alone.

        Raises:
            ValueError: Two losses give terms with the same name.
        """
        seen = self.extract_feat(inputs, data_samples)
        if not self._saliency_checked:
            self._saliency_checked = True  # only once, because it waits for a GPU
            self._say_if_constant(seen.saliency)
        terms = by_size.loss(self.head, seen.for_head, data_samples)
        terms['loss_cls'] = terms.pop('loss')  # MMEngine logs the sum as 'loss'
        for name, loss in self.losses.items():
            more = loss(seen, self.head, data_samples)
            if repeated := terms.keys() & more.keys():
                raise ValueError(
                    f'The loss {name!r} of this DCN gives {", ".join(sorted(repeated))}, which '
                    'another one gives as well: leave one of them out or rename its terms.'
                )
            terms.update(more)
        return terms

    def _say_if_constant(self, saliency: torch.Tensor | Ragged) -> None:
        """Say so in the log if no cell of any image matters more than another."""
        parts = [part.flatten(1) for part in parts_of(saliency)]
        if all(part.size(1) > 1 and torch.equal(part.amin(1), part.amax(1)) for part in parts):
            print_log(
                f'{type(self.saliency).__name__} gives all cells of an image the same saliency in '
                'the first batch, so the choice of patches says nothing about the image: train '
                'the head that it asks, or take another saliency.',
                logger='current',
                level=logging.WARNING,
            )

    def predict(
        self, inputs: torch.Tensor, data_samples: list[DataSample] | None = None
    ) -> list[DataSample]:
        """Return the head's predictions, and where the network looked.

        Beside the head's fields, each sample gets ``cells`` (k,), flat indices with the most
        salient first; ``patch_bboxes`` (k, 4), their (x1, y1, x2, y2) in pixels; and ``saliency``
        (s1, s2). With an adaptive selector, k differs from image to image.
        """
        seen = self.extract_feat(inputs, data_samples)
        data_samples = by_size.predict(self.head, seen.for_head, data_samples)
        where = dict(
            cells=seen.cells.split(seen.cells.index),
            patch_bboxes=seen.cells.split(seen.windows.boxes()),
            saliency=seen.saliency,
        )
        for name, values in where.items():
            for sample, value in zip(data_samples, values, strict=True):
                sample.set_field(value, name)
        return data_samples


def refuse_padding(preprocessor: nn.Module, args: tuple, kwargs: dict) -> None:
    """Raise a ``ValueError`` if a data preprocessor is about to pad images of a batch.

    Args:
        preprocessor: The data preprocessor.
        args: Its arguments; the first is a batch, with ``inputs`` (N, C, H, W) or N tensors
            (C, H, W).
        kwargs: Its arguments by name.
    """
    inputs = (args[0] if args else kwargs['data'])['inputs']
    height, width = inputs[0].shape[-2:]
    if not isinstance(inputs, torch.Tensor) and not getattr(preprocessor, 'keeps_sizes', False):
        for image in inputs:
            if image.shape[-2:] != inputs[0].shape[-2:]:
                raise ValueError(
                    f'A batch of images of {height}×{width} and {image.size(-2)}×{image.size(-1)} '
                    'pixels would be padded, and a DCN could choose cells of the padding: resize '
                    'or crop images to one size in the pipeline, or set batch_size=1.'
                )
    divisor = getattr(preprocessor, 'pad_size_divisor', 1)
    for height, width in {image.shape[-2:] for image in inputs} if divisor > 1 else ():
        if height % divisor or width % divisor:
            raise ValueError(
                f'data_preprocessor.pad_size_divisor={divisor} would pad images of {height}×{width}'
                ' pixels, and a DCN could choose cells of the padding: leave it out, and resize or '
                f'crop images to multiples of {divisor} in the pipeline if a tower needs it.'
            )


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, factor: float) -> torch.Tensor:
        ctx.factor = factor
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient * ctx.factor, None


def scale_gradient(tensor: torch.Tensor, factor: float) -> torch.Tensor:
    """Return the tensor unchanged, and multiply its gradient by ``factor`` in the backward pass."""
    if not torch.is_grad_enabled():
        return tensor
    return _ScaleGradient.apply(tensor, factor)
