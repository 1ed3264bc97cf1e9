"""A trained network -> a model folder: ONNX file, manifest, model card; and smaller variants of it."""
