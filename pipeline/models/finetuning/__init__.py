"""Fine-tuning of pretrained language models: which weights learn, what they learn for, and the loop.

- `backbone.py` opens a language model, and pools what it says of a text into a vector.
- `methods.py` says which of its weights learn: all, the top layers, or adapters (PEFT).
- `heads.py` are the tasks: quantiles, points, classes, and several of them at once.
- `loop.py` trains, `plan.py` has its rules, `distributed.py` lets several processes share a batch.
- `prompts.py` says a series and the days ahead in words; `bins.py` reads classes of units as a distribution.
- `stored.py` keeps what was learned beside the name of its base model.

What does not belong here: any forecaster; `text_regression.py` and `fusion.py` stand beside this room.
"""
