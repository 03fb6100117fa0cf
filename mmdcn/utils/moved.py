"""Find the configs that replace those of earlier versions."""

from collections.abc import Iterator
from os import PathLike, fspath
from pathlib import PurePath

_FOLDERS = ('cluttered_mnist', 'megapixel_mnist', 'svhn')  # former folders of configs/


def _entries() -> Iterator[tuple[str, str]]:
    """Yield each old name with its new config and settings.

    In earlier versions, the numbers of scales and the synthetic twin had files of their own.
    """
    soft = 'model.head.pooling=inverse_entropy'
    surest = 'model.saliency.type=InverseEntropy'
    for data, width in (('svhn', ''), ('street-numbers', ''), ('street-numbers', '-w25')):
        coarse = f'coarse{width}_1xb{32 if width else 128}-10e'
        fine = f'fine{width}_1xb{"32-5e" if width else "128-10e"}'
        dcn = f'dcn-k6{width}'
        # Old stem, new config, settings to change, number of scales.
        old = [
            (coarse, coarse, [], 1),
            (fine, fine, [], 1),
            (dcn, dcn, [], 1),
            *([] if width else [('resnet18_1xb128-10e', 'resnet18_1xb128-10e', [], 1)]),
            (f'soft-attention{width}', coarse, [soft], 1),
            (f'dcn-k6-inverse-entropy{width}', dcn, [surest], 1),
            (f'dcn-all{width}-3scales', dcn, ['model.selector.k=1000000'], 3),
        ]
        for scales in (2, 3):
            old += [
                (f'coarse{width}-{scales}scales', coarse, [], scales),
                (f'fine{width}-{scales}scales', fine, [], scales),
                (f'soft-attention{width}-{scales}scales', coarse, [soft], scales),
                (f'dcn-k3{width}-{scales}scales', dcn, ['model.selector.k=3'], scales),
                (
                    f'dcn-k3-inverse-entropy{width}-{scales}scales',
                    dcn,
                    ['model.selector.k=3', surest],
                    scales,
                ),
            ]
        for stem, config, settings, scales in old:
            if data == 'svhn' and scales == 1:
                continue  # the config still exists
            if stem in ('soft-attention', 'dcn-k6-inverse-entropy'):
                config, settings = stem, []
            twin = ['SVHN_ROOT=data/street-numbers'] if data == 'street-numbers' else []
            changes = ' and '.join([*twin, *settings])
            sentence = f'{config}_svhn.py' + (f' with {changes}' if changes else '')
            if scales > 1:
                option = ' --width w25' if width else ' --dataset svhn' if not twin else ''
                number = {2: 'two', 3: 'three'}[scales]
                sentence += f'; python tools/reproduce.py table2{option} runs it at {number} scales'
            yield f'{stem}_{data}', sentence


#: Stem of a removed config -> the new config and the settings that do the same.
MOVED_CONFIGS: dict[str, str] = dict(_entries())


def moved(path: str | PathLike) -> str | None:
    """Return a sentence that says what replaces a config of an earlier version, or None.

    Args:
        path: Path of the config, or its name as :func:`mmdcn.list_models` listed it.
    """
    where = PurePath(path)
    found = MOVED_CONFIGS.get(where.name.removesuffix('.py'))
    if found is not None:
        return f'{fspath(path)} is now configs/dcn/{found}.'
    if where.parts[-3:-1] in [('configs', folder) for folder in _FOLDERS]:
        return f'configs/{where.parts[-2]} is now configs/dcn: take configs/dcn/{where.name}.'
    return None
