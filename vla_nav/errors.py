"""The base of every error that vla_nav raises on purpose."""


class VlaNavError(Exception):
    """Bad input: the message names what, what was found, what was expected and what to do."""
