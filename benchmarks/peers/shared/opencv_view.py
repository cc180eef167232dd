"""For those who leave decoding to the user: OpenCV's, and the same view of the image."""

import cv2
import numpy as np

RESIZE_PX, CROP_PX = 256, 224

cv2.setNumThreads(0)  # the loaders' workers fill the cores


def decode(png: bytes) -> np.ndarray:
    return view(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE))


def view(gray: np.ndarray) -> np.ndarray:
    scale = RESIZE_PX / min(gray.shape)
    gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    top, left = ((side - CROP_PX) // 2 for side in gray.shape)
    return gray[top : top + CROP_PX, left : left + CROP_PX]
