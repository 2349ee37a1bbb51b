"""Backends for problems of any kind.

::

    python_function.py  a Python function of a user's own
    csv_table.py        a CSV file with named columns
    table.py            a table of measured configurations
    classic.py          ZDT and DTLZ, the classic test problems
"""
