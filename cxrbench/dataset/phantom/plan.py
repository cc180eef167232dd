"""Who is in a phantom data set and what is wrong with them: NIH's distributions, drawn from a seed; no pixels.

Frequencies are dealt, not tossed: n images get each kind as often as NIH's share of n, in seeded order. So a small set
resembles NIH too, and one of NIH's size has NIH's numbers of patients, follow-ups, views and findings almost exactly.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cxrbench.dataset.phantom import facts, truth
from cxrbench.dataset.phantom.visit import Visit
from cxrbench.dataset.splits import official_test_patients
from cxrbench.errors import UsageError
from cxrbench.labels import NIH14

MIN_TEST_IMAGES = 12  # fewer would be more findings than images
MIN_IMAGES = 51  # the first number whose share of test images reaches it
MAX_AGE = 95
DETECTOR = ("width", "height", "spacing_mm")
KEEP_FINDINGS = 0.3  # chance that a follow-up shows the same again; NIH's findings recur with 0.1 to 0.5 beyond chance
KEEP_VIEW = 0.5  # which leaves three of four follow-ups with the previous one's view, as in NIH
MEAN_SPAN_YEARS = 2.5  # from the first to the last image of a long series
MAX_SIGNS = 4  # of an image that gets a rare finding added
# Apart from each other, so that the noise changes labels and nothing else; and apart from the pictures, whose second
# number is a patient: nobody has the number 0.
STREAMS = {"people": (0, 0), "signs": (0, 1), "labels": (0, 2), "defects": (0, 3)}


@dataclass(frozen=True)
class Plan:
    visits: tuple[Visit, ...]  # sorted by name
    seed: int
    noise: float
    invented: np.ndarray  # P(label | no sign) per finding

    @cached_property
    def is_test(self) -> np.ndarray:
        return np.isin([visit.patient for visit in self.visits], sorted(official_test_patients()))

    @cached_property
    def num_patients(self) -> int:
        return len({visit.patient for visit in self.visits})

    @cached_property
    def signs(self) -> np.ndarray:
        return truth.as_matrix(visit.signs for visit in self.visits)

    @cached_property
    def labels(self) -> np.ndarray:
        return truth.as_matrix(visit.labels for visit in self.visits)


@dataclass(frozen=True)
class People:
    """The images of one official part before anyone is ill: an entry an image, patient after patient."""

    patient: np.ndarray
    follow_up: np.ndarray
    age: np.ndarray
    male: np.ndarray
    is_pa: np.ndarray  # the others are AP
    detector: np.ndarray  # row of facts.counts("detectors")


def make_plan(num_images: int, seed: int, noise: float) -> Plan:
    """All of a data set but its pixels; the same for the same arguments."""
    if num_images < MIN_IMAGES:
        allowed = f"at least {MIN_IMAGES}"
        raise UsageError("too few images for every finding in both official parts", got=num_images, allowed=allowed)
    if not 0 <= noise < 0.5:
        raise UsageError("label noise out of range", got=noise, allowed="0 <= noise < 0.5")
    if seed < 0:
        raise UsageError("negative seed", got=seed, allowed="0 or more")
    people, signs = [], []
    for part, size in part_sizes(num_images).items():
        people.append(draw_people(part, size, stream(seed, "people", part)))
        signs.append(draw_signs(part, people[-1], stream(seed, "signs", part)))
    all_signs = np.concatenate(signs)
    is_test = np.repeat([part == "test" for part in facts.PARTS], [len(matrix) for matrix in signs])
    labels = truth.noisy_labels(all_signs, is_test, noise, (seed, *STREAMS["labels"]))
    visits = as_visits(join(people), all_signs, labels)
    return Plan(visits, seed, noise, truth.invention_rates(all_signs, noise))


def stream(seed: int, what: str, part: str = "train_val") -> np.random.Generator:
    return np.random.default_rng([seed, *STREAMS[what], facts.PARTS.index(part)])


def part_sizes(num_images: int) -> dict[str, int]:
    """NIH's share of test images, and never more of them than its test patients have."""
    test = min(round(num_images * facts.NUM_TEST_IMAGES / facts.NUM_IMAGES), facts.NUM_TEST_IMAGES)
    return {"train_val": num_images - test, "test": test}


def quantiles(weights: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Which entry of a table of counts lies at each position (0 to 1) of its sum."""
    cumulative = np.cumsum(weights)
    entries = np.searchsorted(cumulative, positions * cumulative[-1], side="right")
    return np.asarray(np.minimum(entries, len(weights) - 1))


def deal(weights: np.ndarray, num: int, rng: np.random.Generator) -> np.ndarray:
    """`num` entries of a table of counts, each as often as its share says, up to one; in seeded order."""
    return np.asarray(rng.permutation(quantiles(weights, (np.arange(num) + rng.random()) / num)))


def series_lengths(part: str, num_images: int) -> np.ndarray:
    """Images per patient, `num_images` in all: the part's distribution at as many even steps as fit."""
    table = facts.counts("images_per_patient")

    def lengths(num_patients: int) -> np.ndarray:
        steps = (np.arange(num_patients) + 0.5) / num_patients
        return np.asarray(table["images"].to_numpy()[quantiles(table[part].to_numpy(), steps)])

    fits, too_many = 0, num_images + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if lengths(middle).sum() <= num_images:
            fits = middle
        else:
            too_many = middle
    chosen = lengths(fits) if fits else np.zeros(0, np.int64)
    rest = num_images - int(chosen.sum())
    return np.append(chosen, rest) if rest else chosen


def patient_numbers(part: str, num_patients: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers of NIH's own patients of this part; beyond the last of them, new numbers are train_val."""
    test = np.array(sorted(official_test_patients()))
    if part == "test":
        return np.asarray(rng.permutation(test)[:num_patients])
    others = np.setdiff1d(np.arange(1, facts.NUM_PATIENTS + 1), test)
    more = facts.NUM_PATIENTS + 1 + np.arange(max(0, num_patients - len(others)))
    return np.append(rng.permutation(others)[:num_patients], more)


def draw_people(part: str, num_images: int, rng: np.random.Generator) -> People:
    lengths = rng.permutation(series_lengths(part, num_images))
    num_patients = len(lengths)
    follow_up = np.concatenate([np.arange(length) for length in lengths])
    views, ages = facts.counts("views"), facts.counts("first_age")
    by_sex = views.groupby("sex")[part].sum()
    male = np.repeat(deal(by_sex[["F", "M"]].to_numpy(), num_patients, rng) == 1, lengths)
    first_age = ages["age"].to_numpy()[deal(ages[part].to_numpy(), num_patients, rng)]
    is_pa = np.zeros(num_images, bool)
    for sex, chosen in (("M", male), ("F", ~male)):
        weights = views[views["sex"] == sex].set_index("view")[part][["AP", "PA"]].to_numpy()
        is_pa[chosen] = held(weights, follow_up[chosen], KEEP_VIEW, rng) == 1
    return People(
        patient=np.repeat(patient_numbers(part, num_patients, rng), lengths),
        follow_up=follow_up,
        age=follow_up_ages(first_age, lengths, follow_up, rng),
        male=male,
        is_pa=is_pa,
        detector=draw_detectors(is_pa, rng),
    )


def follow_up_ages(
    first_age: np.ndarray, lengths: np.ndarray, follow_up: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Ages that never fall within a patient: the longer a series, the shorter its intervals."""
    mean_interval = np.repeat(MEAN_SPAN_YEARS / lengths, lengths)
    years = (rng.geometric(1 / (1 + mean_interval)) - 1) * (follow_up > 0)
    passed = np.cumsum(years)
    start = np.repeat(passed[follow_up == 0], lengths)
    return np.asarray(np.minimum(np.repeat(first_age, lengths) + passed - start, MAX_AGE))


def draw_detectors(is_pa: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    table = facts.counts("detectors")
    detector = np.zeros(len(is_pa), np.int64)
    for view, chosen in (("PA", is_pa), ("AP", ~is_pa)):
        detector[chosen] = deal(table[view].to_numpy(), int(chosen.sum()), rng)
    return detector


def held(weights: np.ndarray, follow_up: np.ndarray, keep: float, rng: np.random.Generator) -> np.ndarray:
    """An entry of a table of counts per image; a patient's next image keeps the last one's with probability `keep`."""
    fresh = (follow_up == 0) | (rng.random(len(follow_up)) >= keep)
    run = np.cumsum(fresh) - 1
    return np.asarray(deal(weights, int(fresh.sum()), rng)[run])


def draw_signs(part: str, people: People, rng: np.random.Generator) -> np.ndarray:
    weights = facts.counts("findings")[part].to_numpy()
    signs: np.ndarray = facts.combinations()[held(weights, people.follow_up, KEEP_FINDINGS, rng)]
    floor = max(2, min(20, len(signs) // 40))
    for k in range(len(NIH14)):
        short = floor - int(signs[:, k].sum())
        if short > 0:
            signs[choose_for_floor(signs, k, people.patient, rng)[:short], k] = True
    return signs


def choose_for_floor(signs: np.ndarray, finding: int, patient: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images to add a rare finding to, best first: not crowded already, and one of each patient before a second."""
    candidates = rng.permutation(np.flatnonzero(~signs[:, finding]))
    again = np.ones(len(candidates), bool)
    again[np.unique(patient[candidates], return_index=True)[1]] = False
    crowded = signs[candidates].sum(axis=1) >= MAX_SIGNS
    return np.asarray(candidates[np.lexsort((again, crowded))])


def join(parts: list[People]) -> People:
    return People(*(np.concatenate([getattr(part, name) for part in parts]) for name in People.__dataclass_fields__))


def as_visits(people: People, signs: np.ndarray, labels: np.ndarray) -> tuple[Visit, ...]:
    rows = zip(
        people.patient.tolist(),
        people.follow_up.tolist(),
        people.age.tolist(),
        np.where(people.male, "M", "F").tolist(),
        np.where(people.is_pa, "PA", "AP").tolist(),
        *(facts.counts("detectors")[name].to_numpy()[people.detector].tolist() for name in DETECTOR),
        names_of(signs),
        names_of(labels),
        strict=True,
    )
    visits = (Visit(f"{row[0]:08d}_{row[1]:03d}.png", *row) for row in rows)
    return tuple(sorted(visits, key=lambda visit: visit.name))


def names_of(matrix: np.ndarray) -> list[tuple[str, ...]]:
    """[images, 14] bool -> the names per image."""
    names: list[list[str]] = [[] for _ in range(len(matrix))]
    for row, column in zip(*(axis.tolist() for axis in np.nonzero(matrix)), strict=True):
        names[row].append(NIH14[column])
    return [tuple(row) for row in names]
