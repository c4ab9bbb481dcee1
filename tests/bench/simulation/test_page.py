"""docs/capacity.md says what bench/simulation/fit.json holds."""

import xml.etree.ElementTree as ET

import msgspec

from bench.simulation.figures import FIT, Fit
from bench.simulation.page import PAGE, PICTURE, page, picture


def fitted() -> Fit:
    return msgspec.json.decode(FIT.read_bytes(), type=Fit)


def test_the_page_is_made_from_the_committed_fit() -> None:
    again = "python -m bench.simulation page"
    assert PAGE.read_text() == page(fitted()), again
    assert PICTURE.read_text() == picture(fitted().comparisons), again


def test_the_picture_is_an_image_with_three_dots_for_each_load() -> None:
    root = ET.fromstring(picture(fitted().comparisons))  # noqa: S314  our own
    dots = [element for element in root.iter() if element.tag.endswith("circle")]
    assert len(dots) == 3 * len(fitted().comparisons)


def test_the_fit_holds_figures_only() -> None:
    def strings(value: object) -> set[str]:
        if isinstance(value, str):
            return {value}
        if isinstance(value, dict):
            return set().union(*map(strings, value.values()))
        return set().union(*map(strings, value)) if isinstance(value, list) else set()

    recording = msgspec.json.decode(FIT.read_bytes())["recording"]
    assert not strings(recording["shapes"])
