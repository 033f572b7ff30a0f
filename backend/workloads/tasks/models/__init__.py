"""Text classifiers: small, trained on stored samples, measured on others, kept without pickle."""
