"""The drawing: well formed, one curve a name, and where it says that everybody is back they are."""

from xml.etree import ElementTree

from bench.plot import BOTTOM, HEIGHT, RIGHT, TOP, WIDTH, curves

SVG = "{http://www.w3.org/2000/svg}"


def test_each_name_has_a_curve_that_ends_where_all_are_back() -> None:
    drawn = ElementTree.fromstring(curves({"a & b": [0.0, 1.0, 90.0], "c": [500.0]}, title="x < y"))
    assert "a & b" in {text.text for text in drawn.iter(f"{SVG}text")}
    lines = [path.attrib["d"] for path in drawn.iter(f"{SVG}path") if path.attrib.get("fill") == "none"]
    ends = [tuple(map(float, line.rpartition("L")[2].split())) for line in lines]
    assert len(ends) == 2
    assert {y for _, y in ends} == {TOP}
    assert ends[1][0] == WIDTH - RIGHT
    assert all(TOP <= float(point.split()[1]) <= HEIGHT - BOTTOM for line in lines for point in line.split("L")[1:])
