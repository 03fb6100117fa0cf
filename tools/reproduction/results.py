"""Turn the results of ``tools/reproduce.py`` into Markdown tables and metafile entries."""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tools.output import times

CLUTTERS = {'fixed': 'fixed clutter', 'fresh': 'fresh clutter each epoch'}

ONNX = 'onnxruntime'  # a variant of benchmark.py
# Parts of the time of benchmark.py --from-files that prepare pixels
_READING = ('open', 'overview', 'windows', 'read whole', 'shrink', 'read overview')

# End of a config's name -> name of the dataset.
_DATASETS = {
    'cluttered-mnist': 'Cluttered MNIST',
    'megapixel-mnist': 'Megapixel MNIST',
    'street-numbers': 'Street numbers',
    'svhn': 'SVHN, uncropped',
}


def read(folder: Path, name: str) -> dict | None:
    """Return the content of ``<folder>/<name>.json``, or None if there is no such file."""
    path = Path(folder, f'{name}.json')
    return json.loads(path.read_text(encoding='utf-8')) if path.is_file() else None


def render(folder: Path, name: str, link: str = '') -> str:
    """Return Markdown for an experiment: its table and pictures, or a note that it was not run.

    Args:
        folder: Folder of the results' files.
        link: Path from the page to that folder, such as ``'../results/'``.
        name: An experiment such as ``'table1'``. Results of shorter runs, ``'table1-4e'``, and of
            mixed precision, ``'table1-4e-amp'``, follow it and are labelled as such.
            ``'tests:<dataset>'`` lists single runs of the configs whose names end with the
            dataset. It reads the metrics of ``tools/test.py --out`` from ``tests/<config>.json``,
            or from ``tests/<config>.<words>.json``, where the words tell how the run differs from
            its config. ``'cost:<dataset>'`` has only the times of these configs' models.
            ``'headline'`` is the table of the front page.

    Raises:
        ValueError: There is no such experiment.
    """
    name, _, part = name.partition(':')
    if name == 'tests':
        return _tests(Path(folder, 'tests'), part)
    if name == 'headline':
        return headline(Path(folder))
    if name not in _TABLES:
        raise ValueError(f'There is no experiment {name!r}: take one of {", ".join(_TABLES)}.')
    whole = read(folder, name)
    if part and whole is not None:
        whole.update(
            rows=[], timings=[row for row in whole['timings'] if dataset_of(row['config']) == part]
        )
    experiment, _, width = name.partition('-')
    command = f'python tools/reproduce.py {experiment}' + {'': '', 'svhn': ' --dataset svhn'}.get(
        width, f' --width {width}'
    )
    parts = [f'*Full run: not done yet (`{command}`).*' if whole is None else section(whole, link)]
    for stem in sorted(path.stem for path in Path(folder).glob(f'{name}-*.json')):
        if _experiment(stem) == name:
            parts.append(section(read(folder, stem), link))
    return '\n\n'.join(_said_once(part for whole in parts for part in whole.split('\n\n')))


def _said_once(paragraphs: Iterable[str]) -> Iterator[str]:
    """Leave out sentences below a table that stood below an earlier one."""
    seen = set()
    for paragraph in paragraphs:
        if not (paragraph.startswith('Test error') and paragraph in seen):
            yield paragraph
        seen.add(paragraph)


def metafile_results(folder: Path, config: str) -> str:
    """Return the lines for a model's entry in a metafile, or none if it has no full run.

    Args:
        folder: Folder of the results' files.
        config: Name of the model's config, without folder and suffix. It ends in
            ``_street-numbers`` for a model on the synthetic twin.
    """
    for table in ('table1', 'table1-amp', 'table2', 'table2-w25', 'table2-svhn'):
        metric = 'Top 1 Accuracy' if table.startswith('table1') else 'Sequence Accuracy'
        for row in (read(folder, table) or {}).get('rows', []):
            # Table 1 has one cell per column; Table 2 has a single column.
            found = row.get('fixed', row.get('fresh', row))
            # Rows of Table 2 that share a config have names of their own.
            if row.get('name', Path(row['config']).stem) == config and found['errors']:
                return _metafile(config, metric, 100 - found['mean'], len(found['errors']))
    tested = read(Path(folder, 'tests'), config)
    return '' if tested is None else _metafile(config, 'Top 1 Accuracy', tested['accuracy/top1'], 1)


def dataset_of(config: str | Path) -> str:
    """Return the dataset in a config's name: ``'svhn'`` for ``'configs/dcn/dcn-k6_svhn.py'``."""
    return Path(config).stem.rsplit('_', 1)[1].removesuffix('-500')


def _metafile(config: str, metric: str, accuracy: float, runs: int) -> str:
    dataset = dataset_of(config)
    return '\n'.join(
        [
            'Results:',
            f'  - Dataset: {_DATASETS[dataset]}',
            '    Task: Image Classification',
            '    Metrics:',
            f'      {metric}: {accuracy:.2f}',
            f'      Runs: {runs}',
        ]
    )


def section(result: dict, link: str = '') -> str:
    """Return Markdown for one file of results: its table, pictures and origin.

    Args:
        result: The content of the file.
        link: Path from the page to the pictures' folder.
    """
    commits, evaluated = result['commits'], result['evaluated']['commit']
    origin = (
        f'`{result["command"]}`, commit {", ".join(map(_short, commits))}, on '
        f'{", ".join(result["devices"])}, torch {", ".join(result["torch"])}'
    )
    if commits != [evaluated]:
        origin += f'; put together at {_short(evaluated)}'
    seeds = ', '.join(map(str, result.get('seeds', [])))
    above = ''
    if result['quick']:
        above = 'A check of the pipeline on a few images, no result.'
    elif result.get('shortened'):
        above = (
            f'Shortened: {result["epochs"]} epochs in place of '
            f'{result["shortened"]}{_precision(result)}, seeds: {seeds}.'
        )
    elif result.get('amp'):
        above = f'Trained{_precision(result)}, seeds: {seeds}.'
    table = _TABLES[_experiment(result['name'])]
    pictures = [
        f'![{caption}]({link}{name})\n\n*{caption}*'
        for name, caption in result.get('pictures', {}).items()
    ]
    return '\n\n'.join(
        [*([f'**{above}**'] if above else []), table(result), *pictures, f'<sub>{origin}</sub>']
    )


def _short(commit: str) -> str:
    """Shorten a commit; a plus after it means that the code had uncommitted changes."""
    return commit[:10] + commit[40:]


def _experiment(name: str) -> str:
    """Return the experiment of a result: ``'table2-w25'`` for ``'table2-w25-4e-amp'``."""
    return re.sub(r'(-\d+e)?(-amp)?$', '', name)


def _precision(result: dict) -> str:
    return ' in mixed precision' if result.get('amp') else ''


def _tests(folder: Path, dataset: str) -> str:
    rows = []
    for path in sorted(folder.glob('*.json'), key=lambda path: path.stem.split('.')):
        config, *words = path.stem.split('.')
        words = [word.replace('-', ' ') for word in words]
        if config.rsplit('_', 1)[1] == dataset:
            metrics = json.loads(path.read_text(encoding='utf-8'))
            hit = metrics.get('patch_hit/mean')
            rows.append(
                [
                    ', '.join([f'`{config}`', *words]),
                    _percent(100 - metrics['accuracy/top1']),
                    _percent(hit),
                ]
            )
    return _markdown(['run', 'test error', 'patches that touch a digit'], rows)


def _table1(result: dict) -> str:
    """Return all rows of a full experiment; of other experiments, only the rows that were run."""
    sources = result['reference']
    rows = [
        [
            row['label'],
            _percent(row['paper']),
            _percent(row['public']),
            *(_spread(row[clutter]) if clutter in row else '–' for clutter in CLUTTERS),
        ]
        for row in result['rows']
        if result['name'] == 'table1'
        or any(row[clutter]['errors'] for clutter in CLUTTERS if clutter in row)
    ]
    sentence = ' '.join(
        [
            'Test error in percent, mean ± standard deviation over seeds (number of seeds).',
            f'Paper: {sources["paper"]}. Re-implementation: {sources["public"]}.',
        ]
    )
    columns = ['', 'paper', 're-implementation', *CLUTTERS.values()]
    return f'{_markdown(columns, rows)}\n\n{sentence}'


def _budgets(result: dict) -> str:
    clutters = {
        key: words for key, words in CLUTTERS.items() if any(key in row for row in result['rows'])
    }
    fine = result['rows'][0]

    def cost(cell: dict, whole: dict) -> str:
        share = whole['multiplications'] / cell['multiplications']
        return f'{cell["multiplications"] / 1e6:.1f} ({share:.1f}× fewer)'

    rows = [
        [
            row['label'] + (f', {row["average_k"]} patches' if row['average_k'] else ''),
            *(
                text
                for key in clutters
                for text in (
                    _spread(row[key]),
                    _percent(row[key]['patches'], 1),
                    cost(row[key], fine[key]),
                )
            ),
        ]
        for row in result['rows']
    ]
    columns = [
        f'{words}: {what}'
        for words in clutters.values()
        for what in ('error, %', 'patches', '10⁶ multiplications')
    ]
    return (
        f'{_markdown(["", *columns], rows)}\n\nThresholds for an average were chosen on `val`, '
        'without labels; all figures are means over test images.'
    )


def _table2(result: dict) -> str:
    rows = [[row['label'], _percent(row['paper'], 1), _spread(row, 1)] for row in result['rows']]
    errors = {row['label']: (row['paper'], row['mean']) for row in result['rows']}

    def ratio(one: str, other: str) -> list[str]:
        return [
            '–' if a is None or b is None else f'{a / b:.2f}'
            for a, b in zip(errors[one], errors[other], strict=True)
        ]

    gains = [
        [f'{kind}: {what}', *ratio(one, other)]
        for kind in ('DCN', 'DCN where surest')
        for what, one, other in (
            (
                "error over the fine model's, 1 scale",
                f'{kind}, 6 patches, 1 scale',
                'Fine model, 1 scale',
            ),
            (
                '3 scales over 1 scale',
                f'{kind}, 9 patches, 3 scales',
                f'{kind}, 6 patches, 1 scale',
            ),
        )
    ]
    columns = ['', 'paper, SVHN', f'here, {result["dataset"].replace("-", " ")}']
    return (
        _markdown(columns, [*rows, *gains])
        + '\n\nSequence error in percent, mean ± standard deviation over seeds (number of '
        'seeds), and ratios of these. Images: '
        + ', '.join(f'{subset} {number:,}' for subset, number in result['images'].items())
        + f'. Paper: {result["reference"]["paper"]}.'
    )


def _fig2(result: dict) -> str:
    return _markdown(
        ['', 'last hint distance', 'after iterations'],
        [
            [curve['label'], f'{curve["distances"][-1]:.3g}', f'{curve["iterations"][-1]:,}']
            for curve in result['curves']
        ],
    )


def _fig3(result: dict) -> str:
    tables = [
        _grid('patches an image, on average', result['rows'], 'selector', 'average_k', 'error', 2),
        f'Error on `val` in percent; epochs of training: {result["epochs"]}.',
        'The same weights with other saliencies, swapped at test time: error in percent, '
        'share of patches that touch the digit in percent, multiplications in millions.',
    ]
    for figure, digits, scale in (
        ('error', 2, 1),
        ('patch_hit', 1, 1),
        ('multiplications', 1, 1e-6),
    ):
        tables.append(
            _grid(
                f'{figure.replace("_", " ")} at k =',
                result['saliency'],
                'saliency',
                'k',
                figure,
                digits,
                scale,
            )
        )
    return '\n\n'.join(tables)


def _grid(
    title: str,
    found: Sequence[dict],
    row: str,
    column: str,
    value: str,
    digits: int,
    scale: float = 1,
) -> str:
    """Return a table of results, with rows and columns from two of their keys."""
    columns = list(dict.fromkeys(one[column] for one in found))
    return _markdown(
        [title, *map(str, columns)],
        [
            [name, *(f'{scale * one[value]:.{digits}f}' for one in found if one[row] == name)]
            for name in dict.fromkeys(one[row] for one in found)
        ],
    )


def _fig5(result: dict) -> str:
    models = list(dict.fromkeys(row['label'] for row in result['rows']))
    shapes = list(dict.fromkeys(tuple(row['shape']) for row in result['rows']))
    total = {(row['label'], tuple(row['shape'])): row['total'] for row in result['rows']}
    return (
        _markdown(
            ['image', *models],
            [
                [times(shape[1:]), *(f'{total[model, shape] / 1e9:.3g}' for model in models)]
                for shape in shapes
            ],
        )
        + '\n\nMultiplications, 10⁹, counted.'
    )


def _cost(result: dict) -> str:
    tables = []
    if result['rows']:
        fine = next(row['total'] for row in result['rows'] if row['label'] == 'fine')
        tables.append(
            _markdown(
                ['', 'multiplications', 'fewer than fine', 'paper', 'parameters'],
                [
                    [
                        row['label'],
                        f'{row["total"]:,}',
                        f'{fine / row["total"]:.2f}×',
                        '–' if row['paper'] is None else f'{row["paper"] / 1e6:.1f}M',
                        f'{row["parameters"]:,}',
                    ]
                    for row in result['rows']
                ],
            )
        )
    if result['timings']:
        by_dataset: dict[str, list[dict]] = {}
        for row in result['timings']:
            by_dataset.setdefault(dataset_of(row['config']), []).append(row)
        for rows in by_dataset.values():
            tables += [_times_of(rows), _ratios_of(rows)]
            if rows[0].get('training_peak_bytes'):
                tables.append(_memory_of(rows))
        if result['rows'] and result.get('datasets'):
            tables.append(_speeds_of(result['datasets']))
        tables.append(
            'Medians (10 % – 90 %; of images a second, the lowest – the highest); ratios are of '
            'times in the same turn. As-built: norms not folded, weights not channels last; '
            'autograd: saliency by a backward pass. A loader collates batches. Timed at commit '
            f'{_short(result["timed"]["commit"])}, on {result["timed"]["device"]}.'
        )
        paper, svhn = result['reference'], result['reference']['svhn_ms']
        if result['rows']:
            tables.append(
                f'Paper ({paper["paper"]}): on Cluttered MNIST fine model over DCN '
                f'{paper["speedup"]} (§4.1.3); on the 100 largest test images of SVHN, 363×735 to '
                '442×1083 on a Titan Black, '
                + ', '.join(f'{name} {ms} ms' for name, ms in svhn.items())
                + f', fine model over DCN {svhn["fine"] / svhn["dcn-k6"]:.1f} (§4.2.4).'
            )
    else:
        tables.append('*Times: not run yet (`python tools/reproduce.py cost`).*')
    return '\n\n'.join(tables)


def _large_images(result: dict) -> str:
    reading, soak = result['reading'], result['soak']
    return '\n\n'.join(
        [
            *(
                _files_table(file, [row for row in result['timings'] if row['file'] == file])
                for file in dict.fromkeys(row['file'] for row in result['timings'])
            ),
            'Median (10 % – 90 %) of the time from the file to the answer, with one thread and the '
            'file in the cache of the system, and the median share of it that opens, reads, '
            'decodes and shrinks. MB: peak of one prediction in a new process, without its '
            'packages and weights.',
            _markdown(
                ['', 'wanted', 'found', ''],
                [
                    [
                        each['goal'],
                        each['wanted'],
                        _found(each['found']),
                        {True: 'met', False: 'missed', None: 'not known'}[each['met']],
                    ]
                    for each in result['goals']
                ],
            ),
            f'Training step: batch {reading["batch"]}, {reading["threads"]} threads. '
            f'{soak["steps"]:,} steps: small towers on {soak["files"]} small files.',
        ]
    )


def _found(value: float | bool | None) -> str:
    if value is None:
        return '–'
    return ('yes' if value else 'no') if isinstance(value, bool) else f'{value:.3g}'


def _files_table(file: str, rows: Sequence[dict]) -> str:
    size = _times(rows[0]['shape'][1:])
    return _markdown(
        [f'{file}, {size}', 'ms', 'reading, ms', 'MB', 'time over the DCN'],
        [
            [
                ', '.join(filter(None, [row['model'], row['way']])),
                *(
                    [
                        _between(row['ms_10'], row['ms'], row['ms_90']),
                        f'{sum(row["parts_ms"].get(part, [0, 0, 0])[1] for part in _READING):.3g}',
                        '–' if row['peak_bytes'] is None else f'{row["peak_bytes"] / 1e6:.1f}',
                        _between(*row['time_over']['dcn']) if 'dcn' in row['time_over'] else '',
                    ]
                    if 'ms' in row
                    else [f'needs {row["needed_bytes"] / 1e9:.0f} GB', '', '', '']
                ),
            ]
            for row in rows
        ],
    )


def _times_of(timings: Sequence[dict]) -> str:
    """Return a table with one row per model and one column per image size and batch."""
    found = {
        (row['model'], _batch(row)): _between(
            row['ms_per_image_10'], row['ms_per_image'], row['ms_per_image_90']
        )
        for row in timings
    }
    models, batches = (list(dict.fromkeys(keys)) for keys in zip(*found, strict=True))
    return _markdown(
        ['ms an image', *batches],
        [[model, *(found[model, batch] for batch in batches)] for model in models],
    )


def _ratios_of(timings: Sequence[dict]) -> str:
    """Compare times: fine model / DCN, DCN / coarse model, slower variant / its model."""
    found = {
        (f'{row["model"]} : {other}', _batch(row)): _between(*percentiles)
        for row in timings
        for other, percentiles in row['time_over'].items()
        if _worth_comparing(row['model'], other)
    }
    pairs, batches = (list(dict.fromkeys(keys)) for keys in zip(*found, strict=True))
    return _markdown(
        ['ratio of times', *batches],
        [[pair, *(found[pair, batch] for batch in batches)] for pair in pairs],
    )


def _memory_of(timings: Sequence[dict]) -> str:
    """Return a table of the models' memory and of how much more the fine model needs."""
    kinds = {
        '10⁶ multiplications': 'multiplications',
        'MB, prediction': 'peak_bytes',
        'MB, training step': 'training_peak_bytes',
    }
    fine = next((row for row in timings if row['model'] == 'fine'), None)

    timings = [row for row in timings if row['peak_bytes'] is not None]

    def more(row: dict, key: str) -> str:
        return '' if fine in (None, row) else f' (fine: {fine[key] / row[key]:.1f}×)'

    return _markdown(
        ['batch 1', *kinds],
        [
            [row['model'], *(f'{row[key] / 1e6:.1f}{more(row, key)}' for key in kinds.values())]
            for row in timings
        ],
    )


def _speeds_of(speeds: Sequence[dict]) -> str:
    found = {
        (row['dataset'], row['source']): _between(
            *np.percentile(row['images_per_second'], (0, 50, 100)), ',.0f'
        )
        for row in speeds
    }
    datasets, sources = (list(dict.fromkeys(keys)) for keys in zip(*found, strict=True))
    return _markdown(
        ['images a second', *sources],
        [[dataset, *(found[dataset, source] for source in sources)] for dataset in datasets],
    )


def _batch(row: dict) -> str:
    return f'{times(row["shape"])}, batch {row["batch"]}'


def _between(low: float, middle: float, high: float, form: str = '.3g') -> str:
    return f'{middle:{form}} ({low:{form}} – {high:{form}})'


def _worth_comparing(model: str, other: str) -> bool:
    (name, _, variant), (reference, _, its_variant) = (
        each.partition(', ') for each in (model, other)
    )
    if variant != its_variant:
        return name == reference and not its_variant
    if name == 'fine':
        return reference.startswith('dcn')
    return name.startswith('dcn') and reference == 'coarse' and not variant


_TABLES: dict[str, Callable[[dict], str]] = {
    'table1': _table1,
    'budgets': _budgets,
    'table2': _table2,
    'table2-w25': _table2,
    'table2-svhn': _table2,
    'fig2': _fig2,
    'fig3': _fig3,
    'fig5': _fig5,
    'cost': _cost,
    'large_images': _large_images,
}


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines: list[Sequence[str]] = [columns, ['---'] * len(columns), *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _percent(error: float | None, digits: int = 2) -> str:
    return '–' if error is None else f'{error:.{digits}f}'


def _spread(cell: dict, digits: int = 2) -> str:
    """Return text such as ``1.39 ± 0.05 (3)``; a single run has no deviation."""
    if not cell['errors']:
        return 'not run yet'
    deviation = '' if cell['std'] is None else f' ± {cell["std"]:.{digits}f}'
    return f'{cell["mean"]:.{digits}f}{deviation} ({len(cell["errors"])})'


def _times(sizes: Sequence[int]) -> str:
    return '×'.join(map(str, sizes))


def headline(folder: Path) -> str:
    """Return a table of what a DCN gains over its fine tower on the whole image, by image size.

    Each row is an image size and batch with times in ``cost.json``, the largest image first. Errors
    come from ``tests/*.json``; a model that was not trained has none.
    """
    tested = {
        ('megapixel-mnist', 'dcn-k10'): 'dcn-k10_1xb16-30e_megapixel-mnist',
        ('svhn', 'dcn-k6'): None,
        ('cluttered-mnist', 'dcn-k8-hint'): 'dcn-k8-hint_1xb128-4e_cluttered-mnist',
    }
    cost = read(folder, 'cost')
    timings = {
        (dataset_of(row['config']), row['model'], tuple(row['shape']), row['batch']): row
        for row in cost['timings']
    }
    rows = []
    for (dataset, model, shape, batch), dcn in timings.items():
        if (dataset, model) not in tested:
            continue
        fine, fine_in_onnx = timings[dataset, 'fine', shape, batch], f'fine, {ONNX}'
        metrics = read(folder / 'tests', tested[dataset, model] or '')
        gains = (
            fine['time_over'][model][1],  # the median
            timings[dataset, fine_in_onnx, shape, batch]['time_over'][f'{model}, {ONNX}'][1],
            fine['peak_bytes'] / dcn['peak_bytes'],
            fine['multiplications'] / dcn['multiplications'],
        )
        rows.append(
            [
                _times(shape[1:]),
                str(batch),
                *(f'{gain:.2g}×' for gain in gains),
                'not trained' if metrics is None else _percent(100 - metrics['accuracy/top1']),
            ]
        )
    rows.sort(key=lambda row: (-math.prod(map(int, row[0].split('×'))), int(row[1])))
    columns = [
        'image',
        'batch',
        'faster',
        'faster in ONNX Runtime',
        'less memory',
        'fewer multiplications',
        'test error, %',
    ]
    timed = f'commit {_short(cost["timed"]["commit"])}, on {cost["timed"]["device"]}'
    return f'{_markdown(columns, rows)}\n\n<sub>`{cost["command"]}`, {timed}</sub>'
