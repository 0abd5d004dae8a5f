import errno
import os

import pytest

from dld.utils.atomic_write import atomic_write, atomic_write_text


@pytest.mark.parametrize(
    ("failure", "seen"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OSError),
        (RuntimeError("PytorchStreamWriter failed writing file"), OSError),
        (TypeError("cannot pickle"), TypeError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_write_that_breaks_off_leaves_what_was_there(tmp_path, failure, seen):
    path = tmp_path / "model.pth"
    path.write_bytes(b"before")

    def write(f):
        f.write(b"half of it")
        raise failure

    with pytest.raises(seen) as caught:
        atomic_write(str(path), write)
    assert path.read_bytes() == b"before" and os.listdir(tmp_path) == ["model.pth"]
    if seen is OSError:
        assert str(path) in str(caught.value)


def test_a_write_into_a_folder_that_is_gone_names_the_path(tmp_path):
    with pytest.raises(OSError, match="gone/model.pth"):
        atomic_write(str(tmp_path / "gone" / "model.pth"), lambda f: f.write(b"x"))


def test_the_full_disk_behind_an_error_of_torch_is_named(tmp_path):
    def write(f):
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            raise RuntimeError("unexpected pos 64 vs 0")

    with pytest.raises(OSError, match="could not write .*model.pth: .*No space left on device; what was there before"):
        atomic_write(str(tmp_path / "model.pth"), write)


def test_text_is_written_as_utf_8_into_folders_that_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "words.json"
    atomic_write_text(path, "Straße\n")
    assert path.read_bytes() == "Straße\n".encode() and os.listdir(path.parent) == ["words.json"]
