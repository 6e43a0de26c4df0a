"""Which OpenGL library can draw here without a display."""
import ctypes
import ctypes.util
import functools
import os
import sys

_EGL_PLATFORM_DEVICE = 0x313F


@functools.cache
def choose_backend() -> str | None:
    """The value for MUJOCO_GL: what the user set, else 'egl', 'osmesa' or None if neither works.

    Elsewhere than on Linux MuJoCo's own default ('') is right.
    """
    chosen = os.environ.get('MUJOCO_GL', '').strip().lower()
    if chosen or not sys.platform.startswith('linux'):
        return chosen
    if egl_works():
        return 'egl'
    return 'osmesa' if osmesa_works() else None


def egl_works() -> bool:
    """Whether some EGL device starts: the library alone is no proof of a driver."""
    try:
        egl = ctypes.CDLL(ctypes.util.find_library('EGL') or 'libEGL.so.1')
    except OSError:
        return False
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    egl.eglGetProcAddress.argtypes = [ctypes.c_char_p]
    query = egl.eglGetProcAddress(b'eglQueryDevicesEXT')
    display_of = egl.eglGetProcAddress(b'eglGetPlatformDisplayEXT')
    if not query or not display_of:
        return False
    query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(query)
    display_of = ctypes.CFUNCTYPE(
        ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p)(display_of)
    egl.eglInitialize.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    devices, count = (ctypes.c_void_p * 16)(), ctypes.c_int()
    if not query(16, devices, ctypes.byref(count)):
        return False
    for device in devices[:count.value]:
        display = display_of(_EGL_PLATFORM_DEVICE, device, None)
        if display and egl.eglInitialize(display, None, None):
            return True
    return False


def osmesa_works() -> bool:
    """Whether Mesa's off-screen library is there."""
    try:
        ctypes.CDLL(ctypes.util.find_library('OSMesa') or 'libOSMesa.so.8')
    except OSError:
        return False
    return True
