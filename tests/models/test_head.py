import math

import pytest
import torch

from mmdcn.models import EntropyGradient, GlobalMaxPoolHead, GlobalSumPoolHead
from mmdcn.registry import MODELS

from .dcns import labelled

HEADS = [GlobalMaxPoolHead, GlobalSumPoolHead]


def test_the_head_is_convolution_norm_relu_maximum_and_linear_layer():
    head = GlobalMaxPoolHead(
        num_classes=3, in_channels=2, mid_channels=4, kernel_size=2, stride=1
    ).eval()
    head.conv.bn.running_mean.uniform_(-1, 1)
    feats = torch.randn(1, 2, 3, 4)
    weight, mean = head.conv.conv.weight, head.conv.bn.running_mean
    pooled = []
    for channel in range(4):
        responses = [
            ((weight[channel] * feats[0, :, y : y + 2, x : x + 2]).sum() - mean[channel])
            / math.sqrt(1 + head.conv.bn.eps)
            for y in range(2)
            for x in range(3)
        ]
        pooled.append(torch.stack(responses).clamp(min=0).max())
    expected = head.fc.weight @ torch.stack(pooled) + head.fc.bias
    torch.testing.assert_close(head(feats)[0], expected)
    torch.testing.assert_close(head((torch.rand(1, 9, 1, 1), feats))[0], expected)


def test_the_head_is_convolution_norm_relu_sum_of_squares_norm_and_linear_layer():
    head = GlobalSumPoolHead(num_classes=3, in_channels=2, mid_channels=4).eval()
    head.conv.bn.running_mean.uniform_(-1, 1)
    feats = torch.randn(1, 2, 3, 4)
    weight, mean = head.conv.conv.weight[:, :, 0, 0], head.conv.bn.running_mean
    total = torch.zeros(4)
    for y in range(3):
        for x in range(4):
            cell = (weight @ feats[0, :, y, x] - mean) / math.sqrt(1 + head.conv.bn.eps)
            total = total + cell.clamp(min=0) ** 2
    spread = ((total - total.mean()) ** 2).mean()
    normed = (total - total.mean()) / (spread + head.norm.eps).sqrt()
    expected = head.fc.weight @ normed + head.fc.bias
    torch.testing.assert_close(head(feats)[0], expected)
    torch.testing.assert_close(head((torch.rand(1, 9, 1, 1), feats))[0], expected)


def test_a_sum_does_not_care_where_and_knows_how_often():
    head = GlobalSumPoolHead(num_classes=3, in_channels=2).eval()
    one, other = torch.randn(2, 2, 1)

    def logits(*numbers):
        cells = torch.cat(
            [kind.expand(2, n) for kind, n in zip((one, other), numbers, strict=True)], dim=1
        )
        return head(cells[:, torch.randperm(6)].view(1, 2, 2, 3))

    torch.testing.assert_close(logits(4, 2), logits(4, 2))
    assert (logits(4, 2) - logits(2, 4)).abs().max() > 1e-3


def test_untrained_the_entropy_of_a_sum_moves_where_something_is():
    """Few cells of an empty map have an object; batch norm has seen such maps."""
    head = GlobalSumPoolHead(num_classes=10, in_channels=16)
    feats = torch.rand(16).view(1, 16, 1, 1).repeat(8, 1, 12, 12)  # as behind a ReLU
    objects = torch.zeros(8, 12, 12, dtype=torch.bool)
    objects[:, 3, 4] = objects[:, 8, 1] = objects[:, 10, 10] = True
    feats = torch.where(objects.unsqueeze(1), torch.rand(8, 16, 12, 12) * 3, feats)
    for _ in range(50):
        head(feats)
    saliency = EntropyGradient()(feats, head).saliency
    assert saliency[objects].min() > 2 * saliency[~objects].max()


@pytest.mark.parametrize('head_type', HEADS)
def test_entropy_is_log_of_the_classes_where_all_are_alike_and_0_where_one_is_sure(head_type):
    head = head_type(num_classes=10, in_channels=2).eval()
    torch.nn.init.zeros_(head.fc.weight)
    head.fc.bias.data.zero_()
    feats = torch.rand(2, 2, 5, 5)
    torch.testing.assert_close(head.entropy(feats), torch.full((2,), math.log(10)))
    head.fc.bias.data[3] = 1e4
    entropy = head.entropy(feats)
    assert torch.equal(entropy, torch.zeros(2)) or entropy.abs().max() < 1e-6


@pytest.mark.parametrize('head_type', HEADS)
def test_loss_is_the_cross_entropy(head_type):
    head = head_type(num_classes=10, in_channels=2)
    feats = torch.rand(3, 2, 6, 6)
    log_p = head(feats).log_softmax(1)
    expected = -(log_p[0, 0] + log_p[1, 1] + log_p[2, 2]) / 3
    torch.testing.assert_close(head.loss(feats, labelled(3))['loss'], expected)


@pytest.mark.parametrize('head_type', HEADS)
def test_the_head_sits_on_a_backbone_of_mmpretrain(head_type):
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='ResNet', depth=18),
            head=dict(type=head_type.__name__, num_classes=10, in_channels=512),
        )
    )
    samples = labelled(2)
    images = torch.rand(2, 3, 128, 128)
    model(images, samples, mode='loss')['loss'].backward()
    assert model.backbone.conv1.weight.grad.abs().max() > 0
    assert all(0 <= sample.pred_label < 10 for sample in model(images, samples, mode='predict'))


@pytest.mark.parametrize('head_type', HEADS)
def test_a_map_of_other_channels_is_named(head_type):
    head = head_type(num_classes=10, in_channels=2)
    with pytest.raises(
        ValueError,
        match=rf'{head_type.__name__}\(in_channels=2\) got a feature '
        'map of 3 channels: set in_channels',
    ):
        head(torch.rand(1, 3, 6, 6))


@pytest.mark.parametrize('head_type', HEADS)
@pytest.mark.parametrize('label', [10, -1])
def test_a_label_that_is_no_class_is_named(label, head_type):
    head = head_type(num_classes=10, in_channels=2)
    samples = labelled(2)
    samples[1].set_gt_label(label)
    with pytest.raises(ValueError, match=f'got the label {label}, which is not within 0..9'):
        head.loss(torch.rand(2, 2, 6, 6), samples)


def test_many_cells_are_added_up_in_float32_in_mixed_precision():
    head, feats = GlobalSumPoolHead(num_classes=10, in_channels=4).eval(), torch.rand(2, 4, 47, 47)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        found = head.pre_logits(feats)
        total = head.conv(feats).double().square().sum(dim=(2, 3))  # of the rounded responses
    expected = torch.nn.functional.layer_norm(total, total.shape[1:], eps=head.norm.eps)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
