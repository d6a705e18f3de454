"""What a training run is: one frozen dataclass, read from a YAML (or JSON) file."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from unblur.disk import read_bytes
from unblur.errors import MediaError, ResourceError, UsageError
from unblur.schema import MismatchError, conform, read_json
from unblur.weights import RENAMED

FlowSource = Literal["truth", "raft", "dis", "refocused"]
RadiusSource = Literal["truth", "coc-s", "coc-m"]
SHIPPED = Path(__file__).parent / "recipes"
LARGEST_FILE = 100_000
EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a run goes; the same recipe and seed give the same run."""

    network: str
    """A name of `train.tasks.TASKS`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the network's config that differ from its preset."""
    start_from: str | None = None
    """Weights to start from: a name in the store, or the path of a safetensors file."""
    seed: int = 0
    steps: int = 10_000
    """Length of the schedule; a run may be stopped and resumed before."""
    batch: int = 8
    """Clips per step and process."""
    frames: int = 5
    window: int = 0
    """How many of these, in a row, DaBiT restores in a step; 0: all."""
    references: int = 0
    """How many of the other frames it looks at beside them, spread as in `models.dabit.windows`."""
    crop: int = 128
    """Side of the square clips, in pixels."""
    data: str = "scenes"
    """`scenes` renders; `LAYOUT:FOLDER` reads a data set, see `data.clips`."""
    scenes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `synth.scenes.SceneConfig` that differ from its defaults."""
    pool: int = 0
    """Clips that are rendered once and drawn from again and again; 0 renders each step its own."""
    pool_side: int = 256
    """Side of the clips of the pool, in pixels; crops are cut from them. Both multiples of 4."""
    filmed: float = 0.0
    """Share of clips that go through a camera's processing and real encoders: `train.footage`."""
    real: float = 0.0
    """Share of steps on means of real frames, where `--real` names video: `train.averages`."""
    flow: FlowSource = "truth"
    """What guides networks that need flow: the `truth` with errors added, or what is found in the
    blurred frames, as in use: by `raft`, where its weights were converted, or by `dis`. On data
    sets, which have no true flow, `truth` is DIS as well. For DaBiT also `refocused`: DIS corrected
    where a lens blurred."""
    radius: RadiusSource = "truth"
    """Where a network gets the circle of confusion from: the `truth` with errors, or `coc-s`,
    or `coc-m`."""
    losses: Mapping[str, float] = field(default_factory=lambda: {"charbonnier": 1.0})
    learning_rate: float = 4e-4
    final_rate: float = 1e-7
    """Learning rate at the end of the cosine."""
    rate_factors: Mapping[str, float] = field(default_factory=dict)
    """Factors on the learning rate of parameters whose name holds the key; the first match. Those
    with 0 stay as they start."""
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    warmup: int = 100
    """Steps over which the learning rate rises from zero."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    average: float = 0.999
    """Decay of the averaged weights."""
    precision: str = "bf16"
    """`bf16` (autocast) or `fp32`."""
    validate_every: int = 200
    """Steps between validations; a checkpoint is written at each."""
    validation_clips: int = 12
    validate_on: str = "scenes"
    """What validation looks at: `scenes` of textures that no training sees, or `LAYOUT:FOLDER`."""

    def __post_init__(self) -> None:
        """Refuses values that cannot work.

        Raises:
            UsageError: a value is out of range; the message names it.
        """
        for name, kind in get_type_hints(type(self)).items():
            try:
                object.__setattr__(self, name, conform(getattr(self, name), kind, name))
            except MismatchError as error:
                raise UsageError(f"recipe: {error}") from error
        for name in ("steps", "batch", "frames", "crop", "validate_every", "validation_clips"):
            if getattr(self, name) < 1:
                raise UsageError(f"recipe: {name} is {getattr(self, name)}, must be at least 1")
        if not self.losses:
            raise UsageError("recipe: losses are none: name one, such as {charbonnier: 1.0}")
        for name in ("learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise UsageError(f"recipe: {name} is {getattr(self, name)}, must be positive")
        if not 0 <= self.average < 1:
            raise UsageError(f"recipe: average is {self.average}, must be in [0, 1)")
        for name in ("filmed", "real"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"recipe: {name} is {getattr(self, name)}, must be in [0, 1]")
        if not 0 <= self.window <= self.frames or self.references < 0:
            raise UsageError(
                f"recipe: window is {self.window} and references {self.references}, of "
                f"{self.frames} frames: a window has 0 to {self.frames} of them"
            )
        if self.references and self.window in (0, self.frames):
            raise UsageError(
                f"recipe: {self.references} references and a window of all {self.frames} frames: "
                "references are other frames, take a smaller window"
            )
        if self.references > self.frames - self.window:
            raise UsageError(
                f"recipe: {self.references} references, but only {self.frames - self.window} "
                f"frames beside a window of {self.window}: take fewer, or more frames"
            )
        if self.pool < 0:
            raise UsageError(f"recipe: pool is {self.pool}, must be 0 or a number of clips")
        if self.pool and (self.crop > self.pool_side or self.crop % 4 or self.pool_side % 4):
            raise UsageError(
                f"recipe: crop {self.crop} from pool_side {self.pool_side}: both must be "
                "multiples of 4, and the crop no larger"
            )
        if self.flow not in get_args(FlowSource):
            raise UsageError(
                f"recipe: flow is {self.flow}, must be {' or '.join(get_args(FlowSource))}"
            )
        if self.radius not in get_args(RadiusSource):
            kinds = " or ".join(get_args(RadiusSource))
            raise UsageError(f"recipe: radius is {self.radius}, must be {kinds}")
        if self.precision not in ("bf16", "fp32"):
            raise UsageError(f"recipe: precision is {self.precision}, must be bf16 or fp32")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UsageError(f"recipe: betas are {self.betas}, must be in [0, 1)")


def load(source: str | Path) -> Recipe:
    """Reads a recipe: the name of one that ships, or the path of a `.yaml` or `.json` file.

    Raises:
        UsageError: no such recipe, not readable, or with fields that are not known.
    """
    path = Path(source)
    if path.suffix not in (".yaml", ".yml", ".json"):
        path = SHIPPED / f"{source}.yaml"
        if source in RENAMED:
            raise UsageError(f"no recipe '{source}': it is called {RENAMED[str(source)]} now")
        if not path.is_file():
            names = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.yaml")))
            raise UsageError(f"no recipe '{source}': use one of {names}, or a .yaml file")
    if not path.is_file():
        raise UsageError(f"recipe not found: {path}: check the path")
    return parse(_read(path), str(path))


def parse(fields: Any, source: str) -> Recipe:
    """Makes a recipe of a mapping; `source` is named in errors."""
    if not isinstance(fields, Mapping):
        raise UsageError(f"{source} is not a recipe: it must hold `name: value` lines")
    known = {f.name: f for f in dataclasses.fields(Recipe)}
    unknown = [str(name) for name in fields if name not in known]
    if unknown:
        raise UsageError(f"{source}: unknown field '{unknown[0]}': use {', '.join(known)}")
    try:
        return Recipe(**fields)
    except TypeError as error:
        raise UsageError(f"{source} is not a complete recipe: {error}") from error


def to_json(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain values, for a checkpoint."""
    return json.loads(json.dumps(dataclasses.asdict(recipe)))


def _read(path: Path) -> Any:
    try:
        text = read_bytes(path, LARGEST_FILE).decode()
    except (MediaError, ResourceError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no recipe ({error}): recipes are short texts") from error
    if path.suffix == ".json":
        try:
            return read_json(text)
        except ValueError as error:
            raise UsageError(f"{path} is not JSON: {error}") from error
    try:
        import yaml
    except ImportError as error:
        raise UsageError('recipes are YAML: pip install "unblur[train]"') from error

    class Loader(yaml.SafeLoader):
        """Takes 6e-5 for a number, as YAML 1.2 does; PyYAML wants a point in it.

        Aliases are refused: a few of them say more than any memory holds.
        """

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError(f"aliases are not allowed: {self.peek_event().start_mark}")
            return super().compose_node(parent, index)

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("+-0123456789"))
    try:
        return yaml.load(text, Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
