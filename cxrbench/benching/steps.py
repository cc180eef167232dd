"""What a network does with a batch that is there: a step of training, or of scoring, without a loader before it."""

import itertools
from collections.abc import Callable

import torch

from cxrbench.batch import Batch
from cxrbench.build import place
from cxrbench.config import RunConfig
from cxrbench.engine.distributed import alone
from cxrbench.engine.optimizer import build_optimizer
from cxrbench.engine.precision import choose_precision
from cxrbench.engine.stepper import Learner, Stepper
from cxrbench.models.classifier import Classifier
from cxrbench.models.crops import OverCrops
from cxrbench.models.input import WHITE
from cxrbench.models.losses import build_loss
from cxrbench.models.regimes import parameter_groups, train_mode
from cxrbench.models.registry import build_model

Step = Callable[[Batch], None]


def train_step(config: RunConfig, num_findings: int, device: torch.device) -> Step:
    """Forth, back, and the weights move."""
    precision = choose_precision(config.train.precision, device)
    model = placed(config, num_findings, device)
    optimizer = build_optimizer(parameter_groups(model, config.optimizer), config.optimizer)
    over = OverCrops(model, config.train.tencrop_chunk)
    learner = Learner(model, over, lambda: train_mode(model, config.regime), model.state_dict)
    loss = build_loss(config.loss, torch.ones(num_findings, device=device))
    stepper = Stepper(learner, loss, optimizer, precision, config.train, alone(device))
    numbers = itertools.count(1)
    learner.train_mode()

    def step(batch: Batch) -> None:
        stepper.step([batch], next(numbers))

    return step


def eval_step(config: RunConfig, num_findings: int, device: torch.device) -> Step:
    """Forth."""
    precision = choose_precision(config.train.precision, device)
    module = OverCrops(placed(config, num_findings, device), config.train.tencrop_chunk).eval()

    @torch.no_grad()
    def step(batch: Batch) -> None:
        with precision.autocast():
            module(batch.images).float()

    return step


def placed(config: RunConfig, num_findings: int, device: torch.device) -> Classifier:
    """On its device, of its regime, and compiled if asked to: for one size of batch, however many are measured."""
    model, _ = build_model(config.model, num_findings, config.train.seed, config.view.crop)
    place(config, model, device)
    if config.train.compile:
        model.compile(dynamic=False)
    return model


def made_batches(num: int, size: int, crop: int, num_findings: int, device: torch.device) -> list[Batch]:
    """Of noise, on the device: what a network computes does not depend on what it sees."""
    noise = torch.Generator().manual_seed(0)
    return [
        Batch(
            torch.randint(0, WHITE + 1, (size, 1, crop, crop), generator=noise, dtype=torch.uint8).to(device),
            torch.randint(0, 2, (size, num_findings), generator=noise).float().to(device),
            torch.arange(number * size, (number + 1) * size),
            torch.ones(size, dtype=torch.bool),
        )
        for number in range(num)
    ]
