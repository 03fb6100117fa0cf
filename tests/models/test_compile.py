"""torch.compile takes a DCN's forward pass as one graph, whatever the backend makes of it."""

import pytest
import torch

from .dcns import build_dcn, build_svhn_dcn

SIZES = [
    (build_dcn, ((2, 1, 100, 100), (3, 1, 64, 87))),
    (build_svhn_dcn, ((2, 1, 70, 150), (3, 1, 86, 131))),
]


@pytest.mark.parametrize('build, sizes', SIZES)
def test_a_dcn_compiles_without_graph_breaks_for_images_of_several_sizes(build, sizes):
    dcn = build().eval()
    compiled = torch.compile(dcn, fullgraph=True, backend='eager')
    with torch.no_grad():
        for size in sizes:
            images = torch.rand(size)
            torch.testing.assert_close(compiled(images), dcn(images))


@pytest.mark.parametrize('build, sizes', SIZES)
def test_what_a_compiled_dcn_sees_is_what_it_saw_before(build, sizes):
    dcn = build().eval()
    # Unlike 'eager' it takes the graph apart into plain operators that change nothing in place.
    compiled = torch.compile(dcn.extract_feat, fullgraph=True, backend='aot_eager')
    images = torch.rand(sizes[0])
    with torch.no_grad():
        found, expected = compiled(images), dcn.extract_feat(images)
    assert torch.equal(found.cells, expected.cells)
    torch.testing.assert_close(found, expected)


def test_more_patches_than_cells_compile_too():
    dcn = build_svhn_dcn(k=20).eval()
    compiled = torch.compile(dcn, fullgraph=True, backend='eager')
    images = torch.rand(1, 1, 54, 126)  # two cells
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), dcn(images))
