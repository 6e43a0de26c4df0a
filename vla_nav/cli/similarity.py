"""vla_nav similarity: how alike the contexts of two policies are."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

EXAMPLES = """examples:
  vla_nav similarity models/my_frozen models/my_lora --data data/my_dataset
  vla_nav similarity models/my_frozen models/my_lora --data data/my_dataset --plot contexts.png

Near 1: adaptation left what the head is shown as it was. A model whose contexts the sentence
hardly moves cannot follow it.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'similarity', help='compare the contexts of two policies',
        description="Compares what enters two policies' heads for the same frames and sentences: "
        'cosine, linear CKA, and how far another sentence moves each.',
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('first', metavar='MODEL_A', help='checkpoint folder or name')
    parser.add_argument('second', metavar='MODEL_B')
    parser.add_argument('--data', required=True, type=Path,
                        help='dataset folder of `vla_nav dataset`')
    parser.add_argument('--frames', type=int, default=256, help='how many of its frames (256)')
    parser.add_argument('--seed', type=int, default=0, help='which of them (0)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures to FILE')
    parser.add_argument('--plot', type=Path, metavar='FILE.png',
                        help='draw both in their directions of most variance')
    parser.add_argument('--device', default='auto', help='cpu, cuda or auto (auto)')
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Compare and print the table."""
    from vla_nav.evaluation import plots
    from vla_nav.evaluation.data import draw_sample, held_out, open_dataset
    from vla_nav.evaluation.models import check_alike, load_policy, open_models
    from vla_nav.evaluation.similarity import (
        compare_contexts,
        contexts,
        describe,
        movement,
        project,
        quantiles,
    )
    from vla_nav.evaluation.store import write_bytes, write_text
    from vla_nav.policy import pick_device
    from vla_nav.training.progress import Progress

    models = open_models([args.first, args.second])
    check_alike(models)
    dataset = open_dataset(args.data)
    check_alike(models, dataset.contract, str(args.data))
    episodes = held_out(models, dataset) or range(len(dataset))
    sample = draw_sample(dataset, args.frames, episodes, args.seed)
    device, found = str(pick_device(args.device)), {}
    for model in models:
        with Progress(f'{model.label}, frames', len(sample)) as progress:
            found[model.label] = contexts(load_policy(model.path, device), sample,
                                          progress.advance)
    similarity = compare_contexts(*found.values())
    figures = {
        'models': {model.label: model.checkpoint.sha256 for model in models},
        'data': str(args.data), 'data_sha256': dataset.sha256, 'frames': len(sample),
        'seed': args.seed,
        **describe(similarity),
        'moved_by_sentence': {name: quantiles(movement(each)) for name, each in found.items()}}
    _print(figures, {name: each.shape for name, each in found.items()})
    if args.json:
        write_text(args.json, json.dumps(figures, indent=1) + '\n')
    if args.plot:
        write_bytes(args.plot, plots.projections(
            {name: project(each) for name, each in found.items()}, sample.instructions))
    return 0


def _print(figures: dict, shapes: dict[str, tuple[int, int]]) -> None:
    from rich.console import Console
    from rich.table import Table

    names = list(shapes)
    cosine, chance = figures['cosine'], figures['cosine_of_different_frames']
    table = Table(title=f'{names[0]} and {names[1]}, {figures["frames"]} frames')
    table.add_column('figure')
    table.add_column('value', justify='right')
    table.add_row('contexts', ' and '.join(f'{n} x {width}' for n, width in shapes.values()))
    table.add_row('compared', figures['compared'])
    table.add_row('cosine', _range(cosine) if cosine else 'none: their widths differ')
    if chance is not None:
        table.add_row('cosine of different frames', f'{chance:.3f}')
    table.add_row('linear CKA, debiased', f'{figures["cka"]:.3f}')
    table.add_row('similarity (the lesser)', f'{figures["similarity"]:.3f}')
    for name, moved in figures['moved_by_sentence'].items():
        table.add_row(f'{name} moved by the sentence',
                      _range(moved) if moved else 'the data have one sentence')
    Console().print(table)
    print('Brackets: 5th to 95th percentile. Moved: distance of one frame under two sentences '
          'over the distance of different frames; 0 is deaf.')


def _range(values: dict[str, float]) -> str:
    return f'{values["p50"]:.3f} ({values["p5"]:.3f} to {values["p95"]:.3f})'
