"""Errors of the codec; every message says what is wrong, what was expected and what to do.

XYCodecError
├── CheckpointError   a checkpoint is missing, damaged, unsafe or does not match its configuration
│   └── CodecNotFoundError   there is no codec of this name, and nothing at this path
├── ConfigError       a configuration or option has a value the codec cannot take
├── AudioError        audio that cannot be read or is not what `encode` takes
└── CodesError        codes that `decode` cannot take
"""


class XYCodecError(Exception):
    """Anything the codec refuses; catch this to catch them all."""


class CheckpointError(XYCodecError):
    """A checkpoint is missing, damaged, unsafe or does not match its configuration."""


class CodecNotFoundError(CheckpointError):
    """There is no codec of this name, and nothing at this path."""


class ConfigError(XYCodecError):
    """A configuration or option has a value the codec cannot take."""


class AudioError(XYCodecError):
    """Audio that cannot be read, or is not what `encode` takes."""


class CodesError(XYCodecError):
    """Codes that `decode` cannot take."""
