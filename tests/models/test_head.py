import math

import pytest
import torch

from mmdcn.models import GlobalMaxPoolHead
from mmdcn.registry import MODELS

from .dcns import labelled


def test_the_head_is_convolution_norm_relu_maximum_and_linear_layer():
    head = GlobalMaxPoolHead(num_classes=3, in_channels=2, mid_channels=4, kernel_size=2,
                             stride=1).eval()
    head.conv.bn.running_mean.uniform_(-1, 1)
    feats = torch.randn(1, 2, 3, 4)
    weight, mean = head.conv.conv.weight, head.conv.bn.running_mean
    pooled = []
    for channel in range(4):
        responses = [
            ((weight[channel] * feats[0, :, y:y + 2, x:x + 2]).sum() - mean[channel])
            / math.sqrt(1 + head.conv.bn.eps) for y in range(2) for x in range(3)]
        pooled.append(torch.stack(responses).clamp(min=0).max())
    expected = head.fc.weight @ torch.stack(pooled) + head.fc.bias
    torch.testing.assert_close(head(feats)[0], expected)
    torch.testing.assert_close(head((torch.rand(1, 9, 1, 1), feats))[0], expected)


def test_entropy_is_log_of_the_classes_where_all_are_alike_and_0_where_one_is_sure():
    head = GlobalMaxPoolHead(num_classes=10, in_channels=2).eval()
    torch.nn.init.zeros_(head.fc.weight)
    head.fc.bias.data.zero_()
    feats = torch.rand(2, 2, 5, 5)
    torch.testing.assert_close(head.entropy(feats), torch.full((2, ), math.log(10)))
    head.fc.bias.data[3] = 1e4
    entropy = head.entropy(feats)
    assert torch.equal(entropy, torch.zeros(2)) or entropy.abs().max() < 1e-6


def test_loss_is_the_cross_entropy():
    head = GlobalMaxPoolHead(num_classes=10, in_channels=2)
    feats = torch.rand(3, 2, 6, 6)
    log_p = head(feats).log_softmax(1)
    expected = -(log_p[0, 0] + log_p[1, 1] + log_p[2, 2]) / 3
    torch.testing.assert_close(head.loss(feats, labelled(3))['loss'], expected)


def test_the_head_sits_on_a_backbone_of_mmpretrain():
    model = MODELS.build(dict(
        type='ImageClassifier', backbone=dict(type='ResNet', depth=18),
        head=dict(type='GlobalMaxPoolHead', num_classes=10, in_channels=512)))
    samples = labelled(2)
    images = torch.rand(2, 3, 128, 128)
    model(images, samples, mode='loss')['loss'].backward()
    assert model.backbone.conv1.weight.grad.abs().max() > 0
    assert all(0 <= sample.pred_label < 10 for sample in model(images, samples, mode='predict'))


@pytest.mark.parametrize('label', [10, -1])
def test_a_label_that_is_no_class_is_named(label):
    head = GlobalMaxPoolHead(num_classes=10, in_channels=2)
    samples = labelled(2)
    samples[1].set_gt_label(label)
    with pytest.raises(ValueError, match=f'got the label {label}, which is not within 0..9'):
        head.loss(torch.rand(2, 2, 6, 6), samples)
