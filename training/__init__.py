"""Scripts that train the small model from nothing: drawn people, made speech, one GPU or several."""
