"""Places in the queue: a picture has one from the head of its request until it is read."""

from __future__ import annotations

import threading

__all__ = ["Place", "Places"]


class Places:
    """Counts places that are taken; for all threads.

    Args:
        count: how many there are.
    """

    def __init__(self, count: int) -> None:
        self.count, self.taken = count, 0
        self._lock = threading.Lock()

    def take(self, count: int = 1) -> list[Place] | None:
        """Take so many places, or none at all."""
        with self._lock:
            if self.taken + count > self.count:
                return None
            self.taken += count
        return [Place(self) for _ in range(count)]

    def give_back(self) -> None:
        """Take one place back."""
        with self._lock:
            self.taken -= 1


class Place:
    """One place; :meth:`leave` may be called again."""

    def __init__(self, places: Places) -> None:
        self._places: list[Places] = [places]

    def leave(self) -> None:
        """Let somebody else have it."""
        try:
            places = self._places.pop()  # one step: two threads may leave at once
        except IndexError:
            return
        places.give_back()
