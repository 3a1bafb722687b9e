"""The scaling curves: what a majority is, what a cap does, and a page that says what was measured."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from recipes.miniature.evaluate import held_out_pairs
from recipes.miniature.make_checkpoints import CHECKPOINTS
from recipes.scaling import measure, page
from recipes.scaling.__main__ import CAPS, DOCS, KS, LONGEST, REMARKS, in_process, labelled, main
from recipes.scaling.own import read_pairs
from rrm_reward.types import NoVerdict, Verdict, Vote
from tests.support.running_judge import running_judge


def votes(right: str, *, first: bool) -> list[Vote]:
    """Votes of one order: + names the right answer, - the other, ? nobody."""
    choice = {"+": 1 if first else 2, "-": 2 if first else 1}
    return [
        Vote(first, Verdict(choice[c]) if c in choice else Verdict(None, NoVerdict.UNPARSEABLE))
        for c in right
    ]


def drawn(first: str, second: str):
    return (votes(first, first=True), votes(second, first=False))


def test_a_majority_decides_and_a_tie_is_half():
    assert [measure.majority(shares) for shares in ([1, 1, 0], [0, 0, 1], [1, 0], [0.5])] == [1, 0, 0.5, 0.5]


def test_more_votes_make_a_good_judge_better_and_a_biased_one_no_better():
    good = [drawn("++-++-++-", "++-++-++-")] * 2
    assert [round(point.accuracy, 3) for point in measure.over_votes(good, (1, 3))] == [0.667, 1.0]
    biased = [drawn("+" * 9, "-" * 9)] * 2
    assert [point.accuracy for point in measure.over_votes(biased, (1, 3, 9))] == [0.5, 0.5, 0.5]


def test_both_orders_cancel_what_the_position_says():
    slightly_biased = [drawn("+++", "+--")] * 2
    (point,) = measure.over_votes_in_both_orders(slightly_biased, (3,))
    assert (point.x, point.accuracy) == (6, 1.0)
    (alone,) = measure.over_votes(slightly_biased, (3,))
    assert alone.accuracy == 0.5


def test_the_error_is_over_pairs_not_over_votes():
    few, many = [drawn("++", "++"), drawn("--", "--")], [drawn("+" * 40, "+" * 40), drawn("-" * 40, "-" * 40)]
    assert measure.over_votes(few, (1,))[0].stderr == measure.over_votes(many, (1,))[0].stderr == 0.5


def test_a_missing_verdict_is_half_and_counted():
    (point,) = measure.over_votes([drawn("+?", "+?")] * 2, (1,))
    assert (point.accuracy, point.no_verdict) == (0.75, 0.5)


@pytest.fixture(scope="module")
def caps():
    pairs = [labelled(pair) for pair in held_out_pairs(16)]
    points = measure.over_caps(in_process(CHECKPOINTS / "rrm"), pairs, (2, None), votes=1)
    return {point.x: point for point in points}


def test_no_cap_is_really_none(caps):
    assert caps[None].forced == 0
    assert caps[None].no_verdict < 0.05
    assert 12 < caps[None].tokens < LONGEST / 2
    assert caps[None].accuracy > 0.9


def test_a_cap_forces_the_verdict_of_a_judge_that_has_hardly_begun(caps):
    assert caps[2].forced > 0.95
    assert caps[2].tokens == 2
    assert caps[2].accuracy < caps[None].accuracy - 0.2


def test_dips_are_found_by_a_rule():
    def point(x, *by_pair):
        return {"x": x, "accuracy": sum(by_pair) / 3, "stderr": 0.3, "by_pair": list(by_pair)}

    points = [
        point(1, 0.2, 0.5, 0.9),
        point(2, 0.3, 0.4, 0.9),  # no better and no worse
        point(4, 0.2, 0.36, 0.8),  # worse on every pair, though the points' own errors are large
        point(None, 0.1, 0.38, 0.7),  # no more than chance does
    ]
    assert page.dips(points) == ["from 2 to 4: 53.3 ± 30.0 to 45.3 ± 30.0, -8.0 ± 2.0"]


def test_a_page_tells_every_judge_from_the_first_and_every_point_from_one():
    def curve(*columns):
        return [{"x": x, "by_pair": by_pair} for x, by_pair in columns]

    judges = {
        "base": {"caps": curve((1, [0.5, 0.5]), (None, [0.5, 0.7]))},
        "rrm": {"caps": curve((1, [0.6, 0.8]), (None, [1.0, 1.0]))},
    }
    assert page._differences(judges, "caps", "cap", -1).splitlines()[2:] == [
        "| RRM, less base (SFT only) | +20.0 ± 10.0 | +40.0 ± 10.0 |",
        "| base (SFT only), less its own no cap | -10.0 ± 10.0 |  |",
        "| RRM, less its own no cap | -30.0 ± 10.0 |  |",
    ]


def test_differences_are_pair_by_pair():
    one, other = [0.9, 0.5, 0.1], [0.8, 0.4, 0.0]
    mean, error = measure.paired(one, other)
    assert (round(mean, 12), round(error, 12)) == (0.1, 0.0), "pairs that differ much, and alike"
    mean, error = measure.paired([1.0, 0.0, 0.5], [0.0, 0.0, 0.5])
    assert (mean, error) == pytest.approx((1 / 3, 1 / 3))
    with pytest.raises(ValueError, match="shorter"):
        measure.paired(one, other[:2])


def test_the_page_is_written_from_the_committed_figures():
    results = json.loads((DOCS / "scaling.json").read_text())
    assert (DOCS / "scaling.md").read_text() == page.write_page(results, REMARKS.read_text())
    for judge in results["judges"].values():
        assert [point["x"] for point in judge["votes"]] == list(KS)
        assert [point["x"] for point in judge["caps"]] == list(CAPS)
    assert (DOCS / "scaling.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def own_pairs(tmp_path):
    """Pairs as `rrm-reward data pairs` writes them; the judge thinks otherwise of the last two."""

    def row(k):
        texts = f"Good. quality={0.9 if k < 8 else 0.1}", f"Bad. quality={0.1 if k < 8 else 0.9}"
        chosen, rejected = ([{"role": "assistant", "content": text}] for text in texts)
        return {"prompt": [{"role": "user", "content": f"Q{k}?"}], "chosen": chosen, "rejected": rejected}

    table = pyarrow.Table.from_pylist([row(k) for k in range(10)])
    pyarrow.parquet.write_table(table, tmp_path / "val_preferences.parquet")
    verl_rows = pyarrow.Table.from_pylist([{"prompt": [{"role": "user", "content": "judge"}]}])
    pyarrow.parquet.write_table(verl_rows, tmp_path / "val.parquet")
    return tmp_path / "val.parquet"


def test_a_judge_of_ones_own_is_measured_over_http_on_its_held_out_pairs(tmp_path, own_pairs, capsys):
    out = tmp_path / "out"
    given = ["--pairs", str(own_pairs), "--votes", "1", "3", "--caps", "1", "--out", str(out)]
    with running_judge() as judge:
        main(["--judge", judge.url, "--model", judge.model, *given, "judge.temperature=0.5"])
    (curves,) = json.loads((out / "scaling.json").read_text())["judges"].values()
    for name, xs in (("votes", [1, 3]), ("both_orders", [2, 6]), ("caps", [1, None])):
        assert [point["x"] for point in curves[name]] == xs
        if name != "caps":
            assert [point["accuracy"] for point in curves[name]] == [0.8, 0.8]
    assert curves["caps"][1]["accuracy"] == 0.8
    told = capsys.readouterr()
    assert "10 pairs: 100 judgments" in told.err, "before anything is asked"
    assert (out / "scaling.md").read_text() in told.out
    assert (out / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_pairs_without_labels_are_refused_by_name(tmp_path, own_pairs):
    assert len(read_pairs(own_pairs, limit=3)) == 3
    (tmp_path / "val_preferences.parquet").unlink()
    with pytest.raises(SystemExit, match="no column chosen"):
        read_pairs(own_pairs)


def test_the_file_of_results_holds_a_list_of_numbers_on_one_line():
    results = {"judges": {"a": {"votes": [{"x": None, "by_pair": [0.5, 1.0, 1e-05]}]}}, "none": []}
    text = page.as_json(results)
    assert json.loads(text) == results
    assert '"by_pair": [ 0.5, 1.0, 1e-05 ]' in text
