"""The files that come with the package are found, or the error says what is there."""

import pytest

from vla_nav.share import ShareError, share_path, share_root


def test_in_a_checkout_it_is_the_checkout(root):
    assert share_root() == root
    assert share_path('config/robots/sim.yaml') == root / 'config/robots/sim.yaml'


def test_missing_file_is_named_with_its_neighbours():
    with pytest.raises(ShareError, match=r'config/robots/moon\.yaml is not in .*sim\.yaml'):
        share_path('config/robots/moon.yaml')
