"""The cost of each image of a prediction."""

import copy
from collections.abc import Callable
from functools import partial

import torch
from mmengine.model import BaseModel
from mmpretrain.structures import DataSample

from mmdcn.analysis.cost import counting, is_adaptive, multiplications_by_part
from mmdcn.structures import full_size

Run = Callable[..., list[DataSample]]


class InferenceCost:
    """Predicts and counts the multiplications of each image.

    Images with the same shape and the same number of patches cost the same. So each cost is counted
    once, on a real pass of the model. Several threads may predict at once.

    Args:
        model: A classifier in evaluation mode.
    """

    def __init__(self, model: BaseModel) -> None:
        self.model = model
        self._known: dict[tuple[int, ...], dict[str, int]] = {}

    def predict(
        self, images: torch.Tensor, samples: list[DataSample], run: Run | None = None
    ) -> list[DataSample]:
        """Predict images of one size and give each sample its ``cost``.

        Args:
            images: (N, C, H, W), preprocessed.
            samples: The N data samples.
            run: Fills the data samples by another runtime; None for the model itself.

        Returns:
            list: Predictions. A ``cost`` has ``parts``, by name, and their ``total``.
        """
        samples, costs = self._predict(images, samples, run)
        for sample, parts in zip(samples, costs, strict=True):
            cost = dict(parts=dict(parts), total=sum(parts.values()))
            sample.set_field(cost, 'cost', field_type='metainfo')
        return samples

    def _predict(
        self, images: torch.Tensor, samples: list[DataSample], run: Run | None
    ) -> tuple[list[DataSample], list[dict[str, int]]]:
        predict = run or partial(self.model, images, mode='predict')
        if is_adaptive(self.model):
            samples = predict(data_samples=samples)
            budgets = [len(sample.cells) for sample in samples]
            each = zip(images, samples, budgets, strict=True)
            return samples, [self._with_budget(*of_image) for of_image in each]
        shape = (*images.shape[1:], *full_size(samples[0], images[0]))
        if shape in self._known:
            samples = predict(data_samples=samples)
        elif run is None:
            with counting(self.model) as parts:
                samples = predict(data_samples=samples)
            self._known[shape] = {part: of_all // len(images) for part, of_all in parts.items()}
        else:  # counted first, because the model names what is wrong with an image
            self._known[shape] = multiplications_by_part(self.model, images[:1])
            samples = run(data_samples=samples)
        return samples, [self._known[shape]] * len(images)

    def _with_budget(self, image: torch.Tensor, sample: DataSample, patches: int) -> dict[str, int]:
        """Return the cost of an image that gets this number of patches."""
        key = (*image.shape, *full_size(sample, image), patches)
        if key not in self._known:
            # A shallow copy with the same layers, because other threads predict with the model.
            model = copy.copy(self.model)
            model._modules = dict(model._modules)
            model.selector = self.model.selector.with_budget(patches)
            self._known[key] = multiplications_by_part(
                model, image.unsqueeze(0), data_samples=[sample]
            )
        return self._known[key]
