"""Fine-tuning of pretrained models: which weights learn, what they learn for, and the loop.

- `backbone.py` opens a language model, and pools what it says of a text into a vector.
- `methods.py` says which of its weights learn: all, the top layers, or adapters (PEFT).
- `heads.py` are the tasks: quantiles, points, classes, and several of them at once.
- `adversarial.py` moves word embeddings the worst way; `text_augmentation.py` and `rewording.py` say texts in other words.
- `loop.py` trains, `plan.py` has its rules, `distributed.py` lets several processes share a batch.
- `stored.py` keeps what was learned beside the name of its base model.

Chronos learns through the same loop (`pretrained/tuning.py`). For the two members that read texts: `prompts.py` says a week
ahead in words, `weeks.py` makes examples of them, `answers.py` reads distributions from heads, and `text_training.py`
trains the text regression; `reader.py` reads item texts, and `fusion_training.py` trains a language model together with a
series network.
"""
