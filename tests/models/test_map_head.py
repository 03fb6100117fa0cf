"""Trained classifiers of MMPretrain as they stand, as coarse models."""

import pytest
import torch
from torch import nn

from mmdcn.models import ClassActivation, DCNClassifier, EntropyGradient, MapHead
from mmdcn.models.fitting.heads import check_reads_a_map
from mmdcn.registry import MODELS
from mmdcn.utils.checkpoint import load_named_weights

from .dcns import build_dcn, labelled, stir_statistics

BACKBONE = dict(type='ResNet', depth=18, base_channels=8, stem_channels=8)
AVERAGE = dict(type='GlobalAveragePooling')
LINEAR = dict(type='LinearClsHead', num_classes=5, in_channels=64)
OTHER = dict(
    neck=dict(type='GeneralizedMeanPooling'),
    head=dict(type='StackedLinearClsHead', num_classes=5, in_channels=64, mid_channels=[16]),
)


def stirred(model):
    stir_statistics(model)
    for weight in model.parameters():
        weight.data += 0.05 * torch.randn_like(weight)
    return model.eval()


def map_head(neck=AVERAGE, head=LINEAR, **options):
    return stirred(MapHead(in_channels=64, neck=neck, head=head, **options))


def dcn_of(head, saliency='ClassActivation', k=2, **coarse) -> DCNClassifier:
    return MODELS.build(
        dict(
            type='DCNClassifier',
            coarse=dict(BACKBONE, **coarse),
            fine=BACKBONE,
            head=head,
            saliency=dict(type=saliency),
            selector=dict(type='TopKSelector', k=k),
            grid=dict(type='PatchGrid', size=64, stride=32, offset=-16),
        )
    )


@pytest.fixture
def images():
    return torch.rand(3, 3, 96, 128)


def test_a_checkpoint_of_a_classifier_becomes_the_coarse_model_to_the_bit(images, tmp_path):
    trained = stirred(
        MODELS.build(dict(type='ImageClassifier', backbone=BACKBONE, neck=AVERAGE, head=LINEAR))
    )
    path = tmp_path / 'trained.pth'
    torch.save(dict(state_dict=trained.state_dict()), path)

    def taken(prefix):
        return dict(type='Pretrained', checkpoint=str(path), prefix=prefix)

    dcn = dcn_of(
        dict(
            type='MapHead', in_channels=64, neck=AVERAGE, head=dict(LINEAR, init_cfg=taken('head.'))
        ),
        k=0,
        init_cfg=taken('backbone.'),
    )
    dcn.fine.init_cfg = taken('backbone.')
    load_named_weights(dcn)
    with torch.no_grad():
        assert torch.equal(dcn.eval()(images), trained(images))
    for found, expected in zip(dcn.predict(images), trained.predict(images), strict=True):
        assert torch.equal(found.pred_score, expected.pred_score)
        assert found.pred_label == expected.pred_label


@pytest.mark.parametrize('parts', [dict(neck=AVERAGE, head=LINEAR), OTHER], ids=['average', 'mean'])
def test_losses_and_predictions_are_those_of_neck_and_head_of_mmpretrain(parts):
    head, feats = map_head(**parts), torch.rand(3, 64, 4, 5)
    classifier = MODELS.build(dict(type='ImageClassifier', backbone=BACKBONE, **parts)).eval()
    classifier.neck.load_state_dict(head.neck.state_dict())
    classifier.head.load_state_dict(head.head.state_dict())
    pooled = classifier.neck((feats,))
    assert torch.equal(head(feats), classifier.head(pooled))
    assert torch.equal(head((torch.rand(3, 9, 8, 8), feats)), head(feats))
    samples = labelled(3)
    expected = classifier.head.loss(pooled, samples)
    assert torch.equal(head.loss(feats, samples)['loss'], expected['loss'])
    found = head.predict(feats, samples)
    assert [sample.gt_label.item() for sample in found] == [0, 1, 2]
    for sample, logits in zip(found, head(feats), strict=True):
        torch.testing.assert_close(sample.pred_score, logits.softmax(0))


def test_a_head_of_mmpretrain_that_reads_a_map_needs_no_neck():
    alone = MODELS.build(dict(type='GlobalMaxPoolHead', num_classes=5, in_channels=64)).eval()
    feats = torch.rand(2, 64, 6, 6)
    assert torch.equal(MapHead(in_channels=64, head=alone)(feats), alone(feats))


def test_class_activation_is_the_weights_of_the_predicted_class_times_the_features():
    head, feats = map_head(), torch.randn(4, 64, 3, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.autograd, 'grad', None)  # no backward pass
        patch.setattr(torch.Tensor, 'backward', None)
        saliency, entropy, _ = ClassActivation()(feats, head)
    found, logits = head.class_activation(feats), head(feats)
    assert entropy is None and not saliency.requires_grad
    for image in range(4):
        label, lowest = logits[image].argmax().item(), float('inf')
        for row in range(3):
            for column in range(4):
                said = sum(
                    weight * feature
                    for weight, feature in zip(
                        head.head.fc.weight[label].tolist(),
                        feats[image, :, row, column].tolist(),
                        strict=True,
                    )
                )
                lowest = min(lowest, said)
                assert found[image, row, column].item() == pytest.approx(said, abs=1e-5)
        # Lifted, so that the lowest cell is at 0.
        torch.testing.assert_close(saliency[image], (found[image] - min(lowest, 0)).detach())
    # The mean over the cells, and the bias, is the logit.
    torch.testing.assert_close(
        found.mean(dim=(1, 2)) + head.head.fc.bias[logits.argmax(1)], logits.amax(1)
    )


def test_a_global_average_has_no_entropy_gradient_to_choose_by():
    with pytest.raises(
        ValueError,
        match='EntropyGradient cannot tell the cells apart with this MapHead: its entropy has the '
        r'same gradient in every cell, as under a global average \(§4.2.2\) or .* Use '
        'ClassActivation',
    ):
        dcn_of(map_head(), saliency='EntropyGradient')


def test_another_neck_and_head_have_the_entropy_gradient_of_autograd():
    head, feats = map_head(**OTHER), torch.rand(2, 64, 3, 4) + 0.1
    saliency, entropy, _ = EntropyGradient()(feats, head)
    for image in range(2):
        own = feats[image : image + 1].clone().requires_grad_()
        p = head(own).softmax(1)
        expected = -(p * p.log()).sum()
        expected.backward()
        torch.testing.assert_close(entropy[image], expected.detach())
        torch.testing.assert_close(
            saliency[image], own.grad[0].square().sum(0).sqrt(), rtol=1e-4, atol=1e-8
        )
    assert saliency[0].unique().numel() == 12


def test_another_neck_and_head_have_no_class_activation():
    sentence = (
        'The class activation of a MapHead is known where its neck is GlobalAveragePooling and '
        'its head has one linear layer fc, as LinearClsHead has: take these, or another saliency'
    )
    with pytest.raises(ValueError, match=sentence):
        dcn_of(map_head(**OTHER))
    with pytest.raises(ValueError, match=sentence):
        ClassActivation().check(map_head(neck=OTHER['neck']))
    with pytest.raises(ValueError, match=sentence):
        ClassActivation().check(map_head(head=OTHER['head']))


@pytest.mark.parametrize(
    'parts, saliency',
    [(dict(neck=AVERAGE, head=LINEAR), 'ClassActivation'), (OTHER, 'EntropyGradient')],
    ids=['average', 'mean'],
)
def test_a_dcn_learns_and_predicts_with_any_neck_and_head(images, parts, saliency):
    dcn = dcn_of(dict(type='MapHead', in_channels=64, **parts), saliency=saliency).train()
    loss, logged = dcn.parse_losses(dcn.loss(images, labelled(3)))
    loss.backward()
    assert loss.isfinite() and logged['hint_distance'] > 0
    for name, weight in dcn.named_parameters():
        assert not weight.requires_grad or weight.grad is not None, name
    dcn.eval()
    for sample in dcn.predict(images):
        assert sample.cells.shape == (2,) and 0 <= sample.pred_label < 5


@pytest.mark.parametrize('call', [lambda head, feats: head(feats), MapHead.entropy])
def test_a_map_of_other_channels_is_named(call):
    with pytest.raises(
        ValueError,
        match=r'MapHead\(in_channels=64\) got a feature map of 9 channels: set in_channels',
    ):
        call(map_head(), torch.rand(1, 9, 4, 4))


def test_a_neck_or_head_can_be_a_module():
    head = MapHead(in_channels=3, neck=nn.Identity(), head=nn.Identity())
    feats = torch.rand(1, 3, 2, 2)
    assert head(feats)[0] is feats


@pytest.mark.parametrize('saliency', ['ActivationNorm', 'RandomCells', 'OracleCells'])
@pytest.mark.parametrize(
    'head',
    [
        dict(type='LinearClsHead'),
        dict(type='StackedLinearClsHead', mid_channels=[16]),
        dict(type='MultiLabelLinearClsHead'),
        dict(type='VigClsHead', hidden_dim=8),
        dict(type='LeViTClsHead', distillation=False),
        dict(type='MapHead', head=dict(type='LinearClsHead', num_classes=5, in_channels=24)),
    ],
    ids=lambda head: head['type'],
)
def test_a_head_that_reads_vectors_is_refused_whatever_the_saliency_asks(head, saliency):
    options = dict(in_channels=24) if 'head' in head else dict(in_channels=24, num_classes=5)
    with pytest.raises(
        ValueError,
        match=f'{head["type"]} cannot be the head of a DCN: on a map of .* it failed .* If it '
        'reads vectors, give it a neck that pools: .*MapHead.*GlobalAveragePooling',
    ):
        build_dcn(saliency=dict(type=saliency), head=MODELS.build({**head, **options}))


def test_the_columns_of_a_map_are_not_taken_for_channels():
    class ReadsTheLastAxis(nn.Linear):
        in_channels = property(lambda self: self.in_features)

    for channels in (8, 16, 17):
        with pytest.raises(ValueError, match='cannot be the head of a DCN'):
            check_reads_a_map(ReadsTheLastAxis(channels, 3))


def test_a_head_of_mmpretrain_that_reads_a_map_itself_is_taken():
    options = dict(type='CSRAClsHead', num_classes=5, in_channels=24, num_heads=1, lam=0.1)
    dcn = build_dcn(saliency=dict(type='ActivationNorm'), head=MODELS.build(options)).eval()
    images = torch.rand(3, 1, 64, 64)
    with torch.no_grad():
        logits = dcn(images)
        for image, alone in zip(images, logits, strict=True):
            torch.testing.assert_close(dcn(image[None])[0], alone)
