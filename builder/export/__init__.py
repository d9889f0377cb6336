"""Version -> portable models, compared with their source and priced in seconds. `stage.export` runs it; `record` is what comes out."""
