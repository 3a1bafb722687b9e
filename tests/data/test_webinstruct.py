"""WebInstruct rows for verl: no answers, no duplicates, the same rows everywhere."""

import json

import datasets
import pyarrow.parquet as parquet
import pytest

from rrm_reward import cli
from rrm_reward.data.webinstruct import INSTRUCTION, SOURCE, prepare, select
from rrm_reward.errors import ConfigError, InputError

ROWS = [
    {
        "id": f"id-{k}",
        "question": f"How much is {k} + {k}?",
        "answer": f"ANSWER-{k}-SECRET",
        "answer_type": "Integer",
        "category": "Mathematics" if k % 2 else "Physics",
        "difficulty": "University",
    }
    for k in range(30)
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def source(tmp_path):
    return write(tmp_path / "rows.jsonl", ROWS)


def write(path, rows):
    if path.suffix == ".parquet":
        datasets.Dataset.from_list(rows).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def read(path):
    return parquet.read_table(path).to_pylist()


def test_a_row_is_what_verl_reads(source, tmp_path):
    out = tmp_path / "out.parquet"
    prepare(out, source=source)
    row = next(row for row in read(out) if row["extra_info"]["id"] == "id-7")
    assert row == {
        "data_source": SOURCE,
        "prompt": [{"role": "user", "content": f"How much is 7 + 7?\n\n{INSTRUCTION}"}],
        "ability": "Mathematics",
        "reward_model": {"style": "rrm", "ground_truth": ""},
        "extra_info": {
            "split": "train",
            "index": 7,
            "id": "id-7",
            "answer_type": "Integer",
            "category": "Mathematics",
            "difficulty": "University",
        },
    }


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_no_answer_is_anywhere_in_the_file(tmp_path, suffix):
    rows = [{**row, "solution": row["answer"], "final_answer": row["answer"]} for row in ROWS]
    out = tmp_path / "out.parquet"
    prepare(out, source=write(tmp_path / f"rows.{suffix}", rows))
    table = parquet.read_table(out)
    assert len(table) == len(ROWS)
    assert "SECRET" not in json.dumps(table.to_pylist())
    assert "SECRET" not in str(table.schema.metadata)
    assert b"SECRET" not in out.read_bytes()


def test_answers_are_kept_for_validation_on_request_only(source, tmp_path):
    out = tmp_path / "val.parquet"
    prepare(out, source=source, split="test", keep_answers=True)
    for row in read(out):
        assert row["reward_model"]["ground_truth"] == f"ANSWER-{row['extra_info']['index']}-SECRET"
        assert row["extra_info"]["split"] == "test"


def test_a_folder_of_parquet_is_a_source_with_its_splits(tmp_path):
    folder = tmp_path / "mirror" / "data"
    folder.mkdir(parents=True)
    write(folder / "train-00000-of-00001.parquet", ROWS[:20])
    write(folder / "test-00000-of-00001.parquet", ROWS[20:])
    out = tmp_path / "out.parquet"
    assert prepare(out, source=str(tmp_path / "mirror"), split="test").rows == 10
    assert {row["extra_info"]["id"] for row in read(out)} == {row["id"] for row in ROWS[20:]}


def test_empty_repeated_and_long_questions_are_dropped_and_counted():
    rows = [
        {**ROWS[0], "question": "What?"},
        {**ROWS[1], "question": "  What? \n"},
        {**ROWS[2], "question": " "},
        {**ROWS[3], "question": None},
        {**ROWS[4], "question": "x" * 11},
        {**ROWS[5], "question": "x" * 10},
    ]
    kept, written = select(rows, max_chars=10)
    assert sorted(index for index, _ in kept) == [0, 5]
    assert (written.read, written.empty, written.duplicates, written.too_long, written.rows) == (
        6,
        2,
        1,
        1,
        2,
    )
    assert str(written) == "2 rows of 6 (2 empty, 1 duplicates and 1 too long ones dropped)"


def test_a_row_without_an_answer_is_no_validation_row():
    rows = [{**ROWS[0], "answer": ""}, ROWS[1]]
    assert [index for index, _ in select(rows, keep_answers=True)[0]] == [1]
    assert len(select(rows)[0]) == 2


def test_the_seed_decides_the_order_and_the_limit_cuts_it():
    order = [index for index, _ in select(ROWS, seed=1)[0]]
    assert order == [index for index, _ in select(ROWS, seed=1)[0]]
    assert order != sorted(order)
    assert order != [index for index, _ in select(ROWS, seed=2)[0]]
    assert [index for index, _ in select(ROWS, seed=1, limit=5)[0]] == order[:5]


def test_the_same_source_and_seed_give_the_same_bytes(source, tmp_path):
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    prepare(one, source=source, limit=9)
    prepare(two, source=source, limit=9)
    assert one.read_bytes() == two.read_bytes()


def test_labels_may_be_missing_and_ids_may_be_numbers(tmp_path):
    source = write(tmp_path / "rows.jsonl", [{"id": 7, "question": "Why?"}])
    prepare(tmp_path / "out.parquet", source=source, instruction="")
    (row,) = read(tmp_path / "out.parquet")
    assert row["prompt"] == [{"role": "user", "content": "Why?"}]
    assert row["ability"] == "reasoning"
    assert row["extra_info"]["id"] == "7"


def test_a_source_of_another_schema_names_its_columns(tmp_path):
    source = write(tmp_path / "rows.jsonl", [{"id": 1, "problem": "Why?"}])
    with pytest.raises(InputError, match="has no column 'question', only id, problem"):
        prepare(tmp_path / "out.parquet", source=source)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "--limit=0: must be at least 1"),
        ({"max_chars": 1}, "no row is left to write"),
        ({"source": "rows.csv"}, "must end in one of .parquet, .jsonl, .json"),
    ],
)
def test_what_cannot_work_is_named_with_its_fix_and_writes_nothing(
    source, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").touch()
    with pytest.raises(ConfigError, match=message):
        prepare(tmp_path / "out.parquet", **{"source": source, **options})
    assert not (tmp_path / "out.parquet").exists()


def test_a_source_that_cannot_be_loaded_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="split 'train' cannot be loaded"):
        prepare(tmp_path / "out.parquet", source=str(tmp_path / "empty"))


def test_without_datasets_the_extra_to_install_is_named(source, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"pip install 'rrm-reward\[data\]'"):
        prepare(tmp_path / "out.parquet", source=source)


def test_the_command_prints_what_it_wrote(source, tmp_path, capfd):
    out = tmp_path / "out.parquet"
    assert cli.main(["data", "webinstruct", str(out), "--source", source, "--limit", "3"]) == 0
    assert f"{out}: 3 rows of 30" in capfd.readouterr().out
    assert cli.main(["data", "webinstruct", str(out), "--source", source, "--limit", "0"]) == 2
    assert "--limit=0" in capfd.readouterr().err
