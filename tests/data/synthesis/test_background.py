"""Photographs of a folder of the user's, behind generated words."""

import os

import cv2
import numpy as np
import pytest

from dld.data.synthesis.background import load_backgrounds


def test_photos_of_any_name_are_taken_and_companions_of_macos_are_not(tmp_path, caplog):
    grey = np.full((80, 100, 3), 90, np.uint8)
    cv2.imwrite(str(tmp_path / "a.jpg"), grey)
    os.rename(tmp_path / "a.jpg", os.fsencode(tmp_path) + b"/caf\xe9.jpg")
    cv2.imwrite(str(tmp_path / "a.jpg"), grey // 2)
    os.rename(tmp_path / "a.jpg", tmp_path / "b.jfif")
    (tmp_path / "._b.jpg").write_bytes(b"\0\5\x16\7")
    (tmp_path / "empty.jpg").touch()
    photos = load_backgrounds(str(tmp_path)).photos
    assert sorted(round(float(photo.mean())) for photo in photos) == [45, 90]
    assert [record.message for record in caplog.records] == [
        f"background {tmp_path}/empty.jpg is unreadable or smaller than 64 pixels: left out"
    ]
    with pytest.raises(FileNotFoundError, match="no picture"):
        load_backgrounds(str(tmp_path / "none"))
