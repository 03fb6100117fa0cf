"""What works in plain Python, where no config has set a scope."""

from ..tools.running import run_python


def test_a_dcn_is_built_without_a_default_scope():
    assert 'UnpaddedDataPreprocessor' in run_python(
        '-c',
        """
from mmdcn.models import DCNClassifier
dcn = DCNClassifier(
    coarse=dict(type='mmdcn.ClutteredMNISTCoarse'),
    fine=dict(type='mmdcn.ClutteredMNISTFine'),
    head=dict(type='mmdcn.GlobalMaxPoolHead', num_classes=10, in_channels=24),
    selector=dict(type='mmdcn.TopKSelector', k=8),
    grid=dict(type='mmdcn.PatchGrid', size=14, stride=4, offset=-1),
)
print(type(dcn.data_preprocessor).__name__)
""",
    )
