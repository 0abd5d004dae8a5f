"""The parts of the Text Perceptron (Qiao et al. 2020): maps of words, points of their sides, straightened crops."""
