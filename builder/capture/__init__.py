"""A machine as it is: a tiny kernel writes down what it runs on, and comes home as `machines/<name>.toml`."""
