"""Supernets: one training whose weights every architecture of a space inherits.

Modules, from the bottom up::

    extremes.py      smallest and largest architecture, and those that span all shapes
    slicing.py       which entries of shared weights belong to an architecture
    shared_weights.py  weights of all architectures, and dense models with them
    config.py        settings of a training
    output_loss.py   cross-entropy with soft targets, in chunks of tokens
    ordering.py      order of heads and neurons by importance
    parallel.py      processes of one training, one for each device
    step_code.py     compiled code that all steps share
    sandwich.py      the gradient of a step: sandwich rule, in-place distillation
    supernet_file.py files of weights, as safetensors
    checkpoint.py    files of trainings that can continue
    train_loop.py    the training
    evaluation.py    perplexities of inherited weights, and their table
"""
