"""A DCN that reads its patches from files sees what it would see of the pixels in memory."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.optim import OptimWrapper
from mmpretrain.structures import DataSample
from PIL import Image

from mmdcn import DCNInferencer, get_model
from mmdcn.engine.hooks.compile_hook import CompileHook
from mmdcn.registry import TRANSFORMS
from mmdcn.sources import Turn, Turned, open_source
from mmdcn.structures import SourceView, Windows

from .dcns import build_dcn, labelled, sharp_dcn

SCALE = 1 / 4
SIZES = [(400, 500), (400, 500), (360, 440)]
PARTS = dict(
    coarse_scale=SCALE,
    grid=dict(type='PatchGrid', size=14, stride=16, offset=15),
    selector=dict(type='TopKSelector', k=5),
    data_preprocessor=dict(type='LateNormalization', mean=[127.0], std=[60.0]),
)
CLOSE = dict(rtol=1e-5, atol=1e-5)


def written(folder, sizes=SIZES, channels=1, dtype=np.uint8):
    """Files, and batches of them: from the files and of their pixels."""
    rng = np.random.default_rng(0)
    pixels = [
        rng.integers(0, np.iinfo(dtype).max, (*size, channels), dtype=dtype) for size in sizes
    ]
    for number, image in enumerate(pixels):
        np.save(folder / f'{number}.npy', image)
    paths = [str(folder / f'{number}.npy') for number in range(len(sizes))]
    memory = dict(
        inputs=[torch.from_numpy(image).permute(2, 0, 1) for image in pixels],
        data_samples=labelled(len(sizes)),
    )
    return paths, batch_of(paths), memory


def batch_of(paths, *steps):
    load = dict(type='mmdcn.LoadOverview', scale=SCALE)
    pipeline = Compose([TRANSFORMS.build(step) for step in (load, *steps, dict(type='PackInputs'))])
    data = [pipeline(dict(img_path=path, gt_label=index)) for index, path in enumerate(paths)]
    return pseudo_collate(data)


@pytest.mark.parametrize(
    'selector',
    [dict(k=5), dict(k=0), dict(type='EntropySelector', k=6, threshold=1.0, full_threshold=2.0)],
    ids=['fixed', 'none', 'by entropy'],
)
def test_patches_predictions_and_losses_are_those_of_the_pixels(tmp_path, selector):
    dcn = sharp_dcn(**{**PARTS, 'selector': selector})
    _, files, memory = written(tmp_path)
    found, expected = dcn.test_step(files), dcn.test_step(memory)
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.equal(mine.cells, theirs.cells)
        assert torch.equal(mine.patch_bboxes, theirs.patch_bboxes)
        torch.testing.assert_close(mine.pred_score, theirs.pred_score, **CLOSE)
    with torch.no_grad():
        losses = [dcn(**dcn.data_preprocessor(batch), mode='loss') for batch in (files, memory)]
        torch.testing.assert_close(*losses, **CLOSE)
        views = [
            dcn.look(data['inputs'], data['data_samples'])
            for data in map(dcn.data_preprocessor, (files, memory))
        ]
        windows = dcn.extract_feat(*dcn.data_preprocessor(memory).values()).windows
        assert torch.equal(*(view.cut(windows) for view in views))


@pytest.mark.parametrize('channels, dtype', [(5, np.uint8), (1, np.uint16), (4, np.uint16)])
def test_more_bands_and_16_bits_go_through_unchanged(tmp_path, channels, dtype):
    most = np.iinfo(dtype).max
    dcn = build_dcn(
        **{
            **PARTS,
            'coarse': dict(in_channels=channels),
            'fine': dict(in_channels=channels),
            'data_preprocessor': dict(
                type='LateNormalization', mean=[most / 2] * channels, std=[most / 4] * channels
            ),
        }
    ).eval()
    _, files, memory = written(tmp_path, SIZES[:2], channels, dtype)
    for mine, theirs in zip(dcn.test_step(files), dcn.test_step(memory), strict=True):
        assert torch.equal(mine.cells, theirs.cells)
        torch.testing.assert_close(mine.pred_score, theirs.pred_score, **CLOSE)


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
def test_a_flip_of_the_overview_reaches_the_file(tmp_path, direction):
    dcn = build_dcn(**PARTS).eval()
    paths, *_, memory = written(tmp_path)
    flip = dict(type='mmdcn.RandomFlip', prob=1.0, direction=direction)
    axes = dict(horizontal=[2], vertical=[1], diagonal=[1, 2])[direction]
    memory['inputs'] = [image.flip(axes) for image in memory['inputs']]
    found, expected = dcn.test_step(batch_of(paths, flip)), dcn.test_step(memory)
    for mine, theirs in zip(found, expected, strict=True):
        # The sizes are multiples of the scale, so a flipped overview is that of the flipped image.
        assert torch.equal(mine.cells, theirs.cells)
        torch.testing.assert_close(mine.pred_score, theirs.pred_score, rtol=1e-4, atol=1e-4)


def test_windows_come_in_their_order_whatever_thread_reads_them():
    class Slow:
        size, channels, decodes_whole = (100, 100), 1, False

        def windows(self, corners, height, width):
            return [np.full((height, width, 1), top, np.uint8) for top, _ in corners]

    tops = torch.arange(64)
    windows = Windows(torch.zeros(64).long(), torch.stack((tops, tops), dim=1), (2, 3))
    view = SourceView(torch.zeros(1, 1, 25, 25), [Slow()], lambda pixels: pixels)
    found = view.cut(windows)
    assert found.shape == (64, 1, 2, 3) and torch.equal(found[:, 0, 0, 0].long(), tops)


def test_training_from_files_moves_all_weights(tmp_path):
    dcn = build_dcn(**PARTS, hint=dict(loss_weight=0.1)).train()
    before = {name: weight.clone() for name, weight in dcn.named_parameters()}
    optimizer = OptimWrapper(torch.optim.SGD(dcn.parameters(), lr=0.1))
    dcn.train_step(written(tmp_path)[1], optimizer)
    assert not [name for name, weight in dcn.named_parameters() if weight.equal(before[name])]


def refusals():
    def changed(batch, **sample):
        batch['data_samples'][0].set_metainfo(sample)
        return batch

    def resized(batch):
        return {**batch, 'inputs': [image[:, :-5] for image in batch['inputs']]}

    late = dict(type='LateNormalization')
    yield dict(coarse_scale=0.5), None, r'scale=0.25\) and DCNClassifier\(coarse_scale=0.5\) must'
    yield dict(data_preprocessor=dict()), None, "'mmdcn.LateNormalization'"
    yield {}, lambda batch: changed(batch, img_path='x.npy'), 'A batch mixes images'
    yield {}, resized, 'The overview of .*0.npy has 95×125 pixels, but the file has 400×500'
    three = dict(coarse=dict(in_channels=3), fine=dict(in_channels=3), data_preprocessor=late)
    yield three, None, r'takes images of 3 channel\(s\), got 1'


@pytest.mark.parametrize('parts, change, message', refusals())
def test_what_does_not_fit_is_refused_with_a_sentence(tmp_path, parts, change, message):
    dcn = build_dcn(**{**PARTS, **parts}).eval()
    batch = written(tmp_path)[1]
    with pytest.raises(ValueError, match=message):
        dcn.test_step(batch if change is None else change(batch))


def test_16_bits_in_a_model_of_8_are_refused_unless_they_are_dark(tmp_path):
    dcn = build_dcn(**PARTS).eval()
    paths, files, _ = written(tmp_path, dtype=np.uint16)
    with pytest.raises(
        ValueError, match=r'0.npy holds 16 bits, and normalised it lies \d+ standard'
    ):
        dcn.test_step(files)
    for path in paths:
        np.save(path, np.load(path) // 100)  # up to 655
    dcn.test_step(batch_of(paths))


def test_a_file_that_changes_after_its_overview_is_named(tmp_path):
    dcn = build_dcn(**PARTS).eval()
    paths, files, _ = written(tmp_path)
    np.save(paths[0], np.zeros((500, 500, 1), np.uint8))
    with pytest.raises(ValueError, match=f'{paths[0]} has changed'):
        dcn.test_step(files)
    (tmp_path / '0.npy').unlink()
    with pytest.raises(FileNotFoundError, match=f'{paths[0]} is missing'):
        dcn.test_step(files)


def inferencer(parts=None, **options):
    steps = [dict(type='mmdcn.LoadOverview', scale=SCALE), dict(type='PackInputs')]
    cfg = Config(
        dict(
            model=dict(
                type='DCNClassifier',
                coarse=dict(type='ClutteredMNISTCoarse'),
                fine=dict(type='ClutteredMNISTFine'),
                head=dict(type='GlobalMaxPoolHead', num_classes=10, in_channels=24),
                **{**PARTS, **(parts or {})},
            ),
            default_scope='mmdcn',
            test_dataloader=dict(dataset=dict(type='CustomDataset', pipeline=steps)),
        )
    )
    return DCNInferencer(get_model(cfg, pretrained=False), **options)


@pytest.mark.parametrize(
    'selector',
    [PARTS['selector'], dict(type='EntropySelector', k=6, threshold=1e-3, full_threshold=3.0)],
)
def test_the_inferencer_says_boxes_in_pixels_of_the_file_and_the_cost_of_reading_it(
    tmp_path, selector
):
    torch.manual_seed(0)
    infer = inferencer(dict(selector=selector))
    paths, _, memory = written(tmp_path)
    results = infer(paths, batch_size=2, show_dir=str(tmp_path / 'pictures'))
    expected = infer.model.test_step(memory)
    for path, mine, theirs in zip(paths, results, expected, strict=True):
        assert mine['img_path'] == path and type(mine['img_path']) is str
        assert np.array_equal(mine['patch_bboxes'], theirs.patch_bboxes.numpy())
        pixels = np.load(path)
        (alone,) = infer([pixels])  # an array is a whole image
        assert alone['cost'] == mine['cost'] and alone['pred_label'] == mine['pred_label']
    at_scale = np.random.default_rng(0).integers(0, 256, (100, 125), dtype=np.uint8)
    (small,) = inferencer(dict(selector=selector))([at_scale])  # of the overview's size
    found = infer([paths[0], at_scale], batch_size=2)
    assert [result['cost'] for result in found] == [results[0]['cost'], small['cost']]
    assert len(list((tmp_path / 'pictures').iterdir())) == len(paths)
    assert [result['img_path'] for result in infer(str(tmp_path))] == paths


def test_runtimes_that_take_whole_images_refuse_a_pipeline_of_overviews():
    with pytest.raises(ValueError, match="backend='onnxruntime' takes whole images"):
        inferencer(backend='onnxruntime')


def test_torch_compile_refuses_a_dcn_that_reads_files(tmp_path):
    dcn = build_dcn(**PARTS)
    sample = DataSample(metainfo=written(tmp_path)[1]['data_samples'][0].metainfo)

    class Runner:
        model = dcn

    with pytest.raises(ValueError, match='torch.compile cannot follow a DCN that reads'):
        CompileHook().after_train_iter(Runner, 0, dict(data_samples=[sample]))


def test_threads_decode_each_image_once_if_its_windows_need_it_whole(tmp_path, monkeypatch):
    monkeypatch.setattr('os.cpu_count', lambda: 4)
    rng, decoded, sources = np.random.default_rng(0), [], []
    for number in range(4):
        pixels = rng.integers(0, 255, (300, 300, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f'{number}.png')
        sources.append(open_source(tmp_path / f'{number}.png'))
    reader = type(sources[0]._reader()._reader)
    decode = reader.decode
    monkeypatch.setattr(
        reader, 'decode', lambda self, level: decoded.append(self) or decode(self, level)
    )
    given = [sources[0], Turned(sources[1], Turn.flip('horizontal')), *sources[2:]]
    windows = Windows(torch.arange(4).repeat_interleave(6), torch.full((24, 2), 9), (16, 16))
    found = SourceView(torch.zeros(4, 3, 75, 75), given, lambda pixels: pixels).cut(windows)
    assert len(decoded) == len(set(decoded)) == 4
    for image, source in enumerate(given):
        expected = torch.from_numpy(source.window(9, 9, 16, 16)).permute(2, 0, 1)
        assert all(torch.equal(patch, expected) for patch in found[6 * image : 6 * image + 6])
