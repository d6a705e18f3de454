"""MAXIM written once more, as plainly as the paper puts it: the oracle of the fast one.

Whole frames, concatenations, torch's antialiased resize, and tokens by `einops`; only float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

State = dict[str, Tensor]


class Plain:
    """Runs a state dict of `Maxim` on `(B, H, W, 3)` whose sides need no padding."""

    def __init__(self, state: State, stages: int, tiles: tuple[int, int, int]) -> None:
        self.state, self.stages, self.tiles = state, stages, tiles

    def __call__(self, x: Tensor) -> Tensor:
        images = [x, x[:, 1::2, 1::2], x[:, 2::4, 2::4]]
        before = None
        for s in range(self.stages):
            image, before = self.stage(f"stages.{s}", images, before, s == self.stages - 1)
        return image

    def stage(self, n: str, images: list[Tensor], before: tuple | None, last: bool) -> tuple:
        shallow = [self.conv(f"{n}.inputs.{i}", images[i], padding=1) for i in range(3)]
        if before:
            shallow = [
                self.cross(f"{n}.fuse_sam.{i}", shallow[i], before[2][i], i)[0] for i in range(3)
            ]
        skips, x = [], shallow[0]
        for i in range(3):
            x = self.unet(f"{n}.enc.{i}", [x, shallow[i]], i)
            if before:
                other = before[0][i] + before[1][i]
                x, _ = self.cross(f"{n}.enc.{i}.cross", x, other, i)
            skips.append(x)
            x = self.conv(f"{n}.enc.{i}.down", x, stride=2, padding=1)
        for k in range(2):
            start = x = self.dense(f"{n}.bottom.{k}.proj", x)
            for j in range(2):
                x = self.gmlp(f"{n}.bottom.{k}.gmlp.{j}", x, 2)
                r = f"{n}.bottom.{k}.rdcab.{j}"
                inner = self.gelu(self.dense(f"{r}.dense1", self.norm(f"{r}.norm", x)))
                x = x + self.attention(r, self.dense(f"{r}.dense2", inner))
            x = x + start
        y, fused = x, [x, x, x]
        for i in (2, 1, 0):
            resized = [self.resize(f"{n}.skip_resize.{i}.{j}", skips[j], j - i) for j in range(3)]
            fused[i], y = self.cross(
                f"{n}.cross.{i}", torch.cat(resized, -1), self.up(f"{n}.cross.{i}.up", y), i
            )
        decoded = [x, x, x]
        for i in (2, 1, 0):
            parts = [self.up(f"{n}.dec_up.{i}", x)]
            parts += [
                self.resize(f"{n}.dec_resize.{i}.{k}", fused[2 - k], 2 - k - i) for k in range(3)
            ]
            x = decoded[i] = self.unet(f"{n}.dec.{i}", parts, i)
        attended = []
        for i in range(1 if last else 3):
            sam = f"{n}.sam.{i}"
            image = self.conv(f"{sam}.picture", decoded[i], padding=1) + images[i]
            if i == 0:
                made = image
            if not last:
                mask = torch.sigmoid(self.conv(f"{sam}.mask", image, padding=1))
                features = self.conv(f"{sam}.feature", decoded[i], padding=1)
                attended.append(decoded[i] + features * mask)
        return made, (skips, decoded, attended)

    def unet(self, n: str, parts: list[Tensor], level: int) -> Tensor:
        start = x = self.dense(f"{n}.fuse", torch.cat(parts, -1))
        for j in range(2):
            x = self.gmlp(f"{n}.gmlp.{j}", x, level)
            r = f"{n}.rcab.{j}"
            inner = self.conv(f"{r}.conv1", self.norm(f"{r}.norm", x), padding=1)
            x = x + self.attention(r, self.conv(f"{r}.conv2", F.leaky_relu(inner, 0.2), padding=1))
        return x + start

    def attention(self, n: str, x: Tensor) -> Tensor:
        squeezed = F.relu(self.dense(f"{n}.attention.squeeze", x.mean((1, 2), keepdim=True)))
        return x * torch.sigmoid(self.dense(f"{n}.attention.excite", squeezed))

    def gmlp(self, n: str, x: Tensor, level: int) -> Tensor:
        grid, block = self.halves(n, x)
        both = [
            self.on_tokens(grid, level, "grid", lambda t: self.gated(f"{n}.grid", t)),
            self.on_tokens(block, level, "block", lambda t: self.gated(f"{n}.block", t)),
        ]
        return x + self.dense(f"{n}.out", torch.cat(both, -1))

    def gated(self, n: str, t: Tensor) -> Tensor:  # (B, P, Q, C), mixes Q
        kept, gate = self.halves(n, t)
        gate = self.mixed(f"{n}.gate", self.norm(f"{n}.gate_norm", gate))
        return t + self.dense(f"{n}.out", kept * (gate + 1))

    def weights_of_gate(self, n: str, x: Tensor, level: int) -> Tensor:
        grid, block = self.halves(n, x)
        both = [
            self.on_tokens(grid, level, "grid", lambda t: self.mixed(f"{n}.grid", t)),
            self.on_tokens(block, level, "block", lambda t: self.mixed(f"{n}.block", t)),
        ]
        return self.dense(f"{n}.out", torch.cat(both, -1))

    def cross(self, n: str, x: Tensor, y: Tensor, level: int) -> tuple[Tensor, Tensor]:
        x, y = self.dense(f"{n}.reduce_x", x), self.dense(f"{n}.reduce_y", y)
        xa = self.gelu(self.dense(f"{n}.inp_x", self.norm(f"{n}.norm_x", x)))
        ya = self.gelu(self.dense(f"{n}.inp_y", self.norm(f"{n}.norm_y", y)))
        gx = self.weights_of_gate(f"{n}.gate_x", xa, level)
        gy = self.weights_of_gate(f"{n}.gate_y", ya, level)
        y = self.dense(f"{n}.out_y", ya * gx) + y
        return self.dense(f"{n}.out_x", xa * gy) + y + x, y

    def on_tokens(self, x: Tensor, level: int, axis: str, mix: object) -> Tensor:
        tile, (_, h, w, _) = self.tiles[level], x.shape
        if axis == "grid":
            cut, sides = "b (i p) (j q) c -> b (p q) (i j) c", {"i": tile, "j": tile}
            sides |= {"p": h // tile, "q": w // tile}
        else:
            cut, sides = "b (p i) (q j) c -> b (p q) (i j) c", {"i": tile, "j": tile}
            sides |= {"p": h // tile, "q": w // tile}
        back = " -> ".join(reversed(cut.split(" -> ")))
        return rearrange(mix(rearrange(x, cut, **sides)), back, **sides)

    def halves(self, n: str, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.gelu(self.dense(f"{n}.inp", self.norm(f"{n}.norm", x))).chunk(2, -1)

    def mixed(self, n: str, t: Tensor) -> Tensor:
        bias = self.state[f"{n}.bias"][:, None]
        return torch.einsum("kj,bpjc->bpkc", self.state[f"{n}.weight"], t) + bias

    def gelu(self, x: Tensor) -> Tensor:
        return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))

    def norm(self, n: str, x: Tensor) -> Tensor:
        mean, var = x.mean(-1, keepdim=True), x.var(-1, correction=0, keepdim=True)
        x = (x - mean) / torch.sqrt(var + 1e-6)
        return x * self.state[f"{n}.weight"] + self.state[f"{n}.bias"]

    def dense(self, n: str, x: Tensor) -> Tensor:
        return x @ self.state[f"{n}.weight"].T + self.state[f"{n}.bias"]

    def conv(self, n: str, x: Tensor, **how: int) -> Tensor:
        x = rearrange(x, "b h w c -> b c h w")
        y = F.conv2d(x, self.state[f"{n}.weight"], self.state[f"{n}.bias"], **how)
        return rearrange(y, "b c h w -> b h w c")

    def up(self, n: str, x: Tensor) -> Tensor:
        y = torch.einsum("bhwc,cdij->bhiwjd", x, self.state[f"{n}.weight"])
        return rearrange(y, "b h i w j d -> b (h i) (w j) d") + self.state[f"{n}.bias"]

    def resize(self, n: str, x: Tensor, power: int) -> Tensor:
        if power:
            x = F.interpolate(
                rearrange(x, "b h w c -> b c h w"),
                scale_factor=2.0**power,
                mode="bilinear",
                antialias=True,
            )
            x = rearrange(x, "b c h w -> b h w c")
        return self.dense(f"{n}.conv", x)
