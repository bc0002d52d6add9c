"""VIDEO MODEL.onnx MODEL.json -> the probabilities of the classes, without this library."""

import json
import sys

import av
import cv2
import numpy as np
import onnxruntime


def score(video: str, model: str, description: str) -> np.ndarray:
    with open(description) as file:  # noqa: PTH123
        told = json.load(file)
    pixels, sampling, views = told["pixels"], told["sampling"], told["views"]
    assert sampling["kind"] == "uniform" and pixels["crops"].startswith("center")
    with av.open(video) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    count, per_view = len(frames), sampling["frames"]
    length = count / per_view
    indices = [int(length * i + length / 2) % count for i in range(per_view)]
    if sampling["views_in_time"] == 2:
        indices += [int(length * i) % count for i in range(per_view)]
    height, width = frames[0].shape[:2]
    factor = pixels["short_side"] / min(height, width)
    size = int(width * factor + 0.5), int(height * factor + 0.5)
    top, left = ((side - pixels["crop"]) // 2 for side in size[::-1])
    images = [cv2.resize(frames[i], size, interpolation=cv2.INTER_LINEAR) for i in indices]
    clip = np.stack(images)[:, top : top + pixels["crop"], left : left + pixels["crop"]]
    if not pixels["normalized_inside"]:
        clip = ((clip - np.array(pixels["mean"])) / np.array(pixels["std"])).astype(np.float32)
    batch = clip.reshape(-1, per_view, *clip.shape[1:]).transpose(0, 4, 1, 2, 3)
    (scores,) = onnxruntime.InferenceSession(model).run(None, {"video": np.ascontiguousarray(batch)})
    if views["average"] != "probabilities":
        scores = scores.mean(0, keepdims=True)
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return (powers / powers.sum(1, keepdims=True)).mean(0)


if __name__ == "__main__":
    print(*score(*sys.argv[1:]).tolist())
