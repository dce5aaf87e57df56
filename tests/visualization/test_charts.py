import pytest

from focusvla.visualization.charts import Series, line_chart, nice_scale, smooth


@pytest.mark.parametrize(
    ("largest", "step", "end"),
    [(430.0, 100, 500), (0.48, 0.1, 0.5), (1000.0, 200, 1000), (0.11, 0.05, 0.15), (0.0, 1, 1)],
)
def test_an_axis_has_round_steps_and_reaches_the_largest_value(largest, step, end):
    assert nice_scale(largest) == pytest.approx((step, end))


def test_points_are_placed_in_percent_from_the_left_and_the_top():
    chart = line_chart([Series("loss", [(0.0, 0.5), (50.0, 0.25), (100.0, 0.0)], color=1, is_marked=False)])
    assert chart.curves[0].points == ((0, 0), (50, 50), (100, 100))
    assert chart.curves[0].path == "0.00,0.00 50.00,50.00 100.00,100.00"
    assert [(tick.at, tick.label) for tick in chart.x_ticks][-1] == (100, "100")
    assert [(tick.at, tick.label) for tick in chart.y_ticks][:1] == [(100, "0")]


def test_smoothing_takes_the_mean_of_neighbors():
    assert smooth([(1.0, 1.0), (2.0, 4.0), (3.0, 1.0)]) == [(1, 2.5), (2, 2.0), (3, 2.5)]
