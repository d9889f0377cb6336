"""Networks for cells: modules from what the runtime's readers make of text and tables to logits."""
