"""Config -> Version: folds, transforms, the loop, out-of-fold predictions. `stage.train` runs it; `record` is what comes out."""
