"""One synthetic image before it is drawn: who it shows, what is wrong with them, and what the table will claim."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Visit:
    name: str  # NIH's naming: patient number, follow-up number, as in 00000013_002.png
    patient: int
    follow_up: int
    age: int
    sex: str  # M or F
    view: str  # PA or AP
    width: int  # of the detector's image that NIH's 1024x1024 PNG was made from
    height: int
    spacing_mm: float
    signs: tuple[str, ...]  # the findings that are drawn
    labels: tuple[str, ...]  # the findings that the table names: the signs, with label noise of known strength
