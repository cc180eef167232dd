"""Trained networks on a part of a data set: every image scored exactly once, figures of each, and their differences."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, logit

from cxrbench import runs
from cxrbench.asked import ENSEMBLE, Order, check_data, check_outputs, check_parts, learned_from, named_once
from cxrbench.build import Setting, images_of, open_for, part_of, precision_of
from cxrbench.config import DataConfig, RunConfig, override
from cxrbench.data import Data, chosen_device
from cxrbench.engine.distributed import World, connected, on_main
from cxrbench.engine.evaluate import evaluate
from cxrbench.engine.memory import keep_freed_memory
from cxrbench.engine.record import Record
from cxrbench.engine.signals import Watch, watching
from cxrbench.errors import CxrError, StoppedError
from cxrbench.fitted import Key, fit_key, read_fitted, refuse_part, write_calibration, write_thresholds
from cxrbench.metrics.compare import compare_all, paired_all
from cxrbench.metrics.summary import summarise
from cxrbench.models.classifier import Classifier
from cxrbench.models.crops import OverCrops
from cxrbench.models.input import AVERAGES
from cxrbench.predictions import TRAITS, Predictions, save_predictions
from cxrbench.saved import Saved, find, load, sha256
from cxrbench.storage import exists, make_folder
from cxrbench.told import is_out_of_memory

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False, slots=True)
class Scored:
    """One network's scores, and where what belongs to them is kept."""

    predictions: Predictions
    config: RunConfig
    key: Key
    kept: Path | None  # thresholds and calibration
    out: Path | None
    learned: int  # of these patients the network has learned from


def evaluate_all(order: Order, say: Say) -> dict[str, Any]:
    """The figures of all networks; on every rank."""
    if order.fit is not None or order.calibrate is not None:
        refuse_part(order.part, order.i_know)
    with connected(chosen_device(order.device)) as world, watching(world) as watch, in_a_line():
        say = say if world.is_main else lambda _: None
        if world.device.type == "cpu":
            keep_freed_memory()
        networks = named_once([each for path in order.networks for each in find(path)])
        check_outputs(order, networks)
        configs = [config_of(saved, order) for saved in networks]
        opened: dict[DataConfig, Data] = {}
        for config in configs:
            if config.data not in opened:
                opened[config.data] = open_for(config, order.data)
        for saved, config in zip(networks, configs, strict=True):
            data = opened[config.data]
            on_main(world, lambda: check_data(saved, data, order))  # noqa: B023
        check_parts([(config, opened[config.data]) for config in configs], order)
        scored = {
            saved.name: score(saved, config, opened[config.data], order, world, watch, say)
            for saved, config in zip(networks, configs, strict=True)
        }
        return on_main(world, lambda: figures_of(scored, order, say))


@contextmanager
def in_a_line() -> Iterator[None]:
    """What training would say of itself, said of an evaluation."""
    try:
        yield
    except StoppedError:
        raise StoppedError("stopped by a signal", do="the same command begins again") from None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        do = "a smaller --set eval.batch=; for tencrop, train.tencrop_chunk=1"
        raise CxrError("out of memory", got=f"{' '.join(str(error).split()):.160}", do=do) from error


def config_of(saved: Saved, order: Order) -> RunConfig:
    """As it was trained, unless asked otherwise; a split's file that is gone is in the run's folder too."""
    own = dict(order.settings)
    if own.get("data.split", saved.config.data.split) != saved.config.data.split:
        own.setdefault("data.fractions", "")  # those of the other split
    if saved.run and "data.split" not in own and is_file(saved.config.data.split):
        path = Path(saved.config.data.split)
        own["data.split"] = str(path if exists(path) else saved.run / runs.SPLIT)
    return override(saved.config, own)


def is_file(split: str) -> bool:
    return split.endswith((".csv", ".parquet"))


def score(saved: Saved, config: RunConfig, data: Data, order: Order, world: World, watch: Watch, say: Say) -> Scored:
    trained_on = saved.about["data_sha256"]
    if trained_on != data.opened.sha256:
        say(f"{saved.name}: trained on other shards ({trained_on[:12]}); these are {data.opened.sha256[:12]}")
    with closing(Record(None, shows=world.is_main)) as record:
        setting = Setting(data, order.images, world, watch, record)
        images = f"{len(setting.rows(order.part)):,} images"
        say(f"{saved.name}: {order.part}, {images}, {config.eval.view}, {precision_of(config, setting)}")
        learned = on_main(world, lambda: len(learned_from(saved, data, order.part)))
        if learned:
            say(f"{saved.name}: trained on {learned:,} of this part's patients: its scores will be too good")
        predictions = predict(config, setting, load(saved, world.device), order.part)
    key = fit_key(config.eval.view, config.eval.average, sha256(saved))
    predictions = of_network(predictions, key)
    out = order.out / saved.name if order.out else saved.run and saved.run / runs.EVAL
    scored = Scored(predictions, config, key, saved.run or out, out, learned)
    on_main(world, lambda: save(scored))  # now: the next network may fail
    return scored


def save(scored: Scored) -> None:
    for folder in filter(None, (scored.kept, scored.out)):
        make_folder(folder)
    if scored.out:
        save_predictions(scored.predictions, scored.out / f"predictions-{named(scored.predictions)}.parquet")


def named(run: Predictions) -> str:
    return f"{run.part}-{run.view}"


def predict(config: RunConfig, setting: Setting, model: Classifier, name: str) -> Predictions:
    """Of a part of the data, on every rank."""
    loader = images_of(config, setting, name, config.eval.view, config.eval.batch, shuffle=False)
    part, module = part_of(setting, name, loader), OverCrops(model, config.train.tencrop_chunk)
    with closing(loader), closing(setting.record.progress(len(part.ids), 0, f"scoring {name}")) as bar:
        found = evaluate(
            module,
            part.loader,
            part.ids,
            setting.world,
            precision_of(config, setting),
            setting.watch,
            lambda images: bar.update(images * setting.world.size),
        )
    opened = setting.data.opened
    samples = opened.samples.iloc[setting.rows(name)]
    return Predictions(
        names=samples["name"].to_numpy(dtype=object),
        patients=samples["patient"].to_numpy(dtype=np.int64),
        labels=part.labels.astype(np.uint8),
        scores=AVERAGES[config.eval.average](found.values).numpy(),
        findings=opened.findings,
        data_sha256=opened.sha256,
        split=opened.split.policy,
        part=name,
        view=config.eval.view,
        traits={trait: samples[trait].to_numpy() for trait in TRAITS},
    )


def of_network(run: Predictions, key: Key) -> Predictions:
    """With what made the scores."""
    return replace(run, weights_sha256=key["weights_sha256"], average=key["average"])


def figures_of(scored: dict[str, Scored], order: Order, say: Say) -> dict[str, Any]:
    """Of each, and of all together last."""
    if order.ensemble:
        scored = scored | {ENSEMBLE: together(list(scored.values()), order)}
        save(scored[ENSEMBLE])
    found = {name: figures_of_one(each, order, say) for name, each in scored.items()}
    if len(found) == 1:
        return next(iter(found.values()))
    runs_by_name = {name: each.predictions for name, each in scored.items()}
    figures = {"runs": found, "paired": compare_all(runs_by_name, order.replicates, order.seed)}
    if order.out:
        runs.write_json(order.out / runs.METRICS, figures)
    return figures


def together(members: list[Scored], order: Order) -> Scored:
    """The mean over networks, of probabilities or of logits, as `eval.average` says."""
    first = members[0]
    aligned = paired_all([each.predictions for each in members])
    average = first.config.eval.average
    scores = averaged(np.stack([each.scores for each in aligned]), average)
    digest = hashlib.sha256("".join(each.key["weights_sha256"] for each in members).encode()).hexdigest()
    out = order.out / ENSEMBLE if order.out else None
    key = {**first.key, "average": average, "weights_sha256": digest}  # of several, one crop's is a mean too
    learned = max(each.learned for each in members)
    return Scored(of_network(aligned[0].with_scores(scores), key), first.config, key, out, out, learned)


def averaged(scores: np.ndarray, average: str) -> np.ndarray:
    """[images, findings], of [networks, images, findings]."""
    if average == "probabilities":
        mean: np.ndarray = scores.mean(0)
        return mean
    with np.errstate(invalid="ignore"):  # a score of 0 or 1 stays what it is, unless others say the opposite
        mean_logits = logit(scores).mean(0)
    found: np.ndarray = expit(np.where(np.isnan(mean_logits), 0.0, mean_logits))
    return found


def figures_of_one(each: Scored, order: Order, say: Say) -> dict[str, Any]:
    run, config = each.predictions, each.config.eval
    if order.fit is not None and each.kept:
        rule, _, wanted = (order.fit or config.thresholds).partition("=")
        write_thresholds(run, rule, float(wanted or config.sensitivity), each.key, each.kept)
        say(f"thresholds by {order.fit or config.thresholds} on {run.part}: {each.kept}/thresholds.json")
    if order.calibrate is not None and each.kept:
        write_calibration(run, order.calibrate, each.key, each.kept)
        say(f"calibration by {order.calibrate} on {run.part}: {each.kept}/calibration.json")
    fitted = read_fitted(each.kept, each.key, run.findings)
    table = summarise(run, order.replicates, order.seed, fitted.thresholds, fitted.calibration)
    table |= {"thresholds_by": fitted.rule or None, "calibrated_by": fitted.kind or None}
    table["patients_learned_from"] = each.learned
    if each.out:
        runs.write_json(each.out / f"metrics-{named(run)}.json", table)
    return table
