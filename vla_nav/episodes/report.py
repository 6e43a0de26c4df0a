"""The quality report of a dataset: one HTML page that needs nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path

from vla_nav.contract import Contract
from vla_nav.episodes.summary import BagSummary, EpisodeSummary

STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem;
       padding: 0 1rem; color: #1c2430; background: #fff; }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #e3e7ec;
         vertical-align: top }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.warn { color: #b3420b } .bar { fill: #3b6ea8 } img { margin-right: 2px; border-radius: 2px }
svg { background: #f6f8fa; border-radius: 3px } .tiles { display: flex; gap: 2rem;
flex-wrap: wrap } .tile b { display: block; font-size: 1.4rem }
.key0 { color: #3b6ea8 } .key1 { color: #c2571a }
"""
COLOURS = ('#3b6ea8', '#c2571a')
BINS = 24


def write_report(path: Path, info: dict, bags: Sequence[BagSummary],
                 skipped: Sequence[BagSummary], failures: dict[str, str]) -> None:
    """Write the page."""
    contract = Contract.from_dict(bags[0].contract)
    episodes = [(bag, episode) for bag in bags for episode in bag.episodes]
    parts = [_overview(info, contract, episodes, skipped, failures),
             _problems(skipped, failures), _actions(contract, episodes),
             _instructions(episodes), _episodes(contract, episodes)]
    path.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Dataset quality'
        f'</title><style>{STYLE}</style></head><body>{"".join(parts)}</body></html>\n',
        encoding='utf-8')


def warnings(contract: Contract, bag: BagSummary, episode: EpisodeSummary) -> list[str]:
    """What a person should look at before training on an episode."""
    found = list(bag.warnings)
    if episode.gaps:
        found.append(f'{episode.gaps} steps without a frame')
    if episode.error_max_s > 0.5 * contract.step_s:
        found.append(f'frames up to {episode.error_max_s * 1e3:.0f} ms off the grid')
    if episode.constant:
        found.append(f'{" and ".join(episode.constant)} hardly changes')
    if episode.clipped_share:
        found.append(f'{episode.clipped_share:.0%} of the commands exceed the limits')
    if bag.dropped:
        found.append(f'{sum(bag.dropped.values())} messages were dropped')
    if bag.recovered:
        found.append('recovered after an interruption')
    if bag.clock == 'receive':
        found.append('aligned by the time of receipt')
    return found


def _overview(info: dict, contract: Contract, episodes: list, skipped: Sequence[BagSummary],
              failures: dict[str, str]) -> str:
    minutes = info['total_frames'] * contract.step_s / 60
    doubtful = sum(bool(warnings(contract, *item)) for item in episodes)
    tiles = [(info['total_episodes'], 'episodes'), (info['total_frames'], 'frames'),
             (f'{minutes:.1f}', 'minutes'), (info['total_tasks'], 'instructions'),
             (doubtful, 'episodes to look at'),
             (len(skipped) + len(failures), 'bags left out')]
    shown = ''.join(f'<div class="tile"><b>{value}</b>{name}</div>' for value, name in tiles)
    return (f'<h1>Dataset of {escape(contract.robot)}</h1><div class="tiles">{shown}</div>'
            f'<p>{contract.rate_hz:g} Hz, frames of {contract.camera.width}x'
            f'{contract.camera.height}, actions {" and ".join(contract.command.fields)}.</p>')


def _problems(skipped: Sequence[BagSummary], failures: dict[str, str]) -> str:
    rows = [f'<tr><td>{escape(Path(bag).name)}</td><td class="warn">{escape(text)}</td></tr>'
            for bag, text in failures.items()]
    rows += [f'<tr><td>{escape(Path(bag.bag).name)}</td><td>{escape(bag.skipped)}</td></tr>'
             for bag in skipped]
    return f'<h2>Left out</h2><table>{"".join(rows)}</table>' if rows else ''


def _actions(contract: Contract, episodes: list) -> str:
    cells = []
    for column, (field, unit) in enumerate(zip(contract.command.fields, contract.command.units)):
        values = [value for _, episode in episodes for value in episode.speeds[column]]
        low, high = contract.command.low[column], contract.command.high[column]
        cells.append(f'<div>{escape(field)} in {unit}, limits {low:g} to {high:g}<br>'
                     f'{_histogram(values, low, high)}</div>')
    return f'<h2>Commands</h2><div class="tiles">{"".join(cells)}</div>'


def _instructions(episodes: list) -> str:
    counts = Counter(task for _, episode in episodes for task in episode.tasks)
    most = max(counts.values())
    rows = ''.join(
        f'<tr><td>{escape(task)}</td><td class="number">{count}</td><td><svg width="300" '
        f'height="12"><rect class="bar" height="12" width="{300 * count / most:.0f}"/></svg>'
        '</td></tr>' for task, count in counts.most_common(60))
    more = f'<p>and {len(counts) - 60} more</p>' if len(counts) > 60 else ''
    return f'<h2>Instructions</h2><table>{rows}</table>{more}'


def _episodes(contract: Contract, episodes: list) -> str:
    head = ('<tr><th>#</th><th>bag</th><th>frames</th><th>s</th><th>cut s</th><th>gaps</th>'
            f'<th>off grid ms</th><th><span class="key0">{contract.command.fields[0]}</span> and '
            f'<span class="key1">{contract.command.fields[1]}</span></th><th>range</th></tr>')
    rows = []
    for number, (bag, episode) in enumerate(episodes):
        images = ''.join(f'<img width="72" src="data:image/jpeg;base64,{data}" alt="">'
                         for data in episode.thumbnails)
        notes = '; '.join(warnings(contract, bag, episode))
        human = (f'<br>{episode.intervention_share:.0%} driven by a human'
                 if episode.intervention_share else '')
        ranges = '<br>'.join(f'{low:.2f} to {high:.2f}' for low, high in
                             zip(episode.action_min, episode.action_max))
        rows.append(
            f'<tr><td>{number}</td><td>{escape(Path(bag.bag).name)}<br>'
            f'<i>{escape("; ".join(episode.tasks))}</i> ({escape(bag.outcome)}){human}'
            f'<div class="warn">{escape(notes)}</div><div>{images}</div></td>'
            f'<td class="number">{episode.rows}</td>'
            f'<td class="number">{episode.duration_s:.1f}</td>'
            f'<td class="number">{bag.trimmed_s[0]:.1f} + {bag.trimmed_s[1]:.1f}</td>'
            f'<td class="number">{episode.gaps}</td>'
            f'<td class="number">{episode.error_mean_s * 1e3:.1f}, at most '
            f'{episode.error_max_s * 1e3:.0f}</td><td>{_plot(contract, episode)}</td>'
            f'<td class="number">{ranges}</td></tr>')
    return f'<h2>Episodes</h2><table>{head}{"".join(rows)}</table>'


def _plot(contract: Contract, episode: EpisodeSummary, width: int = 260, height: int = 90
          ) -> str:
    lines = []
    for values, low, high, colour in zip(episode.speeds, contract.command.low,
                                         contract.command.high, COLOURS):
        scale = max(1, len(values) - 1)
        points = ' '.join(
            f'{x * width / scale:.1f},'
            f'{height - 4 - (min(max(v, low), high) - low) / (high - low) * (height - 8):.1f}'
            for x, v in enumerate(values))
        lines.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.3" '
                     f'points="{points}"/>')
    return f'<svg width="{width}" height="{height}">{"".join(lines)}</svg>'


def _histogram(values: list[float], low: float, high: float, width: int = 300,
               height: int = 80) -> str:
    counts = [0] * BINS
    for value in values:
        counts[min(BINS - 1, max(0, int((value - low) / (high - low) * BINS)))] += 1
    most = max(1, *counts)
    step = width / BINS
    bars = ''.join(
        f'<rect class="bar" x="{i * step:.1f}" width="{step - 1:.1f}" '
        f'y="{height - height * count / most:.1f}" height="{height * count / most:.1f}"/>'
        for i, count in enumerate(counts))
    return f'<svg width="{width}" height="{height}">{bars}</svg>'
