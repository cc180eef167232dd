"""The smallest network: what a step of training and a pass of evaluation cost beside the arithmetic."""

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from cxrbench.batch import Batch
from cxrbench.config import RunConfig, apply
from cxrbench.engine.distributed import alone
from cxrbench.engine.evaluate import outputs
from cxrbench.engine.optimizer import build_optimizer
from cxrbench.engine.precision import Precision
from cxrbench.engine.stepper import Learner, Stepper
from cxrbench.models.classifier import Classifier
from cxrbench.models.crops import OverCrops
from cxrbench.models.losses import bce
from cxrbench.models.regimes import parameter_groups, train_mode
from cxrbench.models.registry import build_model

CPU, FP32 = torch.device("cpu"), Precision("fp32", "cpu")
NUM_FINDINGS, CROP, BATCH = 14, 64, 32
# At such a rate the weights as good as stand still, so that every step must have the first one's loss.
CONFIG = apply(RunConfig(), ["model.arch=test_resnet", "model.weights=none", "optimizer.lr=1e-12"])


@pytest.fixture
def model() -> Classifier:
    return build_model(CONFIG.model, NUM_FINDINGS, 0, CROP)[0]


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (BATCH, 1, CROP, CROP), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 2, (BATCH, NUM_FINDINGS), generator=generator).float()
    return Batch(images, labels, torch.arange(BATCH), torch.ones(BATCH, dtype=torch.bool))


@pytest.mark.benchmark(group="step")
def test_train_step(benchmark: BenchmarkFixture, model: Classifier, batch: Batch) -> None:
    train_mode(model, CONFIG.regime)
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(model(batch.images), batch.labels).item()
    optimizer = build_optimizer(parameter_groups(model, CONFIG.optimizer), CONFIG.optimizer)
    learner = Learner(model, OverCrops(model), lambda: None, model.state_dict)
    stepper = Stepper(learner, bce, optimizer, FP32, CONFIG.train, alone(CPU))
    loss, _, norm = benchmark(stepper.step, [batch], 0)
    assert loss.item() == pytest.approx(wanted, rel=1e-5)
    assert norm.item() > 0


@pytest.mark.benchmark(group="step")
def test_eval_forward(benchmark: BenchmarkFixture, model: Classifier, batch: Batch) -> None:
    (_, logits), *_ = benchmark(lambda: list(outputs(OverCrops(model), [batch], FP32)))  # type: ignore[arg-type]
    with torch.no_grad():
        one_by_one = torch.cat([model(image[None]) for image in batch.images])
    torch.testing.assert_close(logits[:, 0], one_by_one, rtol=1e-4, atol=1e-5)
