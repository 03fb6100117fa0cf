from argparse import ArgumentTypeError

import pytest

from tools.command_line import at_least, errors_as_messages, file_of, picture


@pytest.mark.parametrize(
    'error', [ValueError('a sentence.'), FileNotFoundError('a sentence.'), TypeError('a sentence.')]
)
def test_an_error_that_a_user_can_mend_ends_the_tool_with_its_sentence(error):
    @errors_as_messages()
    def main():
        raise error

    for _ in range(2):
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 'a sentence.'


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError), errors_as_messages():
        print(1 / 0)


@pytest.mark.parametrize('text', ['0', '-3', 'two', '1.5', ''])
def test_numbers_below_the_least_are_refused(text):
    with pytest.raises(ArgumentTypeError, match='must be a whole number of at least 1, got'):
        at_least(1)(text)
    assert at_least(0)('0') == 0 and at_least(1)('12') == 12


def test_files_of_another_kind_are_refused():
    with pytest.raises(ArgumentTypeError, match='writes a .json file, got plot.png.'):
        file_of('.json')('plot.png')
    assert file_of('.json')('new/out.json').name == 'out.json'


@pytest.mark.parametrize('name', ['chart', 'chart.txt', 'chart.png.bak'])
def test_names_of_other_than_pictures_are_refused(name):
    with pytest.raises(ArgumentTypeError, match='is not a picture file'):
        picture(name)
    assert picture('Chart.PNG').name == 'Chart.PNG'
