"""Each transform moves boxes with the pixels or is refused."""

from functools import partial

import numpy as np
import pytest
import torch
from mmcv.transforms import TRANSFORMS as MMCV
from PIL import Image

from mmdcn.datasets import BoxedPipeline, ClutteredMNIST
from mmdcn.registry import TRANSFORMS

PACK = dict(type='PackInputs', algorithm_keys=('gt_bboxes',))
ENHANCE = dict(magnitude=0.5, prob=1.0)
# Options with which transforms that are not refused run.
OPTIONS: dict[str, dict] = {
    'AutoContrast': dict(prob=1.0),
    'Brightness': ENHANCE,
    'CenterCrop': dict(crop_size=(60, 60)),
    'ColorJitter': dict(brightness=0.3, contrast=0.3, saturation=0.3, backend='cv2'),
    'ColorTransform': ENHANCE,
    'Compose': dict(transforms=[dict(type='Resize', scale=(50, 160))]),
    'Contrast': ENHANCE,
    'Cutout': dict(shape=3, prob=1.0),
    'Equalize': dict(prob=1.0),
    'GaussianBlur': dict(radius=1, prob=1.0),
    'ImageToTensor': dict(keys=['img']),
    'Invert': dict(prob=1.0),
    'Lighting': dict(eigval=[55.0] * 3, eigvec=np.eye(3).tolist()),
    'LoadGrayscale': {},
    'LoadImageFromFile': {},
    'LoadOverview': dict(scale=1.0),
    'Normalize': dict(mean=[0] * 3, std=[1] * 3),
    'NumpyToPIL': {},
    'PackInputs': dict(algorithm_keys=['gt_bboxes']),
    'PILToNumpy': {},
    'Pad': dict(size=(120, 130)),
    'Posterize': dict(bits=2, prob=1.0),
    'RandomApply': dict(transforms=[dict(type='Resize', scale=(50, 160))]),
    'RandomChoice': dict(transforms=[[dict(type='Resize', scale=(50, 160))], []]),
    'RandomChoiceResize': dict(scales=[(200, 160), (50, 40)]),
    'RandomErasing': dict(erase_prob=1.0, min_area_ratio=0.003, max_area_ratio=0.005),
    'RandomFlip': dict(prob=[0.3, 0.3, 0.3], direction=['horizontal', 'vertical', 'diagonal']),
    'RandomGrayscale': dict(prob=1.0),
    'RandomTurn': {},
    'RandomResize': dict(scale=(100, 80), ratio_range=(1.0, 3.0)),
    'Resize': dict(scale=(200, 40)),
    'Sharpness': ENHANCE,
    'Solarize': dict(thr=100, prob=1.0),
    'SolarizeAdd': dict(magnitude=60, prob=1.0),
    'TestTimeAug': dict(transforms=[[dict(type='Resize', scale=(50, 160))], [PACK]]),
    'ToNumpy': {},
    'ToPIL': {},
    'ToTensor': dict(keys=['img']),
    'UpscaleToCover': dict(size=(160, 100)),
    'torchvision/ColorJitter': dict(brightness=0.3),
    'torchvision/ConvertImageDtype': dict(dtype='float'),
    'torchvision/GaussianBlur': dict(kernel_size=3),
    'torchvision/Normalize': dict(mean=[0.0], std=[1.0]),
    'torchvision/RandomAdjustSharpness': dict(sharpness_factor=2),
    'torchvision/RandomErasing': dict(p=1.0, scale=(0.003, 0.005)),
    'torchvision/RandomPosterize': dict(bits=2),
    'torchvision/RandomSolarize': dict(threshold=100),
    'torchvision/ToPILImage': {},
} | {
    f'torchvision/{name}': {}
    for name in (
        'Grayscale PILToTensor RandomAutocontrast RandomEqualize RandomGrayscale RandomInvert '
        'ToTensor'
    ).split()
}
FLOAT_TENSORS = [f'torchvision/{n}' for n in ('ConvertImageDtype', 'Normalize', 'RandomErasing')]


def registered():
    """Names of all transforms of mmdcn, MMPretrain and mmcv."""
    return sorted({*TRANSFORMS.module_dict, *TRANSFORMS.parent.module_dict, *MMCV.module_dict})


def bare(name):
    """A transform without its options: only its type counts."""
    kind = TRANSFORMS.get(name)
    if isinstance(kind, partial):  # of torchvision
        step = object.__new__(kind.func)
        step.t = object.__new__(kind.keywords['transform'])
        return step
    return object.__new__(kind)


def is_refused(step):
    try:
        BoxedPipeline([step, TRANSFORMS.build(PACK)])
    except ValueError as error:
        assert 'PackInputs(algorithm_keys=' in str(error)
        return True
    return False


def rectangle(tmp_path, name):
    """A bright rectangle in a black image of 80×100, and its box, as the transform takes them."""
    image = np.zeros((80, 100, 3), np.uint8)
    image[20:52, 10:50] = 200
    path = tmp_path / 'image.png'
    Image.fromarray(image).save(path)
    results = dict(img=image, img_path=str(path), img_shape=(80, 100), ori_shape=(80, 100))
    results['gt_bboxes'] = np.array([[10, 20, 50, 52]], np.float32)
    if name in FLOAT_TENSORS:
        results['img'] = torch.from_numpy(image).permute(2, 0, 1) / 255
    elif name.startswith('torchvision/') and name != 'torchvision/ToPILImage':
        results['img'] = Image.fromarray(image)
    elif name in ('ToNumpy', 'PILToNumpy'):
        results['img'] = Image.fromarray(image)
    return results


def pixels_and_box(results):
    if 'inputs' in results:  # packed, in views or not
        image, sample = results['inputs'], results['data_samples']
        image, sample = (image[0], sample[0]) if isinstance(image, list) else (image, sample)
        return image.numpy().transpose(1, 2, 0), np.asarray(sample.gt_bboxes)
    image = results['img']
    image = image.numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    if image.ndim == 3 and image.shape[0] in (1, 3):
        image = image.transpose(1, 2, 0)
    return image, results['gt_bboxes']


@pytest.mark.parametrize('name', registered())
def test_a_transform_moves_boxes_with_the_pixels_or_is_refused(name, tmp_path):
    if name not in OPTIONS:
        assert is_refused(bare(name))
        return
    step = TRANSFORMS.build(dict(type=name, **OPTIONS[name]))
    assert not is_refused(step)
    np.random.seed(0)
    for _ in range(8):
        image, boxes = pixels_and_box(step(rectangle(tmp_path, name)))
        grey = (image if image.ndim == 2 else image.mean(axis=2)).astype(float)
        contrast = np.abs(grey - grey[0, 0])  # no transform brings the object into this corner
        shown = contrast > contrast.max() / 2
        x1, y1, x2, y2 = np.rint(boxes[0]).astype(int)
        boxed = np.zeros_like(shown)
        boxed[y1:y2, x1:x2] = True
        assert boxes.shape == (1, 4)
        assert (shown & boxed).sum() / (shown | boxed).sum() > 0.95


@pytest.mark.parametrize('name', ['Resize', 'RandomFlip', 'CenterCrop'])
def test_images_without_objects_keep_no_boxes(name, tmp_path):
    results = rectangle(tmp_path, name)
    results['gt_bboxes'] = np.zeros((0, 4), np.float32)
    moved = TRANSFORMS.build(dict(type=name, **OPTIONS[name]))(results)
    assert moved['gt_bboxes'].shape == (0, 4)


GEOMETRIC = {
    'RandomCrop': dict(crop_size=60),
    'RandomResizedCrop': dict(scale=60),
    'ResizeEdge': dict(scale=60),
    'EfficientNetCenterCrop': dict(crop_size=60),
    'Rotate': dict(angle=30.0, prob=1.0),
    'Shear': ENHANCE,
    'Translate': ENHANCE,
    'AutoAugment': dict(policies='imagenet'),
    'RandAugment': dict(policies='timm_increasing', num_policies=2, magnitude_level=9),
    'torchvision/RandomAffine': dict(degrees=30),
}


@pytest.mark.parametrize('name, options', GEOMETRIC.items(), ids=GEOMETRIC)
@pytest.mark.parametrize('wrapper', [None, 'RandomApply', 'RandomChoice'])
def test_a_dataset_refuses_a_step_that_leaves_its_boxes(mnist_root, name, options, wrapper):
    step = dict(type=name, **options)
    if wrapper is not None:
        step = dict(type=wrapper, transforms=[step] if wrapper == 'RandomApply' else [[step], []])
    dataset = dict(data_root=mnist_root, split='val', lazy_init=True)
    named = name.rpartition('/')[2]
    with pytest.raises(ValueError, match=f'^{named} is not known to move gt_bboxes with the'):
        ClutteredMNIST(pipeline=[step, PACK], **dataset)
    ClutteredMNIST(pipeline=[step, dict(type='PackInputs')], **dataset)  # nobody asks for them


def test_a_random_resize_by_a_step_that_leaves_boxes_is_refused():
    assert is_refused(
        TRANSFORMS.build(dict(type='RandomResize', resize_type='ResizeEdge', scale=9))
    )


def test_a_transform_of_ones_own_says_that_it_keeps_boxes():
    def brighten(results):
        return results

    assert is_refused(brighten)
    brighten.keeps_boxes = True
    assert not is_refused(brighten)


def test_packed_boxes_are_float32_tensors_of_the_packed_image(mnist_root):
    resize = dict(type='Resize', scale=(200, 50))
    dataset = ClutteredMNIST(data_root=mnist_root, split='val', pipeline=[resize, PACK])
    (x1, y1, x2, y2) = dataset.get_data_info(3)['gt_bboxes'][0].tolist()
    packed = dataset[3]['data_samples'].gt_bboxes
    assert packed.dtype == torch.float32
    assert packed.tolist() == [[2 * x1, y1 / 2, 2 * x2, y2 / 2]]
    views = dict(type='TestTimeAug', transforms=[[resize], [PACK]])
    dataset = ClutteredMNIST(data_root=mnist_root, split='val', pipeline=[views])
    assert torch.equal(dataset[3]['data_samples'][0].gt_bboxes, packed)
    views['transforms'].insert(0, [dict(type='ResizeEdge', scale=60)])
    with pytest.raises(ValueError, match='^ResizeEdge is not known to move'):
        ClutteredMNIST(data_root=mnist_root, split='val', pipeline=[views])


@pytest.mark.parametrize('loader', ['LoadGrayscale', 'LoadImageFromFile'])
def test_boxes_are_those_of_the_image_as_its_exif_turns_it(loader, tmp_path):
    results = rectangle(tmp_path, loader)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored a quarter turn counterclockwise from how it is shown
    stored = Image.fromarray(np.rot90(results['img']).copy())
    stored.save(results['img_path'], exif=exif)
    shown = TRANSFORMS.build(dict(type=loader))(results)['img']
    x1, y1, x2, y2 = results['gt_bboxes'][0].astype(int)
    assert shown.shape[:2] == (80, 100) and shown[y1:y2, x1:x2].min() == 200
    assert (shown > 0).sum() == (shown[y1:y2, x1:x2] > 0).sum()


@pytest.mark.parametrize(
    'options',
    [
        dict(color_type='unchanged'),
        dict(color_type='color_ignore_orientation'),
        dict(imdecode_backend='tifffile'),
    ],
)
def test_a_loader_that_leaves_images_on_their_side_is_refused(options):
    step = TRANSFORMS.build(dict(type='LoadImageFromFile', **options))
    with pytest.raises(ValueError, match='does not turn images as their EXIF says, but gt_bboxes'):
        BoxedPipeline([step, TRANSFORMS.build(PACK)])
