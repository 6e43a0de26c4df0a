"""Plots of evaluations, as PNG files in memory."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np

from vla_nav.evaluation.errors import EvaluationError
from vla_nav.evaluation.offline import OfflineErrors
from vla_nav.evaluation.similarity import Projection

COLOURS = ('#3b6ea8', '#c2571a', '#4f8f4b', '#8a5aa8', '#b8860b', '#2f8f8f', '#b0476b', '#6b6b6b',
           '#7a5230', '#1c2430')
"""One for each model, in order."""
INK, FAINT = '#1c2430', '#e3e7ec'
DPI = 130

Share = tuple[float, float, float]
"""A share with the ends of its interval."""


def shares(groups: Mapping[str, Mapping[str, Share]]) -> bytes:
    """Dots with intervals: per group (an outcome) each model's share in per cent."""
    figure, axes = _axes((8.0, 0.9 + 0.24 * sum(len(g) + 1 for g in groups.values())))
    models = list(dict.fromkeys(name for group in groups.values() for name in group))
    place, ticks, names = 0.0, [], []
    for title, group in groups.items():
        axes.text(0, place, title, fontsize=9, fontweight='bold', va='center', color=INK)
        place += 1
        for name, (value, low, high) in group.items():
            colour = COLOURS[models.index(name) % len(COLOURS)]
            axes.barh(place, 100 * value, height=0.62, color=colour, alpha=0.28)
            axes.plot([100 * low, 100 * high], [place, place], color=colour, linewidth=2)
            axes.plot(100 * value, place, 'o', color=colour, markersize=5)
            ticks.append(place)
            names.append(name)
            place += 1
        place += 0.4
    axes.set(xlim=(0, 100), ylim=(place - 0.4, -0.7), xlabel='per cent, 95 % interval')
    axes.set_yticks(ticks, names)
    axes.grid(axis='x', color=FAINT)
    return _png(figure)


def chunk_errors(errors: Mapping[str, OfflineErrors], names: Sequence[str], units: Sequence[str],
                 step_s: float) -> bytes:
    """RMSE of each action over how far ahead it lies, one line a model, with its interval."""
    figure, both = _axes((9.0, 3.2), columns=len(names))
    for dimension, axes in enumerate(np.atleast_1d(both)):
        for number, (label, error) in enumerate(errors.items()):
            steps = np.arange(len(error.rmse)) * step_s
            band = np.array([error.interval(k)[dimension] for k in range(len(steps))])
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(steps, error.rmse[:, dimension], 'o-', color=colour, markersize=3,
                      label=label)
            axes.fill_between(steps, band[:, 0], band[:, 1], color=colour, alpha=0.12,
                              linewidth=0)
        axes.set(xlabel='ahead (s)', ylabel=f'RMSE of {names[dimension]} ({units[dimension]})',
                 ylim=(0, None))
        axes.grid(color=FAINT)
    figure.legend(*np.atleast_1d(both)[0].get_legend_handles_labels(), loc='outside right upper',
                  fontsize=8, frameon=False)
    return _png(figure)


def histogram(values: Mapping[str, np.ndarray], label: str, mark: float | None = None) -> bytes:
    """One histogram a model, one below the other, with its median."""
    figure, rows = _axes((8.0, 0.7 + 0.75 * len(values)), rows=len(values))
    low = min(0.0, *(float(v.min()) for v in values.values()))
    high = max(1.0, *(float(v.max()) for v in values.values()))
    for number, (axes, (name, each)) in enumerate(zip(np.atleast_1d(rows), values.items())):
        colour = COLOURS[number % len(COLOURS)]
        axes.hist(each, bins=np.linspace(low, high, 61), color=colour, alpha=0.55)
        axes.axvline(float(np.median(each)), color=colour, linewidth=2)
        if mark is not None:
            axes.axvline(mark, color=INK, linewidth=1, linestyle='--')
        axes.set(xlim=(low, high), yticks=[])
        axes.set_ylabel(name, rotation=0, ha='right', va='center', fontsize=9)
    np.atleast_1d(rows)[-1].set_xlabel(label)
    for axes in np.atleast_1d(rows)[:-1]:
        axes.tick_params(labelbottom=False)
    return _png(figure)


def projections(shown: Mapping[str, Projection], words: Sequence[str]) -> bytes:
    """Contexts in their two directions of most variance, one panel a model.

    words: of each frame its sentence; the commonest have colours. A line leads from each frame to
    where another sentence moves it.
    """
    columns = min(3, len(shown))
    figure, grid = _axes((8.0, 2.9 * -(-len(shown) // columns)), rows=-(-len(shown) // columns),
                         columns=columns)
    panels = np.atleast_1d(grid).ravel()
    common = sorted(set(words), key=lambda text: (-list(words).count(text), text))[:len(COLOURS)]
    colours = [COLOURS[common.index(text)] if text in common else '#b5bcc5' for text in words]
    for axes in panels[len(shown):]:
        axes.remove()
    for axes, (name, projection) in zip(panels, shown.items()):
        said, other = np.asarray(projection.said), projection.other
        if other is not None:
            for start, end, colour in zip(said, np.asarray(other), colours):
                axes.plot(*zip(start, end), color=colour, alpha=0.25, linewidth=0.6)
        axes.scatter(*said.T, c=colours, s=9, linewidths=0)
        axes.set_title(name, fontsize=9)
        axes.set(xticks=[], yticks=[],
                 xlabel=f'{100 * projection.variance[0]:.0f} % of the variance',
                 ylabel=f'{100 * projection.variance[1]:.0f} %')
    return _png(figure)


def success_over_episodes(curves: Mapping[str, Mapping[int, Share]]) -> bytes:
    """Success over the number of demonstrations, one line a variant, with intervals."""
    figure, axes = _axes((8.0, 3.6))
    for number, (name, points) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        counts = sorted(points)
        value, low, high = (100 * np.array([points[n] for n in counts])).T
        axes.plot(counts, value, 'o-', color=colour, label=name)
        axes.fill_between(counts, low, high, color=colour, alpha=0.15, linewidth=0)
    counts = sorted({n for points in curves.values() for n in points})
    axes.set(xscale='log', ylim=(0, 100), xlabel='demonstrations', ylabel='success (%)')
    axes.set_xticks(counts, [str(n) for n in counts])
    axes.minorticks_off()
    axes.grid(color=FAINT)
    axes.legend(fontsize=8, frameon=False)
    return _png(figure)


def _axes(size: tuple[float, float], rows: int = 1, columns: int = 1):
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise EvaluationError("plots need matplotlib: pip install 'vla_nav[train]'") from None
    figure = Figure(figsize=size, dpi=DPI, layout='constrained')
    FigureCanvasAgg(figure)
    made = figure.subplots(rows, columns)
    for axes in np.atleast_1d(made).ravel():
        axes.spines[['top', 'right']].set_visible(False)
        axes.tick_params(labelsize=8, colors=INK)
        axes.xaxis.label.set_fontsize(9)
        axes.yaxis.label.set_fontsize(9)
    return figure, made


def _png(figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format='png', metadata={'Software': None})
    return stream.getvalue()
