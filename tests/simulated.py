"""Scores of which the true AUROC is known, for tests of what a formula or an interval promises."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np


@dataclass(frozen=True)
class Population:
    """A score is N(shift * label, 1). Part of its noise is its patient's, drawn without regard to labels, so that
    images of a patient are alike but the score of a positive less that of another patient's negative is N(shift, 2).
    """

    patients: int
    images: int  # a patient, on average
    likeness: float  # the correlation of two images of a patient, of the labels and of the scores' noise alike
    prevalence: float = 0.2
    shift: float = 1.0

    @property
    def auroc(self) -> float:
        """Of endlessly many patients: pairs within a patient, which are told apart more easily, no longer count. With
        hundreds of patients they add less than a hundredth of the standard error.
        """
        return NormalDist().cdf(self.shift / math.sqrt(2))


@dataclass(frozen=True)
class Drawn:
    patients: np.ndarray  # [images]
    labels: np.ndarray  # [images, findings]
    scores: np.ndarray  # [runs, images, findings]


def draw(population: Population, generator: np.random.Generator, num_findings: int, num_runs: int = 1) -> Drawn:
    """Findings are independent; runs share half of their noise. As in NIH's data most patients have few images, some
    have many.
    """
    likeness = population.likeness
    num_images = generator.geometric(1 / population.images, population.patients)
    patients = np.repeat(np.arange(population.patients), num_images)
    shape = len(patients), num_findings

    def noise(runs: int) -> np.ndarray:
        of_patients = generator.normal(size=(runs, population.patients, num_findings))[:, patients]
        return math.sqrt(likeness) * of_patients + math.sqrt(1 - likeness) * generator.normal(size=(runs, *shape))

    chance = np.full((population.patients, num_findings), population.prevalence)
    if likeness:
        size = 1 / likeness - 1
        chance = generator.beta(chance * size, (1 - chance) * size)
    labels = (generator.random(shape) < chance[patients]).astype(np.uint8)
    return Drawn(patients, labels, population.shift * labels + (noise(1) + noise(num_runs)) / math.sqrt(2))
