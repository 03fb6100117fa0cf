"""What a graph's outputs are compared with."""

import pytest
import torch

from mmdcn.structures import Cells


def assert_a_dcn_agrees(
    found: dict[str, torch.Tensor], dcn: torch.nn.Module, images: torch.Tensor
) -> None:
    """Compare a graph's outputs for raw images with those of the model in PyTorch.

    Cells come in the same order, but for such whose saliency differs by rounding only; so the
    rest is compared with the model looking at the graph's cells.
    """
    cells = found['cells']
    images = dcn.data_preprocessor(dict(inputs=images))['inputs']
    with torch.no_grad():
        seen = dcn.extract_feat(images)
        own = seen.cells.group(seen.cells.index)
        assert cells.shape == own.shape
        assert all(len(set(row)) == len(row) for row in cells.tolist())
        salient = seen.saliency.flatten(1)
        torch.testing.assert_close(
            salient.gather(1, cells), salient.gather(1, own), rtol=1e-5, atol=1e-9
        )
        torch.testing.assert_close(found['saliency'], seen.saliency, rtol=1e-4, atol=1e-7)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                dcn.selector, 'forward', lambda measured: Cells.fixed(cells, measured.grid)
            )
            logits, samples = dcn(images), dcn.predict(images)
    torch.testing.assert_close(next(iter(found.values())), logits, rtol=0, atol=1e-4)
    for name in ('patch_bboxes', 'pred_sequence'):
        if name in samples[0]:
            assert torch.equal(
                found[name.replace('pred_', '')],
                torch.stack([sample.get(name) for sample in samples]),
            )
