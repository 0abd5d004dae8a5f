"""Columns of words that were read once, for a decoder that is trained many times on each: the encoder is what costs."""

from __future__ import annotations

import torch

__all__ = ["KeptColumns"]

# words that are kept at most, and those of a step, which are drawn from more so that their lengths are alike
MOST, STEP, NEAR = 50_000, 96, 512


class KeptColumns:
    """A store of words' columns, in half precision, from which steps of training are drawn.

    Once it is full a new word takes the place of a random one. It is no part of a checkpoint: a resumed run fills it anew.

    Args:
        most: words that are kept; one of 60 columns takes 14 kB.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.words: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __len__(self) -> int:
        return len(self.words)

    def add(self, columns: torch.Tensor, ids: torch.Tensor) -> None:
        """Keep a word: columns (L, C) and the ids (T,) of its characters and end."""
        word = (columns.detach().half(), ids)
        if len(self.words) < self.most:
            self.words.append(word)
        else:
            self.words[int(torch.randint(self.most, ()))] = word

    def draw(self, padding: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Draw up to 96 words of similar length, each group of equally many columns; nothing where nothing is kept.

        Args:
            padding: id behind the end of shorter words.

        Returns:
            columns float32 (R, L, C) and ids (R, T) of each group.
        """
        some = [self.words[i] for i in torch.randperm(len(self.words))[:NEAR].tolist()]
        some.sort(key=lambda word: len(word[0]))
        first = int(torch.randint(max(len(some) - STEP, 0) + 1, ()))
        groups: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        for word in some[first : first + STEP]:
            groups.setdefault(len(word[0]), []).append(word)
        return [
            (
                torch.stack([columns for columns, _ in group]).float(),
                torch.nn.utils.rnn.pad_sequence([ids for _, ids in group], batch_first=True, padding_value=padding),
            )
            for group in groups.values()
        ]
