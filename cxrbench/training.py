"""One run, or several that are compared: train, score what the best weights make of validation and test, say so."""

import hashlib
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_safetensors

from cxrbench import __version__, runs
from cxrbench.build import Setting, check_parts, check_views, network, open_for, precision_of, task_of
from cxrbench.compared import check_starts, compared
from cxrbench.config import RunConfig
from cxrbench.data import Data, chosen_device
from cxrbench.dataset.manifest import read_manifest
from cxrbench.dataset.splits import write_split
from cxrbench.engine.checkpoint import Checkpoints
from cxrbench.engine.distributed import World, connected, on_main
from cxrbench.engine.features import state_sha256
from cxrbench.engine.loop import Training
from cxrbench.engine.memory import keep_freed_memory
from cxrbench.engine.record import Record
from cxrbench.engine.signals import watching
from cxrbench.environment import environment
from cxrbench.evaluating import of_network, predict
from cxrbench.fitted import FITTED_ON, Key, fit_key, read_fitted, write_thresholds
from cxrbench.loaders.features import FEATURES
from cxrbench.loaders.registry import AUTO
from cxrbench.metrics.summary import summarise
from cxrbench.metrics.text import RESEARCH
from cxrbench.models.classifier import Classifier
from cxrbench.models.weights import IMAGENET, Loaded
from cxrbench.predictions import Predictions, save_predictions
from cxrbench.saved import about_settings
from cxrbench.storage import exists, make_folder
from cxrbench.told import told

Say = Callable[[str], None]
SCORED = ("val", "test")


@dataclass(frozen=True, slots=True)
class Order:
    """What the user asked for, besides the configuration."""

    out: Path
    data: Path
    images: tuple[Path, ...] = ()
    device: str = "auto"
    num_seeds: int = 1
    resume: bool = False
    tensorboard: bool = False
    command: str = ""


def run_all(config: RunConfig, order: Order, say: Say) -> dict[str, Any]:
    """The run's figures, or those of all runs; on every rank."""
    with connected(chosen_device(order.device)) as world, watching(world) as watch, ExitStack() as stack:
        say = say if world.is_main else lambda _: None
        if world.device.type == "cpu":
            keep_freed_memory()
        claimed = runs.claimed(order.out, order.resume)

        def claim() -> None:
            stack.enter_context(claimed)

        on_main(world, claim)
        if order.resume:
            runs.refuse_others(config, order.out)
            runs.refuse_other_data(order.out, read_manifest(order.data)["sha256"])
        data = open_for(config, order.data)
        check_views(config, data)
        plans = runs.plans(config, order.out, order.num_seeds)
        if not order.resume:
            on_main(world, lambda: begin(order, config, data.opened.sha256, world))
        figures = {}
        for line in doubts(config, data):
            say(line)
        for plan in plans:
            name = plan.folder.relative_to(order.out).as_posix()
            record = Record(plan.folder if world.is_main else None, order.tensorboard)
            setting = Setting(data, order.images, world, watch, record)
            with closing(record):
                figures[name] = run_one(plan, setting, order, titled(say, name))
        if len(plans) == 1:
            return figures["."]
        check_starts(figures)
        return on_main(world, lambda: compared(order.out, plans, figures))


def doubts(config: RunConfig, data: Data) -> list[str]:
    """What of a split a reader of its scores should know."""
    opened = data.opened
    crossing, unused = opened.split.crossing_patients(), len(opened.samples) - len(opened.split.frame)
    lines = []
    if len(crossing):
        got = f"{len(crossing):,} patients are in several parts, such as {crossing[0]}"
        lines.append(f"the split leaks: {got}; scores on it will be too good (cxrbench audit says more)")
    if unused and not (config.data.limit_train or config.data.limit_test):
        lines.append(f"{unused:,} of {len(opened.samples):,} images are in no part of the split")
    return lines


def titled(say: Say, name: str) -> Say:
    return say if name == "." else lambda text: say(f"{name}: {text}")


def begin(order: Order, config: RunConfig, sha256: str, world: World) -> None:
    """The configuration comes last: with it, the folder is a run's."""
    about = {
        "cxrbench": __version__,
        "command": order.command,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "data": {"folder": str(order.data.resolve()), "sha256": sha256},
        "images": [str(path.resolve()) for path in order.images],
        "ranks": world.size,
        "device": world.device.type,
        "seeds": order.num_seeds,
        **environment(),
    }
    runs.write_json(order.out / runs.ENVIRONMENT, about)
    runs.write_config(order.out, config)


def run_one(plan: runs.Plan, setting: Setting, order: Order, say: Say) -> dict[str, Any]:
    """Train, unless there is nothing to, or it is done; then score."""
    world, folder = setting.world, plan.folder
    done = on_main(world, lambda: runs.read_json(folder / runs.METRICS) if exists(folder / runs.METRICS) else None)
    if done is not None:
        say("finished already")
        return dict(done)
    with told(plan.config):
        if plan.config.model.weights == IMAGENET:
            say("looking for ImageNet's weights, here and then at timm's hub")
        model, loaded = network(plan.config, setting)
        say(described(plan, setting, model, loaded))
        checkpoints = Checkpoints(folder, plan.config.train.keep, about_of(plan, setting))
        on_main(world, lambda: prepare(plan, setting, checkpoints, order.out))
        start = state_sha256(model)
        trained = train(plan, setting, model, checkpoints, start, order.resume, say)
        figures = score(plan, setting, model, checkpoints, say)
    about = {"regime": plan.regime, "seed": plan.config.train.seed, "start": loaded.source, "start_sha256": start}
    figures = {**about, **trained, **figures}
    on_main(world, lambda: runs.write_json(folder / runs.METRICS, figures))
    return figures


def described(plan: runs.Plan, setting: Setting, model: Classifier, loaded: Loaded) -> str:
    learning = sum(each.numel() for each in model.parameters() if each.requires_grad)
    device, precision = setting.world.device, precision_of(plan.config, setting)
    where = f"{setting.world.size} x {device.type}" if setting.world.size > 1 else str(device)
    split = setting.data.opened.split.policy
    parts = ", ".join(f"{name} {len(setting.rows(name)):,}" for name in ("train", *SCORED) if setting.has(name))
    return (
        f"{plan.regime}: {plan.config.model.arch} from {loaded.source} ({loaded.note}), {learning:,} weights learn, "
        f"{precision} on {where}; {split}: {parts}"
    )


def about_of(plan: runs.Plan, setting: Setting) -> dict[str, Any]:
    """What a weights file says of itself: enough to build the network and to know what it has seen."""
    config, opened = plan.config, setting.data.opened
    return {
        "version": __version__,
        **about_settings(config),
        "size_px": opened.manifest["size_px"],
        "encoding": opened.manifest["encoding"],
        "findings": list(opened.findings),
        "regime": plan.regime,
        "seed": config.train.seed,
        "data_sha256": opened.sha256,
        "split": opened.split.policy,
        "use": RESEARCH,
    }


def prepare(plan: runs.Plan, setting: Setting, checkpoints: Checkpoints, out: Path) -> None:
    """What a run of several has for itself."""
    make_folder(plan.folder)
    write_split(setting.data.opened.split, plan.folder / runs.SPLIT)
    runs.write_config(plan.folder, plan.config)
    if plan.folder != out:
        runs.write_json(plan.folder / runs.ENVIRONMENT, runs.read_json(out / runs.ENVIRONMENT))
    checkpoints.clean()


def train(
    plan: runs.Plan, setting: Setting, model: Classifier, checkpoints: Checkpoints, start: str, resume: bool, say: Say
) -> dict[str, Any]:
    """Leaves the best weights in checkpoints/best.safetensors."""
    world, config = setting.world, plan.config
    if plan.regime == "baseline":
        on_main(world, lambda: checkpoints.save_best(model.state_dict(), {"epoch": None, "step": 0}))
        return {"epochs": 0, "best_epoch": None}
    check_parts(config, setting)
    state = on_main(world, checkpoints.latest) if resume else None
    if state is not None and config.loader.name == AUTO:  # what it chose then, whatever it would choose now
        name = state["loaders"][world.rank]["key"]["loader"]
        config = config if name == FEATURES else replace(config, loader=replace(config.loader, name=name))
    task, loaders = task_of(config, setting, model, checkpoints, start)
    with ExitStack() as stack:
        for loader in loaders:
            stack.callback(loader.close)
        training = Training(task, say)
        if state is not None:
            training.restore(state)
            say(f"going on from epoch {training.progress.epoch + 1}, step {training.progress.step}")
            setting.record.write("resume", step=training.progress.step, ranks=world.size)
        else:
            setting.record.rewind(-1)  # of a run that was killed before its first checkpoint
            setting.record.write("start", step=0, ranks=world.size, images=len(setting.rows("train")))
            training.save()  # so that whatever has begun can go on
        progress = training.fit()
    best = {"best_epoch": progress.best_epoch + 1, f"best_val_{config.train.monitor}": abs(progress.best or 0.0)}
    return {"epochs": progress.epoch, "steps": progress.step, **best}


def score(plan: runs.Plan, setting: Setting, model: Classifier, checkpoints: Checkpoints, say: Say) -> dict[str, Any]:
    """Of the weights that users get: read from their file."""
    if not any(setting.has(name) for name in SCORED):
        setting.rows(SCORED[0])  # refuses, and says which parts there are
    best = on_main(setting.world, checkpoints.best)  # others may not see it yet
    model.load_state_dict(load_safetensors(best))
    view, average = plan.config.eval.view, plan.config.eval.average
    key = fit_key(view, average, hashlib.sha256(best).hexdigest())
    figures: dict[str, Any] = {}
    for name in SCORED:
        if not setting.has(name):
            say(f"the split has no part {name}")
            continue
        predictions = of_network(predict(plan.config, setting, model, name), key)
        figures[name] = on_main(setting.world, lambda: figures_of(plan, predictions, key))  # noqa: B023
    return figures


def figures_of(plan: runs.Plan, predictions: Predictions, key: Key) -> dict[str, Any]:
    """Thresholds are fitted on validation, and used on the test part alone."""
    config, part = plan.config.eval, predictions.part
    save_predictions(predictions, plan.folder / f"predictions-{part}.parquet")
    if part == FITTED_ON:
        write_thresholds(predictions, config.thresholds, config.sensitivity, key, plan.folder)
        return summarise(predictions)
    fitted = read_fitted(plan.folder, key, predictions.findings)
    return {**summarise(predictions, thresholds=fitted.thresholds), "thresholds_by": fitted.rule or None}
