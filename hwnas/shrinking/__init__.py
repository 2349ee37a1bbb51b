"""Smaller versions of a trained language model: which parts it can do without, on which device.

::

    pretrained.py     a Llama of the library transformers, or of ``hwnas build``, as our model
    members.py        the space of its smaller versions
    sliced_model.py   a smaller version as views of the weights, or with weights of its own
    importance.py     order of heads and neurons by importance
    block_scores.py   loss that each alternative of a layer adds alone
    block_times.py    time of each alternative of a layer on this machine
    correction.py     correction of the scores by evaluated members
    evaluations.py    losses of members, kept in a file
    front_search.py   members of the front, evaluated in rounds
    plan.py           settings of a directory, and the model and text that they stand for
    backend.py        the backend ``shrink``: perplexities of smaller versions, for any optimizer
    healing.py        distillation from the model
    report.py         predictions against real losses, and the front
    workflow.py       all of it, step by step, in one directory
"""
