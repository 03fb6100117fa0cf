"""Test a model.

python tools/test.py CONFIG [CHECKPOINT]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import mmengine
from mmengine.evaluator import DumpResults

from mmdcn.engine.launch import build_test_runner
from mmdcn.utils.files import replacing

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.command_line import add_model_arguments, add_run_arguments, config_of, errors_as_messages


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test a model.')
    add_model_arguments(parser)
    parser.add_argument('--out', help='file for the results (.pkl, or .json for metrics)')
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
    if args.out and args.out_item == 'pred' and not args.out.endswith(('.pkl', '.pickle')):
        parser.error(
            f'--out {args.out}: predictions go to a .pkl file; for metrics add --out-item metrics.'
        )
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    with errors_as_messages():
        cfg = config_of(args)
        if args.amp:
            cfg.test_cfg.fp16 = True
        runner = build_test_runner(cfg, args.checkpoint, args.tta)
    if args.out and args.out_item == 'pred':
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))
    metrics = runner.test()
    if args.out and args.out_item == 'metrics':
        with replacing(args.out) as unfinished:
            mmengine.dump(metrics, unfinished)


if __name__ == '__main__':
    main()
