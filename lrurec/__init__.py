"""LRURec (Yue et al., WSDM 2024) as tensors: scan, layers, model, losses, training, weights."""
