"""ROS 2's own linters, where ROS 2 is: ruff stands in for them elsewhere."""

import pytest


def test_ament_flake8(root):
    ament_flake8 = pytest.importorskip('ament_flake8.main', reason='no ament_flake8 of ROS 2')
    status, errors = ament_flake8.main_with_errors(
        argv=['--config', str(root / 'setup.cfg'), str(root)])
    assert status == 0, '\n'.join(errors)


def test_ament_pep257(root):
    ament_pep257 = pytest.importorskip('ament_pep257.main', reason='no ament_pep257 of ROS 2')
    paths = [str(root / name) for name in ('vla_nav', 'launch', 'test', 'setup.py')]
    assert ament_pep257.main(
        argv=['--add-ignore', 'D213', 'D400', 'D401', 'D402', 'D403', 'D406', 'D407', 'D413',
              '--', *paths]) == 0
