"""Words cut out of the photo as straightened strips and read: everything of it that is no network, in NumPy and OpenCV.

sides -> cutting -> grouping -> (a network reads, see `dld.modeling.recognition.strip_recognizer`) -> collapsing -> scoring;
`reading` puts them together for PyTorch and for ONNX alike.
"""
