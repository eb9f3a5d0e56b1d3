"""Puts `xytok.py` into the wheel as the package `xytok`, with the marker that it is typed.

Only a package can carry the marker. An editable install needs neither: there the checkout is on the
path, and a copy beside it would be out of date after the next edit.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class FaceHook(BuildHookInterface):
    """A build hook of hatch, named in `pyproject.toml`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add both files to a standard wheel."""
        if version == "standard":
            build_data["force_include"] |= {
                "xytok.py": "xytok/__init__.py",
                ".ci/wheel/py.typed": "xytok/py.typed",
            }
