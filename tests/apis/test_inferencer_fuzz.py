"""Hundreds of images of all kinds: an answer or a sentence, never anything else."""

import re

import numpy as np
import pytest
from PIL import Image

from mmdcn import DCNInferencer

from .inferencers import SLIM_DCN, SLIM_TOWER, untrained

IMAGES = 500
MODES = ('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'YCbCr', 'LAB', 'I', 'I;16', 'F')
FORMATS = ('png', 'tiff', 'bmp', 'jpeg', 'webp', 'gif', 'ppm')
DTYPES = (
    'uint8',
    'bool',
    'int8',
    'uint16',
    'int64',
    'float16',
    'float32',
    'float64',
    'complex64',
    'object',
    'U1',
)
SIZES = ((1, 1), (1, 400), (2, 3000), (20, 3000), (11, 11), (22, 23), (23, 23), (54, 110))
# All that a user may be told.
SENTENCES = re.compile(
    r'The image .* is cut or cannot be read \((floating-point images have no known range'
    r'|conversion from LAB to RGB not supported'
    r'|image file is truncated \(\d+ bytes not processed\))\)'  # some files that PIL wrote itself
    r'|An array must be one image'
    r'|An array must hold uint8'
    r'|The network takes images of 1 channel'
    r'|(The image|An array) .* cannot be classified: \w+ needs (an input|a feature map) of at least'
    r'|(The image|An array) .* becomes an input of',
    re.DOTALL,
)


@pytest.fixture(scope='module')
def inferencers() -> list:
    return [
        DCNInferencer('dcn-k8-hint'),
        DCNInferencer(
            'dcn-k8-hint', selector=dict(_delete_=True, type='MassSelector', k=9, share=0.3)
        ),
        untrained('fine_1xb128-60e'),
        untrained('dcn-k6-w25', **SLIM_DCN),
        untrained('coarse-w25_1xb32-10e', **SLIM_TOWER),
    ]


def random_size(rng: np.random.Generator) -> tuple:
    """(height, width), mostly small, either way round."""
    size = (
        SIZES[rng.integers(len(SIZES))]
        if rng.random() < 0.25
        else tuple(map(int, np.exp(rng.uniform(0, np.log(160), 2))))
    )
    return size if rng.random() < 0.5 else size[::-1]


def random_array(rng: np.random.Generator) -> np.ndarray:
    shape = random_size(rng)
    channels = rng.choice([-1, 0, 1, 2, 3, 4])
    if channels >= 0:
        shape = (*shape, int(channels))
    if rng.random() < 0.05:
        shape = shape[:1] if rng.random() < 0.5 else (2, *shape)
    dtype = rng.choice(DTYPES, p=[0.5, *[0.05] * (len(DTYPES) - 1)])
    return rng.integers(0, 256, shape).astype(str(dtype))


def random_file(rng: np.random.Generator, folder) -> str:
    """An image of a random mode in a random format that writes it, sometimes cut."""
    mode, size = str(rng.choice(MODES)), random_size(rng)
    if mode in ('I', 'I;16', 'F'):
        dtype = {'I': np.int32, 'I;16': np.uint16, 'F': np.float32}[mode]
        image = Image.fromarray(rng.integers(0, 65536, size).astype(dtype))
    else:
        image = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        image = (
            image.convert('RGBA' if mode == 'LA' else 'RGB').convert(mode)
            if mode != 'LAB'
            else Image.frombytes('LAB', size[::-1], image.tobytes())
        )
    assert image.mode == mode
    for suffix in [*rng.permutation(FORMATS), 'tiff']:
        path = folder / f'{len(list(folder.iterdir()))}.{suffix}'
        try:
            image.save(path)
            return str(path)
        except (OSError, ValueError):  # a format that does not write this mode or size
            path.unlink(missing_ok=True)
    raise AssertionError(mode)


def test_any_image_gets_an_answer_or_a_sentence(inferencers, tmp_path):
    rng = np.random.default_rng(0)
    answers, told, modes = 0, set(), set()
    for number in range(IMAGES):
        inferencer = inferencers[number % len(inferencers)]
        input_ = random_array(rng) if rng.random() < 0.3 else random_file(rng, tmp_path)
        if isinstance(input_, str):
            modes.add(Image.open(input_).mode)
        try:
            (result,) = inferencer(input_)
        except ValueError as error:
            sentence = SENTENCES.match(str(error))
            assert sentence and '\n' not in str(error), error
            told.add(sentence.group()[:14])
            continue
        answers += 1
        for field, value in result.items():
            if isinstance(value, (float, np.ndarray)):
                assert np.isfinite(value).all(), field
        assert 0 <= result['pred_score'] <= 1 + 1e-6 and result['cost']['total'] > 0
    assert answers > IMAGES / 4 and len(told) > 3  # both happen often
    assert modes >= {'1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'I;16', 'F'}


@pytest.mark.filterwarnings('ignore::UserWarning:PIL')
def test_bytes_that_are_cut_or_changed_get_an_answer_or_a_sentence(inferencers, tmp_path):
    rng = np.random.default_rng(1)
    (tmp_path / 'whole').mkdir()
    for number in range(100):
        content = bytearray(open(random_file(rng, tmp_path / 'whole'), 'rb').read())
        if rng.random() < 0.5:
            del content[rng.integers(len(content)) :]
        else:
            for place in rng.integers(0, len(content), 5):
                content[place] = rng.integers(256)
        (tmp_path / f'{number}.png').write_bytes(content)
        try:
            (result,) = inferencers[0](tmp_path / f'{number}.png')
        except ValueError as error:
            assert re.match(
                'The image .* (is cut or cannot be read|cannot be classified)',
                str(error),
                re.DOTALL,
            ), error
        else:
            assert np.isfinite(result['pred_scores']).all()
