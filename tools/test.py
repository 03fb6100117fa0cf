"""Test a model: python tools/test.py CONFIG [CHECKPOINT]"""

import argparse

import mmengine
from mmengine.evaluator import DumpResults

from mmdcn.engine.launch import add_common_arguments, build_test_runner, load_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test a model.')
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help="checkpoint file; without one the weights are those that the config's init_cfg names",
    )
    parser.add_argument('--out', help='file for the results (.pkl; .json for metrics)')
    parser.add_argument(
        '--out-item',
        choices=['metrics', 'pred'],
        default='pred',
        help='what --out gets: the metrics or all predictions (default)',
    )
    parser.add_argument(
        '--tta', action='store_true', help="average over the views of the config's tta_pipeline"
    )
    add_common_arguments(parser)
    args = parser.parse_args()
    if args.out and args.out_item == 'pred' and not args.out.endswith(('.pkl', '.pickle')):
        parser.error(
            f'--out {args.out}: predictions go to a .pkl file; for metrics add --out-item metrics.'
        )
    return args


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    if args.amp:
        cfg.test_cfg.fp16 = True
    try:
        runner = build_test_runner(cfg, args.checkpoint, args.tta)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(str(error)) from error
    if args.out and args.out_item == 'pred':
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))
    metrics = runner.test()
    if args.out and args.out_item == 'metrics':
        mmengine.dump(metrics, args.out)


if __name__ == '__main__':
    main()
