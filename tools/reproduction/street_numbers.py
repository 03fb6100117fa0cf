"""Reproduce Table 2 and Figure 6: street numbers."""

import json
from pathlib import Path

from mmengine.config import Config

from tools.analysis_tools.table2 import CONFIGS, rows

from .place import PAPER, Place, summary
from .processes import run_tool
from .runs import QUICK, Run, train_all

FIGURE_6_IMAGES = 'test_dataloader.dataset.indices=[2,11,30]'  # larger than most images
QUICK_STREET = [
    *QUICK,
    'train_dataloader.batch_size=4',
    'train_dataloader.dataset.indices=8',
    'train_dataloader.dataset.val_size=4',
    'val_dataloader.dataset.val_size=4',
    'val_dataloader.dataset.indices=4',
    'train_cfg.val_interval=10',
]


def table2(place: Place) -> None:
    """Train towers on street numbers, test all rows of Table 2 with them, and draw Figure 6."""
    args = place.args
    name = '-'.join(
        filter(None, ['table2', args.dataset.removeprefix('street-numbers'), args.width])
    )
    table = rows(args.width)
    data = Path('data', args.dataset)
    environment = {'SVHN_ROOT': str(data)}
    if not data.is_dir():
        converter = (
            'prepare_svhn.py'
            if args.dataset == 'svhn'
            else 'make_street_numbers.py --train 20000 --extra 10000 --test 1000'
        )
        raise FileNotFoundError(
            f'{data} is missing: run `python tools/dataset_converters/{converter} --out {data}`.'
        )
    towers, folders = [], {}
    for seed in args.seeds:
        # The DCN's config names the towers' checkpoints relative to the working folder.
        folders[seed] = folder = (place.work / name / f'seed{seed}').absolute()
        folder.mkdir(parents=True, exist_ok=True)
        link = folder / 'data'
        if not link.is_symlink():
            link.symlink_to(Path('data').resolve())
        for row in table[0], table[3]:
            config = CONFIGS / f'{row.config}_svhn.py'
            towers.append(
                Run(
                    config,
                    seed,
                    '',
                    folder / 'work_dirs' / f'{row.config}_{args.dataset}',
                    Config.fromfile(config).train_cfg.max_epochs,
                    [f'randomness.seed={seed}', *(QUICK_STREET if args.quick else [])],
                    folder,
                    environment=environment,
                )
            )
    train_all(place, towers)

    dcn = next(row for row in table if row.label == 'DCN, 9 patches, 3 scales')
    for folder in folders.values():
        print(f'Testing {len(table)} rows in {folder.relative_to(Path.cwd())}')
        run_tool(
            'tools.analysis_tools.table2',
            [
                '--width',
                args.width,
                *(
                    [
                        '--cfg-options',
                        'test_dataloader.dataset.indices=4',
                        'test_dataloader.num_workers=0',
                    ]
                    if args.quick
                    else []
                ),
            ],
            folder=folder,
            log=folder / 'table2.log',
            environment=environment,
        )
    picture = f'{name}-patches.png'
    run_tool(
        'tools.visualizations.draw_patches',
        [
            CONFIGS / f'{dcn.config}_svhn.py',
            '--tta',
            '--num',
            3,
            '--out',
            (place.results / picture).absolute(),
            '--cfg-options',
            *(f'{key}={value}' for key, value in dcn.options.items()),
            *([] if args.quick else [FIGURE_6_IMAGES]),
        ],
        folder=folders[args.seeds[0]],
        log=folders[args.seeds[0]] / 'fig6.log',
        environment=environment,
    )
    images = {
        subset: sum(1 for _ in (data / subset).glob('*.png'))
        for subset in ('train', 'extra', 'test')
    }
    errors: dict[str, list[float]] = {row.name: [] for row in table}
    seeds, sources = [], []
    # Use all existing seeds, including those of earlier commands.
    for folder in sorted((place.work / name).glob('seed*'), key=lambda path: int(path.name[4:])):
        tested = [
            folder / 'work_dirs' / 'table2' / f'{row.name}_{args.dataset}.json' for row in table
        ]
        if all(path.is_file() for path in tested):
            seeds.append(int(folder.name[4:]))
            for row, path in zip(table, tested, strict=True):
                errors[row.name].append(100 - json.loads(path.read_text())['accuracy/sequence'])
            for path in sorted(folder.glob('work_dirs/*/starts.json')):
                sources += json.loads(path.read_text())
    place.write(
        name,
        dataset=args.dataset,
        images=images,
        width=args.width,
        seeds=seeds,
        protocol='towers trained on centred numbers, hyper-parameters chosen on other '
        'images, tested on uncropped images, each once',
        reference={'paper': f'{PAPER}, Table 2 (all patches: §4.2.4), on SVHN'},
        rows=[
            dict(
                label=row.label,
                name=f'{row.name}_{args.dataset}',
                config=f'configs/dcn/{row.config}_svhn.py',
                paper=row.paper,
                seeds=seeds,
                **summary(errors[row.name]),
            )
            for row in table
        ],
        pictures={
            picture: f'{dcn.name}, a row an image, a column a scale: heat is the '
            'saliency, boxes are the patches (Figure 6)'
        },
        sources=sources,
    )
