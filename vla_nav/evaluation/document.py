"""A report as blocks, written as Markdown with pictures beside it or as one HTML file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from vla_nav.evaluation.store import write_bytes, write_text

STYLE = """
:root { color-scheme: light }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem;
       padding: 0 1.2rem; color: #1c2430; background: #fff }
h1 { font-size: 1.6rem; margin-bottom: .3rem }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; border-bottom: 2px solid #e3e7ec }
.verdict { background: #f2f6fb; border-left: 5px solid #3b6ea8; padding: .7rem 1.1rem;
           border-radius: 4px }
.verdict b { font-size: 1.2rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums }
th, td { padding: .32rem .7rem; border-bottom: 1px solid #e3e7ec; text-align: right;
         vertical-align: top }
th { background: #f6f8fa; font-weight: 600 } tbody tr:hover { background: #fafbfc }
th:first-child, td:first-child { text-align: left }
td small { color: #5b6675; white-space: nowrap }
.bar { position: relative; height: 6px; background: #eef1f5; border-radius: 3px;
       margin-top: 3px; min-width: 90px }
.bar i { position: absolute; top: 0; bottom: 0; background: #3b6ea855; border-radius: 3px }
.bar b { position: absolute; top: -2px; width: 3px; height: 10px; background: #3b6ea8 }
figure { margin: 1rem 0 } img { max-width: 100%; height: auto }
figcaption, .note { color: #5b6675; font-size: 13px }
"""


@dataclass(frozen=True)
class Rate:
    """A share with its interval: a cell of a table."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f'{100 * self.value:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})'

    @property
    def html(self) -> str:
        """The figure over a bar that shows the interval."""
        return (f'{100 * self.value:.1f} % <small>{100 * self.low:.1f}–{100 * self.high:.1f}'
                f'</small><div class="bar"><i style="left:{100 * self.low:.1f}%;'
                f'width:{100 * (self.high - self.low):.1f}%"></i>'
                f'<b style="left:calc({100 * self.value:.1f}% - 1px)"></b></div>')


Cell = str | Rate


@dataclass(frozen=True)
class Box:
    """What it all comes to."""

    title: str
    sentences: Sequence[str]


@dataclass(frozen=True)
class Heading:
    """Title of a section."""

    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph; `note` for the small print."""

    text: str
    note: bool = False


@dataclass(frozen=True)
class Items:
    """A list."""

    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Rows under a header."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Plot:
    """A picture."""

    name: str
    """Of its file, without suffix."""
    png: bytes
    caption: str


Block = Box | Heading | Text | Items | Table | Plot


def write_markdown(path: Path, title: str, blocks: Sequence[Block]) -> None:
    """Write `path` and, in the folder `plots` beside it, the pictures."""
    for block in blocks:
        if isinstance(block, Plot):
            write_bytes(path.parent / 'plots' / f'{block.name}.png', block.png)
    parts = [f'# {title}', *(_markdown(block) for block in blocks)]
    write_text(path, '\n\n'.join(parts) + '\n')


def write_html(path: Path, title: str, blocks: Sequence[Block]) -> None:
    """Write one HTML file that needs nothing else."""
    body = '\n'.join(_html(block) for block in blocks)
    write_text(path, '<!doctype html><html lang="en"><head><meta charset="utf-8">'
               '<meta name="viewport" content="width=device-width">'
               f'<title>{escape(title)}</title><style>{STYLE}</style></head><body>'
               f'<h1>{escape(title)}</h1>\n{body}\n</body></html>\n')


def _markdown(block: Block) -> str:
    if isinstance(block, Box):
        return '\n'.join([f'> **{block.title}.**', *(f'> {line}' for line in block.sentences)])
    if isinstance(block, Heading):
        return f'## {block.text}'
    if isinstance(block, Text):
        return block.text
    if isinstance(block, Items):
        return '\n'.join(f'- {item}' for item in block.items)
    if isinstance(block, Plot):
        return f'![{block.caption}](plots/{block.name}.png)\n\n{block.caption}'
    lines = [block.header, ['---'] * len(block.header), *block.rows]
    return '\n'.join(f'| {" | ".join(str(cell).replace("|", chr(92) + "|") for cell in line)} |'
                     for line in lines)


def _html(block: Block) -> str:
    if isinstance(block, Box):
        lines = ''.join(f'<p>{escape(line)}</p>' for line in block.sentences)
        return f'<div class="verdict"><b>{escape(block.title)}</b>{lines}</div>'
    if isinstance(block, Heading):
        return f'<h2>{escape(block.text)}</h2>'
    if isinstance(block, Text):
        return f'<p{" class=note" if block.note else ""}>{escape(block.text)}</p>'
    if isinstance(block, Items):
        return f'<ul>{"".join(f"<li>{escape(item)}</li>" for item in block.items)}</ul>'
    if isinstance(block, Plot):
        data = base64.b64encode(block.png).decode()
        return (f'<figure><img alt="{escape(block.caption)}" src="data:image/png;base64,{data}">'
                f'<figcaption>{escape(block.caption)}</figcaption></figure>')
    head = ''.join(f'<th>{escape(name)}</th>' for name in block.header)
    rows = ''.join(f'<tr>{"".join(f"<td>{_cell(cell)}</td>" for cell in row)}</tr>'
                   for row in block.rows)
    return (f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>'
            '</table></div>')


def _cell(cell: Cell) -> str:
    return cell.html if isinstance(cell, Rate) else escape(cell)
