"""Windows of images, in pixels."""

from collections.abc import Sequence
from typing import NamedTuple

import torch


class Windows(NamedTuple):
    """P windows of one size; a window at the border can reach outside of its image.

    Attributes:
        image: (P,) int64, the image that each window belongs to.
        corners: (P, 2) int64, the top and left pixel of each window.
        size: Height and width of a window.
    """

    image: torch.Tensor
    corners: torch.Tensor
    size: tuple[int, int]

    @classmethod
    def join(cls, parts: Sequence['Windows'], image: torch.Tensor) -> 'Windows':
        """Put together the windows of the parts of a batch, whose images are numbered anew."""
        if len(parts) == 1:
            return parts[0]
        return cls(image, torch.cat([part.corners for part in parts]), parts[0].size)

    def boxes(self) -> torch.Tensor:
        """Return the boxes (x1, y1, x2, y2), (P, 4) int64, with x2 and y2 just outside."""
        y1, x1 = self.corners.unbind(dim=1)
        return torch.stack((x1, y1, x1 + self.size[1], y1 + self.size[0]), dim=1)
