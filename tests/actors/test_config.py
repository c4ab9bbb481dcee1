"""actors/config.py: what an operator cannot have meant is refused when the file is read."""

from pathlib import Path

import pytest

from cli.config import TamisConfig
from wire.config import ConfigError, load


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[headers]\ndegraded = ""', "`degraded` must not be empty"),
        ('[headers]\nscore = "X Spam"', "`score` must be a header field name"),
        ('[headers]\nauthserv_id = "a\\r\\nX: y"', "`authserv_id` must be printable ASCII"),
        ('[policy.on_error]\ndkim = "shrug"', "`dkim` must be ignore, tempfail, quarantine or reject"),
        ('[policy.on_error]\nuninspected = "tempfail"', "`uninspected` must be ignore, quarantine or reject"),
        ('[policy.lists]\nallow_clients = ["10.0.0.0/33"]', "no IP address or network"),
        ("[policy]\nadd_header_score = 0.0", "`add_header_score` must be greater than 0"),
        ("[policy]\nclassifier_spam_probability = 1.0", "must be between 0 and 1"),
        ("[policy.spf_points]\nfail = inf", "points and scores must be numbers"),
    ],
)
def test_impossible_settings_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "tamis.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        load(path, TamisConfig)
