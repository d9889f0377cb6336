"""Plan and models in, dataset folders and wheels out: everything that the notebook will find mounted."""
