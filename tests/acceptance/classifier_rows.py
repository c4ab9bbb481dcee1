"""The lines of `make accept-classifier` that are tests: what must hold, and which tests prove it."""

from tests.acceptance.pytests import Row
from tests.acceptance.rows import Group

CLASSIFIER = "tests/actors/classifier"
CLI = "tests/cli"

EVALUATE = Group(
    "evaluate",
    180,
    (
        Row("evaluate_measures_against_slow_oracles", (f"{CLASSIFIER}/test_evaluation.py",)),
        Row("evaluate_traces_of_collections", (f"{CLASSIFIER}/test_traces.py",)),
        Row("evaluate_folders_maildirs_mbox", (f"{CLASSIFIER}/test_corpus.py",)),
        Row("evaluate_in_date_order", (f"{CLASSIFIER}/test_online.py",)),
        Row("evaluate_slices", (f"{CLASSIFIER}/test_slices.py",)),
        Row("evaluate_tables_json_plots", (f"{CLI}/test_evaluate.py",)),
        Row("evaluate_bogofilter_beside", (f"{CLI}/test_bogofilter.py",)),
    ),
)
WORKING = Group(
    "working",
    300,
    (
        Row("learning_pure", (f"{CLASSIFIER}/learning",)),
        Row("learning_survives_kills_and_converges", ("tests/live/test_learning.py",)),
        Row("learning_in_a_cell_within_5_s", ("tests/live/test_learning_cell.py",)),
        Row("learn_command", (f"{CLI}/test_learn.py",)),
        Row("campaigns_find_mutated_copies", (f"{CLASSIFIER}/campaigns",)),
        Row("campaigns_in_a_cell", ("tests/live/test_campaigns.py",)),
        Row("model_in_shadow_counted", (f"{CLASSIFIER}/test_shadow.py",)),
        Row(
            "model_canary_stops_by_itself",
            ("tests/cluster/supervisor/test_canary.py", "tests/cluster/test_live_model.py"),
        ),
    ),
)
GROUPS = (EVALUATE, WORKING)
