"""Images, sounds and pen strokes of digits: `image`, `sound`, `strokes`, paired by `label`.

An image is from MNIST, a sound from the Free Spoken Digit Dataset, strokes of a pen from pendigits. The
three come from different people and share only the digit, so rows are paired anew in every epoch.
Test cases are paired once, from the official test rows of all three.

References:
    | Gradient-based learning applied to document recognition (LeCun, Bottou, Bengio & Haffner, 1998)
    | Free Spoken Digit Dataset (Jackson et al.), https://github.com/Jakobovski/free-spoken-digit-dataset
    | Methods of combining multiple classifiers based on different representations for pen-based
      handwritten digit recognition (Alimoglu & Alpaydin, 1996)
"""

from __future__ import annotations

from pathlib import Path

from models_store.kinds.fields import Spectrogram
from models_store.manifest import Modality
from training.data import archive, mnist
from training.data.pools import Pools
from training.data.rows import Rows, Splits

FIRST_TRAINING_TAKE = 5
"""Takes 0 to 4 of every speaker and digit are the official test set of the spoken digits."""
TEST_PAIRING = 0

SOUND = Modality(
    name="sound",
    kind="audio",
    shape=(32, 32),
    dtype="uint8",
    likelihood="bernoulli",
    range=(0, 255),
    spectrogram=Spectrogram(
        rate=8000,
        samples=8192,
        window=512,
        hop=256,
        frames=32,
        bands=32,
        f_min=50,
        f_max=4000,
        floor_db=-80,
    ),
)
STROKES = Modality(
    name="strokes",
    kind="points",
    shape=(8, 2),
    dtype="uint8",
    likelihood="normal",
    range=(0, 100),
)
MODALITIES = (mnist.IMAGE, SOUND, STROKES, mnist.LABEL)


def load(images: Path | None, sounds: Path, strokes: Path) -> Splits:
    """Loads training rows, to be paired anew in every epoch, and test rows, paired once.

    Arguments:
        images: The folder of MNIST; None to download it once.
        sounds: The folder of ``fsdd_logmel32.npz``.
        strokes: The folder of ``pendigits.npz``.

    Raises:
        DataError: A file is missing or damaged.
    """
    pictures = mnist.load(images)
    train_sounds, test_sounds = _sounds(sounds / "fsdd_logmel32.npz")
    train_strokes, test_strokes = _strokes(strokes / "pendigits.npz")
    train = _pools(pictures.train.in_epoch(0, 0), train_sounds, train_strokes)
    test = _pools(pictures.test, test_sounds, test_strokes)
    return Splits(MODALITIES, train, test.in_epoch(TEST_PAIRING, 0))


def _pools(image: Rows, sound: Rows, strokes: Rows) -> Pools:
    names = tuple(modality.name for modality in MODALITIES)
    return Pools("label", "image", {"image": image, "sound": sound, "strokes": strokes}, names)


def _sounds(path: Path) -> tuple[Rows, Rows]:
    arrays = archive.read(path, ["logmel", "labels", "index"])
    archive.check(path, arrays, {"logmel": SOUND.shape, "labels": (), "index": ()})
    rows = Rows({"sound": arrays["logmel"], "label": arrays["labels"]})
    training = arrays["index"] >= FIRST_TRAINING_TAKE
    return rows.take(training), rows.take(~training)


def _strokes(path: Path) -> tuple[Rows, Rows]:
    splits = []
    for split in ("train", "test"):
        arrays = archive.read(path, [split, f"{split}_labels"])
        archive.check(path, arrays, {split: STROKES.shape, f"{split}_labels": ()})
        splits.append(Rows({"strokes": arrays[split], "label": arrays[f"{split}_labels"]}))
    return splits[0], splits[1]
