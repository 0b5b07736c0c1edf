"""Facts about gradients, weights, data and modules, bounded in cost."""
