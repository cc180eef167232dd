"""From a configuration to what it names, built: the only place that knows concrete parts."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import timm
import torch
from torch import nn

from cxrbench.batch import Loader
from cxrbench.config import RunConfig
from cxrbench.data import Data
from cxrbench.dataset.cache import cache_folder
from cxrbench.dataset.convert import shrunk_shape
from cxrbench.dataset.opened import open_data
from cxrbench.dataset.splits import PARTS
from cxrbench.engine.checkpoint import Checkpoints
from cxrbench.engine.distributed import World
from cxrbench.engine.features import Shape, cached_features, extract, moments, named, state_sha256
from cxrbench.engine.loop import Part, Task
from cxrbench.engine.precision import Precision, choose_precision
from cxrbench.engine.record import Record
from cxrbench.engine.signals import Watch
from cxrbench.engine.stepper import Learner, on_all_ranks
from cxrbench.errors import ConfigError
from cxrbench.loaders.features import feature_loader
from cxrbench.loaders.feed import FeedLoader
from cxrbench.metrics.auroc import auroc
from cxrbench.models.classifier import Classifier, absorbed
from cxrbench.models.crops import FeaturesOverCrops, HeadOverCrops, OverCrops
from cxrbench.models.input import TEN
from cxrbench.models.losses import build_loss, positive_weights
from cxrbench.models.regimes import apply_regime, parameter_groups, train_mode
from cxrbench.models.registry import build_model
from cxrbench.models.weights import Loaded
from cxrbench.views import TRAIN, check_fits, view_name


@dataclass(frozen=True, eq=False, slots=True)
class Setting:
    """Where a run takes place."""

    data: Data
    images: tuple[Path, ...]  # the source PNGs, for the loader `folder`
    world: World
    watch: Watch
    record: Record

    def rows(self, part: str) -> npt.NDArray[np.intp]:
        return self.data.opened.rows(part)

    def has(self, part: str) -> bool:
        return bool((self.data.opened.split.frame["part"] == part).any())

    def labels(self, part: str) -> npt.NDArray[np.float32]:
        labels: npt.NDArray[np.float32] = self.data.opened.labels[self.rows(part)]
        return labels


def open_for(config: RunConfig, folder: Path) -> Data:
    return Data(open_data(folder, config.data))


def check_parts(config: RunConfig, setting: Setting) -> None:
    """What would go wrong only after the first epoch, said before it."""
    num_images, size = len(setting.rows("train")), setting.world.size
    if config.train.batch * size > num_images:
        do = f"--set train.batch={max(1, num_images // size)}"
        got = f"{config.train.batch} on {size} {'ranks' if size > 1 else 'rank'}, and {num_images} images"
        raise ConfigError("train.batch is more than the training part has", got=got, do=do)
    labels = setting.labels("val")
    if config.train.monitor == "auroc" and np.isnan(auroc(labels.astype(np.uint8), np.zeros(labels.shape))).all():
        do = "--set train.monitor=loss, or a larger validation part"
        raise ConfigError("no finding of the validation part has both positives and negatives", do=do)


def check_views(config: RunConfig, data: Data) -> None:
    """What a loader would refuse, said before anything is written: the baseline, for one, loads no training images."""
    learns = config.regime.name in ("partial", "full", "all")
    for part in PARTS:
        view = view_name(TRAIN, config.view) if part == "train" and learns else config.eval.view
        if (data.opened.split.frame["part"] == part).any():
            for shape in data.opened.shapes(data.opened.rows(part)):
                check_fits(*shrunk_shape(*shape, config.view.resize), view, config.view)


def sync(config: RunConfig, model: nn.Module, world: World) -> nn.Module:
    if not config.train.sync_batchnorm:
        return model
    if world.device.type != "cuda":
        raise ConfigError("train.sync_batchnorm needs GPUs", got="the CPU", do="--set train.sync_batchnorm=false")
    if world.size == 1:
        return model
    return cast(nn.Module, nn.SyncBatchNorm.convert_sync_batchnorm(model))  # type: ignore[no-untyped-call]


def network(config: RunConfig, setting: Setting) -> tuple[Classifier, Loaded]:
    """On its device, of its regime, and compiled if asked to."""
    findings = setting.data.findings
    model, loaded = build_model(config.model, len(findings), config.train.seed, config.view.crop)
    model = cast(Classifier, sync(config, model, setting.world))
    place(config, model, setting.world.device)
    if config.train.compile:
        model.compile()
    return model, loaded


def place(config: RunConfig, model: Classifier, device: torch.device) -> None:
    """On the device, in its layout; what does not learn stands still."""
    apply_regime(model, config.regime)
    model.to(device)
    if config.train.channels_last:
        model.to(memory_format=torch.channels_last)


def images_of(config: RunConfig, setting: Setting, part: str, view: str, batch: int, shuffle: bool) -> FeedLoader:
    loader = setting.data.loader(
        part,
        batch,
        view,
        config.loader.name,
        setting.world.device,
        views=config.view,
        shuffle=shuffle,
        seed=config.train.seed,
        rank=setting.world.rank,
        world=setting.world.size,
        threads=config.loader.threads,
        prefetch=config.loader.prefetch,
        images=setting.images,
    )
    return cast(FeedLoader, loader)


def part_of(setting: Setting, part: str, loader: Loader) -> Part:
    opened = setting.data.opened
    return Part(loader, opened.ids[setting.rows(part)], setting.labels(part))


def precision_of(config: RunConfig, setting: Setting) -> Precision:
    return choose_precision(config.train.precision, setting.world.device)


def task_of(
    config: RunConfig, setting: Setting, model: Classifier, checkpoints: Checkpoints, start: str
) -> tuple[Task, Sequence[Loader]]:
    """And the loaders that must be closed."""
    by_features = config.regime.name == "head" and config.regime.cached_views > 0
    build = from_features if by_features else from_images
    learner, train, val = build(config, setting, model)
    weights = positive_weights(torch.from_numpy(setting.labels("train"))).to(setting.world.device)
    task = Task(
        config=config,
        world=setting.world,
        precision=precision_of(config, setting),
        learner=learner,
        groups=parameter_groups(model, config.optimizer),
        loss=build_loss(config.loss, weights),
        train=train,
        val=part_of(setting, "val", val),
        checkpoints=checkpoints,
        record=setting.record,
        watch=setting.watch,
        start=start,
    )
    return task, (train, val)


def from_images(config: RunConfig, setting: Setting, model: Classifier) -> tuple[Learner, Loader, Loader]:
    train = images_of(config, setting, "train", "train", config.train.batch, shuffle=True)
    val = images_of(config, setting, "val", config.eval.view, config.eval.batch, shuffle=False)
    over = OverCrops(model, config.train.tencrop_chunk)
    is_static = config.train.accumulate == 1 and config.train.tencrop_chunk == TEN
    forward = on_all_ranks(over, setting.world, is_static)
    learner = Learner(model, forward, lambda: train_mode(model, config.regime), model.state_dict)
    return learner, train, val


def from_features(config: RunConfig, setting: Setting, model: Classifier) -> tuple[Learner, Loader, Loader]:
    """Augmentations are those of the first `cached_views` epochs; with one view, there are none."""
    views = config.regime.cached_views
    view = config.view.train if config.view.train != "random" or views > 1 else "center"
    parts = {"train": (view, views if view == "random" else 1), "val": (config.eval.view, 1)}
    values, requests = {}, {}
    for part, (name, num_views) in parts.items():
        with closing(images_of(config, setting, part, name, config.eval.batch, shuffle=False)) as loader:
            values[part] = features_of(config, setting, model, loader, num_views)
            requests[part] = loader.request
    mean, deviation = moments(values["train"])
    shuffled = replace(requests["train"].partition, batch_size=config.train.batch, shuffle=True)
    train = feature_loader(replace(requests["train"], partition=shuffled), values["train"], mean, deviation)
    val = feature_loader(requests["val"], values["val"], mean, deviation)
    forward = on_all_ranks(HeadOverCrops(model.head), setting.world, is_static=config.train.accumulate == 1)
    learner = Learner(
        model.head,
        forward,
        lambda: train_mode(model, config.regime),
        lambda: absorbed(model, mean, deviation).state_dict(),
    )
    return learner, train, val


def features_of(
    config: RunConfig, setting: Setting, model: Classifier, loader: FeedLoader, num_views: int
) -> torch.Tensor:
    request, precision = loader.request, precision_of(config, setting)
    ids = request.partition.ids
    crops = TEN if request.view == "tencrop" else 1
    shape: Shape = (num_views, len(ids), crops, model.num_features)
    of_view = {name: getattr(config.view, name) for name in ("resize", "crop")}
    if request.view == "random":  # else nothing depends on these
        of_view = {name: getattr(config.view, name) for name in config.view.__slots__}
        of_view |= {"seed": request.partition.seed}
    key: dict[str, Any] = {
        "data": request.data.sha256,
        "ids": request.partition.key()["ids"],
        "view": [request.view, of_view],
        "backbone": state_sha256(model.backbone),
        "arch": config.model.arch,
        "input": [model.input.scale.flatten().tolist(), model.input.shift.flatten().tolist()],
        "computed": [str(precision), setting.world.device.type, torch.__version__, timm.__version__],
        "loader": [loader.name, request.partition.size],
        "shape": shape,
    }
    path = cache_folder(request.data) / named("features", key)

    def make(out: torch.Tensor) -> None:
        world, watch = setting.world, setting.watch
        with closing(setting.record.progress(num_views * len(ids), 0, "features")) as bar:
            extractor = FeaturesOverCrops(model, config.train.tencrop_chunk)
            extract(out, extractor, loader, ids, world, precision, watch, bar.update)

    return cached_features(path, shape, make, setting.world)
