"""Serve a page that shows where a DCN looks, what it predicts and what it costs for any budget.

    python tools/demo_app.py                       # a small trained DCN on Cluttered MNIST
    python tools/demo_app.py MODEL --port 8000     # name, config or checkpoint of a DCN

Upload an image, draw a digit or take one of the test images. Only this machine can open the page,
and the page loads nothing from other machines.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.registry import init_default_scope
from PIL import Image
from torch.utils.data import Dataset

from mmdcn.apis import DCNInferencer
from mmdcn.deployment import optimize_for_inference
from mmdcn.models import DCNClassifier, EntropySelector, MassSelector, TopKSelector
from mmdcn.models.fitting import input_channels
from mmdcn.utils.build import build_dataset
from mmdcn.visualization.patches import draw_patches, label_of
from mmdcn.visualization.pictures import to_array

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.command_line import errors_as_messages

os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'  # gradio reads it on import
try:
    import gradio as gr
except ModuleNotFoundError as error:
    if error.name != 'gradio':
        raise
    raise SystemExit(
        'The page needs gradio, which is not installed: run `pip install -r '
        'requirements/optional.txt`.'
    ) from error

MOST_PATCHES = 24
FULL = 50  # full_threshold / threshold of EntropySelector, as in budget_curve.py
ROUNDS = 5  # timed rounds
CANVAS = 400  # pixels of the drawing board on the page, shrunk to BOARD
BOARD = 100
INK = 64  # lowest grey value of a stroke; the browser's black is near 0, not always 0
NOTHING = 'Nothing to look at yet: upload or draw an image.'
FIXED, ENTROPY, MASS = 'the same for every image', 'by uncertainty', 'by share of the saliency'


class Answer(NamedTuple):
    """The content that the page shows for an image."""

    picture: np.ndarray  # (H, W, 3) uint8 RGB
    labels: dict[str, float]  # class or number -> probability
    patches: int
    cells: int
    parts: dict[str, int]  # part of the network -> multiplications
    seconds: float


class Explorer:
    """Runs one DCN with different budgets.

    Args:
        inferencer: Inferencer of a ``DCNClassifier``.

    Raises:
        ValueError: The inferencer has another model.
    """

    def __init__(self, inferencer: DCNInferencer):
        self.model = inferencer.model
        if not hasattr(self.model, 'selector'):
            raise ValueError(
                f'The page shows where a DCN looks; this {type(self.model).__name__} '
                'chooses no patches.'
            )
        optimize_for_inference(self.model)
        self.grey = input_channels(self.model) == 1
        self.budgets = [FIXED, MASS]
        if self.model.saliency.gives_entropy:
            self.budgets.insert(1, ENTROPY)

    def __call__(
        self, image: np.ndarray, budget: str, k: int, threshold: float, share: float
    ) -> Answer:
        """Look at an image.

        Args:
            image: (H, W) uint8 or (H, W, 3) uint8 RGB.
            budget: ``FIXED``, ``ENTROPY`` or ``MASS``.
            k: The largest number of patches.
            threshold: Threshold of ``EntropySelector``, in nats.
            share: Share of ``MassSelector``.

        Raises:
            ValueError: The network cannot take the image.
        """
        self.model.selector = {
            FIXED: lambda: TopKSelector(k=k),
            ENTROPY: lambda: EntropySelector(
                k=k, threshold=threshold, full_threshold=FULL * threshold
            ),
            MASS: lambda: MassSelector(k=max(k, 1), share=share),
        }[budget]()
        inferencer = DCNInferencer(
            self.model
        )  # a new one, because it caches the costs of one selector
        image = self._converted(image)
        (sample,) = inferencer(image, return_datasamples=True)
        inputs = inferencer.pipeline(image)
        figure = draw_patches(
            [inputs['inputs']], [sample], self.model.grid, classes=inferencer.classes
        )
        return Answer(
            to_array(figure, dpi=300),
            labels_of(sample, inferencer.classes),
            len(sample.cells),
            sample.saliency.numel(),
            sample.cost['parts'],
            self._seconds(inputs),
        )

    def _converted(self, image: np.ndarray) -> np.ndarray:
        """Convert an image to the network's channels, grey or BGR."""
        image = Image.fromarray(image)
        return (
            np.array(image.convert('L')) if self.grey else np.array(image.convert('RGB'))[..., ::-1]
        )

    @torch.no_grad()
    def _seconds(self, inputs: dict) -> float:
        """Return the median time of a prediction, without loading and drawing."""
        images = self.model.data_preprocessor(dict(inputs=inputs['inputs'][None]))['inputs']
        times = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            self.model(images, mode='predict')
            if images.is_cuda:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        return float(np.median(times))


def labels_of(sample, classes: list[str] | None) -> dict[str, float]:
    """Map classes to probabilities, or only the most probable number to its probability."""
    if 'pred_sequence' in sample:
        return {label_of(sample, 'pred'): float(sample.pred_confidence)}
    scores = sample.pred_score.tolist()
    return dict(zip(classes or map(str, range(len(scores))), scores, strict=True))


def cost_of(answer: Answer) -> str:
    """Return the cost of an answer, in Markdown."""
    parts = ' · '.join(f'{part} {number:,}' for part, number in answer.parts.items() if number)
    return (
        f'| patches | multiplications | milliseconds |\n|---|---|---|\n'
        f'| {answer.patches} of {answer.cells} cells | {sum(answer.parts.values()):,} '
        f'| {1000 * answer.seconds:.1f} |\n\n<small>{parts}</small>'
    )


def build_page(explorer: Explorer, dataset: Dataset | None, title: str) -> gr.Blocks:
    """Build the page.

    Args:
        explorer: Answers the requests.
        dataset: Test images to choose from. If None, the page only takes uploads and drawings.
        title: The model's name.
    """
    with gr.Blocks(title='Where a DCN looks') as page:
        gr.Markdown(
            f'## Where a DCN looks\n`{title}`: heat is the saliency of the coarse tower, '
            'boxes are the patches that the fine tower sees.'
        )
        with gr.Row():
            with gr.Column():
                with gr.Tab('Image') as image_tab:
                    image = gr.Image(
                        first_image(dataset),
                        image_mode='RGB',
                        label='Image',
                        sources=['upload', 'clipboard'],
                        elem_id='image',
                        height=300,
                        buttons=['fullscreen'],
                    )
                    another = gr.Button(
                        'Another test image', visible=dataset is not None, elem_id='another'
                    )
                with gr.Tab('Draw') as board_tab:
                    board = gr.ImageEditor(
                        empty_board(),
                        image_mode='L',
                        label='Drawing board',
                        sources=[],
                        transforms=[],
                        layers=False,
                        canvas_size=(CANVAS, CANVAS),
                        fixed_canvas=True,
                        elem_id='board',
                        height=440,
                        brush=gr.Brush(default_size=6, colors=['#ffffff'], color_mode='fixed'),
                    )
                budget = gr.Radio(explorer.budgets, value=FIXED, label='Patches', elem_id='budget')
                k = gr.Slider(
                    0,
                    MOST_PATCHES,
                    value=8,
                    step=1,
                    elem_id='k',
                    label='k: patches of an image, at most',
                )
                threshold = gr.Slider(
                    0.01,
                    1.0,
                    value=0.05,
                    step=0.01,
                    visible=False,
                    elem_id='threshold',
                    label='threshold: no patches up to this entropy of the coarse answer, nats',
                )
                share = gr.Slider(
                    0.01,
                    1.0,
                    value=0.1,
                    step=0.01,
                    visible=False,
                    elem_id='share',
                    label='share of the saliency that the patches are to hold',
                )
            with gr.Column():
                cost = gr.Markdown(elem_id='cost')
                picture = gr.Image(
                    label='Saliency and patches',
                    interactive=False,
                    height=400,
                    elem_id='picture',
                    buttons=['download', 'fullscreen'],
                )
                labels = gr.Label(label='Prediction', num_top_classes=3, elem_id='labels')
        drawing = gr.State(False)

        def look(image, board, drawing, *options):
            image = drawn(board) if drawing else image
            if image is None:
                return NOTHING, None, None
            try:
                answer = explorer(image, *options)
            except ValueError as error:
                raise gr.Error(str(error), print_exception=False) from error
            return cost_of(answer), answer.picture, answer.labels

        inputs = [image, board, drawing, budget, k, threshold, share]
        outputs = [cost, picture, labels]
        image_tab.select(lambda: False, outputs=drawing)
        board_tab.select(lambda: True, outputs=drawing)
        budget.change(
            lambda chosen: [
                gr.update(visible=chosen == ENTROPY),
                gr.update(visible=chosen == MASS),
            ],
            budget,
            [threshold, share],
        )
        if dataset is not None:
            another.click(lambda: image_of(dataset, np.random.randint(len(dataset))), outputs=image)
        # A single event for all inputs, so that two runs never change the model's selector at once.
        gr.on(
            [page.load, *(part.change for part in inputs)],
            look,
            inputs,
            outputs,
            trigger_mode='always_last',
            show_progress='hidden',
            concurrency_limit=1,
        )
    return page


def first_image(dataset: Dataset | None) -> np.ndarray | None:
    return None if dataset is None else image_of(dataset, 0)


def image_of(dataset: Dataset, index: int) -> np.ndarray:
    """Return an image of a dataset, (H, W) or (H, W, 3) uint8 RGB."""
    image = dataset[index]['inputs'].numpy()  # (1 or 3, H, W), BGR
    return image[0] if len(image) == 1 else image[::-1].transpose(1, 2, 0)


def empty_board() -> dict:
    black = np.zeros((CANVAS, CANVAS), np.uint8)
    return dict(background=black, layers=[], composite=black)


def drawn(board: dict | None) -> np.ndarray | None:
    """Return the drawing as an image of Cluttered MNIST's size, (BOARD, BOARD) uint8.

    Return None if nothing is drawn.
    """
    if board is None or board.get('composite') is None or board['composite'].max() < INK:
        return None
    composite = Image.fromarray(board['composite']).convert('L')
    return np.asarray(composite.resize((BOARD, BOARD), Image.Resampling.BOX))


def test_images(model: DCNClassifier) -> Dataset | None:
    """Return the test dataset of the model's config, or None if it is not on this machine."""
    init_default_scope('mmdcn')
    try:
        return build_dataset(model._config)
    except FileNotFoundError:
        return None


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog='mmdcn.list_models() gives the names of models.'
    )
    parser.add_argument(
        'model',
        nargs='?',
        default='dcn-k8-hint',
        help='name of a model, config file, or a checkpoint that holds its config '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--checkpoint',
        help='weights, if the model is a name or config (default: those that come with it)',
    )
    parser.add_argument('--port', type=int, default=7860, help='default: %(default)s')
    return parser.parse_args(argv)


@errors_as_messages()
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    explorer = Explorer(DCNInferencer(args.model, args.checkpoint or True))
    page = build_page(explorer, test_images(explorer.model), args.model)
    # Use fonts of the reader's machine, so that nothing is downloaded.
    theme = gr.themes.Default(font=['system-ui', 'sans-serif'], font_mono=['monospace'])
    try:
        page.launch(
            server_name='127.0.0.1',
            server_port=args.port,
            theme=theme,
            footer_links=[],
            max_file_size='20mb',
            share=False,
            ssr_mode=False,
            css='#cost table { width: 100%; }',
        )
    except OSError as error:
        raise OSError(f'Port {args.port} is taken: pass another with --port.') from error


if __name__ == '__main__':
    main()
