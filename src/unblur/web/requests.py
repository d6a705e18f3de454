"""What can be requested: bodies of requests, checked before anything is done."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from unblur.web.disk import ID

Id = Annotated[str, StringConstraints(pattern=ID)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{0,60}$")]
Time = Annotated[
    str,
    StringConstraints(
        pattern=r"^(f\d{1,9}|\d{1,7}(\.\d{1,6})?s|\d{1,3}(:\d{2}){1,2}(\.\d{1,6})?)$", max_length=20
    ),
]
"""`f10`, `2.5s` or `mm:ss`."""
Key = Annotated[str, StringConstraints(pattern=r"^[a-z0-9.,=-]{1,60}(@[f0-9][0-9a-z.:]{0,18})?$")]
"""`foreground@2s`, `0.4@f10`, `120,80@f3`, `background=6@2s`."""
Frame = Annotated[int, Field(ge=0, le=10**9)]
Keys = Annotated[list[Key], Field(max_length=64)]
Quality = Literal["auto", "fast", "best"]
Kind = Literal["sharp", "motion", "focus", "both"]


class Body(BaseModel):
    """A request; what is not known is refused."""

    model_config = ConfigDict(extra="forbid")


class FromFolder(Body):
    """A video or project in a folder that the operator allows."""

    folder: Annotated[int, Field(ge=0, le=1000)]
    path: Annotated[str, StringConstraints(max_length=2000)]


class FromJob(Body):
    """A file, or the project, that a job made."""

    job: Id
    file: Annotated[str, StringConstraints(max_length=100)]


class Part(Body):
    """Of a clip; all of it by default."""

    start: Time | None = None
    end: Time | None = None


class Model(Body):
    """How a clip is restored."""

    model: Name = "auto"
    quality: Quality = "auto"
    strength: Annotated[float, Field(ge=0, le=1)] = 1.0
    deinterlace: bool = False


class Analyze(Part):
    """Look how a clip is blurred."""

    kind: Literal["analyze"]
    clip: Id
    estimate: bool = True


class Estimate(Part, Model):
    """Measure how long restoring would take."""

    kind: Literal["estimate"]
    clip: Id
    kinds: dict[Kind, Annotated[int, Field(ge=0)]] | None = None
    """Frames of the part by how their shots are blurred, as an analysis found it."""


class Restore(Part, Model):
    """Restore a clip."""

    kind: Literal["restore"]
    clip: Id
    container: Literal["mp4", "mov", "mkv", "webm"] = "mp4"
    codec: Literal["h264", "h265", "av1", "vp9", "prores", "ffv1"] | None = None
    crf: Annotated[int, Field(ge=0, le=63)] | None = None
    scale: Literal[1, 2] | None = None


class Preview(Model):
    """Restore two seconds from a frame on."""

    kind: Literal["preview"]
    clip: Id
    at: Frame = 0


class Trial(Part, Model):
    """Blur a sharp clip on purpose, restore it, and compare both with the truth."""

    kind: Literal["trial"]
    clip: Id
    blur: Literal["motion", "focus"] = "motion"
    exposure: Annotated[float, Field(gt=0, le=1)] = 0.5
    shake: Annotated[float, Field(ge=0, le=50)] = 0.0
    radius: Annotated[float, Field(gt=0, le=50)] = 4.0
    focus: Keys = Field(default_factory=lambda: ["near"])


class Fit(Part):
    """Take a shot apart into layers."""

    kind: Literal["fit"]
    clip: Id
    preset: Literal["cpu", "fast"] = "cpu"
    layers: Annotated[int, Field(ge=1, le=6)] = 2
    minutes: Annotated[float, Field(gt=0, le=24 * 60)] | None = None


class Rendering(Body):
    """How frames of a project are made."""

    mode: Literal[
        "clip",
        "sharp",
        "reblurred",
        "layer",
        "alpha",
        "edit-sharp",
        "edit-over-original",
        "edit-reblurred",
        "refocus",
    ] = "sharp"
    layer: Name | None = None
    paint: Annotated[dict[Name, Id], Field(max_length=6)] = Field(default_factory=dict)
    """Number of a painted overlay for each layer."""
    focus: Keys = Field(default_factory=list)
    track: Key | None = None
    blur: Keys = Field(default_factory=list)
    aperture: Annotated[float, Field(ge=0, le=64)] = 8.0
    bokeh: Literal["disk", "hexagon"] = "disk"
    beta: Annotated[float, Field(ge=0.5, le=100)] | None = None
    highlights: Annotated[float, Field(ge=1, le=1000)] = 1.0


class Image(Rendering):
    """One frame of a project."""

    frame: Frame = 0
    width: Annotated[int, Field(ge=16, le=8192)] | None = None


class Export(Rendering, Part):
    """Render a project to a video."""

    kind: Literal["export"]
    project: Id
    container: Literal["mp4", "mov", "mkv", "webm"] = "mp4"
    codec: Literal["h264", "h265", "av1", "vp9", "prores", "ffv1"] | None = None


class Flow(Body):
    """Optical flow between two frames of a project."""

    kind: Literal["flow"]
    project: Id
    first: Frame
    last: Frame


JobRequest = Annotated[
    Analyze | Estimate | Restore | Preview | Trial | Fit | Export | Flow,
    Field(discriminator="kind"),
]
