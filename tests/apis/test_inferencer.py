import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.visualization import Visualizer
from mmpretrain.apis import ImageClassificationInferencer
from PIL import Image

from mmdcn import DCNInferencer, get_model
from mmdcn.analysis import count_multiplications, multiplications_by_part
from mmdcn.datasets import ClutteredMNIST
from mmdcn.models import DCNClassifier

from ..conftest import ROOT
from ..models.dcns import build_dcn
from ..registered import CONFIGS
from .inferencers import SLIM_DCN, SLIM_TOWER, untrained

DEMO = ROOT / 'demo' / 'cluttered_mnist.png'
CLUTTERED = ROOT / 'configs' / 'dcn'
SEQUENCE_FIELDS = ['pred_sequence', 'pred_score', 'length_scores', 'digit_scores']


@pytest.fixture(scope='module')
def trained() -> DCNInferencer:
    return DCNInferencer('dcn-k8-hint')


@pytest.fixture(scope='module')
def adaptive() -> DCNInferencer:
    """Of a budget that differs from image to image."""
    return DCNInferencer(
        'dcn-k8-hint',
        selector=dict(
            _delete_=True, type='EntropySelector', k=16, threshold=0.05, full_threshold=2.5
        ),
    )


@pytest.fixture(scope='module')
def reader() -> DCNInferencer:
    return untrained('dcn-k6_svhn', **SLIM_DCN)


@pytest.fixture
def digits(mnist_root) -> list:
    dataset = ClutteredMNIST(data_root=mnist_root, split='val')
    return [dataset.get_data_info(index)['img'] for index in range(12)]


def noise(*shape) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def assert_same(found: dict, expected: dict, **tolerance) -> None:
    """But for where the image came from."""
    for result in (found, expected):
        result.pop('img_path', None)
    assert found.keys() == expected.keys()
    for field, value in expected.items():
        if isinstance(value, (float, np.ndarray)):
            np.testing.assert_allclose(
                found[field], value, **{**dict(rtol=1e-4, atol=1e-6), **tolerance}, err_msg=field
            )
        else:
            assert found[field] == value, field


def test_the_demo_picture_is_the_first_test_image_and_is_read_at_once(trained, mnist_root):
    first = ClutteredMNIST(data_root=mnist_root, split='test').get_data_info(0)
    np.testing.assert_array_equal(np.asarray(Image.open(DEMO)), first['img'])
    (result,) = trained(str(DEMO))
    assert result['img_path'] == str(DEMO)
    assert result['pred_label'] == first['gt_label'] == 7
    assert result['pred_class'] == '7 - seven' and result['pred_score'] > 0.99
    assert result['pred_scores'].shape == (10,)
    assert result['pred_scores'].sum() == pytest.approx(1)
    assert result['cost']['total'] == 15_939_372  # of the paper's layers; configs' README


def test_the_weights_that_come_along_are_trained(trained, mnist_root):
    """They have 98.32 % on all of test."""
    dataset = ClutteredMNIST(data_root=mnist_root, split='val', indices=500)
    images, labels = zip(
        *((info['img'], info['gt_label']) for info in map(dataset.get_data_info, range(500))),
        strict=True,
    )
    results = trained(list(images), batch_size=125)
    assert (
        np.mean(
            [result['pred_label'] == label for result, label in zip(results, labels, strict=True)]
        )
        >= 0.97
    )


def test_an_answer_is_that_of_the_model_on_its_test_pipeline(trained, mnist_root):
    dataset = ClutteredMNIST(
        data_root=mnist_root, split='val', pipeline=trained.config.test_dataloader.dataset.pipeline
    )
    with torch.no_grad():
        samples = trained.model.test_step(default_collate([dataset[index] for index in range(5)]))
    results = trained([dataset.get_data_info(index)['img'] for index in range(5)], batch_size=5)
    for result, sample in zip(results, samples, strict=True):
        assert result['pred_label'] == sample.pred_label.item()
        np.testing.assert_array_equal(result['pred_scores'], sample.pred_score)
        np.testing.assert_array_equal(result['patch_bboxes'], sample.patch_bboxes)
        np.testing.assert_array_equal(result['saliency'], sample.saliency)


@pytest.mark.parametrize('kind', ['trained', 'adaptive', 'reader'])
def test_the_saliency_of_each_patch_is_that_of_its_cell_in_the_order_of_ranks(kind, request):
    inferencer = request.getfixturevalue(kind)
    image = noise(100, 120)
    (result,) = inferencer(image)
    patches = len(result['patch_bboxes'])
    found = result['patch_saliency']
    assert found.shape == (patches,) and found.dtype == np.float32
    np.testing.assert_array_equal(found, np.sort(result['saliency'].ravel())[::-1][:patches])


def test_files_folders_arrays_and_lists_get_the_same_answers(trained, digits, tmp_path):
    expected = trained(digits)
    for index, image in enumerate(digits):
        Image.fromarray(image).save(tmp_path / f'{index:02}.png')
    (tmp_path / 'notes.txt').write_text('no image')
    (tmp_path / 'folder.png').mkdir()
    paths = sorted(tmp_path.glob('??.png'))
    for inputs in (
        tmp_path,
        str(tmp_path),
        paths,
        tuple(map(str, paths)),
        [image[..., None] for image in digits],
    ):
        for found, wanted in zip(trained(inputs, batch_size=5), expected, strict=True):
            assert_same(found, dict(wanted))
    assert [result['img_path'] for result in trained(tmp_path)] == list(map(str, paths))


@pytest.mark.parametrize('kind', ['trained', 'adaptive', 'reader'])
def test_images_of_unlike_sizes_share_a_batch_without_touching_each_other(kind, request):
    inferencer = request.getfixturevalue(kind)
    sizes = [(100, 100), (120, 80), (100, 100), (70, 150), (120, 80), (100, 100), (60, 111)]
    images = [noise(*size) + np.uint8(place) for place, size in enumerate(sizes)]
    alone = [inferencer(image)[0] for image in images]
    for found, wanted in zip(inferencer(images, batch_size=7), alone, strict=True):
        assert_same(found, dict(wanted), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    'name, settings',
    [
        ('dcn-k24-hint', {}),
        ('fine_1xb128-60e', {}),
        ('coarse_1xb128-60e', {}),
        ('dcn-k8-hint-class-activation', {}),
        ('dcn-k8-hint-random', {}),
        ('dcn-k6-inverse-entropy_svhn', SLIM_DCN),
        ('soft-attention_svhn', SLIM_TOWER),
        ('resnet18', {}),
    ],
)
def test_the_cost_is_what_one_pass_of_the_image_multiplies(name, settings):
    inferencer = untrained(name, **settings)
    images = [noise(110, 140), noise(110, 140), noise(64, 128)]
    for image, result in zip(images, inferencer(images, batch_size=3), strict=True):
        inputs = torch.from_numpy(image).view(1, 1, *image.shape).float()
        parts = multiplications_by_part(inferencer.model, inputs)
        assert result['cost'] == dict(parts=parts, total=sum(parts.values()))


def test_where_budgets_differ_each_image_has_its_own_cost(adaptive, digits):
    results = adaptive(digits, batch_size=12)
    patches = [len(result['patch_bboxes']) for result in results]
    assert 0 in patches and len(set(patches)) > 2
    for image, number, result in zip(digits, patches, results, strict=True):
        inputs = torch.from_numpy(image).view(1, 1, 100, 100) / 255
        assert result['cost']['total'] == count_multiplications(adaptive.model, inputs)
        assert result['cost']['parts']['fine'] == number * 1_156_032  # DESIGN: a 14×14 patch
    assert type(adaptive.model.selector).__name__ == 'EntropySelector'


def test_several_threads_get_the_answers_and_costs_of_one(adaptive, digits, tmp_path):
    images = [image[: 60 + 5 * place, : 99 - 3 * place] for place, image in enumerate(digits[:5])]
    expected = adaptive(images)
    together = DCNInferencer(adaptive.model)  # which knows no costs yet
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # as often as Python can, another thread goes on
    try:
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda _: together(images, show_dir=tmp_path), range(4)))
    finally:
        sys.setswitchinterval(interval)
    for answer in [*answers, together(images)]:
        for found, wanted in zip(answer, expected, strict=True):
            assert_same(found, dict(wanted))
    assert len(list(tmp_path.iterdir())) == len(images)


def test_patches_are_placed_in_the_image_as_given(reader):
    """A 27×80 image is doubled before a 54×110 patch fits: its patches are 27×55."""
    image = noise(27, 80)
    (result,) = reader(image)
    (sample,) = reader(image, return_datasamples=True)
    assert sample.patch_bboxes.shape == (4, 4) and sample.img_shape == (54, 160)
    assert result['patch_bboxes'].dtype == np.float32
    np.testing.assert_allclose(result['patch_bboxes'] * 2, sample.patch_bboxes)
    np.testing.assert_allclose(
        np.ptp(result['patch_bboxes'].reshape(-1, 2, 2), axis=1), [[55, 27]] * 4
    )


def with_step(**step) -> DCNInferencer:
    """The paper's DCN after one more step of the test pipeline."""
    config = Config.fromfile(ROOT / 'configs/dcn/dcn-k8_1xb128-60e_cluttered-mnist.py')
    config.test_dataloader.dataset.pipeline.insert(0, step)
    return DCNInferencer(config, pretrained=False)


def test_patches_of_a_crop_are_placed_in_the_image_as_given():
    inferencer, image = with_step(type='CenterCrop', crop_size=60), noise(100, 120)
    (result,), (sample,) = inferencer(image), inferencer(image, return_datasamples=True)
    np.testing.assert_array_equal(
        result['patch_bboxes'], sample.patch_bboxes.numpy() + [30, 20, 30, 20]
    )


def test_patches_that_have_no_known_place_in_the_image_are_left_out_and_the_log_says_so(
    monkeypatch, tmp_path
):
    said = []
    monkeypatch.setattr(
        'mmdcn.apis.inferencer.print_log', lambda text, **options: said.append(text)
    )
    inferencer = with_step(type='RandomFlip', prob=1.0)
    for result in inferencer([noise(60, 60), noise(70, 60)], show_dir=tmp_path):
        assert 'patch_bboxes' not in result and 'saliency' in result and 'pred_label' in result
    assert len(said) == 1 and 'the RandomFlip of the test pipeline' in said[0]


def test_a_number_is_given_as_its_digits_with_all_distributions(reader):
    (result,) = reader(noise(80, 200))
    assert list(result)[:4] == SEQUENCE_FIELDS
    assert result['pred_sequence'].isdigit() and 1 <= len(result['pred_sequence']) <= 5
    assert result['length_scores'].shape == (5,) and result['digit_scores'].shape == (5, 11)
    probability = result['length_scores'][len(result['pred_sequence']) - 1] * np.prod(
        [
            result['digit_scores'][place, int(digit)]
            for place, digit in enumerate(result['pred_sequence'])
        ]
    )
    assert result['pred_score'] == pytest.approx(probability, rel=1e-4)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_config_has_an_answer_to_a_colour_file(path, tmp_path):
    inferencer = DCNInferencer(path, pretrained=False)
    Image.fromarray(noise(72, 112, 3)).save(tmp_path / 'image.jpg')
    if 'oracle' in path.stem:
        with pytest.raises(ValueError, match='OracleCells looks where the true boxes are'):
            inferencer(tmp_path)
        return
    if inferencer.reads_in_part:  # and does not convert what it reads
        with pytest.raises(ValueError, match=r'takes images of 1 channel\(s\), but .* with 3'):
            inferencer(tmp_path)
        Image.fromarray(noise(600, 700)).save(tmp_path / 'image.jpg')
    (result,) = inferencer(tmp_path)
    assert ('pred_sequence' in result) == path.stem.endswith('_svhn')
    assert 0 <= result['pred_score'] <= 1 and result['cost']['total'] > 0
    assert ('saliency' in result) == isinstance(inferencer.model, DCNClassifier)


def test_a_colour_network_reads_files_and_bgr_arrays_alike(tmp_path):
    inferencer = DCNInferencer(
        Config(
            dict(
                default_scope='mmpretrain',
                model=dict(
                    type='ImageClassifier',
                    backbone=dict(type='ResNet_CIFAR', depth=18, base_channels=8, stem_channels=8),
                    head=dict(type='mmdcn.GlobalMaxPoolHead', num_classes=3, in_channels=64),
                ),
                data_preprocessor=dict(
                    mean=[0.0, 50.0, 100.0], std=[255.0] * 3, num_classes=3, to_rgb=True
                ),
                test_dataloader=dict(
                    dataset=dict(
                        type='CustomDataset',
                        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
                    )
                ),
            )
        ),
        False,
        classes=['a', 'b', 'c'],
    )
    image = noise(40, 50, 3)
    cv2.imwrite(str(tmp_path / 'image.png'), image)
    (by_array,) = inferencer(image)
    (by_file,) = inferencer(tmp_path / 'image.png')
    assert_same(by_file, dict(by_array))
    assert by_array['pred_class'] in ('a', 'b', 'c')
    (tmp_path / 'broken.png').write_bytes(b'\x89PNG')
    with pytest.raises(ValueError, match='The image .*broken.png cannot be read'):
        inferencer(tmp_path / 'broken.png')


def colour_dcn() -> Config:
    return Config(
        dict(
            model=dict(
                type='DCNClassifier',
                coarse=dict(type='ResNet_CIFAR', depth=18, base_channels=8, stem_channels=8),
                coarse_scale=0.5,
                fine=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8),
                grid=dict(type='PatchGrid', size=32),
                selector=dict(type='TopKSelector', k=4),
                head=dict(
                    type='GlobalMaxPoolHead', num_classes=3, in_channels=64, kernel_size=1, stride=1
                ),
                data_preprocessor=dict(type='LateNormalization', mean=[9.0] * 3, std=[99.0] * 3),
            ),
            test_dataloader=dict(
                dataset=dict(
                    type='CustomDataset',
                    pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
                )
            ),
        )
    )


def test_a_dcn_of_any_two_backbones_answers_to_colour_images():
    inferencer = DCNInferencer(colour_dcn(), pretrained=False)
    images = [noise(150, 200, 3), noise(90, 90, 3), noise(150, 200, 3) + np.uint8(1)]
    for image, result in zip(images, inferencer(images, batch_size=3), strict=True):
        assert result['patch_bboxes'].shape == (4, 4) and np.isfinite(result['pred_scores']).all()
        inputs = torch.from_numpy(image).permute(2, 0, 1).unsqueeze(0)
        assert result['cost']['total'] == count_multiplications(inferencer.model, inputs)
    with pytest.raises(ValueError, match=r'takes images of 3 channel\(s\), got an array of 90×90'):
        inferencer(images[1][..., 0])
    with pytest.raises(ValueError, match='An array of 1×1 pixels cannot be classified: Of an'):
        inferencer(noise(1, 1, 3))
    for height, width in ((2, 9), (3, 2), (7, 300), (31, 33)):
        (result,) = inferencer(noise(height, width, 3))
        assert np.isfinite(result['pred_scores']).all() and np.isfinite(result['saliency']).all()


def test_mmpretrains_inferencer_says_the_same_of_a_model_that_is_built():
    model, image = get_model(colour_dcn()), noise(90, 120, 3)
    (found,) = ImageClassificationInferencer(model)(image)
    (expected,) = DCNInferencer(model)(image)
    assert found['pred_label'] == expected['pred_label']
    np.testing.assert_allclose(found['pred_scores'], expected['pred_scores'], rtol=1e-5)


def test_what_torch_says_of_an_image_that_is_too_small_comes_with_its_name():
    inferencer = DCNInferencer(
        Config(
            dict(
                default_scope='mmpretrain',
                model=dict(
                    type='ImageClassifier',
                    backbone=dict(type='VGG', depth=11),
                    head=dict(type='mmdcn.GlobalMaxPoolHead', num_classes=3, in_channels=512),
                ),
                test_dataloader=dict(
                    dataset=dict(
                        type='CustomDataset',
                        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
                    )
                ),
            )
        ),
        pretrained=False,
    )
    with pytest.raises(ValueError, match='An array of 9×9 pixels cannot be classified: '):
        inferencer(noise(9, 9, 3))


def test_a_pipeline_that_loads_other_channels_than_the_network_takes_is_named():
    cfg = Config.fromfile(CLUTTERED / 'dcn-k8-hint_1xb128-4e_cluttered-mnist.py')
    cfg.test_dataloader.dataset.pipeline.insert(0, dict(type='mmpretrain.LoadImageFromFile'))
    inferencer = DCNInferencer(cfg, pretrained=False)
    with pytest.raises(
        ValueError,
        match=r'takes images of 1 channel\(s\), but .* loads .*'
        'cluttered_mnist.png with 3: change the loader',
    ):
        inferencer(DEMO)


def test_data_samples_hold_all_that_the_model_says(trained):
    (sample,) = trained(str(DEMO), return_datasamples=True)
    assert sample.cells.shape == (8,) and sample.pred_label.item() == 7
    assert sample.img_path == str(DEMO) and sample.cost['total'] == 15_939_372


def test_no_images_get_no_answers(trained):
    assert trained([]) == []


def test_pictures_are_named_after_files_and_places_and_none_is_lost(trained, tmp_path):
    for name in ('a/x.png', 'b/x.png', 'b/x.bmp', 'b/x-2.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(noise(40, 40)).save(tmp_path / name)
    files = [tmp_path / name for name in ('a/x.png', 'b/x.png', 'b/x.bmp', 'b/x-2.png')]
    trained([*files, noise(30, 30)], show_dir=tmp_path / 'new' / 'shown', batch_size=2)
    assert sorted(path.name for path in (tmp_path / 'new' / 'shown').iterdir()) == [
        '4.png',
        'x-2-2.png',
        'x-2.png',
        'x-3.png',
        'x.png',
    ]
    for path in (tmp_path / 'new' / 'shown').iterdir():
        assert Image.open(path).format == 'PNG'


def test_models_without_patches_and_numbers_are_drawn(reader, tmp_path):
    untrained('fine_1xb128-60e')(noise(40, 40), show_dir=tmp_path / 'fine')
    reader(noise(60, 112), show_dir=tmp_path / 'reader')
    for folder in ('fine', 'reader'):
        assert Image.open(tmp_path / folder / '0.png').format == 'PNG'


def test_without_a_display_nothing_waits_for_a_key(trained, monkeypatch):
    monkeypatch.setattr(matplotlib, 'get_backend', lambda: 'agg')
    with pytest.raises(
        ValueError, match='show=True needs a display, and there is none here: use show_dir'
    ):
        trained(str(DEMO), show=True)


def test_a_folder_for_pictures_that_cannot_be_is_refused(trained, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(ValueError, match='file/shown .Not a directory.: name another folder'):
        trained(str(DEMO), show_dir=tmp_path / 'file' / 'shown')


def test_classes_are_as_many_as_the_network_tells_apart():
    with pytest.raises(ValueError, match='tells 10 classes apart, but 1 names are given'):
        DCNInferencer('dcn-k8-hint', classes=['a'])(str(DEMO))


def test_other_weights_bring_their_own_classes(tmp_path):
    model = get_model('dcn-k8-hint')
    names = [f'class {number}' for number in range(10)]
    meta = dict(dataset_meta=dict(classes=names))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'weights.pth')
    assert DCNInferencer(model, tmp_path / 'weights.pth').classes == names


def test_a_picture_can_be_shown(trained, monkeypatch):
    shown = []
    monkeypatch.setattr(matplotlib, 'get_backend', lambda: 'tkagg')
    monkeypatch.setattr(
        Visualizer,
        'show',
        lambda self, image, win_name, wait_time: shown.append((image.shape, win_name, wait_time)),
    )
    trained(str(DEMO), show=True, wait_time=3)
    (height, width, channels), name, wait = shown.pop()
    assert min(height, width) > 200 and channels == 3 and (name, wait) == ('cluttered_mnist', 3)


def test_a_model_that_is_built_keeps_its_weights_or_gets_others(trained):
    fresh = get_model('dcn-k8-hint')
    before = fresh.head.fc.weight.clone()
    assert torch.equal(DCNInferencer(fresh).model.head.fc.weight, before)
    weights = ROOT / trained.model._metainfo.weights
    assert torch.equal(
        DCNInferencer(fresh, weights).model.head.fc.weight, trained.model.head.fc.weight
    )


def test_the_names_of_models_are_told():
    assert DCNInferencer.list_models('fine_1xb128-60e*') == ['fine_1xb128-60e_cluttered-mnist']


def write(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize(
    'make, error, match',
    [
        (
            lambda folder: str(folder / 'no.png'),
            FileNotFoundError,
            'The image .*no.png is not there',
        ),
        (lambda folder: [DEMO, folder], FileNotFoundError, 'is a folder; pass it alone'),
        (lambda folder: folder, ValueError, 'The folder .* holds no images'),
        (
            lambda folder: write(folder / 'a.png', b'no image'),
            ValueError,
            'The image .*a.png is cut or cannot be read',
        ),
        (
            lambda folder: write(folder / 'a.png', DEMO.read_bytes()[:200]),
            ValueError,
            'The image .*a.png is cut or cannot be read',
        ),
        (
            lambda folder: noise(50, 50, 3),
            ValueError,
            r'takes images of 1 channel\(s\), got an array of 50×50×3',
        ),
        (lambda folder: noise(50, 50).astype(float), ValueError, 'must hold uint8, .* got float64'),
        (lambda folder: noise(0, 50), ValueError, 'one image .*, got 0×50'),
        (lambda folder: noise(4, 50, 50, 1), ValueError, 'got 4×50×50×1; pass several as a list'),
        (lambda folder: np.array(3, np.uint8), ValueError, 'one image .*, got a scalar'),
        (lambda folder: np.uint8(3), TypeError, 'got uint8'),
        (
            lambda folder: noise(9, 50),
            ValueError,
            'An array of 9×50 pixels cannot be classified: '
            'ClutteredMNISTCoarse needs an input of at least 11×11 pixels, got 9×50',
        ),
        (lambda folder: noise(22, 50), ValueError, 'needs a feature map of at least 4×4 cells'),
        (lambda folder: None, TypeError, 'An image is a path or a numpy array, got NoneType'),
        (lambda folder: [DEMO, 3], TypeError, 'got int'),
    ],
)
def test_what_is_no_image_for_the_network_gets_one_sentence(trained, tmp_path, make, error, match):
    with pytest.raises(error, match=match):
        trained(make(tmp_path))


def test_an_image_that_no_memory_would_hold_is_refused(reader, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 10_000)
    with pytest.raises(
        ValueError,
        match='An array of 100×4 pixels becomes an input of 2750×110 pixels, more than the 10000 ',
    ):
        reader(noise(100, 4))


@pytest.mark.parametrize('loader', ['LoadGrayscale', 'LoadImageFromFile'])
def test_a_file_above_pils_limit_gets_a_remedy(loader, monkeypatch):
    options = {} if loader == 'LoadGrayscale' else dict(imdecode_backend='pillow')
    inferencer = with_step(type=loader, **options)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 4_000)
    with pytest.raises(ValueError, match='png has more than the 4000 .* shrink or cut the image'):
        inferencer(DEMO)


def test_what_pil_can_only_write_is_no_image_of_a_folder(trained, digits, tmp_path):
    Image.fromarray(noise(40, 40)).save(tmp_path / 'a.png')
    Image.fromarray(noise(40, 40)).save(tmp_path / 'b.pdf')
    assert len(trained(tmp_path)) == 1


def test_the_limit_of_an_image_can_be_lifted(trained, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', None)
    assert len(trained(noise(60, 60))) == 1


def test_the_name_of_an_image_stands_in_the_error(trained, tmp_path):
    Image.fromarray(noise(5, 6)).save(tmp_path / 'tiny.png')
    with pytest.raises(ValueError, match='The image .*tiny.png of 5×6 pixels cannot be classified'):
        trained(tmp_path)


@pytest.mark.parametrize(
    'options, match',
    [
        (dict(batch_size=0), 'batch_size counts images and must be at least 1, got 0'),
        (dict(draw=True), 'unknown argument'),
    ],
)
def test_options_that_make_no_sense_are_refused(trained, options, match):
    with pytest.raises(ValueError, match=match):
        trained(str(DEMO), **options)


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="The device 'tpu9' cannot be used"):
        DCNInferencer('dcn-k8-hint', device='tpu9')


def test_a_config_without_a_test_pipeline_is_refused():
    config = Config(
        dict(model=dict(type='ImageClassifier', backbone=dict(type='ClutteredMNISTCoarse')))
    )
    with pytest.raises(ValueError, match='has no test_dataloader.dataset.pipeline'):
        DCNInferencer(config, pretrained=False)


def test_a_model_that_does_not_know_its_config_is_refused():
    with pytest.raises(ValueError, match='This DCNClassifier does not know its config'):
        DCNInferencer(build_dcn())


def test_a_result_is_json_once_its_arrays_are_lists(trained, reader):
    for inferencer in (trained, reader):
        text = json.dumps(inferencer(noise(60, 112)), default=np.ndarray.tolist)
        assert json.loads(text)[0]['cost']['total'] > 0
