"""Drive a mobile robot from a camera and a sentence."""

__version__ = '0.1.0'
