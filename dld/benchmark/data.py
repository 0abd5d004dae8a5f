"""Measures images a second of the generator, the mapper and the loader, and whether training ever waits for them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable

import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from torch.utils.data import DataLoader, Dataset

from dld.benchmark.setting import QUICK_OPTIONS, Setting, configuration_file
from dld.benchmark.timing import Comparison, synchronize
from dld.data.build import as_list, build_train_loader, get_text_dataset, start_worker
from dld.data.dataset_mapper import TextDatasetMapper
from dld.engine.setup import load_config, register_datasets

__all__ = ["data_share", "measure_data", "pictures_a_second"]


class Mapped(Dataset):
    """Images in memory, mapped anew at each access."""

    def __init__(self, records: list[dict], mapper: TextDatasetMapper, length: int) -> None:
        self.records, self.mapper, self.length = records, mapper, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        if index >= self.length:
            raise IndexError(index)
        return self.mapper(self.records[index % len(self.records)])


def measure_data(setting: Setting) -> dict:
    """Measure the part "data": `configs/teacher_tiny.yaml`, with 1 and 2 workers."""
    options = ["MODEL.DEVICE", setting.device, "MODEL.WEIGHTS", "", *setting.opts, *setting.either([], QUICK_OPTIONS)]
    cfg = load_config(configuration_file("teacher_tiny.yaml"), options)
    register_datasets(cfg)
    mapper, images = TextDatasetMapper(cfg, True), get_text_dataset("synthwords_train")
    in_memory = [images[i] for i in range(setting.either(32, 4))]
    size = "x".join(str(n) for n in cfg.DATASETS.SYNTHWORDS.SIZE)
    count = setting.either(200, 8)

    def workers_over(dataset: Dataset, start: int) -> Callable[[int], Iterable]:
        # prefetching hides at most 2 batches a worker: the start is not counted, and the count is well above it
        positions = range(start, start + 10 * count)
        return lambda workers: DataLoader(
            dataset, sampler=positions, batch_size=4, num_workers=workers, collate_fn=as_list, worker_init_fn=start_worker
        )

    def whole(workers: int) -> Iterable:
        again = cfg.clone()
        again.DATALOADER.NUM_WORKERS = workers
        return build_train_loader(again)

    kinds = {
        "generator": workers_over(images, 1000),
        "mapper": workers_over(Mapped(in_memory, mapper, 20 * count), 0),
        "loader": whole,
    }
    report: dict = {"ratios": {}, "images_per_second": {}}
    for name, loader in kinds.items():
        setting.say(f"data: {name} with 1 and 2 workers")
        # alternately, as everything: 1, 2, 2, 1
        rates: dict[int, list[float]] = {1: [], 2: []}
        for workers in setting.either((1, 2, 2, 1), (1, 2)):
            rates[workers].append(pictures_a_second(loader(workers), count))
        times = Comparison(*([1 / rate for rate in rates[workers]] for workers in (1, 2)))
        medians = {1: times.entry("", 0)["a_median"], 2: times.entry("", 0)["b_median"]}
        report["images_per_second"][name] = {workers: 1 / seconds for workers, seconds in medians.items()}
        what = f"{count} pictures of {size}, seconds a picture, 1 / 2 workers"
        report["ratios"][f"data_{name}_workers"] = times.entry(what, setting.threads)
    for workers in (1, 2):
        setting.say(f"data: does training wait for {workers} worker{'s' * (workers > 1)}?")
        cfg.DATALOADER.NUM_WORKERS = workers
        report.setdefault("data_share_of_a_step", {})[workers] = data_share(cfg, setting.either(12, 2))
    return report


def pictures_a_second(loader: Iterable, count: int) -> float:
    """Measure the rate over about `count` images, after a start of a quarter of them."""
    batches, seen, start = iter(loader), 0, time.perf_counter()
    for batch in batches:
        seen += len(batch)
        if seen >= max(count // 4, 1):
            break
    seen, start = 0, time.perf_counter()
    for batch in batches:
        seen += len(batch)
        if seen >= count:
            break
    return seen / (time.perf_counter() - start)


def data_share(cfg, steps: int) -> dict[str, float]:
    """Measure the share of a plain spotter's training step that is spent waiting for data, and the seconds of a step.

    The first steps are not counted: the workers have just started.
    """
    torch.manual_seed(0)
    model = build_model(cfg).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    waited, worked, warm = 0.0, 0.0, max(steps // 4, 1)
    batches = iter(build_train_loader(cfg))
    with EventStorage(0):
        for i in itertools.count():
            start = time.perf_counter()
            batch = next(batches)
            got = time.perf_counter()
            optimizer.zero_grad()
            sum(model(batch).values()).backward()
            optimizer.step()
            synchronize(model.device)
            if i >= warm:
                waited += got - start
                worked += time.perf_counter() - got
            if i == warm + steps - 1:
                break
    return {"share": waited / (waited + worked), "seconds": (waited + worked) / steps}
