"""The loops of `focusvla.simulation.visible_triangles`, compiled when they first run and then kept on disk.

Screen positions are in pixels from the left (`xs`) and from below (`ys`), `ws` are distances before the camera in meters.
Types are not checked: a checker's wrapper cannot be compiled.
"""

# pyright: basic, reportUntypedFunctionDecorator=false
from typing import no_type_check

import numba
import numpy as np

MARGIN = np.float32(1 / 256)
"""Pixels by which a vertex may be drawn elsewhere than computed here: twice what the rasterizer's rounding moves it."""
_DOUBT = np.float32(1 / 8192)
"""Pixels by which single precision alone may move a vertex against another, and by more in triangles of many pixels."""
BATCH = 341
"""Triangles of a mesh that the rasterizer takes at once."""
_NEAREST = np.float32(0.02)
"""Meters before the camera; a triangle that comes nearer is always sent."""
_LARGE = np.float32(9.0)
"""Square pixels of a bounding box from which on a triangle's samples are not looked at one by one."""
_HUGE = np.float32(1024.0)
"""Pixels across from which on single precision is too coarse here: such a triangle is sent and hides nothing."""
_NEARER = np.float32(1.0002)
"""A hidden triangle is farther than what hides it by at least this factor: 0.2 mm at a meter. Depths are rounded."""
_ROUNDING = np.float32(4e-5)
"""And its inverse distance is less by at least this, in 1/m: what a depth of 24 bits tells apart far away."""


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def number_rows(rows, slots, kept, numbers):
    """Write where each distinct row stands first to `kept`, and its number for each row; returns how many there are."""
    count = 0
    for row in range(len(rows)):
        hashed = np.uint64(0)
        for number in rows[row]:
            hashed = (hashed ^ np.uint64(number)) * np.uint64(0x9E3779B97F4A7C15)
            hashed ^= hashed >> np.uint64(29)
        slot = np.int64(hashed & np.uint64(len(slots) - 1))
        while slots[slot] >= 0 and not (rows[kept[slots[slot]]] == rows[row]).all():
            slot = (slot + 1) & (len(slots) - 1)
        if slots[slot] < 0:
            slots[slot], kept[count] = count, row
            count += 1
        numbers[row] = slots[slot]
    return count


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def find_corners(
    positions,
    faces,
    corners,
    sections,
    matrices,
    hides,
    half,
    window,
    mirrored,
    samples,
    depths,
    screen,
    chosen,
    counts,
    cut,
    depth_range,
):
    depths[:] = 0
    first = total = 0
    for g in range(len(sections)):
        position, num_positions, face, num_faces = sections[g]
        place = screen[:, first : first + num_positions]
        _project(matrices[g], positions[:, position : position + num_positions], half, place)
        mine = faces[face : face + num_faces]
        front = _face_the_camera(place, mine, window, mirrored, samples, chosen[total:])
        counts[g] = _cover(
            place, mine, window, mirrored, samples, depths, hides[g], chosen[total : total + front]
        )
        first, total = first + num_positions, total + counts[g]
    starts = np.zeros(len(sections), np.int64)
    doubtful_batches = np.zeros(len(sections), np.int64)
    first = start = total = 0
    for g in range(len(sections)):
        _, num_positions, face, num_faces = sections[g]
        place = screen[:, first : first + num_positions]
        mine = faces[face : face + num_faces]
        kept, batch = start, -1
        for number in chosen[start : start + counts[g]]:
            if mirrored or _is_unhidden(place, mine[number], window, samples, depths):
                chosen[kept] = number
                kept += 1
                if cut[g] and number // BATCH != batch and _facing(place, mine[number], mirrored) <= 0:
                    batch = number // BATCH
                    doubtful_batches[g] += 1
        starts[g], start, first = start, start + counts[g], first + num_positions
        counts[g] = kept - starts[g]
        total += counts[g] + doubtful_batches[g] * BATCH
    found, breaks = np.empty((total, 3), np.uint32), np.empty(2 * doubtful_batches.sum(), np.int64)
    at = num_breaks = first = 0
    for g in range(len(sections)):
        _, num_positions, face, num_faces = sections[g]
        begun, mine = at, chosen[starts[g] : starts[g] + counts[g]]
        if not doubtful_batches[g]:
            for number in mine:
                found[at] = corners[face + number]
                at += 1
        else:
            at, num_breaks = _batch_by_batch(
                screen[:, first : first + num_positions],
                faces[face : face + num_faces],
                corners[face : face + num_faces],
                half,
                mirrored,
                depth_range,
                mine,
                found,
                at,
                breaks,
                num_breaks,
            )
        counts[g], first = at - begun, first + num_positions
    return found[:at], breaks[:num_breaks]


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def _batch_by_batch(place, faces, corners, half, mirrored, depth_range, mine, found, at, breaks, num_breaks):
    """Write the triangles `mine` of a mesh that reaches out of the picture, as the rasterizer sorts them out.

    It takes a mesh batch by batch. In one of which a triangle reaches out, what faces away before vertices are rounded is
    not drawn; in others it is drawn if it no longer faces away when they are. So a batch with such triangles is drawn for
    itself, or without them, or whole where neither is certain.
    """
    i = 0
    while i < len(mine):
        batch, j, lowest, unsure = mine[i] // BATCH, i, 1, False
        while j < len(mine) and mine[j] // BATCH == batch:
            facing = _facing(place, faces[mine[j]], mirrored)
            lowest = min(lowest, facing)
            unsure |= facing == 0
            j += 1
        first, last = batch * BATCH, min(len(faces), (batch + 1) * BATCH)
        doubtful, reach = lowest <= 0, 0
        if doubtful and not mirrored:
            reach = _reaches_out(place, faces[first:last], half, depth_range)
        whole = doubtful and (reach == 0 or (reach > 0 and unsure))
        apart = whole or (doubtful and reach < 0)
        if apart:
            breaks[num_breaks] = at
            num_breaks += 1
        for number in range(first, last) if whole else range(i, j):
            f = number if whole else mine[number]
            if apart or not doubtful or _facing(place, faces[f], mirrored) > 0:
                found[at] = corners[f]
                at += 1
        if apart:
            breaks[num_breaks] = at
            num_breaks += 1
        i = j
    return at, num_breaks


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def _reaches_out(place, faces, half, depth_range):
    """1 if any of the triangles does, -1 if none, 0 if that is not certain."""
    uncertain = False
    for face in faces:
        for corner in face:
            x, y, w = place[0, corner], place[1, corner], place[2, corner]
            inside = min(min(x, 2 * half[0] - x), min(y, 2 * half[1] - y))
            depth = min(w / depth_range[0], depth_range[1] / w)
            if inside < -MARGIN or depth < np.float32(0.99):
                return 1
            uncertain |= not (inside > MARGIN and depth > np.float32(1.01))
    return 0 if uncertain else -1


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def find_hidden(rectangles, nearest, depths, hidden):
    """Write to `hidden` which boxes lie behind what was found: each in a rectangle of pixels (left, bottom, right, top)
    and nowhere nearer than 1 / `nearest` meters."""
    for box in range(len(rectangles)):
        left, bottom, right, top = rectangles[box]
        limit = nearest[box] * _NEARER + _ROUNDING
        hidden[box] = True
        for s in range(4):
            for row in range(bottom, top):
                for column in range(left, right):
                    if depths[s, row, column] <= limit:
                        hidden[box] = False
                        break
                if not hidden[box]:
                    break
            if not hidden[box]:
                break


@numba.njit(cache=True, fastmath=True, error_model="numpy")
@no_type_check
def _project(matrix, positions, half, place):
    """Pixels from the left and from below, and the distance before the camera."""
    x, y, z = positions
    for i in range(len(x)):
        w = matrix[3, 0] * x[i] + matrix[3, 1] * y[i] + matrix[3, 2] * z[i] + matrix[3, 3]
        inverse = np.float32(1) / w
        place[0, i] = (
            (matrix[0, 0] * x[i] + matrix[0, 1] * y[i] + matrix[0, 2] * z[i] + matrix[0, 3])
            * inverse
            * half[0]
        ) + half[0]
        place[1, i] = (
            (matrix[1, 0] * x[i] + matrix[1, 1] * y[i] + matrix[1, 2] * z[i] + matrix[1, 3])
            * inverse
            * half[1]
        ) + half[1]
        place[2, i] = w


@numba.njit(cache=True, fastmath=True, error_model="numpy")
@no_type_check
def _face_the_camera(place, faces, window, mirrored, samples, chosen):
    """Write to `chosen` the triangles whose front may be in the window, with a sample in its bounding box."""
    xs, ys, ws = place
    zero, one = np.float32(0), np.float32(1)
    left, bottom, right, top = window
    sign = -one if mirrored else one
    count = 0
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, bx, by, cx, cy = xs[a], ys[a], xs[b], ys[b], xs[c], ys[c]
        area = sign * ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
        x0, x1 = min(ax, bx, cx) - MARGIN, max(ax, bx, cx) + MARGIN
        y0, y1 = min(ay, by, cy) - MARGIN, max(ay, by, cy) + MARGIN
        huge = max(x1 - x0, y1 - y0) > _HUGE
        faces_us = (area > -2 * MARGIN * (x1 - x0 + y1 - y0)) | huge
        within = faces_us & (x1 > left) & (y1 > bottom) & (x0 < right) & (y0 < top)
        # Added before rounding to zero, one makes the first number the first pixel of which the sample is not left of x0.
        x0, x1 = max(x0, zero) + one, min(x1, right) + one
        y0, y1 = max(y0, zero) + one, min(y1, top) + one
        holds = False
        for s in range(4):
            u, v = samples[s, 0], samples[s, 1]
            holds |= (np.int32(x0 - u) < np.int32(x1 - u)) & (np.int32(y0 - v) < np.int32(y1 - v))
        farthest = max(ws[a], ws[b], ws[c])
        near = min(ws[a], ws[b], ws[c]) < _NEAREST
        chosen[count] = f
        count += (within & (holds | huge) & (not near)) | (near & (farthest > zero))
    return count


@numba.njit(cache=True, inline="always", error_model="numpy")
@no_type_check
def _bounds(place, face, window, mirrored):
    """Corners counterclockwise, the part of the window that they span, and whether that is of a huge triangle."""
    xs, ys, _ = place
    a, b, c = face[0], face[1], face[2]
    if mirrored:
        b, c = c, b
    ax, ay, bx, by, cx, cy = xs[a], ys[a], xs[b], ys[b], xs[c], ys[c]
    x0, x1, y0, y1 = min(ax, bx, cx), max(ax, bx, cx), min(ay, by, cy), max(ay, by, cy)
    huge = max(x1 - x0, y1 - y0) > _HUGE
    x0, x1 = max(x0 - MARGIN, window[0]), min(x1 + MARGIN, window[2])
    y0, y1 = max(y0 - MARGIN, window[1]), min(y1 + MARGIN, window[3])
    return ax, ay, bx, by, cx, cy, x0, x1, y0, y1, huge


@numba.njit(cache=True, inline="always", error_model="numpy")
@no_type_check
def _tolerances(ax, ay, bx, by, cx, cy):
    """What a sample's distances from the three edges, times their lengths, may be wrong by.

    A sample's distance is from the edge's line: where the edge is short and the triangle long, little turns that by much.
    """
    x0, x1, y0, y1 = min(ax, bx, cx), max(ax, bx, cx), min(ay, by, cy), max(ay, by, cy)
    return (
        MARGIN * (_reach(ax, bx, x0, x1) + _reach(ay, by, y0, y1) + MARGIN),
        MARGIN * (_reach(bx, cx, x0, x1) + _reach(by, cy, y0, y1) + MARGIN),
        MARGIN * (_reach(cx, ax, x0, x1) + _reach(cy, ay, y0, y1) + MARGIN),
    )


@numba.njit(cache=True, inline="always", error_model="numpy")
@no_type_check
def _reach(a, b, low, high):
    """The greatest sum of the distances to `a` and `b` of anything from `low` to `high`."""
    return max(a + b - 2 * low, 2 * high - a - b)


@numba.njit(cache=True, inline="always", error_model="numpy")
@no_type_check
def _extent_and_area(place, face, mirrored):
    """Width and height together, and twice the area, which is negative of what faces away."""
    xs, ys, _ = place
    a, b, c = face[0], face[1], face[2]
    ax, ay, bx, by, cx, cy = xs[a], ys[a], xs[b], ys[b], xs[c], ys[c]
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    extent = max(ax, bx, cx) - min(ax, bx, cx) + max(ay, by, cy) - min(ay, by, cy)
    return extent, -area if mirrored else area


@numba.njit(cache=True, inline="always", error_model="numpy")
@no_type_check
def _facing(place, face, mirrored):
    """1 if a triangle faces the camera before its vertices are rounded, -1 if it faces away, 0 if that is not certain.

    What reaches behind the camera is cut first: 1.
    """
    ws = place[2]
    if min(ws[face[0]], ws[face[1]], ws[face[2]]) < _NEAREST:
        return 1
    extent, area = _extent_and_area(place, face, mirrored)
    doubt = (_DOUBT + np.float32(1e-6) * extent) * extent
    return 1 if area > doubt else -1 if area < -doubt else 0


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def _cover(place, faces, window, mirrored, samples, depths, hides, chosen):
    """Keep of `chosen` what may cover a sample; note how near it is where it does for certain. Returns how many."""
    ws, one = place[2], np.float32(1)
    kept = 0
    for j in range(len(chosen)):
        f = chosen[j]
        face = faces[f]
        wa, wb, wc = ws[face[0]], ws[face[1]], ws[face[2]]
        covers = min(wa, wb, wc) < _NEAREST
        if not covers:
            ax, ay, bx, by, cx, cy, x0, x1, y0, y1, huge = _bounds(place, face, window, mirrored)
            t0, t1, t2 = _tolerances(ax, ay, bx, by, cx, cy)
            farthest = one / max(wa, wb, wc)
            span = one / min(wa, wb, wc) - farthest
            farthest -= span * np.float32(1 / 16)  # what single precision makes of small areas
            if huge or (x1 - x0) * (y1 - y0) > _LARGE:
                covers = True
                if hides and not huge:
                    _fill(ax, ay, bx, by, cx, cy, wa, wb, wc, t0, t1, t2, x0, x1, y0, y1, samples, depths)
            else:
                for s in range(4):
                    u, v = samples[s, 0], samples[s, 1]
                    first, last = int(x0 - u + one), int(x1 - u + one)
                    for row in range(int(y0 - v + one), int(y1 - v + one)):
                        y = np.float32(row) + v
                        for column in range(first, last):
                            x = np.float32(column) + u
                            d0 = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
                            d1 = (cx - bx) * (y - by) - (cy - by) * (x - bx)
                            d2 = (ax - cx) * (y - cy) - (ay - cy) * (x - cx)
                            if (d0 >= -t0) & (d1 >= -t1) & (d2 >= -t2):
                                covers = True
                                if hides and (d0 > t0) & (d1 > t1) & (d2 > t2):
                                    depths[s, row, column] = max(depths[s, row, column], farthest)
        chosen[kept] = f
        kept += covers
    return kept


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def _fill(ax, ay, bx, by, cx, cy, wa, wb, wc, t0, t1, t2, x0, x1, y0, y1, samples, depths):
    """Note a large triangle row by row: inverse distances are a plane over the picture."""
    one = np.float32(1)
    at_a, to_b, to_c = 1.0 / wa, 1.0 / wb - 1.0 / wa, 1.0 / wc - 1.0 / wa
    area = np.float64(bx - ax) * (cy - ay) - np.float64(by - ay) * (cx - ax)
    per_x = per_y = 0.0
    lowest = 1.0 / max(wa, wb, wc)
    if area > 4.0:
        per_x = (to_b * (cy - ay) - to_c * (by - ay)) / area
        per_y = (to_c * (bx - ax) - to_b * (cx - ax)) / area
        at_a -= (abs(per_x) + abs(per_y)) * MARGIN
    else:
        at_a = lowest
    for s in range(4):
        u, v = samples[s, 0], samples[s, 1]
        for row in range(int(y0 - v + one), int(y1 - v + one)):
            y = np.float32(row) + v
            left, right = x0, x1
            for x, tip, across, up, tolerance in (
                (ax, ay, bx - ax, by - ay, t0),
                (bx, by, cx - bx, cy - by, t1),
                (cx, cy, ax - cx, ay - cy, t2),
            ):
                distance = across * (y - tip) - tolerance
                if up > MARGIN:
                    right = min(right, x + distance / up)
                elif up < -MARGIN:
                    left = max(left, x + distance / up)
                elif distance < MARGIN * max(abs(x0 - x), abs(x1 - x)):
                    right = left - one
            noted = depths[s, row]
            at_left = at_a + per_y * (y - ay) + per_x * (u - ax)
            for column in range(int(left - u + one), int(right - u + one)):
                noted[column] = max(noted[column], np.float32(max(at_left + per_x * column, lowest)))


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def _is_unhidden(place, face, window, samples, depths):
    """Whether a triangle may be the nearest at one of the samples that it may cover."""
    ws, one = place[2], np.float32(1)
    nearest = min(ws[face[0]], ws[face[1]], ws[face[2]])
    if nearest < _NEAREST:
        return True
    nearest = one / nearest
    extent, area = _extent_and_area(place, face, False)
    # Where rounding puts a sample into a triangle that it is beside, the triangle's plane is what is drawn there.
    span = nearest - one / max(ws[face[0]], ws[face[1]], ws[face[2]])
    beyond = MARGIN * extent * (span + np.float32(1e-6) * nearest)
    if beyond > area * np.float32(0.5) * nearest:
        return True
    nearest = (nearest + beyond / area) * _NEARER + _ROUNDING
    ax, ay, bx, by, cx, cy, x0, x1, y0, y1, huge = _bounds(place, face, window, False)
    if huge:
        return True
    t0, t1, t2 = _tolerances(ax, ay, bx, by, cx, cy)
    for s in range(4):
        u, v = samples[s, 0], samples[s, 1]
        for row in range(int(y0 - v + one), int(y1 - v + one)):
            y = np.float32(row) + v
            for column in range(int(x0 - u + one), int(x1 - u + one)):
                if depths[s, row, column] <= nearest:
                    x = np.float32(column) + u
                    if (
                        ((bx - ax) * (y - ay) - (by - ay) * (x - ax) >= -t0)
                        & ((cx - bx) * (y - by) - (cy - by) * (x - bx) >= -t1)
                        & ((ax - cx) * (y - cy) - (ay - cy) * (x - cx) >= -t2)
                    ):
                        return True
    return False
