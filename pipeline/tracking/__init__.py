"""What a tracked model version is made of: plots of a few items, and the served model.

Pure code that MLflow stores or draws; where it is stored is `resources/tracking.py`'s business. This room imports no
stage, because it is shipped inside every model version (see `served_model.py`).
"""
