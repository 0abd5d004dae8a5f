"""Times beam search of many words at once against a search word by word."""

from __future__ import annotations

import torch

from dld.benchmark.published_step import search_word_by_word
from dld.benchmark.same_results import check_beams
from dld.benchmark.setting import QUICK_OPTIONS, Setting, spotter_of, train_batches
from dld.benchmark.timing import alternate
from dld.modeling.meta_arch.text_spotter import TextSpottingRCNN
from dld.modeling.recognition.beam_search import beam_search

__all__ = ["context_of_words", "measure_beams"]


def measure_beams(setting: Setting) -> dict:
    """Measure the part "beams": the top-3 of 64 annotated words of generated images; a: word by word, b: all at once.

    Raises:
        DifferentResultsError: the two do not find the same beams.
    """
    cfg, model = spotter_of(setting, setting.weights)
    spotter = model.student
    cfg.INPUT.TEXT_CROP.ENABLED = False
    cfg.merge_from_list(setting.either([], QUICK_OPTIONS))
    context = context_of_words(spotter, cfg, setting.either(64, 6))
    decoder, length = spotter.decoder, spotter.max_length
    setting.say(f"beams: {len(context)} words, top 3")
    found = {}

    def plain(_: int) -> None:
        found["plain"] = search_word_by_word(decoder, context, 3, 3, length)

    def ours(_: int) -> None:
        found["ours"] = beam_search(decoder, context, num_sequences=3, beam_width=3, max_length=length)

    plain(0)
    ours(0)
    difference = check_beams(found["ours"], found["plain"])
    times = alternate(plain, ours, setting.either(20, 2), device=setting.device, seconds=setting.seconds)
    steps = found["ours"].lengths.float()
    entry = times.entry(
        f"{len(context)} words, K = B = 3, {steps.mean():.1f} steps a beam, the longest {int(steps.max())}",
        setting.threads,
        largest_difference_of_log_probabilities=difference,
    )
    return {"ratios": {"beam_search": entry}}


@torch.no_grad()
def context_of_words(spotter: TextSpottingRCNN, cfg, count: int) -> torch.Tensor:
    """Compute context features (count, L, C) of the first annotated words of a configuration's training images.

    Raises:
        ValueError: 50 batches hold fewer words.
    """
    contexts: list[torch.Tensor] = []
    for batch in train_batches(cfg, 50):
        images = spotter.preprocess_image(batch)
        words = [x["instances"].to(spotter.device) for x in batch]
        contexts.append(spotter.recognize(images, words)[0].context)
        if sum(map(len, contexts)) >= count:
            return torch.cat(contexts)[:count]
    raise ValueError(f"50 training batches hold fewer than {count} words")
