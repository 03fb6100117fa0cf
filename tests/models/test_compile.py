"""torch.compile takes a DCN's forward pass as one graph, whatever the backend makes of it."""

import pytest
import torch

from .dcns import build_dcn, build_svhn_dcn


@pytest.mark.parametrize(
    'build, sizes',
    [
        (build_dcn, ((2, 1, 100, 100), (3, 1, 64, 87))),
        (build_svhn_dcn, ((2, 1, 70, 150), (3, 1, 86, 131))),
    ],
)
def test_what_a_compiled_dcn_sees_and_says_is_what_it_did_before(build, sizes):
    dcn = build().eval()

    def see(images):
        seen = dcn.extract_feat(images)
        return seen, dcn.head(seen.refined)

    # Unlike 'eager' it takes the graph apart into plain operators that change nothing in place.
    compiled = torch.compile(see, fullgraph=True, backend='aot_eager', dynamic=True)
    with torch.no_grad():
        for size in sizes:
            images = torch.rand(size)
            (found, logits), (expected, expected_logits) = compiled(images), see(images)
            torch.testing.assert_close(logits, expected_logits)
            assert torch.equal(found.cells.index, expected.cells.index)
            assert torch.equal(found.cells.image, expected.cells.image)
            for name in ('coarse', 'saliency', 'windows', 'fine', 'refined'):
                torch.testing.assert_close(getattr(found, name), getattr(expected, name))


def test_a_dcn_compiles_without_graph_breaks_for_images_of_several_sizes():
    dcn = build_dcn().eval()
    compiled = torch.compile(dcn, fullgraph=True, backend='eager')
    with torch.no_grad():
        for size in ((2, 1, 100, 100), (3, 1, 64, 87)):
            images = torch.rand(size)
            torch.testing.assert_close(compiled(images), dcn(images))


def test_more_patches_than_cells_compile_too():
    dcn = build_dcn(selector=dict(k=30)).eval()
    compiled = torch.compile(dcn, fullgraph=True, backend='eager')
    images = torch.rand(1, 1, 27, 27)  # 25 cells
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), dcn(images))
