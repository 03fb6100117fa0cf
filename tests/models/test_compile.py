"""torch.compile takes a DCN's forward pass as one graph, whatever the backend makes of it."""

import pytest
import torch

from .dcns import build_dcn, build_svhn_dcn


@pytest.mark.parametrize(
    'build, sizes, backend',
    [
        # It takes the graph apart into plain operators that change nothing in place.
        (build_dcn, ((2, 1, 100, 100), (3, 1, 64, 87)), 'aot_eager'),
        (build_svhn_dcn, ((2, 1, 70, 150), (3, 1, 86, 131)), 'eager'),
    ],
)
def test_what_a_compiled_dcn_sees_and_says_is_what_it_did_before(build, sizes, backend):
    dcn = build().eval()

    def see(images):
        seen = dcn.extract_feat(images)
        return seen, dcn.head(seen.refined)

    compiled = torch.compile(see, fullgraph=True, backend=backend, dynamic=True)
    with torch.no_grad():
        for size in sizes:
            images = torch.rand(size)
            (found, logits), (expected, expected_logits) = compiled(images), see(images)
            torch.testing.assert_close(logits, expected_logits)
            assert torch.equal(found.cells.index, expected.cells.index)
            assert torch.equal(found.cells.image, expected.cells.image)
            for name in ('coarse', 'saliency', 'windows', 'fine', 'refined'):
                torch.testing.assert_close(getattr(found, name), getattr(expected, name))


def test_more_patches_than_cells_compile_too():
    dcn = build_dcn(selector=dict(k=30)).eval()
    compiled = torch.compile(dcn, fullgraph=True, backend='eager')
    images = torch.rand(1, 1, 27, 27)  # 25 cells
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), dcn(images))
