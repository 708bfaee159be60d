"""What both sides of vmdkvol share: values, words, the wire."""

__version__ = "0.1.0"
