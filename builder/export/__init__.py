"""Version -> portable models, compared with their source and priced. `stage.export` runs it; `record` is what comes out."""
