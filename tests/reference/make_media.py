"""Golden files for tests/unit/media: pictures decoded by Pillow, scaling by torchvision, face alignment by NumPy.

Run: python tests/reference/make_media.py        (writes tests/data/media)
"""
import pathlib
import struct
import zlib

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image, ImageOps
from safetensors.torch import save_file
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tvf

OUT = pathlib.Path(__file__).resolve().parents[1] / "data" / "media"
VERSIONS = {"pillow": PIL.__version__, "torch": torch.__version__, "torchvision": torchvision.__version__, "numpy": np.__version__}


def picture(height, width, channels=3):
    """Smooth colours with an asymmetric mark, so that every flip and channel swap shows."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    planes = [x / (width - 1), y / (height - 1), 0.5 + 0.5 * np.sin((x + 2 * y) / 5), 0.2 + 0.8 * x / (width - 1)]
    image = np.stack(planes[:channels], -1)
    image[1:height // 3, 1:width // 4, 0] = 1.0
    image[1:height // 3, 1:width // 4, 1] = 0.1
    return image


def bytes_of(image):
    return np.round(image * 255).astype(np.uint8)


def tensor(image):
    """A Pillow image as the reader should see it: upright, RGB, on white."""
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        values = np.asarray(image).astype(np.float32) / 255
        values = values[..., :3] * values[..., 3:] + (1 - values[..., 3:])
    else:
        values = np.asarray(image.convert("RGB")).astype(np.float32) / 255
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))


def write_png16(path, samples):
    """A 16-bit PNG [H,W,C] (Pillow writes 16 bits for grey only)."""
    height, width, channels = samples.shape
    rows = b"".join(b"\0" + samples[y].astype(">u2").tobytes() for y in range(height))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def make_pictures():
    expected = {}

    def keep(name, **options):
        expected[name] = tensor(Image.open(OUT / name))

    rgb = Image.fromarray(bytes_of(picture(19, 27)))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        name = f"orientation{orientation}.jpg"
        rgb.save(OUT / name, quality=90, subsampling=0, exif=exif)
        keep(name)
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb.save(OUT / "orientation6.webp", lossless=True, exif=exif)
    rgb.save(OUT / "orientation6.png", exif=exif)
    rgb.save(OUT / "lossy.webp", quality=90)
    rgb.save(OUT / "progressive.jpg", quality=90, progressive=True)
    rgb.save(OUT / "rgb.png")
    rgb.convert("L").save(OUT / "grey.png")
    rgb.convert("L").save(OUT / "grey.jpg", quality=90)
    rgb.convert("P", palette=Image.ADAPTIVE, colors=16).save(OUT / "palette.png")
    rgb.convert("1").save(OUT / "bilevel.png")
    Image.fromarray(bytes_of(picture(19, 27, 4)), "RGBA").save(OUT / "alpha.png")
    Image.fromarray(bytes_of(picture(19, 27, 4)), "RGBA").save(OUT / "alpha.webp", lossless=True, exact=True)
    Image.fromarray(bytes_of(picture(19, 27, 4))[..., 2:], "LA").save(OUT / "grey_alpha.png")
    for name in ("orientation6.webp", "orientation6.png", "lossy.webp", "progressive.jpg", "rgb.png", "grey.png", "grey.jpg", "palette.png", "bilevel.png",
                 "alpha.png", "alpha.webp", "grey_alpha.png"):
        keep(name)
    deep = np.round(picture(11, 13) * 65535).astype(np.uint16)
    write_png16(OUT / "deep.png", deep)
    expected["deep.png"] = torch.from_numpy((deep.astype(np.float64) / 65535).astype(np.float32).transpose(2, 0, 1).copy())
    write_png16(OUT / "deep_grey.png", deep[..., :1])
    expected["deep_grey.png"] = expected["deep.png"][:1].expand(3, -1, -1).contiguous()
    save_file(expected, OUT / "pictures.safetensors", metadata=VERSIONS)


def make_scaling():
    tensors = {}
    image = torch.from_numpy(picture(25, 35).astype(np.float32).transpose(2, 0, 1).copy())
    image[:, 6:10, 12:20] = 1.0
    image[:, 14:16] = 0.0  # hard edges, so that bicubic overshoots and the clamp matters
    tensors["image"] = image
    for height, width in ((12, 35), (25, 13), (7, 9), (41, 61), (50, 20)):
        for name, mode in (("bilinear", InterpolationMode.BILINEAR), ("bicubic", InterpolationMode.BICUBIC)):
            tensors[f"{name}_{height}_{width}"] = tvf.resize(image, [height, width], mode, antialias=True)
    for side in (11, 14, 31):
        tensors[f"short_{side}"] = tvf.resize(image, side, InterpolationMode.BICUBIC, antialias=True)
    for height, width in ((25, 35), (14, 14), (10, 34), (24, 8)):
        tensors[f"center_{height}_{width}"] = tvf.center_crop(image, [height, width])
    save_file({k: v.clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}, OUT / "scaling.safetensors", metadata=VERSIONS)


TEMPLATE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])


def umeyama(source, target):
    """Equations 38-43 of Umeyama 1991 with the singular value decomposition, 2x3."""
    mean_source, mean_target = source.mean(0), target.mean(0)
    a, b = source - mean_source, target - mean_target
    u, d, vt = np.linalg.svd(b.T @ a / len(source))
    sign = np.array([1.0, 1.0 if np.linalg.det(u) * np.linalg.det(vt) > 0 else -1.0])
    rotation = u @ np.diag(sign) @ vt
    scale = (d * sign).sum() / a.var(0).sum()
    return np.concatenate([scale * rotation, (mean_target - scale * rotation @ mean_source)[:, None]], 1)


def warp(image, matrix, size):
    """Bilinear sampling of [3,H,W] at the inverse of `matrix`, 0 outside, pixel centres at integers."""
    height, width = image.shape[1:]
    linear = np.linalg.inv(matrix[:, :2])
    y, x = np.mgrid[0:size, 0:size].astype(np.float64)
    points = linear @ (np.stack([x.ravel(), y.ravel()]) - matrix[:, 2:])
    base = np.floor(points).astype(int)
    out = np.zeros((3, size * size))
    for dy in (0, 1):
        for dx in (0, 1):
            px, py = base[0] + dx, base[1] + dy
            weight = (1 - np.abs(points[0] - px)) * (1 - np.abs(points[1] - py))
            inside = (px >= 0) & (px < width) & (py >= 0) & (py < height)
            out[:, inside] += weight[inside] * image[:, py[inside], px[inside]]
    return out.reshape(3, size, size)


def make_alignment():
    tensors = {}
    generator = np.random.default_rng(20)
    image = picture(72, 90).transpose(2, 0, 1)
    tensors["image"] = torch.from_numpy(image.astype(np.float32).copy())
    cases = []
    for scale, degrees, shift, noise in ((0.55, 0, (3, 5), 0), (0.6, 12, (20, -3), 1.0), (0.9, -25, (-10, 30), 2.0), (0.75, 80, (90, 2), 1.5), (1.4, -160, (120, 140), 3.0)):
        turn = np.deg2rad(degrees)
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        cases.append(scale * TEMPLATE @ rotation.T + shift + noise * generator.standard_normal((5, 2)))
    for index, landmarks in enumerate(cases):
        matrix = umeyama(landmarks, TEMPLATE)
        tensors[f"landmarks_{index}"] = torch.from_numpy(landmarks)
        tensors[f"matrix_{index}"] = torch.from_numpy(matrix)
        tensors[f"crop_{index}"] = torch.from_numpy(warp(image, matrix, 112)[:, ::6, ::6].astype(np.float32).copy())
    save_file(tensors, OUT / "alignment.safetensors", metadata=VERSIONS)


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    make_pictures()
    make_scaling()
    make_alignment()
