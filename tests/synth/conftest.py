"""Banks of textures for all tests of this room."""

from tests.synth.conftest_synth import bank, smooth_bank  # noqa: F401
