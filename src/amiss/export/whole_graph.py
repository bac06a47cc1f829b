"""The whole way of an image as one ONNX graph: pixels of any size in, score, p-value, decision and map out.

The scorer's graph (see `onnx_graph`) stands in the middle; before it the preprocessing, behind it the decision. Both
are written here in ONNX's own text form, with plain operators alone: of Resize with antialiasing each runtime makes
something else, or nothing.

Shape legend: n images, t frames of a clip, h x w pixels of any size with c channels; H x W pixels with C channels after
preprocessing, of which the inner ones show the image and the others its mirror image.
"""

from __future__ import annotations

from collections.abc import Mapping
from string import Template
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import compose, helper, inliner, numpy_helper, parser, version_converter

from ..calibration import Decision
from ..data.preprocessing import Preprocessing

#: The lowest operator set with all that is used here.
_OPSET = 18

#: `taps` says of which source pixels a target pixel is made, and with which weights: those of a triangle as wide as a
#: source or a target pixel, whichever is larger. `filtered` is one of Pillow's two passes, from 8 bits to 8 bits: its
#: weights are multiples of 2^-22 and its sums exact, so each weight is cut here into two halves of eleven bits, whose
#: sums float32 holds exactly on any runtime. In `resized` the height comes first where Pillow 13 begins with it; of the
#: other way only a single row or column is followed, because branches are what runtimes are worst at.
_FUNCTIONS = """
<domain: "amiss", opset_import: ["": $opset]>
taps (length, size) => (sources, weights)
{
    zero = Constant<value_int: int = 0>()
    one = Constant<value_int: int = 1>()
    two = Constant<value_int: int = 2>()
    last = Constant<value_ints: ints = [1]>()
    s = Squeeze(length)
    t = Squeeze(size)
    s64 = Cast<to: int = 11>(s)
    t64 = Cast<to: int = 11>(t)
    ratio = Div(s64, t64)
    support = Ceil(ratio)
    reach = Cast<to: int = 7>(support)
    twice_reach = Mul(two, reach)
    count = Add(twice_reach, one)
    targets = Range(zero, t, one)
    column = Unsqueeze(targets, last)
    twice_target = Mul(two, column)
    odd_target = Add(twice_target, one)
    to = Mul(odd_target, s)
    larger = Max(s, t)
    width = Mul(two, larger)
    left = Sub(to, width)
    left_edge = Add(left, t)
    left64 = Cast<to: int = 11>(left_edge)
    step = Mul(two, t)
    step64 = Cast<to: int = 11>(step)
    first_exact = Div(left64, step64)
    first_floor = Floor(first_exact)
    first = Cast<to: int = 7>(first_floor)
    further = Range(zero, count, one)
    all = Add(first, further)
    end = Sub(s, one)
    not_before = Max(all, zero)
    sources = Min(not_before, end)
    there = Equal(sources, all)
    twice_source = Mul(two, sources)
    odd_source = Add(twice_source, one)
    from = Mul(odd_source, t)
    signed = Sub(from, to)
    distance = Abs(signed)
    triangle = Sub(width, distance)
    inside = Max(triangle, zero)
    counted = Where(there, inside, zero)
    sum = ReduceSum<keepdims: int = 1>(counted, last)
    numerator = Cast<to: int = 11>(counted)
    denominator = Cast<to: int = 11>(sum)
    weights = Div(numerator, denominator)
}
<domain: "amiss", opset_import: ["": $opset, "amiss": 1]>
filtered (x, length, size) => (y)
{
    one = Constant<value_ints: ints = [1]>()
    lines = Shape<start: int = 1, end: int = 2>(x)
    last_line = Sub(lines, one)
    half = Constant<value_float: float = 0.5>()
    steps = Constant<value_float: float = 4194304.0>()
    step = Constant<value_float: float = 2048.0>()
    half_step = Constant<value_float: float = 1024.0>()
    half64 = Cast<to: int = 11>(half)
    steps64 = Cast<to: int = 11>(steps)
    step64 = Cast<to: int = 11>(step)
    all_sources, weights = amiss.taps(length, size)
    sources = Min(all_sources, last_line)
    exact = Mul(weights, steps64)
    above = Add(exact, half64)
    whole = Floor(above)
    divided = Div(whole, step64)
    high64 = Floor(divided)
    of_high = Mul(high64, step64)
    low64 = Sub(whole, of_high)
    upright_high = Unsqueeze(high64, one)
    upright_low = Unsqueeze(low64, one)
    halves64 = Concat<axis: int = 1>(upright_high, upright_low)
    halves = Cast<to: int = 1>(halves64)
    shape_flat = Constant<value_ints: ints = [0, 0, -1]>()
    others = Shape<start: int = 2>(x)
    images = Shape<start: int = 0, end: int = 1>(x)
    back = Concat<axis: int = 0>(images, size, others)
    flat = Reshape(x, shape_flat)
    taken8 = Gather<axis: int = 1>(flat, sources)
    taken = Cast<to: int = 1>(taken8)
    sums = MatMul(halves, taken)
    two_axis = Constant<value_ints: ints = [2]>()
    zero = Constant<value_ints: ints = [0]>()
    two = Constant<value_ints: ints = [2]>()
    high = Slice(sums, zero, one, two_axis)
    low = Slice(sums, one, two, two_axis)
    from_low = Div(low, step)
    carried = Floor(from_low)
    sum = Add(high, carried)
    raised = Add(sum, half_step)
    y_exact = Div(raised, step)
    y_floor = Floor(y_exact)
    y = Reshape(y_floor, back)
}
<domain: "amiss", opset_import: ["": $opset, "amiss": 1]>
filtered_across (x, length, size) => (y)
{
    turned = Transpose<perm: ints = [0, 2, 1, 3]>(x)
    narrow = amiss.filtered(turned, length, size)
    y = Transpose<perm: ints = [0, 2, 1, 3]>(narrow)
}
<domain: "amiss", opset_import: ["": $opset, "amiss": 1]>
resized (x, h, w, height, width) => (y)
{
    zero = Constant<value_ints: ints = [0]>()
    one = Constant<value_ints: ints = [1]>()
    two = Constant<value_ints: ints = [2]>()
    less_high = Sub(h, height)
    less_wide = Sub(w, width)
    twice_less_wide = Mul(two, less_wide)
    shrinks = Less(height, h)
    flattens = Greater(less_high, twice_less_wide)
    height_first = And(shrinks, flattens)
    rows_left = Where(height_first, one, h)
    columns_left = Where(height_first, w, one)
    upper = Slice(x, zero, rows_left, one)
    narrow = amiss.filtered_across(upper, w, width)
    width_then_height = amiss.filtered(narrow, h, height)
    left = Slice(x, zero, columns_left, two)
    low = amiss.filtered(left, h, height)
    height_then_width = amiss.filtered_across(low, w, width)
    y = Where(height_first, height_then_width, width_then_height)
}
<domain: "amiss", opset_import: ["": $opset, "amiss": 1]>
interpolated (x, length, size) => (y)
{
    one = Constant<value_ints: ints = [1]>()
    two = Constant<value_ints: ints = [2]>()
    sources, weights64 = amiss.taps(length, size)
    weights = Cast<to: int = 1>(weights64)
    shares = Unsqueeze(weights, one)
    taken = Gather<axis: int = 1>(x, sources)
    sums = MatMul(shares, taken)
    y = Squeeze(sums, two)
}
<domain: "amiss", opset_import: ["": $opset]>
shrunk (h, w, height, width) => (inner_height, inner_width)
{
    largest_scale = Constant<value_float: float = 1.0>()
    smallest_side = Constant<value_int: int = 1>()
    one = Cast<to: int = 11>(largest_scale)
    h64 = Cast<to: int = 11>(h)
    w64 = Cast<to: int = 11>(w)
    height64 = Cast<to: int = 11>(height)
    width64 = Cast<to: int = 11>(width)
    by_height = Div(height64, h64)
    by_width = Div(width64, w64)
    scale = Min(one, by_height, by_width)
    exact_height = Mul(h64, scale)
    exact_width = Mul(w64, scale)
    even_height = Round(exact_height)
    even_width = Round(exact_width)
    whole_height = Cast<to: int = 7>(even_height)
    whole_width = Cast<to: int = 7>(even_width)
    inner_height = Max(whole_height, smallest_side)
    inner_width = Max(whole_width, smallest_side)
}
<domain: "amiss", opset_import: ["": $opset]>
before (inner, size) => (pixels)
{
    two = Constant<value_int: int = 2>()
    around = Sub(size, inner)
    odd = Mod(around, two)
    even = Sub(around, odd)
    pixels = Div(even, two)
}
<domain: "amiss", opset_import: ["": $opset, "amiss": 1]>
mirrored (inner, size) => (indices)
{
    zero = Constant<value_int: int = 0>()
    one = Constant<value_int: int = 1>()
    two = Constant<value_int: int = 2>()
    before = amiss.before(inner, size)
    end = Squeeze(size)
    positions = Range(zero, end, one)
    moved = Sub(positions, before)
    period = Mul(two, inner)
    forth = Mod(moved, period)
    last = Sub(period, one)
    back = Sub(last, forth)
    indices = Min(forth, back)
}
<domain: "amiss", opset_import: ["": $opset]>
nearest (length, size) => (indices)
{
    zero = Constant<value_int: int = 0>()
    one = Constant<value_int: int = 1>()
    two = Constant<value_int: int = 2>()
    end = Squeeze(length)
    positions = Range(zero, end, one)
    twice = Mul(two, positions)
    odd = Add(twice, one)
    reached = Mul(odd, size)
    twice_length = Mul(two, length)
    indices = Div(reached, twice_length)
}
<domain: "amiss", opset_import: ["": $opset, "amiss": 1]>
cut (x, inner, size, axis) => (y)
{
    begin = amiss.before(inner, size)
    end = Add(begin, inner)
    y = Slice(x, begin, end, axis)
}
"""

_PREPARE = """
<ir_version: $ir, opset_import: ["": $opset, "amiss": 1]>
prepare (uint8$given) => (float$taken prepared, int64[1] h, int64[1] w, int64[1] inner_height, int64[1] inner_width)
<int64[1] one = {1}, int64[1] height = {$height}, int64[1] width = {$width}>
{
    $frames
    h = Shape<start: int = 1, end: int = 2>(image)
    w = Shape<start: int = 2, end: int = 3>(image)
    c = Shape<start: int = 3>(image)
    $colour
    $inner
    $roi
    small = amiss.resized(seen, h, w, inner_height, inner_width)
    planes = Transpose<perm: ints = [0, 3, 1, 2]>(small)
    $around
    $channels
    top = Constant<value_float: float = 255.0>()
    scaled = Div(complete, top)
    $clips
}
"""

_FRAMES = """
    sides = Shape<start: int = 2>(clip)
    any = Constant<value_ints: ints = [-1]>()
    as_frames = Concat<axis: int = 0>(any, sides)
    image = Reshape(clip, as_frames)"""

_CLIPS = """
    as_clips = Constant<value_ints: ints = [-1, $length, $channels, $height, $width]>()
    prepared = Reshape(scaled, as_clips)"""

#: Pillow's luma. Its whole numbers stay below 2^24, so that float32 holds them exactly. A single channel is gray
#: already, and a fourth one is left aside.
_GRAY = """
    of_colours = Constant<value_floats: floats = [19595.0, 38470.0, 7471.0, 0.0]>()
    of_gray = Constant<value_floats: floats = [65536.0, 0.0, 0.0, 0.0]>()
    zero = Constant<value_ints: ints = [0]>()
    is_gray = Equal(c, one)
    all_shares = Where(is_gray, of_gray, of_colours)
    shares = Slice(all_shares, zero, c)
    values = Cast<to: int = 1>(image)
    channel = Constant<value_ints: ints = [3]>()
    parts = Mul(values, shares)
    sum = ReduceSum<keepdims: int = 1>(parts, channel)
    unit = Constant<value_float: float = 65536.0>()
    half = Constant<value_float: float = 32768.0>()
    above = Add(sum, half)
    exact = Div(above, unit)
    luma = Floor(exact)
    colour = Cast<to: int = 2>(luma)"""

_RGB = """
    begin = Constant<value_ints: ints = [0]>()
    end = Constant<value_ints: ints = [3]>()
    channel = Constant<value_ints: ints = [3]>()
    colour = Slice(image, begin, end, channel)"""

_REPEATED = """
    wanted = Constant<value_ints: ints = [0, 1, 2]>()
    last = Sub(c, one)
    there = Min(wanted, last)
    complete = Gather<axis: int = 1>(framed, there)"""

#: The region of interest is an initializer, (height, width, 1).
_WITHIN = """
    roi_height = Shape<start: int = 0, end: int = 1>(roi)
    roi_width = Shape<start: int = 1, end: int = 2>(roi)
    of_rows = amiss.nearest(h, roi_height)
    of_columns = amiss.nearest(w, roi_width)
    roi_rows = Gather<axis: int = 0>(roi, of_rows)
    roi_pixels = Gather<axis: int = 1>(roi_rows, of_columns)
    looked_at = Cast<to: int = 9>(roi_pixels)
    fill_level = Constant<value_ints: ints = [$fill]>()
    fill = Cast<to: int = 2>(fill_level)
    seen = Where(looked_at, colour, fill)"""

_AROUND = """
    rows = amiss.mirrored(inner_height, height)
    columns = amiss.mirrored(inner_width, width)
    tall = Gather<axis: int = 2>(planes, rows)
    framed = Gather<axis: int = 3>(tall, columns)"""

_DECIDE = """
<ir_version: $ir, opset_import: ["": $opset, "amiss": 1]>
decide (float[n] s, $inputs) => (float[n] score, float[n] p_value, bool[n] is_anomaly$outputs)
<float[$count] calibration_scores = {$draws}, float threshold = {$threshold}, int64[1] one = {1}>
{
    score = Identity(s)
    is_anomaly = Greater(s, threshold)
    upright = Unsqueeze(s, one)
    reaches = GreaterOrEqual(calibration_scores, upright)
    counted = Cast<to: int = 1>(reaches)
    reaching = ReduceSum<keepdims: int = 0>(counted, one)
    itself = Constant<value_float: float = 1.0>()
    all = Constant<value_float: float = $all.0>()
    share = Add(reaching, itself)
    p_value = Div(share, all)
    $map
}
"""

_MAP = """
    rows = Constant<value_ints: ints = [1]>()
    columns = Constant<value_ints: ints = [2]>()
    height = Constant<value_ints: ints = [$height]>()
    width = Constant<value_ints: ints = [$width]>()
    $roi
    cut_rows = amiss.cut(seen, inner_height, height, rows)
    cut_map = amiss.cut(cut_rows, inner_width, width, columns)
    tall = amiss.interpolated(cut_map, inner_height, h)
    turned = Transpose<perm: ints = [0, 2, 1]>(tall)
    wide = amiss.interpolated(turned, inner_width, w)
    map = Transpose<perm: ints = [0, 2, 1]>(wide)"""

#: Where the model looks is an initializer, (1, height, width).
_MAP_WITHIN = """
    looked_at = Cast<to: int = 9>(inside)
    nowhere = Constant<value_float: float = 3.4e38>()
    there = Where(looked_at, m, nowhere)
    last_two = Constant<value_ints: ints = [1, 2]>()
    lowest = ReduceMin<keepdims: int = 1>(there, last_two)
    seen = Where(looked_at, m, lowest)"""

_SIZES = ("h", "w", "inner_height", "inner_width")


def whole_graph(
    scorer: bytes,
    preprocessing: Preprocessing,
    decision: Decision,
    clip_length: int = 1,
    facts: Mapping[str, str] | None = None,
) -> bytes:
    """One serialized ONNX model of all that scoring is.

    Its input is `image` (n, h, w, c) uint8, or `clip` (n, t, h, w, c) where the scorer sees clips: any n, h, w; gray
    (c = 1), RGB (3) or RGBA (4, whose last channel is left aside). Its outputs are `score` (n,) float32, `p_value` (n,)
    float32, `is_anomaly` (n,) bool and, where the scorer has one, `map` (n, h, w) float32 at the size of the image.

    Args:
        scorer: the serialized graph of the scorer alone, see `onnx_graph.export_onnx`.
        preprocessing: from pixels to what the scorer sees.
        decision: by the calibration scores of ONNX Runtime.
        clip_length: t, frames that are scored together; 1 for images.
        facts: the metadata of the model.
    """
    middle = compose.add_prefix(_of_opset(onnx.load_from_string(scorer)), "scorer/")
    gives_map = len(middle.graph.output) > 1
    head = {"ir": middle.ir_version, "opset": _opset(middle)}
    shape = dict(zip(("channels", "height", "width"), preprocessing.shape, strict=True))
    before = _parsed(_PREPARE, head | shape | _preparation(preprocessing, clip_length))
    behind = _parsed(_DECIDE, head | _decision(decision, preprocessing, gives_map))
    if preprocessing.roi is not None:
        _with_initializer(before, "roi", preprocessing.roi.inside[:, :, None])
        if gives_map:
            _with_initializer(behind, "inside", preprocessing.roi.touching(*preprocessing.shape[1:])[None])
    front = compose.merge_models(before, middle, [("prepared", middle.graph.input[0].name)])
    joints = [("scorer/score", "s"), *([("scorer/map", "m")] if gives_map else []), *((name, name) for name in _SIZES)]
    behind = compose.add_prefix(behind, "decide/", rename_outputs=False)
    outputs = [each.name for each in behind.graph.output]
    whole = compose.merge_models(front, behind, [(a, f"decide/{b}") for a, b in joints], outputs=outputs)
    with_single_opsets(whole)
    whole.producer_name = "amiss"
    helper.set_model_props(whole, dict(facts or {}))
    onnx.checker.check_model(whole)
    content: bytes = whole.SerializeToString()
    return content


def with_single_opsets(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model itself, naming each set of operators once: merging names one as often as it meets it."""
    domains = {entry.domain: entry.version for entry in model.opset_import if entry.domain != "amiss"}
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in domains.items())
    return model


def _preparation(preprocessing: Preprocessing, clip_length: int) -> dict[str, Any]:
    channels, height, width = preprocessing.shape
    prepared = f"[n, {channels}, {height}, {width}]"
    keeps = preprocessing.aspect == "keep"
    shape = {"channels": channels, "height": height, "width": width, "length": clip_length}
    clips = clip_length > 1
    return {
        "given": f"[n, {clip_length}, h, w, c] clip" if clips else "[n, h, w, c] image",
        "taken": f"[n, {clip_length}, {channels}, {height}, {width}]" if clips else prepared,
        "frames": _FRAMES if clips else "",
        "clips": Template(_CLIPS).substitute(shape) if clips else "prepared = Identity(scaled)",
        "colour": _GRAY if channels == 1 else _RGB,
        "inner": "inner_height, inner_width = amiss.shrunk(h, w, height, width)"
        if keeps
        else "inner_height = Identity(height)\n    inner_width = Identity(width)",
        "roi": "seen = Identity(colour)"
        if preprocessing.roi is None
        else Template(_WITHIN).substitute(fill=preprocessing.roi.fill),
        "around": _AROUND if keeps else "framed = Identity(planes)",
        "channels": _REPEATED if channels == 3 else "complete = Identity(framed)",
    }


def _decision(decision: Decision, preprocessing: Preprocessing, gives_map: bool) -> dict[str, Any]:
    _, height, width = preprocessing.shape
    sizes = ", ".join(f"int64[1] {name}" for name in _SIZES)
    return {
        "inputs": f"float[n, {height}, {width}] m, {sizes}" if gives_map else sizes,
        "outputs": ", float[n, h, w] map" if gives_map else "",
        "map": Template(_MAP).substitute(
            height=height, width=width, roi="seen = Identity(m)" if preprocessing.roi is None else _MAP_WITHIN
        )
        if gives_map
        else "",
        "count": decision.n,
        "all": decision.n + 1,
        "draws": ", ".join(repr(float(score)) for score in decision.draws),
        "threshold": repr(float(decision.threshold)),
    }


def _parsed(text: str, values: Mapping[str, Any]) -> onnx.ModelProto:
    """The model that a text describes, its functions put where they are called."""
    return inliner.inline_local_functions(parser.parse_model(Template(text + _FUNCTIONS).substitute(values)))


def _with_initializer(model: onnx.ModelProto, name: str, mask: NDArray[np.bool_]) -> None:
    model.graph.initializer.append(numpy_helper.from_array(mask.astype(np.uint8), name))


def _opset(model: onnx.ModelProto) -> int:
    version: int = next(entry.version for entry in model.opset_import if entry.domain == "")
    return version


def _of_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    return model if _opset(model) >= _OPSET else version_converter.convert_version(model, _OPSET)
