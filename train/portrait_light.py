"""The relief of a drawn head and the light that falls on it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from train.portrait_parts import HEAD_DEPTH, Frame, crease_lines, noise
from train.portrait_traits import Person, Shot, floats


def _bumps(person: Person, shot: Shot) -> np.ndarray:
    """The relief of a face (N, 7): u, v, width, height, lift (half-widths), occlusion, redness."""
    tip, wide, tall = person.nose_length, person.nose_width, person.nose_height
    gap, line, mouth = person.eye_gap, person.eye_line, person.mouth_line
    smile, age = shot.smile, person.age
    middle = [
        [0, line + 0.02, 0.10, 0.12, 0.5 * tall, 0, 0],
        [0, line + 0.16, 0.09, 0.12, 0.75 * tall, 0, 0.1],
        [0, tip - 0.06, 0.10, 0.10, 0.85 * tall, 0, 0.3],
        [0, tip, 0.6 * wide, 0.06, 0.75 * tall, 0, 0.5],
        [0, tip + 0.09, 0.9 * wide, 0.03, -0.05, 0.3, 0],
        [0, mouth - 0.09, 0.05, 0.05, -0.02, 0, 0],
        [0, mouth - 0.04, 0.6 * person.mouth_width, 0.04, 0.05, 0, 0],
        [0, mouth + 0.06, 0.55 * person.mouth_width, 0.04, 0.07, 0, 0.1],
        [0, mouth + 0.14, 0.5 * person.mouth_width, 0.035, -0.05, 0.18, 0],
        [0, 0.84, 0.2, 0.12, person.chin, 0, 0.1],
        [0, -0.45, 0.12, 0.08, 0.02, 0, 0],
        [0, 1.12, 0.6, 0.1, -0.3, 0.5, 0],
    ]
    half = [
        [gap - 0.02, line - 0.02, 0.21, 0.1, -0.19, 0.26, 0],
        [gap, line, 0.15, 0.07, 0.10, 0, 0],
        [gap - 0.22, line + 0.02, 0.07, 0.09, -0.06, 0.22, 0],
        [gap, line - 0.19, 0.26, 0.07, 0.08, 0, 0],
        [gap, line + 0.14, 0.15, 0.04, 0.02 + 0.04 * age, 0.04, 0.05],
        [wide * 0.85, tip + 0.01, 0.07, 0.05, 0.16, 0, 0.4],
        [wide * 1.15, tip, 0.05, 0.08, -0.03, 0.15, 0.1],
        [0.6, 0.06, 0.22, 0.16, 1.3 * person.cheek + 0.06 * smile, 0, 0.5],
        [0.5, 0.2, 0.16, 0.12, 0.12 * smile, 0, 0.4],
        [0.68, 0.42, 0.16, 0.18, -0.06 + 0.02 * smile, 0.05, 0],
        [person.mouth_width + 0.06, mouth, 0.06, 0.06, -0.05, 0.14, 0],
        [0.86, -0.4, 0.12, 0.16, -0.05, 0.06, 0],
        [0.4, -0.62, 0.22, 0.14, 0.03, 0, 0],
        [0.98, -0.06, 0.09, 0.2, 0.1, 0.15, 0.5],
    ]
    right = np.array(half)
    return np.concatenate([np.array(middle), right, right * [-1, 1, 1, 1, 1, 1, 1]])


class HeadLight:
    """The relief of one head and how the shot's lights fall on it."""

    def __init__(self, person: Person, shot: Shot, frame: Frame, rng: Generator, size: int) -> None:
        self.person, self.shot, self.frame, self.size = person, shot, frame, size
        relief, occlusion, red = self._relief()
        self.redness = red
        crease = crease_lines(person, shot, frame, size)
        pores = noise("pores", rng, size)
        self.detail = pores
        depth = relief + pores * np.float32(0.07 * person.pores) - crease * np.float32(0.9)
        gx = cv2.Sobel(depth, cv2.CV_32F, 1, 0, scale=1 / 8)
        gy = cv2.Sobel(depth, cv2.CV_32F, 0, 1, scale=1 / 8)
        self.occlusion = (1 - occlusion) * (1 - np.float32(0.3) * crease)
        inverse = 1 / np.sqrt(gx * gx + gy * gy + 1)
        key = shot.key_direction
        facing = (key[2] - key[0] * gx - key[1] * gy) * inverse
        lit = np.maximum(facing * np.float32(0.88) + np.float32(0.12), 0)
        self.facing = lit
        half = key + floats([0, 0, 1])
        half /= np.linalg.norm(half)
        gleam = np.maximum((half[2] - half[0] * gx - half[1] * gy) * inverse, 0)
        gleam *= gleam
        gleam *= gleam
        gleam *= gleam
        self.gleam = gleam * gleam * self.occlusion * np.float32(0.3 * person.shine)
        self.edge = np.clip((gx * -np.sign(key[0]) * inverse - 0.55) * 2, 0, 1)
        self.on_body = self._body_light()

    def _relief(self) -> list[np.ndarray]:
        """Depth in pixels, occlusion and redness, each (size, size), turned by the roll."""
        frame, size = self.frame, self.size
        x = np.arange(size, dtype=np.float32) - np.float32(frame.centre[0])
        y = np.arange(size, dtype=np.float32) - np.float32(frame.centre[1])
        bumps = _bumps(self.person, self.shot)
        at = frame.upright(bumps[:, :2], 0.5 * bumps[:, 4])
        across = _gaussians(x, at[:, 0], bumps[:, 2] * frame.half_width)
        down = _gaussians(y, at[:, 1], bumps[:, 3] * frame.half_height)
        fields = [(down * bumps[:, k].astype(np.float32)) @ across.T for k in (4, 5, 6)]
        u, v = (np.abs(x / np.float32(frame.half_width)), y / np.float32(frame.half_height))
        drop = np.where(v < -0.1, (v + 0.1) / (self.person.crown - 0.1), (v + 0.1) / 1.15)
        ball = 1 - (u**2.4)[None, :] - (np.abs(drop) ** 2.4)[:, None].astype(np.float32)
        head = np.sqrt(np.maximum(ball, 0.01))
        neck = np.sqrt(np.maximum(1 - (u / 0.68) ** 2, 0.01))[None, :] * np.float32(0.6) - 0.35
        fields[0] = np.maximum(head, neck) + fields[0]
        fields[0] *= np.float32(HEAD_DEPTH * frame.half_width)
        turn = frame.turn
        shift = frame.centre - turn @ frame.centre
        matrix = np.concatenate([turn, shift[:, None]], 1)
        border = cv2.BORDER_REPLICATE
        return [cv2.warpAffine(f, matrix, (size, size), borderMode=border) for f in fields]

    def _body_light(self) -> np.ndarray:
        """Light on clothes (3, 1, size): brighter on the side of the key."""
        lean = np.linspace(-1, 1, self.size, dtype=np.float32)[None, :] * self.shot.key_direction[0]
        amount = np.clip(np.float32(0.55) + np.float32(0.5) * lean, 0.15, 1.2)
        return self.shot.fill[:, None, None] + self.shot.key[:, None, None] * amount[None]

    def on_skin(self, shadow: np.ndarray) -> np.ndarray:
        """Diffuse light (3, size, size); `shadow` (size, size) takes away from the key."""
        shot = self.shot
        direct = self.facing * shadow
        ambient = self.occlusion
        bleed = floats([1.06, 0.98, 0.94])  # light scattered in skin comes out redder
        light = np.empty((3, self.size, self.size), np.float32)
        for k in range(3):
            light[k] = direct * np.float32(shot.key[k]) + ambient * np.float32(
                shot.fill[k] * bleed[k]
            )
        light *= np.float32(0.45) + np.float32(0.55) * ambient
        if shot.rim.any():
            light += self.edge * shot.rim[:, None, None]
        return light


def _gaussians(grid: np.ndarray, centres: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Bell curves (len(grid), N)."""
    scaled = (grid[:, None] - centres[None].astype(np.float32)) / widths[None].astype(np.float32)
    return np.exp(np.float32(-0.5) * scaled * scaled)
