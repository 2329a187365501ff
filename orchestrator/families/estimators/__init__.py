"""scikit-learn's classifiers and regressors, and those of packages that speak like it, as model families."""
