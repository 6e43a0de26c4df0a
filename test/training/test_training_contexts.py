"""Contexts are computed once, whichever process comes first."""

from types import SimpleNamespace

import numpy as np

from vla_nav.episodes.windows import EpisodeDataset
from vla_nav.policy import Backbone
from vla_nav.training.contexts import cache_contexts
from vla_nav.training.settings import load_recipe


def contexts(folder, dataset, backbone, process=0, processes=1, wait=lambda: None):
    """What one process of several gets, and how many episodes it went through."""
    seen = []
    accelerator = SimpleNamespace(process_index=process, num_processes=processes,
                                  is_main_process=process == 0, wait_for_everyone=wait)
    cached, _ = cache_contexts(folder, dataset, range(len(dataset)), backbone,
                               load_recipe('frozen_head').variant, accelerator, seen.append)
    return cached, sum(seen)


def test_a_process_that_begins_when_another_has_ended_makes_its_own_share(
        tmp_path, dataset, tiny_backbone):
    dataset, backbone = EpisodeDataset(dataset), Backbone.load(tiny_backbone)
    late = []

    def wait():
        late.append(contexts(tmp_path / 'two', dataset, backbone, 1, 2))

    first, count = contexts(tmp_path / 'two', dataset, backbone, 0, 2, wait)
    [(second, others)] = late
    alone, all_of_them = contexts(tmp_path / 'one', dataset, backbone)
    assert (count, others, all_of_them) == (3, 3, 6)
    for one, two, expected in zip(first, second, alone, strict=True):
        np.testing.assert_array_equal(one, expected)
        np.testing.assert_array_equal(two, expected)
