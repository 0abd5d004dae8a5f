"""An independent scorer: exact even-odd areas by slabs in pure Python, and the official loops, one pair at a time."""

import itertools
import math
import re

SPECIALS = "!?.:,*\"()·[]/' "


def _edges(polygon):
    return [(polygon[i - 1], polygon[i]) for i in range(len(polygon)) if polygon[i - 1][1] != polygon[i][1]]


def _cross_y(first, second):
    (ax, ay), (bx, by) = first
    (cx, cy), (dx, dy) = second
    below = (bx - ax) * (dy - cy) - (by - ay) * (dx - cx)
    if below == 0:
        return None
    t = ((cx - ax) * (dy - cy) - (cy - ay) * (dx - cx)) / below
    return ay + t * (by - ay) if 0 <= t <= 1 else None


def common_area(first, second):
    """Area inside both polygons by the even-odd rule; `common_area(p, p)` is the area of p."""
    edges = [(edge, 0) for edge in _edges(first)] + [(edge, 1) for edge in _edges(second)]
    levels = {point[1] for edge, _ in edges for point in edge}
    levels |= {y for (a, _), (b, _) in itertools.combinations(edges, 2) if (y := _cross_y(a, b)) is not None}
    area = 0.0
    for low, high in itertools.pairwise(sorted(levels)):
        middle = (low + high) / 2
        crossings = sorted(
            (ax + (middle - ay) / (by - ay) * (bx - ax), owner)
            for ((ax, ay), (bx, by)), owner in edges
            if min(ay, by) < middle < max(ay, by)
        )
        inside, left = [False, False], 0.0
        for x, owner in crossings:
            if all(inside):
                area += (x - left) * (high - low)
            inside[owner] = not inside[owner]
            left = x
    return area


def official_counts(truth, detections, task, truncate, dont_care="###"):
    """(matched, detections, words) of one image; both lists hold (polygon, text)."""
    whole = (lambda polygon: [(math.trunc(x), math.trunc(y)) for x, y in polygon]) if truncate else list
    words, detected = [whole(p) for p, _ in truth], [whole(p) for p, _ in detections]
    wanted, skipped = [], set()
    for index, (_, text) in enumerate(truth):
        if re.fullmatch(dont_care, text) or (task == "word_spotting" and not _in_dictionary(_cleaned(text))):
            skipped.add(index)
        wanted.append(_cleaned(text) if task == "word_spotting" else text)
    absorbed = set()
    for j, polygon in enumerate(detected):
        area = common_area(polygon, polygon)
        if area > 0 and any(common_area(words[i], polygon) / area > 0.5 for i in skipped):
            absorbed.add(j)
    used_words, used_detections, matched = set(), set(), 0
    for i, word in enumerate(words):
        for j, polygon in enumerate(detected):
            if i in skipped or j in absorbed or i in used_words or j in used_detections:
                continue
            both = common_area(word, polygon)
            union = common_area(word, word) + common_area(polygon, polygon) - both
            if union > 0 and both / union > 0.5:
                used_words.add(i)
                used_detections.add(j)
                matched += _equal(wanted[i].upper(), detections[j][1].upper(), task)
    return matched, len(detected) - len(absorbed), len(words) - len(skipped)


def _cleaned(text):
    text = re.sub("'[sS]$", "", text).strip("-")
    return re.sub(r"[]['!?.:,*\"()·/]", " ", text).strip()


def _in_dictionary(text):
    return re.fullmatch("[a-zA-Z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01bf\u01c4-\u027f\u0386-\u03ff-]{3,}", text)


def _equal(truth, detected, task):
    if task == "detection" or truth == detected:
        return True
    if task == "word_spotting" or not truth:
        return False
    first, last = truth[0] in SPECIALS, truth[-1] in SPECIALS
    return (
        (first and truth[1:] == detected) or (last and truth[:-1] == detected) or (first and last and truth[1:-1] == detected)
    )
