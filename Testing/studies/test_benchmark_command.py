"""`glidereg benchmark`: from a data set to tables, plots and one line for each mistake."""

import csv
import sys

import pytest

COPY = "cp {folder}/../../../../identity.tfm {folder}/t.tfm"
IDENTITY = f"command:mine={COPY} => transform:{{folder}}/t.tfm"
TRANSFORM = """#Insight Transform File V1.0
#Transform 0
Transform: TranslationTransform_double_3_3
Parameters: 0 0 0
FixedParameters:
"""


@pytest.fixture
def pairs(phantom_folder, tmp_path):
    """A table of two pairs with landmarks, both the small phantom."""
    roles = ("fixed", "moving", "fixed_points", "moving_points")
    files = ("fixed.nii.gz", "moving.nii.gz", "fixed_landmarks.csv", "moving_landmarks.csv")
    paths = ",".join(str(phantom_folder / file) for file in files)
    table = tmp_path / "pairs.csv"
    table.write_text(f"name,{','.join(roles)}\nfirst,{paths}\nsecond,{paths}\n", encoding="utf-8")
    (tmp_path / "identity.tfm").write_text(TRANSFORM, encoding="utf-8")
    return table


def test_a_data_set_becomes_tables_and_plots(glidereg, pairs, tmp_path):
    out = tmp_path / "out"
    command = ("benchmark", "pairs", pairs, "-o", out, "--methods", "none", "--methods", IDENTITY)
    status, output, _ = glidereg(*command)
    assert status == 0
    files = {path.name for path in out.iterdir() if path.is_file()}
    assert files == {"results.csv", "results.json", "table.md", "error_curves.png", "errors_by_case.png"}
    assert (out / "table.md").read_text(encoding="utf-8").strip() in output
    rows = list(csv.DictReader((out / "results.csv").open(encoding="utf-8")))
    assert [(row["case"], row["method"], row["status"]) for row in rows] == [
        (case, method, "done") for case in ("first", "second") for method in ("none", "mine")
    ]
    assert len({row["tre_mean"] for row in rows}) == 1
    assert float(rows[0]["tre_mean"]) == float(rows[0]["tre_initial_mean"]) > 1


def test_only_the_cases_asked_for_are_run_and_quiet_is_quiet(glidereg, pairs, tmp_path):
    out = tmp_path / "out"
    call = glidereg(
        "benchmark", "pairs", pairs, "-o", out, "--methods", "none", "--cases", "second", "--quiet"
    )
    assert call == (0, "", "")
    assert [path.name for path in (out / "records").iterdir()] == ["second"]


def test_a_second_call_tells_that_nothing_was_to_be_done(glidereg, pairs, tmp_path):
    command = ("benchmark", "pairs", pairs, "-o", tmp_path / "out", "--methods", "none", "--cases", "first")
    assert "first, none: done in" in glidereg(*command)[2]
    assert "first, none: done before" in glidereg(*command)[2]


def test_generated_pairs_need_no_folder_and_are_judged_by_their_truth(glidereg, tmp_path):
    out = tmp_path / "out"
    options = ("--seeds", "3", "--amplitude", "8", "--size", "small", "--methods", "none")
    status, output, _ = glidereg("benchmark", "phantom", "-o", out, *options)
    assert status == 0
    rows = list(csv.DictReader((out / "results.csv").open(encoding="utf-8")))
    assert [row["case"] for row in rows] == ["phantom_3_8mm"]
    assert 4 < float(rows[0]["truth_max"]) < 8.5
    assert float(rows[0]["dice_lung_left"]) < 1
    assert "Dice lung left" in output


def test_the_ablation_lists_what_needs_a_checkpoint(glidereg, pairs, tmp_path, monkeypatch):
    from GLIDERegLib.studies.benchmark.ablation import Configuration

    monkeypatch.setattr(Configuration, "command", lambda row, task: [sys.executable, "-c", "exit(3)"])
    out = tmp_path / "out"
    status, output, _ = glidereg("benchmark", "pairs", pairs, "-o", out, "--ablation", "--cases", "first")
    assert status == 0
    assert "local on first: failed." in output
    missing = next(line for line in output.splitlines() if line.startswith("- missing: "))
    assert missing.count(",") >= 11 and "dynamic-both-memory. Global features need a SAM2" in missing
    assert "weights: none" in output


def test_the_list_names_data_sets_and_methods(glidereg):
    status, output, _ = glidereg("benchmark", "--list")
    assert status == 0
    for word in ("lung250m", "dirlabcopd", "phantom", "none: ready", "glidereg-default", "convexadam"):
        assert word in output


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((), "--list"),
        (("phantom",), "-o DIR"),
        (("lung250m", "-o", "out"), "lung250m FOLDER"),
        (("lung250m", "nowhere", "-o", "out"), "nowhere"),
        (("lungs", ".", "-o", "out"), "lungs"),
        (("phantom", "here", "-o", "out"), "no folder"),
        (("phantom", "-o", "out", "--seeds", "one"), "one"),
        (("phantom", "-o", "out", "--seeds", "0,-1"), "-1"),
        (("phantom", "-o", "out", "--seeds", ""), "seeds"),
        (("phantom", "-o", "out", "--methods", ""), "method"),
        (("phantom", "-o", "out", "--methods", "magic"), "magic"),
        (("phantom", "-o", "out", "--methods", "none", "--reference", "syn"), "syn"),
        (("phantom", "-o", "out", "--threads", "0"), "threads"),
        (("phantom", "-o", "out", "--timeout", "0"), "time-out"),
        (("phantom", "-o", "out", "--ablation", "--methods", "none"), "--ablation"),
        (("phantom", "-o", "out", "--checkpoint", "a.pt"), "--ablation"),
        (("phantom", "-o", "out", "--ablation", "--checkpoint", "nowhere.pt"), "nowhere.pt"),
        (("phantom", "-o", "out", "--ablation", "--encoder", "sam9"), "sam9"),
        (("phantom", "-o", "out", "--ablation", "--preset", "best"), "best"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_line_and_leaves_nothing(glidereg, tmp_path, monkeypatch, arguments, word):
    monkeypatch.chdir(tmp_path)
    status, _, errors = glidereg("benchmark", *arguments)
    assert status == 2 and errors.count("\n") == 1 and word in errors
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_case_is_refused_with_the_names_there_are(glidereg, pairs, tmp_path):
    status, _, errors = glidereg("benchmark", "pairs", pairs, "-o", tmp_path / "out", "--cases", "third")
    assert status == 2 and "third" in errors and "first, second" in errors


def test_ctrl_c_keeps_what_is_done(glidereg, pairs, tmp_path, monkeypatch):
    from GLIDERegLib.studies.benchmark import run

    def stop(*given):
        raise KeyboardInterrupt

    command = ("benchmark", "pairs", pairs, "-o", tmp_path / "out", "--methods", "none", "--cases", "first")
    with monkeypatch.context() as patch:
        patch.setattr(run, "_tell", stop)
        status, _, errors = glidereg(*command)
    assert status == 130 and "goes on from there" in errors
    assert (tmp_path / "out/records/first/none.json").is_file()
    assert "first, none: done before" in glidereg(*command)[2]
