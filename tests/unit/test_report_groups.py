"""Which runs of a report are compared, on what, and how far trainings of one recipe are apart."""

from pathlib import Path

import pandas as pd
import pytest

from cxrbench.metrics.compare import compare_all
from cxrbench.metrics.summary import spread
from cxrbench.predictions import Predictions
from tests.scores import FINDINGS, predictions
from tests.unit.test_report_facts import FEW, facts_of, make_run, other_scores


def another(seed: int, findings: tuple[str, ...] = FINDINGS) -> Predictions:
    """Of the same images."""
    return predictions().with_scores(other_scores(seed)).with_findings(findings)


class TestPairs:
    def test_a_run_that_knows_little_changes_nothing_of_the_others(self, tmp_path: Path):
        make_run(tmp_path / "all" / "a"), make_run(tmp_path / "all" / "b", run=another(1))
        before = facts_of(tmp_path / "all")["paired"]
        make_run(tmp_path / "all" / "c", run=another(2, ("Hernia",)))
        after = facts_of(tmp_path / "all")["paired"]
        assert after[0] == before[0]
        assert [(pair["run"], pair["over"], list(pair["findings"])) for pair in after[1:]] == [
            ("all/c", 1, ["Hernia"]),
            ("all/c", 1, ["Hernia"]),
        ]
        alone = [run.with_findings(("Hernia",)) for run in (predictions(), another(2))]
        assert after[1] == compare_all({"all/a": alone[0], "all/c": alone[1]}, FEW)[0]

    def test_runs_of_the_same_images_are_one_group_whatever_they_know(self, tmp_path: Path):
        for name, findings in (("a", FINDINGS), ("b", ("Hernia", "Mass")), ("c", ("Nodule",))):
            make_run(tmp_path / "all" / name, run=another(ord(name), findings))
        found = facts_of(tmp_path / "all")
        assert {run["group"] for run in found["runs"]} == {0}
        assert [(pair["run"], pair["against"]) for pair in found["paired"]] == [("all/b", "all/a"), ("all/c", "all/a")]
        assert not any("sets of images" in line for line in found["warnings"])

    def test_other_labels_of_what_both_know_are_another_group(self, tmp_path: Path):
        labels = predictions().labels.copy()
        labels[:, 0] = labels[::-1, 0]
        make_run(tmp_path / "all" / "a", run=another(1, FINDINGS[1:]))
        make_run(tmp_path / "all" / "b"), make_run(tmp_path / "all" / "c", run=predictions(labels=labels))
        assert [run["group"] for run in facts_of(tmp_path / "all")["runs"]] == [0, 0, 1]

    def test_of_many_regimes_within_a_seed_and_who_is_alone_with_the_first(self, tmp_path: Path):
        for seed in (0, 1):
            for number, regime in enumerate(("baseline", "head", "full")):
                folder = tmp_path / "all" / f"seed-{seed}" / regime
                make_run(folder, seed, another(3 * seed + number), **{"regime.name": regime})
        run = another(9)
        frame = pd.DataFrame({"name": run.names, "patient": run.patients})
        for i, name in enumerate(FINDINGS):
            frame[f"label_{name}"], frame[f"score_{name}"] = run.labels[:, i], run.scores[:, i]
        frame.to_csv(tmp_path / "theirs.csv", index=False)
        found = facts_of(tmp_path / "all", tmp_path / "theirs.csv")
        pairs = [(pair["run"].removeprefix("all/"), pair["against"].removeprefix("all/")) for pair in found["paired"]]
        assert sorted(pairs) == sorted(
            [
                *((f"seed-{seed}/head", f"seed-{seed}/baseline") for seed in (0, 1)),
                *((f"seed-{seed}/full", f"seed-{seed}/baseline") for seed in (0, 1)),
                *((f"seed-{seed}/full", f"seed-{seed}/head") for seed in (0, 1)),
                ("theirs", "seed-0/baseline"),
            ]
        )
        assert not any("only one seed" in line for line in found["warnings"])
        macros = {run["name"]: run["table"]["macro"]["auroc"] for run in found["runs"]}
        (full,) = [each for each in found["seeds"] if each["recipe"] == "full"]
        assert [each["recipe"] for each in found["seeds"]] == ["baseline", "head", "full"]
        assert full["names"] == ["all/seed-0/full", "all/seed-1/full"]
        assert {key: full[key] for key in ("runs", "mean", "deviation", "lowest", "highest")} == spread(
            [macros[name] for name in full["names"]]
        )

    def test_of_many_seeds_of_one_recipe_each_with_the_first(self, tmp_path: Path):
        for seed in range(5):
            make_run(tmp_path / "all" / f"seed-{seed}", seed, another(seed))
        assert {pair["against"] for pair in facts_of(tmp_path / "all")["paired"]} == {"all/seed-0"}


class TestSeeds:
    def test_other_settings_are_another_recipe(self, tmp_path: Path):
        make_run(tmp_path / "all" / "a"), make_run(tmp_path / "all" / "b", 1, another(1), **{"train.epochs": 3})
        found = facts_of(tmp_path / "all")
        assert found["seeds"] == []
        assert any(line.startswith("all/a, all/b: only one seed") for line in found["warnings"])

    def test_those_with_one_seed_are_named(self, tmp_path: Path):
        make_run(tmp_path / "all" / "a"), make_run(tmp_path / "all" / "b", 1, another(1))
        make_run(tmp_path / "all" / "c", 0, another(2), **{"regime.name": "full"})
        found = facts_of(tmp_path / "all")
        assert [each["recipe"] for each in found["seeds"]] == ["head"]
        assert any(line.startswith("all/c: only one seed") for line in found["warnings"])

    @pytest.mark.parametrize(
        ("other", "recipes"),
        [
            ({"model.arch": "resnet50"}, ["head, densenet121", "head, resnet50"]),
            ({"train.epochs": 3}, ["head, as all/a0", "head, as all/b0"]),
        ],
    )
    def test_recipes_are_named_apart(self, other: dict[str, object], recipes: list[str], tmp_path: Path):
        for seed in (0, 1):
            make_run(tmp_path / "all" / f"a{seed}", seed)
            make_run(tmp_path / "all" / f"b{seed}", seed, another(1), **other)
        assert [each["recipe"] for each in facts_of(tmp_path / "all")["seeds"]] == recipes
