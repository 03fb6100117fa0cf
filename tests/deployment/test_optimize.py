import copy

import torch

from mmdcn.deployment import optimize_for_inference

from ..models.dcns import build_dcn
from ..tools.running import run_python


def test_an_optimized_dcn_looks_at_the_same_patches_and_answers_alike():
    dcn, images = build_dcn().eval(), torch.rand(3, 1, 100, 100)
    fast = optimize_for_inference(copy.deepcopy(dcn))
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in fast.modules())
    with torch.no_grad():
        expected, found = dcn.extract_feat(images), fast.extract_feat(images)
        assert torch.equal(found.cells.index, expected.cells.index)
        torch.testing.assert_close(found.saliency, expected.saliency, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(fast(images), dcn(images), rtol=1e-4, atol=1e-5)


def test_it_needs_no_package_that_only_export_needs():
    run_python(
        '-c',
        """
import sys
from mmdcn.deployment import optimize_for_inference
assert not {'onnx_ir', 'onnxruntime', 'onnxscript'} & set(sys.modules)
""",
    )
