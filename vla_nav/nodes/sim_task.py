"""Which object of a scene a sentence means."""

from __future__ import annotations

import re

from vla_nav.sim import COLOURS, SHAPES, Scene


def named_object(scene: Scene, text: str) -> int | None:
    """Index of the one object that the colour and shape words of `text` fit; None if not one.

    Either word may be missing as long as the other tells the objects apart.
    """
    words = set(re.findall(r'[a-z]+', text.lower()))
    colours, shapes = words & set(COLOURS), words & set(SHAPES)
    if not colours and not shapes:
        return None
    fitting = [index for index, thing in enumerate(scene.objects)
               if (not colours or thing.colour in colours)
               and (not shapes or thing.shape in shapes)]
    return fitting[0] if len(fitting) == 1 else None
