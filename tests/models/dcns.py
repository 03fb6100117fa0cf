"""Small and full DCNs for the tests."""

import torch
from mmengine.config import Config
from mmpretrain.structures import DataSample

from mmdcn.models.heads.entropy import entropy_and_gradient_norm_by_autograd
from mmdcn.registry import MODELS
from mmdcn.structures import Measured

from ..conftest import ROOT


def build_dcn(hint: dict | None = None, **parts) -> torch.nn.Module:
    """The paper's Cluttered MNIST DCN with random weights; parts replace or extend it."""
    cfg = dict(
        type='DCNClassifier',
        coarse=dict(type='ClutteredMNISTCoarse'),
        fine=dict(type='ClutteredMNISTFine'),
        head=dict(type='GlobalMaxPoolHead', num_classes=10, in_channels=24),
        selector=dict(type='TopKSelector', k=8),
        grid=dict(type='PatchGrid', size=14, stride=4, offset=-1),
        losses=dict(
            hint=dict(type='HintLoss', **(hint or {})), patch_hit=dict(type='PatchHitRate')
        ),
    )
    for name, options in parts.items():
        cfg[name] = {**cfg.get(name, {}), **options} if isinstance(options, dict) else options
    model = MODELS.build(cfg)
    stir_statistics(model)
    return model


def build_svhn_dcn(k: int = 3, width: float = 1 / 32, **options) -> torch.nn.Module:
    """The SVHN experiment's DCN, slim, with random weights."""
    cfg = Config.fromfile(ROOT / 'configs' / '_base_' / 'models' / 'svhn_dcn.py').model
    cfg.coarse.width = cfg.fine.width = width
    cfg.head.in_channels = cfg.saliency.head.in_channels = round(1024 * width)
    cfg.selector.k = k
    model = MODELS.build({**cfg, **options})
    stir_statistics(model)
    return model


def ask_by_autograd(head: torch.nn.Module, feats: torch.Tensor) -> Measured:
    """Answer as ``EntropyGradient.ask`` does, without the head's closed form."""
    entropy, norm = entropy_and_gradient_norm_by_autograd(head, feats)
    return Measured(norm, entropy)


def stir_statistics(model: torch.nn.Module) -> None:
    """Give batch norms statistics other than 0 and 1, as after training."""
    for part in model.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 1.5)


def labelled(number: int) -> list:
    return [DataSample().set_gt_label(index % 10) for index in range(number)]


def sharp_dcn(**parts):
    """A DCN whose coarse entropies spread over orders of magnitude."""
    dcn = build_dcn(**parts).eval()
    torch.nn.init.normal_(dcn.head.fc.weight, std=4.0)
    return dcn


def digits(number: int) -> torch.Tensor:
    """Images that are unlike each other in contrast, and so in entropy."""
    return torch.rand(number, 1, 100, 100) * torch.linspace(0.1, 3, number).view(-1, 1, 1, 1)
