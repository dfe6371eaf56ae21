"""Images that stay on disk, for data sets larger than memory."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np


class StoredImages:
    """`[n, h, w, c]` images, read when rows are asked for: float32 in [0, 1].

    Args:
        read: number of an image -> `[h, w, c]` uint8; called from several threads.
        numbers: `[n]` integers, the image of each row.
        shape: (h, w, c).
    """

    def __init__(self, read: Callable[[int], np.ndarray], numbers: np.ndarray, shape: tuple[int, ...]):
        self.read, self.numbers = read, numbers
        self.shape = (len(numbers), *shape)

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: np.ndarray | slice) -> "StoredImages":
        """Some of the images; reads none."""
        return StoredImages(self.read, self.numbers[rows], self.shape[1:])

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        with ThreadPoolExecutor() as pool:
            images = list(pool.map(self.read, self.numbers[rows]))
        pixels = np.stack(images) if images else np.empty((0, *self.shape[1:]), np.uint8)
        return pixels.astype(np.float32) / 255
