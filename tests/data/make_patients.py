"""Makes patients.csv: 2,000 invented people, eight measures in three groups, 30 % of the groups missing.

Two hidden numbers, normal, drive everything; each measure is a mixture of them and of noise of its own.

    python tests/data/make_patients.py > tests/data/patients.csv
"""

from __future__ import annotations

import numpy as np

PEOPLE = 2000
MISSING = 0.3
# header, group, mean, standard deviation, weights of the two hidden numbers, share of noise
MEASURES = [
    ("height [cm]", 0, 172, 9, (1.0, 0.2), 0.3),
    ("weight [kg]", 0, 75, 12, (0.8, 0.6), 0.4),
    ("waist [cm]", 0, 90, 11, (0.3, 1.0), 0.3),
    ("glucose_mmol_l", 1, 5.4, 0.8, (0.0, 1.0), 0.4),
    ("sodium_mmol_l", 1, 140, 3, (0.5, -1.0), 0.5),
    ("cholesterol_mmol_l", 1, 5, 1, (-0.3, 0.8), 0.4),
    ("pulse_bpm", 2, 70, 9, (-1.0, 0.5), 0.4),
    ("pressure_mmhg", 2, 128, 14, (0.4, 0.9), 0.35),
]


def main() -> None:
    rng = np.random.default_rng(5)
    hidden = rng.standard_normal((PEOPLE, 2))
    present = rng.random((PEOPLE, 3)) >= MISSING
    columns = []
    for _, group, mean, deviation, weights, noise in MEASURES:
        signal = hidden @ (np.array(weights) / np.linalg.norm(weights))
        x = np.sqrt(1 - noise**2) * signal + noise * rng.standard_normal(PEOPLE)
        cells = [f"{value:.4g}" for value in mean + deviation * x]
        columns.append(np.where(present[:, group], cells, ""))
    print(",".join(["patient", *(measure[0] for measure in MEASURES)]))
    for number, row in enumerate(zip(*columns, strict=True)):
        print(",".join([f"p{number:04d}", *row]))


if __name__ == "__main__":
    main()
