"""Plan + datasets -> notebook.ipynb and kernel-metadata.json. `stage.render` runs it; templates hold no logic beyond loops."""
