import pytest
import torch
from torch import nn

from mmdcn.models import EntropyGradient, GlobalMaxPoolHead
from mmdcn.models.saliency.entropy_gradient import evaluation_mode

from .dcns import stir_statistics


@pytest.fixture
def head():
    head = GlobalMaxPoolHead(num_classes=10, in_channels=24)
    stir_statistics(head)
    return head


def entropy_by_hand(logits):
    p = torch.exp(logits - logits.max()) / torch.exp(logits - logits.max()).sum()
    return -sum(p[label] * torch.log(p[label]) for label in range(len(p)))


def test_saliency_equals_finite_differences_of_the_entropy(head):
    head = head.double().eval()
    coarse = torch.rand(1, 24, 7, 7, dtype=torch.float64)
    saliency = EntropyGradient()(coarse, head)
    step = 1e-6
    for row, column in ((0, 0), (2, 3), (3, 5), (5, 4), (6, 6)):
        differences = []
        for channel in range(24):
            entropies = []
            for sign in (1, -1):
                moved = coarse.clone()
                moved[0, channel, row, column] += sign * step
                with torch.no_grad():
                    entropies.append(entropy_by_hand(head(moved)[0]))
            differences.append((entropies[0] - entropies[1]) / (2 * step))
        expected = torch.stack(differences).norm()
        torch.testing.assert_close(saliency[0, row, column], expected, rtol=1e-5, atol=1e-9)


def test_saliency_equals_one_backward_pass_an_image(head):
    coarse = torch.rand(5, 24, 23, 23)
    saliency = EntropyGradient()(coarse, head)
    head.eval()
    for image, found in zip(coarse, saliency):
        image = image.unsqueeze(0).requires_grad_()
        entropy_by_hand(head(image)[0]).backward()
        torch.testing.assert_close(found, image.grad[0].square().sum(0).sqrt(),
                                   rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize('training', [True, False])
def test_saliency_of_an_image_ignores_the_others_of_its_batch(head, training):
    head.train(training)
    coarse = torch.rand(6, 24, 23, 23)
    together = EntropyGradient()(coarse, head)
    alone = EntropyGradient()(coarse[2:3], head)
    torch.testing.assert_close(together[2:3], alone, rtol=1e-4, atol=1e-7)
    others = torch.cat([5 * torch.rand(2, 24, 23, 23), coarse[2:3]])
    torch.testing.assert_close(EntropyGradient()(others, head)[2:], alone, rtol=1e-4, atol=1e-7)


def test_saliency_leaves_no_trace_in_a_training_head(head):
    head.train()
    head.conv.bn.eval()  # as a frozen norm
    before = {name: value.clone() for name, value in head.state_dict().items()}
    coarse = torch.rand(4, 24, 23, 23, requires_grad=True)
    saliency = EntropyGradient()(coarse, head)
    assert not saliency.requires_grad
    assert coarse.grad is None
    assert all(weight.grad is None for weight in head.parameters())
    for name, value in head.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert head.training and head.conv.training and not head.conv.bn.training


@pytest.mark.parametrize('context', [torch.no_grad, torch.inference_mode])
def test_saliency_works_where_gradients_are_off(head, context):
    coarse = torch.rand(2, 24, 23, 23)
    expected = EntropyGradient()(coarse, head)
    with context():
        found = EntropyGradient()(coarse * 1, head)
    assert torch.equal(found, expected)


def test_saliency_is_computed_in_float32_under_autocast(head):
    coarse = torch.rand(2, 24, 23, 23).bfloat16()
    seen = []
    head.conv.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        saliency = EntropyGradient()(coarse, head)
    assert seen == [torch.float32] and saliency.dtype == torch.float32
    assert torch.equal(saliency, EntropyGradient()(coarse.float(), head))


def test_modes_come_back_when_the_head_fails():
    head = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(3).eval())
    with pytest.raises(RuntimeError, match='fails'), evaluation_mode(head):
        assert not head[0].training
        raise RuntimeError('fails')
    assert head.training and head[0].training and not head[1].training


def test_a_head_without_entropy_is_named():
    with pytest.raises(TypeError, match=r'EntropyGradient needs a head with entropy\(feats\).*'
                                        'which Conv2d lacks: use GlobalMaxPoolHead'):
        EntropyGradient()(torch.rand(1, 24, 5, 5), nn.Conv2d(24, 10, 5))
