import json

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from tools.reproduction.scalars import read_scalars
from tools.visualizations import hint_distance

from ..conftest import ROOT
from .running import logged

RUNS = ('dcn-k8-hint_1xb128-60e_cluttered-mnist', 'dcn-k8_1xb128-60e_cluttered-mnist')


@pytest.fixture(scope='module')
def runs(tmp_path_factory, mnist_root):
    """Two short trainings, with hints and without."""
    folder = tmp_path_factory.mktemp('runs')
    for name in RUNS:
        cfg = Config.fromfile(ROOT / 'configs' / 'dcn' / f'{name}.py')
        cfg.merge_from_dict(
            dict(
                train_dataloader=dict(
                    batch_size=4,
                    num_workers=0,
                    persistent_workers=False,
                    dataset=dict(data_root=mnist_root, indices=12),
                    collate_fn=dict(type='default_collate'),
                ),
                train_cfg=dict(max_epochs=2),
                default_hooks=dict(logger=dict(interval=1)),
                work_dir=str(folder / name),
                experiment_name=f'{folder.name}-{name}',
            )
        )
        cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
        cfg.default_hooks.checkpoint = None
        Runner.from_cfg(cfg).train()
    return [folder / name for name in RUNS]


def test_each_run_gets_a_line_of_the_distances_that_it_logged(runs, capsys, tmp_path):
    hint_distance.main([*map(str, runs), '--out', str(tmp_path / 'new' / 'hints.png')])
    assert (tmp_path / 'new' / 'hints.png').read_bytes().startswith(b'\x89PNG')
    curves = {run: read_scalars(run, 'hint_distance') for run in runs}
    (axes,) = hint_distance.draw(curves).axes
    assert [line.get_label() for line in axes.lines] == [
        'dcn-k8-hint (hints, λ = 0.01)',
        'dcn-k8 (no hints)',
    ]
    for line, run in zip(axes.lines, runs, strict=True):
        distances = logged(run, 'hint_distance')
        assert list(line.get_xdata()) == list(distances) == [1, 2, 3, 4, 5, 6]
        assert list(line.get_ydata()) == list(distances.values())
    last = logged(runs[1], 'hint_distance')[6]
    assert f'dcn-k8: {last:.3g} after 6 iterations.' in capsys.readouterr().out


def write_log(run, start, lines):
    path = run / start / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(
        '\n'.join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    )


def test_what_a_resumed_run_did_again_counts_once(tmp_path):
    write_log(
        tmp_path,
        '20260101_000000',
        [dict(step=step, loss=1.0 * step) for step in (10, 20, 30, 40)] + ['{"step": 50, "lo'],
    )
    write_log(
        tmp_path,
        '20260102_000000',
        [dict(step=1, accuracy=9), *(dict(step=step, loss=2.0 * step) for step in (25, 35))],
    )
    assert read_scalars(tmp_path, 'loss') == {10: 10.0, 20: 20.0, 25: 50.0, 35: 70.0}
    assert read_scalars(tmp_path / '20260101_000000', 'loss')[40] == 40.0


def test_what_is_no_run_or_no_dcn_is_named(tmp_path):
    write_log(tmp_path, '20260101_000000', [dict(step=1, loss=1.0)])
    for run, message in (
        (tmp_path / 'none', 'is not a run with logs'),
        (tmp_path, 'logged no hint_distance.'),
    ):
        with pytest.raises(SystemExit) as caught:
            hint_distance.main([str(run), '--out', str(tmp_path / 'hints.png')])
        assert message in caught.value.code and not (tmp_path / 'hints.png').exists()
