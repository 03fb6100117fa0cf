import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmdcn.utils.dependencies import OPENMMLAB_VERSIONS, _release, check_dependencies

GOOD = dict(mmengine='0.10.7', mmcv='2.2.0', mmpretrain='1.2.0')
OF_FORK = dict(mmengine='0.10.12', mmcv='2.3.6', mmpretrain='1.3.6')


def test_the_versions_installed_here_pass():
    check_dependencies()


@pytest.mark.parametrize('versions', [GOOD, OF_FORK])
def test_versions_of_openmmlab_and_of_the_fork_pass(versions):
    check_dependencies(versions.get)


@pytest.mark.parametrize('forked', [False, True])
@pytest.mark.parametrize(
    'package, version',
    [
        ('mmengine', '0.10.4'),
        ('mmengine', '1.0.0'),
        ('mmcv', '1.7.2'),
        ('mmcv', '2.4.0'),
        ('mmpretrain', '1.1.1'),
        ('mmpretrain', '2.0.0rc1'),
    ],
)
def test_a_version_out_of_range_is_named_with_the_command_that_helps(package, version, forked):
    lowest, too_new, *requirements = OPENMMLAB_VERSIONS[package]
    requirement = requirements[forked]
    assert requirement.startswith('onedl-') == forked
    with pytest.raises(ImportError) as caught:
        check_dependencies({**GOOD, package: version}.get, lambda: forked)
    assert str(caught.value) == (
        f'mmdcn needs {package}>={lowest},<{too_new}, but {version} is installed; run `pip install '
        f'{requirement}`.'
    )


@pytest.mark.parametrize('package', GOOD)
def test_an_absent_package_is_named_with_the_command_that_helps(package):
    def installed(name):
        if name == package:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
        return GOOD[name]

    with pytest.raises(
        ImportError,
        match=f'mmdcn needs {package}.*it is not installed; run `pip '
        f'install {OPENMMLAB_VERSIONS[package][2]}`',
    ):
        check_dependencies(installed, lambda: False)


def test_what_a_package_itself_misses_is_not_hidden():
    def installed(name):
        raise ModuleNotFoundError("No module named 'cv2'", name='cv2')

    with pytest.raises(ModuleNotFoundError, match='cv2'):
        check_dependencies(installed)


def test_a_package_that_refuses_to_be_imported_is_named():
    def installed(name):
        assert name != 'mmpretrain', 'MMCV==9 is used but incompatible.'
        return GOOD[name]

    with pytest.raises(ImportError, match=r'importing it fails \(MMCV==9 is used'):
        check_dependencies(installed)


@given(
    st.lists(st.integers(0, 999), min_size=1, max_size=3),
    st.sampled_from(['', 'rc1', '+cpu', '.post1', 'a0']),
)
def test_a_release_is_the_numbers_before_any_suffix(numbers, suffix):
    assert _release('.'.join(map(str, numbers)) + suffix)[: len(numbers)] == tuple(numbers)
