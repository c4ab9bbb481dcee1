"""DKIM key rotation: a new key takes the place of an old one, and no mail meets a key that is not published.

::

    [dkim.rotation] ─► config.py     settings
    date, table ─────► selectors.py  names of new keys                                       (pure)
    KeyTable ────────► key_table.py  who uses which key; the text with one entry changed      (pure)
    DNS answers ─────► visibility.py is the record everywhere, or gone everywhere             (pure)
    all of it ───────► plan.py       the one step that is next, and the state after it        (pure)
    state.py                         one rotation, as it is kept between runs
    ports.py, run.py                 looks, asks plan.py, does the step; every step can be done twice

actors/adapters/rotation_files.py keeps states, keys and the KeyTable, authority.py asks the name servers, publishers.py
changes DNS. `tamis dkim rotate` (cli/dkim_rotate.py) is the only user.
"""
