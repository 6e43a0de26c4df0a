"""The MuJoCo model of any room, and how a scene is written into it at run time."""
import math
from dataclasses import dataclass

import numpy as np

from vla_nav.sim import textures
from vla_nav.sim.scene import MAX_OBJECTS, SCALES, SHAPES, Scene, SceneObject

WALL_HEIGHT_M = 2.6
_WIDEST_M = 3.6
_REACH_M = 5.1
_SKIRTING = (0.012, 0.05)
_VISIBLE, _HIDDEN = 0, 5
_SHADOW_ALPHA = 0.30
_SIDES = 28
_TIP = 0.12
_WALLS = ('east', 'west', 'north', 'south')


@dataclass(frozen=True)
class Ids:
    """Indices of the model's parts."""

    floor: int
    ceiling: int
    walls: tuple[int, ...]
    skirtings: tuple[int, ...]
    shadows: tuple[tuple[int, int], ...]
    slots: tuple[dict, ...]
    """Shape to geom, per object."""
    materials: dict
    """Texture name to material."""
    meshes: dict
    """Scale to the cone's mesh."""
    labels: dict
    """Geom to segmentation label, where it is not a wall."""

    @classmethod
    def of(cls, mujoco, model) -> 'Ids':
        """Look the names up in a compiled model."""
        geom = lambda name: model.geom(name).id  # noqa: E731
        floor = geom('floor')
        slots = tuple({shape: geom(f'{shape}{i}') for shape in SHAPES}
                      for i in range(MAX_OBJECTS))
        shadows = tuple((geom(f'core{i}'), geom(f'rim{i}')) for i in range(MAX_OBJECTS))
        labels = {floor: -1} | {part: -1 for pair in shadows for part in pair}
        labels |= {part: i for i, slot in enumerate(slots) for part in slot.values()}
        return cls(
            floor=floor, ceiling=geom('ceiling'), walls=tuple(geom(w) for w in _WALLS),
            skirtings=tuple(geom(f'{w} skirting') for w in _WALLS), shadows=shadows, slots=slots,
            materials={name: model.material(name).id for name in textures.NAMES},
            meshes={scale: model.mesh(f'cone {scale}').id for scale in SCALES}, labels=labels)

    def label(self, geom: int) -> int:
        """Object index, -1 for the floor (shadows lie on it), -2 for anything else."""
        return self.labels.get(geom, -2)


def compile_model(mujoco, width: int, height: int, samples: int):
    """The model of a room with every slot hidden; textures are filled in."""
    model = mujoco.MjModel.from_xml_string(_xml(width, height, samples))
    for name in textures.NAMES:
        part = model.texture(name)
        start = int(part.adr[0])
        pixels = textures.texture(name).ravel()
        model.tex_data[start:start + pixels.size] = pixels
    return model


def apply(model, data, ids: Ids, scene: Scene) -> None:
    """Write a scene into the model and its data, in place of mj_forward."""
    look = scene.look
    tint = np.array(look.light_tint)
    model.vis.headlight.ambient[:] = look.ambient * tint
    model.vis.headlight.diffuse[:] = 0.35 * look.light_intensity * tint
    model.light_diffuse[0] = look.light_intensity * tint
    data.light_xdir[0] = np.array(look.light_direction) / np.linalg.norm(look.light_direction)

    _put(model, data, ids.floor, (0, 0, 0), _turn(look.floor_texture_yaw))
    _paint(model, ids.floor, look.floor_tint, ids.materials[look.floor_texture])
    _put(model, data, ids.ceiling, (0, 0, WALL_HEIGHT_M), np.diag([1.0, -1.0, -1.0]))
    _paint(model, ids.ceiling, look.ceiling_tint)
    for i, yaw in enumerate((math.pi, 0.0, -math.pi / 2, math.pi / 2)):
        _apply_wall(model, data, ids, scene, i, yaw)
    for i in range(MAX_OBJECTS):
        for geom in (*ids.slots[i].values(), *ids.shadows[i]):
            model.geom_group[geom] = _HIDDEN
        if i < len(scene.objects):
            _apply_object(model, data, ids, i, scene.objects[i], look.light_direction)


def _apply_wall(model, data, ids, scene, i, yaw):
    """Wall i, whose inner side faces along yaw."""
    half_x, half_y = scene.room
    depth, width = (half_x, half_y) if i < 2 else (half_y, half_x)
    normal = np.array([math.cos(yaw), math.sin(yaw), 0.0])
    up = np.array([0.0, 0.0, 1.0])
    rotation = np.stack([np.cross(up, normal), up, normal], axis=1)
    middle = -depth * normal + WALL_HEIGHT_M / 2 * up
    _put(model, data, ids.walls[i], middle, rotation)
    _paint(model, ids.walls[i], scene.look.wall_tint, ids.materials[scene.look.wall_texture])
    thick, high = _SKIRTING
    _put(model, data, ids.skirtings[i], (thick - depth) * normal + high * up, _turn(yaw),
         (thick, width, high))
    _paint(model, ids.skirtings[i], scene.look.skirting_tint)


def _apply_object(model, data, ids, i, thing: SceneObject, light):
    geom = ids.slots[i][thing.shape]
    half, high = thing.half_width_m, thing.height_m
    position, rotation = np.array([thing.x, thing.y, high / 2]), _turn(thing.yaw)
    size = {'box': (half, half, high / 2), 'ball': (half, half, half),
            'cylinder': (half, high / 2, 0.0), 'cone': (1.0, 1.0, 1.0)}[thing.shape]
    if thing.shape == 'cone':
        mesh = ids.meshes[thing.scale]
        model.geom_dataid[geom] = mesh
        # MuJoCo centres a mesh on its centre of mass, along its principal axes.
        position = np.array([thing.x, thing.y, 0.0]) + rotation @ model.mesh_pos[mesh]
        rotation = rotation @ _matrix(model.mesh_quat[mesh])
    _put(model, data, geom, position, rotation, size)
    _paint(model, geom, thing.rgb)
    model.geom_group[geom] = _VISIBLE
    drift = 0.35 * half * np.array(light[:2])
    for geom, wide, lift in zip(ids.shadows[i], (1.0, 1.25), (0.003, 0.0015), strict=True):
        _put(model, data, geom, (thing.x + drift[0], thing.y + drift[1], lift), np.eye(3),
             (thing.half_width_m * 1.1 * wide, 0.0005, 0.0))
        model.geom_group[geom] = _VISIBLE


def _put(model, data, geom, position, rotation, size=None):
    data.geom_xpos[geom] = position
    data.geom_xmat[geom] = np.asarray(rotation).ravel()
    if size is not None:
        model.geom_size[geom] = size


def _paint(model, geom, rgb, material=None):
    model.geom_rgba[geom, :3] = rgb
    if material is not None:
        model.geom_matid[geom] = material


def _turn(yaw):
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _matrix(quaternion):
    w, x, y, z = quaternion
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]])


def _cone_vertices(scale):
    """A blunt cone standing on z = 0, as MJCF's list of vertices."""
    thing = SceneObject('cone', 'red', 0.0, 0.0, scale=scale)
    rings = ((0.0, thing.half_width_m), (thing.height_m, _TIP * thing.half_width_m))
    return ' '.join(
        f'{radius * math.cos(2 * math.pi * k / _SIDES):.6f} '
        f'{radius * math.sin(2 * math.pi * k / _SIDES):.6f} {z:.6f}'
        for z, radius in rings for k in range(_SIDES))


def _xml(width, height, samples):
    side = textures.SIZE
    repeat = 2 / textures.TILE_M  # MuJoCo counts in half units
    assets = ''.join(
        f'<texture name="{name}" type="2d" builtin="flat" width="{side}" height="{side}"/>'
        f'<material name="{name}" texture="{name}" texuniform="true" '
        f'texrepeat="{repeat} {repeat}" specular="0" shininess="0"/>'
        for name in textures.NAMES)
    assets += ''.join(f'<mesh name="cone {scale}" vertex="{_cone_vertices(scale)}"/>'
                      for scale in SCALES)
    geoms = ''
    for i in range(MAX_OBJECTS):
        geoms += (
            f'<geom name="cone{i}" type="mesh" mesh="cone 1.0" material="paint"/>'
            f'<geom name="box{i}" type="box" size="1 1 1" material="paint"/>'
            f'<geom name="ball{i}" type="sphere" size="1" material="paint"/>'
            f'<geom name="cylinder{i}" type="cylinder" size="1 1" material="paint"/>')
        geoms += ''.join(
            f'<geom name="{name}{i}" type="cylinder" size="1 1" '
            f'rgba="0 0 0 {_SHADOW_ALPHA}"/>' for name in ('core', 'rim'))
    # What is in front comes first, so that what it hides need not be drawn. Planes are drawn in
    # the size they were compiled with; the walls hide what is outside the room.
    geoms += ''.join(f'<geom name="{name} skirting" type="box" size="1 1 1" material="matt"/>'
                     for name in _WALLS)
    geoms += ''.join(f'<geom name="{name}" type="plane" size="{_WIDEST_M} {WALL_HEIGHT_M / 2} 1" '
                     f'material="plain"/>' for name in _WALLS)
    geoms += ''.join(f'<geom name="{name}" type="plane" size="{_REACH_M} {_REACH_M} 1" '
                     f'material="{material}"/>' for name, material in
                     (('floor', 'plain'), ('ceiling', 'matt')))
    fovy = math.degrees(2 * math.atan(height / width))  # 90 degrees across
    return f"""
    <mujoco>
      <compiler autolimits="true"/>
      <statistic extent="1" center="0 0 1"/>
      <visual>
        <global offwidth="{width}" offheight="{height}"/>
        <quality offsamples="{samples}" numslices="32" numstacks="20" numquads="4"/>
        <map znear="0.02" zfar="30"/>
        <headlight specular="0 0 0"/>
      </visual>
      <asset>
        {assets}
        <material name="paint" specular="0.25" shininess="0.4"/>
        <material name="matt" specular="0" shininess="0"/>
      </asset>
      <worldbody>
        <light name="lamp" directional="true" castshadow="false" specular="0.3 0.3 0.3"/>
        <camera name="eye" fovy="{fovy}"/>
        {geoms}
      </worldbody>
    </mujoco>"""
