import numpy as np
import pytest
from matplotlib.figure import Figure

from mmdcn.visualization.pictures import DPI, new_chart, save, to_array


def test_the_pixels_of_a_figure_are_rgb_at_the_files_resolution():
    pixels = to_array(Figure(figsize=(2, 1), facecolor=(1, 0, 0)))
    assert pixels.shape == (DPI, 2 * DPI, 3) and pixels.dtype == np.uint8
    assert (pixels == [255, 0, 0]).all()


def test_a_figure_that_cannot_be_written_leaves_what_was_there(tmp_path):
    path = tmp_path / 'chart.png'
    path.write_bytes(b'before')
    broken = Figure()
    broken.text(0.5, 0.5, '$\\nosuchcommand$')
    with pytest.raises(ValueError):
        save(broken, path)
    assert path.read_bytes() == b'before' and list(tmp_path.iterdir()) == [path]


def test_lines_of_a_chart_differ_in_lightness_or_hue_for_all_readers():
    _, axes = new_chart(xlabel='time, s', ylabel='error, %')
    colours = [axes.plot([0, 1])[0].get_color() for _ in range(4)]
    assert len(set(colours)) == 4 and not {'red', 'green', '#d62728', '#2ca02c'} & set(colours)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ('time, s', 'error, %')
