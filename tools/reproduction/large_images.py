"""Reproduce times and memory of images that are read from files in part."""

import json
from collections.abc import Sequence
from pathlib import Path

import tifffile
from mmengine.config import Config

from tools.analysis_tools.file_times import COARSE_ALONE, IN_MEMORY
from tools.dataset_converters.make_benchmark_images import Scenery

from .place import Place
from .processes import run_tool

SCALE = 1 / 32
SOAK_FILES, SOAK_SIZE = 200, 256  # more files than a process keeps open
SIZES = dict(side=20_000, photos=3, photo_side=4000)
QUICK_SIZES = dict(side=1200, photos=1, photo_side=640)


def large_images(place: Place) -> None:
    """Time models from large files to the answer, and training steps from files."""
    quick, folder = place.args.quick, place.work / 'large_images'
    log = folder / 'large_images.log'
    sizes = QUICK_SIZES if quick else SIZES
    files = folder / 'files'
    print(f'Writing the images into {files}')
    options = [f'--{name.replace("_", "-")}={value}' for name, value in sizes.items()]
    run_tool('tools.dataset_converters.make_benchmark_images', ['--out', files, *options], log=log)
    models = models_of(quick)
    configs = [write_config(folder, name, model) for name, model in models.items()]
    pyramid, flat = (files / f'{kind}-{sizes["side"]}.tif' for kind in ('pyramid', 'flat'))
    photos = sorted(files.glob(f'photo-{sizes["photo_side"]}x*.jpg'))[: sizes['photos']]

    print('Timing the models')
    out = folder / 'times.json'
    run_tool(
        'tools.analysis_tools.benchmark',
        [*configs, '--from-files', pyramid, flat, *photos, '--device', 'cpu']
        + ['--rounds', 1 if quick else 10, '--out', out],
        log=log,
    )
    timings = json.loads(out.read_text())
    for row in timings:
        del row['config']  # it is written here

    print('Timing training steps')
    tool = 'tools.reproduction.training_from_files'
    out = folder / 'reading.json'
    few = ['--batch-size', 2, '--rounds', 1] if quick else []
    run_tool(tool, [configs[0], 'reading', '--file', pyramid, *few, '--out', out], log=log)
    reading = json.loads(out.read_text())

    steps = 40 if quick else 2000
    print(f'Training for {steps} steps')
    config, out = soak_config(folder), folder / 'soak.json'
    run_tool(tool, [config, 'soak', '--steps', steps, '--out', out], log=log)
    soak = json.loads(out.read_text())
    place.write(
        'large_images',
        goals=goals(timings, reading, soak, pyramid.name, flat.name),
        models=models,
        timings=timings,
        reading=reading,
        soak=soak,
    )


def models_of(quick: bool) -> dict[str, dict]:
    """Return the configs of the models by name, slim ones for a check of the pipeline."""
    tower = dict(type='mmpretrain.ResNet', depth=18)
    if quick:
        tower.update(base_channels=8, stem_channels=8)
    channels = 64 if quick else 512
    pixels = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
    network = dict(
        type='ImageClassifier',
        backbone=tower,
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=10, in_channels=channels),
        data_preprocessor=pixels,
    )
    return {
        'dcn': dict(
            type='DCNClassifier',
            coarse=tower,
            fine=tower,
            coarse_scale=SCALE,
            selector=dict(type='TopKSelector', k=10),
            grid=dict(type='PatchGrid', size=64),
            head=dict(type='GlobalSumPoolHead', num_classes=10, in_channels=channels),
            losses=dict(),
            data_preprocessor=dict(type='LateNormalization', **pixels),
        ),
        'downsampled': network,
        'fine': network,
    }


def write_config(folder: Path, name: str, model: dict, **more: dict) -> Path:
    """Write a model's config into a folder, and return its path."""
    if name == 'downsampled':
        pipeline = [dict(type='mmdcn.LoadOverview', scale=SCALE)]
        more = dict(test_dataloader=dict(dataset=dict(pipeline=pipeline)))
    path = folder / f'{name}.py'
    Config(dict(default_scope='mmdcn', model=model, **more)).dump(path)
    return path


def soak_config(folder: Path) -> Path:
    """Write small files, if they are missing, and the config of a slim DCN that trains on them."""
    images, scale = folder / 'soak', 1 / 4
    if len(list(images.glob('*/*.tif'))) < SOAK_FILES:
        scenery = Scenery((SOAK_SIZE, SOAK_SIZE * SOAK_FILES))
        pixels = scenery.rows(0, SOAK_SIZE)
        for index in range(SOAK_FILES):
            path = images / str(index % 10) / f'{index}.tif'
            path.parent.mkdir(parents=True, exist_ok=True)
            mine = pixels[:, index * SOAK_SIZE : (index + 1) * SOAK_SIZE]
            options = dict(tile=(64, 64), photometric='rgb', compression='jpeg', metadata=None)
            tifffile.imwrite(path, mine, **options)
    model = models_of(quick=True)['dcn']
    model.update(
        coarse_scale=scale,
        selector=dict(type='TopKSelector', k=2),
        grid=dict(type='PatchGrid', size=32),
    )
    loader = dict(
        batch_size=4,
        num_workers=1,
        persistent_workers=True,
        sampler=dict(type='DefaultSampler', shuffle=True),
        dataset=dict(
            type='CustomDataset',
            data_root=str(images.resolve()),
            pipeline=[dict(type='mmdcn.LoadOverview', scale=scale), dict(type='PackInputs')],
        ),
    )
    return write_config(folder, 'soak', model, train_dataloader=loader)


def goals(
    timings: Sequence[dict], reading: dict, soak: dict, pyramid: str, flat: str
) -> list[dict]:
    """Compare what was found with what mmdcn promises. A ratio of times is a median."""
    rows = {(row['file'], row['model'], row['way']): row for row in timings}
    dcn, alone = rows[pyramid, 'dcn', ''], rows[pyramid, 'dcn', COARSE_ALONE]
    agreement = rows[flat, 'dcn', '']['agreement']
    photos = [row for row in timings if row['file'].endswith('.jpg') and row['model'] == 'dcn']

    def gain(file: str) -> float | None:
        whole = rows[file, 'dcn', IN_MEMORY]
        return whole['time_over']['dcn'][1] if 'time_over' in whole else None

    def over(one: float | None, other: float | None) -> float | None:
        return one / other if one is not None and other else None

    found = [
        (
            'without a pyramid: patches equal those of pixels in memory',
            'is',
            True,
            agreement['equal_patches'],
        ),
        ('without a pyramid: logits differ by', '≤', 1e-5, agreement['logits_differ_by']),
        (
            'with a pyramid: memory over that of the coarse tower alone',
            '≤',
            1.1,
            over(dcn['peak_bytes'], alone['peak_bytes']),
        ),
        (
            'with a pyramid: time over that of the coarse tower alone',
            '≤',
            1.3,
            dcn['time_over'][f'dcn, {COARSE_ALONE}'][1],
        ),
        ('with a pyramid: faster than reading the file whole', '≥', 20, gain(pyramid)),
        *(
            (f'{row["file"]}: faster than decoding it whole', '≥', 1.5, gain(row['file']))
            for row in photos
            if not row['way']
        ),
        (
            f'reading {reading["windows"]} windows, of the time of the training step',
            '≤',
            0.25,
            reading['windows_seconds'] / reading['step_seconds'],
        ),
        (f'{soak["steps"]} steps: more files open', '≤', 0, soak['descriptors_more']),
        (f'{soak["steps"]} steps: memory over that after a tenth', '≤', 1.05, soak['memory_ratio']),
    ]
    compare = {
        'is': lambda value, wanted: value == wanted,
        '≤': lambda value, wanted: value <= wanted,
        '≥': lambda value, wanted: value >= wanted,
    }
    return [
        dict(
            goal=goal,
            wanted=f'{sign} {wanted}' if sign != 'is' else 'yes',
            found=value,
            met=None if value is None else compare[sign](value, wanted),
        )
        for goal, sign, wanted, value in found
    ]
