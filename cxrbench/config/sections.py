"""Every setting of a run, one line each; the defaults are what we would choose for DenseNet121 on NIH at 224.

TOML knows no null, so what can be absent has a value that says so: 0 is "off", "all" or "chosen for you", as the
setting's meaning tells, and the empty text is "none".
"""

from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Annotated

from cxrbench.config.fields import (
    Form,
    OneOf,
    Section,
    Setting,
    above,
    at_least,
    below,
    between,
    read_setting,
    settings_of,
)
from cxrbench.errors import ConfigError
from cxrbench.labels import LABEL_SETS

SEED = between(0, 2**32 - 1)  # what NumPy takes
ONE_LINE = Form(r"[^\r\n]*", "one line")

LABELS = OneOf(tuple(LABEL_SETS))
SPLITS = OneOf(("official", "patient", "image"), (".csv", ".parquet"))
_NUMBER = r"[0-9]{1,6}(\.[0-9]{1,6})?"
FRACTIONS = Form(rf"({_NUMBER}(/{_NUMBER}){{1,2}})?", "empty, or shares that sum to 100 or 1, such as 70/10/20")
LOADERS = OneOf(("auto", "resident", "dali", "webdataset", "folder"))
TRAIN_VIEWS = OneOf(("random", "center", "tencrop"))
ARCHS = Form(r"[A-Za-z0-9][A-Za-z0-9_.:/-]*", "a name that timm knows")
WEIGHTS = OneOf(("imagenet", "none"), (".safetensors", ".pth", ".pt", ".pth.tar"))
HEADS = OneOf(("linear", "mlp"))
REGIMES = OneOf(("baseline", "head", "partial", "full", "all"))
_NAME = r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*"
_SPAN = rf"{_NAME}(\.\.{_NAME})?"
BLOCKS = Form(rf"({_SPAN}(,{_SPAN})*)?", "empty, or names with commas, or first..last, such as layer2..layer4")
LOSSES = OneOf(("bce", "weighted_bce", "wang_bce", "focal", "asymmetric"))
OPTIMIZERS = OneOf(("adam", "adamw", "sgd"))
SCHEDULES = OneOf(("constant", "step", "cosine", "plateau"))
PRECISIONS = OneOf(("auto", "bf16", "fp16", "fp32"))
MONITORS = OneOf(("loss", "auroc"))
EVAL_VIEWS = OneOf(("center", "tencrop"))
AVERAGES = OneOf(("probabilities", "logits"))
THRESHOLDS = OneOf(("f1", "youden", "sensitivity"))


@dataclass(frozen=True, slots=True)
class DataConfig(Section):
    """Which images, in which part, with which findings."""

    split: Annotated[str, SPLITS, "who is in train, val and test: a policy, or a list of one's own"] = "official"
    fractions: Annotated[str, FRACTIONS, "of the parts; empty: 87.5/12.5 (official), 70/10/20 (patient, image)"] = ""
    label_set: Annotated[str, LABELS, "the findings that are learned and scored"] = "nih14"
    limit_train: Annotated[int, at_least(0), "training images, drawn by patient; 0 = all"] = 0
    limit_test: Annotated[int, at_least(0), "test images, drawn by patient; 0 = all"] = 0
    seed: Annotated[int, SEED, "of split and subsets; apart from train.seed: repeats see the same data"] = 0

    def check_together(self) -> None:
        if not self.fractions:
            return
        num_parts = {"official": 2, "patient": 3, "image": 3}.get(self.split, 0)
        shares = [Fraction(share) for share in self.fractions.split("/")]
        if len(shares) != num_parts or min(shares) <= 0 or sum(shares) not in (1, 100):
            must_be = f"{num_parts} shares above 0 that sum to 100 or 1" if num_parts else "empty"
            what = f"data.fractions must be {must_be} when data.split is {self.split}"
            raise ConfigError(what, got=self.fractions, do="--set data.fractions= takes the split's own")


@dataclass(frozen=True, slots=True)
class LoaderConfig(Section):
    """How images reach the device; never which ones or how they look."""

    name: Annotated[str, LOADERS, "auto picks by device, memory and encoding"] = "auto"
    threads: Annotated[int, at_least(0), "threads or workers of a rank; 0 = chosen from the machine"] = 0
    prefetch: Annotated[int, at_least(0), "batches made ahead; 0 = chosen from the machine"] = 0


@dataclass(frozen=True, slots=True)
class ViewConfig(Section):
    """What the network sees of an image. Augmentations, from `scale` on, belong to the training view `random` alone."""

    resize: Annotated[int, at_least(0), "larger images are shrunk to this short side first, in pixels; 0 = never"] = 256
    crop: Annotated[int, at_least(8), "side of the square the network gets, in pixels"] = 224
    train: Annotated[str, TRAIN_VIEWS, "training view; tencrop: the loss is that of the mean over the ten"] = "random"
    scale: Annotated[float, above(0, 1), "random resized crop: least share of the area; 1 = no resizing"] = 0.8
    flip: Annotated[float, between(0, 1), "probability of a horizontal flip"] = 0.5
    rotation: Annotated[float, between(0, 180), "largest rotation either way, in degrees"] = 7.0
    zoom: Annotated[float, below(0, 1), "largest zoom in or out, as a share"] = 0.0
    brightness: Annotated[float, between(0, 1), "largest change of brightness, as a share"] = 0.1
    contrast: Annotated[float, between(0, 1), "largest change of contrast, as a share"] = 0.1

    def check_together(self) -> None:
        if 0 < self.resize < self.crop:
            do = f"--set view.resize={self.crop} or --set view.crop={self.resize}"
            raise ConfigError(f"view.crop must be at most view.resize, {self.resize}", got=self.crop, do=do)


@dataclass(frozen=True, slots=True)
class ModelConfig(Section):
    """The network and what it starts from."""

    arch: Annotated[str, ARCHS, "architecture, by its name in timm"] = "densenet121"
    weights: Annotated[str, WEIGHTS, "what the backbone starts from"] = "imagenet"
    head: Annotated[str, HEADS, "classifier: one layer, or a hidden layer before it"] = "linear"
    hidden: Annotated[int, at_least(1), "mlp: width of the hidden layer"] = 512


@dataclass(frozen=True, slots=True)
class RegimeConfig(Section):
    """Which parts of the network learn."""

    name: Annotated[str, REGIMES, "all: baseline, head and full from one start"] = "full"
    blocks: Annotated[str, BLOCKS, "partial: the blocks that learn beside the head"] = ""
    cached_views: Annotated[int, at_least(0), "head: features kept of 1 plain or k augmented views; 0 = none"] = 1

    def check_together(self) -> None:
        if self.name == "partial" and not self.blocks:
            do = "--set regime.blocks=layer2..layer4 (ResNet) or =features.denseblock4 (DenseNet)"
            raise ConfigError("regime.blocks must name the blocks that learn when regime.name is partial", do=do)


@dataclass(frozen=True, slots=True)
class LossConfig(Section):
    """What is minimised, finding by finding."""

    name: Annotated[str, LOSSES, "weighted_bce: positives weighted over the training part; wang_bce: by batch"] = "bce"
    focal_gamma: Annotated[float, at_least(0), "focal: how much easy examples fade"] = 2.0
    focal_alpha: Annotated[float, between(0, 1), "focal: weight of positives; negatives have the rest to 1"] = 0.25
    asymmetric_gamma_pos: Annotated[float, at_least(0), "asymmetric: how much easy positives fade"] = 0.0
    asymmetric_gamma_neg: Annotated[float, at_least(0), "asymmetric: how much easy negatives fade"] = 4.0
    asymmetric_clip: Annotated[float, below(0, 1), "asymmetric: negatives less probable than this count nothing"] = 0.05


@dataclass(frozen=True, slots=True)
class OptimizerConfig(Section):
    """How weights move."""

    name: Annotated[str, OPTIMIZERS, "fused where torch has it"] = "adamw"
    lr: Annotated[float, above(0), "learning rate"] = 1e-4
    backbone_lr: Annotated[float, at_least(0), "learning rate of all but the head; 0 = the same"] = 0.0
    weight_decay: Annotated[float, at_least(0), "decoupled in adamw, part of the gradient in adam and sgd"] = 0.01
    momentum: Annotated[float, below(0, 1), "sgd: momentum"] = 0.9


@dataclass(frozen=True, slots=True)
class ScheduleConfig(Section):
    """How the learning rate changes."""

    name: Annotated[str, SCHEDULES, "plateau watches train.monitor"] = "cosine"
    warmup: Annotated[float, below(0, 1), "cosine: share of all steps in which the rate first rises"] = 0.05
    step_epochs: Annotated[int, at_least(1), "step: epochs between two changes"] = 2
    factor: Annotated[float, above(0, 1), "step and plateau: what the rate is multiplied by"] = 0.1
    patience: Annotated[int, at_least(0), "plateau: epochs without improvement before a change"] = 3


@dataclass(frozen=True, slots=True)
class TrainConfig(Section):
    """The training loop."""

    epochs: Annotated[int, at_least(1), "passes over the training part"] = 10
    batch: Annotated[int, at_least(1), "images a rank and step; with tencrop, each is ten crops"] = 64
    tencrop_chunk: Annotated[int, between(1, 10), "tencrop: crops a pass; fewer: less memory, other batch norm"] = 10
    accumulate: Annotated[int, at_least(1), "batches a rank adds up before the weights move"] = 1
    precision: Annotated[str, PRECISIONS, "auto: bf16 where it is supported, else fp32"] = "auto"
    clip: Annotated[float, at_least(0), "largest norm of the gradient; 0 = not clipped"] = 1.0
    ema: Annotated[float, below(0, 1), "moving average of the weights: its decay per step; 0 = off"] = 0.0
    monitor: Annotated[str, MONITORS, "the validation figure that best, plateau and early stop go by"] = "auroc"
    early_stop: Annotated[int, at_least(0), "epochs without improvement before training ends; 0 = never"] = 0
    keep: Annotated[int, at_least(1), "latest checkpoints kept; 2 survive a damaged one"] = 2
    checkpoint_steps: Annotated[int, at_least(0), "steps between checkpoints in an epoch; 0 = at its end only"] = 0
    sync_batchnorm: Annotated[bool, "batch norm over all ranks; GPU only"] = False
    channels_last: Annotated[bool, "the memory layout that convolutions like best"] = True
    compile: Annotated[bool, "torch.compile: slow to start, faster after"] = False
    seed: Annotated[int, SEED, "of the head, the order of images and the augmentations"] = 0


@dataclass(frozen=True, slots=True)
class EvalConfig(Section):
    """How validation and test images are scored."""

    view: Annotated[str, EVAL_VIEWS, "the centre crop, or ten crops averaged"] = "center"
    average: Annotated[str, AVERAGES, "what tencrop and ensembles average"] = "probabilities"
    batch: Annotated[int, at_least(1), "images a rank and step; the last bits of a score depend on it"] = 128
    thresholds: Annotated[str, THRESHOLDS, "what a finding's threshold is best by, on validation"] = "f1"
    sensitivity: Annotated[float, above(0, 1), "thresholds by sensitivity: the one to reach"] = 0.9


@dataclass(frozen=True, slots=True)
class RunConfig:
    """All that makes a run what it is, but for where the data lies and the machine."""

    about: Annotated[str, ONE_LINE, "what the run is"] = ""
    data: DataConfig = DataConfig()
    loader: LoaderConfig = LoaderConfig()
    view: ViewConfig = ViewConfig()
    model: ModelConfig = ModelConfig()
    regime: RegimeConfig = RegimeConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()

    def __post_init__(self) -> None:
        ABOUT.check(self.about)
        for name, section in SECTIONS.items():
            if not isinstance(getattr(self, name), section):
                raise ConfigError(f"{name} must be a {section.__name__}", got=type(getattr(self, name)).__name__)


ABOUT = read_setting("about", fields(RunConfig)[0].type, "")
_DEFAULTS = {field.name: field.default for field in fields(RunConfig)}
SECTIONS = {name: type(default) for name, default in _DEFAULTS.items() if isinstance(default, Section)}
SETTINGS: dict[str, Setting] = {"about": ABOUT} | {
    setting.name: setting for section in SECTIONS.values() for setting in settings_of(section).values()
}
