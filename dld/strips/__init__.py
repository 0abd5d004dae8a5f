"""Words cut out of the photo as straightened strips and read: everything of it that is no network, in NumPy and OpenCV.

sides -> cutting -> grouping -> (a network reads, see `dld.modeling.recognition.strip_recognizer`) -> collapsing -> joining ->
splitting -> scoring; `photo_strips` holds what goes from one to the next, `reading` puts them together for PyTorch and for ONNX
alike, by the `rules` of the configuration.
"""
