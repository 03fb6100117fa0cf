import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from mmdcn.models import PatchGrid
from mmdcn.visualization.patches import RIGHT, WRONG, draw_patches, saliency_extent
from mmdcn.visualization.pictures import to_array

from ..models.dcns import build_dcn, build_svhn_dcn, labelled


@pytest.fixture
def seen():
    dcn = build_dcn().eval()
    images = torch.rand(5, 1, 100, 100)
    with torch.no_grad():
        return images, dcn.predict(images, labelled(5)), dcn.grid


def test_each_image_gets_a_panel_with_image_heat_and_boxes(seen):
    images, samples, _ = seen
    panels = draw_patches(*seen).axes
    for panel, image, sample in zip(panels, images, samples, strict=False):
        shown, heat = panel.get_images()
        np.testing.assert_array_equal(shown.get_array(), image[0])
        np.testing.assert_allclose(heat.get_array(), sample.saliency / sample.saliency.max())
        boxes = [(*box.get_xy(), box.get_width(), box.get_height()) for box in panel.patches]
        assert boxes == [(x1, y1, 14, 14) for x1, y1, _, _ in sample.patch_bboxes.tolist()]
    assert len(panels[5].get_images()) == 0


def test_the_title_says_the_predicted_and_the_true_label_and_whether_they_agree(seen):
    images, samples, _ = seen
    samples[0].set_pred_label(0), samples[1].set_pred_label(9)
    del samples[2].gt_label
    panels = draw_patches(*seen).axes
    assert panels[0].get_title() == 'predicted 0, true 0'
    assert panels[0].title.get_color() == RIGHT
    assert panels[1].get_title() == 'predicted 9, true 1'
    assert panels[1].title.get_color() == WRONG
    assert panels[2].get_title() == f'predicted {samples[2].pred_label.item()}'
    names = [f'class {letter}' for letter in 'abcdefghij']
    assert draw_patches(*seen, classes=names).axes[1].get_title() == (
        'predicted class j, true class b'
    )


def test_heat_lies_around_the_centres_of_the_patches():
    grid = PatchGrid(size=(14, 20), stride=(4, 8), offset=(-1, 2))
    left, right, bottom, top = saliency_extent(grid, (23, 5))
    boxes = grid.all((23, 5)).boxes()[[0, -1]].double()
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert centres[0].tolist() == [left + 8 / 2, top + 4 / 2]
    assert centres[1].tolist() == [right - 8 / 2, bottom - 4 / 2]


def test_an_image_without_any_saliency_is_drawn(seen):
    images, samples, _ = seen
    samples[0].saliency = torch.zeros(23, 23)
    assert (draw_patches(*seen).axes[0].get_images()[1].get_array() == 0).all()


def test_an_image_that_got_no_patches_is_drawn_without_boxes():
    dcn, images = (
        build_dcn(selector=dict(type='EntropySelector', threshold=9.0)).eval(),
        torch.rand(2, 1, 100, 100),
    )
    panels = draw_patches(images, dcn.predict(images), dcn.grid).axes
    assert all(len(panel.get_images()) == 2 and not panel.patches for panel in panels)


def test_images_of_unlike_sizes_are_drawn_with_their_numbers():
    dcn = build_svhn_dcn().eval()
    images = [torch.rand(1, 54, 110), torch.rand(1, 80, 300), torch.rand(1, 120, 126)]
    truths = [[0, 7, 10, 10, 10, 10], [1, 3, 0, 10, 10, 10], [-1, 1, 2, 3, 4, 5]]
    samples = [
        dcn.predict(image[None], [DataSample(gt_sequence=torch.tensor(truth))])[0]
        for image, truth in zip(images, truths, strict=True)
    ]
    samples[0].pred_sequence = torch.tensor(truths[0])
    samples[1].pred_sequence = torch.tensor([1, 3, 1, 10, 10, 10])
    samples[2].pred_sequence = torch.tensor([4, 1, 2, 3, 4, 5])
    panels = draw_patches(images, samples, dcn.grid).axes
    assert [panel.get_title() for panel in panels] == [
        'predicted 7, true 7',
        'predicted 31, true 30',
        'predicted 12345, true 12345…',
    ]
    assert [panel.title.get_color() for panel in panels] == [RIGHT, WRONG, WRONG]
    assert [panel.get_xlim()[1] for panel in panels] == [110, 300, 126]
    assert [len(panel.patches) for panel in panels] == [1, 3, 3]


def test_heat_of_one_cell_is_the_brightest_not_the_darkest():
    dcn, image = build_svhn_dcn().eval(), torch.rand(1, 54, 110)
    heat = draw_patches([image], dcn.predict(image[None]), dcn.grid).axes[0]
    heat = heat.get_images()[1]
    assert heat.get_clim() == (0, 1) and heat.get_array().item() == 1


def test_numbers_stand_in_the_title_as_labels_do():
    sample = DataSample(pred_sequence=torch.tensor([2, 0, 0, 7, 10, 10]))
    (panel,) = draw_patches(torch.rand(1, 1, 60, 110), [sample]).axes
    assert panel.get_title() == 'predicted 007'
    sample.gt_sequence = torch.tensor([1, 0, 7, 10, 10, 10])
    (panel,) = draw_patches(torch.rand(1, 1, 60, 110), [sample]).axes
    assert panel.get_title() == 'predicted 007, true 07' and panel.title.get_color() == WRONG


def test_of_a_classifier_that_is_no_dcn_the_image_is_drawn():
    sample = DataSample().set_pred_label(3).set_gt_label(4)
    (panel,) = draw_patches([torch.rand(3, 20, 30)], [sample]).axes
    assert len(panel.get_images()) == 1 and not panel.patches
    assert panel.get_title() == 'predicted 3, true 4'


@pytest.mark.filterwarnings('error:Glyph')
@pytest.mark.parametrize(
    'name, shown',
    [
        ('кот', 'кот'),
        ('\u1d81', '\u1d81'),  # only a STIX font of matplotlib's has it
        ('cat $x^{$', r'cat \$x^{\$'),  # as text, not as a formula
        ('\U0010fffd', r'\U0010fffd'),  # which no font has
    ],
)
def test_any_name_of_a_class_is_drawn(seen, name, shown):
    figure = draw_patches(*seen, classes=[name] * 10)
    to_array(figure)
    assert figure.axes[0].get_title() == f'predicted {shown}, true {shown}'
