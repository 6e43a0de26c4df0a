import pytest

from vla_nav.sim import Look, Renderer, Scene, SceneObject

LOOK = Look(
    floor_texture='plain', wall_texture='plain', floor_tint=(0.6, 0.6, 0.6),
    wall_tint=(0.8, 0.8, 0.8), ceiling_tint=(0.9, 0.9, 0.9), skirting_tint=(0.3, 0.3, 0.3),
    light_direction=(0.4, 0.3, -1.0), light_intensity=0.5, light_tint=(1.0, 1.0, 1.0),
    ambient=0.6)


@pytest.fixture(scope='session')
def renderer():
    with Renderer(320, 240) as renderer:
        yield renderer


@pytest.fixture
def make_scene():
    """A plain room of 6 x 6 m with the robot at its centre, facing along x."""
    def make(*objects, target=0, start=(0.0, 0.0, 0.0), look=LOOK):
        things = tuple(thing if isinstance(thing, SceneObject) else SceneObject(*thing)
                       for thing in objects)
        return Scene(seed=1, level='standard', room=(3.0, 3.0), objects=things, target=target,
                     instruction=f'go to the {things[target].name}', start=start, look=look)
    return make
