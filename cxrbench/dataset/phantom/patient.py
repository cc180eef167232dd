"""Who stands before the detector and how: the build a patient keeps, and the posture of one visit."""

from dataclasses import dataclass

import numpy as np

from cxrbench.dataset.phantom import vessels
from cxrbench.dataset.phantom.frame import Pose
from cxrbench.dataset.phantom.visit import Visit

RIGHT, LEFT = -1, 1  # the patient's; the right lung is on the image's left


@dataclass(frozen=True, slots=True)
class Build:
    """What stays the same between a patient's visits. The plain numbers are deviations, mostly within -1 to 1."""

    fat: float
    barrel: float  # width of the chest's upper part
    slender: float  # height of the chest against its width
    heart: float
    knob: float  # of the aorta, larger with age
    rib_slope: float
    rib_phase: float
    rib_strength: float
    breasts: float  # 0 for none
    child: float  # 0 to 1
    vessels: int

    @classmethod
    def of(cls, visit: Visit, seed: int) -> "Build":
        rng = np.random.default_rng([seed, visit.patient])
        jitter = np.clip(rng.standard_normal(8) / 1.6, -1, 1).tolist()
        fat, slender, heart, rib_slope, rib_phase, rib_strength, breasts, barrel = jitter
        child = float(np.clip((14 - visit.age) / 12, 0, 1))
        grown_woman = visit.sex == "F" and visit.age >= 14
        return cls(
            fat=float(fat),
            barrel=float(barrel),
            slender=float(slender) - 0.8 * child,
            heart=float(heart),
            knob=float(np.clip((visit.age - 45) / 40, -1, 1)),
            rib_slope=float(rib_slope),
            rib_phase=float(rib_phase),
            rib_strength=float(1 + 0.25 * rib_strength - 0.2 * np.clip((visit.age - 60) / 30, 0, 1)),
            breasts=float(1 + 0.5 * breasts + 0.3 * fat) if grown_woman else 0.0,
            child=child,
            vessels=int(rng.integers(vessels.NUM_TREES)),
        )


@dataclass(frozen=True, slots=True)
class Posture:
    """What changes from visit to visit."""

    pose: Pose
    portable: bool  # taken AP, mostly in bed
    breath: float  # depth of inspiration
    barrel: float  # the build's
    turn: float  # about the body's long axis, moves the midline
    arm_out: dict[int, float]  # how far the arms are held from the body
    chin: float  # how far the head hangs into the image
    dome_v: dict[int, float]  # top of the diaphragm, per side
    angle_v: dict[int, float]  # the costophrenic angle

    @classmethod
    def of(cls, visit: Visit, build: Build, rng: np.random.Generator) -> "Posture":
        jitter = np.clip(rng.standard_normal(12) / 1.8, -1, 1).tolist()
        portable = visit.view == "AP"
        scale = (0.292 if portable else 0.333) + 0.020 * jitter[0] - 0.010 * build.fat - 0.05 * build.child
        tall = 0.965 + 0.07 * build.slender + 0.02 * jitter[1]
        breath = (-0.10 if portable else 0.02) + 0.07 * jitter[2]
        top = (0.15 if portable else 0.085) + 0.045 * jitter[3]
        pose = Pose(
            centre_x=0.5 + (0.030 if portable else 0.014) * jitter[4],
            centre_y=top + 1.3 * scale * tall,
            scale_x=scale,
            scale_y=scale * tall,
            tilt=(0.045 if portable else 0.02) * jitter[5],
        )
        dome = 0.74 + breath
        arm = (0.16 if portable else 0.38) + 0.25 * jitter[9]
        return cls(
            pose=pose,
            portable=portable,
            breath=breath,
            barrel=build.barrel,
            turn=(0.05 if portable else 0.025) * jitter[6],
            arm_out={RIGHT: arm + 0.12 * jitter[10], LEFT: arm - 0.12 * jitter[10]},
            chin=0.55 * max(0.0, jitter[11]) if portable else 0.0,
            dome_v={RIGHT: dome + 0.02 * jitter[7], LEFT: dome + 0.06 + 0.02 * jitter[7]},
            angle_v={RIGHT: dome + 0.40 + 0.03 * jitter[8], LEFT: dome + 0.42 + 0.03 * jitter[8]},
        )
