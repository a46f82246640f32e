// Drawings as inline SVG: curves over steps, the scatter of candidates, means with intervals. Colours and text sizes come from the page's
// style sheet by class, so that a drawing follows light and dark and the width of the window.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "report/html.h"

namespace magicid::report {

struct Ticks {
  double low = 0, high = 1;  // the axis' ends
  std::vector<double> values;
  std::vector<std::string> labels;
};
// About `wanted` round values (1, 2 or 5 times a power of ten) inside [low, high]; equal ends are widened. The ends stay as they are.
Ticks nice_ticks(double low, double high, int wanted);

// Exponential moving average over about `window` values, corrected for its start (Adam's bias correction); gaps (not finite) stay gaps.
std::vector<double> smoothed(const std::vector<double>& values, double window);

enum class Ink { winner, loser, plain, second };  // the palette's roles; see style.cpp

struct Curve {
  std::string label;
  Ink ink = Ink::plain;
  bool dashed = false;
  bool smooth = true;          // the raw values faint, the smoothed ones strong
  std::vector<double> values;  // one for each step; not finite: a gap
};

struct CurveChart {
  std::string title, explanation, y_label;
  std::vector<double> steps;
  std::vector<Curve> curves;
  std::optional<double> low, high;  // fixed ends of the y axis
  std::optional<double> level;      // a horizontal line to compare with ...
  std::string level_label;          // ... and what it is
};
// A <figure> with heading (h4), legend, drawing and explanation. Long curves are thinned to about 300 columns, keeping each column's
// extremes. A few outlying raw values may lie beyond the axis: the figure says so.
Html draw(const CurveChart& chart);

enum class Marker { square, triangle, circle };

struct ScatterPoint {
  double x = 0, y = 0;
  Marker mark = Marker::circle;
  int group = 0;          // palette class g0, g1, g2
  bool hollow = false;    // took no part
  bool outlined = false;  // a member of the first front
  std::string tip;        // lines of text for the tooltip
  std::string target;     // id that a click goes to
};

struct ScatterLine {
  std::string label;
  bool dashed = false;
  std::vector<std::pair<double, double>> points;
};

struct Scatter {
  std::string description;  // for those who do not see it
  std::string x_label, y_label;
  double low = 0, high = 10;  // of both axes
  std::vector<ScatterPoint> points;
  std::vector<ScatterLine> lines;
};
Html draw(const Scatter& scatter);

struct IntervalRow {
  std::string label;
  double mean = 0, low = 0, high = 0;  // low and high may be not finite
  int group = 0;
};
// One row for each arm on a common axis; rows without a mean are left empty.
Html draw_intervals(const std::string& description, const std::vector<IntervalRow>& rows);

// A small sign for legends.
Html legend_mark(Marker mark, int group, bool hollow, bool outlined = false);

}  // namespace magicid::report
