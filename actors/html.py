"""The visible text of HTML, by turbohtml; the one module that imports it.

turbohtml parses as browsers do, caps nesting and stays linear on hostile input (libraries.md section 3), but it is
young and holds the GIL: everything we use of it is here, and callers cap the source before they pass it.
"""

import turbohtml


def html_text(source: str) -> str:
    """Text of a document or fragment as a reader would get it; blocks and cells are kept apart by white space.

    Hidden elements are included, scripts, style sheets and comments are not. Total: any string gives a string.
    """
    return turbohtml.parse(source).to_text()
