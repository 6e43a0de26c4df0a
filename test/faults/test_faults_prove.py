"""The table of protections fits the code, so that `prove.py` can be run at any time."""

import ast
import shutil

import pytest
from harness import ROOT
from protections import PROTECTIONS


@pytest.mark.parametrize('protection', PROTECTIONS, ids=lambda protection: protection.name)
def test_it_can_be_switched_off(protection, tmp_path):
    for file in {edit.file for edit in protection.edits}:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / 'vla_nav' / file, tmp_path / file)
    for edit in protection.edits:
        edit.apply(tmp_path)
        ast.parse((tmp_path / edit.file).read_text())
    assert (ROOT / 'test' / protection.file).is_file()
