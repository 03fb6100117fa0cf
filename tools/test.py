"""Test a model.

python tools/test.py CONFIG [CHECKPOINT]
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import mmengine
from mmengine.dist import is_main_process
from mmengine.evaluator import DumpResults

from mmdcn.engine.launch import build_test_runner
from mmdcn.utils.files import replacing

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.command_line import add_model_arguments, add_run_arguments, config_of, errors_as_messages


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test a model.')
    add_model_arguments(parser)
    parser.add_argument(
        '--out', help='file for the results (.pkl; for metrics also .json or .yaml)'
    )
    parser.add_argument(
        '--out-item',
        choices=['metrics', 'pred'],
        default='pred',
        help='content of --out: the metrics, or all predictions (default)',
    )
    parser.add_argument(
        '--tta', action='store_true', help="average over the views of the config's tta_pipeline"
    )
    add_run_arguments(parser)
    args = parser.parse_args(argv)
    suffixes = ['.pkl', '.pickle']
    if args.out_item == 'metrics':
        suffixes += ['.json', '.yaml', '.yml']
    if args.out and Path(args.out).suffix not in suffixes:
        parser.error(
            f'--out {args.out}: predictions go to a .pkl file; with --out-item metrics, metrics go '
            'to a .json, .yaml or .pkl file.'
        )
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    with ExitStack() as stack:
        with errors_as_messages():
            cfg = config_of(args)
            if args.amp:
                cfg.test_cfg.fp16 = True
            runner = build_test_runner(cfg, args.checkpoint, args.tta)
            out = None
            # Open the file first, so that an unwritable path fails before the test.
            if args.out and is_main_process():
                out = stack.enter_context(replacing(args.out))
                out.touch()
        if args.out and args.out_item == 'pred':
            runner.test_evaluator.metrics.append(DumpResults(out_file_path=str(out or args.out)))
        metrics = runner.test()
        if out and args.out_item == 'metrics':
            mmengine.dump({name: _plain(value) for name, value in metrics.items()}, out)
    if out:
        print(f'{args.out} written.')


def _plain(value: Any) -> Any:
    """Return a metric as numbers in lists; a confusion matrix, for one, is a tensor."""
    return value.tolist() if hasattr(value, 'tolist') else value


if __name__ == '__main__':
    main()
